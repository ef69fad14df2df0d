"""What an audit says of tagged words."""

from __future__ import annotations

from typing import Any

from tunewright.config.task import Task
from tunewright.data.audit import audit
from tunewright.data.clean import clean
from tunewright.data.records import Dataset, Record, Splits


def rows(*pairs: tuple[str, str]) -> Dataset:
    return Dataset(
        Task.TOKEN_CLASSIFICATION,
        tuple(
            Record(words, words=tuple(words.split(" ")), label=tuple(tags.split()), row=i)
            for i, (words, tags) in enumerate(pairs, start=1)
        ),
    )


def found(data: Any) -> dict[str, Any]:
    return {finding.id: finding for finding in audit(data).findings}


def towns(n: int) -> list[tuple[str, str]]:
    return [
        (f"Town{i} lies {'far ' * (i % 4)}east of here", "B-LOC O" + " O" * (i % 4 + 3))
        for i in range(n)
    ]


def test_entities_are_counted_by_type_and_rare_types_named():
    data = rows(*towns(30), ("Ann sings", "B-PER O"), ("Bob Lee runs", "B-PER I-PER O"))
    seen = audit(data)
    assert seen.labels == {"LOC": 30, "PER": 2}
    findings = {finding.id: finding for finding in seen.findings}
    assert findings["label.rare"].rows == 2
    assert "fewer than 10 entities in train: 'PER', in 2 rows" in findings["label.rare"].message
    assert "'PER' has 2: 15 times fewer" in findings["balance.skewed"].message
    assert "tags.empty" not in findings


def test_rows_without_entities_are_said_when_they_are_most():
    data = rows(*towns(3), *[(f"nothing {i} here", "O O O") for i in range(5)])
    finding = found(data)["tags.empty"]
    assert (finding.rows, finding.severity) == (5, "info")
    assert "(62%)" in finding.message


def test_tags_that_are_all_outside_are_an_error():
    finding = found(rows(("a b", "O O"), ("c d", "O O")))["label.single"]
    assert (finding.rows, finding.severity) == (2, "error")


def test_types_that_train_lacks_are_an_error_and_can_be_taken_out():
    train, test = rows(*towns(12)), rows(("Ann sings", "B-PER O"), ("Bonn shines", "B-LOC O"))
    splits = Splits(train, train.select([]), test)
    finding = found(splits)["label.unseen"]
    assert (finding.rows, finding.severity) == (1, "error")
    assert "types that train lacks: 'PER'" in finding.message
    assert [r.text for r in clean(splits, ["label.unseen"]).splits.test] == ["Bonn shines"]


def test_the_same_sentence_tagged_in_two_ways_is_a_contradiction():
    data = rows(
        *towns(5),
        ("Paris sings in town", "B-PER O O O"),
        ("Paris sings in town", "B-LOC O O O"),
        ("Rome sings in town", "B-LOC O O O"),
        ("rome  sings in town", "B-LOC O O O O"),  # an empty word more, the same entity
    )
    finding = found(data)["label.contradictory"]
    assert finding.rows == 2
    assert "'paris [LOC]' and 'paris [PER]'" in finding.examples[0]


def test_blank_words_are_told():
    finding = found(rows(*towns(5), ("Rome  is", "B-LOC O O")))["tags.blank_word"]
    assert finding.rows == 1
    assert "train row 6, word 2" in finding.examples[0]


def test_a_repaired_word_keeps_its_tag():
    data = rows(("Caf\u00c3\u00a9 Rome is open", "B-ORG I-ORG O O"))
    (record,) = clean(data, ["encoding.damage"]).splits.train
    assert record.words == ("Caf\u00e9", "Rome", "is", "open")
    assert (record.text, record.label) == ("Caf\u00e9 Rome is open", data.records[0].label)
