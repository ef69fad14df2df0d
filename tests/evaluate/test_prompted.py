"""The base asked in words: likelihoods by hand, examples by nearness, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from runs import recipe, train
from tiny import instruction_rows, sentiment_rows
from tunewright import pipeline
from tunewright.cli.app import run
from tunewright.config.task import Task
from tunewright.data.few_shot import NearestRows, few_shot
from tunewright.data.records import Dataset, Message, Record
from tunewright.data.render import Renderer
from tunewright.errors import ConfigError
from tunewright.evaluate.answers import Work
from tunewright.evaluate.prompted import check_few_shot, label_answers, shown_work
from tunewright.models.load import load_finished

LABELS = ("negative", "positive")


def labelled(n: int) -> Dataset:
    rows = sentiment_rows(n)
    records = (Record(text=r["text"], label=r["label"], row=i) for i, r in enumerate(rows, 1))
    return Dataset(Task.CLASSIFICATION, tuple(records))


def asked(n: int) -> Dataset:
    return Dataset(
        Task.INSTRUCTION,
        tuple(
            Record(
                messages=(
                    Message("user", r["instruction"]),
                    Message("assistant", r["output"], True),
                ),
                row=i,
            )
            for i, r in enumerate(instruction_rows(n), 1)
        ),
    )


def nats(finished: Any, said: str, answer: str) -> float:
    """The loss of an answer and its end, token by token."""
    first = len(finished.tokenizer(said)["input_ids"])
    ids = finished.tokenizer(f"{said}{answer}<|im_end|>")["input_ids"]
    with torch.no_grad():
        logs = finished.model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
    return -sum(float(logs[i - 1, ids[i]]) for i in range(first, len(ids)))


def chatml(*turns: tuple[str, str]) -> str:
    said = "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns)
    return said + "<|im_start|>assistant\n"


def test_nearest_rows_are_those_that_few_shot_chooses() -> None:
    train_rows = labelled(40)
    near = NearestRows(train_rows, 4)
    for text in ("the film was very good", "it is sad and awful"):
        found = near.near(Record(text=text))
        assert found[-1] == few_shot(train_rows, 4, query=text).records[-1]
        assert len(found) == 4 == len({record.row for record in found})
    same = train_rows.records[7]
    assert same not in near.near(same) and len(near.near(same)) == 4


@pytest.mark.parametrize("k", [0, 1])
def test_the_likeliest_label_is_that_of_a_hand_written_loop(tiny_decoder: Path, k: int) -> None:
    base = load_finished(str(tiny_decoder), Task.INSTRUCTION, device="cpu")
    base.facts = replace(base.facts, max_length=2048)
    rows = Dataset(Task.CLASSIFICATION, labelled(60).records[50:54])
    renderer = Renderer(base.tokenizer, Task.CLASSIFICATION, 256, labels=LABELS)
    work = Work(rows, renderer.render(rows).examples, renderer, 3, 8, None)
    near = NearestRows(Dataset(Task.CLASSIFICATION, labelled(60).records[:40]), k) if k else None
    found = label_answers(work, base, LABELS, near)
    system = ("system", "Answer with the label of the text, one of: negative, positive.")
    for i, record in enumerate(rows):
        shown = [
            turn
            for one in (near.near(record) if near else [])
            for turn in (("user", one.text), ("assistant", str(one.label)))
        ]
        said = chatml(system, *shown, ("user", record.text))
        scores = np.array([-nats(base, said, label) for label in LABELS])
        expected = np.exp(scores) / np.exp(scores).sum()
        assert found.probabilities[i] == pytest.approx(expected, rel=1e-4)
        assert found.predictions[i] == LABELS[int(expected.argmax())]


def test_examples_that_do_not_fit_are_left_out_and_the_answer_stays_whole(
    tiny_decoder: Path,
) -> None:
    base = load_finished(str(tiny_decoder), Task.INSTRUCTION, device="cpu")
    rows, known = asked(24).select(range(3)), asked(24).select(range(3, 24))
    renderer = Renderer(base.tokenizer, Task.INSTRUCTION, 120, "chat")
    work = Work(rows, renderer.render(rows).examples, renderer, 2, 8, None)
    shown = shown_work(work, base, NearestRows(known, 20))  # 256 tokens have no room for 20
    turns = [len(record.messages) for record in shown.records]
    assert all(4 <= n < 42 for n in turns) and all(len(e) <= 256 for e in shown.examples)
    for one, ours in zip(shown.examples, work.examples, strict=True):
        assert one.trained_ids == ours.trained_ids
    answers = shown.answers(base, ["perplexity"], "x")
    record = shown.records[0]
    said = chatml(*((m.role, m.content) for m in record.messages[:-1]))
    assert answers.losses[0] == pytest.approx(
        nats(base, said, record.messages[-1].content), rel=1e-4
    )
    texts = shown.answers(base, ["exact_match"], "x").texts
    assert len(texts) == 3


def test_examples_stand_behind_the_system_message_of_the_run(tiny_decoder: Path) -> None:
    base = load_finished(str(tiny_decoder), Task.INSTRUCTION, device="cpu")
    rows, known = asked(24).select(range(2)), asked(24).select(range(3, 24))
    renderer = Renderer(base.tokenizer, Task.INSTRUCTION, 120, "chat", system="Be brief.")
    work = Work(rows, renderer.render(rows).examples, renderer, 2, 8, None)
    shown = shown_work(work, base, NearestRows(known, 1))
    for one, ours in zip(shown.examples, work.examples, strict=True):
        text = base.tokenizer.decode(one.input_ids)
        assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user")
        assert text.count("Be brief.") == 1 and text.count("<|im_start|>user") == 2
        assert one.trained_ids == ours.trained_ids


def test_a_decoder_that_classifies_is_measured_against_its_base_asked_in_words(
    tiny_decoder: Path, sentiment_file: Path, tmp_path: Path, capsys: Any
) -> None:
    made = recipe(
        tiny_decoder, sentiment_file, tmp_path / "run", max_steps=1,
        data={"train": str(sentiment_file), "validation": 0, "test": 0.2},
    )  # fmt: skip
    train(made)
    capsys.readouterr()
    assert run(["evaluate", str(tmp_path / "run"), "--few-shot", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    for name in ("base_zero_shot", "base_few_shot"):
        assert set(found["baselines"][name]["metrics"]) == set(found["metrics"])
        assert found["comparison"][name]["n"] == found["n"]
    assert found["baselines"]["base_few_shot"]["examples"] == 2
    assert "the base shown training rows" in json.dumps(found["comparison"]) or (
        "no " in found["comparison"]["base_few_shot"]["verdict"]
    )


def test_an_assistant_is_measured_against_its_base_with_examples(
    tiny_decoder: Path, instruction_file: Path, tmp_path: Path
) -> None:
    made = recipe(
        tiny_decoder, instruction_file, tmp_path / "run", max_steps=1, method="lora",
        data={"train": str(instruction_file), "validation": 0, "test": 0.2},
    )  # fmt: skip
    train(made)
    found = pipeline.evaluate_model(str(tmp_path / "run"), few_shot=1, device="cpu")
    assert set(found.baselines) == set(found.comparison) == {"base", "base_few_shot"}
    itself = pipeline.evaluate_model(
        str(tiny_decoder), str(instruction_file), few_shot=1, num_samples=2, device="cpu",
        train_source=str(instruction_file),
    )  # fmt: skip
    assert set(itself.baselines) == {"base_few_shot"}
    with pytest.raises(ConfigError, match="leave out --no-baselines"):
        pipeline.evaluate_model(str(tmp_path / "run"), few_shot=1, with_baselines=False)
    with pytest.raises(ConfigError, match="these are not known: --train-data"):
        pipeline.evaluate_model(str(tiny_decoder), str(instruction_file), few_shot=1, device="cpu")


def test_examples_that_cannot_be_shown_are_refused(tiny_encoder: Path, tiny_decoder: Path) -> None:
    decoder, encoder = str(tiny_decoder), str(tiny_encoder)
    rows, many = labelled(4), tuple(map(str, range(21)))
    check_few_shot(0, Task.TEXT, "", (), None)
    for wrong, said in (
        ((-1, Task.INSTRUCTION, decoder, (), rows), "from 0 on"),
        ((1, Task.REGRESSION, decoder, (), rows), "not answered in words"),
        ((1, Task.CLASSIFICATION, encoder, LABELS, rows), "a decoder; the base here"),
        ((1, Task.CLASSIFICATION, "", LABELS, rows), "'not known'"),
        ((1, Task.CLASSIFICATION, decoder, many, rows), "there are 21; 20 at most"),
    ):
        with pytest.raises(ConfigError, match=said):
            check_few_shot(*wrong)
