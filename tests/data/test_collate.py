"""Which rows make a step."""

from __future__ import annotations

import tracemalloc

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tunewright.data.collate import (
    IGNORED,
    epoch_order,
    length_order,
    micro_batches,
    pack,
    steps_in_epoch,
)
from tunewright.data.example import Example

lengths = st.lists(st.integers(1, 500), min_size=1, max_size=300)


@given(lengths, st.integers(1, 16), st.integers(0, 9), st.integers(0, 3))
def test_every_row_occurs_once_an_epoch(
    sizes: list[int], batch: int, seed: int, epoch: int
) -> None:
    order = epoch_order(sizes, batch, seed, epoch)
    assert sorted(i for rows in order for i in rows) == list(range(len(sizes)))
    assert all(1 <= len(rows) <= batch for rows in order)


@given(lengths, st.integers(1, 16), st.integers(0, 9))
def test_number_of_steps_does_not_depend_on_the_epoch(
    sizes: list[int], batch: int, seed: int
) -> None:
    assert len(epoch_order(sizes, batch, seed, 0)) == len(
        epoch_order([1] * len(sizes), batch, 0, 1)
    )


def test_order_follows_from_seed_and_epoch_alone() -> None:
    sizes = list(range(100))
    assert epoch_order(sizes, 8, 1, 2) == epoch_order(sizes, 8, 1, 2)
    assert epoch_order(sizes, 8, 1, 2) != epoch_order(sizes, 8, 1, 3)
    assert epoch_order(sizes, 8, 1, 2) != epoch_order(sizes, 8, 2, 2)


def test_rows_of_a_batch_are_of_like_length() -> None:
    sizes = [1, 100] * 160
    padded = sum(max(sizes[i] for i in rows) * len(rows) for rows in epoch_order(sizes, 8, 0, 0))
    assert padded <= 1.1 * sum(sizes)


@given(st.lists(st.integers(), min_size=1, max_size=40), st.integers(1, 8), st.integers(1, 4))
def test_processes_share_a_batch_without_loss(
    batch: list[int], per_device: int, world: int
) -> None:
    shares = [micro_batches(batch, per_device, rank, world) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    assert sorted(i for share in shares for rows in share for i in rows) == sorted(batch)
    assert all(len(rows) <= per_device for share in shares for rows in share)


def test_evaluation_takes_the_longest_rows_first() -> None:
    assert length_order([3, 9, 1, 5], 2) == [[1, 3], [0, 2]]


@given(lengths, st.integers(1, 8), st.integers(1, 3), st.integers(1, 600))
def test_passes_hold_no_more_tokens_than_allowed(
    sizes: list[int], per_device: int, world: int, limit: int
) -> None:
    batch = list(range(len(sizes)))
    shares = [
        micro_batches(batch, per_device, rank, world, lengths=sizes, max_tokens=limit)
        for rank in range(world)
    ]
    assert len({len(share) for share in shares}) == 1
    passes = [rows for share in shares for rows in share if rows]
    assert sorted(i for rows in passes for i in rows) == batch
    for rows in passes:
        assert len(rows) == 1 or max(sizes[i] for i in rows) * len(rows) <= limit


def listed(sizes: list[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """The order as it was first written, in lists: runs from before must go on with it."""
    noise = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    order = noise.permutation(len(sizes))
    batches: list[list[int]] = []
    for start in range(0, len(order), batch_size * 20):
        bucket = order[start : start + batch_size * 20]
        bucket = bucket[np.argsort(np.asarray(sizes)[bucket], kind="stable")]
        batches += [bucket[i : i + batch_size].tolist() for i in range(0, len(bucket), batch_size)]
    return [batches[i] for i in noise.permutation(len(batches))]


@settings(deadline=None, max_examples=50)
@given(lengths, st.integers(1, 16), st.integers(0, 9), st.integers(0, 3))
def test_the_order_is_that_of_runs_from_before(
    sizes: list[int], batch: int, seed: int, epoch: int
) -> None:
    wanted = listed(sizes, batch, seed, epoch)
    found = epoch_order(np.array(sizes, dtype=np.uint32), batch, seed, epoch)
    assert found == wanted
    assert found[-1] == wanted[-1]
    assert found[1:4] == wanted[1:4]
    assert len(found) == steps_in_epoch(len(sizes), batch)


def test_the_order_of_an_epoch_takes_four_bytes_a_row() -> None:
    tracemalloc.start()
    try:
        order = epoch_order(np.ones(50_000, dtype=np.uint32), 8, 0, 0)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(order) == 6250
    assert kept < 4 * 50_000 + 4 * 6250 + 10_000


def test_packed_passes_are_cut_by_their_tokens_alone() -> None:
    sizes = [30, 10, 10, 10, 50]

    def passes(packed: bool) -> list[list[int]]:
        return micro_batches(range(5), 8, lengths=sizes, max_tokens=60, packed=packed)

    assert passes(packed=True) == [[0, 1, 2, 3], [4]]
    assert passes(packed=False) == [[0, 1], [2, 3], [4]]


def test_a_packed_row_does_not_predict_the_next() -> None:
    rows = [
        Example([5, 6, 7], 0, loss_mask=[True, True, True]),
        Example([8, 9], 1, loss_mask=[False, True]),
    ]
    batch = {key: value.tolist() for key, value in pack(rows).items()}
    assert batch == {
        "input_ids": [[5, 6, 7, 8, 9]],
        "position_ids": [[0, 1, 2, 0, 1]],
        "labels": [[IGNORED, 6, 7, IGNORED, 9]],
    }
