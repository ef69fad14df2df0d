"""Some rows of a source, and several sources in given proportions. No row is drawn twice.

What is drawn follows from the seed and the number of rows alone, and a larger draw holds every
row of a smaller one. This module knows tables. It does not know where they come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tunewright.data.folders import PARTS, Parts
from tunewright.data.table import Table
from tunewright.errors import DataError


@dataclass(frozen=True, slots=True)
class Mixing:
    """Proportions that follow from the numbers of rows (arXiv 1910.10683, section 3.5.2).

    Attributes:
        limit: rows of a source that count at most; None counts all.
        temperature: the share of a source is its count to the power of 1 / this.
    """

    limit: int | None = None
    temperature: float = 1.0

    def weights(self, counts: Sequence[int]) -> list[float]:
        """The weight of each source, by its number of rows."""
        most = max(counts) if self.limit is None else self.limit
        return [min(count, most) ** (1 / self.temperature) for count in counts]


def draw(parts: Parts, rows: int, seed: int, source: str) -> Parts:
    """Keep that many rows of each part; of a part with fewer, all.

    Args:
        parts: what was read.
        rows: to keep; their order stays.
        seed: of the choice.
        source: for messages.

    Raises:
        DataError: `rows` is 0, or no part has so many.
    """
    if rows == 0:
        raise DataError(
            f"{source}#0 asks for no row. Give the number of rows to draw, such as {source}#500."
        )
    most = max(_count(tables) for tables in parts.tables.values())
    if rows > most:
        raise DataError(
            f"{source}#{rows} asks for {rows:,} rows, but {source} has {most:,}. Ask for fewer, or "
            "leave out the # and the number to take all."
        )
    tables = {p: _drawn(t, min(rows, _count(t)), seed) for p, t in parts.tables.items()}
    return Parts(tables, parts.exact, parts.named)


def weigh(
    read: Sequence[Parts], weights: Sequence[float], names: Sequence[str], seed: int
) -> list[Parts]:
    """Keep as many training rows of each source as its weight says.

    The mix is the largest one in which the rows of the sources stand to each other as their
    weights and no row is there twice: at least one source is taken whole. (`interleave_datasets`
    with `first_exhausted` gives the same proportions by chance; here they are exact.) Rows of
    parts named validation and test stay as they are.

    Args:
        read: the sources.
        weights: one each, above 0.
        names: one each, for messages.
        seed: of the choice of rows.

    Raises:
        DataError: no row would be drawn from a source.
    """
    counts = training_rows(read)
    scale = min((n / w for n, w in zip(counts, weights, strict=True) if n), default=0.0)
    weighed = []
    for parts, count, weight, name in zip(read, counts, weights, names, strict=True):
        rows = min(count, int(scale * weight + 1e-9))
        if count and not rows:
            raise DataError(
                f"With weight {weight:g} beside {max(weights):g}, no row of {name} would be drawn: "
                "the other sources have too few rows for such weights. Raise the weight, or leave "
                "the source out."
            )
        tables = dict(parts.tables)
        if count:
            tables["train"] = _drawn(tables["train"], rows, seed)
        weighed.append(Parts(tables, parts.exact, parts.named))
    return weighed


def training_rows(read: Sequence[Parts]) -> list[int]:
    """Training rows of each source."""
    return [_count(parts.tables.get("train", ())) for parts in read]


def join(read: Sequence[Parts]) -> Parts:
    """All tables, source after source."""
    together = Parts(exact=all(p.exact for p in read), named=any(p.named for p in read))
    for parts in read:
        for part in PARTS:
            for table in parts.tables.get(part, ()):
                together.add(part, table)
    return together


def _count(tables: Sequence[Table]) -> int:
    return sum(map(len, tables))


def _drawn(tables: Sequence[Table], rows: int, seed: int) -> list[Table]:
    import numpy as np

    total = _count(tables)
    if rows >= total:
        return list(tables)
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(total)
    chosen = sorted(order[:rows].tolist())
    found = []
    start = at = 0
    for table in tables:
        end = start + len(table)
        first = at
        while at < len(chosen) and chosen[at] < end:
            at += 1
        places = [place - start for place in chosen[first:at]]
        if places:
            found.append(
                replace(
                    table,
                    rows=[table.rows[i] for i in places],
                    numbers=[table.number(i) for i in places],
                )
            )
        start = end
    return found
