"""The data card: one page that shows what the audit found, the same each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tunewright.evaluate.data_card import write_card


def found(*severities: str, **more: Any) -> dict[str, Any]:
    findings = [
        {"id": f"a.{s}", "severity": s, "rows": 2, "message": f"Said of {s}.", "fix": "Do it.",
         "examples": [f"row 1: '<b>{s}</b>'"]}
        for s in severities
    ]  # fmt: skip
    return {
        "task": "classification",
        "rows": 1200,
        "splits": {"train": 1000, "validation": 0, "test": 200},
        "labels": {"<one>": 700, "two": 500},
        "lengths": {"unit": "tokens", "min": 1, "median": 6, "p95": 9, "max": 12, "limit": 10,
                    "histogram": {"edges": [0, 6, 12], "counts": [500, 700]}},
        "languages": {"en": 900, "de": 30},
        "findings": findings,
    } | more  # fmt: skip


@pytest.mark.parametrize(
    ("severities", "label"),
    [
        (("info", "error", "warning"), "broken"),
        (("info", "warning"), "usable"),
        (("info",), "sound"),
        ((), "sound"),
    ],
)
def test_the_worst_finding_decides_what_the_card_says(
    severities: tuple[str, ...], label: str, tmp_path: Path
) -> None:
    page = write_card(found(*severities), "tweets", tmp_path / "new" / "card.html").read_text()
    assert f'<span class="status">{label}</span>' in page
    places = [
        page.index(f"<code>a.{s}</code>") for s in ("error", "warning", "info") if s in severities
    ]
    assert places == sorted(places)
    assert ("The audit found no fault" in page) == (severities == ())


def test_it_has_the_pictures_and_escapes_what_a_user_wrote(tmp_path: Path) -> None:
    page = write_card(found("error"), "<tweets>", tmp_path / "card.html").read_text()
    assert page.count("<svg") == 3
    for words in ("Label balance, 1,200 rows", "cut at 10", "Language, where it is sure, 930 rows"):
        assert words in page
    assert "<b>error" not in page and "&lt;b&gt;error" in page
    assert "&lt;tweets&gt;" in page and "<one>" not in page
    assert "Scores are on rows" not in page


def test_what_is_not_there_is_left_out_and_the_same_audit_gives_the_same_bytes(
    tmp_path: Path,
) -> None:
    few = found(labels={}, languages={}, lengths={"unit": "tokens"})
    first = write_card(few, "t", tmp_path / "a.html").read_bytes()
    assert b"<svg" not in first
    assert write_card(few, "t", tmp_path / "b.html").read_bytes() == first
