"""Runs that were stopped where it hurts, and what resuming makes of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError

import runs
from runs import StopAfter, train
from tunewright import pipeline
from tunewright.artifacts import Artifact, is_full_disk, sha256_file
from tunewright.config.recipe import Recipe
from tunewright.errors import ArtifactError, Interrupted, SpaceError, TrainingError
from tunewright.train import run as run_module
from tunewright.train.checkpoint import (
    LoopState,
    checkpoints,
    damage,
    newest_whole,
    prune_checkpoints,
    save_checkpoint,
)
from tunewright.train.journal import Journal, read_journal


def recipe(base: Path, rows: Path, output: Path, **values: Any) -> Recipe:
    defaults: dict[str, Any] = {
        "max_steps": 6,
        "dropout": 0.2,
        "evaluation_strategy": "steps",
        "eval_steps": 1,
        "save_strategy": "steps",
        "save_steps": 2,
    }
    return runs.recipe(base, rows, output, **(defaults | values))


def told(folder: Path) -> list[tuple[Any, ...]]:
    """What happened, but for stops and resumes."""
    return [
        (line["event"], line["step"], line.get("loss"), line.get("name"))
        for line in read_journal(folder)
        if line["event"] not in ("start", "resume", "interrupted", "checkpoint")
    ]


def die(*_: Any, **__: Any) -> None:
    """What a process does that is killed here."""
    raise KeyboardInterrupt


def killed_while_finishing(monkeypatch: pytest.MonkeyPatch, made: Recipe) -> None:
    """Train, and die between the last step and the finished model."""
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(run_module, "_save_finished", die)
        train(made)


def test_a_run_that_stopped_early_takes_no_further_step_and_says_nothing_twice(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {
        "early_stopping_patience": 2,
        "load_best_model_at_end": False,
        "learning_rate": 1e-6,
        "max_steps": 40,
        "save_steps": 1,
    }
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(recipe(tiny_encoder, sentiment_file, whole, **values))
    killed_while_finishing(monkeypatch, recipe(tiny_encoder, sentiment_file, cut, **values))
    pipeline.resume(cut)
    assert told(cut) == told(whole)
    assert [event for event, *_ in told(whole)].count("early_stopping") == 1
    names = ("model.safetensors", "config.json")
    assert [sha256_file(cut / n) for n in names] == [sha256_file(whole / n) for n in names]
    results = [Artifact.open(folder).results for folder in (cut, whole)]
    assert results[0]["diagnoses"] == results[1]["diagnoses"] != []


def test_a_run_that_had_no_copy_of_its_rows_begins_again_from_its_sources(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"evaluation_strategy": "no", "eval_steps": None, "max_steps": 2}
    train(recipe(tiny_encoder, sentiment_file, tmp_path / "whole", **values))
    made = recipe(tiny_encoder, sentiment_file, tmp_path / "cut", **values)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(run_module, "write_dataset", die)
        train(made)
    (tmp_path / "cut" / ".manifest.json.1.tmp").write_text("half")
    assert not (tmp_path / "cut" / "recipe.yaml").exists()
    pipeline.resume(tmp_path / "cut")
    whole, cut = (
        {p.name for p in (tmp_path / name).iterdir() if p.name != ".lock"}
        for name in ("whole", "cut")
    )
    assert cut == whole
    manifests = [Artifact.open(tmp_path / name) for name in ("whole", "cut")]
    assert manifests[0].results["reasons"] == manifests[1].results["reasons"] != {}
    assert manifests[0].parents == manifests[1].parents


def test_a_folder_that_was_only_locked_is_no_foreign_folder(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    with pytest.raises(ArtifactError, match="stopped before anything was written"):
        pipeline.resume(tmp_path)


def test_a_damaged_best_checkpoint_is_made_again(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {
        "load_best_model_at_end": True,
        "metric_for_best_model": "loss",
        "learning_rate": 3e-3,
        "warmup_steps": 0,
        "eval_steps": 2,
        "save_total_limit": 9,
    }
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    best = train(recipe(tiny_encoder, sentiment_file, whole, **values)).results["best_step"]
    shutil.copytree(whole, cut)
    manifest = Artifact.open(cut)
    manifest.status, manifest.results = "running", {"global_batch": 8}
    manifest.write()
    weights = cut / f"checkpoint-{best}" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    if best != 6:
        assert newest_whole(cut, lambda *_: None) == cut / "checkpoint-6"
    again = newest_whole(cut, lambda *_: None, with_best=True)
    assert again is None or int(again.name.partition("-")[2]) < best
    result = pipeline.resume(cut)
    assert result.results["damaged_checkpoints"]
    assert sha256_file(cut / "model.safetensors") == sha256_file(whole / "model.safetensors")
    assert damage(cut / f"checkpoint-{best}") is None
    assert told(cut) == told(whole)


def test_best_weights_that_are_damaged_in_the_end_are_not_taken(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path
) -> None:
    class Damage(StopAfter):
        def line_written(self, line: dict[str, Any]) -> None:
            if line["event"] == "checkpoint":
                (self.folder / line["path"] / "model.safetensors").write_bytes(b"")

    values = {"load_best_model_at_end": True, "eval_steps": 2, "learning_rate": 1e-7}
    made = recipe(tiny_encoder, sentiment_file, tmp_path / "run", **values)
    with pytest.raises(TrainingError, match=r"checkpoint-2, are damaged: model.safetensors"):
        train(made, Damage(tmp_path / "run", 0))
    assert pipeline.resume(tmp_path / "run").results["best_step"] == 2


def test_a_best_score_between_two_saves_is_saved(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path
) -> None:
    values = {"load_best_model_at_end": True, "save_steps": 6, "learning_rate": 1e-7}
    result = train(recipe(tiny_encoder, sentiment_file, tmp_path / "run", **values))
    assert result.results["best_step"] == 1


def test_a_score_without_memory_is_taken_again_in_smaller_passes(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunewright.models.forward import LabelForward

    values: dict[str, Any] = {"eval_steps": 3, "learning_rate": 3e-3}
    whole = train(recipe(tiny_encoder, sentiment_file, tmp_path / "whole", **values))
    logits = LabelForward.logits

    def short(forward: Any, batch: dict[str, Any]) -> Any:
        if not forward.training and len(batch["input_ids"]) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return logits(forward, batch)

    monkeypatch.setattr(LabelForward, "logits", short)
    made = recipe(
        tiny_encoder, sentiment_file, tmp_path / "short", per_device_eval_batch_size=8, **values
    )
    result = train(made)
    assert result.metrics["loss"] == pytest.approx(whole.metrics["loss"], rel=1e-5)
    (found,) = (d for d in result.results["diagnoses"] if d["name"] == "memory_short")
    assert found["evidence"] == {"rows_a_pass": 8, "rows_a_pass_now": 4} and found["step"] == 3
    name = "model.safetensors"  # dropout was on again after the score that failed
    assert sha256_file(tmp_path / "short" / name) == sha256_file(tmp_path / "whole" / name)
    other = made.model_copy(update={"reactions": "propose", "output_dir": str(tmp_path / "other")})
    with pytest.raises(TrainingError, match="per_device_eval_batch_size=4"):
        train(other)


def test_a_disk_that_fills_up_in_a_save_is_told_and_the_run_goes_on_later(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"eval_steps": 6}
    train(recipe(tiny_encoder, sentiment_file, tmp_path / "whole", **values))
    whole_save, calls = safetensors.torch.save_file, []

    def full(tensors: Any, path: Path, *arguments: Any) -> None:
        calls.append(path)
        if len(calls) == 2:
            Path(path).write_bytes(b"half")
            raise SafetensorError("I/O error: No space left on device (os error 28)")
        whole_save(tensors, path, *arguments)

    folder = tmp_path / "cut"
    with monkeypatch.context() as patched, pytest.raises(SpaceError, match=r"disk is full.*resume"):
        patched.setattr(safetensors.torch, "save_file", full)
        train(recipe(tiny_encoder, sentiment_file, folder, **values))
    assert Artifact.open(folder).status == "failed"
    assert [path.name for path in checkpoints(folder)] == ["checkpoint-2"]
    assert not list(folder.glob(".*.tmp"))
    pipeline.resume(folder)
    name = "model.safetensors"
    assert sha256_file(folder / name) == sha256_file(tmp_path / "whole" / name)


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(28, "No space left on device"), True),
        (OSError(122, "Disk quota exceeded"), True),
        (SafetensorError("I/O error: No space left on device (os error 28)"), True),
        (OSError(13, "Permission denied"), False),
        (ValueError("28"), False),
    ],
)
def test_a_full_disk_is_known_by_whatever_library_says_it(error: Exception, full: bool) -> None:
    assert is_full_disk(error) is full


def test_resuming_refuses_damage_and_other_rows_and_removes_what_was_left_half_written(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    made = recipe(tiny_encoder, sentiment_file, folder, eval_steps=6)
    with pytest.raises(Interrupted):
        train(made, StopAfter(folder, 5))
    hashes = folder / "checkpoint-5" / "hashes.json"
    hashes.write_bytes(b"\xff" + hashes.read_bytes())  # no text any more
    with pytest.raises(ArtifactError, match=r"checkpoint-5 is damaged: hashes.json"):
        pipeline.resume(folder, checkpoint=folder / "checkpoint-5")
    rows = folder / "data" / "train.jsonl"
    kept = rows.read_text()
    rows.write_text(kept.replace("film", "book"))
    with pytest.raises(ArtifactError, match=r"train.jsonl changed since it began"):
        pipeline.resume(folder)
    rows.write_text(kept)
    for name in (".checkpoint-3.tmp", ".checkpoint-2.old.tmp", ".finished.tmp"):
        (folder / name).mkdir()
        (folder / name / "model.safetensors").write_bytes(b"half")
    (folder / "data" / ".train.jsonl.77.tmp").write_bytes(b"half")
    pipeline.resume(folder)
    assert not list(folder.rglob(".*.tmp"))


def test_an_older_checkpoint_that_is_asked_for_is_the_newest_from_then_on(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Interrupted):
        train(recipe(tiny_encoder, sentiment_file, folder, eval_steps=6), StopAfter(folder, 5))
    assert [path.name for path in checkpoints(folder)] == ["checkpoint-4", "checkpoint-5"]
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(run_module, "run_loop", die)
        pipeline.resume(folder, checkpoint=folder / "checkpoint-4")
    # Else a third start would go on from step 5, whose line the journal has no more.
    assert [path.name for path in checkpoints(folder)] == ["checkpoint-4"]
    pipeline.resume(folder)
    steps = [line["step"] for line in read_journal(folder) if line["event"] == "step"]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_a_checkpoint_that_is_removed_is_never_seen_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def model(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"weights")

    for step in (1, 2, 3):
        save_checkpoint(tmp_path, LoopState(step=step), {}, model)
    save_checkpoint(tmp_path, LoopState(step=3), {}, model)  # in the place of the one before
    assert damage(tmp_path / "checkpoint-3") is None
    assert not list(tmp_path.glob(".*"))

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(shutil, "rmtree", die)
        prune_checkpoints(tmp_path, 1, [])
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-2", "checkpoint-3"]
    prune_checkpoints(tmp_path, 1, [])
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-3"]


def test_a_journal_keeps_the_lines_that_a_checkpoint_knew(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for event, step in (("step", 1), ("step", 2), ("checkpoint", 2), ("best_loaded", 2)):
        journal.write(event, step)
    assert journal.lines == 4
    journal.close()
    again = Journal(tmp_path, 2, known=2)
    again.close()
    assert again.lines == 3
    assert [line["event"] for line in read_journal(tmp_path)] == ["step", "step", "checkpoint"]


def test_adapters_are_written_alike_by_every_process(
    tiny_decoder: Path, instruction_file: Path, tmp_path: Path
) -> None:
    values = {
        "method": "lora",
        "max_steps": 1,
        "data": {"train": str(instruction_file), "validation": 0},
    }
    train(runs.recipe(tiny_decoder, instruction_file, tmp_path / "run", **values))
    modules = json.loads((tmp_path / "run" / "adapter_config.json").read_text())["target_modules"]
    assert modules == sorted(modules) and len(modules) > 3
