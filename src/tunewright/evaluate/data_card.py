"""The audit of a data set as one HTML page: pictures, and findings with examples.

A card takes what `tunewright check --json` prints. It does not know how the numbers came about.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunewright.artifacts import atomic_write
from tunewright.evaluate import charts, pages, wording
from tunewright.evaluate.plots import Picture
from tunewright.evaluate.report_view import Fact, data_facts, sorted_findings

_SAYS = {
    "error": ("worse", "broken", "This data would spoil a model or its score."),
    "warning": ("", "usable", "This data can be trained on; look at the warnings first."),
    "info": ("better", "sound", "Nothing here would spoil a model or its score."),
}

_TILES = {"error": "errors", "warning": "warnings", "info": "good to know"}


def write_card(found: Mapping[str, Any], name: str, path: Path) -> Path:
    """Write the page of one audit. The same audit gives the same bytes.

    Args:
        found: `Audit.to_dict()`.
        name: of the data set.
        path: of the page; its folder is made when missing.

    Raises:
        SpaceError: the disk is full.
    """
    findings = sorted_findings(found)
    worst = findings[0]["severity"] if findings else "info"
    status, label, sentence = _SAYS[worst]
    counts = {s: sum(f["severity"] == s for f in findings) for s in _SAYS}
    text = pages.html(
        "data_card.html.j2",
        title=f"Data card: {name}",
        task=found["task"],
        status=status,
        label=label,
        sentence=sentence,
        tiles=[
            Fact("rows", wording.count(found["rows"])),
            *(Fact(_TILES[s], wording.count(n)) for s, n in counts.items() if n),
        ],
        facts=data_facts(found),
        pictures=_pictures(found),
        findings=findings,
        generated=None,
    )
    atomic_write(path, text)
    return path


def _pictures(found: Mapping[str, Any]) -> list[Picture]:
    pictures = []
    if any(found["labels"].values()):
        pictures.append(Picture("labels", *charts.audited_labels(found)))
    if (found["lengths"].get("histogram") or {}).get("counts"):
        figure = charts.length_histogram(found["lengths"])
        pictures.append(Picture("lengths", "Histogram of text lengths", figure))
    if found["languages"]:
        figure = charts.label_balance(found["languages"], title="Language, where it is sure")
        pictures.append(Picture("languages", "Rows by language", figure))
    return pictures
