"""Made-up but realistic sections: what the spine's two jobs leave behind, as plain JSON."""

from __future__ import annotations

import math
import random
from typing import Any

from tunewright.evaluate.report import Section

MACHINE = {
    "python": "3.11.9",
    "packages": {"tunewright": "0.1.0", "torch": "2.13.0+cpu", "transformers": "5.23.0"},
    "system": "Linux-6.1-x86_64",
    "processor": "Intel(R) Xeon(R) Platinum 8481C",
    "cores": 2,
    "memory_bytes": 8_322_654_208,
}


def metric(value: float, half: float, n: int, better: str = "higher") -> dict[str, Any]:
    """One score as the metrics room writes it."""
    return {
        "value": value,
        "low": round(value - half, 4),
        "high": round(value + half, 4),
        "n": n,
        "better": better,
    }


def journal(steps: int, start: float, end: float, every: int) -> list[dict[str, Any]]:
    """A falling loss with noise, validations, checkpoints, and a resume half way."""
    noise = random.Random(7)
    events: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        done = step / steps
        loss = end + (start - end) * math.exp(-5 * done)
        events.append(
            {
                "event": "step",
                "step": step,
                "epoch": round(2 * done, 3),
                "loss": round(loss + noise.gauss(0, 0.08), 4),
                "learning_rate": 1e-4 * min(done / 0.06, 1.0) * (1 - done),
                "grad_norm": round(1.1 + 2 * math.exp(-8 * done) + noise.random() * 0.4, 3),
                "tokens": 640 * step,
                "tokens_per_second": 2900.0,
                "seconds": round(0.22 * step, 2),
            }
        )
        if step % every == 0:
            value = loss + 0.05 + 0.1 * done**2
            events.append({"event": "evaluation", "step": step, "metrics": {"loss": value}})
            events.append({"event": "checkpoint", "step": step})
        if step == steps // 2:
            events.append({"event": "resume", "step": step})
    return events


def classification_section() -> Section:
    """Tweets, three labels, with baselines that fine-tuning beats."""
    labels = ["negative", "neutral", "positive"]
    n = 630
    tuned = {
        "macro_f1": metric(0.7862, 0.0321, n),
        "accuracy": metric(0.8127, 0.0305, n),
        "log_loss": metric(0.489, 0.05, n, "lower"),
    }
    frozen = {"macro_f1": metric(0.681, 0.037, n), "accuracy": metric(0.722, 0.035, n)}
    linear = {"macro_f1": metric(0.588, 0.039, n), "accuracy": metric(0.661, 0.037, n)}
    most = {"macro_f1": metric(0.214, 0.01, n), "accuracy": metric(0.471, 0.039, n)}
    errors = [
        {
            "row": 12 + 31 * i,
            "text": text,
            "expected": expected,
            "predicted": predicted,
            "confidence": 0.991 - 0.017 * i,
        }
        for i, (text, expected, predicted) in enumerate(
            [
                ("Oh great, another Monday. Just what I needed.", "negative", "positive"),
                ("not bad at all!! <3 would go again & again", "positive", "negative"),
                ("<script>alert('x')</script> lol this is sick", "positive", "negative"),
                ("the new update is... something", "negative", "neutral"),
                ("I can't say I hated it | it was fine", "neutral", "negative"),
                ("Watching the game with my dad tonight", "positive", "neutral"),
                ("my phone died again, $5 chargers, never again, thanks", "negative", "positive"),
                ("*Finally* home. So tired _zzz_", "neutral", "negative"),
                ("RT if you agree " * 30, "neutral", "positive"),
                ("hmm.", "neutral", "negative"),
            ]
        )
    ]
    return Section(
        title="Sentiment of tweets",
        data={
            "rows": 4200,
            "splits": {"train": 2940, "validation": 630, "test": 630},
            "labels": {"positive": 1979, "neutral": 1188, "negative": 1033},
            "lengths": {
                "unit": "tokens",
                "min": 2,
                "median": 18,
                "p95": 35,
                "max": 71,
                "histogram": {
                    "edges": list(range(0, 76, 5)),
                    "counts": [90, 410, 760, 880, 790, 560, 330, 190, 90, 50, 25, 12, 7, 4, 2],
                },
            },
            "findings": [
                {
                    "id": "leakage.near",
                    "severity": "error",
                    "rows": 6,
                    "message": "6 test rows have a near copy in train, so the test is too easy.",
                    "fix": "Remove them: `tunewright check tweets.jsonl --fix leakage.near`.",
                    "examples": ["so happy for you!! / So happy for you!"],
                },
                {
                    "id": "labels.imbalance",
                    "severity": "warning",
                    "rows": 1033,
                    "message": "The rarest label, negative, has 25 % of the rows.",
                    "fix": "Read macro-F1, not accuracy.",
                    "examples": [],
                },
            ],
        },
        journal=[
            *journal(368, 1.08, 0.38, 92),
            {
                "event": "diagnosis",
                "step": 368,
                "name": "overfitting",
                "message": "Validation loss rose after step 276 while training loss fell.",
                "action": "The checkpoint of step 276 was kept as the best.",
            },
        ],
        evaluation={
            "model": "runs/tweets",
            "task": "classification",
            "n": n,
            "metrics": tuned,
            "baselines": {
                "majority": {"metrics": most},
                "tfidf_logistic": {"metrics": linear},
                "embedding_logistic": {"metrics": frozen},
            },
            "comparison": {
                name: {
                    "metric": "macro_f1",
                    "difference": difference,
                    "low": difference - 0.037,
                    "high": difference + 0.037,
                    "p": 0.0002,
                    "test": "paired bootstrap",
                    "verdict": "better",
                }
                for name, difference in (
                    ("majority", 0.5722),
                    ("tfidf_logistic", 0.1982),
                    ("embedding_logistic", 0.1052),
                )
            },
            "confusion": {"labels": labels, "matrix": [[112, 31, 12], [20, 131, 27], [6, 22, 269]]},
            "per_class": [
                {
                    "label": "negative",
                    "precision": 0.81,
                    "recall": 0.72,
                    "f1": 0.76,
                    "support": 155,
                },
                {"label": "neutral", "precision": 0.71, "recall": 0.74, "f1": 0.72, "support": 178},
                {
                    "label": "positive",
                    "precision": 0.87,
                    "recall": 0.91,
                    "f1": 0.89,
                    "support": 297,
                },
            ],
            "calibration": {
                "ece": 0.041,
                "bins": [
                    {"confidence": 0.4, "accuracy": 0.39, "count": 33},
                    {"confidence": 0.55, "accuracy": 0.52, "count": 88},
                    {"confidence": 0.65, "accuracy": 0.58, "count": 94},
                    {"confidence": 0.75, "accuracy": 0.71, "count": 102},
                    {"confidence": 0.85, "accuracy": 0.80, "count": 121},
                    {"confidence": 0.96, "accuracy": 0.94, "count": 192},
                ],
            },
            "errors": errors,
            "seconds": 3.9,
        },
        run={
            "config": {
                "task": "classification",
                "model": "all-minilm-l6-v2",
                "method": "full",
                "data": {"train": "vader-tweets", "validation": 0.15, "test": 0.15},
                "seed": 5,
                "num_train_epochs": 4,
                "learning_rate": 1.0e-4,
            },
            "machine": MACHINE,
            "parents": {"data": "9f2c" * 16, "model": "77ab" * 16},
            "seed": 5,
            "seconds": 81.4,
            "results": {
                "tokens": 236_000,
                "tokens_per_second": 2912.4,
                "peak_memory_bytes": 1_230_000_000,
                "steps": 368,
                "trainable_parameters": 22_714_371,
                "parameters": 22_714_371,
            },
        },
        reasons=[
            "Full fine-tuning: 22.7M parameters need 0.4 GB of training memory, and 2 cores can.",
            "Learning rate 1e-4: an encoder of this size, tuned in full, with a linear decay.",
        ],
        command="tunewright train runs/tweets/recipe.yaml",
    )


