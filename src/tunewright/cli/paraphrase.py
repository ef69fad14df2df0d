"""`tunewright data paraphrase`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunewright.cli.options import Columns, Device, Json, Task, column_mapping


def paraphrase(
    source: Annotated[
        str, typer.Argument(help="File, folder, name, or a run; only training rows are rewritten.")
    ],
    model: Annotated[str, typer.Option(help="A decoder that follows instructions.")],
    output: Annotated[Path, typer.Option(help="JSONL file to write.")],
    instruction: Annotated[
        list[str] | None,
        typer.Option(
            help="What to ask before each text. A second one is asked about the answer to the "
            "first, such as a translation back. Default: a paraphrase."
        ),
    ] = None,
    copies: Annotated[int, typer.Option(min=1, help="Rewrites of each row.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of second and later copies.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts in one pass.")] = 8,
    device: Device = "auto",
    task: Task = "auto",
    column: Columns = None,
    as_json: Json = False,
) -> None:
    """Write training rows in other words, as a model says them. The same call goes on after a stop.

    Exit 1 when no rewrite could be used.
    """
    from rich.markup import escape

    from tunewright import pipeline
    from tunewright.cli.screen import make_console, print_json, stage_progress
    from tunewright.data.sources import load_splits
    from tunewright.models.paraphrase import paraphrase as write

    console = make_console(quiet=as_json)
    with console.status("Reading the data"):
        splits = pipeline.run_data(Path(source).expanduser()) or load_splits(
            source, 0.0, 0.0, task=task, columns=column_mapping(column)
        )
    with stage_progress(console) as progress:
        made = write(
            model,
            splits.train,
            output,
            instructions=instruction or (),
            copies=copies,
            seed=seed,
            batch_size=batch_size,
            device=device,
            progress=lambda done, total: progress("Rewriting", done, total),
        )
    if as_json:
        print_json(made.to_dict())
    else:
        before = f", {made.reused:,} of them by an earlier call" if made.reused else ""
        console.print(f"{made.asked:,} rewrites were asked for{before}.")
        for reason, rows in made.dropped.items():
            console.print(f"  dropped, {reason}: {rows:,}")
        written = f"[green]Written[/]: {made.kept:,} rows to {escape(made.output)}"
        console.print(written if made.kept else "[yellow]None could be used.[/]")
        console.print(f"Every rewrite is in {escape(made.journal)}.")
    if not made.kept:
        raise typer.Exit(1)
