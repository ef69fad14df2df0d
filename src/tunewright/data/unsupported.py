"""Shapes of rows that are recognised, and refused with a reason."""

from __future__ import annotations

from collections.abc import Collection

from tunewright.errors import DataError


def refuse_unsupported(source: str, columns: Collection[str]) -> None:
    """Refuse rows of a kind that is known but cannot be trained on yet.

    Args:
        source: where the rows are, for the message.
        columns: their names in lower case.

    Raises:
        DataError: says what the rows are and how to use them all the same.
    """
    if "chosen" in columns and "rejected" in columns:
        raise DataError(
            f"{source} holds preference pairs (chosen, rejected), which Tunewright cannot train on "
            "yet. To tune on the chosen answers: columns={prompt: prompt, completion: chosen}."
        )
    if "tokens" in columns and any(n in columns for n in ("tags", "ner_tags", "labels")):
        raise DataError(
            f"{source} holds one tag a token (token classification), which Tunewright cannot train "
            "on yet."
        )
    if {"prompt", "completion", "label"} <= set(columns):
        raise DataError(
            f"{source} holds answers marked good or bad (prompt, completion, label), which "
            "Tunewright cannot train on yet. To tune on every answer: "
            "columns={prompt: prompt, completion: completion}."
        )
