"""Pairs of texts for embeddings: detected, read back, checked, split and tokenised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tunewright.data.audit import audit
from tunewright.data.clean import clean
from tunewright.data.convert import to_records
from tunewright.data.copies import check_copies
from tunewright.data.detect import detect
from tunewright.data.export import write_dataset
from tunewright.data.pair_checks import check_pairs
from tunewright.data.pair_texts import is_scored, paired_examples
from tunewright.data.records import Dataset, Record, Splits, Task
from tunewright.data.render import Renderer
from tunewright.data.sources import load, load_splits
from tunewright.data.split import split
from tunewright.data.table import Table
from tunewright.errors import DataError
from tunewright.models.load import load_tokenizer


def table(**row: Any) -> Table:
    return Table("t", [row, row])


def pairs(*rows: tuple[str, str] | tuple[str, str, str]) -> Dataset:
    made = tuple(
        Record(r[0], r[1], negative=r[2] if len(r) > 2 else None, row=i)
        for i, r in enumerate(rows, start=1)
    )
    return Dataset(Task.EMBEDDING, made)


def parts(train: Dataset, test: Dataset) -> Splits:
    return Splits(train, Dataset(Task.EMBEDDING, ()), test)


@pytest.mark.parametrize(
    ("row", "task", "columns"),
    [
        ({"anchor": "a b", "positive": "c"}, "auto", {"text": "anchor", "text_pair": "positive"}),
        (
            {"query": "a", "positive": "c", "negative": "d"},
            "auto",
            {"text": "query", "text_pair": "positive", "negative": "negative"},
        ),
        (
            {"sentence1": "a", "sentence2": "c", "score": 4.5},
            "embedding",
            {"text": "sentence1", "text_pair": "sentence2", "label": "score"},
        ),
        (
            {"question": "a", "answer": "c"},
            "embedding",
            {"text": "question", "text_pair": "answer"},
        ),
        (
            {"premise": "a", "hypothesis": "c", "label": 1},
            "embedding",
            {"text": "premise", "text_pair": "hypothesis", "label": "label"},
        ),
    ],
)
def test_the_roles_of_pairs_are_found(
    row: dict[str, Any], task: str, columns: dict[str, str]
) -> None:
    found = detect(table(**row), task=task)
    assert (found.task, found.columns) == (Task.EMBEDDING, columns)


def test_pairs_of_other_tasks_keep_them() -> None:
    scored = table(sentence1="a", sentence2="b", score=4.5)
    assert detect(scored).task is Task.REGRESSION
    assert detect(table(question="a", answer="b")).task is Task.INSTRUCTION
    # Counts are no texts, whatever their columns are called.
    assert detect(table(query="a b c", positive=3, label="x")).task is Task.CLASSIFICATION


def test_classes_beside_pairs_are_no_reason_to_call_all_of_them_alike() -> None:
    rows = table(premise="a", hypothesis="b", label="contradiction")
    with pytest.raises(DataError, match="column 'label' of classes, so that not all pairs"):
        detect(rows, task="embedding")
    found = detect(rows, task="embedding", columns={"text": "premise", "text_pair": "hypothesis"})
    assert "label" not in found.columns
    with pytest.raises(DataError, match="anchor and positive, or two columns of texts and a num"):
        detect(table(words="a"), task="embedding")


def test_rows_that_do_not_fit_are_told() -> None:
    both = Table("t", [{"anchor": "a", "positive": "b", "negative": "c", "score": 1.0}])
    found = detect(both, columns={"label": "score"}, task="embedding")
    with pytest.raises(DataError, match=r"a negative .* and a score"):
        to_records(both, found)
    some = Table("t", [{"anchor": "a", "positive": "b", "score": v} for v in (1.0, "much")])
    found = detect(some, columns={"label": "score"}, task="embedding")
    with pytest.raises(DataError, match="'much', which is not a number"):
        to_records(some, found)
    mixed = [Record("a", "b", 1.0), Record("a", "c")]
    with pytest.raises(DataError, match="1 pairs with a score and 1 without"):
        is_scored(mixed)


def test_written_pairs_are_read_back(write_rows: Any, tmp_path: Path) -> None:
    rows = [
        {"anchor": f"question {w}", "positive": f"answer {w}", "negative": n, "negative_note": 1}
        for w, n in (("one", "other"), ("two", ""))
    ]
    read = load(str(write_rows("p.jsonl", rows)))
    assert [record.negative for record in read] == ["other", None]
    write_dataset(Splits(read, read.select([]), read.select([])), tmp_path / "out")
    again = load_splits(str(tmp_path / "out"), 0.0)
    assert again.task is Task.EMBEDDING
    for before, after in zip(read, again.train, strict=True):
        assert before.to_row() == after.to_row()


def test_pairs_that_cannot_be_right_are_found() -> None:
    data = pairs(
        ("the first text", "The first  TEXT"),
        ("the second text", "its own answer", "the second text"),
        ("the third text", "one answer", "another answer"),
        ("the third text", "another answer"),
        ("the fourth text", "some answer", "one answer"),
    )
    found = {f.id: f for f in check_pairs(parts(data, data.select([])))}
    assert [found["pairs.same"].places[0], found["pairs.same"].severity] == [
        ("train", 0),
        "warning",
    ]
    assert sorted(found["pairs.contradictory"].places) == [("train", 1), ("train", 2)]
    assert found["pairs.contradictory"].severity == "error"
    assert {f.id for f in audit(data).findings} >= {"pairs.same", "pairs.contradictory"}


def test_a_shared_answer_is_no_copy_and_a_shared_question_is_one() -> None:
    answer = "you can pay by card, by bank transfer or in cash at the desk of any of our offices"
    asked = "which ways of paying for the tickets are there"
    train = pairs((asked, "by card"), ("is cash accepted anywhere in town", answer))
    apart = pairs(("how do people settle their bills", answer))
    again = pairs((asked + "?", "in cash"))
    assert not check_copies(parts(train, apart))
    assert [f.id for f in check_copies(parts(train, again))] == ["leakage.near"]


def test_rows_with_the_same_question_stay_in_one_part() -> None:
    rows = [
        (f"question number {i} about {w * 4}", f"{w} answer {j}")
        for i, w in enumerate("abcdefghijklmnopqrst")
        for j in range(2)
    ]
    cut = split(pairs(*rows), 0.2, 0.2, seed=1)
    where = [{record.text for record in part} for _, part in cut.items()]
    assert all(where) and sum(map(len, where)) == 20


def test_fixes_reach_the_negative() -> None:
    damaged = pairs(("caf\u00c3\u00a9 one", "two", "caf\u00c3\u00a9 three"))
    (record,) = clean(damaged, ["encoding.damage"]).splits.train
    assert (record.text, record.negative) == ("caf\u00e9 one", "caf\u00e9 three")


def test_each_text_is_tokenised_and_cut_by_itself(tiny_encoder: Path) -> None:
    tokenizer = load_tokenizer(tiny_encoder)
    data = pairs(("the film was good", "it is", "a b c d e f g h"))
    (example,) = paired_examples(tokenizer, data.records)
    assert [len(example.input_ids), *map(len, example.others or ())] == [6, 4, 10]
    assert (len(example), example.longest, example.beyond(5)) == (20, 10, 6)
    rendered = Renderer(tokenizer, Task.EMBEDDING, 5).render(data, "cut")
    (short,) = rendered.examples
    texts = [short.input_ids, *(short.others or ())]
    assert [len(ids) for ids in texts] == [5, 4, 5] and {ids[-1] for ids in texts} == {3}
    assert rendered.cut == 1
    (found,) = [
        f for f in audit(data, tokenizer=tokenizer, max_length=5).findings if f.id == "length.over"
    ]
    assert found.rows == 1
