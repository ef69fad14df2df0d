"""Faults that are planted in real runs, and what the runs do about them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

import runs
from runs import StopAfter, train
from tiny import sentiment_rows
from tunewright import pipeline
from tunewright.artifacts import sha256_file
from tunewright.config.recipe import Recipe
from tunewright.data.collate import epoch_order
from tunewright.errors import Interrupted, TrainingError
from tunewright.models.forward import LabelForward
from tunewright.train.journal import read_journal


def recipe(base: Path, rows: Path, output: Path, **values: Any) -> Recipe:
    defaults: dict[str, Any] = {
        "data": {"train": str(rows), "validation": 0},
        "learning_rate": 5e-3,
        "label_smoothing": 0.0,
    }
    return runs.recipe(base, rows, output, **(defaults | values))


def weights(folder: Path) -> dict[str, str]:
    return {p.name: sha256_file(p) for p in sorted(folder.glob("*.safetensors"))}


def diagnoses(folder: Path) -> list[dict[str, Any]]:
    return [line for line in read_journal(folder) if line["event"] == "diagnosis"]


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in read_journal(folder) if line["event"] == "step"]


def stopped_and_resumed(made: Recipe, step: int) -> Path:
    """The same run in another folder, stopped after a step and finished."""
    folder = Path(made.output_dir).with_name("stopped")
    with pytest.raises(Interrupted):
        train(made.model_copy(update={"output_dir": str(folder)}), StopAfter(folder, step))
    pipeline.resume(folder)
    return folder


STEPS = 80


def poisoned(
    base: Path, write_rows: Callable[..., Path], folder: Path, first: int, last: int, **values: Any
) -> Recipe:
    """A run of 80 steps whose rows from step `first` to `last` have the wrong labels."""
    rows = sentiment_rows(8 * STEPS)
    made = recipe(base, write_rows("rows.jsonl", rows), folder, num_train_epochs=1, **values)
    lengths = [len(example) for example in pipeline.prepare(made).train.examples]
    for step in epoch_order(lengths, 8, made.seed, 0)[first - 1 : last]:
        for i in step:
            rows[i]["label"] = "negative" if rows[i]["label"] == "positive" else "positive"
    write_rows("rows.jsonl", rows)
    return made


def test_a_poisoned_batch_is_skipped_and_a_stopped_run_skips_it_too(
    tiny_encoder: Path, write_rows: Callable[..., Path], tmp_path: Path
) -> None:
    made = poisoned(tiny_encoder, write_rows, tmp_path / "whole", 75, 75)
    result = train(made)
    (found,) = diagnoses(tmp_path / "whole")  # and nothing in the healthy steps
    assert (found["name"], found["step"]) == ("spike", 75)
    assert found["evidence"]["loss"] > 10 * found["evidence"]["usual_loss"]
    assert "The step was skipped" in found["action"]
    assert result.results["skipped_steps"] == 1
    assert result.results["diagnoses"][0]["evidence"] == found["evidence"]
    assert max(losses(tmp_path / "whole")[75:]) < 0.3
    # The window that it is measured against goes through a checkpoint.
    stopped = stopped_and_resumed(made, 74)
    assert weights(stopped) == weights(tmp_path / "whole")
    assert [d["evidence"] for d in diagnoses(stopped)] == [found["evidence"]]


def test_a_run_that_loses_what_it_had_learned_goes_back_and_so_does_one_that_was_stopped(
    tiny_encoder: Path, write_rows: Callable[..., Path], tmp_path: Path
) -> None:
    made = poisoned(
        tiny_encoder, write_rows, tmp_path / "whole", 58, 72, save_strategy="steps", save_steps=8
    )
    train(made)
    found = next(d for d in diagnoses(tmp_path / "whole") if d["name"] == "divergence")
    evidence = found["evidence"]
    assert evidence["back_to_step"] == 56
    assert evidence["recent"] > evidence["start"] > evidence["lowest"]
    assert evidence["learning_rate"] == pytest.approx(5e-3 / 4)
    steps = [line for line in read_journal(tmp_path / "whole") if line["event"] == "step"]
    assert [line["step"] for line in steps] == list(range(1, STEPS + 1))
    before, after = steps[found["step"] - 1], steps[found["step"]]
    assert after["learning_rate"] < before["learning_rate"] / 3
    assert steps[-1]["loss"] < 0.3  # on rows that are right, as the weights of step 56 are
    stopped = stopped_and_resumed(made, found["step"] + 1)
    assert weights(stopped) == weights(tmp_path / "whole")
    assert losses(stopped) == losses(tmp_path / "whole")


def test_a_run_that_diverges_at_once_starts_again_from_the_base_at_a_lower_rate(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path
) -> None:
    values: dict[str, Any] = {"learning_rate": 10.0, "max_steps": 24, "warmup_steps": 4}
    made = recipe(tiny_encoder, sentiment_file, tmp_path / "run", **values)
    train(made)
    first = diagnoses(tmp_path / "run")[0]
    assert first["evidence"]["back_to_step"] == 0
    assert "those of the start" in first["action"]
    first_loss, again = losses(tmp_path / "run")[0], losses(tmp_path / "run")[first["step"]]
    assert again == pytest.approx(first_loss, rel=0.15)  # the untrained head, on other rows


def test_a_run_that_may_only_propose_goes_on_and_says_what_to_do(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path
) -> None:
    values: dict[str, Any] = {"learning_rate": 10.0, "max_steps": 24, "warmup_steps": 4}
    train(recipe(tiny_encoder, sentiment_file, tmp_path / "run", reactions="propose", **values))
    (said,) = [d for d in diagnoses(tmp_path / "run") if d["name"] == "divergence"]
    assert "Lower learning_rate to 2.5" in said["action"]
    assert losses(tmp_path / "run")[-1] > 2


def test_a_run_that_diverges_four_times_is_given_up(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path
) -> None:
    values: dict[str, Any] = {"learning_rate": 1e6, "max_steps": 90, "warmup_steps": 0}
    with pytest.raises(TrainingError, match="4th time that training diverged"):
        train(recipe(tiny_encoder, sentiment_file, tmp_path / "run", **values))


class ShortMemory:
    """Makes every forward pass of more than `rows` rows ask for more memory than there is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rows: int, error: Exception | None = None):
        self.sizes: list[int] = []
        forward = LabelForward.forward

        def short(module: LabelForward, batch: dict[str, Any]) -> Any:
            size = len(batch["input_ids"])
            self.sizes.append(size)
            done = forward(module, batch)
            if size > rows:
                if error is not None:
                    raise error
                torch.empty(2**60, dtype=torch.uint8)  # refused by PyTorch's own allocator
            return done

        monkeypatch.setattr(LabelForward, "forward", short)


