"""`tunewright demo`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunewright.cli.options import Json

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from rich.console import Console

    from tunewright.train.folder import RunResult
    from tunewright.train.prepare import Prepared


class Screen:
    """Draws the demo's stages on a console."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.evaluations: list[dict[str, Any]] = []

    def stage(self, number: int, total: int, title: str) -> None:
        """A heading with the stage's number."""
        from rich.rule import Rule

        self.console.print()
        self.console.print(Rule(f"[bold]{number}/{total}[/]  {title}", align="left", style="dim"))

    def prepared(self, run: Prepared, audit: dict[str, Any]) -> None:
        """Rows, findings of the audit, and settings of a job."""
        from tunewright.cli.screen import findings_table, settings_table

        parts = ", ".join(f"{name} {len(part):,}" for name, part in run.splits.items() if len(part))
        labels = f"; labels {', '.join(run.labels)}" if run.labels else ""
        self.console.print(f"  [bold]{run.recipe.data.train}[/]: {parts}{labels}")
        self.console.print(
            f"  [bold]{run.recipe.model}[/]: {run.facts.parameters / 1e6:.1f}M parameters, "
            f"{run.facts.kind}, method {run.recipe.method}"
        )
        self.console.print(settings_table(run.recipe.model_dump(mode="json"), run.reasons))
        if audit["findings"]:
            self.console.print(findings_table(audit["findings"]))
        else:
            self.console.print("  [green]The audit found nothing wrong with the data.[/]")

    def trained(self, result: RunResult) -> None:
        """Time, speed and memory of a run."""
        numbers = result.results
        self.console.print(
            f"  {numbers['steps']} steps in {numbers['train_seconds']:,.0f} s, "
            f"{numbers['tokens_per_second']:,.0f} tokens/s, "
            f"{numbers['peak_memory_bytes'] / 1e9:.2f} GB at most"
        )

    def evaluated(self, evaluation: dict[str, Any]) -> None:
        """Scores, and whether the difference is real."""
        from tunewright.cli.screen import comparison_lines, scores_table

        self.evaluations.append(evaluation)
        self.console.print(scores_table(evaluation))
        for line in comparison_lines(evaluation):
            self.console.print(f"  {line}")

    def training(self) -> AbstractContextManager[Any]:
        """A bar for a run."""
        from tunewright.cli.screen import TrainingScreen

        return TrainingScreen(self.console)

    def scoring(self) -> AbstractContextManager[Any]:
        """A bar for an evaluation."""
        from tunewright.cli.screen import stage_progress

        return stage_progress(self.console)


def demo(
    output: Annotated[str, typer.Option(help="Folder for the two runs and the report.")] = (
        "runs/demo"
    ),
    quick: Annotated[
        bool, typer.Option("--quick", help="A minute's cut of it, too small to mean anything.")
    ] = False,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Only fetch the models and data it needs.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Tune two small models on real data and write one report.

    Stopped with Ctrl-C, it goes on when it is called again.
    """
    import time
    from pathlib import Path

    from tunewright.cli.screen import make_console, print_json
    from tunewright.demo import fetch_all, run_demo

    console = make_console(quiet=as_json)
    if fetch:
        with console.status("Fetching two models and a data set"):
            folders = [str(path) for path in fetch_all()]
        if as_json:
            print_json({"fetched": folders})
        else:
            console.print("The models and data of the demo are here.")
        return
    began = time.monotonic()
    screen = Screen(console)
    report = run_demo(Path(output), screen, quick)
    seconds = time.monotonic() - began
    if as_json:
        print_json(
            {
                "report": str(report.html),
                "seconds": round(seconds, 1),
                "evaluations": screen.evaluations,
            }
        )
        return
    console.print()
    console.print(f"[green]Done[/] in {seconds / 60:.1f} minutes. Open {report.html}")