def language_section() -> Section:
    """Answers about Python, perplexity against the base model only."""
    n = 400
    return Section(
        title="Assistant for the installed Python",
        data={
            "rows": 1830,
            "splits": {"train": 1430, "validation": 0, "test": 400},
            "labels": {},
            "lengths": {
                "unit": "tokens",
                "min": 14,
                "median": 96,
                "p95": 388,
                "max": 512,
                "histogram": {
                    "edges": [0, 64, 128, 192, 256, 320, 384, 448, 512],
                    "counts": [510, 640, 280, 150, 90, 60, 50, 50],
                },
            },
            "findings": [],
        },
        journal=[e for e in journal(120, 2.9, 1.9, 60) if e["event"] != "resume"],
        evaluation={
            "model": "runs/python-docs",
            "task": "instruction",
            "n": n,
            "metrics": {
                "perplexity": metric(7.91, 0.42, n, "lower"),
                "loss": metric(2.068, 0.053, n, "lower"),
            },
            "baselines": {
                "base": {
                    "metrics": {
                        "perplexity": metric(13.9, 0.8, n, "lower"),
                        "loss": metric(2.632, 0.058, n, "lower"),
                    }
                }
            },
            "comparison": {
                "base": {
                    "metric": "loss",
                    "difference": -0.564,
                    "low": -0.602,
                    "high": -0.527,
                    "p": 0.0001,
                    "test": "paired permutation",
                    "verdict": "better",
                }
            },
            "confusion": None,
            "per_class": None,
            "calibration": None,
            "errors": [
                {
                    "row": 88,
                    "prompt": "What does os.path.samestat do?",
                    "expected": "Test whether two stat buffers reference the same file.",
                    "predicted": "Return the same stat.\n\n```python\nos.path.samestat(a)\n```",
                    "loss": 5.213,
                },
                {
                    "row": 301,
                    "prompt": "What does numpy.einsum_path return?",
                    "expected": "A list of tuples with the contraction order and a summary.",
                    "predicted": "The path of the einsum.",
                    "loss": 4.871,
                },
            ],
            "seconds": 21.7,
        },
        run={
            "config": {"task": "instruction", "model": "smollm2-135m-instruct", "method": "lora"},
            "machine": MACHINE,
            "seed": 5,
            "seconds": 248.0,
            "results": {
                "tokens": 171_000,
                "tokens_per_second": 690.1,
                "peak_memory_bytes": 2_610_000_000,
                "steps": 120,
                "trainable_parameters": 4_884_480,
                "parameters": 139_399_488,
            },
        },
        reasons=["LoRA on all linear layers: full tuning would need 2.1 GB more."],
        command="tunewright train runs/python-docs/recipe.yaml",
    )
