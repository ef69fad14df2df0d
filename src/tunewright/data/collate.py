"""Which rows make a step, and how a batch of them becomes tensors.

The order of an epoch is a pure function of lengths, sizes, seed and epoch number: a resumed run
needs no stored state to see the same rows in the same order, whatever its micro-batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

import numpy as np

from tunewright.data.example import Example

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

IGNORED = -100
"""Label of a position that does not count in the loss."""

_BUCKET = 20
"""Batches sorted by length together. Fewer mean more padding, more mean less mixing."""


class Steps(Sequence[list[int]]):
    """The rows of each step of an epoch: 4 bytes a row, and 4 a step.

    Args:
        rows: [n] all rows, those of one batch beside each other.
        batch_size: rows of a batch; the last of `rows` may have fewer.
        order: which batch each step takes.
    """

    def __init__(
        self, rows: NDArray[np.uint32], batch_size: int, order: NDArray[np.uint32]
    ) -> None:
        self._rows = rows
        self._size = batch_size
        self._order = order

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, step: int) -> list[int]: ...
    @overload
    def __getitem__(self, step: slice) -> list[list[int]]: ...
    def __getitem__(self, step: int | slice) -> list[int] | list[list[int]]:
        if isinstance(step, slice):
            return [self[i] for i in range(len(self))[step]]
        first = int(self._order[step]) * self._size
        rows: list[int] = self._rows[first : first + self._size].tolist()
        return rows

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


def steps_in_epoch(rows: int, batch_size: int) -> int:
    """How many steps `epoch_order` gives."""
    return -(-rows // batch_size)


def epoch_order(
    lengths: Sequence[int] | NDArray[np.uint32], batch_size: int, seed: int, epoch: int
) -> Steps:
    """The steps of one epoch: indices of the rows of each global batch.

    Rows are shuffled, sorted by length inside buckets of 20 batches, cut into batches, and the
    batches are shuffled. Every row occurs once; only the last batch of a bucket may be short.

    Args:
        lengths: tokens of each row.
        batch_size: rows of a global batch (all devices, all accumulated passes).
        seed: of the run.
        epoch: counted from 0.
    """
    random = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    order = random.permutation(len(lengths)).astype(np.uint32)
    sizes = np.asarray(lengths)
    # A bucket is whole batches, so batch i of all is what stands at i * batch_size.
    for start in range(0, len(order), batch_size * _BUCKET):
        bucket = order[start : start + batch_size * _BUCKET]
        bucket[:] = bucket[np.argsort(sizes[bucket], kind="stable")]
    batches = random.permutation(steps_in_epoch(len(order), batch_size))
    return Steps(order, batch_size, batches.astype(np.uint32))


def micro_batches(
    batch: Sequence[int],
    per_device: int,
    rank: int = 0,
    world: int = 1,
    *,
    lengths: Sequence[int] | NDArray[np.uint32] | None = None,
    max_tokens: int | None = None,
    packed: bool = False,
) -> list[list[int]]:
    """The passes of one process over a global batch.

    Every process gets the same number of passes, so that none waits for another for ever; where
    rows run out, a process gets empty passes.

    Args:
        batch: indices of the rows of a step.
        per_device: rows of a pass at most.
        rank, world: which process of how many.
        lengths: tokens of every row of the data set; needed with `max_tokens`.
        max_tokens: tokens of a pass at most, padding included. A longer row has a pass of its own.
        packed: whether rows are packed, so that none is padded.
    """
    stride = per_device * world
    shares: list[list[list[int]]] = [[] for _ in range(world)]
    for start in range(0, len(batch), stride):
        for number, passes in enumerate(shares):
            first = start + number * per_device
            rows = list(batch[first : first + per_device])
            if lengths is None or max_tokens is None:
                passes.append(rows)
            else:
                passes += _within(rows, lengths, max_tokens, packed)
    most = max(len(passes) for passes in shares)
    mine = shares[rank]
    return mine + [[]] * (most - len(mine))


def _within(
    rows: Sequence[int],
    lengths: Sequence[int] | NDArray[np.uint32],
    max_tokens: int,
    packed: bool,
) -> list[list[int]]:
    """Rows in order, cut where a pass would hold more than `max_tokens`, with its padding."""
    passes: list[list[int]] = []
    width = total = 0
    for row in rows:
        length = int(lengths[row])
        width, total = max(width, length), total + length
        size = total if packed else width * (len(passes[-1]) + 1 if passes else 1)
        if passes and size <= max_tokens:
            passes[-1].append(row)
        else:
            passes.append([row])
            width = total = length
    return passes


def length_order(lengths: Sequence[int] | NDArray[np.uint32], batch_size: int) -> list[list[int]]:
    """Batches for evaluation: longest first, so that memory runs out at once or never."""
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable").tolist()
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def collate(examples: Sequence[Example], pad_id: int) -> dict[str, torch.Tensor]:
    """Pad rows on the right into one batch.

    Returns:
        `input_ids` and `attention_mask` [b x t]; `token_type_ids` [b x t] for pairs; and `labels`:
        [b x t] with -100 where a token does not count (of tagged words, only the first token of
        each counts), the first and the last token of an answer ([b x 2]), or one target a row
        ([b], or [b x c]). For encoder-decoder models they are the targets, [b x u] with a width of
        their own.
    """
    import torch

    width = max(len(example.input_ids) for example in examples)
    shape = (len(examples), width)
    ids = np.full(shape, pad_id, dtype=np.int64)
    attention = np.zeros(shape, dtype=np.int64)
    types = np.zeros(shape, dtype=np.int64)
    labels = np.full(shape, IGNORED, dtype=np.int64)
    for i, example in enumerate(examples):
        length = len(example.input_ids)
        ids[i, :length] = example.input_ids
        attention[i, :length] = 1
        if example.token_type_ids is not None:
            types[i, :length] = example.token_type_ids
        if example.loss_mask is not None:
            labels[i, :length] = np.where(example.loss_mask, example.input_ids, IGNORED)
        if example.word_starts is not None:
            for start, tag in zip(example.word_starts, example.word_tags or (), strict=False):
                if start >= 0 and tag >= 0:
                    labels[i, start] = tag
    batch = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(attention)}
    if any(example.token_type_ids is not None for example in examples):
        batch["token_type_ids"] = torch.from_numpy(types)
    windows = [example.window for example in examples if example.window is not None]
    if windows:
        batch["labels"] = torch.tensor([[window.start, window.end] for window in windows])
    elif examples[0].target_ids is not None:
        batch["labels"] = torch.from_numpy(_targets(examples))
    elif examples[0].loss_mask is not None or examples[0].word_starts is not None:
        batch["labels"] = torch.from_numpy(labels)
    elif examples[0].target is not None:
        batch["labels"] = torch.tensor([example.target for example in examples])
    return batch


def pack(examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    """Rows of a decoder behind one another in one sequence, without padding.

    Returns:
        `input_ids`, `position_ids` and `labels`, each [1 x t]. Positions begin at 0 in each row.
        The first token of a row is no label: it would be predicted from the row before.
    """
    import torch

    ids = np.concatenate([np.asarray(e.input_ids, dtype=np.int64) for e in examples])
    positions = np.concatenate([np.arange(len(e.input_ids)) for e in examples])
    counts = np.concatenate([np.asarray(e.loss_mask, dtype=bool) for e in examples])
    labels = np.where(counts & (positions > 0), ids, IGNORED)
    found = {"input_ids": ids, "position_ids": positions, "labels": labels}
    return {key: torch.from_numpy(value)[None] for key, value in found.items()}


def _targets(examples: Sequence[Example]) -> NDArray[np.int64]:
    """Targets of encoder-decoder rows, padded on the right with what does not count."""
    rows = [example.target_ids or [] for example in examples]
    labels = np.full((len(rows), max(map(len, rows))), IGNORED, dtype=np.int64)
    for i, row in enumerate(rows):
        labels[i, : len(row)] = row
    return labels
