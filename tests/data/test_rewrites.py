"""Rewrites keep their label and parent, bad ones are dropped, and a killed call goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tunewright.data.records import Dataset, Message, Record, Task
from tunewright.data.rewrites import Ask, Rewritten, rewrite
from tunewright.data.sources import load
from tunewright.errors import ArtifactError, ConfigError, DataError

TEXTS = [
    "The museum opens at nine in the morning and closes before dinner.",
    "I could not find the keys that my sister left on the table yesterday.",
    "They were talking about the weather while we waited for the train.",
    "Nobody knows why the old bridge was closed for such a long time.",
    "She has been working at the hospital since she finished her studies.",
    "Our neighbours bought a small house near the lake in the spring.",
    "The teacher asked us to write a short story about our holidays.",
]
ANSWERS: dict[str, str | None] = {
    TEXTS[0]: " You can visit the gallery from 9 a.m. until the early evening. ",
    TEXTS[1]: "",
    TEXTS[2]: None,
    TEXTS[3]: "NOBODY knows  why the old bridge was closed for such a long time.",
    TEXTS[4]: "She has been working at the hospital ever since she finished her studies.",
    TEXTS[5]: "Unsere Nachbarn haben im Frühling ein kleines Haus am See gekauft.",
    TEXTS[6]: "In class we had to tell what we did \ufffd vacation.",
}
DROPPED = {"empty": 1, "unfinished": 1, "damaged": 1, "same": 1, "near": 1, "language": 1}


def rows(texts: Sequence[str] = TEXTS) -> Dataset:
    made = (Record(t, label="ab"[i % 2], row=i + 1, meta={"id": i}) for i, t in enumerate(texts))
    return Dataset(Task.CLASSIFICATION, tuple(made))


class Fake:
    """Answers from a table, and counts what it was asked."""

    def __init__(self, answers: Any = ANSWERS, dies_after: int = 10**9) -> None:
        self.answers, self.dies_after = answers, dies_after
        self.asked: list[tuple[str, int]] = []
        self.made = 0

    def __call__(self) -> Ask:
        self.made += 1
        return self.answer

    def answer(self, texts: Sequence[str], copy: int) -> list[str | None]:
        if len(self.asked) >= self.dies_after:
            raise KeyboardInterrupt
        self.asked += [(text, copy) for text in texts]
        return [self.answers[text] for text in texts]


def call(output: Path, fake: Fake, data: Dataset | None = None, **options: Any) -> Rewritten:
    settings = {"model": options.pop("model", "m")}
    return rewrite(data or rows(), output, fake, settings, **options)


def test_what_is_kept_has_its_label_and_parent_and_the_rest_its_reason(tmp_path: Path) -> None:
    found = call(tmp_path / "more.jsonl", Fake())
    assert (found.asked, found.kept, found.reused) == (7, 1, 0)
    assert found.dropped == DROPPED
    assert json.loads((tmp_path / "more.jsonl").read_text(encoding="utf-8")) == {
        "text": "You can visit the gallery from 9 a.m. until the early evening.",
        "label": "a",
        "id": 0,
        "augmented_from": 1,
    }
    lines = Path(found.journal).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["position"] for line in lines[1:]] == list(range(7))


def test_a_copy_that_repeats_an_earlier_one_is_dropped(tmp_path: Path) -> None:
    found = call(tmp_path / "more.jsonl", Fake(), rows(TEXTS[:1]), copies=3)
    assert (found.asked, found.kept, dict(found.dropped)) == (3, 1, {"same": 2})


def test_a_killed_call_goes_on_where_it_was(tmp_path: Path) -> None:
    output = tmp_path / "more.jsonl"
    killed = Fake(dies_after=4)
    with pytest.raises(KeyboardInterrupt):
        call(output, killed, at_once=2)
    assert not output.exists()
    journal = tmp_path / "more.asked.jsonl"
    with journal.open("ab") as handle:
        handle.write(b'{"position": 4, "co')  # cut short by the kill
    seen: list[tuple[int, int]] = []
    again = Fake()
    found = call(output, again, at_once=2, progress=lambda done, total: seen.append((done, total)))
    assert [text for text, _ in again.asked] == TEXTS[4:]
    assert (found.reused, found.kept, dict(found.dropped)) == (4, 1, DROPPED)
    assert seen == [(6, 7), (7, 7)]
    whole = call(tmp_path / "whole.jsonl", Fake())
    assert whole.kept == 1
    assert output.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    idle = Fake()
    assert call(output, idle).reused == 7
    assert idle.made == 0  # no model is loaded to ask nothing


def test_other_settings_rows_or_files_are_refused(tmp_path: Path) -> None:
    output = tmp_path / "more.jsonl"
    call(output, Fake())
    before = output.read_bytes()
    with pytest.raises(DataError, match=r"different: model"):
        call(output, Fake(), model="another")
    with pytest.raises(DataError, match=r"different: rows"):
        call(output, Fake(), rows(TEXTS[:3]))
    assert output.read_bytes() == before
    foreign = tmp_path / "mine.jsonl"
    foreign.write_text("{}\n")
    with pytest.raises(DataError, match="exists"):
        call(foreign, Fake())
    with pytest.raises(ConfigError, match="nothing to rewrite"):
        call(tmp_path / "x.jsonl", Fake(), Dataset(Task.TEXT, (Record("a"),)))


def test_two_calls_do_not_write_one_journal(tmp_path: Path) -> None:
    output = tmp_path / "more.jsonl"

    class Second(Fake):
        def answer(self, texts: Sequence[str], copy: int) -> list[str | None]:
            with pytest.raises(ArtifactError, match="in use"):
                call(output, Fake())
            return super().answer(texts, copy)

    assert call(output, Second()).kept == 1


def test_of_conversations_only_what_the_user_says_is_rewritten(tmp_path: Path) -> None:
    said = (
        Message("system", "Be brief."),
        Message("user", TEXTS[0]),
        Message("assistant", "Indeed.", train=True),
    )
    data = Dataset(Task.INSTRUCTION, (Record(messages=said, row=5),))
    call(tmp_path / "more.jsonl", Fake(), data)
    (record,) = load(tmp_path / "more.jsonl")
    assert [m.content for m in record.messages] == [
        "Be brief.", (ANSWERS[TEXTS[0]] or "").strip(), "Indeed."
    ]  # fmt: skip
    assert record.meta["augmented_from"] == 5


def test_both_texts_of_a_pair_are_rewritten(tmp_path: Path) -> None:
    pair = Record(TEXTS[0], TEXTS[5], label="a", row=1)
    answers = {**ANSWERS, TEXTS[5]: "Next to the water the people next door got a cottage."}
    data = Dataset(Task.CLASSIFICATION, (pair,))
    call(tmp_path / "more.jsonl", Fake(answers), data)
    row = json.loads((tmp_path / "more.jsonl").read_text(encoding="utf-8"))
    assert (row["text"], row["text_pair"]) == (
        (ANSWERS[TEXTS[0]] or "").strip(), answers[TEXTS[5]]
    )  # fmt: skip
