"""Questions and the texts that answer them, from rows to a finished model."""

from __future__ import annotations

import json
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
from tunewright.cli.app import run
from tunewright.config.recipe import Recipe
from tunewright.config.task import Task
from tunewright.data.answer_places import Answer
from tunewright.data.answer_windows import answered_examples
from tunewright.data.collate import collate
from tunewright.data.records import Dataset, Record
from tunewright.errors import ConfigError, DataError, Interrupted, ModelError
from tunewright.models.answer_baselines import nearest_sentence, sentences_of
from tunewright.models.find_answers import SpanForward, best_spans, find_answers
from tunewright.models.inspect import inspect_model
from tunewright.models.load import load_base, load_finished, load_tokenizer
from tunewright.train.journal import read_journal


def answer_rows(n: int = 72, *, length: int = 3, none: bool = True) -> list[dict[str, Any]]:
    """The answer is the word behind `is`; every sixth text has no `is` and no answer."""
    rows = []
    for i in range(n):
        word = WORDS[i % 10]
        around = [WORDS[31 + (i * k) % 5] for k in range(1, length + 1)]
        absent = none and i % 6 == 5
        words = [*around[: i % length], "the", "book", *([] if absent else ["is", word]), *around]
        context = " ".join(words)
        start = -1 if absent else context.index(" is ") + 4
        found = {"text": [], "answer_start": []}
        if not absent:
            found = {"text": [word], "answer_start": [start]}
        rows.append({"question": "what is it", "context": context, "answers": found, "number": i})
    return rows


def recipe(base: Path, rows: Path, output: Path, **values: Any) -> Recipe:
    data = {"train": str(rows), "validation": 0.2, "allow": ["leakage.exact"]}
    return runs.recipe(base, rows, output, **({"max_steps": 4, "data": data} | values))


@pytest.fixture
def answer_file(write_rows: Any) -> Path:
    found: Path = write_rows("answers.jsonl", answer_rows())
    return found


def test_answers_are_learned_and_plain_transformers_finds_the_same_ones(
    tiny_encoder: Path, answer_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    content = {
        "model": str(tiny_encoder),
        "data": {"train": str(answer_file), "validation": 0.1, "test": 0.3},
        "output_dir": str(folder),
        "max_steps": 60,
        "learning_rate": 0.01,
        "device": "cpu",
    }
    content["data"]["allow"] = ["leakage.exact"]  # type: ignore[index]
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(content))
    assert run(["run", str(tmp_path / "r.yaml")]) == 0
    said = capsys.readouterr()
    found = json.loads((folder / "evaluation/evaluation.json").read_text())
    scores = found["metrics"]
    assert list(scores) == ["answer_f1", "answer_exact_match"]
    assert scores["answer_exact_match"]["value"] > 0.8
    assert set(found["baselines"]) == {"nearest_sentence", "no_answer"} == set(found["comparison"])
    assert "answer_f1" in said.out + said.err
    page = (folder / "report.html").read_text()
    assert "F1 of answers" in page and "Sentence nearest to the question" in page

    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    written = (folder / "evaluation/predictions.jsonl").read_text().splitlines()
    lines = [json.loads(line) for line in written]
    line = next(x for x in lines if x["predicted"])
    assert line["predicted"] in line["expected"] or scores["answer_f1"]["value"] < 1
    held_out = (folder / "data/test.jsonl").read_text().splitlines()
    context = json.loads(held_out[line["row"] - 1])["text_pair"]
    assert context[line["start"] :].startswith(line["predicted"])
    model = AutoModelForQuestionAnswering.from_pretrained(folder).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(line["question"], context, return_tensors="pt", return_offsets_mapping=True)
    places = batch.pop("offset_mapping")[0]
    with torch.no_grad():
        output = model(**batch)
    first, last = (int(x[0].argmax()) for x in (output.start_logits, output.end_logits))
    assert context[places[first][0] : places[last][1]] == line["predicted"]


