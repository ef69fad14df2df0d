"""Scores of short answers against any number of right ones, as in SQuAD.

Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text" (arXiv 1606.05250),
section 6.1; without an answer on both sides a row is right (arXiv 1806.03822).
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from tunewright.errors import DataError
from tunewright.metrics.labels import hits
from tunewright.metrics.sufficient import Sufficient, as_list, mean_of, require_rows

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normal_answer(text: str) -> str:
    """Lower case, without punctuation and English articles, with single blanks."""
    plain = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", plain).split())


def _rows(references: Any, predictions: Any) -> list[tuple[Sequence[str], str]]:
    refs, preds = as_list(references, "references"), as_list(predictions, "predictions")
    require_rows(refs, preds)
    for row, (right, said) in enumerate(zip(refs, preds, strict=True), start=1):
        if isinstance(right, str) or not isinstance(said, str):
            raise DataError(
                f"Row {row} has {right!r} and {said!r}; a list of right answers (none where there "
                "is none) and one text are needed."
            )
    return list(zip(refs, preds, strict=True))


def _exact(right: Sequence[str], said: str) -> bool:
    if not right:
        return not said.strip()
    return any(normal_answer(text) == normal_answer(said) for text in right)


def row_f1(right: Sequence[str], said: str) -> float:
    """F1 of the words of an answer against the right one that it is most like.

    Without a right answer it is 1 for no answer and 0 for any.
    """
    if not right:
        return float(not said.strip())
    return max(_words_f1(text, said) for text in right)


def _words_f1(right: str, said: str) -> float:
    there, found = normal_answer(right).split(), normal_answer(said).split()
    if not there or not found:
        return float(there == found)
    shared = (Counter(there) & Counter(found)).total()
    return 2 * shared / (len(there) + len(found))


def answer_exact_match(references: Any, predictions: Any) -> Sufficient:
    """Share of rows whose answer is a right one but for case, punctuation and articles.

    Args:
        references: [n] right answers of each row; none where the text has no answer.
        predictions: [n] answers; an empty one is none.
    """
    return hits([_exact(right, said) for right, said in _rows(references, predictions)])


def answer_f1(references: Any, predictions: Any) -> Sufficient:
    """Mean of `row_f1`; takes what `answer_exact_match` takes."""
    return mean_of(np.array([row_f1(*row) for row in _rows(references, predictions)]))
