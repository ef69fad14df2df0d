"""Charts of data, training and scores, as matplotlib figures.

Each function takes plain numbers and returns a `Figure` that belongs to nobody: pyplot and its
global state are never touched. This module does not know where the numbers come from.
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
    THOUSANDS,
    name_rows,
    short_name,
    styled,
)
from tunewright.evaluate.wording import number

_MOST_BARS = 20
_MOST_MATRIX_LABELS = 20
_MOST_NUMBERED_LABELS = 12


@dataclass(frozen=True, slots=True)
class Score:
    """One score with its 95 % interval. `highlight` marks the model the picture is about."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    highlight: bool = False


@styled
def label_balance(
    counts: Mapping[str, int], unit: str = "rows", title: str = "Label balance"
) -> Figure:
    """Horizontal bars of rows a label, the largest first.

    Args:
        counts: rows by label. Beyond 20 labels the smallest are drawn as one bar.
        unit: what is counted, for the axis.
        title: of the chart.

    Raises:
        DataError: no label has a row.
    """
    total = sum(counts.values())
    if total <= 0:
        raise DataError("There are no labelled rows to draw. Check the audit's `labels`.")
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = ranked if len(ranked) <= _MOST_BARS else ranked[: _MOST_BARS - 1]
    rest = ranked[len(shown) :]
    bars = [(short_name(str(name)), count) for name, count in shown]
    if rest:
        bars.append((f"{len(rest)} other labels", sum(count for _, count in rest)))

    figure = Figure(figsize=(5.2, max(2.9, 1.1 + 0.34 * len(bars))))
    axes = figure.subplots()
    positions = range(len(bars))
    colors = [ACCENT] * len(shown) + [MUTED] * bool(rest)
    axes.barh(positions, [count for _, count in bars], color=colors, height=0.62)
    for position, (_, count) in zip(positions, bars, strict=True):
        axes.annotate(
            f"{count:,} · {count / total * 100:.0f} %",
            (count, position),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            color=MUTED,
        )
    name_rows(axes, [name for name, _ in bars])
    axes.set_xlim(0, max(count for _, count in bars) * 1.22)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter(THOUSANDS)
    axes.set_xlabel(unit)
    axes.set_title(f"{title}, {total:,} {unit}")
    return figure


