"""A model is asked for rewrites: prompts, copies, translations there and back, and the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tiny import sentiment_rows
from tunewright.cli.app import run
from tunewright.data.records import Dataset, Record, Task
from tunewright.errors import ConfigError, ModelError
from tunewright.models import paraphrase as module
from tunewright.models.generate import generate
from tunewright.models.load import load_finished
from tunewright.models.paraphrase import paraphrase

TRAIN = Dataset(
    Task.CLASSIFICATION,
    tuple(
        Record(row["text"], label=row["label"], row=i + 1)
        for i, row in enumerate(sentiment_rows(6))
    ),
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """What the model is asked; it answers with the text spelt in another way."""
    seen: list[tuple[str, float]] = []

    def answer(model: Any, tokenizer: Any, prompts: Any, stops: Any, **options: Any) -> list[str]:
        texts = [tokenizer.decode(prompt) for prompt in prompts]
        seen.extend((text, options["temperature"]) for text in texts)
        return [f"answer {len(seen)} number {i}" for i, _ in enumerate(texts)]

    monkeypatch.setattr(module, "generate", answer)
    return seen


def test_a_second_instruction_is_asked_about_the_first_answer(
    tiny_decoder: Path, tmp_path: Path, asked: list[tuple[str, float]]
) -> None:
    one = TRAIN.select([0])
    paraphrase(
        str(tiny_decoder), one, tmp_path / "a.jsonl", instructions=("To German:", "To English:")
    )
    first, second = (text for text, _ in asked)
    assert f"user\nTo German:\n\n{TRAIN.records[0].text}<|im_end|>" in first
    assert "user\nTo English:\n\nanswer 1 number 0<|im_end|>\n<|im_start|>assistant\n" in second
    row = json.loads((tmp_path / "a.jsonl").read_text())
    assert (row["text"], row["label"]) == ("answer 2 number 0", TRAIN.records[0].label)


def test_the_first_copy_is_the_likeliest_and_others_are_drawn(
    tiny_decoder: Path, tmp_path: Path, asked: list[tuple[str, float]]
) -> None:
    again = ("again:",)
    out = tmp_path / "a.jsonl"
    paraphrase(str(tiny_decoder), TRAIN, out, instructions=again, copies=2, batch_size=2)
    assert [temperature for _, temperature in asked] == [0.0] * 6 + [0.8] * 6


def test_drawn_answers_follow_from_the_seed(tiny_decoder: Path) -> None:
    import torch

    finished = load_finished(str(tiny_decoder), Task.INSTRUCTION, device="cpu")

    def draw(seed: int, temperature: float = 2.0) -> list[str]:
        return generate(
            finished.model, finished.tokenizer, [[5, 6, 7], [8, 9]], [2],
            max_new_tokens=8, temperature=temperature, seed=seed,
        )  # fmt: skip

    state = torch.get_rng_state()
    assert draw(1) == draw(1) != draw(2)
    assert draw(1, 0.0) == draw(2, 0.0)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_answer_without_an_end_is_dropped(tiny_decoder: Path, tmp_path: Path) -> None:
    """The tiny model babbles until it is stopped, or says nothing."""
    found = paraphrase(str(tiny_decoder), TRAIN, tmp_path / "a.jsonl", instructions=("again:",))
    assert found.kept == 0 and sum(found.dropped.values()) == 6
    assert set(found.dropped) <= {"unfinished", "empty", "damaged"}
    assert not (tmp_path / "a.jsonl").exists()


def test_models_that_do_not_write_and_blank_instructions_are_refused(
    tiny_encoder: Path, tiny_decoder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError):
        paraphrase(str(tiny_encoder), TRAIN, tmp_path / "a.jsonl")
    with pytest.raises(ConfigError, match="blank"):
        paraphrase(str(tiny_decoder), TRAIN, tmp_path / "b.jsonl", instructions=(" ",))


def test_the_command_rewrites_training_rows_only(
    tiny_decoder: Path,
    tmp_path: Path,
    asked: list[tuple[str, float]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    every = sentiment_rows(9)
    for name, some in (("train", every[:6]), ("test", every[6:])):
        lines = "".join(json.dumps(row) + "\n" for row in some)
        (folder / f"{name}.jsonl").write_text(lines)
    output = tmp_path / "more.jsonl"
    words = ["data", "paraphrase", str(folder), "--model", str(tiny_decoder)]
    words += ["--output", str(output), "--instruction", "Say it again:", "--device", "cpu"]
    assert run(words) == 0
    shown = " ".join(capsys.readouterr().err.split())
    assert "6 rewrites were asked for." in shown and "Written: " in shown
    assert len(asked) == 6 and not any(every[7]["text"] in text for text, _ in asked)
    assert run([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["asked"], found["reused"]) == (6, 6)
    assert found["kept"] == len(output.read_text().splitlines()) > 0
    assert len(asked) == 6  # all were there
    assert run([*words, "--copies", "2"]) == 2
    assert "different: copies" in capsys.readouterr().err


def test_the_command_says_when_nothing_could_be_used(
    tiny_decoder: Path, write_rows: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write_rows("few.jsonl", sentiment_rows(4)))
    output = str(tmp_path / "none.jsonl")
    assert run(["data", "paraphrase", path, "--model", str(tiny_decoder), "--output", output]) == 1
    assert "None could be used" in capsys.readouterr().err
