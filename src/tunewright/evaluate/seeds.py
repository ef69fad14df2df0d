"""Runs that differ in their seed alone: mean and interval over seeds, and groups of them compared.

A score of one run holds the luck of its seed. The intervals here are over seeds, on these test
rows: they say how far another seed would lead, not how far other rows would.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tunewright.evaluate import wording
from tunewright.evaluate.names import distinct_names
from tunewright.metrics import correct, get_metric
from tunewright.metrics.intervals import finite_or_none
from tunewright.metrics.paired import POWER, SIGNIFICANT

_NOT_SETTINGS = ("seed", "output_dir")


def add_seed_groups(
    results: Sequence[dict[str, Any]], settings: Sequence[Mapping[str, Any] | None]
) -> None:
    """Give every evaluation of a run `over_seeds`, where others differ from it in the seed alone.

    Args:
        results: evaluations of the same rows; those that failed are passed over.
        settings: the resolved recipe of each, or None where a model is no run.

    Each `over_seeds` has `name`, `runs`, `seeds`, `metrics` (by name `value`, the mean over seeds,
    `low`, `high` by Student's t, `spread`, the standard deviation, and `n` seeds), and `comparison`
    with other such groups on the first metric: `difference`, `low`, `high` and `p` by Welch's
    t-test (p corrected by Holm), `detectable`, and `verdict`.
    """
    names = distinct_names([str(found.get("model", "")) for found in results])
    groups: dict[str, list[int]] = {}
    for i, (found, settled) in enumerate(zip(results, settings, strict=True)):
        if settled is not None and "error" not in found:
            shared = {k: v for k, v in settled.items() if k not in _NOT_SETTINGS}
            groups.setdefault(json.dumps(shared, sort_keys=True, default=str), []).append(i)
    several: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    for places in groups.values():
        seeds = [(settings[i] or {}).get("seed") for i in places]
        if len(set(seeds)) < 2:
            continue
        group: dict[str, Any] = {
            "name": f"{names[places[0]]} and {wording.plural(len(places) - 1, 'other seed')}",
            "runs": [names[i] for i in places],
            "seeds": seeds,
            "metrics": _over_seeds([results[i]["metrics"] for i in places]),
            "comparison": {},
        }
        for i in places:
            results[i]["over_seeds"] = group
        several.append((group, [results[i] for i in places]))
    _compare(several)


def _over_seeds(scores: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    found = {}
    for metric in scores[0]:
        values = [float(one[metric]["value"]) for one in scores if metric in one]
        if len(values) == len(scores):
            better = scores[0][metric].get("better", "higher")
            found[metric] = mean_interval(values) | {"better": better}
    return found


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> dict[str, Any]:
    """Mean of k values with Student's interval: `value`, `low`, `high`, `spread` and `n`."""
    from scipy.stats import t

    k = len(values)
    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1)) if k > 1 else math.nan
    half = float(t.ppf((1 + confidence) / 2, k - 1)) * spread / math.sqrt(k) if k > 1 else math.nan
    ends = {"low": finite_or_none(mean - half), "high": finite_or_none(mean + half)}
    return {"value": mean, **ends, "spread": finite_or_none(spread), "n": k}


def _compare(groups: Sequence[tuple[dict[str, Any], Sequence[Mapping[str, Any]]]]) -> None:
    """Test every two groups on the first metric that both have."""
    tests: list[tuple[dict[str, Any], dict[str, Any], str, dict[str, Any]]] = []
    for (one, ours), (other, theirs) in itertools.combinations(groups, 2):
        metric = next((m for m in one["metrics"] if m in other["metrics"]), None)
        if metric is not None:
            first, second = (
                [float(r["metrics"][metric]["value"]) for r in runs] for runs in (ours, theirs)
            )
            tests.append((one, other, metric, welch(first, second)))
    for (one, other, metric, found), p in zip(
        tests, correct([found["p"] for *_, found in tests]), strict=True
    ):
        said = found | {"metric": metric, "p": p}
        verdict = _verdict(said, one["name"], other["name"])
        one["comparison"][other["name"]] = said | {"verdict": verdict}


def welch(
    ours: Sequence[float], theirs: Sequence[float], confidence: float = 0.95
) -> dict[str, Any]:
    """Difference of two means of independent seeds (Welch 1947): interval, p, and what could show.

    Args:
        ours, theirs: a score for each seed, two or more on either side.
        confidence: of the interval.
    """
    from scipy.stats import t

    errors = [float(np.var(v, ddof=1)) / len(v) for v in (ours, theirs)]
    difference, error = float(np.mean(ours) - np.mean(theirs)), math.sqrt(sum(errors))
    n, test = len(ours) + len(theirs), "Welch's t over seeds"
    if error == 0:
        p = 1.0 if difference == 0 else 0.0
        ends = {"low": difference, "high": difference}
        return {"difference": difference, **ends, "p": p, "test": test, "n": n, "detectable": 0.0}
    degrees = error**4 / sum(
        e**2 / (len(v) - 1) for e, v in zip(errors, (ours, theirs), strict=True)
    )
    end = float(t.ppf((1 + confidence) / 2, degrees))
    return {
        "difference": difference,
        "low": difference - end * error,
        "high": difference + end * error,
        "p": float(2 * t.sf(abs(difference) / error, degrees)),
        "test": test,
        "n": n,
        "detectable": (end + float(t.ppf(POWER, degrees))) * error,
    }


def _verdict(found: Mapping[str, Any], one: str, other: str) -> str:
    metric = get_metric(found["metric"])
    scale, unit = (100, " points") if metric.unit == "share" else (1, "")
    shown = {k: f"{scale * found[k]:.3g}" for k in ("low", "high", "detectable")}
    between = f"95 % interval over seeds {shown['low']} to {shown['high']}{unit}"
    if found["p"] >= SIGNIFICANT:
        could = f"these seeds could show {shown['detectable']}{unit}"
        return f"no detectable difference ({between}; {could})"
    ahead = (found["difference"] > 0) == (metric.better == "higher")
    p = "p < 0.001" if found["p"] < 0.001 else f"p = {found['p']:.3f}"
    size = f"{scale * abs(found['difference']):.3g}{unit}"
    return f"{one if ahead else other} is better by {size} ({between}, {p})"


def seed_groups(results: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The different `over_seeds` among evaluations."""
    found = {one["over_seeds"]["name"]: one["over_seeds"] for one in results if "over_seeds" in one}
    return list(found.values())


def said_of_seeds(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of each group the mean of its first metric over seeds, and how groups compare."""
    said = []
    for group in seed_groups(results):
        metric, score = next(iter(group["metrics"].items()))
        said.append(
            f"{group['name']}: mean {wording.metric_name(metric)} {wording.score(score)} over "
            f"{score['n']} seeds, standard deviation {wording.number(score['spread'])}"
        )
        said += [
            f"{group['name']} against {o}: {t['verdict']}" for o, t in group["comparison"].items()
        ]
    return said
