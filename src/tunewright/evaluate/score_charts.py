"""Charts of scores: of several models, of one model's errors, and of how sure it is.

Each function takes plain numbers and returns a `Figure`, as those of `charts.py` do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from tunewright.errors import DataError
from tunewright.evaluate.figure_style import (
    ACCENT,
    INK,
    MUTED,
    ON_ACCENT,
    SECOND,
    name_rows,
    short_name,
    styled,
)
from tunewright.evaluate.wording import number

_MOST_MATRIX_LABELS = 20
_MOST_NUMBERED_LABELS = 12
_WIDE = 8
"""Costs that differ more than this are drawn on a scale of powers."""


@dataclass(frozen=True, slots=True)
class Score:
    """One score with its 95 % interval. `highlight` marks the model the picture is about."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    highlight: bool = False


@styled
def score_comparison(scores: Sequence[Score], metric: str, better: str = "higher") -> Figure:
    """Scores as points with 95 % interval bars, the best on top.

    Args:
        scores: at least one.
        metric: name of the metric, for the axis.
        better: `higher` or `lower`; sets the order and is said on the axis.

    Raises:
        DataError: there is no score.
    """
    ranked = sorted(
        (score for score in scores if math.isfinite(score.value)),
        key=lambda score: score.value,
        reverse=better == "higher",
    )
    if not ranked:
        raise DataError(f"There is no finite {metric} to draw.")
    figure = Figure(figsize=(5.2, 1.05 + 0.5 * max(len(ranked), 2)))
    axes = figure.subplots()
    for row, score in enumerate(ranked):
        color = ACCENT if score.highlight else MUTED
        if score.low is not None and score.high is not None:
            axes.plot(
                [score.low, score.high],
                [row, row],
                color=color,
                linewidth=4 if score.highlight else 3,
                alpha=0.4,
            )
        axes.plot([score.value], [row], "o", color=color, markersize=7 if score.highlight else 6)
        axes.annotate(
            number(score.value),
            (score.value, row),
            xytext=(0, 8),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
            color=color,
            fontweight="bold" if score.highlight else "normal",
        )
    name_rows(axes, [fill(short_name(score.name, 48), 24) for score in ranked])
    for label, score in zip(axes.get_yticklabels(), ranked, strict=True):
        if score.highlight:
            label.set_fontweight("bold")
    axes.set_ylim(len(ranked) - 0.5, -0.75)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.margins(x=0.08)
    axes.set_xlabel(f"{metric}, {better} is better; bars are 95 % intervals")
    axes.set_title(f"{metric[:1].upper()}{metric[1:]} on the test set")
    return figure


@dataclass(frozen=True, slots=True)
class Costed:
    """A model's score, the megabytes of its weights, and the milliseconds of a row."""

    name: str
    value: float
    megabytes: float
    milliseconds: float


def pareto_front(costs: Sequence[float], values: Sequence[float], better: str) -> list[int]:
    """Places of the points that no other point beats or equals in both, the cheapest first."""
    sign = 1 if better == "higher" else -1
    order = sorted(range(len(costs)), key=lambda i: (costs[i], -sign * values[i]))
    front: list[int] = []
    for i in order:
        if not front or sign * values[i] > sign * values[front[-1]]:
            front.append(i)
    return front


@styled
def score_against_cost(
    points: Sequence[Costed], metric: str, better: str = "higher", rows: str = "alone"
) -> Figure:
    """Scores by size and by time, with a line through the models that none beats in both.

    Args:
        points: two or more.
        metric: name of the metric, for the axis.
        better: `higher` or `lower`.
        rows: how the time of a row was taken, `alone` or `in batches`.
    """
    figure = Figure(figsize=(5.2, 5.4))
    panels = figure.subplots(2, 1)
    sides = (
        ("size of the weights, MB", [p.megabytes for p in points]),
        (f"time of a row {rows}, ms", [p.milliseconds for p in points]),
    )
    values = [p.value for p in points]
    for axes, (what, costs) in zip(panels, sides, strict=True):
        front = pareto_front(costs, values, better)
        axes.plot(
            [costs[i] for i in front], [values[i] for i in front], color=ACCENT, alpha=0.5,
            linewidth=1.5, label="none is better in both",
        )  # fmt: skip
        for i, point in enumerate(points):
            color = ACCENT if i in front else MUTED
            axes.plot([costs[i]], [values[i]], "o" if i in front else "s", color=color)
            axes.annotate(
                short_name(point.name, 24), (costs[i], values[i]), xytext=(6, 6),
                textcoords="offset points", fontsize=8.5, color=color,
            )  # fmt: skip
        if max(costs) > _WIDE * min(costs):
            axes.set_xscale("log")
        else:
            axes.set_xlim(0, 1.25 * max(costs))
        axes.margins(x=0.3, y=0.2)
        axes.set_xlabel(what)
        axes.set_ylabel(f"{metric}, {better} is better")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    panels[0].set_title(f"{metric[:1].upper()}{metric[1:]} against cost")
    panels[0].legend(loc="best")
    return figure


