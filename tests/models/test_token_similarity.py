"""Similarity of texts by tokens: equal to a loop written by hand, and sane at its ends."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from tunewright.cli.app import run
from tunewright.errors import ModelError
from tunewright.models.token_similarity import token_similarity

REFS = ["the film was good", "a sad book", "it is a very good day and so is the book", "bad", ""]
PREDS = ["the film was very great", "a happy book", "it is", "bad", "good"]


def by_hand(folder: Path, reference: str, prediction: str) -> float:
    """Zhang et al. 2020, equations 1 to 3: one pair, one token after the other."""
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)

    def vectors(text: str) -> list[Any]:
        with torch.no_grad():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        return [v / v.norm() for v in hidden[1:-1]]  # without [CLS] and [SEP]

    ref, pred = vectors(reference), vectors(prediction)
    recall = float(np.mean([max(float(r @ p) for p in pred) for r in ref]))
    precision = float(np.mean([max(float(r @ p) for r in ref) for p in pred]))
    return 2 * precision * recall / (precision + recall)


def test_it_equals_a_hand_written_loop(tiny_encoder: Path) -> None:
    found = token_similarity(REFS[:4], PREDS[:4], tiny_encoder, device="cpu", batch_size=3)
    expected = [by_hand(tiny_encoder, *pair) for pair in zip(REFS[:4], PREDS[:4], strict=True)]
    assert found == pytest.approx(expected, abs=1e-5)
    swapped = token_similarity(PREDS[:4], REFS[:4], tiny_encoder, device="cpu", batch_size=1)
    assert swapped == pytest.approx(found, abs=1e-5)


def test_equal_texts_are_1_and_an_empty_one_is_like_nothing(tiny_encoder: Path) -> None:
    found = token_similarity([*REFS, ""], [*REFS[:4], "good", ""], tiny_encoder, device="cpu")
    assert found == pytest.approx([1, 1, 1, 1, 0, 1], abs=1e-6)


def test_a_decoder_is_refused(tiny_decoder: Path) -> None:
    with pytest.raises(ModelError, match="is no encoder"):
        token_similarity(["a"], ["a"], tiny_decoder)


def test_the_command_measures_it_by_the_encoder_that_is_named(
    tiny_decoder: Path, tiny_encoder: Path, instruction_file: Path, capsys: Any
) -> None:
    words = ["evaluate", str(tiny_decoder), "--data", str(instruction_file), "--num-samples", "4"]
    words += ["--max-new-tokens", "6", "--device", "cpu", "--no-baselines", "--json"]
    assert run([*words, "--metric", "bertscore", "--encoder", str(tiny_encoder)]) == 0
    found = json.loads(capsys.readouterr().out)
    score = found["metrics"]["bertscore"]
    assert score["n"] == 4 and -1 <= score["value"] <= 1 and math.isfinite(score["low"])
    assert f"bertscore: tokens compared by {tiny_encoder}, not rescaled." in found["notes"]
    assert run([*words, "--encoder", str(tiny_encoder)]) == 2
    assert "--encoder is what bertscore compares texts by" in capsys.readouterr().out
