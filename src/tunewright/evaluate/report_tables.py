"""The tables of a report, as rows of text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunewright.config.task import Task
from tunewright.evaluate import wording
from tunewright.evaluate.verdict import (
    best_reference,
    finite_metrics,
    is_significant,
    primary_metric,
)

TUNED = "Fine-tuned model"
_MOST_ERRORS = 10
_LONGEST_TEXT = 300
_ERROR_COLUMNS = {"nearest": "Nearest training rows"}
_DIFFERENCE_IS = {True: "real", False: "not detectable", None: "not tested"}


@dataclass(frozen=True)
class Table:
    """Columns and rows of text. `marked` are the indices of rows to stress."""

    columns: list[str]
    rows: list[list[str]]
    marked: tuple[int, ...] = ()


def score_table(evaluation: Mapping[str, Any]) -> Table | None:
    """Every metric of the fine-tuned model and, of its references, best first."""
    metrics = finite_metrics(evaluation)
    primary = primary_metric(evaluation)
    if primary is None:
        return None
    order = [primary, *(name for name in metrics if name != primary)]
    baselines = evaluation.get("baselines") or {}
    better = metrics[primary].get("better", "higher")

    def worth(name: str) -> float:
        value = (baselines[name].get("metrics") or {}).get(primary, {}).get("value")
        if not wording.is_finite(value):
            return float("inf")
        return -float(value) if better == "higher" else float(value)

    rows = [[TUNED, *(wording.score(metrics[name]) for name in order)]]
    for name in sorted(baselines, key=worth):
        found = baselines[name].get("metrics") or {}
        rows.append(
            [
                wording.capitalised(wording.system_name(name)),
                *(wording.score(found.get(metric, {})) for metric in order),
            ]
        )
    columns = [
        f"{wording.metric_name(m)} {'↓' if metrics[m].get('better') == 'lower' else '↑'}"
        for m in order
    ]
    return Table(["", *columns], rows, (0,))


def test_table(evaluation: Mapping[str, Any]) -> Table | None:
    """The paired tests, the one against the best reference first."""
    comparison = evaluation.get("comparison") or {}
    metrics, baselines = finite_metrics(evaluation), evaluation.get("baselines") or {}
    primary = primary_metric(evaluation)
    if not comparison or primary is None:
        return None
    best = best_reference(evaluation, primary)
    tuned = metrics[primary]["value"]
    better = metrics[primary].get("better", "higher")
    rows = []
    for name in sorted(comparison, key=lambda name: name != best):
        test = comparison[name]
        tested = str(test.get("metric", primary))
        reference = (baselines.get(name, {}).get("metrics") or {}).get(primary, {}).get("value")
        change = wording.DASH
        if wording.is_finite(reference):
            change = wording.change(primary, tuned, reference, better)
        rows.append(
            [
                wording.capitalised(wording.system_name(name)),
                change,
                _ends(tested, test, metrics.get(tested, {}).get("better", better), primary),
                str(test.get("test", wording.DASH)),
                wording.p_value(test.get("p")) or wording.DASH,
                _DIFFERENCE_IS[is_significant(test)],
            ]
        )
    columns = [
        "Fine-tuned model against",
        wording.metric_name(primary),
        "95 % interval of the difference",
        "Paired test",
        "",
        "Difference",
    ]
    return Table(columns, rows)


def _ends(tested: str, test: Mapping[str, Any], better: str, primary: str) -> str:
    low, high = test.get("low"), test.get("high")
    if not (wording.is_finite(low) and wording.is_finite(high)):
        return wording.DASH
    first, last = (wording.difference(tested, end, better) for end in (low, high))
    prefix = "" if tested == primary else f"{wording.metric_name(tested)} "
    return f"{prefix}{first.removesuffix(' points')} to {last}"


def class_table(evaluation: Mapping[str, Any]) -> Table | None:
    """Precision, recall and F1 a label, or an entity type."""
    classes = evaluation.get("per_class")
    if not classes:
        return None
    keys = [k for k in ("precision", "recall", "f1") if k in classes[0]]
    rows = [
        [str(c["label"]), *(_of_class(c, key) for key in keys), wording.count(c.get("support"))]
        for c in classes
    ]
    names = ("Entity type", "Entities") if is_tags(evaluation) else ("Label", "Test rows")
    return Table([names[0], *(wording.capitalised(k) for k in keys), names[1]], rows)


def is_tags(found: Mapping[str, Any]) -> bool:
    """Whether an evaluation or audit is of entities, so that entities are counted and not rows."""
    return found.get("task") == Task.TOKEN_CLASSIFICATION


def _of_class(found: Mapping[str, Any], key: str) -> str:
    """A score of a class with its interval, where it has one."""
    value = found[key]
    if isinstance(value, Mapping):
        return wording.score(value)
    ends = (found.get("intervals") or {}).get(key)
    low, high = ends or (None, None)
    return wording.score({"value": value, "low": low, "high": high})


def error_table(evaluation: Mapping[str, Any]) -> Table | None:
    """The ten worst errors, with whatever the evaluation says about each."""
    errors = (evaluation.get("errors") or [])[:_MOST_ERRORS]
    if not errors:
        return None
    known = ("row", "text", "prompt", "expected", "predicted")
    first = [key for key in known if any(key in error for error in errors)]
    extra = list(dict.fromkeys(key for error in errors for key in error if key not in known))
    return Table(
        [_ERROR_COLUMNS.get(k, wording.capitalised(k.replace("_", " "))) for k in first + extra],
        [[_cell(key, error.get(key)) for key in first + extra] for error in errors],
    )


def _cell(key: str, value: Any) -> str:
    if key == "nearest":
        return "; ".join(map(_training_row, value or [])) or "none like it"
    if value is None:
        return wording.DASH
    if isinstance(value, float):
        return wording.number(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value) if key == "row" else shortened(str(value))


def _training_row(row: Mapping[str, Any]) -> str:
    """A training row in few words: where it is, what it says, and how like it is."""
    answer = row.get("label", row.get("answer"))
    said = "" if answer is None else f" → {_cell('', answer)}"
    return f"row {row['row']}: {shortened(row['text'], 120)}{said} ({row['similarity']:.2f})"


def shortened(text: str, longest: int = _LONGEST_TEXT) -> str:
    """The text, cut to `longest` characters with an ellipsis."""
    return text if len(text) <= longest else f"{text[: longest - 1].rstrip()}…"
