"""`tunewright evaluate --human --rate`: blind, resumable, and what several ratings say."""

from __future__ import annotations

import itertools
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from asked import presser
from tunewright.artifacts import Artifact
from tunewright.cli.app import run
from tunewright.errors import ArtifactError, ConfigError, DataError
from tunewright.evaluate.people import MODEL, OTHER, Answered
from tunewright.evaluate.ratings import BOTH, Shown, count_ratings, open_sheet, read_ratings

ROWS = [Answered(i, f"prompt {i}", f"model says {i}", f"other says {i}") for i in range(1, 21)]
SAME = Answered(21, "prompt 21", "the same ", "the same")


def rate_all(folder: Path, rater: str, given: Any) -> list[Shown]:
    seen = []
    with open_sheet(folder, [*ROWS, SAME], rater) as sheet:
        while (shown := sheet.current) is not None:
            seen.append(shown)
            sheet.rate(given(shown))
    return seen


def better(shown: Shown) -> int:
    """The model is a point better on three prompts of four, and level on the others."""
    return 4 if shown.side == MODEL and shown.row.item % 4 else 3


def test_every_rater_sees_every_answer_once_in_an_order_of_their_own(tmp_path: Path) -> None:
    first, second = (rate_all(tmp_path, name, better) for name in ("anna", "ben"))
    assert len(first) == 41 and len(set(first)) == 41 and set(first) == set(second)
    assert first != second
    assert [s.side for s in first if s.row is SAME] == [BOTH]
    assert Shown(SAME, BOTH).answer == "the same "
    together = sum(a.row is b.row for a, b in itertools.pairwise(first))
    assert together <= 6  # both answers to a prompt rarely follow one another


def test_the_count_has_means_a_paired_test_agreement_and_pairs(tmp_path: Path) -> None:
    rate_all(tmp_path, "anna", better)
    rate_all(tmp_path, "ben", lambda s: better(s) - (s.row.item == 1))
    found = count_ratings(tmp_path, [*ROWS, SAME])
    assert found["raters"] == {"anna": 41, "ben": 41}
    assert (found["prompts"], found["same"]) == (21, 1)
    # By hand: 42 ratings of each model, of which 15 * 2 are 4 with the model, less one point each.
    assert found["mean"][MODEL]["value"] == pytest.approx((42 * 3 + 30 - 1) / 42)
    assert found["mean"][OTHER]["value"] == pytest.approx((42 * 3 - 1) / 42)
    paired = found["paired"]
    assert paired["difference"] == pytest.approx(30 / 42) and paired["n"] == 42
    assert paired["low"] > 0 and paired["p"] < 0.001
    assert "the model is better by 0.714" in found["verdict"]
    # Prompts are drawn whole, so a second rater who says the same adds no certainty.
    alone = tmp_path / "alone"
    rate_all(alone, "anna", better)
    one = count_ratings(alone, [*ROWS, SAME])
    assert one["agreement"] is None
    assert one["paired"]["high"] - one["paired"]["low"] == pytest.approx(
        paired["high"] - paired["low"], rel=0.1
    )
    assert 0.8 < found["agreement"]["ordinal"] < 1 and 0.8 < found["agreement"]["interval"] < 1
    pairs = [json.loads(x) for x in (tmp_path / "rated_preferences.jsonl").read_text().splitlines()]
    assert len(pairs) == found["preferences"] == 15
    assert pairs[0] == {
        "prompt": "prompt 1", "chosen": "model says 1", "rejected": "other says 1", "votes": 2,
        "chosen_rating": 3.5, "rejected_rating": 2.5,
    }  # fmt: skip
    assert json.loads((tmp_path / "ratings.json").read_text()) == found


def test_a_killed_rater_loses_nothing(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        with open_sheet(tmp_path, ROWS, "anna") as sheet:
            for _ in range(3):
                sheet.rate(5)
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    with open_sheet(tmp_path, ROWS, "anna") as sheet:
        assert (len(sheet.waiting), sheet.total) == (37, 40)
        sheet.rate(1)
        assert sheet.undo() and not sheet.undo()
        with pytest.raises(ArtifactError, match="in use"), open_sheet(tmp_path, ROWS, "anna"):
            raise AssertionError
    assert list(read_ratings(tmp_path)["anna"].values()) == [5, 5, 5]


def test_few_ratings_have_no_test_and_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no rating"):
        count_ratings(tmp_path, ROWS)
    with open_sheet(tmp_path, ROWS, "anna") as sheet:
        sheet.rate(2)
    found = count_ratings(tmp_path, ROWS)
    assert found["paired"] is None and "too few prompts" in found["verdict"]
    with pytest.raises(ConfigError, match="not a name"), open_sheet(tmp_path, ROWS, "a/b"):
        raise AssertionError


def test_the_command_rates_and_goes_on(
    tiny_decoder: Path, instruction_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:  # fmt: skip
    from tunewright import pipeline

    folder = tmp_path / "rated"
    Artifact.create(folder, "human", {})
    monkeypatch.setattr(pipeline, "human_answers", lambda *_, **__: ROWS[:2])
    words = ["evaluate", str(tiny_decoder), "--human", "--rate", "--output", str(folder)]
    keys = presser(monkeypatch, [*words, "--data", str(instruction_file)])
    assert keys("q") == 0
    assert "There is no rating yet" in capsys.readouterr().err
    assert keys("s57u4q") == 0
    said = capsys.readouterr().err
    assert "'7' is no key here" in said and "taken back" in said and "rated 5" in said
    assert "rater: 1 rating" in said and "3 answers are left" in said
    assert keys("532", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["raters"], found["left"]) == ({"rater": 4}, 0)
    assert keys("1324", "--rater", "ben") == 0
    assert "Krippendorff's alpha of all raters" in capsys.readouterr().err
    assert run(["evaluate", str(tiny_decoder), "--data", "x", "--rate"]) == 2
    assert "it needs --human" in capsys.readouterr().err
    judge = ["--judge", "http://127.0.0.1:1", "--judge-model", "m", "--rate"]
    assert run(["evaluate", str(tiny_decoder), "--data", "x", *judge]) == 2
    assert "--rate has no meaning beside it" in capsys.readouterr().err
