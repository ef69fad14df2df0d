"""One model of several tasks: from a recipe to scores of each task, with intervals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import runs
from runs import StopAfter, train
from tiny import instruction_rows, sentiment_rows
from tunewright import pipeline
from tunewright.artifacts import sha256_file
from tunewright.cli.app import run
from tunewright.errors import Interrupted, UserError
from tunewright.train.journal import read_journal


def sources(write_rows: Any) -> list[Any]:
    moods = write_rows("moods.jsonl", sentiment_rows(24))
    asked = write_rows("asked.jsonl", instruction_rows(16))
    prompt = "{text} Is it {options}?"
    return [{"source": str(moods), "prompt": prompt, "name": "mood"}, str(asked)]


@pytest.mark.parametrize("kind", ["tiny_decoder", "tiny_t5"])
def test_a_mix_is_trained_and_scored_by_task(
    kind: str,
    request: pytest.FixtureRequest,
    write_rows: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = {
        "model": str(request.getfixturevalue(kind)),
        "data": {
            "train": sources(write_rows),
            "validation": 0.25,
            "test": 0.25,
            "mixing_limit": 20,
            "allow": ["leakage.near", "template.system"],
        },
        "output_dir": str(tmp_path / "run"),
        "max_steps": 2,
        "per_device_train_batch_size": 4,
        "generation_metrics": ["exact_match"],
        "generation_rows": 8,
        "generation_max_new_tokens": 4,
        "device": "cpu",
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(content))
    assert run(["run", str(tmp_path / "r.yaml")]) == 0
    metrics = [x for x in read_journal(tmp_path / "run") if x["event"] == "evaluation"][-1]
    assert {"loss_mood", "loss_asked", "exact_match_mood", "exact_match_asked"} <= set(
        metrics["metrics"]
    )
    low, high = sorted(metrics["metrics"][f"loss_{name}"] for name in ("mood", "asked"))
    assert low < metrics["metrics"]["loss"] < high
    found = json.loads((tmp_path / "run/evaluation/evaluation.json").read_text())
    assert set(found["by_task"]) == {"mood", "asked"}
    assert "mixed_from" not in str(found["slices"])
    first = next(iter(found["metrics"]))
    whole = found["metrics"][first]
    parts = [found["by_task"][name][first] for name in ("mood", "asked")]
    assert sum(part["n"] for part in parts) == whole["n"]
    assert all(part["low"] <= part["value"] <= part["high"] for part in parts)
    assert f"{first}, mood" in capsys.readouterr().err
    assert "Tasks" in (tmp_path / "run/report.html").read_text()


def test_a_stopped_mix_ends_with_the_bytes_of_a_whole_one(
    tiny_decoder: Path, write_rows: Any, tmp_path: Path
) -> None:
    data = {"train": sources(write_rows), "validation": 0.25, "mixing_temperature": 2}
    values: dict[str, Any] = {
        "data": data | {"allow": ["leakage.near", "template.system"]},
        "method": "full",
        "max_steps": 4,
        "save_strategy": "steps",
        "save_steps": 2,
    }
    unused = tmp_path / "unused.jsonl"
    train(runs.recipe(tiny_decoder, unused, tmp_path / "whole", **values))
    with pytest.raises(Interrupted):
        made = runs.recipe(tiny_decoder, unused, tmp_path / "cut", **values)
        train(made, StopAfter(tmp_path / "cut", 3))
    pipeline.resume(tmp_path / "cut")
    whole, cut = (sha256_file(tmp_path / x / "model.safetensors") for x in ("whole", "cut"))
    assert whole == cut
    scored = [x["metrics"] for x in read_journal(tmp_path / "cut") if x["event"] == "evaluation"]
    assert all("loss_mood" in metrics for metrics in scored)


def test_a_mix_of_tasks_needs_a_model_that_writes(
    tiny_encoder: Path, tiny_decoder: Path, write_rows: Any, tmp_path: Path
) -> None:
    data = {"train": sources(write_rows), "validation": 0.25}
    made = runs.recipe(tiny_encoder, tmp_path / "unused", tmp_path / "run", data=data)
    with pytest.raises(UserError, match=r"is an encoder.*needs a decoder"):
        pipeline.prepare(made)
    made = runs.recipe(
        tiny_decoder, tmp_path / "unused", tmp_path / "run", data=data, task="classification"
    )
    with pytest.raises(UserError, match="became instructions by a prompt"):
        pipeline.prepare(made)
