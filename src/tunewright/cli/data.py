"""`tunewright data`: look at data sets, mix them, compare them, and take over other settings."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tunewright.cli.few_shot import few_shot
from tunewright.cli.label import label
from tunewright.cli.options import Columns, Json, Task, column_mapping
from tunewright.cli.paraphrase import paraphrase

app = typer.Typer(help="Look at data sets, mix them, and compare them.", no_args_is_help=True)
app.command("label")(label)
app.command("few-shot")(few_shot)
app.command("paraphrase")(paraphrase)


@app.command()
def head(
    source: Annotated[str, typer.Argument(help="File, folder, name, address or query.")],
    rows: Annotated[int, typer.Option("-n", "--rows", min=1, help="Rows to show.")] = 5,
    task: Task = "auto",
    column: Columns = None,
    as_json: Json = False,
) -> None:
    """Show the first rows by role, as a model will see them."""
    from tunewright.cli.data_screen import preview_lines
    from tunewright.cli.screen import make_console, print_json
    from tunewright.data.preview import preview

    console = make_console(quiet=as_json)
    with console.status("Reading the data"):
        found = preview(source, rows, task=task, columns=column_mapping(column))
    if as_json:
        print_json(found.to_dict())
        return
    console.print(preview_lines(found), soft_wrap=False)


@app.command()
def mix(
    out: Annotated[Path, typer.Argument(help="JSONL file to write; it must not exist.")],
    sources: Annotated[list[str], typer.Argument(help="Files, folders, names, addresses.")],
    weight: Annotated[
        list[float] | None,
        typer.Option(help="Rows of a source for each row of one of weight 1. One a source."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of rows.")] = 0,
    task: Task = "auto",
    column: Columns = None,
    as_json: Json = False,
) -> None:
    """Write the training rows of several sources to one file.

    They are evenly interleaved.
    """
    from rich.markup import escape

    from tunewright.cli.data_screen import mix_table
    from tunewright.cli.screen import make_console, print_json
    from tunewright.data.mix import write_mix

    console = make_console(quiet=as_json)
    with console.status("Mixing"):
        made = write_mix(
            out, sources, weight or (), task=task, columns=column_mapping(column), seed=seed
        )
    if as_json:
        print_json(made.to_dict())
        return
    console.print(mix_table(made))
    console.print(f"[green]Written[/]: {made.rows:,} rows for {made.task} to {escape(made.path)}")


@app.command()
def diff(
    before: Annotated[str, typer.Argument(help="The first source.")],
    after: Annotated[str, typer.Argument(help="The second one.")],
    examples: Annotated[int, typer.Option(min=0, help="Changes of each kind to show.")] = 5,
    task: Task = "auto",
    column: Columns = None,
    as_json: Json = False,
) -> None:
    """Say which rows and labels differ between two data sets."""
    from tunewright.cli.data_screen import difference_lines
    from tunewright.cli.screen import make_console, print_json
    from tunewright.data.difference import difference
    from tunewright.data.sources import load

    console = make_console(quiet=as_json)
    mapping = column_mapping(column)
    with console.status("Comparing"):
        first = load(before, task=task, columns=mapping)
        found = difference(first, load(after, task=task, columns=mapping)).to_dict(examples)
    if as_json:
        print_json(found)
        return
    console.print(difference_lines(first.name, found))


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="Settings of LLaMA-Factory, Axolotl or TRL.")],
    info: Annotated[
        Path | None, typer.Option(help="LLaMA-Factory's dataset_info.json, where it is not found.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print a recipe made from settings of another toolkit.

    What it has no place for is named.
    """
    from tunewright.cli.screen import print_json
    from tunewright.config.imports import import_settings

    found = import_settings(file, info)
    if as_json:
        print_json(asdict(found))
    else:
        typer.echo(found.to_yaml(), nl=False)
