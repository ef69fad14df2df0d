"""A classifier of the user's finds toxic rows; which of its labels mean that is told or asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tiny import sentiment_rows
from tunewright.cli.app import run
from tunewright.errors import ModelError
from tunewright.models.classifier import Classifier
from tunewright.models.toxic_rows import toxic_labels

LABELS = {
    "named": {0: "neutral", 1: "non-toxic", 2: "toxic"},
    "numbered": {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"},
}


def classifier(base: Path, folder: Path, names: dict[int, str], problem: str) -> Path:
    """Sure of some texts, and for about half of them of the last label."""
    torch.manual_seed(3)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForSequenceClassification.from_pretrained(
        base, id2label=names, problem_type=problem
    )
    with torch.no_grad():
        model.classifier.weight.mul_(30_000)
        rows = [row["text"] for row in sentiment_rows()]
        inputs = tokenizer(rows, return_tensors="pt", padding=True)
        logits = model.eval()(**inputs).logits
        others = logits[:, :2].logsumexp(-1) if problem.startswith("single") else 0.0
        model.classifier.bias[2] -= (logits[:, 2] - others).median() + 0.01
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("problem", ["single_label_classification", "multi_label_classification"])
def test_rows_are_those_with_half_of_the_probability(
    problem: str,
    tiny_encoder: Path,
    tmp_path: Path,
    sentiment_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = str(classifier(tiny_encoder, tmp_path / "model", LABELS["named"], problem))
    rows = [json.loads(line)["text"] for line in sentiment_file.read_text().splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(model)
    plain = AutoModelForSequenceClassification.from_pretrained(model).eval()
    toxic = {}
    for i, text in enumerate(rows):
        with torch.no_grad():
            logits = plain(**tokenizer(text, return_tensors="pt")).logits[0]
        p = logits.softmax(-1)[2] if problem.startswith("single") else logits.sigmoid()[2]
        toxic[i + 1] = float(p)
    expected = sorted((i for i, p in toxic.items() if p >= 0.5), key=lambda i: -toxic[i])
    assert 0 < len(expected) < len(rows)
    assert run(["check", str(sentiment_file), "--toxicity", model, "--json"]) in (0, 1)
    found = {f["id"]: f for f in json.loads(capsys.readouterr().out)["findings"]}
    assert found["content.toxic"]["rows"] == len(expected)
    assert "(toxic)" in found["content.toxic"]["message"]
    shown = found["content.toxic"]["examples"]
    assert [f"train row {i}:" in row for i, row in zip(expected, shown, strict=False)] == [True] * 3


def test_labels_that_do_not_say_so_are_asked_for(
    tiny_encoder: Path, tmp_path: Path, sentiment_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names, problem = LABELS["numbered"], "single_label_classification"
    model = str(classifier(tiny_encoder, tmp_path / "model", names, problem))
    call = ["check", str(sentiment_file), "--toxicity", model]
    assert run(call) == 2
    assert "--toxic-label" in capsys.readouterr().err
    assert run([*call, "--toxic-label", "LABEL_9"]) == 2
    assert "LABEL_0" in capsys.readouterr().err
    assert run([*call, "--toxic-label", "LABEL_1", "--toxic-label", "LABEL_2"]) in (0, 1)
    assert run(["check", str(sentiment_file), "--toxic-label", "LABEL_1"]) == 2


def test_names_that_deny_it_are_no_toxic_labels() -> None:
    names = ["toxicity", "severe_toxic", "not_offensive", "no hate", "nontoxic", "identity_attack"]
    assert toxic_labels("m", names) == ["toxicity", "severe_toxic"]


def test_a_model_without_labels_is_refused(tiny_decoder: Path, write_rows: Any) -> None:
    with pytest.raises(ModelError, match="no probabilities of labels"):
        Classifier(str(tiny_decoder))
