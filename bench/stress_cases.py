"""Small runs with all that depends on chance, and whether two of them ended alike.

Every run works in a folder of its own and calls its output `run`, so that all files of two runs can
be compared byte for byte. Only times may differ.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunewright.artifacts import sha256_file, write_json
from tunewright.train.checkpoint import HASHES, STATE, checkpoints
from tunewright.train.journal import JOURNAL, read_journal

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from tiny import (
    WORDS,
    instruction_rows,
    save_decoder,
    save_encoder,
    sentiment_rows,
)

RUN = "run"
RECIPE = "recipe.json"
_TIMES = ("manifest.json", ".lock", JOURNAL, HASHES, STATE)
"""Files with times in them, which are compared in parts or not at all."""
_LOGGED = ("step", "event", "loss", "learning_rate", "grad_norm", "epoch", "tokens", "metrics",
           "layers", "best")  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A run to disturb.

    Attributes:
        base: `encoder` or `decoder`.
        values: of its recipe.
        on_disk: rows are left on disk, so that the run keeps tokens in its folder.
    """

    base: str
    values: dict[str, Any] = field(default_factory=dict)
    on_disk: bool = False


_AUGMENTED = {"data": {"augment": {"copies": 1, "typos": 0.2, "word_dropout": 0.2}}}
CASES = {
    "full_augmented": Case(
        "encoder",
        {"method": "full", "dropout": 0.2, "load_best_model_at_end": True, "max_steps": 12}
        | _AUGMENTED,
    ),
    "lora_noise": Case(
        "decoder", {"method": "lora", "lora_r": 4, "lora_dropout": 0.1, "neftune_noise_alpha": 5}
    ),
    "lora_packed": Case(
        "decoder", {"method": "lora", "lora_r": 4, "lora_dropout": 0.1, "packing": True}
    ),
    "unfreezing_averaged": Case(
        "encoder",
        {
            "method": "full",
            "dropout": 0.2,
            "unfreeze_steps": 2,
            "layer_learning_rate_decay": 0.5,
            "ema_decay": 0.6,
            "decay_to_start": 0.1,
            "l1_decay": 0.01,
        }
        | _AUGMENTED,
    ),
    "eight_bit_bfloat16": Case(
        "decoder", {"method": "full", "optim": "adamw_8bit", "dtype": "bfloat16"}
    ),
    "stopped_early": Case(
        "encoder",
        {
            "method": "full",
            "dropout": 0.2,
            "learning_rate": 1e-5,
            "early_stopping_patience": 2,
            "load_best_model_at_end": False,
            "max_steps": 40,
        },
    ),
    "rows_on_disk": Case("encoder", {"method": "partial", "optim": "muon"} | _AUGMENTED, True),
    "p_tuning": Case("decoder", {"method": "p_tuning", "num_virtual_tokens": 4}),
}


def write_bases(folder: Path) -> None:
    """Write the bases and the rows of `CASES`."""
    for name, save, rows in (
        ("encoder", save_encoder, sentiment_rows(60)),
        ("decoder", save_decoder, instruction_rows(40)),
    ):
        (folder / name).mkdir()
        save(folder / name)
        write_rows(folder / f"{name}.jsonl", rows)


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_recipe(case: Case, bases: Path, folder: Path, **values: Any) -> None:
    """Make `folder` and write the recipe of a case, and `values` on top, into it."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe: dict[str, Any] = {
        "model": str(bases / case.base),
        "output_dir": RUN,
        "device": "cpu",
        "seed": 3,
        "max_steps": 10,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "evaluation_strategy": "steps",
        "eval_steps": 2,
        "save_strategy": "steps",
        "save_steps": 2,
    }
    recipe |= case.values | values
    rows = {"train": str(bases / f"{case.base}.jsonl"), "validation": 0.2}
    recipe["data"] = rows | recipe.get("data", {})
    write_json(folder / RECIPE, recipe)


def leave_rows_on_disk() -> None:
    """From here on no file is small enough for memory."""
    from tunewright.data import files

    files.IN_MEMORY = 0


def outcome(folder: Path) -> dict[str, Any]:
    """All that a run left, by name: hashes of its files, and what is logged but for times."""
    run = folder / RUN
    found: dict[str, Any] = {}
    for path in sorted(run.rglob("*")):
        if path.is_file() and path.name not in _TIMES:
            found[path.relative_to(run).as_posix()] = sha256_file(path)
        elif path.name == STATE:
            state = json.loads(path.read_text(encoding="utf-8"))
            found[path.relative_to(run).as_posix()] = state | {"seconds": 0, "journal_lines": 0}
    lines = [line for line in read_journal(run) if line["event"] in _EVENTS]
    found["journal"] = [{key: line.get(key) for key in _LOGGED} for line in lines]
    manifest = manifest_of(folder)
    found["status"] = manifest["status"]
    kept = ("metrics", "steps", "tokens", "best_step", "skipped_steps", "reasons")
    found["results"] = {key: manifest["results"].get(key) for key in kept}
    found["config"] = manifest["config"]
    return found


def manifest_of(folder: Path) -> dict[str, Any]:
    """The manifest of the run in `folder`."""
    found: dict[str, Any] = json.loads((folder / RUN / "manifest.json").read_text("utf-8"))
    return found


_EVENTS = ("step", "evaluation", "unfrozen", "early_stopping", "best_loaded")


def differences(folder: Path, whole: Path) -> list[str]:
    """What is not the same in a disturbed run as in an undisturbed one.

    Of older checkpoints those that both have are compared: a run that was asked to stop has one
    more than the recipe says, and may have removed another for it.
    """
    ours, theirs = outcome(folder), outcome(whole)
    kept = [{p.name for p in checkpoints(f / RUN)} for f in (folder, whole)]
    newest = checkpoints(whole / RUN)[-1].name
    apart = (kept[0] ^ kept[1]) - {newest}
    names = sorted(ours.keys() | theirs.keys())
    return [
        name
        for name in names
        if ours.get(name) != theirs.get(name) and name.partition("/")[0] not in apart
    ]


def stage(folder: Path) -> str:
    """Where a run was when it was killed, by what it left."""
    run = folder / RUN
    if not (run / "manifest.json").is_file():
        return "before its manifest"
    if (run / ".finished.tmp").exists():
        return "while it finished"
    if any(run.glob(".checkpoint-*")):
        return "in a save"
    return "in training" if (run / JOURNAL).is_file() else "while it began"


def learnable_rows(count: int, seed: int) -> list[dict[str, str]]:
    """Rows whose label follows from one word, but for a tenth that have one of either kind.

    No model is sure of that tenth, so that a loss has a floor, and runs can be compared by it.
    """
    noise = random.Random(seed)
    good, bad = WORDS[:5], WORDS[5:10]
    rows = []
    for i in range(count):
        label = i % 2
        words = ["the", noise.choice(("film", "book", "day")), "was"]
        words += ["very"] * noise.randrange(4) + [noise.choice(good if label else bad)]
        if noise.random() < 0.1:
            words += ["and", noise.choice(bad if label else good)]
        words += ["it"] * noise.randrange(6) + ["is", str(i)]
        rows.append({"text": " ".join(words), "label": "positive" if label else "negative"})
    return rows