@pytest.mark.parametrize(
    "error", [None, torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB."), MemoryError()]
)
def test_short_memory_halves_the_passes_and_keeps_the_batch(
    error: Exception | None,
    tiny_encoder: Path,
    sentiment_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values: dict[str, Any] = {"max_steps": 6, "save_strategy": "steps", "save_steps": 5}
    train(recipe(tiny_encoder, sentiment_file, tmp_path / "enough", **values))
    short = ShortMemory(monkeypatch, 2, error)
    made = recipe(tiny_encoder, sentiment_file, tmp_path / "whole", **values)
    result = train(made)
    found = [d for d in diagnoses(tmp_path / "whole") if d["name"] == "memory_short"]
    assert [d["step"] for d in found] == [1, 1]
    assert [d["evidence"]["rows_a_pass_now"] for d in found] == [4, 2]
    assert result.results["skipped_steps"] == 0
    assert short.sizes[:3] == [8, 4, 2] and set(short.sizes[3:]) <= {1, 2}
    # The same batches without dropout would give the same curve; with it, nearly.
    np.testing.assert_allclose(losses(tmp_path / "whole"), losses(tmp_path / "enough"), atol=0.25)
    if error is None:
        stopped = stopped_and_resumed(made, 3)
        assert weights(stopped) == weights(tmp_path / "whole")


def test_memory_too_short_for_one_row_ends_the_run_with_advice(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ShortMemory(monkeypatch, 0)
    with pytest.raises(TrainingError, match="cannot be smaller than one row"):
        train(recipe(tiny_encoder, sentiment_file, tmp_path / "run", max_steps=2))
    with pytest.raises(TrainingError, match="per_device_train_batch_size: 4"):
        train(
            recipe(
                tiny_encoder, sentiment_file, tmp_path / "other", max_steps=2, reactions="propose"
            )
        )


def test_another_error_in_a_pass_is_raised_as_it_is(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ShortMemory(monkeypatch, 2, RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        train(recipe(tiny_encoder, sentiment_file, tmp_path / "run", max_steps=2))


def test_a_healthy_adapter_is_told_of_nothing(
    tiny_decoder: Path, instruction_file: Path, tmp_path: Path
) -> None:
    values: dict[str, Any] = {"label_smoothing": None, "method": "lora", "max_steps": 24}
    made = recipe(tiny_decoder, instruction_file, tmp_path / "run", **values)
    assert train(made).results["diagnoses"] == []


def test_a_layer_whose_units_never_fire_is_named(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path
) -> None:
    model = AutoModel.from_pretrained(tiny_encoder)
    model.config.hidden_act = "relu"
    with torch.no_grad():
        model.encoder.layer[1].intermediate.dense.bias.fill_(-1e4)
    model.save_pretrained(tmp_path / "dead")
    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(tmp_path / "dead")
    made = recipe(tmp_path / "dead", sentiment_file, tmp_path / "run", max_steps=17)
    found = train(made).results["diagnoses"][0]
    assert (found["name"], found["step"]) == ("dead_gradients", 16)
    assert [name.partition("layer.1.")[2] for name in found["evidence"]["tensors"]] == [
        "intermediate.dense.weight",
        "output.dense.weight",
        "intermediate.dense.bias",
    ]


class SlowRows(list[Any]):
    """Rows of which each takes half a second to come, on a clock that jumps instead of waiting."""

    waited = 0.0

    def __getitem__(self, i: Any) -> Any:
        self.waited += 0.5
        return super().__getitem__(i)

    def monotonic(self) -> float:
        return time.monotonic() + self.waited


def test_rows_that_come_slowly_are_said_to_be_slow(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = recipe(tiny_encoder, sentiment_file, tmp_path / "run", max_steps=20)
    prepared = pipeline.prepare(made)
    found = pipeline.audit_prepared(prepared)
    rows = prepared.train.examples = SlowRows(prepared.train.examples)
    for module in ("loop", "passes"):
        monkeypatch.setattr(f"tunewright.train.{module}.time", rows)
    diagnosed = pipeline.train(prepared, found=found).results["diagnoses"]
    assert (diagnosed[0]["name"], diagnosed[0]["step"]) == ("slow_data", 20)
    assert diagnosed[0]["evidence"]["data_seconds"] > 60
    assert 0.3 < diagnosed[0]["evidence"]["share"] <= 1
