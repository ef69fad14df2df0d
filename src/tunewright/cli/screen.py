"""What a person sees while work goes on, and tables of what came out. All on rich."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.status import Status
from rich.table import Table

from tunewright.errors import in_shell


def make_console(quiet: bool = False) -> Console:
    """The console for a person: stderr, so that stdout stays for results."""
    return Console(stderr=True, quiet=quiet, highlight=False)


def typed(word: object) -> str:
    """A path or name as it is typed in a command, for `Console.print`."""
    return escape(in_shell(word))


def print_json(content: Any) -> None:
    """Print one JSON object on stdout, for a machine."""
    print(json.dumps(content, ensure_ascii=False, default=str))


class TrainingScreen:
    """Shows a run: a bar with loss, rate and speed, and a line for each event.

    Args:
        console: where to draw.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._bar = self.progress.add_task("Training", total=None, numbers="")
        self._before: dict[str, TaskID] = {}
        self._smooth: float | None = None

    def __enter__(self) -> TrainingScreen:
        self.progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.progress.stop()

    def rows_prepared(self, what: str, done: int, total: int) -> None:
        """Draw a bar for what comes before training, as long as it takes."""
        if what not in self._before:
            self._before[what] = self.progress.add_task(what, total=total, numbers="rows")
        self.progress.update(self._before[what], completed=done, visible=done < total)

    def training_started(self, state: Any, total_steps: int) -> None:
        """Draw the bar from the step the run begins at."""
        self.progress.update(self._bar, total=total_steps, completed=state.step)
        if state.step:
            self.console.print(f"  Going on from step {state.step} of {total_steps}.")

    def line_written(self, line: dict[str, Any]) -> None:
        """Move the bar for a step; print a line for anything else."""
        if line["event"] == "step":
            loss = line["loss"]
            self._smooth = loss if self._smooth is None else 0.9 * self._smooth + 0.1 * loss
            numbers = (
                f"loss {self._smooth:.3f}  rate {line['learning_rate']:.1e}  "
                f"{line['tokens_per_second']:,.0f} tokens/s"
            )
            self.progress.update(self._bar, completed=line["step"], numbers=numbers)
        elif text := describe_event(line):
            self.console.print(f"  {text}")


def describe_event(line: Mapping[str, Any]) -> str:
    """One line for an event of the journal; empty for those a person need not see."""
    event, step = line["event"], line["step"]
    if event == "evaluation":
        scores = "  ".join(f"{k} {v:.4g}" for k, v in line["metrics"].items())
        best = "  [green]best so far[/]" if line.get("best") else ""
        asked = line.get("generated")
        cost = f"  [dim]({asked['rows']} answers in {asked['seconds']:.1f} s)[/]" if asked else ""
        return f"[dim]step {step}[/]  validation: {escape(scores)}{cost}{best}"
    if event == "diagnosis":
        return f"[yellow]{escape(line['message'])}[/] {escape(line['action'])}"
    if event == "unfrozen":
        layers = f"{line['layers']} layers" if line["layers"] > 0 else "the head"
        return f"[dim]step {step}[/]  {layers} trained: {line['trainable_parameters']:,} weights"
    if event == "early_stopping":
        return f"[dim]step {step}[/]  no better score for a while: stopping early"
    if event == "best_loaded":
        return f"[dim]step {step}[/]  kept the weights of step {line['best_step']}, the best"
    return ""


def said_in(status: Status) -> Callable[[str, int, int], None]:
    """A progress function (what, done, total) that writes how far the work is behind a spinner."""

    def update(what: str, done: int, total: int) -> None:
        status.update(f"{what}: {done:,} of {total:,}")

    return update


