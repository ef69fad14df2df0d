"""`tunewright train`"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunewright.cli.options import Json, Overrides, RecipeFile

if TYPE_CHECKING:
    from rich.console import Console


def train(
    recipe: RecipeFile,
    overrides: Overrides = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show live curves instead of one bar.")
    ] = False,
    find_lr: Annotated[
        bool,
        typer.Option(
            "--find-lr",
            help="Only test which learning rate fits: writes a picture, trains nothing.",
        ),
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
        said_in,
        settings_table,
        stage_progress,
    )
    from tunewright.cli.watch_screen import WatchScreen
    from tunewright.config.load import load_recipe

    console = make_console(quiet=as_json)
    with console.status("Reading the model and the data") as status:
        prepared = pipeline.prepare(load_recipe(recipe, overrides or ()), progress=said_in(status))
        status.update("Looking at the data")
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
    if find_lr:
        with stage_progress(console) as progress:
            rates = pipeline.find_rate(prepared, progress)
        show_rates(rates, recipe, console, as_json)
        return
    title = f"{prepared.recipe.model} in {prepared.recipe.output_dir}"
    with WatchScreen(console, title) if watch else TrainingScreen(console) as screen:
        result = pipeline.train(prepared, screen, found)
    show_result(result, console, as_json)


def show_rates(
    rates: Mapping[str, Any], recipe: str, console: Console, as_json: bool = False
) -> None:
    """Print what a test of learning rates found."""
    from rich.markup import escape

    from tunewright.cli.screen import print_json, typed

    if as_json:
        print_json(dict(rates))
        return
    end = "exploded" if rates["diverged"] else "did not explode"
    console.print(
        f"The rate rose from {rates['rates'][0]:.1e} to {rates['rates'][-1]:.1e} in "
        f"{len(rates['rates'])} steps. The loss was lowest at {rates['lowest']:.1e} and {end}."
    )
    if rates["suggestion"] is None:
        console.print(
            "[yellow]It never fell[/], so there is no suggestion: look at the data with tunewright "
            "check, or give the test more rows."
        )
    else:
        console.print(
            f"Suggestion: [bold]{rates['suggestion']:.1e}[/], a tenth of that (the recipe has "
            f"{rates['configured']:.1e}). Try it: tunewright train {typed(recipe)} "
            f"learning_rate={rates['suggestion']:.1e}"
        )
    console.print(f"The curve is in {escape(str(rates['folder']))}/rates.png")


def show_result(result: object, console: object, as_json: bool) -> None:
    """Print what a finished run found."""
    from rich.console import Console
    from rich.markup import escape

    from tunewright.cli.screen import print_json, typed
    from tunewright.train.folder import RunResult

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
        f"{numbers['peak_memory_bytes'] / 1e9:.1f} GB at most. The model is in "
        f"{escape(str(result.folder))}."
    )
    for name, value in result.metrics.items():
        console.print(f"  validation {name}: {value:.4g}")
    console.print(f"Next: tunewright evaluate {typed(result.folder)}")
