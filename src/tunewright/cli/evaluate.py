"""`tunewright evaluate`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunewright.cli.options import Columns, Device, Json, Metrics, Task, column_mapping


def evaluate(
    model: Annotated[str, typer.Argument(help="A finished run, a model folder, or a name.")],
    data: Annotated[
        str | None,
        typer.Option(help="Rows to score. Default: the rows the run held out."),
    ] = None,
    metric: Metrics = None,
    train_data: Annotated[
        str | None,
        typer.Option(help="Rows the model was tuned on, for baselines. Default: the run's own."),
    ] = None,
    baselines: Annotated[
        bool, typer.Option(help="Measure the base and trivial baselines too.")
    ] = True,
    num_samples: Annotated[
        int | None, typer.Option(min=1, help="Score only the first so many rows.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Rows in one pass. Default: 64, or 8 for text.")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(min=2, help="Longest row in tokens. Default: as in training.")
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="Longest generated answer in tokens.")
    ] = 256,
    output: Annotated[
        Path | None, typer.Option(help="Folder for evaluation.json and predictions.jsonl.")
    ] = None,
    task: Task = "auto",
    column: Columns = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Score a model, with 95 % intervals and beside baselines."""
    from tunewright import pipeline
    from tunewright.cli.screen import (
        comparison_lines,
        make_console,
        print_json,
        scores_table,
        stage_progress,
    )

    console = make_console(quiet=as_json)
    with stage_progress(console) as progress:
        found = pipeline.evaluate_model(
            model,
            data,
            task=task,
            columns=column_mapping(column),
            num_samples=num_samples,
            train_source=train_data,
            output_dir=output,
            progress=progress,
            metrics=metric,
            with_baselines=baselines,
            batch_size=batch_size,
            max_length=max_length,
            max_new_tokens=max_new_tokens,
            device=device,
        ).to_dict()
    if as_json:
        print_json(found)
        return
    console.print(scores_table(found))
    for line in [*comparison_lines(found), *found["notes"]]:
        console.print(f"  {line}")
