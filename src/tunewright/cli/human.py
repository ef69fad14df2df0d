"""`tunewright evaluate --human`: what a rater sees and presses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import Console

    from tunewright.cli.keys import Keys
    from tunewright.evaluate.people import Answered, Turns

FIRST, SECOND, NEITHER, SKIP, UNDO, QUIT = "1", "2", "0", "s", "u", "q"
_PLACES = {FIRST: 0, SECOND: 1, NEITHER: None}
_VOTES = {FIRST: "first is better", SECOND: "second is better", NEITHER: "neither"}
_GRADES = {"1": "bad", "2": "", "3": "", "4": "", "5": "good"}


def judge(
    folder: Path, rows: Sequence[Answered], rater: str, console: Console, quiet: bool
) -> dict[str, Any] | None:
    """Ask one rater prompt after prompt, then count all votes; None where there is none yet."""
    from tunewright.evaluate.people import count_votes, open_ballot, read_votes

    with open_ballot(folder, rows, rater) as ballot:

        def vote(key: str) -> str:
            if key not in _PLACES:
                return ""
            ballot.vote(_PLACES[key])
            return "neither" if key == NEITHER else f"answer {key}"

        def show(said: str) -> None:
            assert ballot.current is not None
            row = ballot.current
            answers = [row.answer(side) for side in row.shown(ballot.rater)]
            _show(ballot, row.prompt, {"1": answers[0], "2": answers[1]}, _VOTES, console, said)

        _ask(ballot, vote, _quiet(show, ballot, console, quiet), console)
        left = len(ballot.waiting)
    if not read_votes(folder):
        return None
    return count_votes(folder, rows) | {"left": left}


def rate(
    folder: Path, rows: Sequence[Answered], rater: str, console: Console, quiet: bool
) -> dict[str, Any] | None:
    """Show one rater answer after answer, then count all ratings; None where there is none yet."""
    from tunewright.evaluate.ratings import SCALE, count_ratings, open_sheet, read_ratings

    with open_sheet(folder, rows, rater) as sheet:

        def give(key: str) -> str:
            if key not in map(str, SCALE):
                return ""
            sheet.rate(int(key))
            return f"rated {key}"

        def show(said: str) -> None:
            assert sheet.current is not None
            shown = sheet.current
            _show(sheet, shown.row.prompt, {"Answer": shown.answer}, _GRADES, console, said)

        _ask(sheet, give, _quiet(show, sheet, console, quiet), console)
        left = len(sheet.waiting)
    if not read_ratings(folder):
        return None
    return count_ratings(folder, rows) | {"left": left}


def _ask(
    turns: Turns[Any],
    answered: Callable[[str], str],
    show: Callable[[Keys, str], None],
    console: Console,
) -> None:
    """Key after key until all is judged, the rater quits, or keys end."""
    from tunewright.cli.keys import Keys

    with Keys() as keys:
        try:
            said = ""
            while turns.current is not None:
                show(keys, said)
                key = keys.read()
                if key in ("", QUIT):
                    return
                if key == SKIP:
                    turns.skip()
                    said = "skipped"
                elif key == UNDO:
                    said = "taken back" if turns.undo() else "there is nothing to take back"
                else:
                    said = answered(key) or f"{key!r} is no key here"
        except KeyboardInterrupt:
            console.print("Stopped.")


def _quiet(
    show: Callable[[str], None], turns: Turns[Any], console: Console, quiet: bool
) -> Callable[[Keys, str], None]:
    """Show what is asked on a terminal, a line for each key of a pipe, or nothing."""

    def shown(keys: Keys, said: str) -> None:
        if quiet:
            return
        if keys.is_terminal:
            show(said)
        else:
            console.print(_head(turns, said))

    return shown


def _head(turns: Turns[Any], said: str) -> str:
    from rich.markup import escape

    done = turns.total - len(turns.waiting)
    return f"[bold]{done:,}[/] of {turns.total:,}  [dim]{escape(said)}[/]"


def _show(
    turns: Turns[Any],
    prompt: str,
    answers: Mapping[str, str],
    keys: Mapping[str, str],
    console: Console,
    said: str,
) -> None:
    """The prompt, the answers by their titles, and the keys."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    width = min(console.width, 100)
    commands = Text()
    for key, what in {**keys, SKIP: "skip", UNDO: "undo", QUIT: "quit"}.items():
        commands.append(f" {key} ", style="reverse")
        commands.append(f" {what}   " if what else " ")
    panels = [
        Panel(text, title=f"[bold]{title}[/]", title_align="left", width=width, border_style=style)
        for text, title, style in (
            (Text(prompt), "Prompt", "dim"),
            *((Text(answer.strip()), title, "cyan") for title, answer in answers.items()),
        )
    ]
    console.clear()
    console.print(Group(Text.from_markup(_head(turns, said)), *panels, commands), width=width)


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


def say_ratings(found: dict[str, Any] | None, folder: Path, console: Console) -> None:
    """The count of all ratings, and how to go on."""
    from tunewright.evaluate.wording import plural

    if found is None:
        console.print("There is no rating yet; the same call goes on.")
        return
    console.print(f"  {found['verdict']}", markup=False)
    for rater, ratings in found["raters"].items():
        console.print(f"  {rater}: {plural(ratings, 'rating')}", markup=False)
    if agreement := found["agreement"]:
        said = [
            f"{'not defined' if alpha is None else f'{alpha:.2f}'} ({level})"
            for level, alpha in agreement.items()
        ]
        console.print(f"  Krippendorff's alpha of all raters: {', '.join(said)}")
    if found["left"]:
        console.print(f"  {found['left']:,} answers are left; the same call goes on.")
    console.print(f"  {found['preferences']:,} preference pairs are in {folder}.", markup=False)
