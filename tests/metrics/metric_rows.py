"""Random rows for every metric, in the shape that it needs."""

from __future__ import annotations

from typing import Any

import numpy as np

from tunewright.metrics import get_metric


def random_rows(name: str, n: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """References and predictions of `n` rows that a metric can score."""
    needs = get_metric(name).needs
    if needs == "labels":
        truth = rng.choice(["a", "b", "c"], n)
        return truth, np.where(rng.random(n) < 0.7, truth, rng.choice(["a", "b", "c"], n))
    if needs == "label_sets":
        draw = rng.random((2, n, 3)) < 0.5
        rows = [[tuple("abc"[i] for i in np.flatnonzero(r)) for r in side] for side in draw]
        return [("a", "b", "c"), *rows[0][1:]], rows[1]
    if needs == "numbers":
        truth = rng.normal(size=n).round(1)
        return truth, (truth + rng.normal(size=n)).round(1)
    if needs == "probabilities":
        return np.r_[0, 1, 2, rng.integers(0, 3, n - 3)], rng.dirichlet([1.0] * 3, n)
    if needs == "tags":
        kinds = [["B-X", "I-X", "O"], ["O", "B-Y", "B-X"], ["B-Y", "O", "O"]]
        return [[kinds[i] for i in rng.integers(0, 3, n)] for _ in range(2)]  # type: ignore[return-value]
    if needs == "texts":
        words = np.array(["one", "two", "three", "4"])
        side = [
            [
                " ".join([*rng.choice(words, rng.integers(3, 8)), rng.choice(["4", "5"])])
                for _ in range(n)
            ]
            for _ in range(2)
        ]
        return side[0], [r if rng.random() < 0.3 else p for r, p in zip(*side, strict=True)]
    if needs == "passes":
        return [True] * n, (rng.random(n) < 0.7).tolist()
    if needs == "answers":
        words = np.array(["one", "two", "three"])
        right = [[" ".join(rng.choice(words, 2))] if rng.random() < 0.8 else [] for _ in range(n)]
        said = ["" if rng.random() < 0.2 else " ".join(rng.choice(words, 2)) for _ in range(n)]
        return right, said
    if needs == "ranks":
        return [20] * n, rng.integers(1, 13, n).tolist()
    if needs == "similarities":
        return [1.0] * n, rng.uniform(0.3, 1.0, n)
    sizes = rng.integers(5, 50, n)
    return sizes, sizes * rng.gamma(9, 0.25, n)


def repeated(rows: Any, times: np.ndarray[Any, Any]) -> Any:
    """Row i of `rows` as often as `times` says."""
    if isinstance(rows, np.ndarray):
        return np.repeat(rows, times, axis=0)
    return [row for row, count in zip(rows, times, strict=True) for _ in range(count)]
