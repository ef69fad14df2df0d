"""The metrics room: predictions and references in, numbers with intervals out.

Names load on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunewright.metrics.confusion import calibration_bins, confusion_matrix, per_class_scores
    from tunewright.metrics.intervals import Estimate, estimate, wilson
    from tunewright.metrics.paired import (
        Comparison,
        compare,
        compare_each,
        correct,
        mcnemar,
        minimum_detectable_effect,
    )
    from tunewright.metrics.registry import METRIC_NAMES, Metric, get_metric, metrics_for

__all__ = [
    "METRIC_NAMES",
    "Comparison",
    "Estimate",
    "Metric",
    "calibration_bins",
    "compare",
    "compare_each",
    "confusion_matrix",
    "correct",
    "estimate",
    "get_metric",
    "mcnemar",
    "metrics_for",
    "minimum_detectable_effect",
    "per_class_scores",
    "wilson",
]

_HOME = {
    "confusion": ("calibration_bins", "confusion_matrix", "per_class_scores"),
    "intervals": ("Estimate", "estimate", "wilson"),
    "paired": (
        "Comparison",
        "compare",
        "compare_each",
        "correct",
        "mcnemar",
        "minimum_detectable_effect",
    ),
    "registry": ("METRIC_NAMES", "Metric", "get_metric", "metrics_for"),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
