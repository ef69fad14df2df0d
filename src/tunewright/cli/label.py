"""`tunewright data label`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunewright.cli.options import Columns, Device, Json, Task, column_mapping

if TYPE_CHECKING:
    from rich.console import Console

    from tunewright.cli.keys import Keys
    from tunewright.data.labelling import Session
    from tunewright.data.records import Dataset

SKIP, UNDO, COMMENT, QUIT, MORE = "s", "u", "c", "q", " "
"""Keys that are no labels."""
LABEL_KEYS = "123456789abdefghijklmnoprtvwxyz"
"""Keys of the labels, in their order."""


def label(
    source: Annotated[str, typer.Argument(help="Rows to label: file, folder or name.")],
    output: Annotated[
        Path, typer.Option(help="JSONL file that gets a line for each label given.")
    ] = Path("labels.jsonl"),
    labels: Annotated[
        str, typer.Option(help="Labels by commas. Default: those the source has.")
    ] = "",
    model: Annotated[
        str | None, typer.Option(help="Ask first what this model can tell least about.")
    ] = None,
    shuffle: Annotated[bool, typer.Option("--shuffle", help="Ask in an order by chance.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of --shuffle.")] = 0,
    device: Device = "auto",
    task: Task = "auto",
    column: Columns = None,
    as_json: Json = False,
) -> None:
    """Label rows by hand, one key a row. Each key is saved; the same call goes on later.

    Keys: a digit or letter for each label, s to skip a row, u to undo, c to comment, q to quit.
    From a pipe, keys are read as characters and a comment up to the end of its line.
    """
    from tunewright.cli.keys import Keys
    from tunewright.cli.screen import make_console, print_json
    from tunewright.data.labelling import open_session
    from tunewright.data.sources import load

    console = make_console(quiet=as_json)
    with console.status("Reading the data"):
        dataset = load(source, task=task, columns=column_mapping(column))
    names = _label_names(labels, dataset)
    dataset = _ordered(dataset, model, shuffle, seed, device, console)
    with open_session(dataset, output, names) as session:
        with Keys() as keys:
            interrupted = _ask(session, keys, console, as_json)
        summary = {
            "output": str(output),
            "labelled": session.labelled,
            "left": len(session.waiting),
            "skipped": session.skipped,
            "copies": session.copies,
            "labels": dict(session.counts()),
        }
    if as_json:
        print_json(summary)
    else:
        _say_goodbye(console, summary, interrupted)


def _label_names(given: str, dataset: Dataset) -> list[str]:
    from tunewright.config.task import Task
    from tunewright.errors import ConfigError

    if dataset.task is Task.TOKEN_CLASSIFICATION:
        raise ConfigError(
            f"{dataset.name} has one tag a word; `data label` gives one label a row. Give rows of "
            "texts."
        )
    if dataset.task in (Task.EMBEDDING, Task.QUESTION_ANSWERING):
        raise ConfigError(
            f"{dataset.name} has rows of task {dataset.task.value!r}; `data label` gives one label "
            "a row. Give rows of texts."
        )
    names = [name.strip() for name in given.split(",") if name.strip()] or dataset.labels
    if len(set(names)) < 2:
        found = f"{names[0]!r} only" if names else "none, and the source has none"
        raise ConfigError(
            f"--labels gives {found}; at least two labels are needed, such as --labels "
            "positive,negative."
        )
    if len(set(names)) < len(names):
        raise ConfigError("--labels has a label twice; each needs a key of its own.")
    if len(names) > len(LABEL_KEYS):
        raise ConfigError(
            f"There are {len(names)} labels and {len(LABEL_KEYS)} keys. Label in two rounds: first "
            "groups of labels, then the labels of each group."
        )
    return names


def _ordered(
    dataset: Dataset, model: str | None, shuffle: bool, seed: int, device: str, console: Console
) -> Dataset:
    """The rows in the order they are asked."""
    import random

    from tunewright.errors import ConfigError

    if model is not None and shuffle:
        raise ConfigError("--model and --shuffle both decide the order; give one of them.")
    rows = list(range(len(dataset)))
    if shuffle:
        random.Random(seed).shuffle(rows)
    elif model is not None:
        from tunewright.cli.screen import stage_progress
        from tunewright.models.margins import margins

        done = 0
        with stage_progress(console) as progress:

            def step(count: int) -> None:
                nonlocal done
                done += count
                progress("Asking the model", done, len(dataset))

            unsure = margins(model, dataset.records, device=device, progress=step)
        rows.sort(key=lambda row: float(unsure[row]))
    return dataset.select(rows)


def _ask(session: Session, keys: Keys, console: Console, quiet: bool) -> bool:
    """Ask row after row until all are done, or the person quits; True on Ctrl-C."""
    by_key = dict(zip(LABEL_KEYS, session.labels, strict=False))
    shown, said = 0, ""
    try:
        while session.current is not None:
            if not quiet:
                shown = _show(session, by_key, console, keys.is_terminal, shown, said)
            said = ""
            key = keys.read()
            if key in ("", QUIT):
                return False
            if key == MORE:
                continue
            shown = 0
            if key in by_key:
                session.label(by_key[key])
                said = f"labelled {by_key[key]}"
            elif key == SKIP:
                session.skip()
                said = "skipped"
            elif key == UNDO:
                said = "taken back" if session.undo() else "there is nothing to take back"
            elif key == COMMENT:
                session.comment = keys.read_line("Comment: ")
            else:
                said = f"{key!r} is no key here"
    except KeyboardInterrupt:
        return True
    return False


def _show(
    session: Session,
    by_key: dict[str, str],
    console: Console,
    is_terminal: bool,
    first: int,
    said: str,
) -> int:
    """Draw the current row from line `first` on; return the line to go on with at `MORE`."""
    from rich.console import Group
    from rich.markup import escape
    from rich.panel import Panel
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    record = session.current
    assert record is not None
    # Through a pipe nobody looks; a line a row is enough to follow.
    if not is_terminal:
        console.print(f"[dim]{said}[/]" if said else "", end="\n" if said else "")
        console.print(Text(" ".join(record.plain_text.split())), overflow="ellipsis", no_wrap=True)
        return 0
    head = Table.grid(padding=(0, 2), expand=False)
    put_off = f"{session.skipped:,} skipped" if session.skipped else ""
    if put_off and session.skipped == len(session.waiting):
        put_off = "only skipped rows are left"
    head.add_row(
        f"[bold]{session.labelled:,}[/] of {session.total:,}",
        ProgressBar(total=max(1, session.total), completed=session.labelled, width=28),
        f"[dim]{put_off}[/]",
        f"[dim]{escape(said)}[/]",
    )
    counts = session.counts()
    legend = Text()
    for key, name in by_key.items():
        legend.append(f" {key} ", style="reverse")
        legend.append(f" {name}")
        legend.append(f" {counts[name]:,}   ", style="dim")
    commands = Text()
    for key, what in ((SKIP, "skip"), (UNDO, "undo"), (COMMENT, "comment"), (QUIT, "quit")):
        commands.append(f" {key} ", style="reverse dim")
        commands.append(f" {what}   ", style="dim")
    width = min(console.width, 100)
    body = Text(record.text if not record.messages else record.plain_text)
    if record.text_pair is not None:
        body = Text(f"1  {record.text}\n\n2  {record.text_pair}")
    lines = body.wrap(console, width - 6)
    legend_lines = len(legend.wrap(console, width)) + len(commands.wrap(console, width))
    room = max(3, console.height - legend_lines - 10)
    page = lines[first : first + room]
    further = first + room < len(lines)
    subtitle = (
        "[dim]space: more[/]" if further else "[dim]space: from the start[/]" if first else None
    )
    notes: list[Any] = []
    if record.label is not None:
        before = ", ".join(record.label) if isinstance(record.label, tuple) else str(record.label)
        notes.append(Text(f"label so far: {before}", style="dim"))
    if session.comment:
        notes.append(Text(f"comment: {session.comment}", style="yellow"))
    panel = Panel(
        Group(*page),
        title=f"[dim]{escape(Path(record.source).name)} row {record.row}[/]",
        subtitle=subtitle,
        width=width,
        padding=(1, 2),
        border_style="cyan",
    )
    console.clear()
    console.print(Group(head, panel, *notes, legend, commands), width=width)
    return first + room if further else 0


def _say_goodbye(console: Console, summary: dict[str, Any], interrupted: bool) -> None:
    from rich.markup import escape

    from tunewright.cli.screen import typed

    counts = ", ".join(f"{name} {n:,}" for name, n in summary["labels"].items()) or "none"
    total = summary["labelled"] + summary["left"]
    console.print(
        f"{'Stopped. ' if interrupted else ''}[bold]{summary['labelled']:,}[/] of {total:,} rows "
        f"have a label: {escape(counts)}."
    )
    if summary["copies"]:
        console.print(
            f"{summary['copies']:,} rows repeat the text of another; those were asked once."
        )
    if summary["left"]:
        console.print(f"All of it is in {summary['output']}; the same call goes on.")
    else:
        console.print(
            f"[green]All rows have a label.[/] Next: tunewright check {typed(summary['output'])}"
        )
