"""Measure evaluation: generation, likelihoods beside lm-eval's, intervals and tests by simulation.

    python bench/evaluate.py [--quick] [--rows N] [--tokens N] [--pairs N] [--sets N] [--model M]
                             [--only generation|likelihoods|simulation] [--json]

Simulated are accuracies of 30, 100 and 1,000 rows that are right with a chance of 0.05, 0.5 and
0.95, and two equally good models: how often the interval holds the true value, and how often a
paired test calls chance a difference.

Questions come from GSM8K and sentences from BLiMP where `../shared/data` has them; otherwise
questions are made up and the sentences are the package's own. All is computed in float32, in which
equal answers can be asked for. lm-eval is in the extra `bench`; where it is not installed, that
figure is left out with a line that says so. The last line is one JSON object:
`{"figures": {...}, "machine": {...}}`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tunewright.artifacts import environment
from tunewright.config.task import Task
from tunewright.data.records import Message, Record
from tunewright.data.render import Renderer
from tunewright.evaluate.forgetting import text_losses
from tunewright.evaluate.probe_rows import load_probes
from tunewright.models.device import limit_threads
from tunewright.models.generate import generate
from tunewright.models.load import Finished, load_finished

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

ROWS, SHARES = (30, 100, 1000), (0.05, 0.5, 0.95)
"""Of simulated accuracies."""

Figures = dict[str, dict[str, Any]]


def figure(value: float, goal: float | None, better: str, spread: Sequence[float] = ()) -> dict:
    """One measured figure in the form that every bench prints."""
    found = {"value": round(value, 6), "goal": goal, "better": better}
    return found | ({"spread": [round(s, 6) for s in (min(spread), max(spread))]} if spread else {})


def questions(count: int) -> list[str]:
    """Questions of GSM8K, or made ones of the same kind and of unlike length."""
    path = SHARED / "gsm8k" / "test.jsonl"
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines()[:count]
        return [json.loads(line)["question"] for line in lines]
    names = ("Ann", "Ben", "Cleo", "Dan")
    return [
        f"{names[i % 4]} has {3 + i} apples and buys {2 * i} more every day for {2 + i % 5} days. "
        + f"{names[(i + 1) % 4]} takes {i % 7} of them. " * (i % 3)
        + "How many apples are there?"
        for i in range(count)
    ]


def sentences(pairs: int) -> list[str]:
    """Right and wrong sentences, evenly over the phenomena."""
    path = SHARED / "blimp_probe" / "test.jsonl"
    found = load_probes(path if path.is_file() else None).pairs
    step = max(1, len(found) // pairs)
    return [text for pair in found[::step][:pairs] for text in (pair.good, pair.bad)]


def prompts(finished: Finished, asked: Sequence[str]) -> tuple[list[list[int]], list[int]]:
    """Token ids of each question as the model is asked it, and the tokens that end an answer."""
    settings = finished.settings
    renderer = Renderer(finished.tokenizer, Task.INSTRUCTION, 1024, settings.template)
    records = [
        Record(messages=(Message("user", text), Message("assistant", "", True))) for text in asked
    ]
    return [renderer.prompt(record)[0] for record in records], renderer.stop_ids()


def one_by_one(
    finished: Finished, ids: Sequence[Sequence[int]], stops: Sequence[int], tokens: int
) -> list[str]:
    """What a user would write: `model.generate` for one prompt after the other."""
    import torch

    answers = []
    for prompt in ids:
        row = torch.tensor([list(prompt)], device=finished.model.device)
        with torch.inference_mode():
            output = finished.model.generate(
                input_ids=row,
                attention_mask=torch.ones_like(row),
                max_new_tokens=tokens,
                do_sample=False,
                eos_token_id=list(stops),
                pad_token_id=finished.tokenizer.pad_token_id,
            )
        new = output[0, len(prompt) :]
        answers.append(finished.tokenizer.decode(new, skip_special_tokens=True))
    return answers


def generation(finished: Finished, rows: int, tokens: int, repeats: int) -> Figures:
    """Seconds and answers of both ways, after one prompt that warms up; the ways take turns."""
    ids, stops = prompts(finished, questions(rows))
    options = {"max_new_tokens": tokens}
    ways: dict[str, Callable[[], list[str]]] = {
        "one": lambda: one_by_one(finished, ids, stops, tokens),
        "batches": lambda: generate(finished.model, finished.tokenizer, ids, stops, **options),
    }
    generate(finished.model, finished.tokenizer, ids[:1], stops, **options)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    answers: dict[str, list[str]] = {}
    for _ in range(repeats):
        for name, way in ways.items():
            began = time.perf_counter()
            answers[name] = way()
            seconds[name].append(time.perf_counter() - began)
    gains = [a / b for a, b in zip(seconds["one"], seconds["batches"], strict=True)]
    same = sum(a == b for a, b in zip(answers["one"], answers["batches"], strict=True))
    return {
        "generation_speedup": figure(sorted(gains)[len(gains) // 2], 3.0, "higher", gains),
        "generation_same_answers": figure(same / rows, 1.0, "higher"),
        "generation_rows_per_second": figure(rows / min(seconds["batches"]), None, "higher"),
        "generation_rows": figure(rows, None, "higher"),
    }


def likelihoods(finished: Finished, pairs: int) -> Figures:
    """The largest gap between our log-likelihoods of sentences and lm-eval's, in nats."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    texts = sentences(pairs)
    ours, _ = text_losses(finished, texts)
    judge = HFLM(pretrained=finished.model, tokenizer=finished.tokenizer, batch_size=8)
    asked = [Instance("loglikelihood", {}, ("", text), i) for i, text in enumerate(texts)]
    theirs = [-found[0] for found in judge.loglikelihood(asked, disable_tqdm=True)]
    gaps = [abs(a - b) for a, b in zip(ours, theirs, strict=True)]
    right = [a < b for a, b in zip(ours[::2], ours[1::2], strict=True)]
    right_theirs = [a < b for a, b in zip(theirs[::2], theirs[1::2], strict=True)]
    same = sum(a == b for a, b in zip(right, right_theirs, strict=True)) / len(right)
    return {
        "loglikelihood_gap_to_lm_eval": figure(max(gaps), 1e-3, "lower"),
        "pairs_judged_as_lm_eval": figure(same, 1.0, "higher"),
        "pairs_right": figure(sum(right) / len(right), None, "higher"),
    }


