"""The one sentence a manager reads: did fine-tuning help, by how much, and is it real?

This module knows the shape of an evaluation. It does not know how a report looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tunewright.evaluate import wording

Status = Literal["better", "unclear", "worse", "untested", "missing"]
SIGNIFICANT = 0.05
"""A paired test below this share of false alarms is called real."""

_PRIMARY = (
    "pass_rate",
    "macro_f1",
    "f1",
    "accuracy",
    "spearman",
    "r2",
    "exact_match",
    "rougeL",
    "bleu",
    "perplexity",
    "loss",
)
_SAME_ORDER = {"loss": "perplexity", "log_perplexity": "perplexity"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the evaluation says.

    Attributes:
        status: `better` or `worse` than the best reference in a paired test, `unclear` when the
            test finds no difference, `untested` without a reference or a test, `missing` without
            a score.
        label: the status in two to five words.
        sentence: the evidence in one or two sentences.
    """

    status: Status
    label: str
    sentence: str


def finite_metrics(result: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The scores of a model or a baseline that are numbers, a user's own ones (`custom`) too."""
    scores = dict(result.get("metrics") or {})
    scores |= {name: {"value": value} for name, value in (result.get("custom") or {}).items()}
    return {name: s for name, s in scores.items() if wording.is_finite(s.get("value"))}


def primary_metric(evaluation: Mapping[str, Any]) -> str | None:
    """The metric the verdict is about: the one that was tested, or the task's usual one."""
    metrics = finite_metrics(evaluation)
    for test in (evaluation.get("comparison") or {}).values():
        tested = str(test.get("metric"))
        for name in (_SAME_ORDER.get(tested), tested):
            if name in metrics:
                return name
    return next((name for name in _PRIMARY if name in metrics), next(iter(metrics), None))


def best_reference(evaluation: Mapping[str, Any], metric: str) -> str | None:
    """The baseline with the best score of `metric`, or None when none has one."""
    better = finite_metrics(evaluation)[metric].get("better", "higher")
    scores: dict[str, float] = {
        name: found[metric]["value"]
        for name, baseline in (evaluation.get("baselines") or {}).items()
        if metric in (found := finite_metrics(baseline))
    }
    if not scores:
        return None
    return (max if better == "higher" else min)(scores, key=scores.__getitem__)


def is_significant(test: Mapping[str, Any]) -> bool | None:
    """Whether a paired test found a difference; None when it says nothing."""
    if wording.is_finite(test.get("p")):
        return bool(test["p"] < SIGNIFICANT)
    low, high = test.get("low"), test.get("high")
    if wording.is_finite(low) and wording.is_finite(high):
        return not low <= 0 <= high
    return None


def verdict(evaluation: Mapping[str, Any]) -> Verdict:
    """Judge a fine-tuned model against the best of its references."""
    metric = primary_metric(evaluation)
    if metric is None:
        return Verdict(
            "missing",
            "Not measured",
            "The model has no test score. Evaluate it on rows that it was not trained on.",
        )
    tuned = finite_metrics(evaluation)[metric]
    better = tuned.get("better", "higher")
    reached = f"Fine-tuning reached {wording.metric_name(metric)} {wording.score(tuned, 2)}"
    reference = best_reference(evaluation, metric)
    if reference is None:
        return Verdict(
            "untested",
            "Compared with nothing",
            f"{reached}. Nothing was measured beside it, so the score does not say whether "
            "fine-tuning helped.",
        )
    other = evaluation["baselines"][reference]["metrics"][metric]["value"]
    against = _named(reference, len(evaluation["baselines"]))
    gap = f"{reached}, {wording.distance(metric, tuned['value'], other, better)} {against}"
    test = (evaluation.get("comparison") or {}).get(reference) or {}
    significant = is_significant(test)
    evidence = ", ".join(filter(None, (test.get("test"), wording.p_value(test.get("p")))))
    evidence = f" ({evidence})" if evidence else ""
    if significant is None:
        return Verdict(
            "untested",
            "Difference not tested",
            f"{gap}. No paired test was run, so the difference may be chance.",
        )
    if not significant:
        return Verdict(
            "unclear",
            "No detectable difference",
            f"{gap}. There is no detectable difference{evidence}: "
            f"{_rows(evaluation)} cannot tell the two apart.",
        )
    if (tuned["value"] > other) == (better == "higher"):
        label = "Better than the base model" if reference == "base" else "Better than the baselines"
        return Verdict("better", label, f"{gap}; the difference is real{evidence}.")
    return Verdict(
        "worse",
        "Worse than a baseline",
        f"{gap}; the difference is real{evidence}. Use the baseline, or change the data or the "
        "recipe.",
    )


def overall(verdicts: list[Verdict]) -> str:
    """One sentence over all sections of a report."""
    if len(verdicts) == 1:
        return "One fine-tuned model, measured on rows that it was not trained on."
    better = sum(found.status == "better" for found in verdicts)
    worse = sum(found.status == "worse" for found in verdicts)
    open_ = len(verdicts) - better - worse
    if better == len(verdicts):
        every = "Both" if better == 2 else f"All {better}"
        return f"{every} fine-tuned models are measurably better than the best of their references."
    said = [
        f"{number} {'is' if number == 1 else 'are'} {what}"
        for number, what in (
            (better, "measurably better than the best reference"),
            (worse, "measurably worse"),
            (open_, "not shown to differ"),
        )
        if number
    ]
    return f"Of {len(verdicts)} fine-tuned models, {', '.join(said)}."


def _named(reference: str, references: int) -> str:
    name = wording.system_name(reference)
    if references == 1:
        return name
    if reference == "base":
        return f"{name}, the best of {references} references"
    return f"the best baseline, {name}"


def _rows(evaluation: Mapping[str, Any]) -> str:
    n = evaluation.get("n")
    return f"{wording.plural(n, 'test row')}" if isinstance(n, int) else "this test set"
