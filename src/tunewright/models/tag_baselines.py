"""What a model of tags has to beat: the most frequent tag, and the most frequent tag of each word.

Both learn from the training rows only. This module counts; it knows no network.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict

from tunewright.data.records import Dataset
from tunewright.data.tags import repaired
from tunewright.errors import DataError
from tunewright.models.baselines import Baseline


def majority_tag(train: Dataset, test: Dataset) -> Baseline:
    """Give every word the most frequent tag of the training words, as a rule `O`.

    Raises:
        DataError: there is no tagged training word.
    """
    began = time.perf_counter()
    tag = _most(_tag_counts(train))
    found = [repaired([tag] * len(record.words)) for record in test]
    return Baseline("majority_tag", found, seconds=time.perf_counter() - began)


def tag_dictionary(train: Dataset, test: Dataset) -> Baseline:
    """Give every word the tag it has most often in the training rows.

    A word that is not there as it is written has the tag of its lower-case form, and otherwise the
    most frequent tag of all. Ties go to the tag that sorts first.

    Raises:
        DataError: there is no tagged training word.
    """
    began = time.perf_counter()
    other = _most(_tag_counts(train))
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for record in train:
        for word, tag in zip(record.words, record.class_names, strict=True):
            counts[word][tag] += 1
            if word.lower() != word:
                counts[word.lower()][tag] += 1
    known = {word: _most(tags) for word, tags in counts.items()}
    found = [
        repaired(known.get(word, known.get(word.lower(), other)) for word in record.words)
        for record in test
    ]
    return Baseline("tag_dictionary", found, seconds=time.perf_counter() - began)


def _tag_counts(train: Dataset) -> Counter[str]:
    counts = Counter(tag for record in train for tag in record.class_names)
    if not counts:
        raise DataError("There is no tagged training word for the baselines.")
    return counts


def _most(counts: Counter[str]) -> str:
    return min(counts, key=lambda tag: (-counts[tag], tag))
