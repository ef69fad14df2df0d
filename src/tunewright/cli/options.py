"""Options that several verbs share, and reading `role=column` words."""

from __future__ import annotations

from typing import Annotated

import typer

from tunewright.errors import ConfigError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Columns = Annotated[
    list[str] | None,
    typer.Option("--column", help="Map a role to a column, such as text=tweet. May be repeated."),
]
Task = Annotated[
    str,
    typer.Option(
        help="classification, multilabel, regression, token_classification, embedding, "
        "question_answering, instruction, text, or auto to detect it."
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
RecipeFile = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="YAML file; `tunewright init` writes one. Without one, KEY=VALUE says everything.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Put on top of the recipe, such as seed=7."),
]
Metrics = Annotated[
    list[str] | None,
    typer.Option("--metric", help="Metric to measure. May be repeated. Default: the task's own."),
]
Samples = Annotated[
    int | None, typer.Option("--num-samples", min=1, help="Score only the first so many rows.")
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        min=1,
        help="Rows in one pass. Default: 64; 8 for text, of which 32 answers are written at once.",
    ),
]
MaxLength = Annotated[
    int | None,
    typer.Option("--max-length", min=2, help="Longest row in tokens. Default: as in training."),
]
MaxNewTokens = Annotated[
    int, typer.Option("--max-new-tokens", min=1, help="Longest generated answer in tokens.")
]
Latency = Annotated[
    int,
    typer.Option(min=0, help="Answer so many rows one by one, too, and say how long one takes."),
]
Slices = Annotated[
    list[str] | None,
    typer.Option(
        "--slice",
        help="Score parts of the rows by length, label, language, source or a column. May be "
        "repeated. Default: all that have few values.",
    ),
]
Quantized = Annotated[
    str | None,
    typer.Option(
        help="Score with linear layers in few bits: int4_weight or int8_dynamic_int4_weight."
    ),
]
GroupSize = Annotated[
    int | None,
    typer.Option(min=8, help="Inputs of a layer that share a scale with --quantized. Default: 32."),
]


def column_mapping(words: list[str] | None) -> dict[str, str]:
    """Turn `["text=tweet"]` into `{"text": "tweet"}`.

    Raises:
        ConfigError: a word has no `=`.
    """
    mapping = {}
    for word in words or []:
        role, equals, column = word.partition("=")
        if not (role and equals and column):
            raise ConfigError(
                f"--column {word!r} is not of the form role=column, such as text=tweet."
            )
        mapping[role] = column
    return mapping


def require_quantized(quantized: str | None, group_size: int | None) -> None:
    """Refuse a group size where nothing is quantized.

    Raises:
        ConfigError: says which option is missing.
    """
    if group_size is not None and quantized is None:
        raise ConfigError("--group-size has no effect without --quantized; give both.")
