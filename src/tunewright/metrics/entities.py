"""Entity F1 over BIO tags (IOB2), strict: span and type must both be right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tunewright.errors import DataError
from tunewright.metrics.sufficient import Sufficient, as_list, ratio, require_rows

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


def entity_f1(references: Any, predictions: Any) -> Sufficient:
    """Micro-averaged F1 of entities; one row is the tags of one text.

    Raises:
        DataError: a reference is not BIO, or a prediction has another number of tags.
    """
    refs, preds = as_list(references, "references"), as_list(predictions, "predictions")
    require_rows(refs, preds)
    sums = []
    for row, (ref, pred) in enumerate(zip(refs, preds, strict=True), start=1):
        if len(ref) != len(pred):
            raise DataError(
                f"Row {row} has {len(ref)} reference tags and {len(pred)} predicted ones; each "
                "token needs one of both."
            )
        _require_bio(row, ref)
        expected, found = entities(ref), entities(pred)
        sums.append([len(expected & found), len(expected), len(found)])
    return Sufficient.of_sums(
        np.array(sums, dtype=float),
        lambda totals: ratio(2 * totals[:, 0], totals[:, 1] + totals[:, 2]),
    )
