"""What an evaluation says of each pair of texts: how near they are, and what was nearer.

This module knows records and answers. It does not know vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tunewright.config.task import Task
from tunewright.data.pair_texts import is_scored
from tunewright.data.records import Dataset, Record
from tunewright.errors import ConfigError
from tunewright.evaluate.answers import Answers
from tunewright.metrics import get_metric
from tunewright.models.rank_pairs import PairAnswers, pair_metrics


def require_measurable(names: Sequence[str], dataset: Dataset) -> list[str]:
    """The metrics asked for, or those of this kind of pairs; other tasks keep theirs.

    Raises:
        ConfigError: pairs without a score are asked for a correlation, or the other way round.
        DataError: only some pairs have a score.
    """
    if dataset.task is not Task.EMBEDDING:
        return list(names)
    scored = is_scored(dataset.records, dataset.name)
    wanted = "numbers" if scored else "ranks"
    for name in names:
        if get_metric(name).needs != wanted:
            kind = "have a score" if scored else "have no score"
            raise ConfigError(
                f"Metric {name!r} cannot be measured: the pairs of {dataset.name or 'the data'} "
                f"{kind}. Metrics for them: {', '.join(pair_metrics(scored))}."
            )
    return list(names) or pair_metrics(scored)


def pair_line(records: Sequence[Record], answers: Answers, i: int) -> dict[str, Any]:
    """A row of `predictions.jsonl`: texts, cosine, and the rank of pairs without a score."""
    assert answers.pairs is not None
    record = records[i]
    line: dict[str, Any] = {"text": record.text, "text_pair": record.text_pair}
    cosine = {"cosine": round(float(answers.pairs.cosines[i]), 6)}
    if record.label is not None:
        return line | {"expected": record.label} | cosine
    return (
        line
        | cosine
        | {
            "rank": int(answers.pairs.ranks[i]),
            "candidates": int(answers.pairs.candidates[i]),
            "nearest": records[int(answers.pairs.nearest[i])].text_pair,
        }
    )


def pair_errors(records: Sequence[Record], answers: Answers) -> list[dict[str, Any]]:
    """The rows whose text is found late, or whose nearness is furthest from its place by score."""
    assert answers.pairs is not None
    if records and records[0].label is not None:
        return _displaced(records, answers.pairs)
    found = answers.pairs
    order = np.lexsort((found.cosines, -found.ranks))
    return [
        {
            "row": records[i].row,
            "text": records[i].text,
            "expected": records[i].text_pair,
            "predicted": records[int(found.nearest[i])].text_pair,
            "rank": int(found.ranks[i]),
            "cosine": float(found.cosines[i]),
        }
        for i in order.tolist()
        if found.ranks[i] > 1
    ]


def _displaced(records: Sequence[Record], found: PairAnswers) -> list[dict[str, Any]]:
    """Pairs by how far their place by cosine is from their place by score, from 0 to 1."""
    from scipy.stats import rankdata

    scores = np.array([float(str(record.label)) for record in records])
    places = rankdata(found.cosines) - rankdata(scores)
    gap = np.abs(places) / max(1, len(records) - 1)
    order = np.argsort(-gap, kind="stable")
    return [
        {
            "row": records[i].row,
            "text": records[i].plain_text,
            "expected": records[i].label,
            "cosine": float(found.cosines[i]),
            "rank_gap": float(gap[i]),
        }
        for i in order.tolist()
        if gap[i] > 0
    ]