def simulation(sets: int) -> Figures:
    """Coverage of 95 % intervals, and false alarms of paired tests at 5 %, over simulated sets."""
    import numpy as np

    from tunewright.metrics import compare, correct, estimate

    rng = np.random.default_rng(7)
    figures: Figures = {}
    covered = []
    for n in ROWS:
        for share in SHARES:
            held = 0
            for _ in range(sets):
                right = (rng.random(n) < share).astype(int)
                found = estimate("accuracy", np.ones(n, dtype=int), right)
                held += found.low <= share <= found.high
            covered.append(held / sets)
            figures[f"coverage_accuracy_{n}_rows_{share}"] = figure(covered[-1], None, "higher")
    figures["coverage_accuracy_lowest"] = figure(min(covered), 0.93, "higher", covered)
    figures["coverage_accuracy_highest"] = figure(max(covered), 0.97, "lower", covered)
    for metric in ("accuracy", "macro_f1"):
        alarms = []
        for n in (30, 100):
            false = 0
            for i in range(sets):
                truth = rng.choice(3, n, p=[0.5, 0.3, 0.2])
                chance = np.where(rng.random(n) < 0.5, 0.95, 0.65)  # rows that both find easy
                one, other = (
                    np.where(rng.random(n) < chance, truth, (truth + rng.integers(1, 3, n)) % 3)
                    for _ in range(2)
                )
                false += compare(metric, truth, one, other, seed=i, resamples=500).p < 0.05
            alarms.append(false / sets)
        figures[f"false_alarms_{metric}"] = figure(max(alarms), 0.06, "lower", alarms)
    families = sum(min(correct(list(rng.random(10)))) < 0.05 for _ in range(sets))
    figures["false_alarms_of_ten_corrected_tests"] = figure(families / sets, 0.06, "lower")
    figures["simulated_sets"] = figure(sets, None, "higher")
    return figures


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m-instruct", help="a model that writes")
    parser.add_argument("--rows", type=int, help="questions; default 300, quick 8")
    parser.add_argument("--tokens", type=int, help="longest answer; default 128, quick 16")
    parser.add_argument("--pairs", type=int, help="pairs of sentences; default 500, quick 10")
    parser.add_argument("--sets", type=int, help="simulated sets; default 2000, quick 20")
    parser.add_argument("--only", choices=("generation", "likelihoods", "simulation"))
    parser.add_argument("--quick", action="store_true", help="fewer rows and one repeat")
    parser.add_argument("--json", action="store_true", help="print only the last line")
    options = parser.parse_args(words)
    few = options.quick
    limit_threads()
    figures: Figures = {}
    if options.only != "simulation":
        finished = load_finished(options.model, Task.INSTRUCTION)
        finished.model.float()
    if options.only in (None, "generation"):
        figures |= generation(
            finished, options.rows or (8 if few else 300), options.tokens or (16 if few else 128),
            1 if few else 3,
        )  # fmt: skip
    if options.only in (None, "likelihoods"):
        if importlib.util.find_spec("lm_eval") is not None:
            figures |= likelihoods(finished, options.pairs or (10 if few else 500))
        elif not options.json:
            print(
                "lm-eval is not installed, so likelihoods are not compared: "
                "pip install -e '.[bench]'"
            )
    if options.only in (None, "simulation"):
        figures |= simulation(options.sets or (20 if few else 2000))
    if not options.json:
        for name, found in figures.items():
            print(f"{name:40} {found['value']:>12,} goal {found['goal']}")
    print(json.dumps({"figures": figures, "machine": environment()}))


if __name__ == "__main__":
    main()
