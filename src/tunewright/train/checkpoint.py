"""Checkpoints that are whole or not there.

A checkpoint is written into a hidden folder, hashed, and renamed. On resume each file is checked
against its hash; a damaged checkpoint is passed over for the one before. It holds the weights in
the plain transformers or PEFT layout, the optimizer's tensors, and the loop's counters. There is
no random state to store: every step seeds its own (see `loop.py`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tunewright.artifacts import hash_files, read_json, require_space, sync, write_json
from tunewright.errors import ArtifactError
from tunewright.train.stability import Stability

STATE = "trainer_state.json"
OPTIMIZER = "optimizer.safetensors"
HASHES = "hashes.json"


@dataclass(slots=True)
class LoopState:
    """The counters of the loop.

    Attributes:
        step: optimizer steps done.
        tokens: tokens that went through the model, padding left out.
        best_score, best_step: of the validation metric; None before the first score.
        stale_scores: scores since the best one.
        skipped_steps: steps not taken because loss or gradient was not finite.
        skipped_in_a_row: of those, since the last finite step.
        halvings: how often the size of a pass was halved because memory ran out.
        score_halvings: the same of the passes of scores.
        stability: what is remembered of losses and gradients.
        good_step, good_lowest: newest checkpoint to go back to (0: the start), and the lowest
            median loss by then.
        rollbacks: how often the run went back.
        rate_scale: what the schedule's rate is multiplied with since then.
        said: diagnoses that are told once.
        journal_lines: of the journal when the state was saved; a resumed run writes later ones
            again. None before the first checkpoint.
        losses: of the steps since the last score.
        train_losses, validation_losses: by score, for the watch.
        seconds: spent training before this process.
    """

    step: int = 0
    tokens: int = 0
    best_score: float | None = None
    best_step: int | None = None
    stale_scores: int = 0
    skipped_steps: int = 0
    skipped_in_a_row: int = 0
    halvings: int = 0
    score_halvings: int = 0
    stability: Stability = field(default_factory=Stability)
    good_step: int = 0
    good_lowest: float | None = None
    rollbacks: int = 0
    rate_scale: float = 1.0
    said: list[str] = field(default_factory=list)
    journal_lines: int | None = None
    losses: list[float] = field(default_factory=list)
    train_losses: list[float] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)
    seconds: float = 0.0


def checkpoint_folder(run: Path, step: int) -> Path:
    """Where the checkpoint of a step is."""
    return run / f"checkpoint-{step}"


def checkpoints(run: Path) -> list[Path]:
    """The run's checkpoints, oldest first. Unfinished ones do not count."""
    found = [p for p in run.glob("checkpoint-*") if p.name.rpartition("-")[2].isdigit()]
    return sorted(found, key=step_of)


def step_of(checkpoint: Path) -> int:
    """The step in a checkpoint's name."""
    return int(checkpoint.name.rpartition("-")[2])


def save_checkpoint(
    run: Path,
    state: LoopState,
    optimizer_tensors: dict[str, Any],
    save_model: Callable[[Path], None],
) -> Path:
    """Write the checkpoint of `state.step`, all or nothing.

    Args:
        run: the run's folder.
        state: counters to store.
        optimizer_tensors: by name.
        save_model: writes the weights into the folder it is given.

    Raises:
        SpaceError: the disk has too little room; nothing is left behind.
    """
    from safetensors.torch import save_file

    target = checkpoint_folder(run, state.step)
    size = sum(t.numel() * t.element_size() for t in optimizer_tensors.values())
    require_space(run, 2 * size + 50_000_000, "A checkpoint")
    scratch = run / f".{target.name}.tmp"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        save_model(scratch)
        contiguous = {name: t.detach().cpu().contiguous() for name, t in optimizer_tensors.items()}
        save_file(contiguous, scratch / OPTIMIZER)
        write_json(scratch / STATE, asdict(state))
        write_json(scratch / HASHES, hash_files(scratch))
        for file in scratch.iterdir():
            sync(file)
        _set_aside(target)
        scratch.rename(target)
        sync(run)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    _remove_aside(target)
    return target


