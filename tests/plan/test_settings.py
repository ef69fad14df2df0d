"""Settings that a recipe leaves open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tunewright.config.recipe import Recipe
from tunewright.config.task import Task
from tunewright.models.inspect import ModelFacts
from tunewright.plan.machine import Machine
from tunewright.plan.settings import Settings, choose_settings

BASE: dict[str, Any] = {
    "model": "m", "output_dir": "runs/m", "task": "classification", "method": "full",
    "data": {"train": "rows.jsonl"},
}  # fmt: skip


def settings(rows: int, task: Task = Task.CLASSIFICATION, **keys: Any) -> Settings:
    kind: Any = "decoder" if task.is_generative else "encoder"
    facts = ModelFacts(Path(), kind, "", 22_000_000, 512, 384, 2, 1000, 0)
    recipe = Recipe.check(BASE | {"task": task.value} | keys)
    return choose_settings(recipe, facts, task, [50] * rows, Machine("cpu", 8_000_000_000, 1.0))


@pytest.mark.parametrize(
    ("rows", "task", "keys", "epochs"),
    [
        (3360, Task.CLASSIFICATION, {}, 3),  # 105 updates an epoch
        (1048, Task.TOKEN_CLASSIFICATION, {}, 10),  # 33
        (500, Task.REGRESSION, {}, 10),  # 32
        (500, Task.REGRESSION, {"per_device_train_batch_size": 4}, 3),  # 125
        (500, Task.REGRESSION, {"gradient_accumulation_steps": 2}, 19),  # 16
        (60, Task.MULTILABEL, {}, 20),  # 8: as many as there are at most
        (20_000, Task.CLASSIFICATION, {}, 1),
        (60, Task.INSTRUCTION, {}, 3),  # no head is new
        (60, Task.CLASSIFICATION, {"num_train_epochs": 2}, 2),
    ],
)
def test_few_rows_are_passed_over_until_a_new_head_has_seen_enough_updates(
    rows: int, task: Task, keys: dict[str, Any], epochs: int
) -> None:
    assert settings(rows, task, **keys).recipe.num_train_epochs == epochs


def test_the_reason_has_both_numbers() -> None:
    reason = settings(1048).reasons["num_train_epochs"]
    assert reason == "a new head needs 300 updates or so, and an epoch has 33"
    assert "num_train_epochs" not in settings(1048, max_steps=5).reasons
