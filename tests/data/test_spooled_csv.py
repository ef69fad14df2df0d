"""Large CSV files are unpacked once, and then are what they are in memory."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunewright.data import files
from tunewright.data.audit import audit
from tunewright.data.files import read_file
from tunewright.data.sources import load
from tunewright.errors import DataError

ROWS = [
    (f'row {i % 40} \u00fcber, "so"' + ("\nand\non" if i % 7 == 3 else ""), "ab"[i % 2], str(i))
    for i in range(300)
]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNEWRIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "rows"


def written(rows: Sequence[Sequence[str]], delimiter: str = ",", end: str = "\r\n") -> str:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator=end)
    writer.writerows([("text", "label", "id"), *rows])
    return buffer.getvalue()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
@pytest.mark.parametrize(("ending", "delimiter"), [("csv", ";"), ("tsv", "\t")])
def test_rows_and_lines_are_those_of_the_file_in_memory(
    encoding: str, ending: str, delimiter: str, tmp_path: Path, cache: Path
) -> None:
    path = tmp_path / f"rows.{ending}"
    path.write_bytes((written(ROWS, delimiter) + "\r\n").encode(encoding))
    held, stored = read_file(path), read_file(path, 0)
    assert list(stored.rows) == list(held.rows)
    assert list(stored.numbers or ()) == list(held.numbers or ())
    (folder,) = cache.iterdir()
    made = (folder / "rows.jsonl").stat()
    read_file(path, 0)
    assert (folder / "rows.jsonl").stat() == made


def test_the_audit_of_a_large_file_is_that_of_a_small_one(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(written(ROWS), encoding="utf-8")
    held = load(str(path))
    monkeypatch.setattr(files, "IN_MEMORY", 0)
    stored = load(str(path))
    assert (held.on_disk, stored.on_disk) == (False, True)
    assert list(stored) == list(held)
    assert audit(stored).to_dict() == audit(held).to_dict()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"text,label\nok,a\none,two,three\nok,b\n", "the first is line 3 with 3"),
        (b"text,text\na,b\n", "more than one column named 'text'"),
        (b"text,label\n\xc3\xa9\xc3\xa9,a\nb\xff,c\n", "byte 19 (line 3)"),
        (b"text,label\na\x00,b\n", "zero byte in line 2"),
        (b" \n \n", "only blank space"),
        (b"12,a\n13,b\n", "looks like data"),
    ],
)
def test_damage_is_said_as_of_a_small_file_and_leaves_nothing(
    content: bytes, said: str, tmp_path: Path, cache: Path
) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    messages = []
    for limit in (None, 0):
        with pytest.raises(DataError) as found:
            read_file(path, limit)
        messages.append(str(found.value))
    assert said in messages[0]
    assert messages[0] == messages[1]
    assert [p.name for p in next(cache.iterdir()).iterdir()] == [".lock"]


def test_wide_characters_are_read_whole(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(written(ROWS), encoding="utf-16")
    assert len(read_file(path, 0)) == len(ROWS)
    assert not cache.exists()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(*[st.text(alphabet=st.sampled_from('ab ,;\t"\n\u00e9|'), max_size=8)] * 3),
        min_size=1,
        max_size=8,
    )
)
def test_whatever_the_cells_hold_both_ways_agree(
    rows: list[tuple[str, str, str]], tmp_path: Path, cache: Path
) -> None:
    path = tmp_path / "any.csv"
    path.write_text(written(rows, end="\n"), encoding="utf-8", newline="")
    found = []
    for limit in (None, 0):
        try:
            table = read_file(path, limit)
            found.append((list(table.rows), list(table.numbers or ())))
        except DataError as error:
            found.append((str(error), []))
    assert found[0] == found[1]
