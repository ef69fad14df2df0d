"""`tunewright check`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunewright.cli.options import Columns, Json, Task, column_mapping
from tunewright.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table

    from tunewright.data.fixes import Fixed

_SHOWN_SUSPECTS = 20


def check(
    data: Annotated[str, typer.Argument(help="File, folder with parts, or catalogue name.")],
    model: Annotated[
        str | None,
        typer.Option(help="Measure lengths in this model's tokens; audit its chat template."),
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(min=2, help="Tokens; rows above it are reported.")
    ] = None,
    show_tokens: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Show which tokens of the first N rows are trained."),
    ] = None,
    wrong_labels: Annotated[
        bool, typer.Option("--wrong-labels", help="Also rank training labels that look wrong.")
    ] = False,
    words: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Count rows with a word of this list, one a line."),
    ] = None,
    toxicity: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Find rows that this classifier calls toxic."),
    ] = None,
    toxic_label: Annotated[
        list[str] | None,
        typer.Option(help="Its label that means toxic. May be repeated. Default: by their names."),
    ] = None,
    fix: Annotated[
        str | None,
        typer.Option(metavar="OUT", help="Write a cleaned copy into this new folder."),
    ] = None,
    mask: Annotated[
        bool, typer.Option("--mask", help="With --fix: mask personal data and secrets too.")
    ] = False,
    also: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID", help="With --fix: this fix too, by id of its finding. May be repeated."
        ),
    ] = None,
    card: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the findings as a page of HTML.")
    ] = None,
    task: Task = "auto",
    column: Columns = None,
    as_json: Json = False,
) -> None:
    """Say what is wrong with a data set, and fix what can be fixed.

    Exit 1 when an error was found in it; with --fix, when one is left.
    """
    from pathlib import Path

    from tunewright import checking
    from tunewright.cli.screen import make_console, print_json
    from tunewright.config.source_name import shown
    from tunewright.data.fixes import require_new

    _require_fitting(model, max_length, show_tokens, toxicity, toxic_label)
    _require_fixes(fix, mask, also or (), words, toxicity)
    if fix is not None:
        require_new(Path(fix))
    console = make_console(quiet=as_json)
    options: dict[str, Any] = {"model": model, "max_length": max_length, "words": words}
    options |= {"toxicity": toxicity, "toxic_labels": toxic_label or ()}
    with console.status("Reading the data"):
        splits = checking.read_data(data, task=task, columns=column_mapping(column))
        audit = checking.check(splits, wrong_labels=wrong_labels, **options)
        rows = []
        if show_tokens and model:
            rows = checking.show_tokens(splits, model, show_tokens, max_length)
    found = audit.to_dict()
    _print_findings(console, shown(data), found)
    if found.get("wrong_labels"):
        console.print(_suspects_table(found["wrong_labels"]))
    if show_tokens:
        from tunewright.cli.tokens import print_tokens

        print_tokens(console, rows)
        found["tokens"] = [row.to_dict() for row in rows]
    left = found["findings"]
    if fix is not None:
        with console.status("Fixing"):
            fixed = checking.fix(data, splits, fix, mask=mask, also=also or (), found=audit)
            after = checking.check(str(fixed.folder), **options).to_dict()
        left = after["findings"]
        _print_fixed(console, fixed, after)
        found["fixed"] = {
            "folder": str(fixed.folder),
            "removed": fixed.removed,
            "changed": fixed.changed,
            "rows": fixed.rows,
            "left": [finding["id"] for finding in left],
        }
    if card is not None:
        page = checking.data_card(audit, shown(data), card)
        console.print(f"The data card is in {page}.")
        found["card"] = str(page)
    if as_json:
        print_json(found)
    if any(finding["severity"] == "error" for finding in left):
        raise typer.Exit(1)


def _require_fitting(
    model: str | None,
    max_length: int | None,
    show_tokens: int | None,
    toxicity: str | None,
    toxic_labels: list[str] | None,
) -> None:
    """Refuse options that would have no effect without another one."""
    faults = []
    if model is None and show_tokens is not None:
        faults.append("--show-tokens needs --model: tokens are those of a model.")
    if model is None and max_length is not None:
        faults.append("--max-length needs --model: it counts the tokens of a model.")
    if toxic_labels and toxicity is None:
        faults.append("--toxic-label needs --toxicity: it names a label of that classifier.")
    if faults:
        raise ConfigError(faults)


def _require_fixes(
    fix: str | None, mask: bool, also: Sequence[str], words: str | None, toxicity: str | None
) -> None:
    """Refuse fixes that are unknown, or would have no effect without another option."""
    from tunewright.data.fix_options import ASKED, require_known

    require_known(also, ASKED)
    needed = (
        (mask and fix is None, "--mask needs --fix OUT: the source itself is never changed."),
        (also and fix is None, "--also needs --fix OUT: the source itself is never changed."),
        ("content.words" in also and words is None, "--also content.words needs --words FILE."),
        (
            "content.toxic" in also and toxicity is None,
            "--also content.toxic needs --toxicity MODEL.",
        ),
    )
    faults = [fault for missing, fault in needed if missing]
    if faults:
        raise ConfigError(faults)


def _print_findings(console: Console, data: str, found: dict[str, Any]) -> None:
    from rich.markup import escape

    from tunewright.cli.screen import findings_table

    parts = ", ".join(f"{name} {rows:,}" for name, rows in found["splits"].items() if rows)
    console.print(
        f"[bold]{escape(data)}[/]: {found['rows']:,} rows ({parts}), task {found['task']}"
    )
    if len(found["languages"]) > 1:
        listed = ", ".join(
            f"{name} {rows:,}" for name, rows in list(found["languages"].items())[:5]
        )
        console.print(f"  languages, where it is sure: {listed}")
    if found["findings"]:
        console.print(findings_table(found["findings"]))
    else:
        console.print("[green]Nothing found.[/]")


def _suspects_table(suspects: list[dict[str, Any]]) -> Table:
    """The most suspect rows, each with the label that fits better."""
    from rich.markup import escape
    from rich.table import Table

    from tunewright.data.finding import shown as shortened

    table = Table(box=None, padding=(0, 2, 0, 2), header_style="dim")
    for name in ("row", "label", "fits better", "text"):
        table.add_column(name, justify="right" if name == "row" else "left")
    for suspect in suspects[:_SHOWN_SUSPECTS]:
        words = (suspect["label"], suspect["guess"], shortened(suspect["text"]))
        table.add_row(str(suspect["row"]), *map(escape, words))
    if len(suspects) > _SHOWN_SUSPECTS:
        table.caption = f"the first {_SHOWN_SUSPECTS} of {len(suspects):,}; all with --json"
    return table


def _print_fixed(console: Console, fixed: Fixed, after: dict[str, Any]) -> None:
    from rich.markup import escape

    from tunewright.cli.screen import findings_table
    from tunewright.data.fixes import REMOVED

    console.print()
    if not fixed.removed and not fixed.changed:
        console.print("There was nothing to fix.")
    for name, rows in fixed.changed.items():
        console.print(f"  {name}: {rows:,} {'row' if rows == 1 else 'rows'} changed")
    for name, rows in fixed.removed.items():
        console.print(f"  {name}: {rows:,} {'row' if rows == 1 else 'rows'} removed")
    parts = ", ".join(f"{name} {rows:,}" for name, rows in fixed.rows.items() if rows)
    where = escape(str(fixed.folder))
    console.print(
        f"The cleaned rows are in {where} ({parts}); every row that was removed or changed is in "
        f"{where}/{REMOVED}."
    )
    if after["findings"]:
        console.print("What is left there:")
        console.print(findings_table(after["findings"]))
    else:
        console.print("[green]Nothing is left to find there.[/]")
