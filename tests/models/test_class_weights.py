"""Class weights weigh rows in the loss, by the formula and however the rows are cut into passes."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from tunewright.data.balance import class_weights
from tunewright.models.forward import LabelForward


class Fixed(torch.nn.Module):
    """A model whose outputs are its weights, row for row."""

    def __init__(self, logits: list[list[float]]) -> None:
        super().__init__()
        self.rows = torch.nn.Parameter(torch.tensor(logits))

    def forward(self, input_ids: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.rows[input_ids[:, 0]])


def batch(rows: list[int], labels: list) -> dict[str, torch.Tensor]:
    return {
        "input_ids": torch.tensor(rows)[:, None],
        "labels": torch.tensor([labels[i] for i in rows]),
    }


LOGITS = [[0.0, 0.0], [0.0, math.log(3.0)], [math.log(4.0), 0.0], [0.0, 0.0]]


def test_the_weighted_loss_is_the_one_computed_by_hand():
    labels = [0, 1, 0, 0]
    weights = class_weights(labels, 2)  # 4 / (2 * 3) and 4 / (2 * 1)
    assert weights == pytest.approx([2 / 3, 2.0])
    forward = LabelForward(Fixed(LOGITS), "single_label_classification", class_weights=weights)
    loss, rows = forward(batch([0, 1, 2, 3], labels))
    by_hand = 2 / 3 * (math.log(2) + math.log(5 / 4) + math.log(2)) + 2.0 * math.log(4 / 3)
    assert loss.item() == pytest.approx(by_hand)
    assert int(rows) == 4


def test_smoothing_is_weighed_by_the_row_not_by_the_class_it_spreads_to():
    forward = LabelForward(
        Fixed(LOGITS), "single_label_classification", 0.2, class_weights=[0.5, 3.0]
    )
    loss, _ = forward(batch([1], [0, 1, 0, 0]))
    # 0.9 on the label, 0.1 on the other class; probabilities 3/4 and 1/4
    assert loss.item() == pytest.approx(3.0 * (0.9 * math.log(4 / 3) + 0.1 * math.log(4)))


def test_several_labels_are_weighed_each_by_presence_and_absence():
    labels = [[1.0, 0.0]]
    forward = LabelForward(
        Fixed([[0.0, math.log(3.0)]]),
        "multi_label_classification",
        class_weights=[[0.6, 0.7], [5.0, 9.0]],
    )
    loss, _ = forward(batch([0], labels))
    # present first label at probability 1/2, absent second label at probability 3/4
    assert loss.item() == pytest.approx((5.0 * math.log(2) + 0.7 * math.log(4)) / 2)


@pytest.mark.parametrize("problem", ["single_label_classification", "multi_label_classification"])
def test_weights_of_one_change_nothing(problem):
    labels = [0, 1, 0, 0] if problem.startswith("single") else [[0.0, 1.0]] * 4
    ones = [1.0, 1.0] if problem.startswith("single") else [[1.0, 1.0], [1.0, 1.0]]
    plain = LabelForward(Fixed(LOGITS), problem)(batch([0, 1, 2, 3], labels))[0]
    weighted = LabelForward(Fixed(LOGITS), problem, class_weights=ones)
    assert weighted(batch([0, 1, 2, 3], labels))[0].item() == pytest.approx(plain.item())


def test_passes_of_any_size_give_the_gradient_of_one_pass():
    labels = [0, 1, 0, 0]
    gradients = []
    for passes in ([[0, 1, 2, 3]], [[0], [1], [2], [3]], [[1, 0, 3], [2]]):
        model = Fixed(LOGITS)
        forward = LabelForward(
            model, "single_label_classification", class_weights=class_weights(labels, 2)
        )
        for rows in passes:
            (forward(batch(rows, labels))[0] / 4).backward()
        gradients.append(model.rows.grad)
    torch.testing.assert_close(gradients[1], gradients[0])
    torch.testing.assert_close(gradients[2], gradients[0])


def test_weights_are_not_saved_with_the_model():
    forward = LabelForward(Fixed(LOGITS), "single_label_classification", class_weights=[1.0, 2.0])
    assert list(forward.state_dict()) == ["model.rows"]
