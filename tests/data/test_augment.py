"""Changed copies keep what carries the meaning, and are the same for the same seed."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunewright.config.data_keys import AugmentConfig
from tunewright.config.task import Task
from tunewright.data.audit import audit
from tunewright.data.augment import (
    NEGATIONS,
    NEIGHBOURS,
    augment,
    change_text,
    is_protected,
    said_of_copies,
)
from tunewright.data.records import Dataset, Message, Record
from tunewright.errors import ConfigError

TEXT = (
    "The concert wasn't good and I would NEVER pay $20 again, see https://example.org/a or ask "
    "@anna #fail :D . Nobody sang well!\nNot one song was worth hearing without earplugs."
)
KEPT = ("wasn't", "NEVER", "$20", "https://example.org/a", "@anna", "#fail", ":D", "Nobody", "Not",
        "without")  # fmt: skip


def labelled(*texts: str) -> Dataset:
    records = (
        Record(text=text, label="ab"[i % 2], row=i + 11, meta={"user": i})
        for i, text in enumerate(texts)
    )
    return Dataset(Task.CLASSIFICATION, tuple(records))


def changed(typos: float = 0.0, word_dropout: float = 0.0, copies: int = 1) -> AugmentConfig:
    return AugmentConfig(typos=typos, word_dropout=word_dropout, copies=copies)


def test_what_carries_the_meaning_survives_the_strongest_changes():
    for seed in range(200):
        found = change_text(TEXT, changed(0.5, 0.5), random.Random(seed)).split()
        for word in KEPT:
            assert word in found


def test_every_negation_is_protected_with_and_without_its_apostrophe():
    for word in (*NEGATIONS, "Don't", "don\u2019t", "ISN'T", "(not)", "no,"):
        assert is_protected(word), word
    for word in ("knot", "note", "nobility", "good", "film,", "I", "cant\u00e9"):
        assert not is_protected(word), word


def test_placeholders_numbers_and_faces_are_protected():
    for word in (
        "<user>",
        "[MASK]",
        "{name}",
        "3",
        "2nd",
        "a_b",
        "x@y.org",
        "www.x.org",
        ":P",
        ":)",
    ):
        assert is_protected(word), word


def test_a_slip_is_one_edit_behind_the_first_letter_of_a_longer_word():
    seen = set()
    for seed in range(400):
        found = change_text("wonderful", changed(typos=0.5), random.Random(seed))
        if found == "wonderful":
            continue
        assert found[0] == "w"
        if len(found) == 10:
            seen.add("doubled")
            assert any(found[:i] + found[i + 1 :] == "wonderful" for i in range(1, 10))
        elif len(found) == 8:
            seen.add("left out")
        elif sorted(found) == sorted("wonderful"):
            seen.add("swapped")
        else:
            seen.add("neighbour")
            (at,) = [i for i in range(9) if found[i] != "wonderful"[i]]
            assert found[at] in NEIGHBOURS["wonderful"[at]]
    assert seen == {"doubled", "left out", "swapped", "neighbour"}
    assert all(
        change_text("a few odd one", changed(typos=0.5), random.Random(s)) == "a few odd one"
        for s in range(50)
    )


def test_neighbours_are_the_keys_that_touch():
    assert sorted(NEIGHBOURS["g"]) == sorted("tyfhvb")
    assert sorted(NEIGHBOURS["p"]) == sorted("ol")
    assert all(a in NEIGHBOURS[b] for a, near in NEIGHBOURS.items() for b in near)


def test_shares_are_met():
    words = " ".join(f"{chr(97 + i % 26)}bcdefg" for i in range(4000))
    kept = change_text(words, changed(word_dropout=0.2), random.Random(0)).split()
    assert 0.17 < 1 - len(kept) / 4000 < 0.23
    slipped = change_text(words, changed(typos=0.1), random.Random(0)).split()
    assert len(slipped) == 4000
    wrong = sum(a != b for a, b in zip(words.split(), slipped, strict=True))
    assert 0.08 < wrong / 4000 < 0.12


def test_lines_and_single_spaces_stay():
    for seed in range(100):
        found = change_text(TEXT, changed(word_dropout=0.5), random.Random(seed))
        assert found.count("\n") == 1
        assert "  " not in found


def test_a_sentence_keeps_its_end():
    text = "everybody liked those wonderful concerts yesterday."
    found = {change_text(text, changed(word_dropout=0.5), random.Random(s)) for s in range(300)}
    assert "everybody liked those wonderful concerts." in found
    assert all(one.endswith(".") for one in found)


def test_short_texts_lose_no_word():
    for seed in range(50):
        noise = random.Random(seed)
        assert (
            change_text("really good film", changed(word_dropout=0.5), noise) == "really good film"
        )
        assert len(change_text("a really good film", changed(word_dropout=0.5), noise).split()) >= 3


def test_scripts_without_spaces_are_left_alone():
    text = "\u3053\u306e\u6620\u753b\u306f \u826f\u304f\u306a\u304b\u3063\u305f \u3067\u3059 \u306d"
    for seed in range(20):
        assert change_text(text, changed(0.5, 0.5), random.Random(seed)) == text


def test_copies_stand_behind_the_rows_with_label_meta_and_parent():
    data = labelled("the film was wonderful again", "the concert was horrible tonight")
    found = augment(data, changed(typos=0.5, copies=3), seed=1)
    assert found.records[:2] == data.records
    assert len(found) > 4
    for copy in found.records[2:]:
        parent = data.records[copy.meta["augmented_from"] - 11]
        assert (copy.label, copy.meta["user"]) == (parent.label, parent.meta["user"])
        assert copy.text != parent.text
    assert len({record.text for record in found}) == len(found)


def test_the_seed_and_the_place_decide_and_nothing_else():
    data = labelled(*[TEXT] * 4)
    first = augment(data, changed(0.2, 0.2), seed=1)
    assert first == augment(data, changed(0.2, 0.2), seed=1)
    assert first != augment(data, changed(0.2, 0.2), seed=2)
    assert len({record.text for record in first.records[4:]}) == 4
    shorter = augment(data.select([0, 1]), changed(0.2, 0.2), seed=1)
    assert shorter.records[2:] == first.records[4:6]


def test_a_copy_that_came_out_unchanged_is_left_out_and_told():
    data = labelled("no 1 2 3", "wonderful " * 40)
    found = augment(data, changed(typos=0.5, copies=2))
    assert [r.meta.get("augmented_from") for r in found] == [None, None, 12, 12]
    assert said_of_copies(data, found, 2) == (
        "2 training rows became 4: 2 changed copies; 2 copies came out unchanged and were left out"
    )


def test_of_conversations_only_what_the_user_says_is_changed():
    messages = (
        Message("system", "Answer in wonderful sentences of several words."),
        Message("user", "Please explain everything about wonderful concerts to everybody here."),
        Message("assistant", "Wonderful concerts happen everywhere around everybody.", train=True),
    )
    data = Dataset(Task.INSTRUCTION, (Record(messages=messages, row=1),))
    copy = augment(data, changed(0.5, 0.3)).records[1]
    assert copy.messages[0] == messages[0] and copy.messages[2] == messages[2]
    assert copy.messages[1].content != messages[1].content


def test_both_texts_of_a_pair_are_changed():
    text = "wonderful concerts happen everywhere " * 5
    data = Dataset(Task.REGRESSION, (Record(text=text, text_pair=text, label=2.5, row=1),))
    copy = augment(data, changed(typos=0.5)).records[1]
    assert copy.text != text and copy.text_pair not in (text, copy.text)
    assert copy.label == 2.5


def test_plain_texts_are_refused():
    data = Dataset(Task.TEXT, (Record(text="a text"),))
    with pytest.raises(ConfigError, match="typing slips too"):
        augment(data, changed(typos=0.1))


def test_changed_copies_are_no_near_duplicates_to_the_audit():
    words = "wonderful concerts happen everywhere around everybody whenever summer evenings begin"
    data = labelled(
        words, "horrible meals await nobody but patient guests of this gloomy hotel", words + "!"
    )
    assert [f.rows for f in audit(data).findings if f.id == "duplicate.near"] == [1]
    found = audit(augment(data, changed(typos=0.1, copies=2))).findings
    assert [f.rows for f in found if f.id == "duplicate.near"] == [1]


def test_synonyms_take_the_place_of_their_words_with_case_and_punctuation():
    words = {"film": ["movie", "picture"], "not": ["hardly"], "good": ["great"]}
    every = AugmentConfig(synonyms=words, synonym_replacement=1.0)
    found = {
        change_text('Film (film), "FILM"! Not goods, not good.', every, random.Random(seed))
        for seed in range(40)
    }
    assert 'Movie (picture), "MOVIE"! Not goods, not great.' in found
    assert len(found) == 8  # two words for each of three
    some = AugmentConfig(synonyms=words, synonym_replacement=0.25)
    kept = change_text("film " * 2000, some, random.Random(0)).split().count("film")
    assert 0.70 < kept / 2000 < 0.80


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=80), st.floats(0, 0.5), st.floats(0, 0.5), st.integers(0, 5))
def test_no_text_is_emptied_and_no_protected_word_is_lost(text, typos, dropout, seed):
    found = change_text(text, changed(typos, dropout), random.Random(seed))
    assert bool(found.strip()) == bool(text.strip())
    kept = [word for word in text.split() if is_protected(word)]
    left = found.split()
    position = 0
    for word in kept:
        assert word in left[position:]
        position += left[position:].index(word) + 1
