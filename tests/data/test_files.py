"""Files are read whole or not at all, and errors name the place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunewright.config.task import Task
from tunewright.data.answer_places import Answer
from tunewright.data.files import read_file
from tunewright.data.sources import load
from tunewright.errors import DataError

TEXT = "Ça va? Größe: 3 — “ok”"
ROWS = [{"text": TEXT, "label": "é"}, {"text": "plain", "label": "b"}]


def rows_of(path):
    return [dict(row) for row in read_file(path).rows]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "tsv"])
def test_encodings_of_text_formats(tmp_path, encoding, ending):
    path = tmp_path / f"rows.{ending}"
    content = {
        "jsonl": "\n".join(json.dumps(r, ensure_ascii=False) for r in ROWS),
        "json": json.dumps(ROWS, ensure_ascii=False),
        "csv": "text,label\n" + "\n".join(f'"{r["text"]}",{r["label"]}' for r in ROWS),
        "tsv": "text\tlabel\n" + "\n".join(f"{r['text']}\t{r['label']}" for r in ROWS),
    }[ending]
    path.write_bytes(content.encode(encoding))
    assert rows_of(path) == ROWS


def test_damaged_utf8_is_not_taken_for_cp1252(tmp_path):
    path = tmp_path / "rows.jsonl"
    good = "".join(json.dumps({"text": "é ü ö"}, ensure_ascii=False) + "\n" for _ in range(3))
    path.write_bytes(good.encode() + b'{"text": "\xe9"}\n')
    with pytest.raises(DataError, match=r"line 4\) does not fit UTF-8"):
        read_file(path)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters_quotes_and_line_ends_in_fields(tmp_path, delimiter):
    path = tmp_path / "rows.csv"
    path.write_text(
        f"id{delimiter}text{delimiter}label\r\n"
        f'1{delimiter}"one{delimiter} ""two""\nthree"{delimiter}x\r\n'
        f"\r\n2{delimiter}plain{delimiter}y\r\n",
        encoding="utf-8",
        newline="",
    )
    table = read_file(path)
    assert [dict(r) for r in table.rows] == [
        {"id": "1", "text": f'one{delimiter} "two"\nthree', "label": "x"},
        {"id": "2", "text": "plain", "label": "y"},
    ]
    assert list(table.numbers) == [2, 5]


def test_unpaired_quotes_in_tsv_are_plain_characters(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text('text\tlabel\n"half quoted\tx\nsix inches: 6"\ty\n', encoding="utf-8")
    assert rows_of(path)[0] == {"text": '"half quoted', "label": "x"}


def test_a_quote_never_swallows_a_row(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text('text\tlabel\n"A\tx\nB"\ty\n', encoding="utf-8")
    assert [r["label"] for r in rows_of(path)] == ["x", "y"]


JSON_SHAPES = [
    ('[{"text": "a"}, {"text": "b"}]', [{"text": "a"}, {"text": "b"}]),
    ('{"data": [{"text": "a"}], "version": 1}', [{"text": "a"}]),
    ('{"text": ["a", "b"], "label": [1, 2]}',
     [{"text": "a", "label": 1}, {"text": "b", "label": 2}]),
    ('{"messages": [{"role": "user", "content": "a"}]}',
     [{"messages": [{"role": "user", "content": "a"}]}]),
    ('{\n "text": "one object"\n}', [{"text": "one object"}]),
    ('{"text": "a"}\n{"text": "b"}\n', [{"text": "a"}, {"text": "b"}]),
]  # fmt: skip


@pytest.mark.parametrize(("content", "rows"), JSON_SHAPES)
def test_shapes_of_json(tmp_path, content, rows):
    path = tmp_path / "rows.json"
    path.write_text(content, encoding="utf-8")
    assert rows_of(path) == rows


def test_squad_as_it_is_published_is_one_row_a_question(tmp_path):
    context = "Bonn lies at the Rhine."
    asked = [
        {"id": "1", "question": "Where?", "answers": [{"text": "the Rhine", "answer_start": 13}]},
        {"id": "2", "question": "When?", "is_impossible": True, "answers": []},
    ]
    paragraph = {"context": context, "qas": asked}
    content = {"version": "v2.0", "data": [{"title": "Bonn", "paragraphs": [paragraph]}]}
    path = tmp_path / "train-v2.0.json"
    path.write_text(json.dumps(content))
    found = load(path)
    assert found.task is Task.QUESTION_ANSWERING
    assert [record.text for record in found] == ["Where?", "When?"]
    assert [record.text_pair for record in found] == [context, context]
    assert [record.answers for record in found] == [(Answer("the Rhine", 13),), ()]
    for part, message in (
        ({"qas": asked}, "article 1, paragraph 1 has no text 'context'"),
        ({"context": context, "qas": [{"id": "3"}]}, "an item of 'qas' without a text 'question'"),
        ({"context": context, "qas": [asked[0] | {"answers": ["x"]}]}, "answer without a 'text'"),
    ):
        path.write_text(json.dumps({"data": [{"paragraphs": [part]}]}))
        with pytest.raises(DataError, match=f"looks like SQuAD, but .*{message}"):
            read_file(path)


def test_a_list_in_a_jsonl_file_is_read(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('[{"text": "a"},\n {"text": "b"}]', encoding="utf-8")
    assert rows_of(path) == [{"text": "a"}, {"text": "b"}]


def test_row_numbers_are_lines(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('\n{"text": "a\u2028b"}\n\n{"text": "c"}', encoding="utf-8")
    table = read_file(path)
    assert list(table.numbers) == [2, 4]
    assert table.rows[0]["text"] == "a\u2028b"


def test_a_missing_number_written_as_nan_is_missing(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a", "x": NaN}', encoding="utf-8")
    assert rows_of(path) == [{"text": "a", "x": None}]


FAULTS = [
    ("rows.jsonl", b"", "is empty"),
    ("rows.jsonl", b" \n\n", "blank space"),
    ("rows.json", b"[]", "no rows"),
    ("rows.csv", b"text,label\n", "no rows"),
    ("rows.jsonl", b'{"text": "a"}\n{"text": "b"\n',
     r"1 broken line: line 2: Expecting ',' delimiter at column 13: '\{\"text\": \"b\"'"),
    ("rows.jsonl", b'{"text": "a"}\n["b"]\n', "line 2: .* is not an object"),
    ("rows.jsonl", b'{"text": "a", "text": "b"}\n', "'text' is there twice"),
    ("rows.jsonl", b'{"x": Infinity}\n', "Infinity"),
    ("rows.jsonl", b'{"text": "a\x00"}\n', "zero byte in line 1"),
    ("rows.jsonl", b"x" * 7 + b"\n" * 1 + b"y\n" * 5, "6 broken lines.*and 3 more"),
    ("rows.json", b'[{"text": "a"},\n {"text": }]', "line 2, column 11"),
    ("rows.json", b'[{"text": "a"}, 3]', "item 2 of the list"),
    ("rows.csv", b"text,label\na,x\nb,c,y\n", "line 3 with 3: 'b,c,y'"),
    ("rows.csv", b"text,label\na,x\nb\n", "line 3 with 1"),
    ("rows.csv", b"text,text\na,x\n", "more than one column named 'text'"),
    ("rows.csv", b"I love this film so much,1\nI hate it,0\n", "looks like data"),
    ("rows.csv", b"good,pos\nbad,neg\nfine,pos\nok,pos\n", "looks like data.*'pos'"),
    ("rows.parquet", b"PAR1 and then nothing", "not a whole Parquet file"),
    ("rows.bin", b"\x01\x02\x03", r"unknown ending '.bin'"),
    ("rows.pkl", b"\x80\x04.", r"unknown ending '.pkl'"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "message"), FAULTS)
def test_faulty_files_are_errors_that_name_the_place(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_file(path)
    assert name in str(caught.value)


def test_long_lines_are_shortened_in_errors(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "' + "a" * 100_000, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_file(path)
    assert len(str(caught.value)) < 500


def test_parquet_keeps_types_and_class_names(tmp_path):
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    path = tmp_path / "rows.parquet"
    datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features).to_parquet(path)
    table = read_file(path)
    assert [dict(r) for r in table.rows] == [{"text": "a", "label": 1}, {"text": "b", "label": 0}]
    assert table.classes == {"label": ["no", "yes"]}


def test_a_text_file_is_cut_between_paragraphs_and_nothing_is_lost(tmp_path):
    paragraphs = [f"Paragraph {i}. " + "words " * 120 for i in range(40)]
    path = tmp_path / "book.txt"
    path.write_text("\n\n".join(paragraphs) + "\n", encoding="utf-8")
    table = read_file(path)
    assert 4 < len(table) < 40
    assert "\n\n".join(row["text"] for row in table.rows).split() == path.read_text().split()
    lines = path.read_text().split("\n")
    for row, number in zip(table.rows, table.numbers, strict=True):
        assert lines[number - 1] == row["text"].split("\n")[0]


names = st.text(st.characters(categories=["L"]), min_size=1, max_size=8)
cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=30)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(names, cells | st.integers() | st.none(), min_size=1), min_size=1))
def test_jsonl_reads_back_what_json_writes(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("jsonl") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert rows_of(path) == rows


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=8), st.sampled_from(",;\t|"))
def test_csv_reads_back_what_csv_writes(tmp_path_factory, rows, delimiter):
    import csv

    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, delimiter=delimiter, quoting=csv.QUOTE_ALL)
        writer.writerows([("text", "label"), *rows])
    assert [(r["text"], r["label"]) for r in rows_of(path)] == rows


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=1, max_size=200), st.sampled_from(["jsonl", "json", "csv", "tsv", "txt"]))
def test_any_bytes_are_read_or_refused_with_a_data_error(tmp_path_factory, content, ending):
    path = tmp_path_factory.mktemp("bytes") / f"rows.{ending}"
    path.write_bytes(content)
    try:
        table = read_file(path)
    except DataError as error:
        assert "rows." in str(error)
    else:
        assert len(table) > 0
