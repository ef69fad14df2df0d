"""`data.system`: trained with, kept beside the weights, and used when the model is scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chat_templates import smollm2
from runs import recipe, train
from tunewright import pipeline
from tunewright.config.task import Task
from tunewright.data.layout import pick_template
from tunewright.errors import ConfigError
from tunewright.models.input_settings import read_settings


def _with_system(message: str, source: Path, target: Path) -> Path:
    rows = [json.loads(line) for line in source.read_text().splitlines()]
    chats = [
        {
            "messages": [
                {"role": "system", "content": message},
                {"role": "user", "content": row["instruction"]},
                {"role": "assistant", "content": row["output"]},
            ]
        }
        for row in rows
    ]
    target.write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    return target


def test_a_run_with_a_system_message_equals_one_whose_rows_have_it(
    tiny_decoder: Path, instruction_file: Path, tmp_path: Path
) -> None:
    values: dict[str, Any] = {"max_steps": 3, "learning_rate": 1e-3}
    own = _with_system("Be brief.", instruction_file, tmp_path / "own.jsonl")
    made = {}
    for name, data in (
        ("given", {"train": str(instruction_file), "validation": 0, "system": "Be brief."}),
        ("own", {"train": str(own), "validation": 0}),
    ):
        train(recipe(tiny_decoder, own, tmp_path / name, data=data, **values))
        made[name] = (tmp_path / name / "model.safetensors").read_bytes()
    assert made["given"] == made["own"]
    settings = read_settings(tmp_path / "given")
    assert settings is not None and settings.system == "Be brief."
    scores = [
        pipeline.evaluate_model(str(tmp_path / "given"), str(rows), metrics=["perplexity"])
        for rows in (instruction_file, own)
    ]
    assert scores[0].metrics == scores[1].metrics


def test_a_system_message_where_there_are_no_conversations_is_refused() -> None:
    for task, kind, said in (
        (Task.CLASSIFICATION, "decoder", "the task is 'classification'"),
        (Task.INSTRUCTION, "encoder-decoder", "the model is an encoder-decoder"),
    ):
        with pytest.raises(ConfigError, match=said):
            pick_template("auto", smollm2(), task, kind, system="Be brief.")
