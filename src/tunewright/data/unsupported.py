"""Shapes of rows that are recognised, can be looked at, and are refused for training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tunewright.errors import DataError


@dataclass(frozen=True, slots=True)
class Untrainable:
    """Rows of a kind that is known but cannot be trained on yet.

    Attributes:
        kind: what they are called.
        columns: role to column.
        reason: what they are and how to use them all the same, to be put behind a source.
    """

    kind: str
    columns: dict[str, str]
    reason: str


def untrainable(columns: Mapping[str, str]) -> Untrainable | None:
    """Recognise rows that cannot be trained on yet.

    Args:
        columns: their names as they are, by their names in lower case.
    """

    def roles(*names: str) -> dict[str, str]:
        return {name: columns[name] for name in names if name in columns}

    if "chosen" in columns and "rejected" in columns:
        return Untrainable(
            "preference",
            roles("prompt", "chosen", "rejected"),
            "holds preference pairs (chosen, rejected), which Tunewright cannot train on yet. To "
            "tune on the chosen answers: columns={prompt: prompt, completion: chosen}.",
        )
    if {"prompt", "completion", "label"} <= columns.keys():
        return Untrainable(
            "unpaired preference",
            roles("prompt", "completion", "label"),
            "holds answers marked good or bad (prompt, completion, label), which Tunewright cannot "
            "train on yet. To tune on every answer: "
            "columns={prompt: prompt, completion: completion}.",
        )
    return None


def refuse_unsupported(source: str, columns: Mapping[str, str]) -> None:
    """Refuse rows of a kind that is known but cannot be trained on yet.

    Args:
        source: where the rows are, for the message.
        columns: their names as they are, by their names in lower case.

    Raises:
        DataError: says what the rows are and how to use them all the same.
    """
    found = untrainable(columns)
    if found is not None:
        raise DataError(f"{source} {found.reason}")
