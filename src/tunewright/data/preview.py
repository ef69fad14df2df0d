"""The first rows of a source by role, as a model will see them.

Rows of a kind that cannot be trained on yet are shown too. This module knows sources and records.
It does not know screens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tunewright.data.column_names import by_plain_name
from tunewright.data.convert import to_records
from tunewright.data.folders import PARTS
from tunewright.data.records import Record, Task
from tunewright.data.sources import Sources, detected, gather, name_of
from tunewright.data.table import Table
from tunewright.data.unsupported import untrainable


@dataclass(frozen=True, slots=True)
class Shown:
    """One row.

    Attributes:
        part: train, validation or test.
        source: the file, address or name it is from.
        row: its place there, counted from 1.
        roles: what stands in each role, in the order of the model's input. The turns of a
            conversation are pairs of speaker and words under `messages`.
    """

    part: str
    source: str
    row: int
    roles: dict[str, Any]


@dataclass(slots=True)
class Preview:
    """What a source holds.

    Attributes:
        source: as it was given, without secrets.
        task: a task, or the kind of rows that cannot be trained on.
        trainable: whether a model can be tuned on the rows as they are.
        note: how the task was found, or why it is not trainable.
        columns: role to column, of the first table.
        unused: columns without a role, of the first table.
        parts: rows by part.
        rows: the first ones.
    """

    source: str
    task: str
    trainable: bool
    note: str
    columns: dict[str, str]
    unused: list[str]
    parts: dict[str, int]
    rows: list[Shown] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def preview(
    source: Sources,
    rows: int = 5,
    *,
    task: Task | str = "auto",
    columns: Mapping[str, str] | None = None,
) -> Preview:
    """Read a source and show its first rows, the training rows first.

    Args:
        source: as `tunewright.data.sources.load` takes it.
        rows: how many to show.
        task: `auto` detects it.
        columns: role to column.

    Raises:
        DataError: the source is missing or damaged, or fits no task.
    """
    parts = gather(source)
    counts = {part: sum(map(len, parts.tables.get(part, ()))) for part in PARTS}
    found: Preview | None = None
    for part in PARTS:
        for table in parts.tables.get(part, ()):
            wanted = rows - (len(found.rows) if found else 0)
            if found is None or wanted > 0:
                seen, shown = _look(table, part, wanted, task, columns)
                if found is None:
                    found = seen
                found.rows += shown
    assert found is not None, "a reader refuses a source without rows"
    found.source, found.parts = name_of(source), counts
    return found


def _look(
    table: Table, part: str, rows: int, task: Task | str, columns: Mapping[str, str] | None
) -> tuple[Preview, list[Shown]]:
    first = replace(
        table,
        rows=table.rows[:rows],
        numbers=[table.number(i) for i in range(min(rows, len(table)))],
    )
    known = None if columns or str(task) != "auto" else untrainable(by_plain_name(table.columns))
    if known is not None:
        unused = [name for name in table.columns if name not in known.columns.values()]
        raw = [
            Shown(
                part,
                table.source,
                first.number(i),
                {role: row.get(column) for role, column in known.columns.items()},
            )
            for i, row in enumerate(first.rows)
        ]
        note = f"{table.source} {known.reason}"
        return Preview("", known.kind, False, note, known.columns, unused, {}), raw
    found = detected(table, task, columns)
    used = {*found.columns.values(), *found.flags}
    unused = [name for name in table.columns if name not in used]
    seen = [
        Shown(part, record.source, record.row, _roles(record))
        for record in to_records(first, found)
    ]
    return Preview("", found.task.value, True, found.reason, found.columns, unused, {}), seen


def _roles(record: Record) -> dict[str, Any]:
    if record.messages:
        return {"messages": [[m.role, m.content] for m in record.messages]}
    if record.words:
        return {"tokens": list(record.words), "tags": list(record.class_names)}
    shown: dict[str, Any] = {"text": record.text}
    if record.text_pair is not None:
        shown["text_pair"] = record.text_pair
    if record.answers is not None:
        shown["answers"] = [answer.text for answer in record.answers]
    if record.negative is not None:
        shown["negative"] = record.negative
    if isinstance(record.label, tuple):
        shown["labels"] = list(record.label)
    elif record.label is not None:
        shown["label"] = record.label
    return shown
