"""Labels that are probably wrong, ranked. They are shown, never changed or dropped.

Two simple models that never saw a row say what its label should be: a linear discriminant and the
row's nearest neighbours. Their probabilities are multiplied and calibrated. A row is flagged when
another label is 20 times likelier than its own, and as likely as rows of that label usually find
it (confident learning, Northcutt, Jiang & Chuang 2021, arXiv 1911.00068). About half of such
rows in public data sets are true errors (arXiv 2103.14749), so a person has the last word.

This module knows texts, vectors and labels. It does not know files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunewright.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FEWEST_ROWS = 50
"""Rows below which no model can judge a label."""

_FOLDS = 5
_DIMENSIONS = 300
_NEIGHBOURS = 15
_COMPARED = 30_000
"""Rows that each row is compared with at most, to keep the cost linear."""
_SHRINKAGE = 0.1
_LEAST = 1e-6
_UNLIKELY = math.log(1 / 20)
"""A flagged label is at least 20 times less likely than another one."""


@dataclass(frozen=True, slots=True)
class SuspectLabels:
    """Rows whose label is probably wrong.

    Attributes:
        ranking: [n] every row, the most suspect first.
        margin: [n] by row: log probability of its label less that of the likeliest other one.
            Below 0 the models prefer the other.
        suggested: [n] by row: the likeliest other label.
        flagged: rows that pass the test of confident learning, the most suspect first.
    """

    ranking: Sequence[int]
    margin: Sequence[float]
    suggested: Sequence[str]
    flagged: Sequence[int]


def suspect_labels(
    texts: Sequence[str],
    labels: Sequence[str],
    *,
    vectors: NDArray[np.floating[Any]] | None = None,
    seed: int = 0,
) -> SuspectLabels:
    """Rank rows by how wrong their label looks to models that did not see them.

    Args:
        texts: [n] texts; may be empty when `vectors` are given.
        labels: [n] class names.
        vectors: [n x d] an embedding of each text, which judges better than the words alone.
            Default: TF-IDF of words and character n-grams, reduced to 300 dimensions.
        seed: of the folds.

    Raises:
        DataError: fewer than 50 rows, or only one label.
    """
    import numpy as np

    classes, given = np.unique(np.asarray(labels, dtype=object).astype(str), return_inverse=True)
    if len(given) < FEWEST_ROWS or len(classes) < 2:
        raise DataError(
            f"Wrong labels can be looked for in at least {FEWEST_ROWS} rows with two labels; there "
            f"are {len(given)} rows and {len(classes)} labels."
        )
    found = _text_vectors(texts) if vectors is None else np.asarray(vectors, dtype=np.float32)
    found = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), _LEAST)
    random = np.random.default_rng(seed)
    log_p = _discriminant(found, given, len(classes), random)
    log_p += _neighbours(found, given, len(classes), random)
    log_p = _calibrated(log_p, given)

    rows = np.arange(len(given))
    own = log_p[rows, given]
    others = log_p.copy()
    others[rows, given] = -np.inf
    best = others.argmax(axis=1)
    margin = own - others[rows, best]
    probability = np.exp(log_p)
    usual = np.array([probability[given == c, c].mean() for c in range(len(classes))])
    suspect = (margin < _UNLIKELY) & (probability[rows, best] >= usual[best])
    ranking = np.argsort(margin, kind="stable")
    return SuspectLabels(
        ranking.tolist(),
        margin.tolist(),
        [str(classes[c]) for c in best],
        [int(row) for row in ranking if suspect[row]],
    )


def _calibrated(log_p: NDArray[np.float64], given: NDArray[np.intp]) -> NDArray[np.float64]:
    """Log probabilities at the temperature that fits the given labels best.

    Two models multiplied are too sure of themselves (Guo et al. 2017, arXiv 1706.04599).
    """
    import numpy as np

    rows = np.arange(len(given))
    best, least = log_p, np.inf
    for temperature in np.geomspace(0.5, 32, 25):
        scaled = log_p / temperature
        scaled -= np.logaddexp.reduce(scaled, axis=1, keepdims=True)
        loss = -scaled[rows, given].mean()
        if loss < least:
            best, least = scaled, loss
    return best


def _text_vectors(texts: Sequence[str]) -> NDArray[np.float32]:
    """[n x d] TF-IDF of words and of character n-grams inside them, by truncated SVD."""
    import numpy as np
    from scipy.sparse import hstack
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, min_df=2, token_pattern=r"(?u)\S+", dtype=np.float32
    )
    letters = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, min_df=3, dtype=np.float32
    )
    try:
        features = hstack([words.fit_transform(texts), letters.fit_transform(texts)]).tocsr()
    except ValueError as error:  # no word occurs twice
        raise DataError(
            "The texts have no words in common, so nothing can be said about their labels."
        ) from error
    size = min(_DIMENSIONS, features.shape[1] - 1, features.shape[0] - 1)
    if size < 1:
        raise DataError(
            "The texts have no words in common, so nothing can be said about their labels."
        )
    found: NDArray[np.float32] = TruncatedSVD(size, random_state=0).fit_transform(features)
    return found


def _folds(given: NDArray[np.intp], random: np.random.Generator) -> NDArray[np.intp]:
    """[n] fold of each row; every label is spread over the folds."""
    import numpy as np

    order = random.permutation(len(given))
    order = order[np.argsort(given[order], kind="stable")]
    found = np.empty(len(given), dtype=np.intp)
    found[order] = np.arange(len(given)) % _FOLDS
    return found


def _discriminant(
    vectors: NDArray[np.float32], given: NDArray[np.intp], classes: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """[n x classes] log probabilities of linear discriminants fitted on the other folds.

    Classes share one covariance, shrunk towards a multiple of the identity (Friedman 1989).
    """
    import numpy as np

    folds = _folds(given, random)
    found = np.empty((len(given), classes))
    for fold in range(_FOLDS):
        seen, held = folds != fold, folds == fold
        counts = np.bincount(given[seen], minlength=classes)
        sums = np.zeros((classes, vectors.shape[1]))
        np.add.at(sums, given[seen], vectors[seen])
        means = sums / np.maximum(counts, 1)[:, None]
        centred = vectors[seen] - means[given[seen]]
        covariance = centred.T @ centred / seen.sum()
        scale = np.trace(covariance) / len(covariance) + _LEAST
        covariance = (1 - _SHRINKAGE) * covariance
        covariance[np.diag_indices_from(covariance)] += _SHRINKAGE * scale
        weights = np.linalg.solve(covariance, means.T)
        bias = np.log(np.maximum(counts, _LEAST) / counts.sum()) - (means.T * weights).sum(0) / 2
        scores = vectors[held] @ weights + bias
        found[held] = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
    return np.maximum(found, np.log(_LEAST))


def _neighbours(
    vectors: NDArray[np.float32], given: NDArray[np.intp], classes: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """[n x classes] log share of each label among a row's nearest others, by squared cosine."""
    import numpy as np

    count = len(given)
    pool = np.arange(count)
    if count > _COMPARED:
        pool = np.sort(random.choice(count, _COMPARED, replace=False))
    place = np.full(count, -1)
    place[pool] = np.arange(len(pool))
    near = min(_NEIGHBOURS, len(pool) - 1)
    found = np.empty((count, classes))
    for first in range(0, count, 1000):
        rows = np.arange(first, min(first + 1000, count))
        alike = vectors[rows] @ vectors[pool].T
        own = place[rows]
        alike[np.flatnonzero(own >= 0), own[own >= 0]] = -1
        chosen = np.argpartition(-alike, near - 1, axis=1)[:, :near]
        weight = np.take_along_axis(alike, chosen, axis=1).clip(0) ** 2
        votes = np.zeros((len(rows), classes))
        np.add.at(votes, (np.arange(len(rows))[:, None], given[pool[chosen]]), weight)
        votes += 1e-3
        found[rows] = np.log(votes / votes.sum(axis=1, keepdims=True))
    return found
