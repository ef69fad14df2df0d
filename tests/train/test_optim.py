"""AdamW with float32 masters."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tunewright.config.optimization import Optimizer
from tunewright.train import optim
from tunewright.train.optim import MasterAdamW, make_groups


def model(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential()
    net.add_module("body", nn.Linear(4, 4))
    net.add_module("classifier", nn.Linear(4, 2))
    return net.to(dtype)


def step(net: nn.Module, optimizer: MasterAdamW, seed: int, max_norm: float = 0.0) -> float:
    torch.manual_seed(seed)
    x = torch.randn(3, 4, dtype=next(net.parameters()).dtype)
    net(x).float().square().sum().backward()
    norm = optimizer.gather_gradients()
    optimizer.step(norm, max_norm)
    optimizer.zero_grad()
    return norm


def test_groups_part_head_from_body_and_matrices_from_vectors() -> None:
    groups = make_groups(model(), 1e-4, 0.01, 1e-3, ("classifier",))
    found = {name: (g.learning_rate, g.weight_decay) for g in groups for name in g.names}
    assert found == {
        "body.weight": (1e-4, 0.01),
        "body.bias": (1e-4, 0.0),
        "classifier.weight": (1e-3, 0.01),
        "classifier.bias": (1e-3, 0.0),
    }


def test_float32_weights_move_as_in_torch_adamw() -> None:
    ours, theirs = model(), model()
    optimizer = MasterAdamW(make_groups(ours, 1e-2, 0.1))
    weights = [p for p in theirs.parameters() if p.ndim > 1]
    vectors = [p for p in theirs.parameters() if p.ndim == 1]
    reference = torch.optim.AdamW(
        [{"params": weights, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=1e-2,
    )
    for number in range(5):
        step(ours, optimizer, number, max_norm=1.0)
        torch.manual_seed(number)
        theirs(torch.randn(3, 4)).square().sum().backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        reference.step()
        reference.zero_grad()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_masters_keep_updates_that_bfloat16_would_lose() -> None:
    net = model(torch.bfloat16)
    before = net.body.weight.detach().clone()
    optimizer = MasterAdamW(make_groups(net, 1e-6, 0.0))
    for number in range(300):
        step(net, optimizer, number)
    moved = optimizer.masters[optimizer.names.index("body.weight")]
    assert (moved - before.float()).abs().max() > 1e-5
    torch.testing.assert_close(net.body.weight.detach(), moved.to(torch.bfloat16))


def test_state_goes_through_a_checkpoint_bit_for_bit() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        whole, stopped = model(dtype), model(dtype)
        first = MasterAdamW(make_groups(whole, 1e-2, 0.1))
        second = MasterAdamW(make_groups(stopped, 1e-2, 0.1))
        for number in range(3):
            step(whole, first, number)
            step(stopped, second, number)
        stored = {k: v.clone() for k, v in second.state_tensors().items()}
        resumed = model(dtype)
        resumed.load_state_dict(stopped.state_dict())
        third = MasterAdamW(make_groups(resumed, 1e-2, 0.1))
        third.load_state_tensors(stored)
        for number in range(3, 6):
            step(whole, first, number)
            step(resumed, third, number)
        for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
            assert torch.equal(a, b)


def test_gradient_norm_is_the_global_one() -> None:
    net = model()
    optimizer = MasterAdamW(make_groups(net, 1e-2, 0.0))
    net(torch.ones(1, 4)).sum().backward()
    expected = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]).norm()
    assert abs(optimizer.gather_gradients() - float(expected)) < 1e-6


@pytest.mark.parametrize("kind", list(Optimizer))
def test_an_update_in_pieces_is_that_of_all_at_once(
    kind: Optimizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = []
    for size in (2**22, 1):
        monkeypatch.setitem(optim._PIECE, "cpu", size)
        net = model(torch.bfloat16)
        groups = make_groups(net, 1e-2, 0.1, hidden={"body.weight"})
        optimizer = MasterAdamW(groups, kind=kind)
        update, wide = optimizer.inner.step, []

        def counted(update=update, wide=wide, optimizer=optimizer) -> None:
            wide.append(sum(master.grad is not None for master in optimizer.masters))
            update()

        optimizer.inner.step = counted
        for number in range(3):
            step(net, optimizer, number, max_norm=1.0)
        assert wide == ([4] * 3 if size > 1 else [1] * 12)
        weights.append(optimizer.state_tensors())
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name]), name
