"""What a model that points at answers has to beat: the nearest sentence, and saying nothing.

This module counts words. It knows no network.
"""

from __future__ import annotations

import re
import time

import numpy as np

from tunewright.data.records import Dataset
from tunewright.models.baselines import Baseline

_SENTENCE = re.compile(r"\S.*?(?:[.!?](?=\s)|\n|$)", re.DOTALL)


def nearest_sentence(test: Dataset) -> Baseline:
    """Answer with the sentence of the text that shares most with the question, by TF-IDF cosine.

    Sentences end at `.`, `!` or `?` before a blank, and at line ends. The weights of words come
    from the sentences of each text itself.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    began = time.perf_counter()
    found = []
    for record in test:
        sentences = sentences_of(record.text_pair or "")
        words = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b", sublinear_tf=True)
        try:
            near = words.fit_transform(sentences) @ words.transform([record.text]).T
        except ValueError:  # scikit-learn's word for texts without a word
            found.append(sentences[0] if sentences else "")
            continue
        found.append(sentences[int(np.argmax(near.toarray()))])
    return Baseline("nearest_sentence", found, seconds=time.perf_counter() - began)


def no_answer(test: Dataset) -> Baseline:
    """Say of every text that it has no answer."""
    return Baseline("no_answer", [""] * len(test))


def sentences_of(text: str) -> list[str]:
    """The sentences of a text."""
    return [match.group().strip() for match in _SENTENCE.finditer(text)]
