"""What a report shows of one job, worked out once for the HTML and the Markdown page."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import yaml
from matplotlib.figure import Figure

from tunewright.evaluate import charts, wording
from tunewright.evaluate.plots import Picture, evaluation_pictures
from tunewright.evaluate.report_blocks import Block, blocks
from tunewright.evaluate.report_tables import (
    Table,
    class_table,
    error_table,
    is_tags,
    score_table,
    shortened,
    test_table,
)
from tunewright.evaluate.verdict import Verdict, finite_metrics, primary_metric, verdict

_SEVERITIES = ("error", "warning")
_LOSSES = {
    "regression": "loss (mean squared error)",
    "classification": "cross-entropy (nats a row)",
    "multilabel": "cross-entropy (nats a label)",
    "token_classification": "cross-entropy (nats a word)",
    "embedding": "loss (nats a row)",
    "question_answering": "cross-entropy (nats a window)",
    "instruction": "cross-entropy (nats a token)",
    "text": "cross-entropy (nats a token)",
}


class Fact(NamedTuple):
    """A name and its value, for a list or a tile."""

    name: str
    value: str


@dataclass
class Pictures:
    """The figures of one job; None where there is nothing to draw."""

    scores: Picture | None = None
    confusion: Picture | None = None
    types: Picture | None = None
    calibration: Picture | None = None
    curves: Picture | None = None
    labels: Picture | None = None
    lengths: Picture | None = None

    def drawn(self) -> list[Picture]:
        """Those that there are."""
        return [picture for picture in vars(self).values() if picture is not None]


@dataclass(frozen=True)
class SectionView:
    """One job, ready to be laid out."""

    anchor: str
    title: str
    verdict: Verdict
    tiles: list[Fact]
    cautions: list[str]
    pictures: Pictures
    scores: Table | None
    tests: Table | None
    per_class: Table | None
    errors: Table | None
    blocks: list[Block]
    notes: list[str]
    diagnoses: list[dict[str, Any]]
    data: list[Fact]
    findings: list[dict[str, Any]]
    cost: list[Fact]
    reasons: list[str]
    command: str
    recipe: str
    machine: list[Fact]
    hashes: list[Fact]


def view_section(anchor: str, section: Mapping[str, Any]) -> SectionView:
    """Work out what a report shows.

    Args:
        anchor: unique in the report; the start of every id and picture name.
        section: the fields of a `Section`.
    """
    data, evaluation, run = section["data"], section["evaluation"], section["run"]
    diagnoses = [e for e in section["journal"] if e.get("event") == "diagnosis"]
    findings = sorted_findings(data)
    return SectionView(
        anchor=anchor,
        title=section["title"],
        verdict=verdict(evaluation),
        tiles=_tiles(evaluation, run),
        cautions=[f["message"] for f in findings if f.get("severity") == "error"]
        + [e["message"] for e in diagnoses],
        pictures=_pictures(anchor, section),
        scores=score_table(evaluation),
        tests=test_table(evaluation),
        per_class=class_table(evaluation),
        errors=error_table(evaluation),
        blocks=blocks(evaluation),
        notes=[str(note) for note in evaluation.get("notes") or []],
        diagnoses=diagnoses,
        data=data_facts(data),
        findings=findings,
        cost=_cost(run, evaluation),
        reasons=section["reasons"],
        command=section["command"],
        recipe=yaml.safe_dump(run["config"], sort_keys=False, allow_unicode=True).rstrip()
        if run.get("config")
        else "",
        machine=_machine(run),
        hashes=[Fact(str(k), str(v)) for k, v in (run.get("parents") or {}).items()],
    )


def sorted_findings(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The findings of an audit, the worst first, with their examples as short texts."""
    findings = data.get("findings") or []
    ranked = sorted(findings, key=lambda f: _rank(str(f.get("severity", "info"))))
    return [finding | {"examples": _examples(finding)} for finding in ranked]


def _rank(severity: str) -> int:
    return _SEVERITIES.index(severity) if severity in _SEVERITIES else len(_SEVERITIES)


def _examples(finding: Mapping[str, Any]) -> list[str]:
    return [
        shortened(
            example if isinstance(example, str) else json.dumps(example, ensure_ascii=False), 200
        )
        for example in (finding.get("examples") or [])[:3]
    ]


