"""Schemes of tags: found, checked, and brought into one."""

from __future__ import annotations

import random

import pytest

from tunewright.data.sources import load
from tunewright.data.tags import (
    Scheme,
    TagFault,
    find_scheme,
    label_names,
    repaired,
    spans,
    to_bio,
)
from tunewright.errors import DataError

# The same three entities, (PER, 0-2), (ORG, 3-4) and (ORG, 4-6), in every scheme.
SAME = {
    Scheme.BIO: "B-PER I-PER O B-ORG B-ORG I-ORG O",
    Scheme.IOB1: "I-PER I-PER O I-ORG B-ORG I-ORG O",
    Scheme.BIOES: "B-PER E-PER O S-ORG B-ORG E-ORG O",
    Scheme.BILOU: "B-PER L-PER O U-ORG B-ORG L-ORG O",
}


@pytest.mark.parametrize("scheme", SAME)
def test_every_scheme_is_found_and_says_the_same(scheme):
    tags = SAME[scheme].split()
    assert find_scheme([["O", "O"], tags]) is scheme
    assert " ".join(to_bio(tags, scheme)) == SAME[Scheme.BIO]


def test_bio_read_again_stays_bio():
    noise = random.Random(0)
    kinds = ("A", "B", "C")
    for _ in range(200):
        row: list[str] = []
        while len(row) < 8:
            kind = noise.choice(kinds)
            row += (
                ["O"]
                if noise.random() < 0.4
                else [f"B-{kind}"] + [f"I-{kind}"] * (noise.randrange(3))
            )
        assert to_bio(row, find_scheme([row])) == tuple(row)


@pytest.mark.parametrize(
    ("scheme", "tags", "message"),
    [
        (
            "BIO",
            "O I-PER",
            r"word 2: 'I-PER' continues no entity \(before it is 'O'\).*as in B-PER",
        ),
        ("BIO", "B-ORG I-PER", r"word 2: 'I-PER' continues no entity \(before it is 'B-ORG'\)"),
        ("BIO", "O PER", r"word 2 has the tag 'PER', which is none of BIO \(O, B-TYPE, I-TYPE\)"),
        ("BIO", "B-", "word 1 has the tag 'B-'"),
        ("IOB1", "I-PER O B-PER", r"word 3: 'B-PER' begins an entity, but most.*begin with I-"),
        ("BIOES", "B-PER O", r"word 2: 'O' stands where the 'PER' entity before it is not ended"),
        ("BIOES", "O E-PER", r"word 2: 'E-PER' continues no entity"),
        ("BIOES", "O B-PER", r"ends inside the 'PER' entity"),
        ("BILOU", "U-PER S-PER", r"word 2 has the tag 'S-PER', which is none of BILOU"),
    ],
)
def test_tags_that_their_scheme_does_not_allow_are_faults(scheme, tags, message):
    with pytest.raises(TagFault, match=message):
        to_bio(tags.split(), Scheme(scheme))


def test_a_few_wrong_tags_do_not_make_another_scheme(write_rows):
    rows = [{"tokens": ["a", "b"], "tags": ["B-X", "O"]}] * 9
    path = write_rows("a.jsonl", [*rows, {"tokens": ["a", "b"], "tags": ["O", "I-X"]}])
    with pytest.raises(DataError, match=r"1 row does not fit.*row 10: word 2: 'I-X' continues no"):
        load(path)


@pytest.mark.parametrize(
    ("tokens", "tags", "message"),
    [
        (["a", "b"], ["O"], "2 words and 1 tags"),
        ([], [], "column 'tokens' has no word"),
        (["a"], [3], r"has numbers \(3\), and the file does not say which tags"),
        (["a", None], ["O", "O"], "not a list of words"),
    ],
)
def test_rows_that_are_no_tagged_words_say_what_is_wrong(write_rows, tokens, tags, message):
    good = {"tokens": ["a"], "tags": ["O"]}
    path = write_rows("a.jsonl", [good, {"tokens": tokens, "tags": tags}])
    with pytest.raises(DataError, match=message):
        load(path)


def test_numbers_of_tags_take_their_names_from_the_file(tmp_path):
    import datasets

    names = ["O", "B-PER", "I-PER"]
    features = datasets.Features(
        {
            "tokens": datasets.List(datasets.Value("string")),
            "ner_tags": datasets.List(datasets.ClassLabel(names=names)),
        }
    )
    rows = datasets.Dataset.from_dict(
        {"tokens": [["Ann", "Lee", "is"]], "ner_tags": [[1, 2, 0]]}, features=features
    )
    rows.to_parquet(tmp_path / "a.parquet")
    rows.save_to_disk(tmp_path / "saved")
    from tunewright._api.rows import to_splits

    for found in (load(tmp_path / "a.parquet"), load(tmp_path / "saved"), to_splits(rows).train):
        assert found.records[0].label == ("B-PER", "I-PER", "O")


def test_a_record_of_tagged_words_is_written_and_read_back(write_rows):
    rows = [{"tokens": ["Ann", "is", "in", "Bonn"], "tags": ["I-PER", "O", "O", "I-LOC"], "id": 7}]
    found = load(write_rows("a.jsonl", rows))
    again = load(write_rows("b.jsonl", [record.to_row() for record in found]))
    (record,) = again
    assert (record.words, record.label) == (found.records[0].words, ("B-PER", "O", "O", "B-LOC"))
    assert (record.text, record.meta["id"]) == ("Ann is in Bonn", 7)
    assert record.entity_types == ("PER", "LOC")


def test_predicted_tags_hold_together_after_repair():
    tags = ["I-PER", "I-ORG", "I-ORG", "O", "I-LOC", "B-LOC", "I-LOC"]
    assert repaired(tags) == ("B-PER", "B-ORG", "I-ORG", "O", "B-LOC", "B-LOC", "I-LOC")
    assert repaired(repaired(tags)) == repaired(tags)
    assert spans(repaired(tags)) == [
        ("PER", 0, 1),
        ("ORG", 1, 3),
        ("LOC", 4, 5),
        ("LOC", 5, 7),
    ]


def test_a_model_can_say_longer_entities_than_it_saw():
    assert label_names(["O", "B-PER", "B-LOC"]) == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
