"""SetFit from rows to a plain classifier: the mean is pooled, the head is a logistic regression."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import runs
from runs import StopAfter, train
from tiny import sentiment_rows
from tunewright import pipeline
from tunewright.artifacts import sha256_file
from tunewright.cli.app import run
from tunewright.config.recipe import Recipe
from tunewright.config.task import Task
from tunewright.data.example import Example
from tunewright.errors import ConfigError, DataError, Interrupted, ModelError, TrainingError
from tunewright.models.inspect import inspect_model
from tunewright.models.load import load_base
from tunewright.models.pooling_layer import output_layer
from tunewright.models.setfit import SetFitForward
from tunewright.train.journal import read_journal


def recipe(base: Path, rows: Path, output: Path, **values: Any) -> Recipe:
    chosen = {"method": "setfit", "learning_rate": 0.003, "pairs_per_row": 4}
    return runs.recipe(base, rows, output, **(chosen | {"max_steps": 6} | values))


@pytest.fixture
def tiny_roberta(tiny_encoder: Path, tmp_path: Path) -> Path:
    from transformers import AutoTokenizer, RobertaConfig, RobertaModel

    folder = tmp_path / "tiny-roberta"
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_encoder)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=66,
        type_vocab_size=2,
        pad_token_id=0,
    )
    RobertaModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["tiny_encoder", "tiny_roberta"])
def test_the_output_layer_sees_the_mean_of_all_tokens_that_are_no_padding(
    kind: str, request: pytest.FixtureRequest
) -> None:
    facts = inspect_model(request.getfixturevalue(kind))
    plain: Any = load_base(facts, Task.EMBEDDING, [], torch.float32).eval()
    pooled: Any = load_base(
        facts, Task.CLASSIFICATION, ["a", "b", "c"], torch.float32, pooled=True
    ).eval()
    batch = {
        "input_ids": torch.tensor([[2, 5, 9, 7, 3], [2, 8, 3, 0, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
    }
    seen: list[Any] = []
    output_layer(pooled).register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        assert pooled(**batch).logits.abs().max() == 0
        hidden = plain(**batch).last_hidden_state
    mask = batch["attention_mask"][:, :, None]
    mean = (hidden * mask).sum(1) / mask.sum(1)
    expected = torch.tanh(torch.nn.functional.layer_norm(mean, (32,)) / 8)
    torch.testing.assert_close(seen[0], expected, atol=2e-3, rtol=0)
    names = [name for name, p in pooled.named_parameters() if p.requires_grad]
    assert any(".layer.1." in name for name in names)
    assert not any(
        ".layer.2." in name or "classifier" in name or "pooler" in name for name in names
    )


def test_few_rows_are_learned_and_the_finished_model_is_a_logistic_regression(
    tiny_encoder: Path, write_rows: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import yaml
    from sklearn.linear_model import LogisticRegression
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    rows = sentiment_rows(84)
    few, rest = write_rows("few.jsonl", rows[:24]), write_rows("rest.jsonl", rows[24:])
    folder = tmp_path / "run"
    made = recipe(tiny_encoder, few, folder, max_steps=50, learning_rate=0.005)
    content = made.model_dump(mode="json", exclude_unset=True)
    content["data"] = {"train": str(few), "validation": str(rest), "allow": ["leakage.near"]}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(content))
    assert run(["train", str(tmp_path / "r.yaml")]) == 0
    assert "macro_f1" in capsys.readouterr().err
    trained = [x for x in read_journal(folder) if x["event"] == "evaluation"][-1]
    assert trained["metrics"]["macro_f1"] > 0.9
    # What is served is what was scored in training.
    found = pipeline.evaluate_model(str(folder), str(rest), with_baselines=False)
    assert found.metrics["log_loss"]["value"] == pytest.approx(trained["metrics"]["loss"], abs=1e-5)
    # Plain transformers gives the logits of a regression on what the output layer sees.
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    assert json.loads((folder / "config.json").read_text())["num_hidden_layers"] == 3
    seen: list[Any] = []
    output_layer(model).register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    batch = tokenizer([row["text"] for row in rows[:24]], padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**batch).logits.numpy()
    vectors = seen[0].double().numpy()
    length = np.linalg.norm(vectors, axis=1).mean()
    labels = [row["label"] for row in rows[:24]]
    fitted = LogisticRegression(C=10.0, solver="newton-cg").fit(vectors / length, labels)
    expected = fitted.decision_function(vectors / length)
    assert logits[:, 1] - logits[:, 0] == pytest.approx(expected, abs=1e-3)
    assert logits.sum(axis=1) == pytest.approx(0, abs=1e-5)


def test_a_stopped_run_ends_with_the_bytes_of_a_whole_one(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path
) -> None:
    data = {"train": str(sentiment_file), "balance": "weights"}
    values: dict[str, Any] = {"save_strategy": "steps", "save_steps": 2, "data": data}
    train(recipe(tiny_encoder, sentiment_file, tmp_path / "whole", **values))
    with pytest.raises(Interrupted):
        made = recipe(tiny_encoder, sentiment_file, tmp_path / "cut", **values)
        train(made, StopAfter(tmp_path / "cut", 3))
    pipeline.resume(tmp_path / "cut")
    whole, cut = (sha256_file(tmp_path / x / "model.safetensors") for x in ("whole", "cut"))
    assert whole == cut


def test_passes_of_any_size_give_one_update(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path
) -> None:
    losses = []
    for size in (None, 16):
        folder = tmp_path / f"run-{size}"
        train(
            recipe(
                tiny_encoder, sentiment_file, folder, max_tokens_per_pass=size, dropout=0.0,
                max_steps=3,
            )
        )  # fmt: skip
        losses.append([x["loss"] for x in read_journal(folder) if x["event"] == "step"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_what_setfit_does_not_take_is_refused(
    tiny_encoder: Path, tiny_decoder: Path, sentiment_file: Path, write_rows: Any, tmp_path: Path
) -> None:
    rows = sentiment_rows(24)

    def refused(error: type[Exception], match: str, base: Path, file: Path, **values: Any) -> None:
        with pytest.raises(error, match=match):
            pipeline.prepare(recipe(base, file, tmp_path / "run", **values))

    numbers = write_rows("n.jsonl", [{"text": r["text"], "label": i} for i, r in enumerate(rows)])
    refused(ConfigError, "the task is 'regression'", tiny_encoder, numbers, task="regression")
    two = write_rows("two.jsonl", [r | {"text_pair": "is it so"} for r in rows])
    refused(DataError, "have two texts", tiny_encoder, two)
    refused(ModelError, "is a llama model", tiny_decoder, sentiment_file)
    long = write_rows(
        "long.jsonl", rows[:10] + [{"text": "it was " * 15, "label": "long"} for _ in range(4)]
    )
    short = {"max_length": 30, "data": {"train": str(long), "validation": 0, "truncation": "drop"}}
    refused(DataError, "No training row with label 'long'", tiny_encoder, long, **short)
    for name, value in (("head_learning_rate", 0.1), ("label_smoothing", 0.1), ("focal_gamma", 2)):
        with pytest.raises(ConfigError, match=f"{name} has no effect with method 'setfit'"):
            recipe(tiny_encoder, sentiment_file, tmp_path / "run", **{name: value})
    for name, value in (("unfreeze_steps", 2), ("layer_learning_rate_decay", 0.8)):
        with pytest.raises(ConfigError, match=f"{name} has no effect with method 'setfit'"):
            recipe(tiny_encoder, sentiment_file, tmp_path / "run", **{name: value})
    with pytest.raises(ConfigError, match="pairs_per_row has no effect with method 'full'"):
        recipe(tiny_encoder, sentiment_file, tmp_path / "run", method="full")


def test_it_is_chosen_for_few_rows_a_label_and_an_encoder_of_sentences(
    tiny_encoder: Path, write_rows: Any, tmp_path: Path
) -> None:
    rows = sentiment_rows(40)
    few, more = write_rows("few.jsonl", rows[:32]), write_rows("more.jsonl", rows[:34])
    sentences = tmp_path / "sentences"
    shutil.copytree(tiny_encoder, sentences)
    (sentences / "modules.json").write_text("[]")

    def chosen(base: Path, file: Path, **values: Any) -> tuple[str, str]:
        data = {"train": str(file), "validation": 0}
        made = runs.recipe(base, file, tmp_path / "run", data=data, **values)
        prepared = pipeline.prepare(made)
        return str(prepared.recipe.method), prepared.reasons.get("method", "")

    assert chosen(sentences, few) == (
        "setfit",
        "16 rows a label and an encoder of sentences: pairs of rows teach more than a new head can",
    )
    for base, file, values in (
        (sentences, more, {}),
        (tiny_encoder, few, {}),
        (sentences, few, {"label_smoothing": 0.0}),
    ):
        assert chosen(base, file, **values)[0] == "full"


def test_vectors_that_are_not_finite_are_an_error_that_says_so(tiny_encoder: Path) -> None:
    facts = inspect_model(tiny_encoder)
    model: Any = load_base(facts, Task.CLASSIFICATION, ["a", "b"], torch.float32, pooled=True)
    rows = [Example([2, 5 + i, 3], i, target=i % 2) for i in range(4)]
    forward = SetFitForward(model, 0.05, rows)
    forward.fit_head()
    with torch.no_grad():
        model.base_model.embeddings.word_embeddings.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match="the encoder has diverged"):
        forward.fit_head()
