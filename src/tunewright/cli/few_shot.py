"""`tunewright data few-shot`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunewright.cli.options import Columns, Json, Task, column_mapping


def few_shot(
    source: Annotated[
        str, typer.Argument(help="File, folder, name, or a run; only training rows are shown.")
    ],
    k: Annotated[int, typer.Option("-k", min=1, help="Examples.")] = 8,
    query: Annotated[str | None, typer.Option(help="The text to answer.")] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="balanced, diverse or nearest. Default: nearest with --query, otherwise balanced "
            "for class labels and diverse for the rest."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice.")] = 0,
    task: Task = "auto",
    column: Columns = None,
    as_json: Json = False,
) -> None:
    """Choose training rows as examples for a prompt, and print it."""
    from tunewright import pipeline
    from tunewright.cli.screen import make_console, print_json
    from tunewright.data.few_shot import few_shot as choose
    from tunewright.data.sources import load_splits

    console = make_console(quiet=as_json)
    with console.status("Reading the data"):
        # Of a file without parts every row is a training row; a run knows which were held out.
        splits = pipeline.run_data(Path(source).expanduser()) or load_splits(
            source, 0.0, 0.0, task=task, columns=column_mapping(column)
        )
        found = choose(splits, k, query=query, strategy=strategy, seed=seed)
    if as_json:
        print_json(found.to_dict())
    else:
        typer.echo(found.prompt)
        if len(found.records) < k:
            typer.echo(f"Only {len(found.records)} rows of {k} could be shown.", err=True)