@pytest.mark.parametrize(
    "values",
    [
        {"method": "full", "max_length": 12, "doc_stride": 2, "max_answer_length": 2},
        {"method": "lora", "lora_r": 4},
        {"method": "prompt_tuning", "num_virtual_tokens": 3},
        {"method": "qlora", "lora_r": 4},
    ],
    ids=["windows", "lora", "prompt", "qlora"],
)
def test_the_finished_model_scores_as_the_trained_one(
    values: dict[str, Any], tiny_encoder: Path, answer_file: Path, tmp_path: Path
) -> None:
    train(recipe(tiny_encoder, answer_file, tmp_path / "run", **(values | {"max_steps": 2})))
    trained = [x for x in read_journal(tmp_path / "run") if x["event"] == "evaluation"][-1]
    found = pipeline.evaluate_model(str(tmp_path / "run"), with_baselines=False)
    for name, score in found.metrics.items():
        assert score["value"] == pytest.approx(trained["metrics"][name], abs=1e-9)
    kept = load_finished(str(tmp_path / "run")).settings.answers
    assert kept.may_be_none
    if "doc_stride" in values:
        assert (kept.doc_stride, kept.longest) == (2, 2)
        manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
        assert manifest["results"]["train_rows"] > 60  # windows of 58 rows at most


def test_a_stopped_run_ends_like_a_whole_one(
    tiny_encoder: Path, answer_file: Path, tmp_path: Path
) -> None:
    values = {"save_strategy": "steps", "save_steps": 2, "max_length": 12}
    train(recipe(tiny_encoder, answer_file, tmp_path / "whole", **values))
    with pytest.raises(Interrupted):
        cut = recipe(tiny_encoder, answer_file, tmp_path / "cut", **values)
        train(cut, StopAfter(tmp_path / "cut", 3))
    pipeline.resume(tmp_path / "cut")
    losses = [
        [x["loss"] for x in read_journal(tmp_path / name) if x["event"] == "step"][-1]
        for name in ("whole", "cut")
    ]
    assert losses[0] == losses[1]


def test_the_loss_is_transformers_own_and_does_not_depend_on_padding(tiny_encoder: Path) -> None:
    model = load_base(inspect_model(tiny_encoder), Task.QUESTION_ANSWERING, [], torch.float32)
    forward = SpanForward(model).eval()
    records = [
        Record("what", "the book is good", answers=(Answer("good", 12),)),
        Record("what is it", "the book is good and very fine", answers=()),
    ]
    rows = answered_examples(load_tokenizer(tiny_encoder), records)
    assert [(row.window.start, row.window.end) for row in rows if row.window] == [(6, 6), (0, 0)]
    with torch.no_grad():
        both, count = forward(collate(rows, 0))
        single = []
        for row in rows:
            batch = collate([row], 0)
            total, _ = forward(batch)
            places = {
                "start_positions": batch["labels"][:, 0],
                "end_positions": batch["labels"][:, 1],
            }
            inputs = {k: v for k, v in batch.items() if k != "labels"}
            assert float(total) == pytest.approx(float(model(**inputs, **places).loss), rel=1e-5)
            single.append(float(total))
    assert count == 2 and float(both) == pytest.approx(sum(single), rel=1e-5)


def test_the_best_span_is_valid_whatever_the_logits() -> None:
    begin, end = np.array([0.0, 5, 1, 0]), np.array([8.5, 0, 3, 4])
    # The highest begin is at 1 and the highest end at 0, which is before it.
    assert [spans[1:] for spans in best_spans(begin, end, 3)[:3]] == [(1, 3), (0, 0), (1, 2)]
    assert [spans[1:] for spans in best_spans(begin, end, 2)[:3]] == [(0, 0), (1, 2), (1, 1)]
    assert best_spans(np.zeros(0), np.zeros(0), 5) == []


