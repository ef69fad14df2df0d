"""Packed rows as a model takes them: those of at most so many tokens, or cut, or in blocks.

Does for rows that may be on disk what `Renderer.fit` does for rows in a list: nothing is copied, a
row is cut when it is read. A row costs 8 bytes, 4 more where some are left out; a block of a long
text costs 8, and 8 for each text. This module knows lengths. It does not know how texts become
tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tunewright.data.example import Example, Rendered, Truncation
from tunewright.data.records import Dataset, Task
from tunewright.data.render import Renderer
from tunewright.data.token_store import HeldRows, TokenRows, TokenStore

if TYPE_CHECKING:
    from numpy.typing import NDArray


def fitted(
    renderer: Renderer,
    dataset: Dataset,
    store: TokenStore | HeldRows,
    truncation: Truncation = "error",
) -> Rendered:
    """Bring rows to at most `renderer.max_length` tokens: `renderer.fit` for packed rows.

    Args:
        renderer: that made them.
        dataset: their records, for messages.
        store: the rows, of any length; changed in place where they are held and cut.
        truncation: what to do with rows that are longer.

    Returns:
        `examples` are `TokenRows`, or a list of rows that are held.

    Raises:
        DataError: rows are too long and `truncation` is `error`; or nothing is left.
    """
    if isinstance(store, HeldRows):
        return renderer.fit(dataset, store.examples, truncation)
    limit = renderer.max_length
    if renderer.task is Task.TEXT:
        return Rendered(Blocks(store, limit))
    over = store.longest > limit
    longer = np.flatnonzero(over)
    if len(longer) and truncation == "error":
        lost = sum(
            int(np.maximum(ids[longer].astype(np.int64) - limit, 0).sum())
            for ids in (store.ids, store.target_ids)
            if ids is not None
        )
        longest = store.row(int(longer[np.argmax(store.longest[longer])]))
        raise renderer.too_long(dataset, len(longer), len(store), lost, longest)
    trained = store.trained
    if len(longer) and truncation == "cut":
        trained = trained.copy()
        for row in longer.tolist():
            example = store.row(row)
            renderer.cut(example)
            trained[row] = example.trained_tokens
    taken = trained > 0
    if truncation == "drop":
        taken &= ~over
    kept = None if taken.all() else np.flatnonzero(taken).astype(np.uint32)
    if len(store) and not taken.any():
        raise renderer.nothing_left(dataset)
    rows = FittedRows(renderer, store, kept, trained if kept is None else trained[kept])
    cut = len(longer) if truncation == "cut" else 0
    return Rendered(rows, cut, len(store) - len(rows))


class FittedRows(TokenRows):
    """Rows of at most `renderer.max_length` tokens, each cut when it is read.

    Args:
        renderer: knows where to cut.
        store: rows of any length.
        kept: [n] which of them; None for all.
        trained: [n] tokens that count in each, once it is cut.
    """

    def __init__(
        self,
        renderer: Renderer,
        store: TokenStore,
        kept: NDArray[np.uint32] | None,
        trained: NDArray[np.uint32],
    ) -> None:
        self._renderer = renderer
        self._limit = renderer.max_length
        self._store = store
        self._kept = kept
        self.trained = trained
        self.lengths = self._cut_lengths(store.ids)
        if store.target_ids is not None:
            self.lengths = self.lengths + self._cut_lengths(store.target_ids)

    def _cut_lengths(self, found: NDArray[np.uint32]) -> NDArray[np.uint32]:
        if self._kept is not None:
            found = found[self._kept]
        return found if not len(found) or found.max() <= self._limit else found.clip(0, self._limit)

    def row(self, index: int) -> Example:
        """One row; `index` is not negative."""
        example = self._store.row(index if self._kept is None else int(self._kept[index]))
        if example.longest > self._limit:
            self._renderer.cut(example)
        return example

    def targets(self) -> NDArray[np.float64]:
        """[n] `example.target` of each row, or [n x c] where it is a list."""
        found = self._store.targets()
        return found if self._kept is None else found[self._kept]


class Blocks(TokenRows):
    """Long texts in blocks of at most `limit` tokens. One of a single token would have no loss.

    Args:
        store: whole texts.
        limit: tokens of a block.
    """

    def __init__(self, store: TokenStore, limit: int) -> None:
        self._store = store
        self._limit = limit
        counts, lengths = block_lengths(store.ids, limit)
        self._ends = np.cumsum(counts)
        self.lengths = lengths
        self.trained = np.maximum(self.lengths, 1) - np.uint32(1)

    def row(self, index: int) -> Example:
        """One block; `index` is not negative."""
        text = int(np.searchsorted(self._ends, index, side="right"))
        number = index - (int(self._ends[text - 1]) if text else 0)
        start = number * self._limit
        block, row = self._store.piece(text, start, start + self._limit)
        return Example(block, row, loss_mask=[True] * len(block))

    def targets(self) -> NDArray[np.float64]:
        """Plain texts have no targets: NaN for each block."""
        return np.full(len(self), np.nan)


def block_lengths(
    ids: NDArray[np.uint32], limit: int, shortest: int = 2
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Texts cut into blocks of `limit` tokens and a rest.

    Args:
        ids: [n] tokens of each text.
        limit: of a block.
        shortest: tokens from which a rest is a block.

    Returns:
        [n] how many blocks each text gives, and [b] tokens of each block.
    """
    whole, rest = np.divmod(ids.astype(np.int64), limit)
    with_rest = rest >= shortest
    counts = whole * (limit >= shortest) + with_rest
    lengths = np.full(int(counts.sum()), limit, dtype=np.uint32)
    lengths[np.cumsum(counts)[with_rest] - 1] = rest[with_rest]
    return counts, lengths
