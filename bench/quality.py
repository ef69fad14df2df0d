"""Measure what tuning reaches on known test sets: every setting our own choice, several seeds.

    python bench/quality.py [--works tweet_emotion banking77] [--seeds 3] [--keep FOLDER] [--json]

Each seed is a run of `tunewright train` and `tunewright evaluate`, as a user makes them, with the
keys below and nothing else. Test rows are looked at once, at the end of a run. The sets come from
`../shared/data`; a work whose set is not there is left out, with a word about it. A figure is the
mean over the seeds, with the lowest and the highest, and a 95 % interval of that mean (Student's
t). With `--keep` the runs stay, and a second call takes those that are done. The last line is one
JSON object: `{"figures": {...}, "machine": {...}}`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from tunewright.artifacts import environment

sys.path.insert(0, str(Path(__file__).resolve().parent))
from data import SHARED, Figures, figure

Call = Callable[[Sequence[str]], dict[str, Any]]


@dataclass(frozen=True)
class Work:
    """What is trained, and what it must reach.

    Attributes:
        data: folder of the set in `../shared/data`, or a source by name.
        metric: of the test rows.
        goal: for the mean over the seeds; None where another work or the base is the goal.
        keys: of the recipe.
        model: the base.
        validation: share of the training rows, or a part of the set.
        at_least: name of the work whose mean this one's may miss by `slack`.
        slack: see `at_least`.
        beats_base: every seed must be better than the base by a paired test.
    """

    data: str
    metric: str
    goal: float | None = None
    keys: dict[str, Any] = field(default_factory=dict)
    model: str = "all-minilm-l6-v2"
    validation: float | str = 0.1
    at_least: str = ""
    slack: float = 0.0
    beats_base: bool = False


DECODER = "smollm2-135m-instruct"
WORKS = {
    "tweet_emotion": Work("tweet_emotion", "macro_f1", 0.77, validation="validation.jsonl"),
    "banking77": Work("banking77", "accuracy", 0.925),
    "banking77_lora": Work(
        "banking77", "accuracy", keys={"method": "lora"}, at_least="banking77", slack=0.01
    ),
    "stsb": Work(
        "stsb", "spearman", 0.85, keys={"task": "embedding"}, validation="validation.jsonl"
    ),
    "stsb_regression": Work("stsb", "spearman", validation="validation.jsonl"),
    "sec_filings_ner": Work("sec_filings_ner", "entity_f1", at_least="sec_filings_ner_trainer"),
    "sec_filings_ner_trainer": Work("sec_filings_ner", "entity_f1"),
    "medquad_prefix": Work(
        "medquad", "perplexity", model=DECODER, beats_base=True,
        keys={"method": "prefix_tuning", "max_length": 256},
    ),
    "medquad_prompt": Work(
        "medquad", "perplexity", model=DECODER, beats_base=True,
        keys={"method": "prompt_tuning", "max_length": 256},
    ),
}  # fmt: skip
TRAINER = "sec_filings_ner_trainer"


def recipe_of(work: Work, output: Path, seed: int, rows: int | None) -> dict[str, Any]:
    """The recipe of one run."""
    folder = SHARED / work.data
    kept = folder / str(work.validation)
    limit = f"#{rows}" if rows else ""
    return {
        "model": work.model,
        "output_dir": str(output),
        "seed": seed,
        "data": {
            "train": f"{folder / 'train.jsonl'}{limit}",
            "validation": str(kept) if isinstance(work.validation, str) else work.validation,
            "truncation": "cut",
            # The sets are public, and have copies and doubtful rows; they are taken as they are.
            "allow": ["leakage.near", "leakage.exact", "leakage.prompt", "template.system"],
        },
        **work.keys,
    }


def tunewright(words: Sequence[str]) -> dict[str, Any]:
    """What a command prints with --json."""
    command = [sys.executable, "-m", "tunewright", *words, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"tunewright {' '.join(words)} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def run_once(
    name: str, work: Work, seed: int, keep: Path, options: argparse.Namespace, call: Call
) -> dict[str, Any]:
    """Train and score one seed; taken from `keep` where it is there already."""
    output = keep / f"{name}-{seed}"
    scores = keep / f"{name}-{seed}.json"
    if scores.is_file():
        known: dict[str, Any] = json.loads(scores.read_text(encoding="utf-8"))
        return known
    if name == TRAINER:
        plain_tagger(work, output, seed, options.rows)
    elif (output / "manifest.json").is_file():
        call(["resume", str(output)])
    else:
        path = keep / f"{name}-{seed}.yaml"
        path.write_text(json.dumps(recipe_of(work, output, seed, options.rows)), encoding="utf-8")
        call(["train", str(path)])
    test = SHARED / work.data / "test.jsonl"
    limit = f"#{options.test_rows}" if options.test_rows else ""
    baselines = "--baselines" if work.beats_base else "--no-baselines"
    found = call(["evaluate", str(output), "--data", f"{test}{limit}", baselines])
    scores.write_text(json.dumps(found), encoding="utf-8")
    return found


def plain_tagger(work: Work, output: Path, seed: int, rows: int | None) -> None:
    """The transformers Trainer on the rows, epochs, batch and rates that ours chose."""
    import torch
    from datasets import Dataset
    from transformers import (
        AutoModelForTokenClassification,
        DataCollatorForTokenClassification,
        Trainer,
        TrainingArguments,
    )

    from tunewright.config.recipe import Recipe
    from tunewright.models.device import pick_device
    from tunewright.train.prepare import prepare

    prepared = prepare(Recipe.check(recipe_of(work, output / "ours", seed, rows)))
    recipe, labels, tokenizer = prepared.recipe, prepared.labels, prepared.tokenizer
    made = []
    for record in prepared.splits.train:
        row = tokenizer(
            list(record.words), is_split_into_words=True, truncation=True, max_length=512
        )
        tags, before = [], None
        for word in row.word_ids():
            first = word is not None and word != before
            tags.append(labels.index(record.label[word]) if first else -100)
            before = word
        made.append({**row, "labels": tags})
    torch.manual_seed(seed)
    names = dict(enumerate(labels))
    model = AutoModelForTokenClassification.from_pretrained(
        prepared.facts.folder, id2label=names, label2id={v: k for k, v in names.items()},
        dtype=torch.float32,
    )  # fmt: skip
    arguments = TrainingArguments(
        output_dir=str(output),
        num_train_epochs=recipe.num_train_epochs or 3.0,
        per_device_train_batch_size=recipe.per_device_train_batch_size or 16,
        learning_rate=recipe.learning_rate or 5e-5,
        seed=seed,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=pick_device("auto").type == "cpu",
    )
    trainer = Trainer(
        model,
        arguments,
        train_dataset=Dataset.from_list(made),
        data_collator=DataCollatorForTokenClassification(tokenizer),
    )
    trainer.train()
    trainer.save_model(str(output))
    tokenizer.save_pretrained(str(output))


def figures_of(name: str, work: Work, found: Sequence[dict[str, Any]], others: Figures) -> Figures:
    """The mean over the seeds beside its goal, and whether the base was beaten."""
    values = [float(one["metrics"][work.metric]["value"]) for one in found]
    goal = work.goal
    if work.at_least:
        key = f"{work.at_least}.{WORKS[work.at_least].metric}"
        goal = others[key]["value"] - work.slack if key in others else None
    better = "lower" if work.metric == "perplexity" else "higher"
    made = figure(mean(values), goal, better, values)
    if len(values) > 1:
        from scipy.stats import t

        half = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
        made["interval"] = [round(mean(values) - half, 4), round(mean(values) + half, 4)]
    figures = {f"{name}.{work.metric}": made}
    if work.beats_base:
        won = [
            one["comparison"]["base"]["verdict"].startswith("this model is better") for one in found
        ]
        figures[f"{name}.better_than_base"] = figure(mean(won), 1.0, "higher", won)
    return figures


def main(arguments: Sequence[str] | None = None, call: Call = tunewright) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--works", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--seeds", type=int, default=3, metavar="N")
    parser.add_argument("--rows", type=int, metavar="N", help="training rows at most; default: all")
    parser.add_argument("--test-rows", type=int, metavar="N", help="test rows; default: all")
    parser.add_argument("--keep", metavar="FOLDER", help="for the runs; default: none stays")
    parser.add_argument(
        "--quick", action="store_true", help="one seed, 64 rows: shows that it works"
    )
    parser.add_argument("--json", action="store_true", help="print only the last line")
    options = parser.parse_args(arguments)
    if options.quick:
        options.seeds, options.rows, options.test_rows = 1, 64, 32
    # A work that is another's goal comes first.
    order = sorted(options.works, key=lambda name: bool(WORKS[name].at_least))
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as scratch:
        keep = Path(options.keep or scratch)
        keep.mkdir(parents=True, exist_ok=True)
        for name in order:
            work = WORKS[name]
            if not (SHARED / work.data).is_dir():
                print(f"{name}: left out, {SHARED / work.data} is not there", file=sys.stderr)
                continue
            found = [
                run_once(name, work, seed, keep, options, call) for seed in range(options.seeds)
            ]
            made = figures_of(name, work, found, figures)
            figures |= made
            if not options.json:
                for key, value in made.items():
                    print(f"{key:40} {value['value']:.4f} {value.get('interval', '')} "
                          f"goal {value['goal']}", flush=True)  # fmt: skip
    print(json.dumps({"figures": figures, "machine": environment()}))


if __name__ == "__main__":
    main()
