"""`tunewright init`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunewright.cli.options import Columns, Json, Task, column_mapping


def init(
    data: Annotated[str, typer.Option(help="File, folder with parts, or catalogue name.")],
    model: Annotated[
        str | None, typer.Option(help="The base. Default: the catalogue's for the task.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Where to write the recipe.")] = Path("recipe.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    task: Task = "auto",
    column: Columns = None,
    as_json: Json = False,
) -> None:
    """Write a commented recipe for a data set; it runs as it is."""
    from rich.markup import escape

    from tunewright import pipeline
    from tunewright.artifacts import atomic_write
    from tunewright.cli.screen import make_console, print_json, typed
    from tunewright.errors import ConfigError

    if output.exists() and not force:
        raise ConfigError(f"{output} exists. Choose another --output, or --force to replace it.")
    console = make_console(quiet=as_json)
    with console.status("Reading the data"):
        text, recipe = pipeline.propose_recipe(
            data, model=model, task=task, columns=column_mapping(column)
        )
    atomic_write(output, text)
    if as_json:
        print_json({"path": str(output), "recipe": recipe})
        return
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"[green]Written[/] to {escape(str(output))}. Next: tunewright run {typed(output)}"
    )
