"""Where a model is worse: scores of parts of the rows, and a search for parts below the rest.

A slice is the rows that share something: a band of length, a label, a language, a value of a
column, or two of these together. This module knows records and scored rows. It does not know
models.

Legend for shape suffixes: N rows, G groups, R exchanges, S slices.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunewright.config.task import Task
from tunewright.data.records import Record
from tunewright.errors import ConfigError, unknown_name
from tunewright.evaluate import wording
from tunewright.evaluate.slice_columns import MIN_ROWS, Column, columns_of
from tunewright.metrics import correct, estimate, get_metric
from tunewright.metrics.entities import entity_counts
from tunewright.metrics.resampling import Groups, group_ids
from tunewright.metrics.sufficient import Floats, Ints

MIN_PAIR_ROWS = 20
"""Rows that share two things at least, or the two together are not looked at."""
_MOST_SINGLES = 30
"""Largest slices whose pairs are looked at: 30 make up to 435 pairs."""
_OVERLAP = 0.9
"""Share of a slice above which a pair is that slice again."""
_SIGNIFICANT = 0.05
_EXCHANGES = 4_000
_BUDGET = 20_000_000
"""Row scores drawn in all exchanges together: a second or two."""
_CHUNK = 2_000_000

# Metrics that are a mean over rows, or a loss over tokens: only these can be told row by row.
_MEANS = frozenset(
    {
        "accuracy",
        "answer_exact_match",
        "answer_f1",
        "subset_accuracy",
        "hamming_loss",
        "log_loss",
        "exact_match",
        "numeric_match",
        "pass_rate",
        "rouge1",
        "rouge2",
        "rougeL",
        "mse",
        "mae",
        "mrr_at_10",
        "recall_at_1",
        "recall_at_10",
    }
)
_LOSSES = frozenset({"perplexity", "log_perplexity", "bits_per_byte"})
_ENTITIES = "entity_f1"
_OF_TASK = {
    Task.CLASSIFICATION: "accuracy",
    Task.MULTILABEL: "subset_accuracy",
    Task.REGRESSION: "mae",
    Task.TOKEN_CLASSIFICATION: _ENTITIES,
    Task.EMBEDDING: "mrr_at_10",
    Task.QUESTION_ANSWERING: "answer_f1",
    Task.INSTRUCTION: "perplexity",
    Task.TEXT: "perplexity",
}


@dataclass(frozen=True, slots=True)
class Slice:
    """Rows that share something: what it is, by column, and which rows [n] they are."""

    where: dict[str, str]
    rows: NDArray[np.bool_]

    def __len__(self) -> int:
        return int(self.rows.sum())


def slice_metric(names: Sequence[str], task: Task) -> str:
    """The metric by which slices are compared: the first asked for, where rows have it one by one.

    Macro-F1, correlations and corpus scores have no value for a row; accuracy, mean absolute error
    and perplexity stand in for them.
    """
    return names[0] if names and names[0] in _MEANS | _LOSSES else _OF_TASK[task]


def find_slices(
    records: Sequence[Record],
    metric: str,
    references: Any,
    predictions: Any,
    *,
    wanted: Sequence[str] | None = None,
    groups: Groups | None = None,
    seed: int = 0,
) -> dict[str, Any] | None:
    """Score every slice, and name those that are worse than the rest of the rows.

    Each slice of at least 10 rows is tested against all other rows, one-sided: shares of rows by
    Fisher's exact test, other scores by exchanging which rows belong to it. The p-values are
    corrected for the number of slices (Holm); where pairs of slices are searched too, single
    slices and pairs share the 5 % of false alarms in halves. With groups, whole groups are
    exchanged in the tests and drawn in the intervals.

    Args:
        records: [n] the scored rows.
        metric: from `slice_metric`.
        references, predictions: [n] in the shape that the metric needs.
        wanted: columns to slice by: `length`, `label`, `language`, `source`, or a column of the
            rows. Default: all that have few values.
        groups: [n] source of each row where rows share one.
        seed: of the exchanges.

    Returns:
        `metric`, `better`, `tested` (slices and pairs), `slices` (each with `where`, `score`,
        `rest`, `p` and `worse`; single ones, then pairs that are worse), and `verdict`, sentences.
        None where no slice has enough rows.

    Raises:
        ConfigError: a wanted column does not exist, or has no value with enough rows.
    """
    columns = columns_of(records, wanted)
    _refuse_unknown(columns, records, wanted)
    singles = [
        Slice({column.name: value}, rows_N)
        for column in columns
        for value, rows_N in column.values.items()
        if MIN_ROWS <= rows_N.sum() <= len(records) - MIN_ROWS
    ]
    if wanted is not None:
        _refuse_empty(columns, singles)
    sums_N, counts_N = _row_sums(metric, references, predictions)
    singles = [one for one in singles if counts_N[one.rows].any() and counts_N[~one.rows].any()]
    if not singles:
        return None
    pairs = [one for one in _pairs(singles) if counts_N[one.rows].any()]
    worse_is_low = get_metric(metric).better == "higher"
    sign = -1.0 if worse_is_low else 1.0
    both = [*singles, *pairs]
    members_N = group_ids(groups, len(records))
    if members_N is not None:
        raw = _group_exchanges(both, sums_N, counts_N, members_N, sign, seed)
    else:
        raw = _tests(both, sums_N, counts_N, sign, get_metric(metric).proportion, seed)
    halves = 2 if pairs else 1
    p = [
        min(1.0, halves * value)
        for part in (raw[: len(singles)], raw[len(singles) :])
        for value in correct(part)
    ]
    found = [
        _scored(one, metric, references, predictions, value, members_N)
        for one, value in zip(singles, p, strict=False)
    ]
    told = [set(f["where"].items()) for f in found if f["worse"]]
    for pair, value in zip(pairs, p[len(singles) :], strict=True):
        if value < _SIGNIFICANT and not any(part <= set(pair.where.items()) for part in told):
            found.append(_scored(pair, metric, references, predictions, value, members_N))
    return {
        "metric": metric,
        "better": get_metric(metric).better,
        "tested": len(both),
        "slices": found,
        "verdict": _verdict(found, metric, len(both)),
    }


def _refuse_unknown(
    columns: Sequence[Column], records: Sequence[Record], wanted: Sequence[str] | None
) -> None:
    named = {column.name for column in columns}
    known = {"length", "language", "label", "source", *(key for r in records for key in r.meta)}
    faults = []
    for name in wanted or ():
        if name not in known:
            faults.append(unknown_name("slice", name, known))
        elif name not in named:
            faults.append(
                f"Slice {name!r} has no value that can be told apart: every row has the same, or "
                f"none. Columns that differ: {', '.join(sorted(named)) or 'none'}."
            )
    if faults:
        raise ConfigError(faults)


def _refuse_empty(columns: Sequence[Column], singles: Sequence[Slice]) -> None:
    there = {name for one in singles for name in one.where}
    empty = [column.name for column in columns if column.name not in there]
    if empty:
        raise ConfigError(
            f"Slice {empty[0]!r} has no value with at least {MIN_ROWS} rows in it and as many "
            "outside. Score more rows, or slice by something coarser."
        )


def _pairs(singles: Sequence[Slice]) -> list[Slice]:
    """Rows that share two things, where they are enough and not one of the two again."""
    largest = sorted(singles, key=len, reverse=True)[:_MOST_SINGLES]
    found = []
    for one, other in itertools.combinations(largest, 2):
        if one.where.keys() & other.where.keys():
            continue
        rows_N = one.rows & other.rows
        if MIN_PAIR_ROWS <= rows_N.sum() <= _OVERLAP * min(len(one), len(other)):
            found.append(Slice(one.where | other.where, rows_N))
    return found


def _row_sums(metric: str, references: Any, predictions: Any) -> tuple[Floats, Floats]:
    """What each row adds to a score and to what that is divided by."""
    if metric in _LOSSES:
        return np.asarray(predictions, np.float64), np.asarray(references, np.float64)
    if metric == _ENTITIES:  # F1 is twice the right ones over those there and those found
        right_N, there_N, found_N = entity_counts(references, predictions).T
        return 2 * right_N, there_N + found_N
    sufficient = get_metric(metric).sufficient(references, predictions)
    units = sufficient.units
    size = max(1, _CHUNK // units)
    # A resample that holds one unit once scores that unit.
    scores_U = np.concatenate(
        [
            sufficient.score(np.eye(min(size, units - first), units, k=first))
            for first in range(0, units, size)
        ]
    )
    return scores_U[sufficient.unit], np.ones(len(sufficient))


def _tests(
    slices: Sequence[Slice],
    sums_N: Floats,
    counts_N: Floats,
    sign: float,
    shares: bool,
    seed: int,
) -> list[float]:
    """One-sided p of each slice against the rest of the rows."""
    if shares:
        from scipy.stats import hypergeom

        n, right = len(sums_N), int(sums_N.sum())
        return [
            float(hypergeom.cdf(int(sums_N[one.rows].sum()), n, right, len(one))) for one in slices
        ]
    return _exchanges(slices, sums_N, counts_N, sign, seed)


def _exchanges(
    slices: Sequence[Slice], sums_N: Floats, counts_N: Floats, sign: float, seed: int
) -> list[float]:
    """Share of random choices of as many rows that are as bad as the slice.

    One order of the rows serves every slice: its first k rows stand for a slice of k. The rows as
    they are count as one choice (Phipson and Smyth 2010).
    """
    n = len(sums_N)
    observed_S = np.array(
        [
            sign * _gap(sums_N[s.rows].sum(), counts_N[s.rows].sum(), sums_N, counts_N)
            for s in slices
        ]
    )
    last_S = np.array([len(one) - 1 for one in slices])
    exchanges = _how_many(slices, n)
    rng = np.random.default_rng(seed)
    reached_S = np.zeros(len(slices))
    size = max(1, _CHUNK // n)
    for start in range(0, exchanges, size):
        order_RN = rng.permuted(np.tile(np.arange(n), (min(size, exchanges - start), 1)), axis=1)
        sums_RS = np.cumsum(sums_N[order_RN], axis=1)[:, last_S]
        counts_RS = np.cumsum(counts_N[order_RN], axis=1)[:, last_S]
        with np.errstate(invalid="ignore"):  # a choice of rows without an entity has no score
            gaps_RS = sign * _gap(sums_RS, counts_RS, sums_N, counts_N)
        # Rounding must not decide whether a choice is as bad; one without a score counts as bad.
        reached_S += (~(gaps_RS < observed_S - 1e-9 * np.abs(observed_S))).sum(axis=0)
    return [float(p) for p in (1 + reached_S) / (1 + exchanges)]


def _how_many(slices: Sequence[Slice], units: int) -> int:
    """Exchanges, enough that the smallest p stays significant after the correction."""
    return max(80 * len(slices), 2_000, min(_EXCHANGES, _BUDGET // units))


def _group_exchanges(
    slices: Sequence[Slice],
    sums_N: Floats,
    counts_N: Floats,
    members_N: Ints,
    sign: float,
    seed: int,
) -> list[float]:
    """Share of exchanges of whole groups that are as bad as the slice.

    Were a slice no worse than the rest, what each group adds to the gap would be as likely with
    the other sign: a wild cluster bootstrap of the scores with the hypothesis imposed (Cameron,
    Gelbach and Miller, "Bootstrap-Based Improvements for Inference with Clustered Errors", Review
    of Economics and Statistics 90 (2008); Kline and Santos 2012). A slice whose rows are of one
    group, or a few, is never shown to be worse. The groups as they are count as one exchange.
    """
    groups = int(members_N.max()) + 1
    errors_N = sums_N - counts_N * sums_N.sum() / counts_N.sum()
    added_GS = np.empty((groups, len(slices)))
    for place, one in enumerate(slices):
        inside, outside = counts_N[one.rows].sum(), counts_N[~one.rows].sum()
        weights_N = np.where(one.rows, 1 / inside, -1 / outside)
        added_GS[:, place] = np.bincount(members_N, sign * errors_N * weights_N, groups)
    observed_S = added_GS.sum(axis=0)
    exchanges = _how_many(slices, groups)
    rng = np.random.default_rng(seed)
    reached_S = np.zeros(len(slices))
    size = max(1, _CHUNK // max(groups, len(slices)))
    for start in range(0, exchanges, size):
        signs_RG = rng.choice((-1.0, 1.0), size=(min(size, exchanges - start), groups))
        # Rounding must not decide whether an exchange is as bad.
        least_S = observed_S - 1e-9 * np.abs(observed_S)
        reached_S += (signs_RG @ added_GS >= least_S).sum(axis=0)
    return [float(p) for p in (1 + reached_S) / (1 + exchanges)]


def _gap(sums: Any, counts: Any, sums_N: Floats, counts_N: Floats) -> Any:
    """Score of some rows minus that of the others."""
    return sums / counts - (sums_N.sum() - sums) / (counts_N.sum() - counts)


def _scored(
    one: Slice,
    metric: str,
    references: Any,
    predictions: Any,
    p: float,
    members_N: Ints | None,
) -> dict[str, Any]:
    inside, outside = np.flatnonzero(one.rows), np.flatnonzero(~one.rows)
    resamples = max(200, min(2_000, _BUDGET // len(inside)))
    score = estimate(
        metric,
        _taken(references, inside),
        _taken(predictions, inside),
        groups=None if members_N is None else members_N[inside],
        resamples=resamples,
    )
    rest = get_metric(metric).compute(_taken(references, outside), _taken(predictions, outside))
    return {
        "where": one.where,
        "score": score.to_dict(),
        "rest": rest,
        "p": p,
        "worse": p < _SIGNIFICANT,
    }


def _taken(rows: Any, indices: NDArray[np.intp]) -> Any:
    if isinstance(rows, np.ndarray):
        return rows[indices]
    return [rows[i] for i in indices]


def said_where(where: Mapping[str, str]) -> str:
    """What the rows of a slice share, in words: `length 3 to 20 characters and label sad`."""
    return " and ".join(f"{column} {value}" for column, value in where.items())


def _verdict(found: Sequence[Mapping[str, Any]], metric: str, tested: int) -> list[str]:
    name = wording.metric_name(metric)
    slices = wording.plural(tested, "slice")
    worse = sorted((f for f in found if f["worse"]), key=lambda f: f["p"])
    if not worse:
        return [f"None of {slices} is shown to be worse than the rest ({name}, Holm's correction)."]
    said = []
    for one in worse:
        score = one["score"]
        between = ""
        if all(end is not None and math.isfinite(end) for end in (score["low"], score["high"])):
            ends = (wording.number(score[key]) for key in ("low", "high"))
            between = f"95 % interval {' to '.join(ends)}, "
        said.append(
            f"Worse where {said_where(one['where'])}: {name} {wording.number(score['value'])} "
            f"({between}{wording.plural(score['n'], 'row')}) against {wording.number(one['rest'])} "
            f"on the rest ({wording.p_value(one['p'])} after Holm's correction for {slices})."
        )
    return said
