"""Memory that runs out in an update: no half of an update stays, and the run goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import runs
from runs import StopAfter, train
from tunewright import pipeline
from tunewright.artifacts import sha256_file
from tunewright.config.recipe import Recipe
from tunewright.errors import Interrupted, TrainingError
from tunewright.train.journal import read_journal
from tunewright.train.optim import MasterAdamW


def recipe(base: Path, rows: Path, output: Path, **values: Any) -> Recipe:
    defaults: dict[str, Any] = {
        "data": {"train": str(rows), "validation": 0},
        "learning_rate": 5e-3,
        "dropout": 0.0,
        "max_steps": 6,
        "save_strategy": "steps",
        "save_steps": 2,
    }
    return runs.recipe(base, rows, output, **(defaults | values))


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Let updates or gathering fail, by the number of the call; returns what calls there were."""

    def fail(method: str, calls: set[int], error: Exception) -> list[int]:
        whole, seen = getattr(MasterAdamW, method), list[int]()

        def half(optimizer: MasterAdamW, *arguments: Any) -> Any:
            seen.append(len(seen) + 1)
            if seen[-1] not in calls:
                return whole(optimizer, *arguments)
            with torch.no_grad():  # a half of the weights is changed, the other is not
                for master in optimizer.masters[::2]:
                    master.add_(1.0)
            raise error

        monkeypatch.setattr(MasterAdamW, method, half)
        return seen

    return fail


def found(folder: Path) -> list[dict[str, Any]]:
    return [line for line in read_journal(folder) if line.get("name") == "memory_short"]


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in read_journal(folder) if line["event"] == "step"]


@pytest.mark.parametrize(
    ("method", "call", "back"), [("step", 1, 0), ("step", 4, 2), ("gather_gradients", 6, 4)]
)
def test_a_run_whose_update_failed_ends_as_one_that_had_memory(
    method: str,
    call: int,
    back: int,
    tiny_encoder: Path,
    sentiment_file: Path,
    tmp_path: Path,
    short: Callable[..., list[int]],
) -> None:
    made = recipe(tiny_encoder, sentiment_file, tmp_path / "short")
    seen = short(method, {call}, torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB."))
    result = train(made)
    assert len(seen) == 6 + call - back
    (said,) = found(tmp_path / "short")
    assert (said["name"], said["step"]) == ("memory_short", back)
    assert said["evidence"]["back_to_step"] == back and said["evidence"]["rows_a_pass_now"] == 4
    where = f"those of step {back}" if back else "those of the start"
    assert where in said["action"] and f"in the update of step {call}" in said["message"]
    assert result.results["steps"] == 6 == len(losses(tmp_path / "short"))
    train(recipe(tiny_encoder, sentiment_file, tmp_path / "whole"))
    np.testing.assert_allclose(losses(tmp_path / "short"), losses(tmp_path / "whole"), rtol=1e-4)
    for name, tensor in load_file(tmp_path / "whole" / "model.safetensors").items():
        other = load_file(tmp_path / "short" / "model.safetensors")[name]
        torch.testing.assert_close(other, tensor, rtol=1e-3, atol=1e-4)


def test_a_run_that_went_back_and_was_stopped_keeps_the_smaller_passes(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path, short: Callable[..., list[int]]
) -> None:
    weights = []
    for name, stop in (("whole", None), ("cut", 3)):
        short("step", {3}, MemoryError())
        made = recipe(tiny_encoder, sentiment_file, tmp_path / name, optim="muon", max_steps=4)
        if stop is None:
            train(made)
        else:
            with pytest.raises(Interrupted):
                train(made, StopAfter(tmp_path / name, stop))
            assert found(tmp_path / name)[0]["evidence"]["back_to_step"] == 2
            pipeline.resume(tmp_path / name, checkpoint=tmp_path / name / "checkpoint-2")
        weights.append(sha256_file(tmp_path / name / "model.safetensors"))
    assert weights[0] == weights[1]


def test_an_update_that_never_fits_ends_the_run_with_advice(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path, short: Callable[..., list[int]]
) -> None:
    short("step", set(range(1, 99)), MemoryError())
    with pytest.raises(TrainingError, match="cannot be smaller than one row"):
        train(recipe(tiny_encoder, sentiment_file, tmp_path / "run", optim="muon"))
    with pytest.raises(TrainingError, match="per_device_train_batch_size: 4"):
        train(recipe(tiny_encoder, sentiment_file, tmp_path / "other", reactions="propose"))


def test_another_error_in_an_update_is_raised_as_it_is(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path, short: Callable[..., list[int]]
) -> None:
    short("step", {1}, RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        train(recipe(tiny_encoder, sentiment_file, tmp_path / "run"))
