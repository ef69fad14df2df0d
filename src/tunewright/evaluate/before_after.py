"""One probe before and after tuning: both scores, the paired test, and the words for it.

This module knows answers that are scored. It does not know models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunewright.evaluate import wording
from tunewright.metrics import compare, correct, estimate, get_metric
from tunewright.metrics.registry import Metric

_SIGNIFICANT = 0.05


@dataclass(slots=True)
class Probe:
    """Rows that were answered before and after tuning.

    Attributes:
        name: what the probe is called.
        metric: what scores it.
        references: [n] in the shape that the metric needs.
        after: [n] what the tuned model says, likewise.
        before: [n] what the model said that it was tuned from; None where there is none.
        source: where the rows come from.
        measure: what the metric is called where the probe comes from. Default: its own name.
    """

    name: str
    metric: Metric
    references: Any
    after: Any
    before: Any
    source: str
    measure: str = ""


def told_probes(probes: Sequence[Probe]) -> dict[str, dict[str, Any]]:
    """What the probes say, by name.

    Returns:
        `metric`, `measure` (its name in words), `better`, `unit`, `source`, scores `before` and
        `after`, `comparison` (after minus before, p corrected for the number of probes by Holm)
        and `status` (`forgotten`, `none`, `improved`). Without a model before, `before`,
        `comparison` and `status` are None.
    """
    tests = [
        None if one.before is None else compare(one.metric, one.references, one.after, one.before)
        for one in probes
    ]
    corrected = iter(correct([test.p for test in tests if test is not None]))
    told = {}
    for one, test in zip(probes, tests, strict=True):
        found: dict[str, Any] = {
            "metric": one.metric.name,
            "measure": one.measure or wording.metric_name(one.metric.name),
            "better": one.metric.better,
            "unit": one.metric.unit,
            "source": one.source,
            "before": None,
            "after": estimate(one.metric, one.references, one.after).to_dict(),
            "comparison": None,
            "status": None,
        }
        if test is not None:
            p = next(corrected)
            found["before"] = estimate(one.metric, one.references, one.before).to_dict()
            found["comparison"] = test.to_dict() | {"p": p}
            found["status"] = _status(test.difference, p, one.metric.better)
        told[one.name] = found
    return told


def _status(difference: float, p: float, better: str) -> str:
    if p >= _SIGNIFICANT:
        return "none"
    return "improved" if (difference > 0) == (better == "higher") else "forgotten"


def overall_status(told: Mapping[str, Mapping[str, Any]]) -> str:
    """`forgotten` where one probe is worse, else `improved` where one is better, else `none`."""
    states = [probe["status"] for probe in told.values()]
    return next((status for status in ("forgotten", "improved") if status in states), "none")


def those(told: Mapping[str, Mapping[str, Any]], status: str) -> str:
    """Names of the probes of one status, as they stand in a sentence."""
    return " and ".join(name for name, probe in told.items() if probe["status"] == status)


def sentence(name: str, probe: Mapping[str, Any]) -> str:
    """One probe in a sentence: both scores, and whether they differ."""
    after = wording.number(probe["after"]["value"])
    test = probe["comparison"]
    if test is None:
        between = wording.interval(probe["after"])
        return f"{name}: {probe['measure']} {after}{f' (95 % interval {between})' * bool(between)}."
    before = wording.number(probe["before"]["value"])
    said = {"forgotten": "worse", "improved": "better", "none": "no detectable difference"}
    start = f"{name}: {probe['measure']} {before} before, {after} after: {said[probe['status']]}"
    if probe["status"] == "none":
        could = wording.amount(probe["unit"], test["detectable"])
        return f"{start} ({said_change(probe)}; this probe could show {could})."
    return f"{start} ({said_change(probe)}, {wording.p_value(test['p'])})."


def said_change(probe: Mapping[str, Any]) -> str:
    """The 95 % interval of what changed, in points, per cent of a perplexity, or as it is."""
    unit = probe.get("unit") or get_metric(probe["metric"]).unit
    return wording.interval_of_change(unit, probe["comparison"])
