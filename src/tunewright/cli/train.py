"""`tunewright train`"""

from __future__ import annotations

from typing import Annotated

import typer

from tunewright.cli.options import Json, Overrides


def train(
    recipe: Annotated[str, typer.Argument(help="YAML file; `tunewright init` writes one.")],
    overrides: Overrides = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show live curves instead of one bar.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fine-tune a model by a recipe. Survives Ctrl-C: `tunewright resume` goes on."""
    from tunewright import pipeline
    from tunewright.checking import require_sound
    from tunewright.cli.screen import (
        TrainingScreen,
        findings_table,
        make_console,
        settings_table,
    )
    from tunewright.cli.watch_screen import WatchScreen
    from tunewright.config.load import load_recipe

    console = make_console(quiet=as_json)
    with console.status("Reading the model and the data"):
        prepared = pipeline.prepare(load_recipe(recipe, overrides or ()))
        found = pipeline.audit_prepared(prepared)
    console.print(
        f"[bold]{prepared.task.value}[/] on {prepared.recipe.model}: "
        f"{len(prepared.train.examples):,} training rows, "
        f"{len(prepared.validation.examples):,} validation rows"
    )
    if prepared.reasons:
        console.print(settings_table(prepared.recipe.model_dump(mode="json"), prepared.reasons))
    if found["findings"]:
        console.print(findings_table(found["findings"]))
    require_sound(found, prepared.recipe.data.allow)
    title = f"{prepared.recipe.model} in {prepared.recipe.output_dir}"
    with WatchScreen(console, title) if watch else TrainingScreen(console) as screen:
        result = pipeline.train(prepared, screen, found)
    show_result(result, console, as_json)


def show_result(result: object, console: object, as_json: bool) -> None:
    """Print what a finished run found."""
    from rich.console import Console

    from tunewright.cli.screen import print_json
    from tunewright.train.run import RunResult

    assert isinstance(result, RunResult)
    assert isinstance(console, Console)
    if as_json:
        print_json(
            {"output_dir": str(result.folder), "metrics": result.metrics, "results": result.results}
        )
        return
    numbers = result.results
    console.print(
        f"[green]Done[/] in {numbers['train_seconds']:,.0f} s: {numbers['steps']} steps, "
        f"{numbers['tokens_per_second']:,.0f} tokens/s, "
        f"{numbers['peak_memory_bytes'] / 1e9:.1f} GB at most. The model is in {result.folder}."
    )
    for name, value in result.metrics.items():
        console.print(f"  validation {name}: {value:.4g}")
    console.print(f"Next: tunewright evaluate {result.folder}")
