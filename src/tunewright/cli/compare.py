"""`tunewright compare`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunewright.cli.options import (
    BatchSize,
    Columns,
    Device,
    GroupSize,
    Json,
    Latency,
    MaxLength,
    MaxNewTokens,
    Metrics,
    Quantized,
    Samples,
    Slices,
    Task,
    column_mapping,
    require_quantized,
)


def compare(
    models: Annotated[list[str], typer.Argument(help="Two or more models.")],
    data: Annotated[str, typer.Option(help="Rows that every model is scored on.")],
    metric: Metrics = None,
    output: Annotated[
        Path, typer.Option(help="Markdown report; an HTML one is written beside it.")
    ] = Path("comparison_report.md"),
    slices: Slices = None,
    latency: Latency = 0,
    num_samples: Samples = None,
    batch_size: BatchSize = None,
    max_length: MaxLength = None,
    max_new_tokens: MaxNewTokens = 256,
    quantized: Quantized = None,
    group_size: GroupSize = None,
    task: Task = "auto",
    column: Columns = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Score several models on the same rows and write a report."""
    from rich.markup import escape

    from tunewright import pipeline
    from tunewright.cli.screen import (
        comparison_lines,
        cost_line,
        finding_lines,
        make_console,
        print_json,
        scores_table,
        stage_progress,
    )
    from tunewright.errors import ConfigError, WorkError
    from tunewright.evaluate.report import write_comparison
    from tunewright.evaluate.seeds import said_of_seeds

    if len(models) < 2:
        raise ConfigError("compare needs at least two models; one was given.")
    require_quantized(quantized, group_size)
    console = make_console(quiet=as_json)
    with stage_progress(console) as progress:
        results = pipeline.compare_models(
            models,
            data,
            progress=progress,
            metrics=metric,
            num_samples=num_samples,
            slices=slices,
            latency=latency,
            batch_size=batch_size,
            max_length=max_length,
            max_new_tokens=max_new_tokens,
            task=task,
            columns=column_mapping(column),
            device=device,
            quantized=quantized,
            quantized_group_size=group_size,
        )
    write_comparison(results, output)
    if as_json:
        print_json({"results": results, "report": str(output)})
    else:
        for found in results:
            console.print(f"[bold]{found['model']}[/]")
            if "error" in found:
                console.print(f"  [red]failed:[/] {found['error']}")
            else:
                console.print(scores_table(found))
                for line in [*comparison_lines(found), *finding_lines(found), cost_line(found)]:
                    console.print(f"  {escape(line)}")
        for line in said_of_seeds(results):
            console.print(escape(line))
        console.print(f"The report is in {output}.")
    if all("error" in found for found in results):
        raise WorkError("No model could be scored; the reasons are above.")
