"""`tunewright data label` and `data few-shot` as a person and a script drive them."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tiny import sentiment_rows
from tunewright.cli.app import run
from tunewright.config.recipe import Recipe
from tunewright.data.sources import load
from tunewright.errors import ModelError
from tunewright.models.margins import margins
from tunewright.pipeline import prepare, train

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@pytest.fixture
def unlabelled(write_rows: Any) -> Path:
    texts = ["one film", "two films", "ONE  film", "three films", "four films"]
    return Path(write_rows("rows.jsonl", [{"text": text} for text in texts]))


def piped(monkeypatch: pytest.MonkeyPatch, keys: str, *words: str) -> int:
    monkeypatch.setattr(sys, "stdin", io.StringIO(keys))
    return run(["data", "label", *words])


def labels(path: Path) -> list[tuple[str, str]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [(row["text"], row["label"]) for row in rows]


def test_keys_from_a_pipe_label_skip_undo_comment_and_quit(
    unlabelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    out = tmp_path / "labels.jsonl"
    words = (str(unlabelled), "--labels", "neg, pos", "--output", str(out), "--json")
    assert piped(monkeypatch, "1\ns2u2cnot sure\nx1q2", *words) == 0
    assert json.loads(capsys.readouterr().out) == {
        "output": str(out), "labelled": 3, "left": 1, "skipped": 1, "copies": 1,
        "labels": {"neg": 2, "pos": 1},
    }  # fmt: skip
    assert labels(out) == [("one film", "neg"), ("three films", "pos"), ("four films", "neg")]
    assert json.loads(out.read_text().splitlines()[2])["comment"] == "not sure"
    assert piped(monkeypatch, "2", *words) == 0
    assert json.loads(capsys.readouterr().out)["left"] == 0
    assert labels(out)[3] == ("two films", "pos")
    assert load(out).labels == ["neg", "pos"]


def test_the_labels_of_the_source_are_the_default(
    sentiment_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "labels.jsonl"
    assert piped(monkeypatch, "2q", str(sentiment_file), "--output", str(out)) == 0
    assert [label for _, label in labels(out)] == ["positive"]
    assert json.loads(out.read_text())["label_before"] == "negative"


def test_more_labels_than_digits_have_letters(
    unlabelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "labels.jsonl"
    names = ",".join(f"n{i}" for i in range(1, 14))
    words = (str(unlabelled), "--labels", names, "--output", str(out))
    assert piped(monkeypatch, "9abd", *words) == 0
    assert [label for _, label in labels(out)] == ["n9", "n10", "n11", "n12"]


def test_ratings_are_labels_too(
    unlabelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "labels.jsonl"
    words = (str(unlabelled), "--labels", "1,2,3,4,5", "--output", str(out))
    assert piped(monkeypatch, "5314", *words) == 0
    assert [r.label for r in load(out, task="regression")] == [5.0, 3.0, 1.0, 4.0]


def test_shuffling_follows_the_seed(
    unlabelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = []
    for number, seed in enumerate(("0", "0", "1", "2", "3")):
        out = tmp_path / f"{number}.jsonl"
        words = (
            str(unlabelled),
            "--labels",
            "a,b",
            "--output",
            str(out),
            "--shuffle",
            "--seed",
            seed,
        )
        assert piped(monkeypatch, "1111", *words) == 0
        orders.append([text.lower() for text, _ in labels(out)])
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders}) > 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--labels", "one"], "at least two labels"),
        ([], "none, and the source has none"),
        (["--labels", "a,b,a"], "a label twice"),
        (["--labels", ",".join(map(str, range(40)))], "40 labels and 31 keys"),
        (["--labels", "a,b", "--shuffle", "--model", "m"], "both decide the order"),
        (["--labels", "a,b", "--model", "no-such-model"], "no-such-model"),
    ],
)
def test_a_wrong_call_is_told_and_writes_nothing(
    words: list[str],
    said: str,
    unlabelled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    out = tmp_path / "out" / "labels.jsonl"
    assert piped(monkeypatch, "1", str(unlabelled), "--output", str(out), *words) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not out.parent.exists()


@pytest.fixture
def taught(tiny_encoder: Path, sentiment_file: Path, tmp_path: Path) -> Path:
    """A run with data of its own."""
    made = Recipe.check(
        {
            "model": str(tiny_encoder),
            "data": {"train": str(sentiment_file), "validation": 0.2},
            "output_dir": str(tmp_path / "run"),
            "per_device_train_batch_size": 8,
            "max_steps": 2,
            "learning_rate": 1e-3,
            "device": "cpu",
        }
    )
    return train(prepare(made)).folder


@pytest.fixture
def opinionated(tiny_encoder: Path, tmp_path: Path) -> Path:
    """A plain transformers classifier that is sure of some texts and not of others."""
    folder = tmp_path / "opinionated"
    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_pretrained(
        tiny_encoder, id2label={0: "negative", 1: "positive"}
    )
    with torch.no_grad():
        model.classifier.weight.mul_(100)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(folder)
    return folder


def test_what_the_model_can_tell_least_about_is_asked_first(
    opinionated: Path, write_rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [row["text"] for row in sentiment_rows(20)]
    texts += ["the film was good and bad and so it is", "sad happy", "i do not know"]
    rows = write_rows("rows.jsonl", [{"text": text} for text in texts])
    # The same from plain transformers, a row at a time.
    tokenizer = AutoTokenizer.from_pretrained(opinionated)
    model = AutoModelForSequenceClassification.from_pretrained(opinionated).eval()
    expected = []
    for text in texts:
        with torch.no_grad():
            p = model(**tokenizer(text, return_tensors="pt")).logits.softmax(-1)[0]
        expected.append(abs(float(p[0] - p[1])))
    found = margins(str(opinionated), load(rows).records, device="cpu", batch_size=4)
    assert found == pytest.approx(expected, abs=1e-5)
    assert max(expected) - min(expected) > 0.003
    out = tmp_path / "labels.jsonl"
    words = (str(rows), "--output", str(out), "--model", str(opinionated), "--device", "cpu",
             "--labels", "negative,positive")  # fmt: skip
    assert piped(monkeypatch, "1" * len(texts), *words) == 0
    asked = [expected[texts.index(text)] for text, _ in labels(out)]
    assert len(asked) == len(texts)
    assert all(a <= b + 1e-5 for a, b in pairwise(asked))


def test_a_model_without_labels_cannot_be_unsure(tiny_decoder: Path, unlabelled: Path) -> None:
    with pytest.raises(ModelError, match="no probabilities of labels"):
        margins(str(tiny_decoder), load(unlabelled).records)


# A terminal


class Terminal:
    """The command with a terminal of its own."""

    def __init__(self, *words: str) -> None:
        self.shown = ""
        self.process, self.handle = self._start(words)

    def _start(self, words: tuple[str, ...]) -> tuple[Any, int]:
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "tunewright", "data", "label", *words]
        environment = os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
        # A shell that starts the tests in the background has them ignore Ctrl-C.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            process = subprocess.Popen(
                command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment,
                start_new_session=True,
            )  # fmt: skip
        finally:
            signal.signal(signal.SIGINT, before)
        os.close(theirs)
        return process, ours

    def see(self, text: str, seconds: float = 90.0) -> None:
        """Wait until the screen shows something; forget what was shown before."""
        until = time.monotonic() + seconds
        while text not in self.shown:
            assert time.monotonic() < until, f"{text!r} is not shown: {self.shown[-2000:]}"
            if select.select([self.handle], [], [], 0.2)[0]:
                try:
                    piece = os.read(self.handle, 65536).decode("utf-8", "replace")
                except OSError:  # the program has ended
                    piece = ""
                self.shown += _ESCAPES.sub("", piece)
        self.shown = self.shown.partition(text)[2]

    def press(self, keys: str) -> None:
        os.write(self.handle, keys.encode())


def test_a_session_on_a_terminal_survives_kill_9(unlabelled: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels.jsonl"
    words = (str(unlabelled), "--labels", "neg,pos", "--output", str(out))
    first = Terminal(*words)
    first.see("one film")
    first.press("2")
    first.see("labelled pos")
    first.see("two films")
    first.press("cwhy so\n")
    first.see("comment: why so")
    first.press("1")
    first.see("three films")
    os.kill(first.process.pid, signal.SIGKILL)
    first.process.wait()
    assert labels(out) == [("one film", "pos"), ("two films", "neg")]
    second = Terminal(*words)
    second.see("2 of 4")
    second.see("three films")
    second.press("u")
    second.see("taken back")
    second.see("comment: why so")
    second.press("2s")
    second.see("skipped")
    second.press("1")
    second.see("only skipped rows are left")
    os.kill(second.process.pid, signal.SIGINT)
    second.see("Stopped. 3 of 4 rows have a label: pos 2, neg 1.")
    assert second.process.wait(90) == 0
    assert labels(out) == [("one film", "pos"), ("two films", "pos"), ("four films", "neg")]


# Few-shot


def test_few_shot_prints_a_prompt_or_json(sentiment_file: Path, capsys: Any) -> None:
    words = ["data", "few-shot", str(sentiment_file), "-k", "2", "--query", "the day was awful"]
    assert run(words) == 0
    prompt = capsys.readouterr().out
    assert prompt.count("\nLabel: ") == 2
    assert prompt.endswith("Text: the day was awful\nLabel:\n")
    assert run([*words, "--json", "--strategy", "balanced", "--seed", "4"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["strategy"] == "balanced"
    assert sorted(row["label"] for row in found["examples"]) == ["negative", "positive"]
    assert run(["data", "few-shot", str(sentiment_file), "--strategy", "nearest"]) == 2
    capsys.readouterr()
    assert run(["data", "few-shot", str(sentiment_file), "-k", "99"]) == 0
    told = capsys.readouterr()
    assert told.err == "Only 60 rows of 99 could be shown.\n"
    assert told.out.count("\nLabel: ") == 60


def test_few_shot_of_a_run_shows_training_rows_only(taught: Path, capsys: Any) -> None:
    held_out = taught / "data" / "test.jsonl"
    held_out.write_text('{"text": "the day was awful", "label": "negative"}\n')
    words = ["data", "few-shot", str(taught), "-k", "99", "--query", "the day was so awful"]
    assert run([*words, "--json"]) == 0
    shown = {row["text"] for row in json.loads(capsys.readouterr().out)["examples"]}
    assert len(shown) > 20 and "the day was awful" not in shown
