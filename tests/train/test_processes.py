"""Two processes train as one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tunewright.train.journal import read_journal

SHORT_OF_MEMORY = """
import os, sys, torch
from tunewright.cli.app import run
from tunewright.models.forward import CausalForward

forward = CausalForward.forward

def short(module, batch):
    if os.environ["RANK"] == "1" and len(batch["input_ids"]) > 2:
        torch.empty(2**60, dtype=torch.uint8)  # more than PyTorch's allocator gives
    return forward(module, batch)

CausalForward.forward = short
sys.exit(run(sys.argv[1:]))
"""
"""The command line, but the second process has no memory for passes of more than two rows."""


def train(recipe: dict[str, Any], folder: Path, processes: int) -> list[tuple[float, float]]:
    path = folder.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(recipe | {"output_dir": str(folder)}))
    command = [sys.executable, "-m", "tunewright"]
    if processes > 1:
        script = folder.with_suffix(".py")
        script.write_text(SHORT_OF_MEMORY)
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command = [*launcher, "--nproc_per_node", str(processes), str(script)]
    done = subprocess.run(
        [*command, "train", str(path), "--json"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((folder / "manifest.json").read_text())["status"] == "done"
    return [(x["loss"], x["grad_norm"]) for x in read_journal(folder) if x["event"] == "step"]


def test_two_processes_of_four_rows_are_one_of_eight_though_one_has_memory_for_two(
    tiny_decoder: Path, instruction_file: Path, tmp_path: Path
) -> None:
    recipe = {
        "model": str(tiny_decoder),
        "method": "full",
        "dtype": "float32",
        "device": "cpu",
        "data": {"train": str(instruction_file), "validation": 0.2},
        "num_train_epochs": 2,
        "learning_rate": 1e-3,
        "unfreeze_steps": 2,
        "generation_metrics": ["chrf"],
        "report_to": "tensorboard",
    }
    one = train(recipe | {"per_device_train_batch_size": 8}, tmp_path / "one", 1)
    two = train(recipe | {"per_device_train_batch_size": 4}, tmp_path / "two", 2)
    np.testing.assert_allclose(one, two, rtol=2e-4)
    (found,) = [x for x in read_journal(tmp_path / "two") if x["event"] == "diagnosis"]
    assert (found["name"], found["step"]) == ("memory_short", 1)
    assert found["evidence"]["rows_a_pass_now"] == 2
    # Layers join in the same steps; both answer a part of the questions, and one sends numbers.
    for event, values in {
        "unfrozen": ("step", "layers", "trainable_parameters"),
        "evaluation": ("step", "metrics"),
    }.items():
        both = [
            [
                [x[name] for name in values]
                for x in read_journal(tmp_path / name)
                if x["event"] == event
            ]
            for name in ("one", "two")
        ]
        assert len(both[0]) >= 2
        assert both[1] == both[0] if event == "unfrozen" else scored_alike(*both)
    (events,) = (tmp_path / "two" / "tensorboard").glob("events*")
    read = EventAccumulator(str(events))
    read.Reload()
    assert [event.step for event in read.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6]


def scored_alike(one: list[Any], two: list[Any]) -> bool:
    """Whether scores are the same but for rounding; those of answers, where no word differs."""
    for (step, a), (other, b) in zip(one, two, strict=True):
        assert step == other and a == pytest.approx(b, rel=1e-3)
    return True
