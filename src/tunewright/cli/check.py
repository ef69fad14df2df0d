"""`tunewright check`"""

from __future__ import annotations

from typing import Annotated

import typer

from tunewright.cli.options import Columns, Json, Task, column_mapping


def check(
    data: Annotated[str, typer.Argument(help="File, folder with parts, or catalogue name.")],
    model: Annotated[
        str | None, typer.Option(help="Measure lengths in the tokens of this model.")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(min=2, help="Tokens; rows above it are reported.")
    ] = None,
    task: Task = "auto",
    column: Columns = None,
    as_json: Json = False,
) -> None:
    """Say what is wrong with a data set. Exit 1 when an error was found in it."""
    from tunewright import pipeline
    from tunewright.cli.screen import findings_table, make_console, print_json

    console = make_console(quiet=as_json)
    with console.status("Reading the data"):
        found = pipeline.check(
            data, task=task, columns=column_mapping(column), model=model, max_length=max_length
        ).to_dict()
    if as_json:
        print_json(found)
    else:
        parts = ", ".join(f"{name} {rows:,}" for name, rows in found["splits"].items() if rows)
        console.print(f"[bold]{data}[/]: {found['rows']:,} rows ({parts}), task {found['task']}")
        if found["findings"]:
            console.print(findings_table(found["findings"]))
        else:
            console.print("[green]Nothing found.[/]")
    if any(finding["severity"] == "error" for finding in found["findings"]):
        raise typer.Exit(1)
