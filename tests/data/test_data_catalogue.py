"""Catalogue data sets come from a checked archive once and from the cache after that."""

from __future__ import annotations

import json

import pytest

from tunewright.data import catalogue
from tunewright.data.sources import load
from tunewright.errors import DataError


def test_entries_say_what_they_are_and_where_they_come_from():
    for name, entry in catalogue.CATALOGUE.items():
        assert name == entry.name and entry.licence == "MIT"
        assert "vaderSentiment==3.3.2" in entry.origin
        assert {"text", "label", "rating", "id"} == set(entry.columns)


def test_unknown_names_show_the_close_one():
    with pytest.raises(DataError, match=r"'vader-twets'\. Did you mean 'vader-tweets'"):
        catalogue.fetch("vader-twets")


def test_a_cached_set_needs_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNEWRIGHT_CACHE", str(tmp_path))
    monkeypatch.setattr(catalogue, "pip_download", None)
    path = tmp_path / "data" / "vader-tweets-1.jsonl"
    path.parent.mkdir()
    path.write_text('{"id": "1", "text": "a", "label": "neutral", "rating": 0.1}\n', "utf-8")
    assert load("vader-tweets").records[0].meta == {"id": "1", "rating": 0.1}


def test_offline_says_what_to_do_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(DataError, match=r"'vader-tweets' is not in the cache.*could not be down"):
        catalogue.fetch("vader-tweets", tmp_path)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_rows_are_decoded_and_labelled_by_their_mean_rating(tmp_path):
    path = tmp_path / "tweets_GroundTruth.txt"
    lines = [
        "1\t0.51\tgood &amp; £5",
        "2\t0.5\tmiddle\twith tab",
        "3_4\t-0.50001\tbad ñ",
        "5\t-0.5\tx",
    ]
    path.write_bytes("\r\n".join(lines).encode() + b"\r\n")
    rows = catalogue._rated_rows(path)
    assert [row["label"] for row in rows] == ["positive", "neutral", "negative", "neutral"]
    assert [row["text"] for row in rows] == ["good & £5", "middle\twith tab", "bad ñ", "x"]
    assert rows[2] == {"id": "3_4", "text": "bad ñ", "label": "negative", "rating": -0.5}


@pytest.mark.slow
def test_every_set_is_fetched_from_the_index_whole(tmp_path):
    for name, entry in catalogue.CATALOGUE.items():
        path = catalogue.fetch(name, tmp_path)
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        assert len(rows) == entry.rows
        assert {row["label"] for row in rows} == {"negative", "neutral", "positive"}
        assert all(row["text"] and -4 <= row["rating"] <= 4 for row in rows)
        assert not any("\ufffd" in row["text"] for row in rows)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "sdists"]
