"""The garbage collector waits while rows are read, and runs again afterwards."""

from __future__ import annotations

import gc
import json

import pytest

from tunewright.data.collector import collector_paused
from tunewright.data.sources import load


def test_the_collector_waits_inside_and_runs_afterwards():
    with collector_paused():
        assert not gc.isenabled()
        with collector_paused():
            assert not gc.isenabled()
        assert not gc.isenabled(), "an inner block must not end the outer one"
    assert gc.isenabled()
    with pytest.raises(ValueError, match="x"), collector_paused():
        raise ValueError("x")
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off():
    gc.disable()
    try:
        with collector_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_no_collection_happens_while_rows_are_read(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"text": f"row {i}", "label": "ab"[i % 2]} for i in range(5000)]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    before = sum(generation["collections"] for generation in gc.get_stats())
    load(path)
    after = sum(generation["collections"] for generation in gc.get_stats())
    assert after - before < 3, "5,000 rows alone would cause dozens"
    assert gc.isenabled()
