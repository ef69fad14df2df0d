"""The quality bench trains, scores, compares, and takes up what was done before."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tiny import sentiment_rows
from tunewright.cli.app import run

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture
def quality(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_encoder: Path) -> Any:
    """The script, over sets of a few rows and a tiny model."""
    monkeypatch.syspath_prepend(str(BENCH))
    module = importlib.import_module("quality")
    tagged = [
        {
            "tokens": ["the", ["film", "book"][i % 2], "was", "good"],
            "tags": ["O", "B-THING", "O", "O"],
        }
        for i in range(40)
    ]
    for name, rows in (("tweet_emotion", sentiment_rows(60)), ("sec_filings_ner", tagged)):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        parts = {"train": rows[8:], "validation": rows[8:20], "test": rows[:8]}
        for part, content in parts.items():
            lines = "".join(json.dumps(row) + "\n" for row in content)
            (folder / f"{part}.jsonl").write_text(lines, encoding="utf-8")
    monkeypatch.setattr(module, "SHARED", tmp_path / "data")
    keys = {"max_steps": 2, "device": "cpu", "save_strategy": "no"}
    works = {
        name: replace(work, model=str(tiny_encoder), keys=work.keys | keys)
        for name, work in module.WORKS.items()
    }
    monkeypatch.setattr(module, "WORKS", works)
    return module


# The tokenizer of the tiny encoder has whole words only, which transformers remarks.
@pytest.mark.filterwarnings("ignore")
def test_figures_are_means_beside_their_goals(
    quality: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = []

    def call(words: Sequence[str]) -> dict[str, Any]:
        calls.append(words[0])
        capsys.readouterr()
        assert run([*words, "--json"]) == 0, capsys.readouterr().err
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    arguments = ["--seeds", "1", "--keep", str(tmp_path / "kept"), "--works", "tweet_emotion"]
    arguments += ["sec_filings_ner", "sec_filings_ner_trainer", "--json"]
    quality.main(arguments, call)
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
    assert figures["tweet_emotion.macro_f1"]["goal"] == 0.77
    plain = figures["sec_filings_ner_trainer.entity_f1"]
    assert figures["sec_filings_ner.entity_f1"]["goal"] == plain["value"]
    assert sorted(calls) == ["evaluate"] * 3 + ["train"] * 2
    quality.main([*arguments, "--works", "tweet_emotion", "banking77"], call)
    assert "banking77: left out" in capsys.readouterr().err
    assert len(calls) == 5  # what is done is not done again


def test_the_mean_over_seeds_has_an_interval(quality: Any) -> None:
    def scored(name: str, value: float, verdict: str = "") -> dict[str, Any]:
        return {"metrics": {name: {"value": value}}, "comparison": {"base": {"verdict": verdict}}}

    works = quality.WORKS
    found = [scored("accuracy", value) for value in (0.90, 0.92, 0.94)]
    others = {"banking77.accuracy": {"value": 0.93}}
    made = quality.figures_of("banking77_lora", works["banking77_lora"], found, others)
    (lora,) = made.values()
    assert (lora["value"], lora["goal"], lora["spread"]) == (0.92, 0.92, [0.90, 0.94])
    # 4.3027 is Student's t for 2 degrees of freedom; the deviation of the three is 0.02.
    half = 4.3027 * 0.02 / 3**0.5
    assert lora["interval"] == pytest.approx([0.92 - half, 0.92 + half], abs=1e-4)
    said = ["this model is better: its perplexity is 3 % lower", "no detectable difference"]
    found = [scored("perplexity", 9.0, verdict) for verdict in said]
    made = quality.figures_of("medquad_prompt", works["medquad_prompt"], found, {})
    assert made["medquad_prompt.better_than_base"]["value"] == 0.5
