"""How far people who judge the same things agree, beyond what chance would give."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Literal

from tunewright.errors import DataError


def cohen_kappa(one: Sequence[Hashable], other: Sequence[Hashable]) -> float:
    """Agreement of two raters on the same items (Cohen 1960): 1 is perfect, 0 is chance.

    Args:
        one, other: [n] what each rater said of each item, 1 item or more.

    Returns:
        kappa; NaN where both say the same one thing of every item, so that nothing could differ.

    Raises:
        DataError: the raters judged different numbers of items, or none.
    """
    n = len(one)
    if n == 0 or n != len(other):
        raise DataError(
            f"Kappa compares two raters on the same items; they judged {n} and {len(other)}."
        )
    seen = sum(a == b for a, b in zip(one, other, strict=True)) / n
    first, second = Counter(one), Counter(other)
    chance = sum(first[value] * second[value] for value in first) / n**2
    return math.nan if chance == 1 else (seen - chance) / (1 - chance)


Level = Literal["nominal", "ordinal", "interval"]
"""What values are: names, an order, or numbers whose distances mean something."""


def krippendorff_alpha(items: Sequence[Mapping[str, Any]], level: Level = "nominal") -> float:
    """Agreement of any number of raters who need not judge every item.

    Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), sections C and D: one minus
    observed over expected disagreement, from the matrix of coincidences.

    Args:
        items: what each rater said, by rater; items that fewer than two judged do not count.
        level: what the values are. It decides how much two of them disagree: all or nothing, by the
            values that lie between them, or by their distance squared.

    Returns:
        alpha: 1 is perfect, 0 is chance, below 0 is worse. NaN where no item was judged twice or
        every judgement is the same.
    """
    judged = [Counter(item.values()) for item in items if len(item) > 1]
    totals: Counter[Any] = sum(judged, Counter())
    apart = _disagreement(totals, level)

    def differing(counts: Counter[Any]) -> float:
        return sum(counts[a] * counts[b] * apart(a, b) for a in counts for b in counts)

    observed = sum(differing(counts) / (counts.total() - 1) for counts in judged)
    expected = differing(totals)
    return math.nan if expected == 0 else 1 - (totals.total() - 1) * observed / expected


def _disagreement(totals: Counter[Any], level: Level) -> Callable[[Any, Any], float]:
    """How much two values disagree, given how often each occurs."""
    if level == "nominal":
        return lambda a, b: float(a != b)
    if level == "interval":
        return lambda a, b: float((a - b) ** 2)

    def ordinal(a: Any, b: Any) -> float:
        low, high = min(a, b), max(a, b)
        between = sum(count for value, count in totals.items() if low <= value <= high)
        return float((between - (totals[low] + totals[high]) / 2) ** 2)

    return ordinal
