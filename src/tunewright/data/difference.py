"""What changed between two data sets: rows added, rows removed, labels changed.

Rows are the same when their texts are, case and spacing aside. For conversations the text is all
that comes before the last answer, and that answer stands in the label's place. This module knows
records. It does not know files.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from tunewright.data.duplicates import normal_text
from tunewright.data.records import Dataset, Label, Record
from tunewright.errors import DataError

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Change:
    """One row that is not the same in both.

    Attributes:
        text: what the row says, or asks.
        before: its label or answer in the first data set; None where it was not there, and in
            tasks without.
        after: the same in the second one.
        before_place: source and row in the first one; None where it was not there.
        after_place: the same in the second one.
    """

    text: str
    before: Any
    after: Any
    before_place: str | None
    after_place: str | None


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed from one data set to another; a row that is there twice counts twice.

    Attributes:
        before: rows of the first one.
        after: rows of the second one.
        same: rows in both, with the same label or answer.
        added: rows only in the second one.
        removed: rows only in the first one.
        changed: rows in both whose label or answer is another.
    """

    before: int
    after: int
    same: int
    added: tuple[Change, ...]
    removed: tuple[Change, ...]
    changed: tuple[Change, ...]

    def to_dict(self, examples: int = _SHOWN) -> dict[str, Any]:
        """As JSON, with some examples of each kind of change."""
        kinds = {"added": self.added, "removed": self.removed, "changed": self.changed}
        return {
            "before": self.before,
            "after": self.after,
            "same": self.same,
            **{kind: len(changes) for kind, changes in kinds.items()},
            "examples": {
                kind: [asdict(change) for change in changes[:examples]]
                for kind, changes in kinds.items()
            },
        }


def difference(before: Dataset, after: Dataset) -> Difference:
    """Compare two data sets row by row.

    Rows of one text are paired by their labels first; what is left of both is a changed label, and
    what is left of one was added or removed. Changes are in the order of the rows.

    Args:
        before: the first data set.
        after: the second one.

    Raises:
        DataError: they are for different tasks.
    """
    if before.task is not after.task:
        raise DataError(
            f"{before.name} is for {before.task.value}, {after.name} for {after.task.value}, so "
            "their rows cannot be compared. Set the task that both fit, or map their columns."
        )
    old, new = _by_text(before), _by_text(after)
    added: list[Change] = []
    removed: list[Change] = []
    changed: list[Change] = []
    same = 0
    for key in dict.fromkeys([*old, *new]):
        left, right, equal = _unpaired(old.get(key, []), new.get(key, []))
        same += equal
        pairs = min(len(left), len(right))
        changed += [_change(a, b) for a, b in zip(left[:pairs], right[:pairs], strict=True)]
        removed += [_change(a, None) for a in left[pairs:]]
        added += [_change(None, b) for b in right[pairs:]]
    return Difference(len(before), len(after), same, tuple(added), tuple(removed), tuple(changed))


def _by_text(rows: Iterable[Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = defaultdict(list)
    for record in rows:
        found[normal_text(_asked(record))].append(record)
    return found


def _unpaired(left: list[Record], right: list[Record]) -> tuple[list[Record], list[Record], int]:
    """Rows of one text whose labels the other side lacks, and how many have an equal."""
    shared = Counter(map(_comparable, left)) & Counter(map(_comparable, right))

    def rest(records: list[Record]) -> list[Record]:
        taken = Counter(shared)
        kept = []
        for record in records:
            label = _comparable(record)
            if taken[label]:
                taken[label] -= 1
            else:
                kept.append(record)
        return kept

    return rest(left), rest(right), shared.total()


def _change(before: Record | None, after: Record | None) -> Change:
    one = before or after
    assert one is not None
    return Change(
        _asked(one),
        None if before is None else _said(before),
        None if after is None else _said(after),
        None if before is None else f"{before.source}, row {before.row}",
        None if after is None else f"{after.source}, row {after.row}",
    )


def _last_answer(record: Record) -> int:
    trained = [i for i, message in enumerate(record.messages) if message.train]
    return trained[-1] if trained else len(record.messages)


def _asked(record: Record) -> str:
    if record.messages:
        asked = record.messages[: _last_answer(record)]
        return "\n".join(message.content for message in asked)
    return record.plain_text


def _said(record: Record) -> Any:
    if record.messages:
        return "\n".join(message.content for message in record.messages[_last_answer(record) :])
    if record.answers is not None:
        return [answer.text for answer in record.answers]
    return list(record.label) if isinstance(record.label, tuple) else record.label


def _comparable(record: Record) -> Label | str | None:
    """A label as it counts: the order of several does not, nor do case and spacing of an answer."""
    if record.messages:
        return normal_text(_said(record))
    if record.answers is not None:
        return tuple(sorted(answer.text for answer in record.answers))
    return tuple(sorted(record.label)) if isinstance(record.label, tuple) else record.label
