"""Scores of answers that a model writes in training: true, repeatable, and without a trace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import runs
from runs import StopAfter, train
from tiny import reversal_rows
from tunewright import pipeline
from tunewright.artifacts import sha256_file
from tunewright.cli.screen import describe_event
from tunewright.config.recipe import Recipe
from tunewright.errors import ConfigError, DataError, Interrupted
from tunewright.train.journal import read_journal


@pytest.fixture
def toy(write_rows: Any) -> Path:
    """Words and the same words backwards."""
    path: Path = write_rows("toy.jsonl", reversal_rows())
    return path


def reversal(base: Path, toy: Path, output: Path, **values: Any) -> Recipe:
    """A run that is scored on the rows that it is trained on."""
    defaults: dict[str, Any] = {
        "data": {"train": str(toy), "validation": str(toy), "allow": ["leakage.exact"]},
        "learning_rate": 1e-2,
        "max_steps": 60,
        "evaluation_strategy": "steps",
        "eval_steps": 15,
        "save_strategy": "steps",
        "save_steps": 15,
    }
    return runs.recipe(base, toy, output, **(defaults | values))


def scores(folder: Path) -> list[dict[str, Any]]:
    return [line for line in read_journal(folder) if line["event"] == "evaluation"]


def test_the_best_answers_decide_and_a_stopped_run_ends_with_the_same_bytes(
    tiny_t5: Path, toy: Path, tmp_path: Path
) -> None:
    values = {
        "metric_for_best_model": "exact_match",
        "generation_metrics": ["chrF"],
        "early_stopping_patience": 2,
        "load_best_model_at_end": True,
        "max_steps": 120,
    }
    result = train(reversal(tiny_t5, toy, tmp_path / "whole", **values))
    found = scores(tmp_path / "whole")
    measured = [line["metrics"]["exact_match"] for line in found]
    assert measured[0] < max(measured) and max(measured) >= 0.8
    best = measured.index(max(measured))  # of equal scores the first
    assert result.results["best_step"] == 15 * (best + 1)
    assert len(measured) == min(8, best + 3), "two more scores without a new best"
    # What was measured in training is what the finished model is worth on the same rows.
    again = pipeline.evaluate_model(
        *(str(tmp_path / "whole"), str(toy)),
        metrics=["exact_match", "chrf"],
        max_new_tokens=12,
        with_baselines=False,
    )
    for name in ("exact_match", "chrf"):
        assert again.metrics[name]["value"] == pytest.approx(found[best]["metrics"][name])
    cost = [line["generated"] for line in found]
    assert all(c["rows"] == 6 and c["seconds"] > 0 for c in cost)
    spent = result.results["generation_seconds"]
    assert spent == pytest.approx(sum(c["seconds"] for c in cost), abs=0.01)
    assert "(6 answers in" in describe_event(found[0])
    with pytest.raises(Interrupted):
        made = reversal(tiny_t5, toy, tmp_path / "cut", **values)
        train(made, StopAfter(tmp_path / "cut", 40))
    pipeline.resume(tmp_path / "cut")
    assert [x["metrics"] for x in scores(tmp_path / "cut")] == [x["metrics"] for x in found]
    for name in ("model.safetensors", "generation_config.json"):
        assert sha256_file(tmp_path / "whole" / name) == sha256_file(tmp_path / "cut" / name)


def test_writing_answers_changes_nothing_in_training(
    tiny_decoder: Path, instruction_file: Path, tmp_path: Path
) -> None:
    values: dict[str, Any] = {
        "method": "lora",
        "lora_r": 4,
        "lora_dropout": 0.2,
        "gradient_checkpointing": True,
        "neftune_noise_alpha": 5,
        "ema_decay": 0.5,
        "max_steps": 6,
        "evaluation_strategy": "steps",
        "eval_steps": 2,
    }
    losses = {}
    for name, asked in {"with": ["rouge", "numeric_match"], "without": None}.items():
        made = runs.recipe(
            *(tiny_decoder, instruction_file, tmp_path / name),
            **(values | {"generation_metrics": asked}),
        )
        train(made)
        lines = read_journal(tmp_path / name)
        losses[name] = [(x["loss"], x["grad_norm"]) for x in lines if x["event"] == "step"]
        losses[name] += [x["metrics"]["loss"] for x in lines if x["event"] == "evaluation"]
    assert losses["with"] == losses["without"]
    assert all(
        {"rougeL", "numeric_match"} <= x["metrics"].keys() for x in scores(tmp_path / "with")
    )
    assert "generated" not in scores(tmp_path / "without")[0]


def test_rows_are_drawn_once_by_the_seed_and_answers_are_as_long_as_the_longest(
    tiny_t5: Path, toy: Path, tmp_path: Path
) -> None:
    def asked(**values: Any) -> list[str]:
        made = reversal(tiny_t5, toy, tmp_path / "run", generation_rows=3, **values)
        prepared = pipeline.prepare(made)
        assert prepared.recipe.generation_metrics == ["bleu"]
        # Three letters, the stop token, and eight more for answers that do not end.
        assert prepared.recipe.generation_max_new_tokens == 12
        assert "has 4 tokens" in prepared.reasons["generation_max_new_tokens"]
        assert prepared.generation is not None
        return [question.reference for question in prepared.generation.questions]

    drawn = asked(generation_metrics="bleu")
    assert asked(metric_for_best_model="bleu") == drawn and len(set(drawn)) == 3
    others = [asked(generation_metrics="bleu", seed=seed) for seed in (1, 2, 3)]
    assert any(other != drawn for other in others)


def test_a_resumed_run_asks_the_same_rows_of_very_many(
    tiny_t5: Path, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunewright.train.generated_scores._LOOKED_AT", 4)
    first = pipeline.prepare(reversal(tiny_t5, toy, tmp_path / "run", generation_metrics="ter"))
    assert first.generation is not None and len(first.generation.questions) == 4
    again = pipeline.prepare(first.recipe).generation
    assert again is not None and again.questions == first.generation.questions


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"generation_metrics": "rogue"}, ConfigError, "Did you mean 'rouge'"),
        ({"generation_metrics": "loss"}, ConfigError, "names 'loss', which does not score answers"),
        ({"generation_metrics": ["f1"]}, ConfigError, "'f1', which does not score answers. Those"),
        ({"metric_for_best_model": "accuracy"}, ConfigError, "Measured: loss, perplexity, exact_m"),
        ({"generation_rows": 3}, ConfigError, "has no effect without generation_metrics"),
        (
            {"generation_metrics": "ter", "generation_rows": 7},
            ConfigError,
            "generation_rows is 7 but 6 validation rows",
        ),
        (
            {"generation_metrics": "numeric_match"},
            DataError,
            "numeric_match cannot be measured during training. Reference 1 has no number",
        ),
        (
            {"generation_metrics": "chrf", "data": {"validation": 0}, "evaluation_strategy": None},
            ConfigError,
            "generation_metrics needs validation rows but there are none",
        ),
        (
            {"generation_metrics": "chrf", "evaluation_strategy": "no"},
            ConfigError,
            "generation_metrics needs validation scores",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_measured_is_refused_before_anything_is_written(
    values: dict[str, Any], error: type[Exception], message: str, tiny_t5: Path, toy: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    if "data" in values:
        values = values | {"data": {"train": str(toy)} | values["data"]}
    if values.get("evaluation_strategy", "") in (None, "no"):
        values = values | dict.fromkeys(("eval_steps", "save_steps", "save_strategy"))
    with pytest.raises(error, match=message):
        train(reversal(tiny_t5, toy, tmp_path / "run", **values))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("task", "message"),
    [("classification", "such a model writes nothing"), ("text", "plain texts have no answers")],
)
def test_tasks_without_answers_are_told_so(
    task: str, message: str, tiny_encoder: Path, tiny_decoder: Path, write_rows: Any, tmp_path: Path
) -> None:
    words = ("good", "bad", "great", "awful", "fine", "poor")
    rows = [{"text": f"{words[i % 6]} film {i}", "label": "np"[i % 2]} for i in range(30)]
    texts = [{"text": f"the film was so very long {i}"} for i in range(30)]
    labels = task == "classification"
    made = runs.recipe(
        tiny_encoder if labels else tiny_decoder,
        write_rows("rows.jsonl", rows if labels else texts),
        tmp_path / "run",
        task=task,
        generation_metrics="rouge",
    )
    with pytest.raises(ConfigError, match=message):
        train(made)


def test_a_prompt_that_leaves_no_room_is_not_asked(
    tiny_decoder: Path, write_rows: Any, tmp_path: Path
) -> None:
    rows = [{"prompt": f"Say {i}", "completion": f"{i}"} for i in range(7)]
    # Prompt and answer fit into 256 tokens, but not an answer that does not end where it should.
    rows.append({"prompt": "x" * 212, "completion": "long" * 5})
    path = write_rows("rows.jsonl", rows)
    made = runs.recipe(
        *(tiny_decoder, path, tmp_path / "run"),
        data={"train": str(path), "validation": str(path), "truncation": "cut"},
        generation_metrics="exact_match",
    )
    generation = pipeline.prepare(made).generation
    assert generation is not None
    assert generation.max_new_tokens == 20 + 1 + 8
    assert json.dumps([q.reference for q in generation.questions]) == json.dumps(
        [str(i) for i in range(7)]
    )
    made.generation_max_new_tokens = 250
    with pytest.raises(
        ConfigError, match=r"beside the shortest prompt the model has room for 2\d\d"
    ):
        pipeline.prepare(made)
