"""Copies are found however they are disguised, and different texts are left alone."""

from __future__ import annotations

import random
import re
import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunewright.data.duplicates import (
    _grams,
    _mixed,
    _signatures,
    _words,
    exact_groups,
    near_pairs,
    normal_text,
)

NOISE = random.Random(3)
VOCABULARY = [
    "".join(NOISE.choices(string.ascii_lowercase, k=NOISE.randint(2, 9))) for _ in range(4000)
]


def sentence(noise: random.Random, words: int = 14) -> str:
    return " ".join(noise.choices(VOCABULARY, k=words))


def typo(text: str, noise: random.Random) -> str:
    place = noise.randrange(1, len(text) - 1)
    return text[:place] + noise.choice(string.ascii_lowercase) + text[place + 1 :]


def replaced(text: str, noise: random.Random) -> str:
    words = text.split()
    words[noise.randrange(len(words))] = noise.choice(VOCABULARY)
    return " ".join(words)


def reordered(text: str, noise: random.Random) -> str:
    words = text.split()
    place = noise.randrange(1, len(words))
    return " ".join(words[place:] + words[:place])


def punctuated(text: str, noise: random.Random) -> str:
    return ", ".join(text.upper().split(" ", 3)) + "!!"


EDITS = [typo, replaced, reordered, punctuated]


def pairs_of(texts, **options):
    found = near_pairs(texts, **options)
    return set(zip(found.left.tolist(), found.right.tolist(), strict=True))


@pytest.mark.parametrize("edit", EDITS, ids=lambda f: f.__name__)
def test_planted_copies_are_found_and_nothing_else(edit):
    noise = random.Random(1)
    base = [sentence(noise) for _ in range(2000)]
    planted = [edit(text, noise) for text in base[:200]]
    found = pairs_of(base + planted)
    truth = {(i, 2000 + i) for i in range(200)}
    assert len(found & truth) >= 196
    assert found <= truth


def test_similarity_is_the_weighted_jaccard_of_the_grams():
    base = "abcdefghijkl mnopqrstuvwx"
    found = near_pairs([base, "mnopqrstuvwx abcdefghijkl", base + " zzzzzzzzzz"], threshold=0.0)
    by_pair = dict(
        zip(
            zip(found.left.tolist(), found.right.tolist(), strict=True),
            found.similarity.tolist(),
            strict=True,
        )
    )
    assert by_pair[0, 1] == pytest.approx(1.0)
    # Grams of " zzzzzzzzzz ": " zzz", "zzzz", "zzz ". By hand: 22 grams in all three texts weigh
    # log(4/3), 3 in one weigh log(4/1).
    from math import log

    shared, extra = 22 * log(4 / 3), 3 * log(4)
    assert by_pair[0, 2] == pytest.approx(shared / (shared + extra), rel=1e-5)


def test_a_template_in_every_row_does_not_make_copies():
    noise = random.Random(2)
    frame = "below is an instruction that describes a task write a response that completes it "
    assert pairs_of([frame + sentence(noise, 8) for _ in range(300)]) == set()


def test_a_large_cluster_hangs_together():
    noise = random.Random(4)
    text = sentence(noise, 20)
    cluster = [replaced(text, noise) for _ in range(300)]
    others = [sentence(noise) for _ in range(700)]
    found = pairs_of(cluster + others)
    linked = {row for pair in found for row in pair}
    assert linked >= set(range(295)) and linked <= set(range(300))


def test_other_scripts_and_odd_input():
    texts = [
        "東京の天気は今日とても良いですから散歩に行きましょう",
        "東京の天気は今日とても良いですから散歩に行きましょうね",
        "Съешь же ещё этих мягких французских булок да выпей чаю",
        "съешь же ещё ЭТИХ мягких французских булок, да выпей чаю!",
        "\ud83d half a character is no reason to stop reading rows",
        "",
        "!!!",
        "ok",
    ]
    assert pairs_of(texts) == {(0, 1), (2, 3)}
    assert pairs_of([]) == set()
    assert pairs_of(["one text alone is like no other"]) == set()


