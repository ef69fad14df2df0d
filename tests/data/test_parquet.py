"""Large Parquet files are unpacked once, and then are what they are in memory."""

from __future__ import annotations

import json
import shutil

import pyarrow
import pyarrow.parquet
import pytest

from tunewright.artifacts import MANIFEST
from tunewright.data import files, parquet
from tunewright.data.audit import audit
from tunewright.data.sources import load
from tunewright.errors import DataError, SpaceError

ROWS = [
    {
        "text": f"row {i % 40} über \u2028 'so' \"quoted\"\r\n",
        "label": i % 2,
        "at": None if i % 3 else 10**15 + i,
        "deep": {"x": [i, None], "share": i / 7},
    }
    for i in range(300)
]
CLASSES = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["no", "yes"]}}}}


@pytest.fixture
def large(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNEWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(parquet, "_ROWS_AT_ONCE", 64)
    return write(tmp_path / "rows.parquet", ROWS)


def write(path, rows) -> str:
    table = pyarrow.Table.from_pylist(rows)
    table = table.replace_schema_metadata({"huggingface": json.dumps(CLASSES)})
    pyarrow.parquet.write_table(table, path, row_group_size=100)
    return str(path)


def spool(tmp_path):
    (folder,) = (tmp_path / "cache" / "rows").iterdir()
    return folder


def test_rows_are_those_of_the_file_in_memory(large, monkeypatch) -> None:
    held = load(large)
    monkeypatch.setattr(files, "IN_MEMORY", 0)
    stored = load(large)
    assert (held.on_disk, stored.on_disk) == (False, True)
    assert list(stored) == list(held)
    assert stored.labels == ["no", "yes"]
    assert audit(stored).to_dict() == audit(held).to_dict()


def test_a_file_is_unpacked_once_until_it_changes(large, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(files, "IN_MEMORY", 0)
    load(large)
    made = (spool(tmp_path) / "rows.jsonl").stat()
    load(large)
    assert (spool(tmp_path) / "rows.jsonl").stat() == made
    write(tmp_path / "rows.parquet", ROWS[:200])
    assert len(load(large)) == 200
    (spool(tmp_path) / MANIFEST).unlink()  # as a process leaves it that is killed while it writes
    (spool(tmp_path) / "rows.jsonl").write_text("{")
    assert len(load(large)) == 200


def test_small_files_are_not_unpacked(large, tmp_path) -> None:
    load(large)
    assert not (tmp_path / "cache").exists()


def test_damage_is_said_of_the_file_and_leaves_nothing(large, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(files, "IN_MEMORY", 0)
    content = bytearray((tmp_path / "rows.parquet").read_bytes())
    content[2000:2600] = bytes(600)
    (tmp_path / "rows.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"rows\.parquet is not a whole Parquet file"):
        load(large)
    assert [p.name for p in spool(tmp_path).iterdir()] == [".lock"]
    (tmp_path / "rows.parquet").write_bytes(content[:-5])
    with pytest.raises(DataError, match=r"rows\.parquet is not a whole Parquet file"):
        load(large)


def test_a_number_without_end_is_named_by_its_row(tmp_path, large, monkeypatch) -> None:
    monkeypatch.setattr(files, "IN_MEMORY", 0)
    rows = [{"text": "a", "score": float("inf") if i == 6 else 0.5} for i in range(9)]
    path = write(tmp_path / "scores.parquet", rows)
    with pytest.raises(DataError, match=r"scores\.parquet has 1 broken line: line 7: Infinity"):
        load(path)


def test_a_disk_without_room_is_refused_first(large, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(files, "IN_MEMORY", 0)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=1_000_000))
    with pytest.raises(SpaceError, match=r"Unpacking .*rows\.parquet, once, needs about"):
        load(large)
    assert [p.name for p in spool(tmp_path).iterdir()] == [".lock"]
