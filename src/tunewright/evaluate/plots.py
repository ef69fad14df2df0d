"""Pictures of evaluations: which charts an evaluation has, and the files they go into.

The charts themselves are in `charts.py` and `score_charts.py`, and importable from here too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from tunewright.errors import DataError
from tunewright.evaluate import wording
from tunewright.evaluate.charts import label_balance, length_histogram, training_curves
from tunewright.evaluate.figure_style import to_png, to_svg
from tunewright.evaluate.names import distinct_names
from tunewright.evaluate.pages import themed_svg
from tunewright.evaluate.report_tables import is_tags
from tunewright.evaluate.score_charts import (
    Costed,
    Score,
    confusion_matrix,
    reliability_curve,
    score_against_cost,
    score_comparison,
)
from tunewright.evaluate.verdict import finite_metrics, primary_metric

__all__ = [
    "Picture",
    "Score",
    "comparison_plots",
    "confusion_matrix",
    "evaluation_pictures",
    "evaluation_plots",
    "label_balance",
    "length_histogram",
    "reliability_curve",
    "score_comparison",
    "to_png",
    "to_svg",
    "training_curves",
]


@dataclass(frozen=True)
class Picture:
    """One figure: drawn once, shown as SVG in HTML and as PNG in Markdown."""

    name: str
    description: str
    figure: Figure

    @property
    def file(self) -> str:
        """The name of the PNG."""
        return f"{self.name}.png"

    @property
    def svg(self) -> Markup:
        """The figure as inline SVG in the colours of the page."""
        return themed_svg(to_svg(self.figure), self.name, self.description)

    def save(self, folder: Path) -> Path:
        """Write the PNG into `folder`."""
        return to_png(self.figure, folder / self.file)


def evaluation_pictures(evaluation: Mapping[str, Any], prefix: str = "") -> dict[str, Picture]:
    """The charts an evaluation has numbers for, by what they show.

    Args:
        evaluation: as `evaluate` returns it.
        prefix: starts the name of each picture.
    """
    found: dict[str, Picture] = {}
    metric = primary_metric(evaluation)
    if metric is not None:
        name = wording.metric_name(metric)
        better = finite_metrics(evaluation)[metric].get("better", "higher")
        found["scores"] = Picture(
            f"{prefix}scores",
            f"{name} of the fine-tuned model and what it was compared with",
            score_comparison(_scores(evaluation, metric), name, better),
        )
    if (confusion := evaluation.get("confusion")) and confusion.get("labels"):
        found["confusion"] = Picture(
            f"{prefix}confusion",
            "Rows by true label and predicted label",
            confusion_matrix(confusion["labels"], confusion["matrix"]),
        )
    if is_tags(evaluation) and (types := evaluation.get("per_class")):
        found["types"] = Picture(
            f"{prefix}types",
            "F1 of each entity type",
            score_comparison([_type_score(t) for t in types], "F1 of each entity type"),
        )
    calibration = evaluation.get("calibration") or {}
    if any(b.get("count") for b in calibration.get("bins", ())):
        found["calibration"] = Picture(
            f"{prefix}calibration",
            "Share of right predictions by confidence",
            reliability_curve(calibration),
        )
    return found


def evaluation_plots(evaluation: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write the charts of one evaluation as PNG files into `folder`; returns their paths.

    Raises:
        DataError: there is no score to draw.
    """
    pictures = evaluation_pictures(evaluation)
    if not pictures:
        raise DataError("The evaluation has no score to draw. Evaluate the model first.")
    return [picture.save(folder) for picture in pictures.values()]


def comparison_pictures(results: Sequence[Mapping[str, Any]]) -> dict[str, Picture]:
    """One chart a metric, with every model that has it. A model that failed has none."""
    names = distinct_names([str(result.get("model", "model")) for result in results])
    scores = [finite_metrics(result) for result in results]
    metrics = list(dict.fromkeys(metric for found in scores for metric in found))
    pictures = {}
    for metric in metrics:
        points = [
            Score(name, found[metric]["value"], found[metric].get("low"), found[metric].get("high"))
            for name, found in zip(names, scores, strict=True)
            if metric in found
        ]
        better = next(found[metric] for found in scores if metric in found).get("better", "higher")
        best = (max if better == "higher" else min)(points, key=lambda point: point.value)
        points = [replace(point, highlight=point is best) for point in points]
        title = wording.metric_name(metric)
        pictures[metric] = Picture(
            f"comparison-{wording.slug(metric)}",
            f"{title} of {wording.plural(len(points), 'model')}",
            score_comparison(points, title, better),
        )
    return pictures


def cost_picture(systems: Sequence[tuple[str, Mapping[str, Any]]], metric: str) -> Picture | None:
    """The score of each model against its size and its speed; None with fewer than two models.

    Args:
        systems: name and evaluation of each.
        metric: which score.
    """
    points = [
        Costed(
            name,
            found["metrics"][metric]["value"],
            found["cost"]["weight_bytes"] / 1e6,
            1000 / found["rows_per_second"]
            if not (late := found["cost"]["latency_ms"])
            else late["median"],
        )
        for name, found in systems
        if found.get("cost") and found["rows_per_second"] > 0 and metric in found["metrics"]
    ]
    if len(points) < 2:
        return None
    alone = all(found["cost"]["latency_ms"] for _, found in systems if found.get("cost"))
    better = next(found for _, found in systems)["metrics"][metric].get("better", "higher")
    name = wording.metric_name(metric)
    return Picture(
        "comparison-cost",
        f"{name} of each model against the size of its weights and the time of a row",
        score_against_cost(points, name, better, "alone" if alone else "in batches"),
    )


def comparison_plots(results: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Write one chart a metric as PNG files into `folder`; returns their paths.

    Raises:
        DataError: no model has a score.
    """
    pictures = comparison_pictures(results)
    if not pictures:
        raise DataError("None of the models has a score to draw.")
    return [picture.save(folder) for picture in pictures.values()]


def _type_score(found: Mapping[str, Any]) -> Score:
    f1, entities = found["f1"], wording.count(found["support"])
    return Score(f"{found['label']} ({entities})", f1["value"], f1["low"], f1["high"], True)


def _scores(evaluation: Mapping[str, Any], metric: str) -> list[Score]:
    systems = [("Fine-tuned model", evaluation, True)] + [
        (wording.capitalised(wording.system_name(name)), baseline, False)
        for name, baseline in (evaluation.get("baselines") or {}).items()
    ]
    return [
        Score(
            name, found[metric]["value"], found[metric].get("low"), found[metric].get("high"), ours
        )
        for name, system, ours in systems
        if metric in (found := finite_metrics(system))
    ]