@styled
def confusion_matrix(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> Figure:
    """Shares of each true label by predicted label, with counts where there is room.

    Args:
        labels: class names, in the order of rows and columns.
        matrix: counts; rows are true labels, columns predicted ones. Beyond 20 labels only the
            20 with the most errors are drawn.

    Raises:
        DataError: the matrix is not square in the labels.
    """
    if not labels or len(matrix) != len(labels) or any(len(r) != len(labels) for r in matrix):
        raise DataError(
            f"A confusion matrix of {len(labels)} labels needs as many rows and columns; it has "
            f"rows of {sorted({len(row) for row in matrix})} counts."
        )
    totals = [sum(row) for row in matrix]
    wrong = [totals[i] - matrix[i][i] for i in range(len(labels))]
    kept = sorted(sorted(range(len(labels)), key=lambda i: (-wrong[i], i))[:_MOST_MATRIX_LABELS])
    names = [short_name(str(labels[i]), 18) for i in kept]
    size = len(kept)

    side = min(max(3.0, 1.7 + 0.62 * size), 8.0)
    figure = Figure(figsize=(side + 0.7, side))
    axes = figure.subplots()
    for row, i in enumerate(kept):
        for column, j in enumerate(kept):
            share = matrix[i][j] / totals[i] if totals[i] else 0.0
            # An opacity of one colour reads on light and dark pages alike; a colour map does not.
            axes.add_patch(
                Rectangle(
                    (column - 0.48, row - 0.48),
                    0.96,
                    0.96,
                    facecolor=ACCENT if i == j else SECOND,
                    alpha=0.06 + 0.9 * share,
                    linewidth=0,
                )
            )
            if size <= _MOST_NUMBERED_LABELS and matrix[i][j]:
                axes.annotate(
                    f"{share * 100:.0f} %\n{matrix[i][j]:,}",
                    (column, row),
                    ha="center",
                    va="center",
                    fontsize=8.5 if size <= 6 else 7,
                    color=ON_ACCENT if share > 0.55 else INK,
                )
    axes.set_xlim(-0.5, size - 0.5)
    axes.set_ylim(size - 0.5, -0.5)
    axes.set_aspect("equal")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xticks(range(size), names, rotation=0 if size <= 4 else 45, color=INK)
    if size > 4:
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
            label.set_rotation_mode("anchor")
    axes.set_yticks(range(size), names, color=INK)
    axes.set_xlabel("predicted label (share of the true label, rows)")
    axes.set_ylabel("true label")
    title = "Confusion matrix"
    if size < len(labels):
        title = f"Confusion matrix, the {size} of {len(labels)} labels with most errors"
    axes.set_title(title)
    return figure


@styled
def reliability_curve(calibration: Mapping[str, Any]) -> Figure:
    """How often the model is right at each confidence; the area of a point shows its rows.

    Args:
        calibration: `bins`, each with `confidence`, `accuracy` and `count`, and optionally `ece`
            (expected calibration error).

    Raises:
        DataError: no bin has a row.
    """
    bins = [b for b in calibration.get("bins", ()) if b.get("count")]
    if not bins:
        raise DataError("There is no calibration bin with a row to draw.")
    total = sum(b["count"] for b in bins)
    figure = Figure(figsize=(4.4, 3.7))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), label="ideal")
    points = [(b["confidence"], b["accuracy"]) for b in bins]
    axes.plot(*zip(*points, strict=True), color=ACCENT, linewidth=1.5, label="model")
    axes.scatter(
        [x for x, _ in points],
        [y for _, y in points],
        s=[14 + 160 * b["count"] / total for b in bins],
        color=ACCENT,
        alpha=0.75,
        linewidths=0,
        zorder=3,
    )
    axes.set_xlim(0, 1.03)
    axes.set_ylim(0, 1.03)
    axes.set_xlabel("confidence of the prediction")
    axes.set_ylabel("share that is right")
    error = calibration.get("ece")
    axes.set_title("Calibration" if error is None else f"Calibration, expected error {error:.3f}")
    axes.legend(loc="upper left")
    return figure
