"""Curves in a terminal, drawn with braille dots: two columns and four rows of dots a character."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a braille character by row and column (Unicode 10.0, block U+2800)."""


def thinned(values: Sequence[float], width: int) -> list[float]:
    """At most `width` values: the means of equal stretches. Values that are not finite are left
    out of their stretch, and are NaN where it has no others."""
    if width < 1 or not values:
        return []
    count = min(width, len(values))
    edges = [round(i * len(values) / count) for i in range(count + 1)]
    means = []
    for low, high in pairwise(edges):
        finite = [value for value in values[low:high] if math.isfinite(value)]
        means.append(sum(finite) / len(finite) if finite else math.nan)
    return means


def curve(values: Sequence[float], width: int, height: int) -> list[str]:
    """Lines of text with a curve in them, the highest value at the top.

    Args:
        values: from left to right; those that are not finite leave a gap.
        width, height: in characters.

    Returns:
        `height` lines of `width` characters.
    """
    points = thinned(values, 2 * width)
    cells = [[0] * width for _ in range(height)]
    finite = [value for value in points if math.isfinite(value)]
    if finite:
        low, high = min(finite), max(finite)
        last = 4 * height - 1
        before: int | None = None
        for x, value in enumerate(points):
            if not math.isfinite(value):
                before = None
                continue
            share = (value - low) / (high - low) if high > low else 0.5
            y = round((1 - share) * last)
            # Neighbouring dots are joined, or a steep curve would be dust.
            start = y if before is None else before
            for dot in range(min(start, y), max(start, y) + 1):
                cells[dot // 4][x // 2] |= _DOTS[dot % 4][x % 2]
            before = y
    return ["".join(chr(0x2800 + bits) for bits in row) for row in cells]
