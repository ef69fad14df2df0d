"""How far people who judge the same things agree, beyond what chance would give."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

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


def krippendorff_alpha(items: Sequence[Mapping[str, Hashable]]) -> float:
    """Agreement of any number of raters who need not judge every item, for nominal values.

    Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), section C: one minus
    observed over expected disagreement, from the matrix of coincidences.

    Args:
        items: what each rater said, by rater; items that fewer than two judged do not count.

    Returns:
        alpha: 1 is perfect, 0 is chance, below 0 is worse. NaN where no item was judged twice or
        every judgement is the same.
    """
    totals: Counter[Hashable] = Counter()
    differing = 0.0
    for item in items:
        counts = Counter(item.values())
        m = sum(counts.values())
        if m < 2:
            continue
        totals += counts
        differing += sum(count * (m - count) for count in counts.values()) / (m - 1)
    n = sum(totals.values())
    expected = sum(count * (n - count) for count in totals.values())
    return math.nan if expected == 0 else 1 - (n - 1) * differing / expected