def test_the_result_does_not_depend_on_the_run():
    noise = random.Random(5)
    base = [sentence(noise) for _ in range(300)]
    texts = base + [replaced(text, noise) for text in base]
    first, second = near_pairs(texts), near_pairs(texts)
    assert first.left.tolist() == second.left.tolist()
    assert first.similarity.tolist() == second.similarity.tolist()


def test_signatures_are_the_least_weighted_variates_of_each_texts_grams():
    """In blocks of texts of like length as one text at a time by the definition."""
    noise = random.Random(11)
    texts = [sentence(noise, noise.choice([1, 3, 3, 14, 40, 400])) for _ in range(120)]
    grams = _grams([*texts, *map(str.upper, texts[:60]), "ok", ""])
    assert grams is not None
    rows, found = _signatures(grams, np.random.default_rng(7))
    drawn = np.random.default_rng(7)
    table = drawn.exponential(size=1 << 16).astype(np.float32)
    factors = drawn.integers(1, 1 << 31, size=found.shape[1], dtype=np.uint32) * np.uint32(2) + 1
    compared = []
    for row in range(len(grams.starts) - 1):
        every = grams.ids[grams.starts[row] : grams.starts[row + 1]]
        ids = every[grams.counts[every] > 1]
        if len(every) < 8 or not len(ids):
            continue
        compared.append(row)
        numbers = _mixed(ids.astype(np.uint32))[:, None]
        least = (table[(numbers * factors) >> np.uint32(16)] / 1).T * (1 / grams.weights)[ids]
        assert (found[len(compared) - 1].view(np.float32) == least.min(axis=1)).all()
    assert rows.tolist() == compared


@settings(max_examples=300, deadline=None)
@given(st.text() | st.text(st.characters(codec="ascii")))
def test_texts_are_normal_in_the_quick_way_as_by_the_patterns(text: str) -> None:
    assert normal_text(text) == re.sub(r"\s+", " ", normal_text(text)).strip()
    if text.isascii():
        assert normal_text(text) == re.sub(r"\s+", " ", text.lower()).strip()
        assert _words(text) == re.sub(r"[\W_]+", " ", text.lower()).strip()


def test_exact_groups_ignore_case_spacing_and_unicode_form():
    texts = ["Café  now", "cafe\u0301 now", "CAF\u00c9 NOW ", "cafe now", "", " "]
    assert list(exact_groups(texts).values()) == [[0, 1, 2], [3]]
    assert normal_text("Straße ﬁne") == "strasse fine"


UNLIKE = [
    ("How do I exchange currencies using this app?", "What currencies will this app exchange?"),
    ("I want to activate my card, how do I do it?", "how to activate card?"),
    ("Is my card accepted anywhere?", "Is there anywhere my card will not be accepted?"),
    ("Where are your cards delivered to?", "Where can cards be delivered?"),
    ("My parcel 48213 has not arrived at the door", "My parcel 90177 has not arrived at the door"),
]
ALIKE = [
    ("How do I link my new card?", "How do I link a new card?"),
    ("My top-up didn't work.", "My top up didn't work!"),
    ("I did a payment but it was reverted by the app", "I did a payment, but it was reverted by"),
    ("What do I do when my card is lost or stolen?", "when my card is lost or stolen What do I do"),
]


def questions(pairs):
    """The pairs among other questions about the same few things, so that these weigh little."""
    noise = random.Random(2)
    things = ["card", "app", "currencies", "exchange", "accepted", "delivered", "parcel", "payment"]
    other = [
        f"{sentence(noise, 6)} {noise.choice(things)} {noise.choice(things)}" for _ in range(400)
    ]
    texts = [text for pair in pairs for text in pair]
    return texts + other, {(2 * i, 2 * i + 1) for i in range(len(pairs))}


def test_other_questions_about_the_same_are_no_copies():
    texts, pairs = questions(UNLIKE)
    assert not pairs_of(texts) & pairs


def test_the_same_question_in_nearly_the_same_words_is_a_copy():
    texts, pairs = questions(ALIKE)
    assert pairs_of(texts) >= pairs
