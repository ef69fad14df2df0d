"""`bench/evaluate.py --quick` runs, and batches give the answers of one prompt at a time."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[2] / "bench" / "evaluate.py"


@pytest.fixture(scope="module")
def bench() -> Any:
    spec = importlib.util.spec_from_file_location("bench_evaluate", BENCH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_quick_bench_prints_its_figures_and_the_answers_are_the_same(
    bench: Any, tiny_decoder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    monkeypatch.setattr(bench, "SHARED", tmp_path)  # made questions, short enough for 256 tokens
    bench.main(["--quick", "--json", "--rows", "5", "--model", str(tiny_decoder)])
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    figures = last["figures"]
    assert figures["generation_same_answers"]["value"] == 1.0
    assert figures["generation_speedup"]["goal"] == 3.0
    assert figures["generation_rows"]["value"] == 5
    assert last["machine"]
    assert figures["coverage_accuracy_lowest"]["value"] >= 0.7  # of 20 sets
    assert figures["false_alarms_macro_f1"]["value"] <= 0.3
    if importlib.util.find_spec("lm_eval") is not None:
        assert figures["loglikelihood_gap_to_lm_eval"]["value"] < 1e-3