def _aside(checkpoint: Path) -> Path:
    return checkpoint.with_name(f".{checkpoint.name}.old.tmp")


def _set_aside(checkpoint: Path) -> None:
    """Take a checkpoint's name away, so that one that is half removed is never seen as one."""
    _remove_aside(checkpoint)
    if checkpoint.exists():
        checkpoint.rename(_aside(checkpoint))


def _remove_aside(checkpoint: Path) -> None:
    if _aside(checkpoint).exists():
        shutil.rmtree(_aside(checkpoint))


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, or None when every file has its hash."""
    try:
        expected = json.loads((checkpoint / HASHES).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # neither JSON nor text
        return f"{HASHES} cannot be read ({error})"
    actual = hash_files(checkpoint)
    actual.pop(HASHES, None)
    wrong = [name for name in expected if actual.get(name) != expected[name]]
    return f"{', '.join(sorted(wrong))} changed or missing" if wrong else None


def newest_whole(
    run: Path, report: Callable[[Path, str], None], *, with_best: bool = False
) -> Path | None:
    """The newest checkpoint that can be gone on from.

    Args:
        run: the run's folder.
        report: told of each newer one that is damaged.
        with_best: the run ends with the weights of its best score, so the checkpoint that has the
            best so far must be whole too.
    """
    for checkpoint in reversed(checkpoints(run)):
        wrong = damage(checkpoint)
        if wrong is None and with_best:
            wrong = _best_damage(run, load_state(checkpoint))
        if wrong is None:
            return checkpoint
        report(checkpoint, wrong)
    return None


def _best_damage(run: Path, state: LoopState) -> str | None:
    if state.best_step in (None, state.step):
        return None
    assert state.best_step is not None
    best = checkpoint_folder(run, state.best_step)
    wrong = damage(best)
    return f"needs the best weights, those of {best.name}: {wrong}" if wrong else None


def require_whole(checkpoint: Path) -> None:
    """Refuse a folder that cannot be gone on from.

    Raises:
        ArtifactError: it is no checkpoint, or it is damaged.
    """
    load_state(checkpoint)
    if wrong := damage(checkpoint):
        raise ArtifactError(
            f"{checkpoint} is damaged: {wrong}. Take another one, or none for the newest whole one."
        )


def load_state(checkpoint: Path) -> LoopState:
    """The counters in a checkpoint.

    Raises:
        ArtifactError: the folder is no checkpoint.
    """
    if not (checkpoint / STATE).is_file():
        raise ArtifactError(
            f"{checkpoint} is no checkpoint: it has no {STATE}. Give a checkpoint-N folder of a "
            "run, or leave it out to take the newest."
        )
    values = read_json(checkpoint / STATE)
    return LoopState(**values | {"stability": Stability(**values.get("stability", {}))})


def load_optimizer(checkpoint: Path) -> dict[str, Any]:
    """The optimizer's tensors in a checkpoint, by name."""
    from safetensors.torch import load_file

    tensors: dict[str, Any] = load_file(checkpoint / OPTIMIZER)
    return tensors


def prune_checkpoints(run: Path, keep: int, protected: Iterable[int]) -> None:
    """Remove all but the newest `keep` checkpoints; those of `protected` steps stay."""
    kept = {checkpoint_folder(run, step) for step in protected}
    for checkpoint in checkpoints(run)[:-keep]:
        if checkpoint not in kept:
            _remove(checkpoint)


def remove_later(run: Path, step: int) -> None:
    """Remove the checkpoints of later steps, which a run that goes on from `step` makes again.

    One that is damaged stays to be looked at, until another takes its place.
    """
    for checkpoint in checkpoints(run):
        if step_of(checkpoint) > step and damage(checkpoint) is None:
            _remove(checkpoint)


def _remove(checkpoint: Path) -> None:
    _set_aside(checkpoint)
    _remove_aside(checkpoint)
