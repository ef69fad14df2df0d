"""How much the rows differ: prompts that all ask the same, and rows unlike all others."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from tunewright.data.finding import Finding, Place, row_findings
from tunewright.data.records import Record, Splits, Task

LOWEST_DISTINCT = 0.1
"""Share of different word pairs below which prompts say the same over and over. Published sets of
instructions have 0.2 to 0.8."""
FEWEST_PROMPTS = 100
"""Prompts below which the share says nothing."""
STRANGE = 0.8
"""Share of a row's words that no other row has from which the row is unlike the rest."""
FAR = 6.0
"""Robust standard deviations from the median of the logarithm of the length."""
FEWEST_ROWS = 200
"""Rows below which nothing is unlike the rest."""

_SAMPLE = 2000
_PROMPT_WORDS = 50
_FEWEST_WORDS = 5
_WORD = re.compile(r"[^\W\d_]{2,}|\d+")


def check_variety(splits: Splits) -> Iterator[Finding]:
    """Prompts that differ too little, and rows that differ too much."""
    if splits.task is Task.INSTRUCTION:
        yield from _prompts(splits)
    if sum(len(part) for _, part in splits.items()) >= FEWEST_ROWS and splits.task is not Task.TEXT:
        yield from _lengths(splits)
        yield from _words(splits)


def distinct_pairs(texts: Sequence[str]) -> float:
    """Different pairs of neighbouring words as a share of all (distinct-2, Li et al. 2016).

    Of at most 2,000 texts, evenly drawn, the first 50 words are read; numbers count as one word.
    """
    pairs = [pair for words in map(_first_words, _drawn(texts)) for pair in pairwise(words)]
    return len(set(pairs)) / len(pairs) if pairs else 1.0


def _drawn(texts: Sequence[str]) -> Sequence[str]:
    return texts[:: max(1, math.ceil(len(texts) / _SAMPLE))]


def _first_words(text: str) -> list[str]:
    words = _WORD.findall(text.lower()[: 12 * _PROMPT_WORDS])[:_PROMPT_WORDS]
    return ["0" if word[0].isdigit() else word for word in words]


def _prompts(splits: Splits) -> Iterator[Finding]:
    prompts = [
        next((m.content for m in reversed(record.messages) if m.role == "user"), "")
        for record in splits.train
    ]
    if len(prompts) < FEWEST_PROMPTS:
        return
    share = distinct_pairs(prompts)
    if share >= LOWEST_DISTINCT:
        return
    drawn = _drawn(prompts)
    openings = Counter(" ".join(_first_words(text)[:2]) for text in drawn)
    opening, times = openings.most_common(1)[0]
    yield Finding(
        "diversity.low",
        "warning",
        len(prompts),
        f"The prompts are much alike: {share:.0%} of their word pairs are different (published "
        f"sets have 20 to 80 %), and {times / len(drawn):.0%} begin with "
        f"{opening!r}. The model will know little else than this form of question.",
        "Add prompts in other words, unless it is to answer just these.",
    )


def _lengths(splits: Splits) -> Iterator[Finding]:
    """Rows far longer or shorter: |log length - median| over 1.4826 times the median of it."""
    import numpy as np

    places = _places(splits)
    lengths = np.array([len(r.plain_text.strip()) for _, part in splits.items() for r in part])
    sizes = np.log1p(lengths)
    off = np.abs(sizes - np.median(sizes))
    off[lengths == 0] = 0  # such rows have a finding of their own
    # At least a tenth, or sets of equally long rows would be all outliers but the median.
    spread = max(1.4826 * float(np.median(off)), 0.1)
    far = [int(i) for i in np.argsort(-off, kind="stable") if off[i] / spread > FAR]
    yield from row_findings(
        "outlier.length",
        "info",
        splits,
        tuple(places[i] for i in far),
        "{rows} {are} very much longer or shorter than the rest.",
        "Look at them: they may be a heading, a whole document, or two rows in one.",
    )


def _words(splits: Splits) -> Iterator[Finding]:
    """Rows most of whose words no other row has."""
    rows = [_row_words(record) for _, part in splits.items() for record in part]
    counts = Counter(word for words in rows for word in words)
    strange = {
        index: sum(counts[word] == 1 for word in words) / len(words)
        for index, words in enumerate(rows)
        if len(words) >= _FEWEST_WORDS
    }
    far = [i for i in sorted(strange, key=lambda i: (-strange[i], i)) if strange[i] >= STRANGE]
    places = _places(splits)
    yield from row_findings(
        "outlier.words",
        "info",
        splits,
        tuple(places[i] for i in far),
        "{rows} {are} made of words that no other row has.",
        "Look at them: they may be in another language, garbled, or about something else.",
    )


def _places(splits: Splits) -> list[Place]:
    return [(name, i) for name, part in splits.items() for i in range(len(part))]


def _row_words(record: Record) -> set[str]:
    return {word for word in _WORD.findall(record.plain_text.lower()) if not word[0].isdigit()}