@styled
def length_histogram(lengths: Mapping[str, Any]) -> Figure:
    """Histogram of text lengths with the median, the 95th percentile and where rows are cut.

    Args:
        lengths: `unit`, `median`, `p95` and `histogram` with `edges` (n + 1) and `counts` (n);
            `limit` where there is one.

    Raises:
        DataError: there are not as many edges as counts need.
    """
    edges = list(lengths["histogram"]["edges"])
    counts = list(lengths["histogram"]["counts"])
    if not counts or len(edges) != len(counts) + 1:
        raise DataError(
            f"A histogram of {len(counts)} counts needs {len(counts) + 1} edges above one; it has "
            f"{len(edges)} edges."
        )
    unit = str(lengths.get("unit", "tokens"))
    figure = Figure(figsize=(5.2, 2.9))
    axes = figure.subplots()
    axes.stairs(counts, edges, fill=True, color=ACCENT, alpha=0.28)
    axes.stairs(counts, edges, color=ACCENT, linewidth=1.3)
    top = max(counts)
    middle = (edges[0] + edges[-1]) / 2
    marks = ("median", "median", 1.2), ("p95", "95th percentile", 1.08), ("limit", "cut at", 0.96)
    for key, name, height in marks:
        value = lengths.get(key)
        if value is None or value > edges[-1]:
            continue
        color = SECOND if key == "limit" else INK
        axes.axvline(value, color=color, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.annotate(
            f"{name} {value:,.0f}",
            (value, top * height),
            xytext=(4 if value < middle else -4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            ha="left" if value < middle else "right",
        )
    axes.set_ylim(0, top * 1.28)
    axes.set_xlim(edges[0], edges[-1])
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(THOUSANDS)
    axes.xaxis.set_major_formatter(THOUSANDS)
    axes.set_xlabel(f"length in {unit}")
    axes.set_ylabel("rows")
    axes.set_title(f"Text length in {unit}")
    return figure


@styled
def training_curves(journal: Sequence[Mapping[str, Any]], loss: str = "loss") -> Figure:
    """Loss (each step, smoothed, and on validation), learning rate and gradient norm.

    A step that was done again after a resume counts once, as it was done last. Resumes are
    dotted lines.

    Args:
        journal: the events of a run, in order, as `journal.jsonl` has them.
        loss: what the loss is, with its unit, for the axis.

    Raises:
        DataError: the journal has no training step with a finite loss.
    """
    by_step = {e["step"]: e for e in journal if e.get("event") == "step"}
    steps = [by_step[step] for step in sorted(by_step)]
    losses = _series(steps, "loss")
    if not losses:
        raise DataError("The journal has no training step with a finite loss to draw.")
    evaluations = [
        {"step": e["step"], "loss": e.get("metrics", {}).get("loss")}
        for e in journal
        if e.get("event") == "evaluation"
    ]
    validation = _series(evaluations, "loss")
    resumes = [e["step"] for e in journal if e.get("event") == "resume"]

    rates, norms = _series(steps, "learning_rate"), _series(steps, "grad_norm")
    figure = Figure(figsize=(10.6, 3.7))
    if rates or norms:
        grid = figure.add_gridspec(2, 2, width_ratios=(1.75, 1))
        loss_axes = figure.add_subplot(grid[:, 0])
        rate_axes = figure.add_subplot(grid[0, 1], sharex=loss_axes)
        norm_axes = figure.add_subplot(grid[1, 1], sharex=loss_axes)
        _small_curve(rate_axes, rates, "Learning rate", "")
        _small_curve(norm_axes, norms, "Gradient norm", "optimizer step")
        rate_axes.tick_params(labelbottom=False)
        rate_axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0), useMathText=False)
        every_axes = [loss_axes, rate_axes, norm_axes]
    else:
        loss_axes = figure.subplots()
        every_axes = [loss_axes]

    xs, ys = zip(*losses, strict=True)
    loss_axes.plot(xs, ys, color=ACCENT, alpha=0.3, linewidth=0.8, label="training, each step")
    loss_axes.plot(xs, _smoothed(ys), color=ACCENT, linewidth=1.8, label="training, smoothed")
    if validation:
        loss_axes.plot(
            *zip(*validation, strict=True),
            color=SECOND,
            linewidth=1.2,
            marker="o",
            markersize=4.5,
            label="validation",
        )
    for axes in every_axes:
        for step in resumes:
            axes.axvline(step, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)))
    if resumes:
        loss_axes.plot([], [], color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)), label="resumed")
    loss_axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    loss_axes.set_xlabel("optimizer step")
    loss_axes.set_ylabel(loss)
    loss_axes.set_title("Loss")
    loss_axes.legend(loc="upper right")
    return figure


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


def _series(events: Sequence[Mapping[str, Any]], key: str) -> list[tuple[int, float]]:
    return [
        (event["step"], float(event[key]))
        for event in events
        if event.get(key) is not None and math.isfinite(event[key])
    ]


def _smoothed(values: Sequence[float], span: int = 20) -> list[float]:
    """Exponential moving average over about `span` steps, corrected for its cold start."""
    keep = 1 - 2 / (min(span, max(len(values) // 5, 1)) + 1)
    smooth, total, weight = [], 0.0, 0.0
    for value in values:
        total = keep * total + (1 - keep) * value
        weight = keep * weight + (1 - keep)
        smooth.append(total / weight)
    return smooth


def _small_curve(axes: Any, points: Sequence[tuple[int, float]], title: str, unit: str) -> None:
    if points:
        axes.plot(*zip(*points, strict=True), color=ACCENT, linewidth=1.3)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.set_title(title)
    axes.set_xlabel(unit)
