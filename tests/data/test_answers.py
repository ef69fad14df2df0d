"""Answers in texts: read in every shape, placed, checked, moved by repairs, cut into windows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunewright.data.answer_places import Answer, placed, read_answers
from tunewright.data.audit import audit
from tunewright.data.clean import clean
from tunewright.data.convert import to_records
from tunewright.data.copies import check_copies
from tunewright.data.detect import detect
from tunewright.data.difference import difference
from tunewright.data.export import export_dataset, write_dataset
from tunewright.data.records import Dataset, Record, Splits, Task
from tunewright.data.render import Renderer
from tunewright.data.sources import load, load_splits
from tunewright.data.split import split
from tunewright.data.table import Table
from tunewright.errors import DataError
from tunewright.models.load import load_tokenizer

SQUAD = {"text": ["Bonn", "in Bonn"], "answer_start": [11, 8]}
WANTED = (Answer("Bonn", 11), Answer("in Bonn", 8))


@pytest.mark.parametrize(
    ("value", "start", "wanted"),
    [
        (SQUAD, None, WANTED),
        (json.dumps(SQUAD), None, WANTED),
        ([{"text": "Bonn", "answer_start": 11}], None, WANTED[:1]),
        ("Bonn", 11, WANTED[:1]),
        (["Bonn", "in Bonn"], [11, 8], WANTED),
        ('["Bonn", "in Bonn"]', "[11, 8]", WANTED),
        (" Bonn ", 10, WANTED[:1]),
        ("Bonn", None, (Answer("Bonn"),)),
        ({"text": [], "answer_start": []}, None, ()),
        (None, None, ()),
        ("", -1, ()),
    ],
)
def test_answers_are_read_in_every_shape(value: Any, start: Any, wanted: Any) -> None:
    assert read_answers(value, start) == wanted


def test_answers_that_cannot_be_read_are_told() -> None:
    row = {"question": "where", "context": "Ann is in Bonn", "answers": SQUAD}
    wrong = row | {"answers": {"text": ["Ann", "Bonn"], "answer_start": [0]}}
    table = Table("t", [row, wrong])
    with pytest.raises(DataError, match=r"row 2: .* 2 answers and 1 places"):
        to_records(table, detect(table))


def test_the_shape_of_rows_says_whether_answers_are_pointed_at_or_written() -> None:
    row = {"question": "where", "context": "Ann is in Bonn"}
    pointed = detect(Table("t", [row | {"answers": SQUAD, "id": "1"}] * 2))
    assert pointed.task is Task.QUESTION_ANSWERING
    assert pointed.columns == {"text": "question", "text_pair": "context", "answers": "answers"}
    flat = detect(Table("t", [row | {"answer": "Bonn", "answer_start": 10}] * 2))
    assert flat.columns["answer_start"] == "answer_start"
    written = Table("t", [row | {"answer": "Bonn"}] * 2)
    assert detect(written).task is Task.INSTRUCTION
    asked = detect(written, task="question_answering")
    assert (asked.task, asked.columns["answers"]) == (Task.QUESTION_ANSWERING, "answer")
    mapped = Table("t", [{"q": "where", "c": "Ann is in Bonn", "a": "Bonn"}])
    columns = {"question": "q", "context": "c", "answers": "a"}
    assert detect(mapped, columns=columns).columns["text_pair"] == "c"
    with pytest.raises(DataError, match="needs a question, a context, and answers in it"):
        detect(Table("t", [{"words": "a"}]), task="question_answering")


def test_an_answer_is_where_it_is_said_or_the_nearest_place() -> None:
    text = "red and blue and red and blue"
    assert placed(Answer("red", 17), text) == 17
    assert placed(Answer("red", 15), text) == 17
    assert placed(Answer("red"), text) == 0
    assert placed(Answer("green", 3), text) is None


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_written_answers_are_read_back(kind: str, write_rows: Any, tmp_path: Path) -> None:
    rows = [
        {"question": "where", "context": "Ann is in Bonn", "answers": SQUAD},
        {
            "question": "who",
            "context": "Ann is in Bonn",
            "answers": {"text": [], "answer_start": []},
        },
    ]
    read = load(str(write_rows("a.jsonl", rows)))
    assert [record.answers for record in read] == [WANTED, ()]
    whole = Splits(read, read.select([]), read.select([]))
    write_dataset(whole, tmp_path / "out")
    export_dataset(whole, tmp_path / "other", kind)
    for source, task in ((tmp_path / "out", "auto"), (tmp_path / "other", "question_answering")):
        again = load_splits(str(source), 0.0, task=task)
        assert [r.to_row() for r in again.train] == [r.to_row() for r in read]


def rows(*answered: tuple[str, str, tuple[Answer, ...]]) -> Dataset:
    made = (Record(q, c, answers=a, row=i) for i, (q, c, a) in enumerate(answered, start=1))
    return Dataset(Task.QUESTION_ANSWERING, tuple(made))


def test_answers_that_are_not_there_or_elsewhere_are_found() -> None:
    data = rows(
        ("where", "Ann is in Bonn", (Answer("Bonn", 10),)),
        ("where", "Ann is in Ulm", (Answer("bonn", 10),)),
        ("where", "Ann is in Graz", (Answer("Graz", 3),)),
        ("what", "red, blue and red", (Answer("red"),)),
        ("who", "nobody is here", ()),
    )
    found = {f.id: f for f in audit(data).findings if f.id.startswith("answers.")}
    assert {name: (f.severity, list(f.places)) for name, f in found.items()} == {
        "answers.missing": ("error", [("train", 1)]),
        "answers.misplaced": ("warning", [("train", 2)]),
        "answers.ambiguous": ("warning", [("train", 3)]),
    }
    silent = rows(*((f"question {i}", "a text", ()) for i in range(3)))
    assert next(f for f in audit(silent).findings if f.id == "answers.none").severity == "error"


def test_questions_of_one_text_are_no_copies_and_stay_in_one_part() -> None:
    words = "the museum in the old town opens at nine and closes at six on every day of week"
    texts = [f"{words} {i}, says sign {i * 7}" for i in range(12)]
    data = rows(*((f"question {k} of {i}", t, ()) for i, t in enumerate(texts) for k in range(3)))
    cut = split(data, 0.2, 0.2, seed=3)
    held = [{record.text_pair for record in part} for _, part in cut.items()]
    assert all(held) and sum(map(len, held)) == 12
    apart = Splits(data.select([0, 3]), data.select([]), data.select([1, 4]))
    assert not check_copies(apart)
    same = Splits(data.select([0, 3]), data.select([]), data.select([0]))
    assert [f.id for f in check_copies(same)] == ["leakage.exact"]


def test_repairs_move_answers_with_their_text() -> None:
    context = "caf\u00c3\u00a9 Ann is in caf\u00c3\u00a9 Bonn"
    data = rows(("where", context, (Answer("caf\u00c3\u00a9 Bonn", context.rindex("caf")),)))
    (record,) = clean(data, ["encoding.damage"]).splits.train
    (answer,) = record.answers or ()
    assert record.text_pair == "caf\u00e9 Ann is in caf\u00e9 Bonn"
    assert placed(answer, record.text_pair or "") == answer.start == 15


def test_windows_cover_the_text_and_one_of_them_has_the_answer(tiny_encoder: Path) -> None:
    context = "the film was good and the book was lovely and the day was so very fine"
    at = context.index("very")
    data = rows(("what was it", context, (Answer("very fine", at),)))
    renderer = Renderer(load_tokenizer(tiny_encoder), Task.QUESTION_ANSWERING, 12, doc_stride=3)
    windows = renderer.render(data).examples
    # [CLS] what was it [SEP] and [SEP] leave 6 tokens, of which 3 are shared.
    assert {len(w.window.places) for w in windows if w.window} == {6}
    read = [
        [context[a:b] for a, b in example.window.places.tolist()]
        for example in windows
        if example.window
    ]
    assert read[0] == context.split()[:6] and read[1][:3] == read[0][3:]
    assert read[-1][-1] == "fine"
    answers = [(w.window.start, w.window.end) for w in windows if w.window]
    assert answers[:-1] == [(0, 0)] * (len(windows) - 1)
    first, last = answers[-1]
    assert (windows[-1].window and windows[-1].window.first) == 5
    assert read[-1][first - 5 : last - 4] == ["very", "fine"]
    assert windows[-1].token_type_ids == [0] * 5 + [1] * 7
    lost = rows(("what", "a text", (Answer("other", 0),)), ("what", "a text", ()))
    rendered = renderer.render(lost)
    assert (rendered.dropped, len(rendered.examples)) == (1, 1)
    long = rows(("what", context, (Answer(context, 0),)))
    assert renderer.render(long).cut == 1


def test_changed_answers_are_a_difference() -> None:
    before = rows(("where", "Ann is in Bonn", (Answer("Bonn", 10),)), ("who", "Ann", ()))
    after = rows(("where", "Ann is in Bonn", (Answer("in Bonn", 7),)), ("who", "Ann", ()))
    found = difference(before, after)
    assert (found.same, [(c.before, c.after) for c in found.changed]) == (
        1,
        [(["Bonn"], ["in Bonn"])],
    )
