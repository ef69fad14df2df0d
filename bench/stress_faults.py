"""Faults that are planted into runs, and what must become of the runs.

Memory that runs out, a batch of NaN, wrong labels in one batch or in many: the run ends by itself,
and its loss is one that other seeds have too. A full disk, a damaged checkpoint, SIGTERM: it ends
after `tunewright resume`, with the bytes of a run that was not disturbed.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from forked import (
    Ended,
    Plan,
    after,
    begin,
    end,
    forked,
    in_process,
    killed_at_change,
    log_of,
)
from harm import DAMAGE, filled, mounted, quick_learner, refused, short_of_memory, spiking
from stress_cases import (
    CASES,
    RECIPE,
    RUN,
    Case,
    differences,
    learnable_rows,
    manifest_of,
    write_recipe,
    write_rows,
)

from tiny import WORDS
from tunewright.config.finding_ids import ERRORS
from tunewright.train.checkpoint import checkpoints, load_state

if TYPE_CHECKING:
    from stress import Bench

KINDS = ("nan_batch", "spike", "poison", "memory", "full_disk", "damaged", "sigterm")
NOISY = KINDS[:4]
"""Faults that change a run, so that its loss must be held to those of other seeds."""
DIAGNOSES = {
    "nan_batch": "non_finite",
    "spike": "spike",
    "memory": "memory_short",
}
"""What a run must have said of a fault that it lives with. Few wrong labels may do no harm."""
STEPS, BATCH, SCORES = 100, 8, 4
DISK = 160_000_000
"""Bytes of a disk that gets full: a run asks for 50 million at each save."""
TRAIN, RESUME = ["train", RECIPE], ["resume", RUN]


@dataclass
class Fault:
    """What became of a run with a fault.

    Attributes:
        seed, kind: of it.
        where: what was done to it.
        loss: validation loss of the finished model, where the fault may show in it.
        wrong: what is not as it must be.
    """

    seed: int
    kind: str
    where: str = ""
    loss: float | None = None
    wrong: list[str] = field(default_factory=list)


class Faults:
    """Runs with faults, and the undisturbed ones that they are compared with.

    Args:
        bench: has the bases and the undisturbed runs of `CASES`.
        seeds: undisturbed runs whose losses tell what noise is.
    """

    def __init__(self, bench: Bench, seeds: int) -> None:
        self.bench, self.seeds = bench, seeds
        self.kinds = KINDS[len(NOISY) :] if bench.quick else KINDS
        self.base = quick_learner(bench.folder / "encoder")
        self.rows = learnable_rows(STEPS * BATCH, 1)
        write_rows(bench.folder / "held-out.jsonl", learnable_rows(200, 2))
        self._losses: list[float] = []

    def bound(self, faults: int) -> float:
        """The loss that a further undisturbed run exceeds with a chance of 5 % / `faults`.

        The upper end of a prediction interval of Student's t.
        """
        from scipy import stats

        losses = self.losses()
        factor = float(stats.t.ppf(1 - 0.05 / max(1, faults), len(losses) - 1))
        return mean(losses) + factor * stdev(losses) * (1 + 1 / len(losses)) ** 0.5

    def losses(self) -> list[float]:
        """Validation losses of the undisturbed runs, one a seed."""
        while len(self._losses) < self.seeds:
            folder = self.bench.folder / f"undisturbed-{len(self._losses)}"
            self._write(folder, self.rows, len(self._losses))
            ended = forked(TRAIN, folder)
            if ended.code:
                raise SystemExit(log_of(folder).read_text()[-3000:])
            self._losses.append(manifest_of(folder)["results"]["metrics"]["loss"])
            shutil.rmtree(folder)
        return self._losses

    def run(self, seed: int) -> Fault:
        """Plant the fault of a seed into a run, and look at how it ends."""
        fault = Fault(seed, self.kinds[seed % len(self.kinds)])
        noise = random.Random(seed)
        folder = self.bench.folder / f"fault-{seed}"
        plant: Callable[[Fault, random.Random, Path], None] = getattr(self, f"_{fault.kind}")
        try:
            plant(fault, noise, folder)
            if fault.wrong:
                print(log_of(folder).read_text(encoding="utf-8")[-3000:], file=sys.stderr)
        finally:
            if folder.is_mount():
                subprocess.run(["umount", str(folder)], check=True)
        shutil.rmtree(folder, ignore_errors=True)
        return fault

    def _write(
        self, folder: Path, rows: Sequence[dict[str, str]], seed: int, base: str | None = None
    ) -> None:
        folder.mkdir(parents=True)
        write_rows(folder / "rows.jsonl", rows)
        values: dict[str, Any] = {
            "method": "full",
            "dropout": 0.1,
            "label_smoothing": 0.0,
            "learning_rate": 3e-3,
            "max_steps": STEPS,
            "per_device_train_batch_size": BATCH,
            "gradient_accumulation_steps": 1,
            "eval_steps": STEPS // SCORES,
            "save_steps": 8,
            "save_total_limit": 2,
            "load_best_model_at_end": False,
            "seed": seed,
            "data": {
                "train": str(folder / "rows.jsonl"),
                "validation": str(self.bench.folder / "held-out.jsonl"),
                "allow": sorted(ERRORS),  # texts of few words look like copies
            },
        }
        write_recipe(Case(base or self.base.name, values), self.bench.folder, folder)

    def _finished(self, fault: Fault, folder: Path, plan: Plan | None = None) -> None:
        """Run to the end, which must come without help, and hear what was said of the fault."""
        ended = forked(TRAIN, folder, plan)
        if ended.code:
            fault.wrong.append(f"exit code {ended.code}")
            return
        results = manifest_of(folder)["results"]
        fault.loss = results["metrics"]["loss"]
        said = {found["name"] for found in results["diagnoses"]}
        if fault.kind in DIAGNOSES and DIAGNOSES[fault.kind] not in said:
            fault.wrong.append(f"said nothing of it, only {sorted(said)}")

    def _with_wrong_labels(self, seed: int, first: int, count: int) -> list[dict[str, str]]:
        """The rows, with other labels in `count` steps from step `first`, which counts from 1."""
        from tunewright.data.collate import epoch_order

        lengths = [len(row["text"].split()) + 2 for row in self.rows]
        rows = [dict(row) for row in self.rows]
        for step in epoch_order(lengths, BATCH, seed, 0)[first - 1 : first - 1 + count]:
            for i in step:
                rows[i]["label"] = "negative" if rows[i]["label"] == "positive" else "positive"
        return rows

    def _seed(self, fault: Fault) -> int:
        """The recipe's seed: one of those whose losses are known without a fault."""
        return fault.seed % self.seeds

    def _spike(self, fault: Fault, noise: random.Random, folder: Path) -> None:
        """The gradients of one step have a norm of 10,000; others have one near 1."""
        step = noise.randint(40, STEPS - 1)
        fault.where = f"in the gradient of step {step}"
        self._write(folder, self.rows, self._seed(fault))
        self._finished(fault, folder, spiking(step))

    def _poison(self, fault: Fault, noise: random.Random, folder: Path) -> None:
        step, count = noise.randint(40, STEPS - 5), noise.randint(1, 3)
        fault.where = f"wrong labels in {count} steps from step {step}"
        own = self._seed(fault)
        self._write(folder, self._with_wrong_labels(own, step, count), own)
        self._finished(fault, folder)

    def _nan_batch(self, fault: Fault, noise: random.Random, folder: Path) -> None:
        """A word of one row has NaN for its vector."""
        from safetensors.torch import load_file, save_file

        base = self.bench.folder / "encoder-nan"
        if not base.exists():
            shutil.copytree(self.base, base)
            tensors = load_file(base / "model.safetensors")
            tensors["embeddings.word_embeddings.weight"][4 + WORDS.index("json")] = float("nan")
            save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
        rows = [dict(row) for row in self.rows]
        row = noise.randrange(len(rows))
        rows[row]["text"] += " json"
        fault.where = f"NaN in row {row + 1}"
        self._write(folder, rows, self._seed(fault), base.name)
        self._finished(fault, folder)

    def _memory(self, fault: Fault, noise: random.Random, folder: Path) -> None:
        part = noise.choice(("forward", "backward", "gather", "update", "score"))
        calls = {noise.randint(1, SCORES if part == "score" else STEPS) for _ in range(2)}
        fault.where = f"{part}, calls {sorted(calls)}"
        self._write(folder, self.rows, self._seed(fault))
        self._finished(fault, folder, short_of_memory(part, calls, noise.randrange(3)))

    def _full_disk(self, fault: Fault, noise: random.Random, folder: Path) -> None:
        """The disk gets full before a change that is drawn by lot; then there is room again."""
        name = noise.choice(sorted(self.bench.cases))
        whole = self.bench.whole(name)
        folder.mkdir()
        real = mounted(folder, DISK)
        code = 0
        while not code:  # what follows the last writes needs no room
            shutil.rmtree(folder / RUN, ignore_errors=True)
            number, left = noise.randint(1, whole.changes), noise.choice((0, 4096, 40_000))
            fault.where = f"{name} before change {number}, {left} bytes left" + (
                "" if real else ", not a real disk"
            )
            self.bench.write(name, folder)
            full = filled(folder, number, left) if real else refused(folder, number)
            code = forked(TRAIN, folder, self.bench.plan(name, full)).code
            (folder / "filler").unlink(missing_ok=True)
        log = log_of(folder).read_text(encoding="utf-8")
        told = "disk is full" in log or "Free some room" in log or not log
        if code != 2 or not told or "Traceback" in log:
            fault.wrong.append(f"exit code {code}, or no clear error")
            return
        self._go_on(fault, folder, name)

    def _damaged(self, fault: Fault, noise: random.Random, folder: Path) -> None:
        """A run is killed, and a file of its newest checkpoint, or of the best, is damaged."""
        name = noise.choice(("full_augmented", noise.choice(sorted(self.bench.cases))))
        whole = self.bench.whole(name)
        there: list[Path] = []
        while len(there) < 2:
            shutil.rmtree(folder, ignore_errors=True)
            self.bench.write(name, folder)
            number = noise.randint(whole.changes // 3, whole.changes)
            forked(TRAIN, folder, self.bench.plan(name, killed_at_change(folder, number)))
            there = checkpoints(folder / RUN)
            if there and manifest_of(folder)["status"] == "done":
                there = []  # a run that is done is left as it is
        best = folder / RUN / f"checkpoint-{load_state(there[-1]).best_step}"
        chosen = noise.choice([there[-1]] + [best] * CASES[name].values.get(
            "load_best_model_at_end", False
        ))  # fmt: skip
        file = noise.choice([f for f in sorted(chosen.iterdir()) if f.stat().st_size])
        how = noise.choice(sorted(DAMAGE))
        fault.where = f"{name} before change {number}, {how} {chosen.name}/{file.name}"
        DAMAGE[how](file, noise)
        self._go_on(fault, folder, name)
        if not manifest_of(folder)["results"].get("damaged_checkpoints"):
            fault.wrong.append("the damage was not found")

    def _sigterm(self, fault: Fault, noise: random.Random, folder: Path) -> None:
        """Asked to stop at a random moment."""
        own_process = fault.seed % 4 == 0 and not self.bench.quick
        names = [n for n in sorted(self.bench.cases) if not (own_process and CASES[n].on_disk)]
        name = noise.choice(names)
        seconds = self.bench.whole(name).seconds
        ended = Ended(0, 0.0)
        while not ended.code:  # it was faster than the signal
            shutil.rmtree(folder, ignore_errors=True)
            self.bench.write(name, folder)
            wait = after(noise.random() * 0.8 * seconds, (folder / RUN).is_dir)
            if own_process:
                ended = in_process(TRAIN, folder, wait, signal.SIGTERM)
            else:
                child = begin(TRAIN, folder, self.bench.plan(name))
                ended = end(child, wait, signal.SIGTERM)
        fault.where = f"{name}, exit code {ended.code}" + (", own process" if own_process else "")
        if ended.code not in (1, -signal.SIGTERM) or "Traceback" in log_of(folder).read_text():
            fault.wrong.append("it did not stop as it should")
        self._go_on(fault, folder, name)

    def _go_on(self, fault: Fault, folder: Path, name: str) -> None:
        """Finish the run, and compare it with the undisturbed one."""
        begun = (folder / RUN / "manifest.json").is_file()
        ended = forked(RESUME if begun else TRAIN, folder, self.bench.plan(name))
        if ended.code:
            fault.wrong.append(f"exit code {ended.code} when it was to go on")
        else:
            fault.wrong += differences(folder, self.bench.whole(name).folder)
