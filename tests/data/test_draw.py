"""Some rows of a source, and sources in given proportions: exact, repeatable, none twice."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tunewright.config.data_keys import WeightedSource
from tunewright.data.sources import load, load_splits
from tunewright.errors import ConfigError, DataError


def put(path: Path, letter: str, rows: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({"text": f"{letter} row {i} of {rows} with words {i * 37}", "label": letter})
        for i in range(rows)
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    put(tmp_path / "a.jsonl", "a", 100)
    put(tmp_path / "b.jsonl", "b", 30)
    put(tmp_path / "parts/train.jsonl", "p", 40)
    put(tmp_path / "parts/test.jsonl", "t", 8)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def places(source, seed: int = 0) -> list[int]:
    return [record.row for record in load(source, seed=seed)]


def counts(source) -> Counter:
    return Counter(str(record.label) for record in load(source))


def test_a_limit_draws_that_many_rows_in_their_order(folder):
    found = places("a.jsonl#10")
    assert len(found) == 10
    assert found == sorted(set(found))
    assert found != list(range(1, 11)), "drawn, not the first ones"
    assert load("a.jsonl#10").records[0] == load("a.jsonl").records[found[0] - 1]


def test_a_draw_follows_from_the_seed_and_a_larger_one_holds_it(folder):
    assert places("a.jsonl#10") == places("a.jsonl#10")
    assert places("a.jsonl#10", seed=1) != places("a.jsonl#10")
    assert set(places("a.jsonl#10")) < set(places("a.jsonl#50"))
    assert places("a.jsonl#100") == list(range(1, 101))


def test_a_limit_holds_for_each_part_that_has_more(folder):
    found = load_splits("parts#20", 0.0)
    assert [len(part) for _, part in found.items()] == [20, 0, 8]
    assert [len(p) for _, p in load_splits("parts#5", 0.0).items()] == [5, 0, 5]


def test_a_limit_works_on_held_out_sources_and_in_lists(folder):
    found = load_splits("a.jsonl", "b.jsonl#4", 0.0)
    assert [len(part) for _, part in found.items()] == [100, 4, 0]
    assert counts(["a.jsonl#3", "b.jsonl#4"]) == {"a": 3, "b": 4}
    assert len(load("python-docs:json#2")) == 2


def test_a_file_whose_name_has_a_hash_is_that_file(folder):
    put(folder / "a.jsonl#5", "x", 9)
    put(folder / "c#3.jsonl", "y", 9)
    assert counts("a.jsonl#5") == {"x": 9}
    assert counts("c#3.jsonl") == {"y": 9}
    assert counts("c#3.jsonl#2") == {"y": 2}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("a.jsonl#0", r"a\.jsonl#0 asks for no row"),
        ("a.jsonl#101", r"asks for 101 rows, but a\.jsonl has 100"),
        ("parts#41", r"asks for 41 rows, but parts has 40"),
        ("a.jsonl#x", r"'a\.jsonl' is there, but 'x' behind the # is no number of rows"),
        ("a.jsonl#-5", "is no number of rows"),
        ("gone.jsonl#5", r"no file or folder 'gone\.jsonl'"),
    ],
)
def test_a_wrong_limit_is_an_error(folder, source, said):
    with pytest.raises(DataError, match=said):
        load(source)


def test_weights_give_the_largest_mix_in_their_proportions(folder):
    # 30 rows of b at weight 1 allow 60 of a at weight 2.
    assert counts([{"source": "a.jsonl", "weight": 2}, "b.jsonl"]) == {"a": 60, "b": 30}
    # 100 rows of a at weight 5 allow 20 of b.
    assert counts([{"source": "a.jsonl", "weight": 5}, "b.jsonl"]) == {"a": 100, "b": 20}
    equal = [WeightedSource(source="a.jsonl"), "b.jsonl"]
    assert counts(equal) == {"a": 30, "b": 30}


def test_without_a_weight_every_row_is_taken(folder):
    assert counts(["a.jsonl", "b.jsonl"]) == {"a": 100, "b": 30}


def test_no_row_is_drawn_twice_and_the_draw_follows_from_the_seed(folder):
    mix = [{"source": "a.jsonl", "weight": 2}, "b.jsonl"]
    texts = [record.text for record in load(mix)]
    assert len(set(texts)) == 90
    assert texts == [record.text for record in load(mix)]
    assert texts != [record.text for record in load(mix, seed=1)]


def test_weights_leave_held_out_parts_whole(folder):
    found = load_splits([{"source": "parts", "weight": 1}, "b.jsonl#10"], 0.0)
    assert [len(part) for _, part in found.items()] == [20, 0, 8]


def test_weights_and_limits_go_together(folder):
    assert counts([{"source": "a.jsonl#50", "weight": 10}, "b.jsonl"]) == {"a": 50, "b": 5}


def test_a_mix_is_named_after_its_sources(folder):
    assert load([{"source": "a.jsonl", "weight": 2}, "b.jsonl"]).name == (
        "a.jsonl (weight 2), b.jsonl"
    )


def test_wrong_weights_are_errors(folder):
    with pytest.raises(DataError, match=r"weight 1 beside 1000, no row of b"):
        load([{"source": "a.jsonl", "weight": 1000}, "b.jsonl"])
    with pytest.raises(ConfigError, match="weight is -1"):
        load([{"source": "a.jsonl", "weight": -1}, "b.jsonl"])
    with pytest.raises(DataError, match="empty string"):
        load(["a.jsonl", ""])
