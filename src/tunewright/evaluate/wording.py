"""Numbers and names as a reader wants them: metrics, intervals, differences, time, memory."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, TypeGuard

DASH = "\N{EN DASH}"
"""Between the ends of an interval, and where there is nothing to show."""
MINUS = "\N{MINUS SIGN}"

_METRICS = {
    "answer_exact_match": "exact match of answers",
    "answer_f1": "F1 of answers",
    "auc": "ROC area",
    "average_precision": "precision-recall area",
    "bertscore": "BERTScore",
    "bits_per_byte": "bits per byte",
    "bleu": "BLEU",
    "brier": "Brier score",
    "chrf": "chrF",
    "ece": "calibration error",
    "entity_f1": "entity F1",
    "entity_macro_f1": "entity macro-F1",
    "exact_match": "exact match",
    "f1": "F1",
    "log_loss": "log loss",
    "macro_f1": "macro-F1",
    "mae": "mean absolute error",
    "mcc": "Matthews correlation",
    "micro_f1": "micro-F1",
    "mrr_at_10": "MRR@10",
    "mse": "mean squared error",
    "pass_rate": "pass rate",
    "pearson": "Pearson correlation",
    "r2": "R²",
    "recall_at_1": "recall@1",
    "recall_at_10": "recall@10",
    "rmse": "root mean squared error",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "spearman": "Spearman correlation",
    "ter": "TER",
    "weighted_f1": "weighted F1",
}
_SYSTEMS = {
    "base": "the base model",
    "base_few_shot": "the base shown training rows",
    "base_zero_shot": "the base asked in words",
    "embedding_knn": "the nearest training rows by frozen embeddings",
    "embedding_logistic": "frozen embeddings + logistic regression",
    "embedding_ridge": "frozen embeddings + ridge regression",
    "majority": "the majority class",
    "majority_tag": "the most frequent tag",
    "mean": "the mean",
    "nearest_sentence": "the sentence nearest to the question",
    "no_answer": "no answer to anything",
    "previous": "the previous version",
    "tag_dictionary": "each word's most frequent tag",
    "tfidf_cosine": "TF-IDF cosine",
    "tfidf_logistic": "TF-IDF + logistic regression",
    "tfidf_ridge": "TF-IDF + ridge regression",
}
# A difference between these reads best as it stands: they are not shares of rows.
_PLAIN_DIFFERENCES = {"bleu", "chrf", "mcc", "pearson", "r2", "spearman", "ter"}


def metric_name(key: str) -> str:
    """The field's name of a metric: `macro_f1` is macro-F1."""
    return _METRICS.get(key, key.replace("_", " "))


def system_name(key: str) -> str:
    """What a baseline is, within a sentence: `majority` is the majority class."""
    return _SYSTEMS.get(key, key.replace("_", " "))


def capitalised(text: str) -> str:
    """The text as it starts a sentence or a table row, without its article."""
    text = text.removeprefix("the ")
    return text[:1].upper() + text[1:]


def is_finite(value: Any) -> TypeGuard[float]:
    """True for a number that can be printed. JSON knows `null` and, loosely, NaN."""
    return isinstance(value, int | float) and math.isfinite(value)


def number(value: Any, small_digits: int = 3) -> str:
    """A score: `small_digits` decimals below 1, three significant digits above."""
    if not is_finite(value):
        return DASH
    if abs(value) < 1:
        return f"{value:.{small_digits}f}".replace("-", MINUS)
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:,.{digits}f}".replace("-", MINUS)


def interval(score: Mapping[str, Any], small_digits: int = 3) -> str:
    """The 95 % interval of a score, low and high, or nothing when there is none."""
    low, high = score.get("low"), score.get("high")
    if not (is_finite(low) and is_finite(high)):
        return ""
    joint = " to " if min(low, high) < 0 else DASH
    return f"{number(low, small_digits)}{joint}{number(high, small_digits)}"


def score(value: Mapping[str, Any], small_digits: int = 3) -> str:
    """A score and, in parentheses, its interval."""
    text, between = number(value.get("value"), small_digits), interval(value, small_digits)
    return f"{text} ({between})" if between else text


def difference(metric: str, amount: float, better: str) -> str:
    """A difference of two scores with its sign and unit, as in `+10.5 points`."""
    sign = "+" if amount > 0 else MINUS if amount < 0 else "±"
    if better == "higher" and metric not in _PLAIN_DIFFERENCES:
        return f"{sign}{abs(amount) * 100:.1f} points"
    return f"{sign}{number(abs(amount))}"


def change(metric: str, value: float, reference: float, better: str) -> str:
    """What changed against a reference: `+10.5 points`, or `+43 %` where lower is better."""
    if better == "higher":
        return difference(metric, value - reference, better)
    if reference == 0:
        return difference(metric, value, better)
    share = (value - reference) / abs(reference) * 100
    return f"{'+' if share > 0 else MINUS if share < 0 else '±'}{abs(share):.0f} %"


def amount(unit: str, difference: float) -> str:
    """A difference without its sign, by the unit of its metric: points of a share, per cent of a
    ratio, whose logarithm the difference is of, or as it is."""
    if unit == "share":
        return f"{abs(difference) * 100:.1f} points"
    if unit == "ratio":
        return f"{abs(math.expm1(difference)) * 100:.1f} %"
    return number(abs(difference))


def interval_of_change(unit: str, test: Mapping[str, Any]) -> str:
    """The 95 % interval of a paired test's difference, in the unit of its metric."""
    if test["low"] is None or test["high"] is None:
        return "no interval from one row"
    low, high = (
        f"{'+' if end > 0 else MINUS if end < 0 else '±'}{amount(unit, end)}"
        for end in (test["low"], test["high"])
    )
    return f"95 % interval of the change {low} to {high}"


def distance(metric: str, value: float, reference: float, better: str) -> str:
    """The change in words: `11 points above`, `43 % below`, `level with`."""
    if value == reference:
        return "level with"
    side = "above" if value > reference else "below"
    gap = abs(value - reference)
    if better == "lower" and reference != 0:
        share = gap / abs(reference) * 100
        return f"{share:.0f} % {side}" if share >= 1 else f"under 1 % {side}"
    if better == "lower" or metric in _PLAIN_DIFFERENCES:
        return f"{number(gap, 2)} {side}"
    points = gap * 100
    amount = f"{points:.0f}" if points >= 3 else f"{points:.1f}"
    return f"{amount} {'point' if amount in ('1', '1.0') else 'points'} {side}"


def p_value(p: Any) -> str:
    """`p < 0.001` or `p = 0.032`; nothing when no test was run."""
    if not is_finite(p):
        return ""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def duration(seconds: Any) -> str:
    """`3.9 s`, `48 s`, `4 min 08 s`, `2 h 05 min`."""
    if not is_finite(seconds):
        return DASH
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def memory(size: Any) -> str:
    """Bytes in GB (10^9) or MB (10^6)."""
    if not is_finite(size):
        return DASH
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def count(value: Any) -> str:
    """A whole number with separators; millions of parameters stay readable."""
    if not is_finite(value):
        return DASH
    if value >= 1e9:
        return f"{value / 1e9:.2f} billion"
    return f"{value / 1e6:.1f} million" if value >= 1e7 else f"{value:,.0f}"


def plural(amount: int, noun: str) -> str:
    """`1 row`, `6 rows`."""
    return f"{amount:,} {noun}{'' if amount == 1 else 's'}"


def slug(text: str) -> str:
    """The text as a part of a file name: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "unnamed"
