"""AdamW on the rows of a table that have had a gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tunewright.train import row_adamw
from tunewright.train.optim import MasterAdamW, make_groups
from tunewright.train.row_adamw import sparse_tables

ROWS = 5000
TOKENS = ([3, 3, 70], [4999, 70, 8], [8, 8, 8], list(range(100, 1300)), [3, 4000, 4000], [0, 1, 2])
"""Of each step. The fourth needs more room than there is at first."""


class Texts(nn.Module):
    """An embedding, a mean and a head."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(ROWS, 6, padding_idx=0, dtype=dtype)
        self.classifier = nn.Linear(6, 2, dtype=dtype)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.classifier(self.table(tokens).tanh())
        return out


def optimizer_of(model: nn.Module, sparse: bool) -> MasterAdamW:
    tables = sparse_tables(model) if sparse else {}
    return MasterAdamW(make_groups(model, 1e-2, 0.1), tables=tables)


def take(model: nn.Module, optimizer: MasterAdamW, steps: range, passes: int = 1) -> list[float]:
    norms = []
    for step in steps:
        tokens = torch.tensor(TOKENS[step % len(TOKENS)])
        for piece in tokens.chunk(passes):
            (model(piece).float().square().sum() / len(tokens)).backward()
        optimizer.set_rate_factor(1 / (1 + step))
        norms.append(optimizer.gather_gradients())
        optimizer.step(norms[-1], 0.05)
        optimizer.zero_grad()
    return norms


def test_float32_table_has_the_bits_of_dense_adamw() -> None:
    sparse, dense = Texts(torch.float32), Texts(torch.float32)
    ours, theirs = optimizer_of(sparse, True), optimizer_of(dense, False)
    found, expected = take(sparse, ours, range(12)), take(dense, theirs, range(12))
    assert found == pytest.approx(expected, rel=1e-6)
    ours.settle()
    weight, state = theirs.masters[0], ours.state_tensors()
    torch.testing.assert_close(sparse.table.weight, weight, rtol=1e-6, atol=1e-7)
    never = [row for row in range(ROWS) if all(row not in tokens for tokens in TOKENS)]
    assert torch.equal(sparse.table.weight[never], weight[never])
    for key, value in theirs.state_tensors().items():
        torch.testing.assert_close(state[key], value, rtol=1e-5, atol=1e-9)


def test_rows_never_seen_decay_in_bfloat16_as_masters_do() -> None:
    sparse, dense = Texts(torch.bfloat16), Texts(torch.bfloat16)
    ours, theirs = optimizer_of(sparse, True), optimizer_of(dense, False)
    take(sparse, ours, range(12))
    take(dense, theirs, range(12))
    with ours.averaged():
        assert torch.equal(sparse.table.weight[2000:3000], dense.table.weight[2000:3000])
    assert torch.equal(ours.masters[0][2000:3000], theirs.masters[0][2000:3000])
    torch.testing.assert_close(ours.masters[0], theirs.masters[0], rtol=0, atol=3e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("stop", [0, 1, 4])
def test_goes_through_a_checkpoint_bit_for_bit(dtype: torch.dtype, stop: int) -> None:
    whole, stopped, resumed = (Texts(dtype) for _ in range(3))
    first, second = optimizer_of(whole, True), optimizer_of(stopped, True)
    norms = take(whole, first, range(12))
    take(stopped, second, range(stop))
    stored = {key: tensor.clone() for key, tensor in second.state_tensors().items()}
    resumed.load_state_dict(stopped.state_dict())
    third = optimizer_of(resumed, True)
    third.load_state_tensors(stored)
    assert take(resumed, third, range(stop, 12)) == norms[stop:]
    first.settle()
    third.settle()
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    assert all(torch.equal(a, b) for a, b in zip(first.masters, third.masters, strict=True))


def test_passes_of_a_step_give_what_one_pass_gives() -> None:
    one, many = Texts(torch.float32), Texts(torch.float32)
    ours, theirs = optimizer_of(one, True), optimizer_of(many, True)
    assert take(one, ours, range(6)) == pytest.approx(take(many, theirs, range(6), 3), rel=1e-6)
    torch.testing.assert_close(one.table.weight, many.table.weight, rtol=1e-6, atol=1e-7)


def test_a_step_that_is_skipped_changes_nothing() -> None:
    model = Texts(torch.float32)
    optimizer = optimizer_of(model, True)
    take(model, optimizer, range(3))
    optimizer.settle()
    before = model.table.weight.detach().clone()
    model(torch.tensor([5])).sum().backward()
    optimizer.gather_gradients()
    optimizer.zero_grad()
    optimizer.step(0.0, 0.0)
    optimizer.settle()
    assert torch.equal(model.table.weight, before)


def test_only_trained_large_tables_that_are_nothing_else_are_taken() -> None:
    model: Any = Texts(torch.float32)
    model.positions = nn.Embedding(512, 6)
    model.tied = nn.Embedding(ROWS, 6)
    model.head = nn.Linear(6, ROWS, bias=False)
    model.head.weight = model.tied.weight
    model.frozen = nn.Embedding(ROWS, 6).requires_grad_(False)
    assert sparse_tables(model) == {"table.weight": [model.table]}
    assert [m.sparse for m in (model.table, model.positions, model.tied)] == [True, False, False]


def test_state_holds_only_rows_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_adamw, "_FIRST_ROOM", 4)
    model = Texts(torch.float32)
    optimizer = optimizer_of(model, True)
    take(model, optimizer, range(2))
    (table,) = optimizer._tables.values()
    assert sorted(table._seen.tolist()) == [3, 8, 70, 4999]
    assert len(table._moments[0]) <= 2 * 4
