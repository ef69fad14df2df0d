"""What is written in any format is read back as it was, whatever the words are."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunewright.data.files import read_file
from tunewright.data.records import Message, Record
from tunewright.data.sources import load

QUICK = settings(max_examples=25, deadline=None)
words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
ends = st.sampled_from(
    ["", " ", '"', "a,b;c|d\te", 'say ""hi""', "two\nlines", "\ufeff", "<|im_end|>", "NULL", "1e5"]
)
texts = words | ends | st.tuples(words, ends).map("".join)
said = texts.filter(str.strip)
numbers = st.integers(-(2**53), 2**53)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("read-back")


@QUICK
@given(rows=st.lists(st.tuples(texts, numbers, st.floats(allow_nan=False)), min_size=1, max_size=6))
def test_parquet_reads_back_what_arrow_writes(folder: Path, rows: list[Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / "rows.parquet"
    columns = dict(zip(("text", "id", "score"), map(list, zip(*rows, strict=True)), strict=True))
    nested = [[{"role": "user", "content": text}] for text in columns["text"]]
    pq.write_table(pa.table({**columns, "messages": nested}), path)
    assert [dict(row) for row in read_file(path).rows] == [
        {
            "text": text,
            "id": number,
            "score": score,
            "messages": [{"role": "user", "content": text}],
        }
        for text, number, score in rows
    ]


@QUICK
@given(rows=st.lists(st.tuples(texts, texts), min_size=1, max_size=6), unicode=st.booleans())
def test_json_reads_back_what_it_writes(
    folder: Path, rows: list[tuple[str, str]], unicode: bool
) -> None:
    wanted = [{"text": text, "label": label} for text, label in rows]
    listed = json.dumps(wanted, ensure_ascii=not unicode)
    lines = "".join(json.dumps(row, ensure_ascii=not unicode) + "\n" for row in wanted)
    for name, content in (("rows.json", listed), ("rows.jsonl", lines)):
        (folder / name).write_text(content, encoding="utf-8", newline="")
        assert [dict(row) for row in read_file(folder / name).rows] == wanted


@QUICK
@given(
    rows=st.lists(st.tuples(said, st.sampled_from(["yes", "no"])), min_size=1, max_size=6),
    delimiter=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_records_of_a_table_are_its_rows(
    folder: Path, rows: list[tuple[str, str]], delimiter: str, end: str
) -> None:
    path = folder / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator=end)
        writer.writerows([("text", "label"), *rows])
    found = load(path, task="classification")
    # Every line end becomes one: Windows and old Macs write others than a model will see.
    wanted = [(text.replace("\r\n", "\n").replace("\r", "\n"), label) for text, label in rows]
    assert [(record.text, record.label) for record in found] == wanted


@QUICK
@given(
    turns=st.lists(
        st.tuples(st.none() | texts, st.lists(st.tuples(said, said, st.booleans()), min_size=1)),
        min_size=1,
        max_size=3,
    )
)
def test_conversations_are_read_back_with_what_is_trained(folder: Path, turns: Any) -> None:
    records = []
    for system, pairs in turns:
        messages = [Message("system", system)] if system is not None else []
        for question, answer, train in pairs:
            messages += [Message("user", question), Message("assistant", answer, train)]
        messages[-1] = Message(
            "assistant", pairs[-1][1], True
        )  # a row that trains nothing is refused
        records.append(Record(messages=tuple(messages)))
    path = folder / "chats.jsonl"
    lines = (json.dumps(r.to_row(), ensure_ascii=False) + "\n" for r in records)
    path.write_text("".join(lines), encoding="utf-8", newline="")
    found = load(path)
    assert [record.messages for record in found] == [record.messages for record in records]
