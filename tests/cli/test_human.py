"""`tunewright evaluate --human`: blind, resumable, several raters, and what their votes say."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from asked import name_answers, presser
from tunewright.cli.app import run
from tunewright.errors import ArtifactError, ConfigError, DataError
from tunewright.evaluate.people import (
    MODEL,
    OTHER,
    TIE,
    Answered,
    count_votes,
    open_ballot,
    read_votes,
)

ROWS = [Answered(i, f"prompt {i}", f"model says {i}", f"other says {i}") for i in range(1, 13)]


def vote_all(folder: Path, rater: str, wins: set[int], ties: set[int] = frozenset()) -> None:  # type: ignore[assignment]
    with open_ballot(folder, ROWS, rater) as ballot:
        while (row := ballot.current) is not None:
            if row.item in ties:
                ballot.vote(None)
            else:
                wanted = MODEL if row.item in wins else OTHER
                ballot.vote(row.shown(rater).index(wanted))


def test_sides_are_by_chance_and_stay_the_same() -> None:
    first = [row.shown("anna")[0] for row in ROWS]
    assert first == [row.shown("anna")[0] for row in ROWS]
    assert {MODEL, OTHER} == set(first)
    assert first != [row.shown("ben")[0] for row in ROWS]
    many = [Answered(i, "p", "a", "b").shown("anna")[0] == MODEL for i in range(1000)]
    assert 420 < sum(many) < 580


def test_a_vote_goes_to_the_model_whatever_side_it_stood_on(tmp_path: Path) -> None:
    vote_all(tmp_path, "anna", wins={1, 2, 3}, ties={4})
    votes = read_votes(tmp_path)["anna"]
    assert votes[1] == votes[2] == votes[3] == MODEL and votes[4] == TIE
    assert [votes[i] for i in range(5, 13)] == [OTHER] * 8


def test_the_count_has_rate_interval_test_agreement_and_pairs(tmp_path: Path) -> None:
    vote_all(tmp_path, "anna", wins=set(range(1, 12)))
    vote_all(tmp_path, "ben", wins=set(range(1, 11)), ties={11})
    found = count_votes(tmp_path, ROWS)
    assert found["raters"] == {"anna": 12, "ben": 12}
    assert found["votes"] == {MODEL: 21, OTHER: 2, TIE: 1}
    rate = found["win_rate"]
    assert rate["value"] == pytest.approx(21.5 / 24)
    assert rate["low"] < rate["value"] < rate["high"]
    assert (found["wins"], found["losses"]) == (11, 1)  # item 11: one win and one tie
    assert found["p"] == pytest.approx(2 * 13 / 2**12)
    # Both agree on 11 of 12: kappa = (11/12 - e) / (1 - e), e = (11*10 + 1*1) / 144.
    chance = 111 / 144
    kappa = found["agreement"]["kappa"][0]
    assert kappa["kappa"] == pytest.approx((11 / 12 - chance) / (1 - chance))
    assert 0 < found["agreement"]["alpha"] < 1
    assert found["verdict"].startswith("The model wins 90 %")
    assert "people find it better (sign test, p = 0.006)" in found["verdict"]
    lines = (tmp_path / "preferences.jsonl").read_text().splitlines()
    pairs = [json.loads(line) for line in lines]
    assert len(pairs) == found["preferences"] == 12
    assert pairs[0] == {
        "prompt": "prompt 1", "chosen": "model says 1", "rejected": "other says 1", "votes": 2,
    }  # fmt: skip
    assert pairs[-1]["chosen"] == "other says 12"
    assert json.loads((tmp_path / "human.json").read_text()) == found


def test_few_votes_say_that_no_difference_is_detectable(tmp_path: Path) -> None:
    with open_ballot(tmp_path, ROWS, "anna") as ballot:
        ballot.vote(0)
    found = count_votes(tmp_path, ROWS)
    assert "no detectable difference" in found["verdict"] and found["agreement"] is None
    with pytest.raises(DataError, match="There is no vote"):
        count_votes(tmp_path / "other", ROWS)


def test_a_session_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        with open_ballot(tmp_path, ROWS, "anna") as ballot:
            for place in (0, 1, None):
                ballot.vote(place)
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    path = tmp_path / "votes" / "anna.jsonl"
    path.write_bytes(path.read_bytes() + b'{"text": "prom')  # as a crash cuts a line short
    assert len(read_votes(tmp_path)["anna"]) == 3
    with open_ballot(tmp_path, ROWS, "anna") as ballot:
        assert len(ballot.waiting) == 9
        assert {row.item for row in ballot.waiting}.isdisjoint(read_votes(tmp_path)["anna"])
        ballot.vote(0)
        assert ballot.undo() and not ballot.undo()
        with pytest.raises(ArtifactError, match="in use by another session"), open_ballot(
            tmp_path, ROWS, "anna"
        ):  # fmt: skip
            raise AssertionError
        with open_ballot(tmp_path, ROWS, "ben") as other:
            assert len(other.waiting) == 12
    assert len(read_votes(tmp_path)["anna"]) == 3


def test_equal_answers_are_not_asked_and_names_of_raters_are_names(tmp_path: Path) -> None:
    rows = [*ROWS[:2], Answered(3, "p", "same ", "same")]
    with open_ballot(tmp_path, rows, "anna") as ballot:
        assert ballot.total == 2
        first = ballot.current
        ballot.skip()
        assert ballot.current is not first
    with pytest.raises(DataError, match="answer every prompt alike"), open_ballot(
        tmp_path, rows[2:], "anna"
    ):  # fmt: skip
        raise AssertionError
    with pytest.raises(ConfigError, match="not a name"), open_ballot(tmp_path, rows, "../x"):
        raise AssertionError


def test_the_command_asks_in_turn_and_goes_on(
    tiny_decoder: Path,
    instruction_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    name_answers(monkeypatch, "one", "two")
    other = tmp_path / "other"
    shutil.copytree(tiny_decoder, other)
    folder = tmp_path / "votes of people"
    words = ["evaluate", str(tiny_decoder), "--human", "--against", str(other), "--num-samples"]
    words += ["4", "--max-new-tokens", "4", "--data", str(instruction_file), "--output"]
    words += [str(folder), "--device", "cpu"]
    keys = presser(monkeypatch, words)
    assert keys("q", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"votes": {}}
    assert keys("1x2u", "--json", "--rater", "anna") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["raters"], found["left"]) == ({"anna": 1}, 3)
    assert keys("s120", "--rater", "anna") == 0
    assert "anna: 4 votes" in capsys.readouterr().err
    assert keys("1111", "--rater", "ben") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "Cohen's kappa of anna and ben" in said and "Krippendorff's alpha" in said
    assert keys("1", "--num-samples", "3") == 2
    assert "holds votes on something else (different: rows, asked)" in capsys.readouterr().err
    assert keys("1", "--metric", "rouge1") == 2
    assert "--metric has no meaning beside it" in capsys.readouterr().err
    assert run(["evaluate", str(tiny_decoder), "--data", "x", "--rater", "me"]) == 2
    assert "it needs --human" in capsys.readouterr().err
