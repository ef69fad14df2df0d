"""Pairs of texts from rows to a finished model: trained, scored, compared, read by transformers."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import runs
from runs import StopAfter, train
from tiny import WORDS
from tunewright import pipeline
from tunewright.artifacts import sha256_file
from tunewright.cli.app import run
from tunewright.config.recipe import Recipe
from tunewright.config.task import Task
from tunewright.data.pair_texts import pair_texts
from tunewright.data.render import Example
from tunewright.errors import ConfigError, DataError, Interrupted, ModelError
from tunewright.models.embed_texts import EmbeddingForward
from tunewright.models.load import load_finished
from tunewright.train.journal import read_journal


def pair_rows() -> list[dict[str, str]]:
    """Two words of one list belong to the two words of another list at the same places.

    No word is in both texts of a pair, so that only what was learned brings them together.
    """
    return [
        {
            "anchor": f"the film was {WORDS[a]} and {WORDS[b]}",
            "positive": f"what {WORDS[30 + a]} does {WORDS[30 + b]}",
        }
        for a, b in permutations(range(8), 2)
    ]


def scored_rows() -> list[dict[str, Any]]:
    """Texts with the same word are most alike, those with words of one half of the list less."""
    return [
        {
            "sentence1": f"the day was {WORDS[a]}",
            "sentence2": f"a book is {WORDS[b]}",
            "score": 1.0 * (a == b) + 1.0 * (a // 4 == b // 4),
        }
        for a in range(8)
        for b in range(8)
    ]


def recipe(base: Path, rows: Path, output: Path, **values: Any) -> Recipe:
    return runs.recipe(base, rows, output, **({"max_steps": 4} | values))


@pytest.fixture
def pair_file(write_rows: Any) -> Path:
    found: Path = write_rows("pairs.jsonl", pair_rows())
    return found


@pytest.fixture
def scored_file(write_rows: Any) -> Path:
    found: Path = write_rows("scored.jsonl", scored_rows())
    return found


def test_pairs_are_learned_and_mean_pooling_in_plain_transformers_gives_the_same_vectors(
    tiny_encoder: Path, pair_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    content = {
        "model": str(tiny_encoder),
        "data": {
            "train": str(pair_file),
            "validation": 0.1,
            "test": 0.3,
            # Every anchor differs from others in one word, which the audit calls leakage.
            "allow": ["leakage.near"],
        },
        "output_dir": str(folder),
        "per_device_train_batch_size": 16,
        "max_steps": 60,
        "learning_rate": 0.005,
        "device": "cpu",
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(content))
    assert run(["run", str(tmp_path / "r.yaml")]) == 0
    said = capsys.readouterr()
    found = json.loads((folder / "evaluation/evaluation.json").read_text())
    scores = found["metrics"]
    assert list(scores) == ["mrr_at_10", "recall_at_1", "recall_at_10"]
    assert scores["mrr_at_10"]["value"] > 0.8
    assert set(found["baselines"]) == {"base", "tfidf_cosine"} == set(found["comparison"])
    # No word is shared, so every candidate is as near by words, and ties count against it.
    assert found["baselines"]["tfidf_cosine"]["metrics"]["mrr_at_10"]["value"] == 0
    assert found["comparison"]["base"]["p"] < 0.05
    assert "mrr_at_10" in said.out + said.err
    page = (folder / "report.html").read_text()
    assert "MRR@10" in page and "TF-IDF cosine" in page

    from transformers import AutoModel, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    line = json.loads((folder / "evaluation/predictions.jsonl").read_text().splitlines()[0])
    batch = tokenizer([line["text"], line["text_pair"]], padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    mask = batch["attention_mask"][:, :, None]
    first, second = (hidden * mask).sum(1) / mask.sum(1)
    assert float(torch.cosine_similarity(first, second, dim=0)) == pytest.approx(
        line["cosine"], abs=1e-5
    )
    assert line["candidates"] == found["n"] and 1 <= line["rank"] <= found["n"]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("pairs", {"method": "full"}),
        ("scored", {"method": "lora", "lora_r": 4}),
        ("pairs", {"method": "prompt_tuning", "num_virtual_tokens": 3}),
        ("pairs", {"method": "qlora", "lora_r": 4}),
    ],
)
def test_the_finished_model_scores_as_the_trained_one(
    kind: str,
    values: dict[str, Any],
    tiny_encoder: Path,
    pair_file: Path,
    scored_file: Path,
    tmp_path: Path,
) -> None:
    rows = pair_file if kind == "pairs" else scored_file
    values = values | {"task": "embedding", "max_steps": 2}
    values["data"] = {"train": str(rows), "validation": 0.2, "allow": ["leakage.near"]}
    train(recipe(tiny_encoder, rows, tmp_path / "run", **values))
    trained = [x for x in read_journal(tmp_path / "run") if x["event"] == "evaluation"][-1]
    found = pipeline.evaluate_model(str(tmp_path / "run"), with_baselines=False)
    assert next(iter(found.metrics)) == ("mrr_at_10" if kind == "pairs" else "spearman")
    for name, score in found.metrics.items():
        assert score["value"] == pytest.approx(trained["metrics"][name], abs=1e-6)


def test_a_stopped_run_of_small_passes_with_dropout_ends_like_a_whole_one(
    tiny_encoder: Path, pair_file: Path, tmp_path: Path
) -> None:
    values: dict[str, Any] = {"save_strategy": "steps", "save_steps": 2, "max_tokens_per_pass": 30}
    values["data"] = {"train": str(pair_file), "validation": 0.2, "allow": ["leakage.near"]}
    train(recipe(tiny_encoder, pair_file, tmp_path / "whole", **values))
    with pytest.raises(Interrupted):
        cut = recipe(tiny_encoder, pair_file, tmp_path / "cut", **values)
        train(cut, StopAfter(tmp_path / "cut", 3))
    pipeline.resume(tmp_path / "cut")
    losses = [
        [x["loss"] for x in read_journal(tmp_path / name) if x["event"] == "step"][-1]
        for name in ("whole", "cut")
    ]
    assert losses[0] == losses[1]
    weights = [sha256_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("kind", ["pairs", "scored"])
def test_small_passes_give_the_update_of_the_whole_batch(
    kind: str, tiny_encoder: Path, pair_file: Path, scored_file: Path, tmp_path: Path
) -> None:
    rows = pair_file if kind == "pairs" else scored_file
    common: dict[str, Any] = {
        "task": "embedding",
        "dropout": 0.0,
        "max_steps": 3,
        "data": {"train": str(rows), "validation": 0.2, "allow": ["leakage.near"]},
    }
    steps = []
    for name, values in {
        "one": {"per_device_train_batch_size": 16},
        "eight": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 8},
        "tokens": {"per_device_train_batch_size": 16, "max_tokens_per_pass": 30},
    }.items():
        train(recipe(tiny_encoder, rows, tmp_path / name, **(common | values)))
        lines = read_journal(tmp_path / name)
        steps.append([(x["loss"], x["grad_norm"]) for x in lines if x["event"] == "step"])
    np.testing.assert_allclose(steps[1], steps[0], rtol=1e-4)
    np.testing.assert_allclose(steps[2], steps[0], rtol=1e-4)


def test_a_run_short_of_memory_goes_on_in_smaller_passes_with_the_same_loss(
    tiny_encoder: Path, pair_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values: dict[str, Any] = {"dropout": 0.0, "max_steps": 2, "evaluation_strategy": "no"}
    values["data"] = {"train": str(pair_file), "validation": 0.0}
    values |= {"per_device_train_batch_size": 16, "max_tokens_per_pass": 10_000}
    train(recipe(tiny_encoder, pair_file, tmp_path / "enough", **values))
    forward = EmbeddingForward.forward

    def short(module: EmbeddingForward, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        if len(batch["input_ids"]) > 8:
            raise MemoryError("too many texts")
        return forward(module, batch)

    monkeypatch.setattr(EmbeddingForward, "forward", short)
    train(recipe(tiny_encoder, pair_file, tmp_path / "short", **values))
    steps = [
        [x["loss"] for x in read_journal(tmp_path / name) if x["event"] == "step"]
        for name in ("enough", "short")
    ]
    np.testing.assert_allclose(steps[1], steps[0], rtol=1e-4)
    (found, again) = [x for x in read_journal(tmp_path / "short") if x["event"] == "diagnosis"][:2]
    assert (found["name"], again["evidence"]["rows_a_pass_now"]) == ("memory_short", 4)


class Fixed(EmbeddingForward):
    """Vectors that are given, for losses that are worked out by hand."""

    def __init__(self, temperature: float) -> None:
        super().__init__(torch.nn.Identity(), temperature)


def example(*texts: list[int], target: float | None = None) -> Example:
    return Example(texts[0], 0, others=list(texts[1:]), target=target)


def test_the_loss_is_cross_entropy_over_positives_and_negatives() -> None:
    # Texts in the order they come: a, p, n, b, q.
    rows = pair_texts([example([1], [2], [3]), example([4], [5])])
    vectors = torch.nn.functional.normalize(
        torch.tensor([[1.0, 0], [1, 1], [0, 1], [1, 2], [2, 1]]), dim=1
    )
    cosines = (vectors @ vectors.T / 0.5).numpy()
    columns = [1, 2, 4]
    wanted = 0.0
    for anchor, positive in ((0, 1), (3, 4)):
        wanted -= cosines[anchor, positive] - np.log(np.exp(cosines[anchor, columns]).sum())
    assert float(Fixed(0.5).loss(vectors, rows)) == pytest.approx(wanted, rel=1e-5)


def test_what_belongs_to_an_anchor_is_never_its_negative() -> None:
    # Rows 1 and 2 share the anchor, 2 and 3 the positive; the anchor of 1 and 2 is a positive of 4.
    rows = pair_texts(
        [example([1], [2]), example([1], [3]), example([4], [3]), example([5], [1], [3])]
    )
    candidates = rows.candidates
    names = [rows.texts[i] for i in candidates]
    found = [
        [name for name, wrong in zip(names, row, strict=True) if wrong]
        for row in rows.wrong(candidates)
    ]
    # Row 1 is told apart from nothing: [2] and [3] are right, [1] is itself. Of row 4 the negative
    # [3] counts, though it is a positive of others.
    assert list(map(sorted, found)) == [[], [], [[1], [2]], [[2], [3]]]
    vectors = torch.nn.functional.normalize(torch.randn(5, 4, generator=torch.manual_seed(0)))
    alone = Fixed(0.1).loss(vectors, pair_texts([example([1], [2]), example([1], [3])]))
    assert float(alone) == pytest.approx(0.0, abs=1e-6)


def test_cosent_counts_pairs_of_rows_in_the_wrong_order() -> None:
    rows = pair_texts(
        [example([1], [2], target=0.0), example([1], [3], target=1.0), example([1], [4], target=1)]
    )
    vectors = torch.tensor([[1.0, 0], [0.6, 0.8], [0.8, 0.6], [0.0, 1.0]])
    gaps = np.array([0.6 - 0.8, 0.6 - 0.0]) / 0.05  # the second and third are not compared
    wanted = 3 * np.log(1 + np.exp(gaps).sum())
    assert float(Fixed(0.05).loss(vectors, rows)) == pytest.approx(wanted, rel=1e-5)


def test_scored_pairs_are_learned(tiny_encoder: Path, scored_file: Path, tmp_path: Path) -> None:
    made = recipe(
        tiny_encoder,
        scored_file,
        tmp_path / "run",
        task="embedding",
        data={"train": str(scored_file), "validation": 0.3, "allow": ["leakage.near"]},
        max_steps=60,
        learning_rate=0.005,
        per_device_train_batch_size=16,
    )
    train(made)
    found = pipeline.evaluate_model(str(tmp_path / "run"), str(scored_file))
    assert list(found.metrics) == ["spearman", "pearson"]
    assert found.metrics["spearman"]["value"] > 0.7
    assert set(found.baselines) == {"base", "tfidf_cosine"} == set(found.comparison)
    assert {"text", "expected", "cosine", "rank_gap"} <= found.errors[0].keys()
    assert found.slices is None  # a correlation is of no single row, and ranks are not asked for
    with pytest.raises(
        ConfigError, match=r"'recall_at_1' cannot be measured: the pairs of .* have"
    ):
        pipeline.evaluate_model(str(tmp_path / "run"), metrics=["recall_at_1"])


def test_a_base_is_scored_as_it_is_and_an_earlier_model_is_compared(
    tiny_encoder: Path, pair_file: Path, tmp_path: Path
) -> None:
    found = pipeline.evaluate_model(str(tiny_encoder), str(pair_file), task="embedding")
    assert found.n == 56 and found.metrics["recall_at_1"]["n"] == 56
    assert "tfidf_cosine" in found.baselines
    assert load_finished(str(tiny_encoder), Task.EMBEDDING).settings.task is Task.EMBEDDING
    train(
        recipe(
            tiny_encoder,
            pair_file,
            tmp_path / "run",
            data={"train": str(pair_file), "validation": 0.2, "allow": ["leakage.near"]},
        )
    )
    again = pipeline.evaluate_model(
        str(tmp_path / "run"), str(pair_file), against=str(tiny_encoder), with_baselines=False
    )
    assert again.changes is not None and "previous" in again.comparison
    assert sum(again.changes[k] for k in ("fixed", "broken", "both_right", "both_wrong")) == 56


def test_what_cannot_be_done_with_pairs_is_refused(
    tiny_encoder: Path,
    tiny_decoder: Path,
    pair_file: Path,
    scored_file: Path,
    tmp_path: Path,
    write_rows: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def prepared(base: Path = tiny_encoder, rows: Path = pair_file, **values: Any) -> Any:
        return pipeline.prepare(recipe(base, rows, tmp_path / "run", **values))

    with pytest.raises(ModelError, match="needs an encoder"):
        prepared(tiny_decoder)
    with pytest.raises(ConfigError, match="a changed copy of a pair"):
        prepared(data={"train": str(pair_file), "validation": 0.2, "augment": {"typos": 0.1}})
    with pytest.raises(ConfigError, match="no class labels to balance"):
        prepared(data={"train": str(pair_file), "validation": 0.2, "balance": "weights"})
    with pytest.raises(ConfigError, match="head_learning_rate has no effect"):
        prepared(head_learning_rate=0.1)
    with pytest.raises(ConfigError, match=r"on pairs without a score\. Measured: loss, mrr_at_10"):
        prepared(metric_for_best_model="spearman")
    with pytest.raises(DataError, match="have a score and those of train have none"):
        data = {"train": str(pair_file), "validation": str(scored_file)}
        prepared(task="embedding", data=data)
    sentiment = write_rows("s.jsonl", [{"text": f"good {w}", "label": w} for w in "ab" * 10])
    with pytest.raises(ConfigError, match="temperature has no effect with task 'classification'"):
        prepared(rows=sentiment, temperature=0.1)
    for words, message in (
        (["data", "few-shot", str(pair_file)], "no answer to show"),
        (
            ["data", "label", str(pair_file), "--output", str(tmp_path / "l.jsonl")],
            "one label a row",
        ),
    ):
        assert run(words) == 2
        assert message in " ".join(capsys.readouterr().err.split())
