"""Charts of data and of training, as matplotlib figures.

Each function takes plain numbers and returns a `Figure` that belongs to nobody: pyplot and its
global state are never touched. This module does not know where the numbers come from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tunewright.config.task import Task
from tunewright.errors import DataError
from tunewright.evaluate.figure_style import (
    ACCENT,
    INK,
    MUTED,
    SECOND,
    THOUSANDS,
    name_rows,
    short_name,
    styled,
)

_MOST_BARS = 20


def audited_labels(audit: Mapping[str, Any]) -> tuple[str, Figure]:
    """What the labels of an audit are counted in, and `label_balance` of them."""
    if audit.get("task") == Task.TOKEN_CLASSIFICATION:
        what = "Entities by type"
        return what, label_balance(audit["labels"], "entities", what)
    return "Rows by label", label_balance(audit["labels"])


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
