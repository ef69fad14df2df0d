"""Labelled rows become pairs of one label and of two."""

from __future__ import annotations

from collections import Counter

from tunewright.data.example import Example
from tunewright.data.label_pairs import label_pairs


def rows(labels: list[int]) -> list[Example]:
    return [Example([10 + i], i, target=label) for i, label in enumerate(labels)]


def test_each_row_meets_as_many_of_its_label_as_of_others_and_never_itself() -> None:
    labels = [0, 2, 1, 0, 1, 2, 0]
    made = label_pairs(rows(labels), 50, seed=3)
    counts: Counter[tuple[int, float]] = Counter()
    met: Counter[tuple[int, int]] = Counter()
    for pair in made:
        assert pair.others is not None and isinstance(pair.target, float)
        other = pair.others[0][0] - 10
        assert pair.input_ids == [10 + pair.row] and other != pair.row
        assert pair.target == float(labels[pair.row] == labels[other])
        counts[pair.row, pair.target] += 1
        met[pair.row, other] += 1
    assert counts == {(row, target): 50 for row in range(7) for target in (0.0, 1.0)}
    # Row 0 has two others of its label and four of another one.
    assert all(met[0, other] > 12 for other in (3, 6)) and all(met[0, i] > 4 for i in (1, 2, 4, 5))


def test_a_row_alone_with_its_label_has_pairs_of_two_labels_only() -> None:
    made = label_pairs(rows([0, 0, 1]), 4, seed=0)
    assert Counter((pair.row, pair.target) for pair in made) == {
        (0, 1.0): 4, (0, 0.0): 4, (1, 1.0): 4, (1, 0.0): 4, (2, 0.0): 4,
    }  # fmt: skip


def test_the_pairs_follow_from_the_seed() -> None:
    labels = [0, 1] * 6
    first, again, other = (label_pairs(rows(labels), 3, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
