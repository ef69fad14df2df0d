"""Which part each unit of rows goes to, so that every part gets its share of every label.

A unit is some rows that must stay together. This module knows sizes and labels. It does not know
records or why rows belong together.
"""

from __future__ import annotations

import random
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PARTS = 3
"""Train, validation, test, by their numbers 0, 1 and 2."""
_BLOCK = 1 << 12

Shares = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Columns:
    """Units as columns, so that there may be millions of them.

    Attributes:
        sizes: [u] rows of each.
        strata: [u] number of the stratum of each; units of one stratum are alike.
        labels: [r] of each row, as a number, unit after unit; negative for none.
        starts: [u + 1] where the rows of each unit begin.
    """

    sizes: NDArray[np.uint32]
    strata: NDArray[Any]
    labels: NDArray[np.int32]
    starts: NDArray[np.uint32]

    def labels_of(self, unit: int) -> set[int]:
        """The different labels in a unit."""
        found = self.labels[self.starts[unit] : self.starts[unit + 1]].tolist()
        return {label for label in found if label >= 0}


@dataclass(frozen=True, slots=True)
class Unit:
    """Rows that stay together.

    Attributes:
        size: how many rows.
        labels: rows by label; a row may count under several labels, or under none.
        time: of the newest row.
    """

    size: int
    labels: dict[str, int]
    time: float = 0.0


def by_stratum(units: Columns, shares: Shares, noise: random.Random) -> NDArray[np.int8]:
    """The part of each unit, each stratum cut in the asked shares.

    Walks the units, those of one stratum beside each other and shuffled within it, and gives each
    to the part that lacks most rows, so that every run of neighbours is cut in those shares. The
    first unit of all, and of every label, goes to train.
    """
    import numpy as np

    shuffled = array("i", range(len(units.sizes)))
    noise.shuffle(shuffled)
    order = np.frombuffer(shuffled, dtype=np.int32)
    order = order[np.argsort(units.strata[order], kind="stable")]
    places = np.zeros(len(order), dtype=np.int8)
    filled = [0] * PARTS
    seen = 0
    trained: set[int] = set()
    for block in range(0, len(order), _BLOCK):
        chosen = order[block : block + _BLOCK]
        for u, size in zip(chosen.tolist(), units.sizes[chosen].tolist(), strict=True):
            seen += size
            part = max(range(PARTS), key=lambda p: (shares[p] * seen - filled[p], -p))
            labels = units.labels_of(u)
            if seen == size or labels - trained or shares[part] == 0:
                part = 0
            if part == 0:
                trained |= labels
            filled[part] += size
            places[u] = part
    _fill_empty_columns(units, order, places, shares)
    return places


def _fill_empty_columns(
    units: Columns, order: NDArray[np.int32], places: NDArray[np.int8], shares: Shares
) -> None:
    """As `_fill_empty`."""
    import numpy as np

    for part in range(1, PARTS):
        if shares[part] == 0 or bool((places == part).any()):
            continue
        kept: Counter[int] = Counter()
        for u in np.flatnonzero(places == 0).tolist():
            kept.update(units.labels_of(u))
        for u in order[np.argsort(units.sizes[order], kind="stable")].tolist():
            in_train = places[u] == 0 and int((places == 0).sum()) > 1
            if in_train and all(kept[label] > 1 for label in units.labels_of(u)):
                places[u] = part
                break


def iteratively(units: Sequence[Unit], shares: Shares, noise: random.Random) -> list[int]:
    """The part of each unit, for rows with several labels each.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas, "On the Stratification of
    Multi-label Data", ECML PKDD 2011, algorithm 1), on units instead of rows: the label with the
    fewest rows left is dealt out first, each unit to the part that still wants most rows of that
    label; of such parts, to the one that wants most rows; of such, to one by chance. Unlike there,
    a part that has its share of all rows takes no more. The first unit of all, and of every label,
    goes to train.
    """
    rows = sum(unit.size for unit in units)
    wanted = [share * rows for share in shares]
    left: dict[str, int] = {}
    holders: dict[str, list[int]] = {}
    for u, unit in enumerate(units):
        for label, count in unit.labels.items():
            left[label] = left.get(label, 0) + count
            holders.setdefault(label, []).append(u)
    wanted_of = {label: [share * count for share in shares] for label, count in left.items()}
    places = [-1] * len(units)
    trained: set[str] = set()
    open_parts = [part for part in range(PARTS) if shares[part] > 0]

    def give(u: int, label: str | None) -> None:
        unit = units[u]
        desire = wanted_of[label] if label is not None else wanted
        takers = [p for p in open_parts if wanted[p] > 0] or open_parts
        part = max(takers, key=lambda p: (desire[p], wanted[p], noise.random()))
        untouched = wanted[0] == shares[0] * rows
        if untouched or unit.labels.keys() - trained:
            part = 0
        if part == 0:
            trained.update(unit.labels)
        places[u] = part
        wanted[part] -= unit.size
        for name, count in unit.labels.items():
            left[name] -= count
            wanted_of[name][part] -= count

    while any(left.values()):
        rarest = min((label for label in left if left[label]), key=lambda x: (left[x], x))
        ready = [u for u in holders[rarest] if places[u] < 0]
        noise.shuffle(ready)
        ready.sort(key=lambda u: -units[u].size)
        for u in ready:
            give(u, rarest)
    rest = [u for u in range(len(units)) if places[u] < 0]
    noise.shuffle(rest)
    for u in sorted(rest, key=lambda u: -units[u].size):
        give(u, None)
    order = list(range(len(units)))
    noise.shuffle(order)
    _fill_empty(units, order, places, shares)
    return places


def by_time(units: Sequence[Unit], shares: Shares) -> list[int]:
    """The part of each unit: the newest are the test part, those before them validation.

    Units of equal time stay together. Each border lies where its part's size is nearest to its
    share; a part with a share above 0 gets the units of at least one time where there are enough
    times, and train keeps at least one.
    """
    times = sorted({unit.time for unit in units}, reverse=True)
    rows = dict.fromkeys(times, 0)
    for unit in units:
        rows[unit.time] += unit.size
    total = sum(rows.values())
    part_of: dict[float, int] = {}
    first = 0
    for part in (2, 1):
        if shares[part] == 0:
            continue
        size = 0
        # One time for train, and one for each part that is still to come.
        last = len(times) - 1 - (part == 2 and shares[1] > 0)
        while first < last:
            step = rows[times[first]]
            goal = shares[part] * total
            if size and abs(size + step - goal) >= abs(size - goal):
                break
            part_of[times[first]] = part
            size += step
            first += 1
    return [part_of.get(unit.time, 0) for unit in units]


def _fill_empty(
    units: Sequence[Unit], order: Sequence[int], places: list[int], shares: Shares
) -> None:
    """Give each empty part that has a share the smallest unit whose labels train keeps, if any."""
    for part in range(1, PARTS):
        if shares[part] == 0 or part in places:
            continue
        kept: dict[str, int] = {}
        for u, place in enumerate(places):
            for label in units[u].labels if place == 0 else ():
                kept[label] = kept.get(label, 0) + 1
        for u in sorted(order, key=lambda u: units[u].size):
            in_train = places[u] == 0 and places.count(0) > 1
            if in_train and all(kept[label] > 1 for label in units[u].labels):
                places[u] = part
                break