def _tiles(evaluation: Mapping[str, Any], run: Mapping[str, Any]) -> list[Fact]:
    tiles = []
    metric = primary_metric(evaluation)
    if metric is not None:
        tuned = finite_metrics(evaluation)[metric]
        tiles.append(Fact(wording.metric_name(metric), wording.number(tuned["value"])))
        if tuned.get("n"):
            tiles.append(Fact("test rows", wording.count(tuned["n"])))
    results = run.get("results") or {}
    if run.get("seconds") is not None:
        tiles.append(Fact("training time", wording.duration(run["seconds"])))
    if results.get("peak_memory_bytes"):
        tiles.append(Fact("peak memory", wording.memory(results["peak_memory_bytes"])))
    return tiles


def _pictures(anchor: str, section: Mapping[str, Any]) -> Pictures:
    data, evaluation, journal = section["data"], section["evaluation"], section["journal"]
    found = Pictures(**evaluation_pictures(evaluation, f"{anchor}-"))

    def picture(name: str, description: str, figure: Figure) -> Picture:
        return Picture(f"{anchor}-{name}", description, figure)

    if any(e.get("event") == "step" and wording.is_finite(e.get("loss")) for e in journal):
        task = str(evaluation.get("task") or (section["run"].get("config") or {}).get("task"))
        found.curves = picture(
            "curves",
            "Training and validation loss, learning rate and gradient norm by step",
            charts.training_curves(journal, _LOSSES.get(task, "loss")),
        )
    if any((data.get("labels") or {}).values()):
        found.labels = picture("labels", *charts.audited_labels(data))
    lengths = data.get("lengths") or {}
    if (lengths.get("histogram") or {}).get("counts"):
        found.lengths = picture(
            "lengths", "Histogram of text lengths", charts.length_histogram(lengths)
        )
    return found


def data_facts(data: Mapping[str, Any]) -> list[Fact]:
    """What a data set looks like, in names and numbers."""
    facts = []
    if data.get("rows") is not None:
        facts.append(Fact("rows", wording.count(data["rows"])))
    facts += [Fact(name, wording.count(n)) for name, n in (data.get("splits") or {}).items()]
    if data.get("labels"):
        name = "entity types" if is_tags(data) else "labels"
        facts.append(Fact(name, wording.count(len(data["labels"]))))
    lengths = data.get("lengths") or {}
    if "median" in lengths and "max" in lengths:
        facts.append(
            Fact(
                f"{lengths.get('unit', 'tokens')} a row",
                f"median {wording.count(lengths['median'])}, longest "
                f"{wording.count(lengths['max'])}",
            )
        )
    return facts


def _cost(run: Mapping[str, Any], evaluation: Mapping[str, Any]) -> list[Fact]:
    results = run.get("results") or {}
    facts: Sequence[tuple[str, Any, Callable[[Any], str]]] = (
        ("training time", run.get("seconds"), wording.duration),
        ("evaluation time", evaluation.get("seconds"), wording.duration),
        ("peak memory", results.get("peak_memory_bytes"), wording.memory),
        ("tokens a second", results.get("tokens_per_second"), wording.count),
        ("tokens trained on", results.get("tokens"), wording.count),
        ("optimizer steps", results.get("steps"), wording.count),
        ("parameters", results.get("parameters"), wording.count),
        ("parameters trained", _trained_share(results), str),
    )
    return [Fact(name, form(value)) for name, value, form in facts if value is not None]


def _trained_share(results: Mapping[str, Any]) -> str | None:
    trained, every = results.get("trainable_parameters"), results.get("parameters")
    if trained is None:
        return None
    share = f" ({trained / every * 100:.3g} %)" if every else ""
    return f"{wording.count(trained)}{share}"


def _machine(run: Mapping[str, Any]) -> list[Fact]:
    machine = run.get("machine") or {}
    facts = []
    if run.get("seed") is not None:
        facts.append(Fact("seed", str(run["seed"])))
    for key in ("processor", "accelerator", "cores", "system", "python"):
        if machine.get(key):
            facts.append(Fact(key, str(machine[key])))
    if machine.get("memory_bytes"):
        facts.append(Fact("memory", wording.memory(machine["memory_bytes"])))
    facts += [Fact(str(k), str(v)) for k, v in (machine.get("packages") or {}).items()]
    return facts
