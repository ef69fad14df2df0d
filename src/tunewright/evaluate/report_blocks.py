"""What an evaluation says beyond its scores: slices, forgetting, and what changed since.

Each is a heading, sentences and a table, which the HTML and the Markdown pages lay out alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tunewright.evaluate import wording
from tunewright.evaluate.before_after import said_change
from tunewright.evaluate.marked_words import (
    MarkedText,
    marked_texts,
    said_of_attribution,
    words_table,
)
from tunewright.evaluate.previous import said_of_changes
from tunewright.evaluate.report_tables import Table, shortened
from tunewright.evaluate.robustness import said_change as said_of_probe
from tunewright.evaluate.suspect_rows import said_of_suspects

_STATUS = {"forgotten": "worse", "improved": "better", "none": "no detectable difference"}


@dataclass(frozen=True)
class Block:
    """A part of a report. `anchor` is unique among the blocks of one evaluation.

    `marked` is what a page that has colours shows in place of the table.
    """

    anchor: str
    title: str
    said: list[str]
    table: Table | None
    marked: list[MarkedText] = field(default_factory=list)


def blocks(evaluation: Mapping[str, Any]) -> list[Block]:
    """The parts that an evaluation has, in the order of a report."""
    found = []
    if by_task := evaluation.get("by_task"):
        found.append(Block("tasks", "Tasks", [], task_table(by_task)))
    if slices := evaluation.get("slices"):
        found.append(Block("slices", "Slices", slices["verdict"], slice_table(slices)))
    if (suspects := evaluation.get("suspects")) and suspects["count"]:
        said = [said_of_suspects(suspects)]
        found.append(Block("suspects", "Labels in doubt", said, suspects_table(suspects)))
    if changes := evaluation.get("changes"):
        said = [said_of_changes(changes)]
        found.append(Block("changes", "What changed", said, changes_table(changes)))
    if robust := evaluation.get("robustness"):
        said = [robust["verdict"][0], *robust["notes"]]
        if robust["negation"]:
            said.append(wording.capitalised(robust["verdict"][-1]))
        found.append(Block("robustness", "Robustness", said, robustness_table(robust)))
        if (flips := flips_table(robust)) is not None:
            found.append(Block("broken-by-changes", "Broken by a change", [], flips))
    if words := evaluation.get("attribution"):
        said = said_of_attribution(words)
        texts = marked_texts(words)
        found.append(
            Block("words", "Which words moved the prediction", said, words_table(words), texts)
        )
    if lost := evaluation.get("forgetting"):
        said = [*lost["verdict"][:1], *lost["notes"]]
        found.append(Block("forgetting", "Forgetting", said, before_after_table(lost)))
    if public := evaluation.get("benchmarks"):
        said = [*public["verdict"][:1], *public["notes"]]
        found.append(Block("benchmarks", "Public benchmarks", said, before_after_table(public)))
    return found


def task_table(by_task: Mapping[str, Mapping[str, Any]]) -> Table:
    """Every score of each task of a mix."""
    metrics = list(dict.fromkeys(name for scores in by_task.values() for name in scores))
    rows = [
        [shortened(source), wording.count(next(iter(scores.values()))["n"])]
        + [wording.score(scores[name]) if name in scores else wording.DASH for name in metrics]
        for source, scores in by_task.items()
    ]
    return Table(["Task", "Rows", *map(wording.metric_name, metrics)], rows)


def slice_table(found: Mapping[str, Any]) -> Table:
    """The score of each slice beside that of the rest; those that are worse first, and stressed."""
    worse = sorted((one for one in found["slices"] if one["worse"]), key=lambda one: one["p"])
    slices = [*worse, *(one for one in found["slices"] if not one["worse"])]
    rows = [
        [
            " and ".join(one["where"]),
            " and ".join(map(shortened, one["where"].values())),
            wording.count(one["score"]["n"]),
            wording.score(one["score"]),
            wording.number(one["rest"]),
            wording.p_value(one["p"]) or wording.DASH,
            "worse" if one["worse"] else "not shown to be worse",
        ]
        for one in slices
    ]
    score = f"{wording.metric_name(found['metric'])} {'↓' if found['better'] == 'lower' else '↑'}"
    columns = ["Slice by", "Value", "Rows", score, "On the rest", "p, corrected", ""]
    return Table(columns, rows, tuple(range(len(worse))))


def suspects_table(found: Mapping[str, Any]) -> Table:
    """Scored rows whose own label is probably wrong."""
    rows = [
        [
            str(row["row"]),
            shortened(row["text"]),
            row["label"],
            row["guess"],
            f"{row['odds']:,.0f} times",
        ]
        for row in found["rows"]
    ]
    return Table(["Row", "Text", "Label", "The model finds", "Likelier"], rows)


def changes_table(changes: Mapping[str, Any]) -> Table | None:
    """Rows that the earlier model had right."""
    rows = [
        [str(row["row"]), shortened(row["text"])]
        + [_said(row[key]) for key in ("expected", "before", "now")]
        for row in changes["broken_rows"]
    ]
    return Table(["Broken row", "Text", "Expected", "Before", "Now"], rows) if rows else None


def robustness_table(found: Mapping[str, Any]) -> Table | None:
    """The score of the rows as each probe changes them, beside the clean one."""
    ends = {"worse": "worse", "better": "better", "none": "no detectable difference"}
    rows = [
        [
            wording.capitalised(name),
            wording.count(probe["rows"]),
            wording.score(found["clean"]),
            wording.score(probe["score"]),
            wording.capitalised(said_of_probe(found["metric"], probe["comparison"])),
            wording.p_value(probe["comparison"]["p"]) or wording.DASH,
            _said(probe["broken"]),
            _said(probe["fixed"]),
            ends[probe["status"]],
        ]
        for name, probe in found["probes"].items()
    ]
    arrow = "↓" if found["better"] == "lower" else "↑"
    clean = f"Clean, {wording.metric_name(found['metric'])} {arrow}"
    columns = ["Probe", "Rows changed", clean, "Changed", "Difference", "p, corrected", "Broken"]
    worse = [i for i, p in enumerate(found["probes"].values()) if p["status"] == "worse"]
    return Table([*columns, "Fixed", ""], rows, tuple(worse)) if rows else None


def flips_table(found: Mapping[str, Any]) -> Table | None:
    """Rows that were right and are wrong when they are written otherwise."""
    rows = [
        [wording.capitalised(name), str(row["row"]), shortened(row["changed"])]
        + [_said(row[key]) for key in ("expected", "before", "now")]
        for name, probe in found["probes"].items()
        for row in probe["examples"]
    ]
    return Table(["Probe", "Row", "Text", "Expected", "Before", "Now"], rows) if rows else None


def _said(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return wording.DASH if value is None else shortened(str(value))


def before_after_table(found: Mapping[str, Any]) -> Table:
    """Each probe before and after tuning; those that got worse stressed. After alone where there
    was no model before."""
    probes = found["probes"]
    rows, alone = [], found["before"] is None
    for name, probe in probes.items():
        # An evaluation that was written by an earlier version has no word for its measure.
        measure = probe.get("measure") or wording.metric_name(probe["metric"])
        row = [
            wording.capitalised(name) if " " in name else name,
            measure + (" ↓" if probe["better"] == "lower" else " ↑"),
            wording.count(probe["after"]["n"]),
        ]
        if alone:
            rows.append([*row, wording.score(probe["after"])])
            continue
        rows.append(
            [
                *row,
                wording.score(probe["before"]),
                wording.score(probe["after"]),
                wording.capitalised(said_change(probe)),
                wording.p_value(probe["comparison"]["p"]) or wording.DASH,
                _STATUS[probe["status"]],
            ]
        )
    if alone:
        return Table(["Probe", "Metric", "Rows", "Score"], rows)
    columns = ["Probe", "Metric", "Rows", "Before", "After", "Change", "p, corrected", ""]
    worse = [i for i, probe in enumerate(probes.values()) if probe["status"] == "forgotten"]
    return Table(columns, rows, tuple(worse))
