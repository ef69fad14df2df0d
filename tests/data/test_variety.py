"""Prompts that all ask the same, and rows unlike all others."""

from __future__ import annotations

import random

import pytest

from tunewright.data.audit import audit
from tunewright.data.records import Dataset, Message, Record, Task
from tunewright.data.variety import distinct_pairs

NOISE = random.Random(5)
WORDS = ["".join(NOISE.choices("abcdefghijklmnop", k=6)) for _ in range(300)]


def findings(records, task=Task.CLASSIFICATION):
    return {f.id: f for f in audit(Dataset(task, tuple(records))).findings}


def sentence(number: int, words: int = 10) -> str:
    return " ".join(random.Random(number).choices(WORDS, k=words))


def labelled(*texts: str) -> list[Record]:
    return [Record(text, label="ab"[i % 2]) for i, text in enumerate(texts)]


def asked(prompt: str, number: int) -> Record:
    said = Message("assistant", sentence(number), train=True)
    return Record(messages=(Message("user", prompt), said))


def test_distinct_pairs_by_hand():
    # the cat, cat sat; the cat, cat ran: three different pairs of four.
    assert distinct_pairs(["The cat sat", "the cat ran!"]) == pytest.approx(3 / 4)
    # Numbers are one word, so both say: what is 0.
    assert distinct_pairs(["What is 3?", "What is 4?"]) == pytest.approx(2 / 4)
    assert distinct_pairs([]) == 1.0


def test_prompts_of_one_form_are_a_warning():
    same = [asked(f"Please add {i} and {i + 1} for me.", i) for i in range(150)]
    finding = findings(same, Task.INSTRUCTION)["diversity.low"]
    assert (finding.severity, finding.rows) == ("warning", 150)
    assert "'please add'" in finding.message and "100%" in finding.message
    different = [asked(sentence(i + 1000), i) for i in range(150)]
    assert "diversity.low" not in findings(different, Task.INSTRUCTION)
    assert "diversity.low" not in findings(same[:99], Task.INSTRUCTION)


def test_rows_of_another_length_are_found():
    rows = labelled(*(sentence(i) for i in range(300)), sentence(1, 400), WORDS[0])
    finding = findings(rows)["outlier.length"]
    assert finding.severity == "info"
    assert set(finding.places) == {("train", 300), ("train", 301)}
    assert "outlier.length" not in findings(rows[:300])


def test_rows_in_words_of_their_own_are_found():
    strange = " ".join(f"zz{letter}yyx" for letter in "qrstuvwxyz")
    rows = labelled(*(sentence(i) for i in range(300)), strange)
    finding = findings(rows)["outlier.words"]
    assert (finding.severity, finding.places) == ("info", (("train", 300),))
    # Four of five words are strange from 0.8 on; three of five are not.
    half = labelled(*(sentence(i) for i in range(300)), f"zzq zzr zzs {WORDS[0]} {WORDS[1]}")
    assert "outlier.words" not in findings(half)
    most = labelled(*(sentence(i) for i in range(300)), f"zzq zzr zzs zzt {WORDS[1]}")
    assert "outlier.words" in findings(most)
