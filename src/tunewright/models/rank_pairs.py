"""How near the texts of pairs are to each other, by vectors: ranks, or cosines of scored pairs.

This module knows vectors. It does not know where they come from.

Legend for shape suffixes: M texts, D vector size, N rows, C candidates, R rows of a chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunewright.config.task import Task
from tunewright.data.example import Example
from tunewright.data.pair_texts import PairTexts, names_of, numbered, pair_texts
from tunewright.data.records import Record
from tunewright.metrics import get_metric, metrics_for
from tunewright.models.embed_texts import EmbeddingForward, embed_texts

_CHUNK = 4_000_000
"""Similarities held at once."""


@dataclass(slots=True)
class PairAnswers:
    """What vectors say of n pairs.

    Attributes:
        candidates: [n] different positives that each row's was looked for among; positives of
            another row with the same anchor are right too and are left out.
        ranks: [n] place of the row's positive, from 1; ties count against it.
        nearest: [n] row whose positive is the nearest to the anchor.
        cosines: [n] of anchor and positive.
    """

    candidates: NDArray[np.int64]
    ranks: NDArray[np.int64]
    nearest: NDArray[np.int64]
    cosines: NDArray[np.float64]


def pair_metrics(scored: bool) -> list[str]:
    """The metrics that pairs are measured by: with a score by correlation, others by rank."""
    needs = "numbers" if scored else "ranks"
    return [name for name in metrics_for(Task.EMBEDDING) if get_metric(name).needs == needs]


def rank_pairs(vectors_MD: Any, rows: PairTexts) -> PairAnswers:
    """Look for each row's positive among the positives of all rows.

    Args:
        vectors_MD: of `rows.texts`, of length 1 (or 0): an array, or a sparse matrix.
        rows: which text each row has.
    """
    texts = np.unique(rows.positive)
    target_N = np.searchsorted(texts, rows.positive)
    row_of_C = np.zeros(len(texts), dtype=np.int64)
    row_of_C[target_N[::-1]] = np.arange(len(rows))[::-1]
    whole = [np.zeros(len(rows), dtype=np.int64) for _ in range(3)]
    found = PairAnswers(whole[0], whole[1], whole[2], np.zeros(len(rows)))
    columns = vectors_MD[texts].T
    size = max(1, _CHUNK // len(texts))
    for start in range(0, len(rows), size):
        chunk = np.arange(start, min(start + size, len(rows)))
        product = vectors_MD[rows.anchor[chunk]] @ columns
        near_RC = np.asarray(product.toarray() if hasattr(product, "toarray") else product)
        own_R = near_RC[np.arange(len(chunk)), target_N[chunk]]
        wrong_RC = rows.wrong(texts, chunk)
        found.candidates[chunk] = 1 + wrong_RC.sum(axis=1)
        found.ranks[chunk] = 1 + (wrong_RC & (near_RC >= own_R[:, None])).sum(axis=1)
        best_R = np.where(wrong_RC, near_RC, -np.inf).argmax(axis=1)
        first = found.ranks[chunk] == 1
        found.nearest[chunk] = np.where(first, chunk, row_of_C[best_R])
        found.cosines[chunk] = own_R
    return found


def answer_pairs(
    forward: EmbeddingForward,
    examples: Sequence[Example],
    records: Sequence[Record] | None = None,
    *,
    pad_id: int = 0,
    batch_size: int = 64,
    progress: Callable[[int], None] | None = None,
) -> tuple[PairAnswers, float]:
    """What a model says of pairs, and its mean loss a row.

    Args:
        forward: the model in its forward pass.
        examples: [n] rendered pairs.
        records: [n] the pairs, whose texts are the same where they differ in case and spacing
            only. Default: where they have the same tokens.
        pad_id: token to pad with.
        batch_size: texts in one pass.
        progress: called with the number of texts done so far in each pass.
    """
    import torch

    names = None if records is None else [names_of(record) for record in records]
    rows = pair_texts(examples, names)
    vectors = embed_texts(
        forward, rows.texts, pad_id=pad_id, batch_size=batch_size, progress=progress
    )
    total = 0.0
    for start in range(0, len(examples), forward.contrasted):
        part = slice(start, start + forward.contrasted)
        scores = None if rows.scores is None else rows.scores[part]
        some = PairTexts(
            rows.texts, rows.anchor[part], rows.positive[part], rows.negative[part], scores
        )
        with torch.inference_mode():
            total += float(forward.loss(vectors, some))
    return rank_pairs(vectors.double().numpy(), rows), total / max(1, len(examples))


def tfidf_pairs(records: Sequence[Record]) -> PairAnswers:
    """What the words that texts share say: cosines of TF-IDF vectors, made on these texts alone.

    Words are lower-cased; counts are dampened to 1 + log(count).
    """
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts, found = numbered([names_of(record) for record in records])
    words = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b", sublinear_tf=True)
    try:
        vectors = words.fit_transform(texts)
    except ValueError:  # scikit-learn's word for texts without a word
        vectors = csr_matrix((len(texts), 1))
    anchor, positive = (np.array([row[i] for row in found], dtype=np.int64) for i in (0, 1))
    none = np.full(len(found), -1, dtype=np.int64)
    return rank_pairs(vectors, PairTexts([], anchor, positive, none, None))
