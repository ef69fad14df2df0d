"""Several sources become one file, evenly interleaved.

This module knows sources. How many rows a weight draws is decided in `draw.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tunewright.artifacts import atomic_write
from tunewright.config.source_name import shown
from tunewright.data.draw import weigh
from tunewright.data.folders import Parts
from tunewright.data.records import Dataset, Record, Task
from tunewright.data.sources import dataset, gather
from tunewright.errors import DataError


@dataclass(frozen=True, slots=True)
class Taken:
    """What a mix has of one source.

    Attributes:
        source: without secrets.
        weight: as given; None takes every row.
        rows: taken.
        available: training rows that the source has.
        left_out: rows of its validation and test parts, none of which go into a mix.
    """

    source: str
    weight: float | None
    rows: int
    available: int
    left_out: int


@dataclass(frozen=True, slots=True)
class Mix:
    """A mix that was written.

    Attributes:
        path: the file.
        task: of its rows.
        rows: in all.
        taken: by source.
    """

    path: str
    task: str
    rows: int
    taken: tuple[Taken, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def write_mix(
    path: Path,
    sources: Sequence[str],
    weights: Sequence[float] = (),
    *,
    task: Task | str = "auto",
    columns: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Mix:
    """Write the training rows of several sources to one JSONL file, in Tunewright's own columns.

    Rows of a source keep their order and are spread evenly over the file, so that every stretch of
    it has about the proportions of the whole.

    Args:
        path: the file; it must not exist.
        sources: at least one.
        weights: one a source, or none at all, which takes every row.
        task: `auto` detects it; all sources must be for one.
        columns: role to column, for every source.
        seed: of the choice of rows.

    Raises:
        DataError: the file exists, the weights do not fit the sources, or a source is wrong.
    """
    if path.exists():
        raise DataError(f"{path} exists. Choose another file for the mix; nothing was written.")
    if weights and len(weights) != len(sources):
        raise DataError(
            f"{len(weights)} weights were given for {len(sources)} sources. Give one weight a "
            "source, in their order, or none."
        )
    wrong = next((weight for weight in weights if not 0 < weight < float("inf")), None)
    if wrong is not None:
        raise DataError(f"A weight is {wrong:g}; it must be above 0.")
    names = [shown(source) for source in sources]
    read = [gather(source, seed) for source in sources]
    drawn = weigh(read, weights, names, seed) if weights else read
    sets: list[Dataset] = []
    taken = []
    for index, (name, parts) in enumerate(zip(names, drawn, strict=True)):
        tables = parts.tables.get("train", [])
        if not tables:
            raise DataError(f"{name} has no training rows to mix.")
        sets.append(dataset(tables, name, sets[0].task if sets else task, columns))
        left_out = sum(map(len, read[index].all())) - _training(read[index])
        weight = weights[index] if weights else None
        taken.append(Taken(name, weight, len(sets[-1]), _training(read[index]), left_out))
    rows = interleave([found.records for found in sets])
    lines = (json.dumps(record.to_row(), ensure_ascii=False, default=str) for record in rows)
    atomic_write(path, "".join(f"{line}\n" for line in lines))
    return Mix(str(path), sets[0].task.value, len(rows), tuple(taken))


def interleave(sets: Sequence[Sequence[Record]]) -> list[Record]:
    """The records of all sets: the j-th of k stands at the share (j + 1/2) / k of the whole."""
    placed = [
        ((j + 0.5) / len(records), index, record)
        for index, records in enumerate(sets)
        for j, record in enumerate(records)
    ]
    return [record for _, _, record in sorted(placed, key=lambda place: place[:2])]


def _training(parts: Parts) -> int:
    return sum(map(len, parts.tables.get("train", ())))
