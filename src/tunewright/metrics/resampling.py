"""Bootstrap and permutation resamples as counts of units, drawn for rows or whole groups.

Legend for shape suffixes: N rows, A atoms (distinct rows that are drawn alike), G groups,
U units, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tunewright.errors import DataError
from tunewright.metrics.sufficient import Floats, Ints, Sufficient, as_list

if TYPE_CHECKING:
    from scipy.sparse import csr_array

RESAMPLES = 2000
"""Default number of resamples."""
_CHUNK = 2_000_000
"""Largest number of counts held at once: 16 MB in float64."""

Groups = Sequence[Any] | NDArray[Any]


def group_ids(groups: Groups | None, n: int) -> Ints | None:
    """Group number of each row [n], or None without groups.

    Raises:
        DataError: not one group a row.
    """
    if groups is None:
        return None
    names = as_list(groups, "groups")
    if len(names) != n:
        raise DataError(f"{len(names)} groups for {n} rows; each row needs one.")
    index: dict[Any, int] = {}
    return np.array([index.setdefault(name, len(index)) for name in names], dtype=np.intp)


class Rows:
    """Rows that are drawn together with everything measured on them.

    Args:
        units: one array [n] for each model, of the units of its rows.
        size: number of units U that they are of.
        groups: group number of each row [n]; whole groups are drawn. None: rows are drawn.
    """

    def __init__(self, units: Sequence[Ints], size: int, groups: Ints | None = None) -> None:
        stacked = np.stack(units, axis=1)
        atoms, atom_N = np.unique(stacked, axis=0, return_inverse=True)
        self._size = size
        self._atom_units = atoms.T
        self._atom_N = atom_N.reshape(-1)
        self.atom_counts = np.bincount(self._atom_N, minlength=len(atoms)).astype(np.float64)
        self._groups = groups
        self._blocks = None if groups is None else self._group_counts(groups)
        self.draws = len(stacked) if self._blocks is None else self._blocks.shape[0]

    def _group_counts(self, groups: Ints) -> csr_array:
        from scipy.sparse import csr_array

        shape = (int(groups.max()) + 1, len(self.atom_counts))
        return csr_array((np.ones(len(groups)), (groups, self._atom_N)), shape=shape)

    def unit_counts(self, atoms_RA: Floats, model: int) -> Floats:
        """Counts of atoms [r x A] as counts of one model's units [r x U]."""
        units = self._atom_units[model]
        if len(units) == self._size and np.array_equal(units, np.arange(self._size)):
            return atoms_RA
        counts = np.zeros((len(atoms_RA), self._size))
        if len(np.unique(units)) == len(units):
            counts[:, units] = atoms_RA
        else:
            for atom, unit in enumerate(units):
                counts[:, unit] += atoms_RA[:, atom]
        return counts

    def _chunks(self, resamples: int) -> Iterator[int]:
        widest = max(self._size, len(self.atom_counts), self.draws)
        size = max(1, min(resamples, _CHUNK // widest))
        for done in range(0, resamples, size):
            yield min(size, resamples - done)

    def bootstrap(self, resamples: int, rng: np.random.Generator) -> Iterator[Floats]:
        """Counts of atoms [r x A] of resamples with replacement, in chunks."""
        for size in self._chunks(resamples):
            if self._blocks is None and len(self.atom_counts) < self.draws:
                share = self.atom_counts / self.atom_counts.sum()
                yield rng.multinomial(self.draws, share, size=size).astype(np.float64)
            else:
                yield self._to_atoms(_draw_with_replacement(self.draws, size, rng))

    def swaps(self, resamples: int, rng: np.random.Generator) -> Iterator[Floats]:
        """How many rows of each atom [r x A] change sides, each with probability one half."""
        for size in self._chunks(resamples):
            if self._blocks is None:
                counts = self.atom_counts.astype(np.int64)
                yield rng.binomial(counts, 0.5, size=(size, len(counts))).astype(np.float64)
            else:
                sides = rng.integers(0, 2, size=(size, self.draws)).astype(np.float64)
                yield self._to_atoms(sides)

    def leave_one_out(self, limit: int, rng: np.random.Generator) -> Iterator[Floats]:
        """Counts of atoms [r x A] without one row or group each, in chunks.

        More than `limit` rows or groups are sampled: the skewness they are for needs no more.
        """
        left_out = np.arange(self.draws)
        if self.draws > limit:
            left_out = rng.choice(self.draws, limit, replace=False)
        start = 0
        for size in self._chunks(len(left_out)):
            chosen = left_out[start : start + size]
            start += size
            counts = np.repeat(self.atom_counts[None], size, axis=0)
            if self._blocks is None:
                counts[np.arange(size), self._atom_N[chosen]] -= 1
            else:
                counts -= self._blocks[chosen].toarray()
            yield counts

    def _to_atoms(self, draws: Floats) -> Floats:
        if self._blocks is not None:
            atoms: Floats = np.asarray(draws @ self._blocks)
            return atoms
        # Every row is an atom of its own here, but atoms are sorted.
        counts = np.empty_like(draws)
        counts[:, self._atom_N] = draws
        return counts


def _draw_with_replacement(n: int, size: int, rng: np.random.Generator) -> Floats:
    drawn = rng.integers(0, n, size=(size, n))
    drawn += np.arange(size)[:, None] * n
    return np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def score_chunks(chunks: Iterator[Floats], score: Callable[[Floats], Floats]) -> Floats:
    """Scores of all resamples [R], chunk by chunk."""
    return np.concatenate([score(chunk) for chunk in chunks])


def joint(
    make: Callable[[Any, Any], Sufficient], references: Any, first: Any, second: Any
) -> Sufficient:
    """Two models' predictions of the same rows, reduced together: n rows of each, in that order."""
    return make(_end_to_end(references, references), _end_to_end(first, second))


def _end_to_end(first: Any, second: Any) -> Any:
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return np.concatenate([first, second])
    return [*first, *second]
