"""Several models on the same rows: a table with intervals, ranks and significance marks.

It takes evaluations as plain dictionaries. A paired test is used where an evaluation carries
one (`comparison`, keyed by the other model); elsewhere only intervals are compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunewright.artifacts import atomic_write
from tunewright.errors import DataError
from tunewright.evaluate import pages, wording
from tunewright.evaluate.names import distinct_names
from tunewright.evaluate.plots import (
    Picture,
    comparison_pictures,
    cost_picture,
    evaluation_pictures,
)
from tunewright.evaluate.report_blocks import Block, blocks
from tunewright.evaluate.report_tables import Table, class_table, error_table
from tunewright.evaluate.seeds import said_of_seeds
from tunewright.evaluate.verdict import finite_metrics, is_significant, primary_metric

_LEGEND = {
    "*": "* differs from the best, p < 0.05",
    "**": "** differs from the best, p < 0.01",
    "***": "*** differs from the best, p < 0.001",
    "=": "= no detectable difference from the best",
    "†": "† its interval lies apart from the best one's (no paired test was run)",
    "≈": "≈ its interval overlaps the best one's (no paired test was run)",
}


@dataclass(frozen=True)
class ComparisonPaths:
    """The files of one comparison."""

    markdown: Path
    html: Path
    pictures: list[Path]


@dataclass(frozen=True)
class _Candidate:
    """One model in the comparison, with its scores or the reason it has none."""

    name: str
    key: str
    evaluation: Mapping[str, Any]
    metrics: Mapping[str, Mapping[str, Any]]
    error: str


@dataclass(frozen=True)
class _Detail:
    """What is shown of one model below the table."""

    name: str
    pictures: list[Picture]
    classes: Table | None
    errors: Table | None
    blocks: list[Block]


def write_comparison(
    results: Sequence[Mapping[str, Any]],
    output: Path,
    *,
    pictures: bool = True,
    title: str = "",
    generated: str | None = None,
) -> ComparisonPaths:
    """Write a Markdown comparison, with an HTML page of the same stem beside it.

    A single evaluation is compared with the baselines it carries.

    Args:
        results: evaluations as `evaluate` returns them. A model that failed is
            `{"model": ..., "error": ...}` and becomes a row that says so.
        output: the Markdown file, such as `comparison_report.md`.
        pictures: draw scores, confusion and calibration; the Markdown's PNG files go into
            `<stem>_pictures/`.
        title: heading. Default: says what is compared.
        generated: when the report was made, as it should read. Left out when None.

    Returns:
        The files written.

    Raises:
        DataError: there is nothing to compare.
        SpaceError: the disk is full.
    """
    if not results:
        raise DataError("There is nothing to compare: no evaluation was given.")
    candidates = _candidates(results)
    scored = [c for c in candidates if c.metrics]
    metric = _shared_metric(scored)
    ranked = _ranked(scored, metric)
    details, drawn = [], []
    if pictures and metric is not None:
        systems = [{"model": c.name, "metrics": {metric: c.metrics[metric]}} for c in ranked]
        drawn = list(comparison_pictures(systems).values())
        if (cost := cost_picture([(c.name, c.evaluation) for c in ranked], metric)) is not None:
            drawn.append(cost)
    for index, candidate in enumerate(ranked, start=1):
        details += _detail(candidate, index, pictures)
    folder = output.with_name(f"{output.stem}_pictures")
    files = [p.save(folder) for p in (*drawn, *(p for d in details for p in d.pictures))]
    table, legend = _table(ranked, metric, candidates)
    context = {
        "title": title or _title(results, candidates),
        "summary": _summary(ranked, metric),
        "table": table,
        "legend": legend,
        "seeds": said_of_seeds(results),
        "pictures": drawn,
        "folder": folder.name,
        "details": details,
        "generated": generated,
    }
    markdown = output if output.suffix != ".html" else output.with_suffix(".md")
    paths = ComparisonPaths(markdown, output.with_suffix(".html"), files)
    atomic_write(paths.markdown, pages.markdown("comparison.md.j2", **context))
    atomic_write(paths.html, pages.html("comparison.html.j2", **context))
    return paths


def _candidates(results: Sequence[Mapping[str, Any]]) -> list[_Candidate]:
    names = distinct_names([str(result.get("model", "model")) for result in results])
    found = [
        _Candidate(
            name,
            str(result.get("model", "model")),
            result,
            finite_metrics(result),
            "" if finite_metrics(result) else str(result.get("error") or "It has no score."),
        )
        for name, result in zip(names, results, strict=True)
    ]
    if len(results) == 1:
        found += [
            _Candidate(
                wording.capitalised(wording.system_name(key)), key, {}, finite_metrics(baseline), ""
            )
            for key, baseline in (results[0].get("baselines") or {}).items()
            if finite_metrics(baseline)
        ]
    return found


def _shared_metric(scored: Sequence[_Candidate]) -> str | None:
    """The metric that ranks: the usual one among those that most models have."""
    if not scored:
        return None
    every = [m for c in scored for m in c.metrics]
    most = max(every.count(m) for m in every)
    shared = {m: c.metrics[m] for c in scored for m in c.metrics if every.count(m) == most}
    found = (c.evaluation["comparison"] for c in scored if c.evaluation.get("comparison"))
    tests: Mapping[str, Any] = next(found, {})
    return primary_metric({"metrics": shared, "comparison": tests})


def _ranked(scored: Sequence[_Candidate], metric: str | None) -> list[_Candidate]:
    if metric is None:
        return []
    having = [c for c in scored if metric in c.metrics]
    return sorted(
        having,
        key=lambda c: c.metrics[metric]["value"],
        reverse=_better(having, metric) == "higher",
    )


def _better(candidates: Sequence[_Candidate], metric: str) -> str:
    return str(
        next(c.metrics[metric] for c in candidates if metric in c.metrics).get("better", "higher")
    )


def _test(one: _Candidate, other: _Candidate) -> Mapping[str, Any]:
    """The paired test between two models, from whichever of them carries it."""
    for subject, against in ((one, other), (other, one)):
        test = (subject.evaluation.get("comparison") or {}).get(against.key)
        if test and subject.key != against.key:
            return dict(test)
    return {}


def _apart(one: _Candidate, other: _Candidate, metric: str) -> bool:
    """Whether two models are known to differ."""
    significant = is_significant(_test(one, other))
    if significant is not None:
        return significant
    a, b = one.metrics[metric], other.metrics[metric]
    if not all(wording.is_finite(s.get(end)) for s in (a, b) for end in ("low", "high")):
        return False
    return bool(a["low"] > b["high"] or b["low"] > a["high"])


def _rank(candidates: Sequence[_Candidate], index: int, metric: str) -> str:
    """The places a model could hold, counting only differences that are known."""
    mine = candidates[index]
    above = sum(_apart(mine, other, metric) for other in candidates[:index])
    below = sum(_apart(mine, other, metric) for other in candidates[index + 1 :])
    first, last = 1 + above, len(candidates) - below
    return str(first) if first == last else f"{first}{wording.DASH}{last}"


def _mark(best: _Candidate, other: _Candidate, metric: str) -> str:
    test = _test(best, other)
    significant = is_significant(test)
    if significant is None:
        return "†" if _apart(best, other, metric) else "≈"
    if not significant:
        return "="
    p = test.get("p")
    if not wording.is_finite(p):
        return "*"
    return "***" if p < 0.001 else "**" if p < 0.01 else "*"


def _table(
    ranked: Sequence[_Candidate], metric: str | None, candidates: Sequence[_Candidate]
) -> tuple[Table, list[str]]:
    """Ranked models, then those with other metrics only, then those that failed."""
    others = dict.fromkeys(m for c in candidates for m in c.metrics if m != metric)
    order = [metric, *others] if metric is not None else []
    sized = any(c.evaluation.get("cost") for c in ranked)
    timed = any((c.evaluation.get("cost") or {}).get("latency_ms") for c in ranked)
    speed = any(wording.is_finite(c.evaluation.get("rows_per_second")) for c in ranked)
    rows, marks = [], []
    for candidate in (*ranked, *(c for c in candidates if c.metrics and c not in ranked)):
        rank = gap = wording.DASH
        if metric is not None and candidate in ranked:
            rank = _rank(ranked, ranked.index(candidate), metric)
            if candidate is not ranked[0]:
                mark = _mark(ranked[0], candidate, metric)
                marks.append(mark)
                gap = f"{_behind(candidate, ranked[0], metric)} {mark}"
        scores = [wording.score(candidate.metrics.get(name, {})) for name in order]
        rate = [wording.number(candidate.evaluation.get("rows_per_second"))] if speed else []
        cost = candidate.evaluation.get("cost") or {}
        rate += [wording.memory(cost["weight_bytes"]) if cost else wording.DASH] if sized else []
        late = cost.get("latency_ms") or {}
        rate += [f"{wording.number(late.get('median'))} ms"] if timed else []
        rows.append([rank, candidate.name, *scores[:1], gap, *scores[1:], *rate])
    columns = [
        f"{wording.metric_name(m)} {'↓' if _better(candidates, m) == 'lower' else '↑'}"
        for m in order
    ] or ["Score"]
    columns = ["Rank", "Model", columns[0], "Against the best", *columns[1:]]
    columns += ["Rows a second"] if speed else []
    columns += (["Weights"] if sized else []) + (["One row takes"] if timed else [])
    for candidate in candidates:
        if candidate.error:
            row = [wording.DASH, candidate.name, f"failed: {candidate.error}"]
            rows.append(row + [""] * (len(columns) - len(row)))
    best = (0,) if ranked else ()
    return Table(columns, rows, best), [text for mark, text in _LEGEND.items() if mark in marks]


def _behind(candidate: _Candidate, best: _Candidate, metric: str) -> str:
    value, top = candidate.metrics[metric]["value"], best.metrics[metric]["value"]
    return wording.change(metric, value, top, _better([best], metric))


def _summary(ranked: Sequence[_Candidate], metric: str | None) -> str:
    if metric is None:
        return "No model could be scored."
    best, *rest = ranked
    n = best.metrics[metric].get("n")
    where = f" on {wording.plural(n, 'row')}" if isinstance(n, int) else ""
    said = (
        f"{best.name} reached {wording.metric_name(metric)} "
        f"{wording.score(best.metrics[metric], 2)}{where}"
    )
    if not rest:
        return f"{said}. It was compared with nothing."
    level = [c.name for c in rest if not _apart(best, c, metric)]
    if not level:
        return f"{said}, and is measurably better than every other."
    listed = ", ".join(level[:3]) + (f" and {len(level) - 3} more" if len(level) > 3 else "")
    return f"{said}, the best score, but is not shown to be better than {listed}."


def _title(results: Sequence[Mapping[str, Any]], candidates: Sequence[_Candidate]) -> str:
    if len(results) == 1:
        return f"Evaluation of {candidates[0].name}"
    return f"Comparison of {wording.plural(len(results), 'model')}"


def _detail(candidate: _Candidate, index: int, pictures: bool) -> list[_Detail]:
    evaluation = candidate.evaluation
    drawn = evaluation_pictures(evaluation, f"{index}-") if pictures and evaluation else {}
    detail = _Detail(
        candidate.name,
        [picture for name, picture in drawn.items() if name != "scores"],
        class_table(evaluation),
        error_table(evaluation),
        blocks(evaluation),
    )
    return [detail] if any((detail.pictures, detail.classes, detail.errors, detail.blocks)) else []
