"""Penalties, averages, rates of layers and optimizers, against numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tunewright.config.optimization import Optimizer
from tunewright.config.recipe import Recipe
from tunewright.config.task import Task
from tunewright.models.forward import LabelForward
from tunewright.models.layers import find_stack
from tunewright.train.optim import Group, MasterAdamW, make_groups
from tunewright.train.rate_finder import suggest_rate
from tunewright.train.rates import Unfreezing, planned_steps, rate_shares
from tunewright.train.schedule import rate_factor
from tunewright.train.weight_rules import PullToStart, ShrinkToZero, WeightAverage


class Net(nn.Module):
    """Embeddings, three layers and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(4, 2)
        self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
        self.classifier = nn.Linear(2, 2)


def optimizer_of(values: list[list[float]], rate: float, is_head: bool = False) -> MasterAdamW:
    weight = nn.Parameter(torch.tensor(values))
    weight.grad = torch.zeros_like(weight)
    return MasterAdamW([Group(["w"], [weight], rate, 0.0, is_head)])


def recipe(**values: Any) -> Recipe:
    return Recipe.check({"model": "m", "data": {"train": "x"}, **values})


def test_weights_are_pulled_to_their_start_and_a_head_is_not() -> None:
    optimizer = optimizer_of([[1.0, -2.0]], rate=0.5)
    rule = PullToStart(optimizer, 0.2)
    with torch.no_grad():
        optimizer.masters[0].copy_(torch.tensor([[2.0, -2.0]]))
    rule.after_update(optimizer)
    # 2 + 0.5 x 0.2 x (1 - 2) = 1.9
    torch.testing.assert_close(optimizer.masters[0].detach(), torch.tensor([[1.9, -2.0]]))
    assert PullToStart(optimizer_of([[1.0]], 0.5, is_head=True), 0.2).starts == {}


def test_small_weights_become_zero_and_others_shrink() -> None:
    optimizer = optimizer_of([[0.04, -0.04, 0.3, -0.3]], rate=0.5)
    ShrinkToZero(0.2).after_update(optimizer)
    torch.testing.assert_close(optimizer.masters[0].detach(), torch.tensor([[0.0, 0.0, 0.2, -0.2]]))


def test_weights_that_were_not_updated_are_left_alone() -> None:
    optimizer = optimizer_of([[0.04]], rate=0.5)
    optimizer.masters[0].grad = None
    rule = PullToStart(optimizer, 1.0)
    rule.starts["w"].zero_()
    rule.after_update(optimizer)
    ShrinkToZero(1.0).after_update(optimizer)
    assert float(optimizer.masters[0].detach()) == pytest.approx(0.04)


def test_the_average_keeps_a_tenth_of_the_start_at_first_and_then_its_share() -> None:
    optimizer = optimizer_of([[0.0]], rate=0.5)
    average = WeightAverage(optimizer, 0.25)
    found = []
    for value in (1.0, 1.0, 0.0, 0.0):
        with torch.no_grad():
            optimizer.masters[0].fill_(value)
        average.after_update(optimizer)
        found.append(float(average.averages[0]))
    # Shares kept: 1/10, 2/11, min(0.25, 3/12), 0.25.
    after_two = 2 / 11 * 0.9 + 9 / 11
    assert found == pytest.approx([0.9, after_two, 0.25 * after_two, 0.0625 * after_two])
    with average.in_model():
        assert float(optimizer.parameters[0].detach()) == pytest.approx(found[-1])
    assert float(optimizer.parameters[0].detach()) == 0.0


def test_rates_fall_by_layer_from_the_last_one_down() -> None:
    net = Net()
    shares = rate_shares(net, recipe(layer_learning_rate_decay=0.5))
    groups = make_groups(net, 1.0, 0.01, 10.0, ("classifier",), shares)
    found = {name: g.learning_rate for g in groups for name in g.names if "weight" in name}
    assert found == {
        "embedding.weight": 0.125,
        "layers.0.weight": 0.25,
        "layers.1.weight": 0.5,
        "layers.2.weight": 1.0,
        "classifier.weight": 10.0,
    }


