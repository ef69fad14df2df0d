"""Scored rows whose own label is probably wrong, by what the model says of them.

The model has not seen these rows, so its probabilities can be used as they are in confident
learning (Northcutt, Jiang and Chuang 2021, arXiv 1911.00068). About half of such rows in public
test sets are true errors (arXiv 2103.14749). They are shown and counted; no score leaves them out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tunewright.data.label_errors import FEWEST_ROWS
from tunewright.data.records import Record
from tunewright.evaluate import wording
from tunewright.evaluate.answers import Answers

SHOWN = 10
"""Suspect rows that are shown."""
_ODDS = 20.0
"""So many times likelier must another label be than the row's own."""


def suspect_rows(records: Sequence[Record], answers: Answers) -> dict[str, Any] | None:
    """Rows whose label the model finds wrong, the most suspect first.

    A row is suspect where another label is 20 times likelier than its own, and as likely as rows of
    that label usually find it.

    Args:
        records: [n] the scored rows, with one label each.
        answers: of the model, with probabilities.

    Returns:
        `count`, the `share` of the rows, and `rows`, up to ten: `row`, `text`, `label`, `guess` and
        `odds`. None below 50 rows, or with one class.
    """
    if len(records) < FEWEST_ROWS or len(answers.classes) < 2:
        return None
    p_NK = np.asarray(answers.probabilities, dtype=np.float64)
    classes = [str(name) for name in answers.classes]
    index = {name: i for i, name in enumerate(classes)}
    given_N = np.array([index[str(record.label)] for record in records])
    rows = np.arange(len(records))
    # Rows of a class that does not occur here set no bar, and none is lower than an even chance.
    usual_K = np.array(
        [p_NK[given_N == k, k].mean() if (given_N == k).any() else 1.0 for k in range(len(classes))]
    )
    others = p_NK.copy()
    others[rows, given_N] = -1.0
    guess_N = others.argmax(axis=1)
    odds_N = p_NK[rows, guess_N] / np.maximum(p_NK[rows, given_N], 1e-12)
    suspect_N = (odds_N >= _ODDS) & (p_NK[rows, guess_N] >= usual_K[guess_N])
    order = [int(i) for i in np.argsort(-odds_N, kind="stable") if suspect_N[i]]
    return {
        "count": len(order),
        "share": len(order) / len(records),
        "rows": [
            {
                "row": records[i].row,
                "text": records[i].plain_text,
                "label": str(records[i].label),
                "guess": classes[guess_N[i]],
                "odds": round(float(odds_N[i]), 1),
            }
            for i in order[:SHOWN]
        ],
    }


def said_of_suspects(found: Mapping[str, Any]) -> str:
    """The count in words, and what to do about it."""
    share = 100 * found["share"]
    digits = 0 if share >= 10 or math.isclose(share, round(share)) else 1
    return (
        f"{wording.plural(found['count'], 'row')} ({share:.{digits}f} %) of those scored may have "
        "a wrong label: the model, which did not see them, finds another label 20 times likelier. "
        "About half of such rows are true errors, so look at them before you trust a small "
        "difference; they count in every score."
    )
