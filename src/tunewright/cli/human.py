"""`tunewright evaluate --human`: what a rater sees and presses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from tunewright.cli.keys import Keys
    from tunewright.evaluate.people import Answered, Ballot

FIRST, SECOND, NEITHER, SKIP, UNDO, QUIT = "1", "2", "0", "s", "u", "q"
_PLACES = {FIRST: 0, SECOND: 1, NEITHER: None}


def judge(
    folder: Path, rows: Sequence[Answered], rater: str, console: Console, quiet: bool
) -> dict[str, Any] | None:
    """Ask one rater prompt after prompt, then count all votes; None where there is none yet."""
    from tunewright.cli.keys import Keys
    from tunewright.evaluate.people import count_votes, open_ballot, read_votes

    with open_ballot(folder, rows, rater) as ballot:
        with Keys() as keys:
            try:
                _ask(ballot, keys, console, quiet)
            except KeyboardInterrupt:
                console.print("Stopped.")
        left = len(ballot.waiting)
    if not read_votes(folder):
        return None
    return count_votes(folder, rows) | {"left": left}


def _ask(ballot: Ballot, keys: Keys, console: Console, quiet: bool) -> None:
    said = ""
    while (row := ballot.current) is not None:
        if not quiet:
            _show(ballot, row, console, keys.is_terminal, said)
        said = ""
        key = keys.read()
        if key in ("", QUIT):
            return
        if key in _PLACES:
            ballot.vote(_PLACES[key])
            said = "neither" if key == NEITHER else f"answer {key}"
        elif key == SKIP:
            ballot.skip()
            said = "skipped"
        elif key == UNDO:
            said = "taken back" if ballot.undo() else "there is nothing to take back"
        else:
            said = f"{key!r} is no key here"


def _show(ballot: Ballot, row: Answered, console: Console, is_terminal: bool, said: str) -> None:
    from rich.console import Group
    from rich.markup import escape
    from rich.panel import Panel
    from rich.text import Text

    first, second = (Text(row.answer(side).strip()) for side in row.shown(ballot.rater))
    done = ballot.total - len(ballot.waiting)
    head = f"[bold]{done:,}[/] of {ballot.total:,}  [dim]{escape(said)}[/]"
    if not is_terminal:
        console.print(head)
        return
    width = min(console.width, 100)
    commands = Text()
    for key, what in (
        (FIRST, "first is better"),
        (SECOND, "second is better"),
        (NEITHER, "neither"),
        (SKIP, "skip"),
        (UNDO, "undo"),
        (QUIT, "quit"),
    ):
        commands.append(f" {key} ", style="reverse")
        commands.append(f" {what}   ")
    panels = [
        Panel(text, title=f"[bold]{title}[/]", title_align="left", width=width, border_style=style)
        for text, title, style in (
            (Text(row.prompt), "Prompt", "dim"),
            (first, "1", "cyan"),
            (second, "2", "cyan"),
        )
    ]
    console.clear()
    console.print(Group(Text.from_markup(head), *panels, commands), width=width)


def say_judge(found: dict[str, Any], folder: Path, console: Console) -> None:
    """What a judging model decided, and whether the order of the answers mattered to it."""
    judge = found["judge"]
    console.print(f"  {found['verdict']}", markup=False)
    console.print(f"  {judge['verdict']}", markup=False)
    if judge["unclear"]:
        console.print(f"  {judge['unclear']:,} replies have no choice; those prompts are ties.")
    if found["same"]:
        console.print(f"  {found['same']:,} prompts get the same answer from both; not asked.")
    console.print(f"  {found['preferences']:,} preference pairs are in {folder}.", markup=False)


def say_result(found: dict[str, Any] | None, folder: Path, console: Console) -> None:
    """The count of all votes, and how to go on."""
    if found is None:
        console.print("There is no vote yet; the same call goes on.")
        return
    console.print(f"  {found['verdict']}")
    for rater, votes in found["raters"].items():
        console.print(f"  {rater}: {votes:,} votes", markup=False)
    if agreement := found["agreement"]:
        alpha = agreement["alpha"]
        said = "not defined" if alpha is None else f"{alpha:.2f}"
        console.print(f"  Krippendorff's alpha of all raters: {said}")
        for pair in agreement["kappa"]:
            kappa = "not defined" if pair["kappa"] is None else f"{pair['kappa']:.2f}"
            names = " and ".join(pair["raters"])
            prompts = f"{pair['prompts']:,} prompts"
            console.print(f"  Cohen's kappa of {names}: {kappa} ({prompts})", markup=False)
    if found["same"]:
        console.print(f"  {found['same']:,} prompts get the same answer from both; not asked.")
    if found["left"]:
        console.print(f"  {found['left']:,} prompts are left; the same call goes on.")
    console.print(f"  {found['preferences']:,} preference pairs are in {folder}.", markup=False)