def test_only_the_b_matrices_learn_faster_with_lora_plus() -> None:
    class Update(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lora_A = nn.ModuleDict({"default": nn.Linear(2, 1)})
            self.lora_B = nn.ModuleDict({"default": nn.Linear(1, 2)})

    net = nn.Sequential(Update())
    shares = rate_shares(net, recipe(method="lora", loraplus_lr_ratio=16))
    groups = make_groups(net, 1e-4, 0.0, shares=shares)
    found = {n: g.learning_rate for g in groups for n in g.names if "weight" in n}
    assert found == {
        "0.lora_A.default.weight": 1e-4,
        "0.lora_B.default.weight": pytest.approx(16e-4),
    }


@pytest.mark.parametrize(("task", "first"), [(Task.CLASSIFICATION, 4), (Task.TEXT, 3)])
def test_one_layer_joins_after_each_span_of_steps(task: Task, first: int) -> None:
    net = Net()
    unfreezing = Unfreezing(find_stack(net), dict(net.named_parameters()), 2, task)
    found = []
    for step in range(12):
        joined = unfreezing.apply(step)
        trained = {n.split(".")[0] for n, p in net.named_parameters() if p.requires_grad}
        found.append((unfreezing.frontier(step), joined is not None, "embedding" in trained))
    depths = [max(0, first - step // 2) for step in range(12)]
    assert [depth for depth, _, _ in found] == depths
    joins = [step % 2 == 0 and step // 2 <= first for step in range(12)]
    assert [joined for _, joined, _ in found] == joins
    assert [embedding for _, _, embedding in found] == [depth == 0 for depth in depths]


def test_steps_are_counted_over_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    made = recipe(num_train_epochs=2, per_device_train_batch_size=4, gradient_accumulation_steps=2)
    assert planned_steps(made, 100) == 2 * 13
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert planned_steps(made, 100) == 2 * 7


def test_schedules_have_the_factors_worked_out_by_hand() -> None:
    def factors(kind: str, ratio: float | None = None) -> list[float]:
        return [rate_factor(kind, step, 10, 2, ratio) for step in range(10)]

    rise = [0.5, 1.0]
    assert factors("constant") == [*rise, *[1.0] * 8]
    assert factors("linear") == pytest.approx([*rise, *[1 - i / 8 for i in range(8)]])
    half = [1.0, 0.9619, 0.8536, 0.6913, 0.5, 0.3087, 0.1464, 0.0381]
    assert factors("cosine") == pytest.approx([*rise, *half], abs=1e-4)
    stable = [*rise, 1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]
    assert factors("warmup_stable_decay", 0.4) == pytest.approx(stable)
    # No room for more than what warmup leaves, and never less than a step.
    assert factors("warmup_stable_decay", 1.0) == factors("linear")
    assert factors("warmup_stable_decay", 0.01) == factors("constant")


def test_the_focal_loss_is_that_of_its_paper() -> None:
    class Head(nn.Module):
        def forward(self, input_ids: torch.Tensor) -> Any:
            return type("Output", (), {"logits": torch.tensor([[0.0, 0.0], [0.0, 1.0986123]])})()

    batch = {"input_ids": torch.zeros(2, 1), "labels": torch.tensor([0, 1])}
    loss, _ = LabelForward(Head(), "single_label_classification", focal_gamma=2.0)(batch)
    # p = 1/2 and 3/4: (1/2)^2 log 2 + (1/4)^2 log 4/3
    assert float(loss) == pytest.approx(0.25 * 0.693147 + 0.0625 * 0.287682, rel=1e-4)
    batch["labels"] = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    loss, _ = LabelForward(Head(), "multi_label_classification", focal_gamma=2.0)(batch)
    # Three labels at p = 1/2, one at 3/4; the mean over the two labels of a row.
    assert float(loss) == pytest.approx((3 * 0.25 * 0.693147 + 0.0625 * 0.287682) / 2, rel=1e-4)


def test_a_focal_loss_of_a_sure_model_has_a_finite_gradient() -> None:
    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.logits = nn.Parameter(torch.tensor([[200.0, 0.0]]))

        def forward(self, input_ids: torch.Tensor) -> Any:
            return type("Output", (), {"logits": self.logits})()

    head = Head()
    forward = LabelForward(head, "single_label_classification", focal_gamma=0.5)
    forward({"input_ids": torch.zeros(1, 1), "labels": torch.tensor([0])})[0].backward()
    assert head.logits.grad is not None and torch.isfinite(head.logits.grad).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", list(Optimizer))
def test_every_optimizer_goes_through_a_checkpoint_bit_for_bit(
    kind: Optimizer, dtype: torch.dtype, tmp_path: Path
) -> None:
    def fresh() -> tuple[nn.Linear, nn.Linear, MasterAdamW]:
        torch.manual_seed(0)
        # Of 4,096 weights, below which bitsandbytes keeps 32 bits, and of a few.
        body, head = nn.Linear(64, 64).to(dtype), nn.Linear(64, 2).to(dtype)
        net = nn.ModuleDict({"body": body, "classifier": head})
        groups = make_groups(net, 1e-3, 0.1, 1e-3, ("classifier",), hidden={"body.weight"})
        made = MasterAdamW(groups, kind=kind)
        made.average = WeightAverage(made, 0.5)
        made.rules.append(made.average)
        return body, head, made

    def step(body: nn.Linear, head: nn.Linear, optimizer: MasterAdamW, seed: int) -> float:
        torch.manual_seed(seed)
        loss = head(body(torch.randn(8, 64, dtype=dtype)).tanh()).float().square().mean()
        loss.backward()
        optimizer.step(optimizer.gather_gradients(), 1.0)
        optimizer.zero_grad()
        return float(loss.detach())

    whole, stopped = fresh(), fresh()
    losses = [step(*whole, seed=0) for _ in range(8)]
    assert losses[-1] < losses[0]
    for _ in range(4):
        step(*stopped, seed=0)
    with stopped[2].averaged():
        tensors = stopped[2].state_tensors()
        save_file({k: t.detach().contiguous() for k, t in tensors.items()}, tmp_path / "state")
        model = {k: v.clone() for k, v in stopped[0].state_dict().items()}
    resumed = fresh()
    resumed[0].load_state_dict(model)
    resumed[2].load_state_tensors(load_file(tmp_path / "state"))
    for _ in range(4):
        step(*resumed, seed=0)
    for a, b in zip(whole[2].parameters, resumed[2].parameters, strict=True):
        assert torch.equal(a, b)
    assert whole[2].average is not None and resumed[2].average is not None
    pairs = zip(whole[2].average.averages, resumed[2].average.averages, strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_the_rate_suggested_is_a_tenth_of_that_of_the_lowest_loss() -> None:
    rates = [1e-5, 1e-4, 1e-3, 1e-2]
    assert suggest_rate(rates, [2.0, 1.5, 1.0, 3.0]) == (1e-3, pytest.approx(1e-4))
    assert suggest_rate(rates, [2.0, 1.99, 1.98, 3.0]) == (1e-3, None)
    # One lucky batch at the start is not the lowest loss.
    means = [1.0, *[2.0] * 15, 1.7, 1.5, 1.9, 4.0]
    assert suggest_rate([float(i) for i in range(20)], means) == (17.0, 1.7)
