"""The report of fine-tuned jobs: HTML for people, Markdown for repositories, JSON for machines.

A report takes plain dictionaries, as they are read back from artifact folders, so it can be
made again at any time without a model. It does not know how the numbers came about.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tunewright.artifacts import atomic_write, write_json
from tunewright.errors import DataError
from tunewright.evaluate import pages
from tunewright.evaluate.comparison import ComparisonPaths, write_comparison
from tunewright.evaluate.report_view import SectionView, view_section
from tunewright.evaluate.verdict import overall

__all__ = ["ComparisonPaths", "ReportPaths", "Section", "write_comparison", "write_report"]


@dataclass(frozen=True)
class Section:
    """One fine-tuned job. Every part may be empty; what is missing is left out.

    Attributes:
        title: what the job is, for the heading.
        data: the audit: `rows`, `splits`, `labels`, `lengths`, `findings`.
        journal: the events of the run, in order, as `journal.jsonl` has them.
        evaluation: test scores (`metrics`, each with `value`, `low`, `high`, `n`, `better`),
            `baselines`, paired tests (`comparison`: tuned minus baseline), `confusion`,
            `per_class`, `calibration`, `errors` (the worst first), `seconds`.
        run: the run's manifest: `config`, `machine`, `parents`, `seed`, `seconds`, `results`.
        reasons: why each setting was chosen, one sentence each.
        command: the command line that repeats the job.
    """

    title: str
    data: dict[str, Any] = field(default_factory=dict)
    journal: list[dict[str, Any]] = field(default_factory=list)
    evaluation: dict[str, Any] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    command: str = ""


@dataclass(frozen=True)
class ReportPaths:
    """The files of one report."""

    html: Path
    markdown: Path
    json: Path
    pictures: list[Path]


def write_report(
    title: str,
    sections: Sequence[Section],
    folder: Path,
    *,
    generated: str | None = None,
) -> ReportPaths:
    """Write `report.html`, `report.md` with `pictures/`, and `report.json` into `folder`.

    The same input gives the same bytes.

    Args:
        title: heading of the report.
        sections: one or more jobs.
        folder: made when missing; a report in it is replaced.
        generated: when the report was made, as it should read. Left out when None.

    Returns:
        The files written.

    Raises:
        DataError: there is no section, or a part of one has a shape that cannot be drawn.
        SpaceError: the disk is full.
    """
    if not sections:
        raise DataError("A report needs at least one section: a job that was run.")
    views = [view_section(f"job-{i}", vars(s)) for i, s in enumerate(sections, start=1)]
    summary = overall([view.verdict for view in views])
    pictures = [
        picture.save(folder / "pictures") for view in views for picture in view.pictures.drawn()
    ]
    context = {"title": title, "summary": summary, "sections": views, "generated": generated}
    paths = ReportPaths(
        folder / "report.html", folder / "report.md", folder / "report.json", pictures
    )
    atomic_write(paths.html, pages.html("report.html.j2", **context))
    atomic_write(paths.markdown, pages.markdown("report.md.j2", **context))
    write_json(paths.json, _as_json(title, summary, generated, sections, views))
    return paths


def _as_json(
    title: str,
    summary: str,
    generated: str | None,
    sections: Sequence[Section],
    views: Sequence[SectionView],
) -> Any:
    content = {
        "title": title,
        "summary": summary,
        "generated": generated,
        "sections": [
            {"title": section.title, "verdict": asdict(view.verdict)}
            | {key: value for key, value in vars(section).items() if key != "title"}
            for section, view in zip(sections, views, strict=True)
        ],
    }
    return without_nan(content)


def without_nan(value: Any) -> Any:
    """The value with each NaN and infinity as None: JSON has no word for them."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return value
