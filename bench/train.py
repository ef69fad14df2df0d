"""Measure training: ours beside the transformers Trainer and TRL's SFTTrainer.

    python bench/train.py [--quick] [--json] [--works minilm_full smollm2_lora]
    python bench/train.py --rows questions.jsonl --steps 20 --repeats 3
    python bench/train.py --works llama_3_8b_lora llama_3_8b_full

Every side runs in a process of its own on the same rows, base, batch, peak rate and number of
steps; the sides take turns, and each repeat has a seed of its own. A ratio is taken within a
repeat, and its median is printed with the lowest and the highest. Loading and tokenising are not
timed. Tokens are those that are no padding. The peers are the extra `bench`; a work whose peer is
not installed is left out, with a word about it. Works of a large shape, for an accelerator, are
measured only when named, packed, on random weights, and nothing is scored. The last line is one
JSON object: `{"figures": {...}, "machine": {...}}`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any

from tunewright.artifacts import environment
from tunewright.data.export import write_dataset
from tunewright.data.sources import load_splits

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER))
from shapes import write_base  # noqa: E402

from data import Figures, figure  # noqa: E402

Runner = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Peer:
    """Another trainer, or ours in another way, and by how much ours must be better.

    Attributes:
        spec: of its side, on top of the work's.
        faster: times that ours must be as fast; None where no goal is set.
        memory: the share of its peak memory that ours may have.
    """

    spec: dict[str, Any]
    faster: float | None = None
    memory: float | None = None


@dataclass(frozen=True)
class Work:
    """What is trained.

    Attributes:
        task, model, method: as in a recipe.
        rows: where they come from.
        batch: rows of a step.
        steps: optimizer steps. Default: one epoch.
        peers: by name.
        share: of the machine's best matrix-product rate that ours must reach.
        needs: packages.
        shape: of `shapes.SHAPES`, for a base with random weights in place of `model`, whose
            tokenizer it has.
        ours: keys of the recipe of ours.
    """

    task: str
    model: str
    method: str
    rows: str
    batch: int
    steps: int | None
    peers: dict[str, Peer]
    share: float | None = None
    needs: tuple[str, ...] = field(default=())
    shape: str | None = None
    ours: dict[str, Any] = field(default_factory=dict)


PLAIN = {"flags": {"gradient_checkpointing": False, "bf16": False}}
"""What a person who knows the flags would set on a CPU: no recomputation, no slow bfloat16."""


def _sft(memory: float) -> dict[str, Peer]:
    return {
        "sft_defaults": Peer({"side": "sft"}, 6.0, memory),
        "sft_plain": Peer({"side": "sft"} | PLAIN),
        "ours_packed": Peer({"side": "ours", "ours": {"packing": True}}),
    }


PACKED = {
    "packing": True,
    "per_device_train_batch_size": 8,
    "bf16": True,
    "model_init_kwargs": {"dtype": "bfloat16"},
}
"""For an accelerator: eight sequences of 1,024 tokens (about as many as 32 rows have), and products
in bfloat16."""


def _large(method: str) -> Work:
    """Llama 3's shape of eight billion weights; activations are made again, as TRL's default is."""
    return Work(
        "instruction", "smollm2-135m-instruct", method, QUESTIONS, 32, 12,
        {"sft_packed": Peer({"side": "sft", "flags": PACKED})},
        needs=("trl",),
        shape="llama-3-8b",
        ours={"packing": True, "gradient_checkpointing": True, "dtype": "bfloat16"},
    )  # fmt: skip


QUESTIONS = "python-docs:default,numpy,scipy.stats"
WORKS = {
    "minilm_full": Work(
        "classification", "all-minilm-l6-v2", "full", "vader-tweets", 16, None,
        {
            "trainer_256": Peer({"side": "trainer", "pad_to": 256}, 25.0),
            "trainer_dynamic": Peer({"side": "trainer"}, 3.5),
        },
    ),
    "smollm2_full": Work(
        "instruction", "smollm2-135m-instruct", "full", QUESTIONS, 8, 12, _sft(0.5), 0.4, ("trl",)
    ),
    "smollm2_lora": Work(
        "instruction", "smollm2-135m-instruct", "lora", QUESTIONS, 8, 12, _sft(1 / 3), None,
        ("trl",),
    ),
    "llama_3_8b_lora": _large("lora"),
    "llama_3_8b_full": _large("full"),
}  # fmt: skip
PEERS = sorted({peer for work in WORKS.values() for peer in work.peers})


def in_own_process(spec: dict[str, Any]) -> dict[str, Any]:
    """One side's result. What it says on the way is thrown away, unless it fails."""
    command = [sys.executable, str(FOLDER / "sides.py"), json.dumps(spec)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def write_rows(work: Work, source: str | None, held_out: int, folder: Path) -> int:
    """Write training and held-out rows of a work; return how many are trained on."""
    splits = load_splits(source or work.rows, 0.0, 0.1, task=work.task)
    rows = splits.test.select(range(min(held_out, len(splits.test))))
    write_dataset(type(splits)(splits.train, splits.validation, rows), folder)
    return len(splits.train)


def measure(name: str, work: Work, options: argparse.Namespace, run: Runner) -> Figures:
    """All repeats of a work, then its figures."""
    say = (lambda *_: None) if options.json else (lambda text: print(text, flush=True))
    with tempfile.TemporaryDirectory() as folder:
        source = options.rows if work.task == "instruction" else options.tweets
        # Long answers cost as much to score as to train on.
        most = 16 if options.quick else 40 if work.task == "instruction" else 400
        rows = write_rows(work, source, options.held_out or most, Path(folder))
        spec = {
            "rows": folder,
            "task": work.task,
            "model": options.decoder if work.task == "instruction" else options.encoder,
            "method": work.method,
            "per_device_train_batch_size": work.batch,
            "max_steps": options.steps or work.steps or -(-rows // work.batch),
            "profiled_steps": 1 if options.quick else 3,
            "scored": work.shape is None,
            "ours": work.ours,
        }
        if work.shape:
            spec["model"] = str(Path(folder) / work.shape)
            write_base(work.shape, options.decoder, Path(spec["model"]))
        say(f"\n{name}: {rows:,} rows, {spec['max_steps']} steps of {work.batch}")
        chosen = {key: peer for key, peer in work.peers.items() if key in options.peers}
        sides = {"ours": {"side": "ours"}} | {key: peer.spec for key, peer in chosen.items()}
        results: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
        rates = []
        for repeat in range(options.repeats):
            rates.append(run({"side": "rate"} | ({"size": 256} if options.quick else {})))
            turn = list(sides)[repeat % len(sides) :] + list(sides)[: repeat % len(sides)]
            for side in turn:
                results[side].append(run(spec | {"seed": repeat} | sides[side]))
                say(_line(side, results[side][-1]))
        shown = run(spec | {"seed": 0, "side": "parts"})
    say(_parts_table(shown))
    return _figures(name, work, results, rates, shown)


def _line(side: str, found: dict[str, Any]) -> str:
    scores = (("held-out loss", "loss"), ("macro-F1", "macro_f1"))
    said = "  ".join(f"{name} {found[key]:.4f}" for name, key in scores if key in found)
    return (
        f"  {side:16} {found['tokens'] / found['seconds']:>9,.1f} tokens/s "
        f"({found['tokens'] / found['busy_seconds']:,.1f} a processor second)  "
        f"{found['peak_bytes'] / 1e9:6.2f} GB  {said} "
        f"{found['dtype']}, {found.get('padding_share', 0):.0%} padding"
    )


def _parts_table(shown: dict[str, Any]) -> str:
    lines = [f"  a step of ours: {shown['step_seconds']:.3f} s; part, seconds, at best"]
    for part, found in shown["parts"].items():
        bound = f"{found['bound']:8.4f}" if found["bound"] is not None else f"{'-':>8}"
        lines.append(f"    {part:14} {found['seconds']:8.4f} {bound}")
    return "\n".join(lines)


def _figures(
    name: str,
    work: Work,
    results: dict[str, list[dict[str, Any]]],
    rates: Sequence[dict[str, float]],
    shown: dict[str, Any],
) -> Figures:
    def of(values: Sequence[float], goal: float | None, better: str) -> dict[str, Any]:
        return figure(median(values), goal, better, values)

    ours = results["ours"]
    found: Figures = {}
    speeds = {s: [r["tokens"] / r["seconds"] for r in runs] for s, runs in results.items()}
    for side, runs in results.items():
        key = f"{name}.{side}"
        found[f"{key}.tokens_per_second"] = of(speeds[side], None, "higher")
        found[f"{key}.peak_gigabytes"] = of([r["peak_bytes"] / 1e9 for r in runs], None, "lower")
        if "loss" in runs[0]:
            found[f"{key}.held_out_loss"] = of([r["loss"] for r in runs], None, "lower")
        if "macro_f1" in runs[0]:
            found[f"{key}.macro_f1"] = of([r["macro_f1"] for r in runs], None, "higher")
        if side == "ours":
            continue
        peer = work.peers[side]
        pairs = list(zip(ours, runs, strict=True))
        ratios = [a / b for a, b in zip(speeds["ours"], speeds[side], strict=True)]
        found[f"{key}.ours_times_faster"] = of(ratios, peer.faster, "higher")
        busy = [(b["busy_seconds"] / b["tokens"]) / (a["busy_seconds"] / a["tokens"])
                for a, b in pairs]  # fmt: skip
        found[f"{key}.ours_times_less_processor"] = of(busy, peer.faster, "higher")
        if "macro_f1" in runs[0]:
            points = [100 * (a["macro_f1"] - b["macro_f1"]) for a, b in pairs]
            found[f"{key}.ours_points_of_macro_f1_more"] = figure(
                mean(points), -1.0, "higher", points
            )
        shares = [a["peak_bytes"] / b["peak_bytes"] for a, b in pairs]
        found[f"{key}.ours_share_of_memory"] = of(shares, peer.memory, "lower")
    best = [max(rate.values()) for rate in rates]
    used = [r["model_flops"] / r["seconds"] / top for r, top in zip(ours, best, strict=True)]
    found[f"{name}.share_of_matrix_rate"] = of(used, work.share, "higher")
    found[f"{name}.matrix_gigaflops"] = of([top / 1e9 for top in best], None, "higher")
    for part, values in shown["parts"].items():
        seconds = figure(values["seconds"], None, "lower")
        found[f"{name}.step.{part}_seconds"] = seconds | {"bound": values["bound"]}
    return found


def main(arguments: Sequence[str] | None = None, run: Runner = in_own_process) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    small = [name for name, work in WORKS.items() if work.shape is None]
    parser.add_argument("--works", nargs="+", choices=WORKS, default=small, help="all but large")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS, help="default: all")
    parser.add_argument("--rows", metavar="SOURCE", help=f"instructions; default: {QUESTIONS}")
    parser.add_argument("--tweets", metavar="SOURCE", help="texts with labels; the catalogue's")
    parser.add_argument("--encoder", metavar="MODEL", default="all-minilm-l6-v2")
    parser.add_argument("--decoder", metavar="MODEL", default="smollm2-135m-instruct")
    parser.add_argument("--steps", type=int, metavar="N", help="optimizer steps of every work")
    parser.add_argument("--repeats", type=int, metavar="N", help="default: 3, quick 1")
    parser.add_argument(
        "--held-out", type=int, metavar="N", help="rows to score; 400, or 40 answers"
    )
    parser.add_argument("--quick", action="store_true", help="two steps, once, few rows scored")
    parser.add_argument("--json", action="store_true", help="print only the last line")
    options = parser.parse_args(arguments)
    options.repeats = options.repeats or (1 if options.quick else 3)
    options.steps = options.steps or (2 if options.quick else None)
    figures: Figures = {}
    for name in options.works:
        missing = [m for m in WORKS[name].needs if importlib.util.find_spec(m) is None]
        if missing:
            print(f"{name}: left out, {', '.join(missing)} is missing; pip install -e '.[bench]'",
                  file=sys.stderr)  # fmt: skip
            continue
        figures |= measure(name, WORKS[name], options, run)
    if not options.json:
        for key, found in figures.items():
            print(f"{key:52} {found['value']:>12,} goal {found['goal']}")
    print(json.dumps({"figures": figures, "machine": environment()}))


if __name__ == "__main__":
    main()
