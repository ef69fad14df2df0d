"""Measure few rows a label: SetFit beside full tuning and a linear model on frozen vectors.

    python bench/few_rows.py [--quick] [--json] [--data tweets vader-tweets] [--rows 8 16]

Of each data set, so many rows a label are drawn for each seed, and every method answers the same
test rows. Full tuning is measured with the epochs that a recipe gets by itself (`full`), which are
up to 20 for few rows, and with 3 (`full_3`). Data sets are sources with `text` and `label`; one
with a test part is scored on rows of it, another on rows that are held out. The figures are
macro-F1: the mean over the seeds, with the lowest and the highest. The last line is one JSON
object: `{"figures": {...}, "machine": {...}}`.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tunewright import pipeline
from tunewright.artifacts import environment
from tunewright.config.recipe import Recipe
from tunewright.data.records import Dataset, Splits
from tunewright.data.sources import load_splits
from tunewright.metrics import get_metric
from tunewright.models.baselines import embedding_logistic, embeddings
from tunewright.models.catalogue import model_folder

sys.path.insert(0, str(Path(__file__).resolve().parent))
from data import Figures, figure

RECIPES: dict[str, dict[str, Any]] = {
    "full_3": {"method": "full", "num_train_epochs": 3},
    "full": {"method": "full"},
    "setfit": {"method": "setfit"},
}
FROZEN = "frozen_logistic"


def drawn(train: Dataset, rows: int, seed: int) -> Dataset:
    """So many rows of each label; of a label with fewer, all."""
    chance = random.Random(seed)
    by_label: dict[str, list[int]] = {}
    for i, record in enumerate(train):
        by_label.setdefault(str(record.label), []).append(i)
    return train.select(
        [i for _, own in sorted(by_label.items()) for i in chance.sample(own, min(rows, len(own)))]
    )


def macro_f1(test: Dataset, predictions: Sequence[str]) -> float:
    """Of a method's answers to the test rows."""
    truth = [str(record.label) for record in test]
    return float(get_metric("macro_f1").compute(truth, list(predictions)))


def frozen(train: Dataset, test: Dataset, model: str) -> float:
    """A logistic regression on vectors of the base as it is."""
    found = embeddings(train, test, model_folder(model))
    return macro_f1(test, embedding_logistic(train, test, found).predictions)


def tuned(train: Dataset, test: Dataset, model: str, seed: int, values: dict[str, Any]) -> float:
    """A run by recipe, and its finished model on the test rows."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = Recipe.check(
            {
                "task": "classification",
                "model": model,
                "data": {"train": "rows in memory", "validation": 0.0, "truncation": "cut"},
                "output_dir": str(Path(folder) / "run"),
                "seed": seed,
                "save_strategy": "no",
            }
            | values
        )
        none = train.select([])
        pipeline.train(pipeline.prepare(recipe, Splits(train, none, none)))
        scored = pipeline.evaluate_model(
            recipe.output_dir, test, metrics=["macro_f1"], with_baselines=False
        )
    return float(scored.metrics["macro_f1"]["value"])


def scores(source: str, options: argparse.Namespace) -> Iterator[tuple[int, int, str, float]]:
    """Rows a label, seed, method and macro-F1, one after the other."""
    splits = load_splits(source, 0.0, 0.25, task="classification", seed=0)
    chosen = random.Random(0).sample(
        range(len(splits.test)), min(options.test_rows, len(splits.test))
    )
    test = splits.test.select(chosen)
    for rows in options.rows:
        for seed in range(options.seeds):
            train = drawn(splits.train, rows, seed)
            yield rows, seed, FROZEN, frozen(train, test, options.model)
            for method, values in RECIPES.items():
                if options.quick:
                    values = {"method": values["method"], "max_steps": 2}
                yield rows, seed, method, tuned(train, test, options.model, seed, values)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=["vader-tweets"], help="sources of rows")
    parser.add_argument("--rows", nargs="+", type=int, default=[8, 16], help="rows a label")
    parser.add_argument("--seeds", type=int, default=3, help="draws of rows")
    parser.add_argument("--test-rows", type=int, default=500, help="rows that are scored")
    parser.add_argument("--model", default="all-minilm-l6-v2", help="the base")
    parser.add_argument("--quick", action="store_true", help="two steps a run")
    parser.add_argument("--json", action="store_true", help="print only the last line")
    options = parser.parse_args(arguments)
    found: dict[str, list[float]] = {}
    for source in options.data:
        for rows, seed, method, score in scores(source, options):
            name = f"{Path(source).stem}.{rows}.{method}.macro_f1"
            found.setdefault(name, []).append(score)
            if not options.json:
                print(f"{name:50} seed {seed}  {score:.3f}", flush=True)
    figures: Figures = {
        name: figure(sum(each) / len(each), None, "higher", [min(each), max(each)])
        for name, each in found.items()
    }
    print(json.dumps({"figures": figures, "machine": environment()}))


if __name__ == "__main__":
    main()
