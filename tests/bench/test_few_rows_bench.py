"""The bench of few rows runs, and draws what it says."""

from __future__ import annotations

import importlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tunewright.data.sources import load

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("few_rows")


def test_every_method_answers_the_same_rows(
    bench: Any, tiny_encoder: Path, sentiment_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.main(
        ["--quick", "--json", "--data", str(sentiment_file), "--rows", "4", "--seeds", "1",
         "--test-rows", "10", "--model", str(tiny_encoder)]
    )  # fmt: skip
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["machine"]["cores"]
    methods = {name.split(".")[2] for name in printed["figures"]}
    assert methods == {"frozen_logistic", "full", "full_3", "setfit"}
    for found in printed["figures"].values():
        assert 0 <= found["spread"][0] <= found["value"] <= found["spread"][1] <= 1


def test_so_many_rows_of_each_label_are_drawn(bench: Any, sentiment_file: Path) -> None:
    rows = load(str(sentiment_file))
    drawn = bench.drawn(rows, 5, seed=1)
    assert Counter(record.label for record in drawn) == {"positive": 5, "negative": 5}
    again, other = bench.drawn(rows, 5, seed=1), bench.drawn(rows, 5, seed=2)
    assert drawn.records == again.records != other.records
