"""How good people find the answers of two models, one by one and blind, from 1 to 5.

Beside the votes of `evaluate.people`, a folder holds a file of ratings for each rater. This module
knows answers and ratings. It does not know terminals.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tunewright.artifacts import write_json
from tunewright.data.labelling import LineFile
from tunewright.errors import DataError
from tunewright.evaluate.people import (
    MODEL,
    OTHER,
    Answered,
    Turns,
    preference,
    require_rater,
    write_preferences,
)
from tunewright.metrics import compare, estimate
from tunewright.metrics.agreement import krippendorff_alpha
from tunewright.metrics.intervals import finite_or_none
from tunewright.metrics.registry import Metric
from tunewright.metrics.sufficient import mean_of

RATINGS = "ratings"
RESULT = "ratings.json"
PREFERENCES = "rated_preferences.jsonl"
SCALE = (1, 2, 3, 4, 5)
"""From bad to good."""
BOTH = "both"
"""Whose an answer is that both models gave."""
_MEAN = Metric("mean rating", "higher", "numbers", lambda _, given: mean_of(given), unit="plain")


class Shown(NamedTuple):
    """One answer to rate: of which prompt, and whose, which nobody is told."""

    row: Answered
    side: str

    @property
    def answer(self) -> str:
        """What is rated."""
        return self.row.answer(MODEL if self.side == BOTH else self.side)


class Sheet(Turns[Shown]):
    """The answers one rater has still to rate; made by `open_sheet`."""

    def rate(self, value: int) -> None:
        """Give the current answer 1 to 5."""
        row, side = self.waiting[0]
        self.judge({"text": row.prompt, "label": str(value), "item": row.item, "side": side})


@contextmanager
def open_sheet(folder: Path, rows: Sequence[Answered], rater: str) -> Iterator[Sheet]:
    """Begin to rate, or go on: what the rater rated before is not asked again.

    Answers come in an order by chance, another one for each rater. An answer that both models gave
    is rated once and counts for both.

    Raises:
        ConfigError: the rater's name is no name of a file.
        ArtifactError: the same rater rates in another process.
    """
    require_rater(rater)
    every = [
        Shown(row, side)
        for row in rows
        for side in ((BOTH,) if row.model.strip() == row.other.strip() else (MODEL, OTHER))
    ]
    random.Random(f"{rater}\0ratings").shuffle(every)
    with LineFile(folder / RATINGS / f"{rater}.jsonl", list(map(str, SCALE))) as ratings:
        rated = {(line["item"], line["side"]) for line in ratings.lines}
        waiting = [shown for shown in every if (shown.row.item, shown.side) not in rated]
        yield Sheet(rater, ratings, waiting, len(every))


Rated = dict[str, dict[tuple[int, str], int]]
"""By rater, the rating of each item and side."""


def read_ratings(folder: Path) -> Rated:
    """What each rater gave each answer, as far as it is on the disk; `BOTH` as it is."""
    found: Rated = {}
    for path in sorted((folder / RATINGS).glob("*.jsonl")):
        whole = path.read_bytes().rpartition(b"\n")[0]
        lines = [json.loads(line) for line in whole.splitlines()]
        if lines:
            given = {(int(x["item"]), str(x["side"])): int(x["label"]) for x in lines}
            found[path.stem] = given
    return found


def count_ratings(folder: Path, rows: Sequence[Answered]) -> dict[str, Any]:
    """What the ratings say; written to `ratings.json`, with preference pairs beside it.

    Args:
        folder: of answers and ratings.
        rows: the answers.

    Returns:
        `raters` (ratings of each), `mean` of `model` and `other` (interval over prompts), `paired`
        (model less other where one rater rated both: difference, interval over prompts, p, and what
        could have been shown), `agreement` (Krippendorff's alpha, `ordinal` and `interval`),
        `prompts`, `same`, `preferences`, and `verdict`.

    Raises:
        DataError: there is no rating.
    """
    ratings = read_ratings(folder)
    if not ratings:
        raise DataError(f"There is no rating in {folder / RATINGS} yet.")
    by_side = {side: _of_side(ratings, side) for side in (MODEL, OTHER)}
    both = [
        (item, by_side[MODEL][rater, item], by_side[OTHER][rater, item])
        for rater, item in by_side[MODEL]
        if (rater, item) in by_side[OTHER]
    ]
    pairs = _pairs(rows, both)
    write_preferences(folder / PREFERENCES, pairs)
    found: dict[str, Any] = {
        "raters": {rater: len(given) for rater, given in ratings.items()},
        "prompts": len({item for given in ratings.values() for item, _ in given}),
        "same": sum(row.model.strip() == row.other.strip() for row in rows),
        "mean": {side: _mean(given) for side, given in by_side.items()},
        "paired": _paired(both),
        "agreement": _agreement(ratings),
        "preferences": len(pairs),
    }
    found["verdict"] = _verdict(found)
    write_json(folder / RESULT, found)
    return found


def _of_side(ratings: Rated, side: str) -> dict[tuple[str, int], int]:
    """Ratings of one model by rater and item; an answer that both gave is its own too."""
    return {
        (rater, item): value
        for rater, given in ratings.items()
        for (item, whose), value in given.items()
        if whose in (side, BOTH)
    }


def _mean(given: Mapping[tuple[str, int], int]) -> dict[str, Any] | None:
    values = [float(value) for value in given.values()]
    if not values:
        return None
    return estimate(_MEAN, values, values, groups=[item for _, item in given]).to_dict()


def _paired(both: Sequence[tuple[int, int, int]]) -> dict[str, Any] | None:
    """The difference of the two ratings of a rater, whole prompts exchanged and drawn."""
    if len({item for item, _, _ in both}) < 2:
        return None
    items, ours, theirs = zip(*both, strict=True)
    first, second = (list(map(float, values)) for values in (ours, theirs))
    return compare(
        _MEAN, first, first, second, groups=items, name_a="the model", name_b="the other"
    ).to_dict()


def _agreement(ratings: Rated) -> dict[str, float | None] | None:
    if len(ratings) < 2:
        return None
    by_answer: dict[tuple[int, str], dict[str, int]] = {}
    for rater, given in ratings.items():
        for answer, value in given.items():
            by_answer.setdefault(answer, {})[rater] = value
    rated = list(by_answer.values())
    return {
        "ordinal": finite_or_none(krippendorff_alpha(rated, "ordinal")),
        "interval": finite_or_none(krippendorff_alpha(rated, "interval")),
    }


def _pairs(rows: Sequence[Answered], both: Sequence[tuple[int, int, int]]) -> list[dict[str, Any]]:
    """Rows of preference data, from prompts whose two answers are not rated alike."""
    found = []
    for row in rows:
        given = [(ours, theirs) for item, ours, theirs in both if item == row.item]
        ours, theirs = (sum(values) for values in zip(*given, strict=True)) if given else (0, 0)
        if ours != theirs:
            side = MODEL if ours > theirs else OTHER
            means = sorted((ours / len(given), theirs / len(given)), reverse=True)
            found.append(
                preference(row, side, len(given))
                | {"chosen_rating": means[0], "rejected_rating": means[1]}
            )
    return found


def _verdict(found: Mapping[str, Any]) -> str:
    means = [
        f"{name} {score['value']:.2f}{_between(score)}"
        for name, score in (
            ("the model", found["mean"][MODEL]),
            ("the other", found["mean"][OTHER]),
        )
        if score is not None
    ]
    said = f"Mean rating of 1 to 5: {', '.join(means)}"
    if found["paired"] is None:
        return f"{said}; too few prompts have both answers rated for a test."
    return f"{said}; {found['paired']['verdict']}."


def _between(score: Mapping[str, Any]) -> str:
    if score["low"] is None or score["high"] is None:
        return ""
    return f" (95 % interval {score['low']:.2f} to {score['high']:.2f})"