class Told(SpanForward):
    """Logits that are given by the token ids: words begin and end answers as they are told to."""

    def __init__(self, worth: dict[int, float], **options: Any) -> None:
        super().__init__(torch.nn.Linear(1, 1), **options)
        self.worth = worth

    def logits(self, batch: Any) -> Any:
        ids = batch["input_ids"]
        one = torch.tensor([[self.worth.get(int(i), 0.0) for i in row] for row in ids])
        return torch.stack([one, one], dim=1)


def test_the_best_answer_of_all_windows_wins_and_none_by_the_least_of_its_scores(
    tiny_encoder: Path,
) -> None:
    from tunewright.data.render import Renderer

    tokenizer = load_tokenizer(tiny_encoder)
    context = "the good film and the book and the lovely day"
    record = Record("what", context, answers=(Answer("lovely", 35),))
    renderer = Renderer(tokenizer, Task.QUESTION_ANSWERING, 9, doc_stride=2)
    windows = renderer.render(Dataset(Task.QUESTION_ANSWERING, (record,))).examples
    assert len(windows) == 3 and all(len(window) <= 9 for window in windows)
    good, lovely = tokenizer.convert_tokens_to_ids(["good", "lovely"])
    found = find_answers(Told({good: 2.0, lovely: 3.0}), windows)
    assert (found.rows, found.texts, found.starts) == ([0], ["lovely"], [35])
    assert context[35:41] == "lovely" and 0.5 < found.sureness[0] < 1
    cls = tokenizer.cls_token_id
    worth = {good: 2.0, lovely: 3.0, cls: 3.5}
    assert find_answers(Told(worth, may_be_none=True), windows).texts == [""]
    assert find_answers(Told(worth), windows).texts == ["lovely"]
    worth[cls] = 2.5
    assert find_answers(Told(worth, may_be_none=True), windows).texts == ["lovely"]


def test_baselines_know_only_words() -> None:
    text = "The shop opens at nine. It closes at six! Who asks pays nothing.\nCall us"
    assert sentences_of(text) == [
        "The shop opens at nine.",
        "It closes at six!",
        "Who asks pays nothing.",
        "Call us",
    ]
    rows = [Record("when do you close? it closes", text), Record("?", "..."), Record("a", "")]
    assert nearest_sentence(Dataset(Task.QUESTION_ANSWERING, tuple(rows))).predictions == [
        "It closes at six!",
        "...",
        "",
    ]


def test_what_cannot_be_done_with_answers_in_texts_is_refused(
    tiny_encoder: Path,
    tiny_decoder: Path,
    answer_file: Path,
    tmp_path: Path,
    write_rows: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def prepared(base: Path = tiny_encoder, **values: Any) -> Any:
        return pipeline.prepare(recipe(base, answer_file, tmp_path / "run", **values))

    with pytest.raises(ModelError, match="cannot point at answers"):
        prepared(tiny_decoder)
    with pytest.raises(ConfigError, match="answers are places in a text"):
        prepared(data={"train": str(answer_file), "validation": 0.2, "augment": {"typos": 0.1}})
    with pytest.raises(ConfigError, match="label_smoothing works with"):
        prepared(label_smoothing=0.1)
    with pytest.raises(DataError, match="leaves room for"):
        prepared(max_length=8)
    empty = write_rows("empty.jsonl", [row for row in answer_rows() if not row["answers"]["text"]])
    with pytest.raises(DataError, match="No training row has an answer"):
        prepared(data={"train": str(empty), "validation": 0.2})
    sentiment = write_rows("s.jsonl", [{"text": f"good {w}", "label": w} for w in "ab" * 10])
    with pytest.raises(ConfigError) as caught:
        prepared(
            doc_stride=3, max_answer_length=5, data={"train": str(sentiment), "validation": 0.2}
        )
    assert len(caught.value.faults) == 2
    for words, message in (
        (["data", "few-shot", str(answer_file)], "no answer to show"),
        (["data", "label", str(answer_file), "--output", str(tmp_path / "l.jsonl")], "one label a"),
    ):
        assert run(words) == 2
        assert message in " ".join(capsys.readouterr().err.split())