@contextmanager
def stage_progress(console: Console) -> Iterator[Any]:
    """A progress function (what, done, total) that draws one bar for the stage at hand."""
    progress = Progress(
        SpinnerColumn(),
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    bars: dict[str, Any] = {}

    def update(what: str, done: int, total: int) -> None:
        if what not in bars:
            for bar in bars.values():
                progress.update(bar, visible=False)
            bars[what] = progress.add_task(what, total=total)
        progress.update(bars[what], completed=done, total=total)

    with progress:
        yield update


def settings_table(recipe: Mapping[str, Any], reasons: Mapping[str, str]) -> Table:
    """The settings that were chosen, each with its reason."""
    table = Table(box=None, padding=(0, 2, 0, 2), show_header=False)
    table.add_column(style="cyan")
    table.add_column()
    table.add_column(style="dim")
    for key, reason in reasons.items():
        value: Any = recipe
        for part in key.split("."):
            value = value[part]
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        table.add_row(key, escape(shown), escape(reason))
    return table


def scores_table(evaluation: Mapping[str, Any]) -> Table:
    """A model's scores with intervals, beside its baselines on the first metric."""
    table = Table(box=None, padding=(0, 2, 0, 2), header_style="dim")
    table.add_column("metric", style="cyan")
    table.add_column("score", justify="right", style="bold")
    table.add_column("95 % interval", justify="right")
    table.add_column("rows", justify="right")
    for name, score in evaluation["metrics"].items():
        table.add_row(name, _number(score["value"]), _interval(score), str(score["n"]))
    for source, scores in evaluation.get("by_task", {}).items():
        for name, score in scores.items():
            shown = escape(f"{name}, {source}")
            table.add_row(shown, _number(score["value"]), _interval(score), str(score["n"]))
    for baseline, content in evaluation["baselines"].items():
        first = next(iter(evaluation["metrics"]))
        score = content["metrics"].get(first)
        if score is not None:
            table.add_row(
                f"[dim]{first}, {baseline}[/]",
                _number(score["value"]),
                _interval(score),
                str(score["n"]),
            )
    return table


def comparison_lines(evaluation: Mapping[str, Any]) -> list[str]:
    """One sentence a baseline: is the model better, and how sure is that?"""
    comparison = evaluation["comparison"]
    return [f"Against {name}: {found['verdict']}" for name, found in comparison.items()]


def finding_lines(evaluation: Mapping[str, Any]) -> list[str]:
    """Sentences on the rows that the model is worse on, as they are or changed, and on what it
    can do beside its task."""
    from tunewright.evaluate.suspect_rows import said_of_suspects

    lost, public = (evaluation.get(key) or {} for key in ("forgetting", "benchmarks"))
    slices = (evaluation.get("slices") or {}).get("verdict", [])
    robust = evaluation.get("robustness") or {}
    said = [*robust.get("verdict", []), *robust.get("notes", [])]
    words = attribution_lines(evaluation.get("attribution") or {"rows": []})
    doubted = evaluation.get("suspects") or {"count": 0}
    labels = [said_of_suspects(doubted)] if doubted["count"] else []
    probed = [
        line
        for found in (lost, public)
        for key in ("verdict", "notes")
        for line in found.get(key, [])
    ]
    return [*slices, *labels, *said, *words, *probed]


def cost_line(evaluation: Mapping[str, Any]) -> str:
    """Size, memory and speed of the model in one line."""
    from tunewright.evaluate import wording

    cost = evaluation["cost"]
    said = [
        f"{wording.count(cost['parameters'])} parameters",
        f"{wording.memory(cost['weight_bytes'])} of weights",
        f"peak memory {wording.memory(cost['peak_memory_bytes'])} ({cost['device']})",
        f"{evaluation['rows_per_second']:,.1f} rows a second",
    ]
    if late := cost["latency_ms"]:
        said.append(
            f"one row by itself {late['median']:,.1f} ms, 95 % of {late['rows']} within "
            f"{late['p95']:,.1f} ms"
        )
    return ", ".join(said) + "."


def attribution_lines(found: Mapping[str, Any]) -> list[str]:
    """Of each row the words that moved its prediction most, with what they add."""
    said = []
    for row in found["rows"]:
        seen = [word for word in row["words"] if word["score"] is not None]
        most = sorted(seen, key=lambda word: -abs(word["score"]))[:5]
        words = ", ".join(f"{word['text']} {word['score']:+.2f}" for word in most)
        meant = f", word {row['word']}" if row.get("word") else ""
        said.append(f"Row {row['row']}{meant}, predicted {row['predicted']}: {words}.")
    return said


def findings_table(findings: Sequence[Mapping[str, Any]]) -> Table:
    """What an audit found, worst first."""
    colours = {"error": "red", "warning": "yellow", "info": "dim"}
    order = list(colours)
    table = Table(box=None, padding=(0, 2, 0, 2), header_style="dim")
    table.add_column("finding")
    table.add_column("rows", justify="right")
    table.add_column("what and how to fix it", overflow="fold")
    for finding in sorted(findings, key=lambda f: order.index(f["severity"])):
        colour = colours[finding["severity"]]
        text = escape(f"{finding['message']} {finding['fix']}".strip())
        table.add_row(f"[{colour}]{finding['id']}[/]", str(finding["rows"]), text)
    return table


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.1f}"


def _interval(score: Mapping[str, Any]) -> str:
    if score["low"] is None or score["high"] is None:
        return "not from one row"
    return f"{_number(score['low'])} to {_number(score['high'])}"
