"""What an audit says: findings, each with how bad it is, where, and what to do about it."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

from tunewright.data.fix_options import option_of, sentence_of
from tunewright.data.records import Record, Splits

Severity = Literal["info", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "error")
"""From harmless to broken."""

EXAMPLES = 3
_SHOWN = 90

PARTS = ("train", "validation", "test")
Place = tuple[str, int]
"""A row: name of its part, position in it."""


class Places(Sequence[Place]):
    """Rows of parts, in 4 bytes each: there may be millions.

    Args:
        places: the first ones.
    """

    def __init__(self, places: Iterable[Place] = ()) -> None:
        self._codes = array("I", (index * len(PARTS) + PARTS.index(p) for p, index in places))

    def add(self, part: str, index: int) -> None:
        """Put one more behind the others."""
        self._codes.append(index * len(PARTS) + PARTS.index(part))

    def __len__(self) -> int:
        return len(self._codes)

    @overload
    def __getitem__(self, index: int) -> Place: ...
    @overload
    def __getitem__(self, index: slice) -> Places: ...
    def __getitem__(self, index: int | slice) -> Place | Places:
        if isinstance(index, slice):
            return Places(self[i] for i in range(*index.indices(len(self))))
        place, part = divmod(self._codes[index], len(PARTS))
        return PARTS[part], place

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that an audit found.

    Attributes:
        id: stable name, `subject.problem`.
        severity: `error` spoils the model or its score, `warning` may, `info` is good to know.
        rows: how many rows it concerns.
        message: one or two sentences for people.
        fix: what to do about it.
        examples: some of the rows, shortened.
        places: the rows that a fix would change or remove.
    """

    id: str
    severity: Severity
    rows: int
    message: str
    fix: str
    examples: tuple[str, ...] = ()
    places: Sequence[Place] = ()

    def to_dict(self) -> dict[str, Any]:
        """The finding as JSON-like values, without `places`."""
        return {
            "id": self.id,
            "severity": self.severity,
            "rows": self.rows,
            "message": self.message,
            "fix": f"{self.fix} {sentence_of(self.id)}".strip(),
            "option": option_of(self.id),
            "examples": list(self.examples),
        }


def record_at(splits: Splits, place: Place) -> Record:
    """The record at a place."""
    part, index = place
    return dict(splits.items())[part].records[index]


def shown(text: str, length: int = _SHOWN) -> str:
    """A text on one line, at most `length` characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 3] + "..."


def show_row(splits: Splits, place: Place) -> str:
    """A row with where it is."""
    record = record_at(splits, place)
    return f"{place[0]} row {record.row or place[1] + 1}: {shown(record.plain_text)!r}"


def show_rows(splits: Splits, places: Iterable[Place]) -> tuple[str, ...]:
    """The first rows of some."""
    return tuple(show_row(splits, place) for _, place in zip(range(EXAMPLES), places, strict=False))


def counted(number: int, singular: str, plural: str = "") -> str:
    """`1 row`, `1,200 rows`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names in quotes, the first few."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more


def row_findings(
    id: str, severity: Severity, splits: Splits, places: Sequence[Place], message: str, fix: str
) -> Iterator[Finding]:
    """A finding about rows, or none where there are no such rows.

    Args:
        id: of the finding.
        severity: of the finding.
        splits: where the rows are.
        places: the rows, those to show first in front.
        message: `{rows}`, `{have}` and `{are}` in it become words that agree with their number.
        fix: what to do about them.
    """
    if not places:
        return
    one = len(places) == 1
    filled = message  # not `format`: labels may hold braces
    for word, many, single in (
        ("{rows}", counted(len(places), "row"), ""),
        ("{have}", "have", "has"),
        ("{are}", "are", "is"),
    ):
        filled = filled.replace(word, single if one and single else many, 1)
    yield Finding(id, severity, len(places), filled, fix, show_rows(splits, places), places)
