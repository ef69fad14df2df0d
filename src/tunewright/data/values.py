"""What one cell of a table holds, whatever type its file could write it in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def cell(row: Mapping[str, Any], column: str) -> Any:
    """What a row has in a column, or at `COLUMN.KEY` of the objects in it; None for nothing."""
    if column in row or "." not in column:
        return row.get(column)
    outer, _, key = column.partition(".")
    inner = row.get(outer)
    return cell(inner, key) if isinstance(inner, Mapping) else None


def is_conversation(value: Any) -> bool:
    """True for a list of turns, either role/content or from/value, or the same as JSON text."""
    turns = parsed_list(value)
    return bool(turns) and all(
        isinstance(turn, Mapping)
        and (("role" in turn and "content" in turn) or ("from" in turn and "value" in turn))
        for turn in turns or ()
    )


def parsed_list(value: Any) -> list[Any] | None:
    """The value as a list, where it is one or is the JSON text of one (CSV has only text)."""
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            content = json.loads(value)
        except json.JSONDecodeError:
            return None
        return content if isinstance(content, list) else None
    return None


def as_flag(value: Any) -> bool | None:
    """The value as yes or no, where it is one, or the number 0 or 1 or the text of one."""
    number = float(value) if isinstance(value, bool) else as_number(value)
    return bool(number) if number in (0.0, 1.0) else None


def as_number(value: Any) -> float | None:
    """The value as a number, where it is one or is the text of one."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return None
