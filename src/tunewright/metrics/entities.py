"""Scores of entities in BIO tags (IOB2), strict: span and type must both be right.

As in conlleval (Tjong Kim Sang and De Meulder, "Introduction to the CoNLL-2003 Shared Task", 2003)
and in seqeval's strict mode. One row is the tags of one text, and rows are what intervals are drawn
over: entities of one text are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tunewright.errors import DataError
from tunewright.metrics.labels import FEW_ERRORS
from tunewright.metrics.sufficient import (
    Floats,
    Sufficient,
    as_list,
    mean_where,
    ratio,
    require_rows,
)

Entity = tuple[str, int, int]
"""Type, first token, one past the last token."""


def entities(tags: Sequence[str]) -> set[Entity]:
    """The entities of one row of tags.

    An entity is `B-X` and the `I-X` that follow it. An `I-` that continues nothing is no entity,
    as in seqeval's strict mode.
    """
    found: set[Entity] = set()
    start, kind = 0, ""
    for i, tag in enumerate([*tags, "O"]):
        if kind and tag != f"I-{kind}":
            found.add((kind, start, i))
            kind = ""
        if tag.startswith("B-"):
            start, kind = i, tag[2:]
    return found


def _require_bio(row: int, tags: Sequence[str]) -> None:
    before = "O"
    for i, tag in enumerate(tags, start=1):
        if tag != "O" and tag[:2] not in ("B-", "I-"):
            raise DataError(
                f"Reference {row}, token {i} has tag {tag!r}; O, B-TYPE and I-TYPE are known."
            )
        if tag.startswith("I-") and before not in (tag, f"B-{tag[2:]}"):
            raise DataError(
                f"Reference {row}, token {i}: {tag!r} continues no entity (before it is "
                f"{before!r}), so the references are not BIO (IOB2). Let each entity begin with "
                "B-."
            )
        before = tag


def _tag_rows(references: Any, predictions: Any) -> list[tuple[Sequence[str], Sequence[str]]]:
    """References and predictions row by row, checked.

    Raises:
        DataError: a reference is not BIO, or a prediction has another number of tags.
    """
    refs, preds = as_list(references, "references"), as_list(predictions, "predictions")
    require_rows(refs, preds)
    for row, (ref, pred) in enumerate(zip(refs, preds, strict=True), start=1):
        if len(ref) != len(pred):
            raise DataError(
                f"Row {row} has {len(ref)} reference tags and {len(pred)} predicted ones; each "
                "token needs one of both."
            )
        _require_bio(row, ref)
    return list(zip(refs, preds, strict=True))


def _counts(references: Any, predictions: Any) -> tuple[list[str], Floats]:
    """Types in order, and of each row [n x 3 x k] the entities that are right, there and found."""
    pairs = [(entities(r), entities(p)) for r, p in _tag_rows(references, predictions)]
    kinds = sorted({kind for ref, pred in pairs for kind, _, _ in ref | pred})
    index = {kind: i for i, kind in enumerate(kinds)}
    counts = np.zeros((len(pairs), 3, len(kinds)))
    for row, (ref, pred) in enumerate(pairs):
        for place, found in enumerate((ref & pred, ref, pred)):
            for kind, _, _ in found:
                counts[row, place, index[kind]] += 1
    return kinds, counts


def entity_counts(references: Any, predictions: Any) -> Floats:
    """Of each row [n x 3] the entities that are right, there and found, of any type.

    Raises:
        DataError: a reference is not BIO, or a prediction has another number of tags.
    """
    totals: Floats = _counts(references, predictions)[1].sum(axis=2)
    return totals


def _micro(references: Any, predictions: Any) -> Floats:
    """The same as [n x 3 x 1]."""
    return entity_counts(references, predictions)[:, :, None]


def _of_rows(counts: Floats, of_totals: Callable[[Floats], Floats]) -> Sufficient:
    """A score of sums over rows that keeps its doubt where few rows have an error.

    Args:
        counts: [n x 3 x k] what is right, there and found in each row.
        of_totals: their sums [R x 3 x k] to scores [R].
    """
    n, _, k = counts.shape
    right, there, found = counts.swapaxes(0, 1)
    wrong_rows = ((right != there) | (right != found)).any(axis=1)
    rows = counts
    unseen = None
    if wrong_rows.sum() < FEW_ERRORS:
        # A row of the usual size that is all right, and one that is all wrong (see `labels`).
        usual = there.mean(axis=0)
        more = np.stack([[usual, usual, usual], [0 * usual, usual, usual]])
        rows = np.concatenate([counts, more])
        unseen = np.concatenate([np.zeros(n), np.ones(len(more))])
    sums = rows.reshape(len(rows), 3 * k)
    return Sufficient(
        np.arange(n),
        len(rows),
        lambda weights: of_totals((weights @ sums).reshape(len(weights), 3, k)),
        unseen,
    )


def entity_f1(references: Any, predictions: Any) -> Sufficient:
    """Micro-averaged F1 of entities; one row is the tags of one text.

    Raises:
        DataError: a reference is not BIO, or a prediction has another number of tags.
    """
    counts = _micro(references, predictions)
    return _of_rows(counts, lambda t: ratio(2 * t[:, 0, 0], t[:, 1, 0] + t[:, 2, 0]))


def entity_precision(references: Any, predictions: Any) -> Sufficient:
    """Share of the predicted entities that are right; 0 where none is predicted."""
    return _of_rows(_micro(references, predictions), lambda t: ratio(t[:, 0, 0], t[:, 2, 0]))


def entity_recall(references: Any, predictions: Any) -> Sufficient:
    """Share of the entities there are that were found; 0 where there are none."""
    return _of_rows(_micro(references, predictions), lambda t: ratio(t[:, 0, 0], t[:, 1, 0]))


def entity_macro_f1(references: Any, predictions: Any) -> Sufficient:
    """Mean over types of the F1 of each; a type counts where it is there or predicted.

    Without any entity on either side it is 0.
    """

    def score(totals: Floats) -> Floats:
        right, there, found = totals.swapaxes(0, 1)
        means = mean_where(ratio(2 * right, there + found), there + found > 0)
        return np.where(np.isnan(means), 0.0, means)

    return _of_rows(_counts(references, predictions)[1], score)


def token_accuracy(references: Any, predictions: Any) -> Sufficient:
    """Share of the tokens whose tag is right, of the tokens of all rows."""
    pairs = _tag_rows(references, predictions)
    right = [sum(a == b for a, b in zip(r, p, strict=True)) for r, p in pairs]
    counts = np.array(
        [[[hits], [len(r)], [len(r)]] for hits, (r, _) in zip(right, pairs, strict=True)], float
    )
    return _of_rows(counts, lambda t: ratio(t[:, 0, 0], t[:, 1, 0]))


def per_type_scores(references: Any, predictions: Any) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each entity type, by name.

    Returns:
        For each type `label`, `precision`, `recall`, `f1` (0 to 1) and `support`, the entities
        there are of it. A share of nothing is 0.
    """
    kinds, counts = _counts(references, predictions)
    right, there, found = counts.sum(axis=0)
    precision, recall = ratio(right, found), ratio(right, there)
    f1 = ratio(2 * right, there + found)
    return [
        {
            "label": kind,
            "precision": float(precision[i]),
            "recall": float(recall[i]),
            "f1": float(f1[i]),
            "support": int(there[i]),
        }
        for i, kind in enumerate(kinds)
    ]
