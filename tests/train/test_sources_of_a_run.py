"""What a run is trained on: several sources in proportions, and an address with a secret."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tunewright import pipeline
from tunewright.config.load import load_recipe
from tunewright.config.recipe import Recipe
from tunewright.data import web

SECRET = "https://sets.example/rows.jsonl?token=hush"


def rows(letter: str, count: int) -> str:
    lines = [
        {"text": f"{letter} {word} {i * 37}", "label": letter}
        for i, word in zip(range(count), ["film", "book", "day"] * count, strict=False)
    ]
    return "".join(json.dumps(line) + "\n" for line in lines)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "a.jsonl").write_text(rows("a", 40), encoding="utf-8")
    (tmp_path / "b.jsonl").write_text(rows("b", 12), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNEWRIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def recipe(model: Path, **data) -> Recipe:
    return Recipe.check(
        {
            "model": str(model),
            "method": "full",
            "output_dir": "run",
            "data": {"validation": 0.0} | data,
            "max_steps": 1,
            "per_device_train_batch_size": 4,
        }
    )


def test_a_run_is_trained_on_the_mix_that_its_recipe_says(folder, tiny_encoder):
    train = [{"source": "a.jsonl", "weight": 2}, "b.jsonl"]
    prepared = pipeline.prepare(recipe(tiny_encoder, train=train))
    assert Counter(str(r.label) for r in prepared.splits.train) == {"a": 24, "b": 12}
    assert prepared.recipe.model_dump(mode="json")["data"]["train"] == train


def test_a_run_keeps_no_secret_of_its_source(folder, tiny_encoder, monkeypatch):
    cached = folder / "rows.jsonl"
    cached.write_text(rows("a", 20) + rows("b", 20), encoding="utf-8")
    monkeypatch.setattr(web, "fetch", lambda url: cached)
    made = recipe(tiny_encoder, train=SECRET)
    result = pipeline.train(pipeline.prepare(made))
    written = [path for path in result.folder.rglob("*") if path.is_file()]
    assert any("sets.example" in p.read_text("utf-8", "replace") for p in written)
    assert not [p for p in written if b"hush" in p.read_bytes()]
    kept = load_recipe(result.folder / "recipe.yaml")
    assert kept.data.train == "https://sets.example/rows.jsonl?token=***"
    again = pipeline.resume(result.folder)
    assert again.metrics == result.metrics
