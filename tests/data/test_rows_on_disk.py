"""A file that stays on disk gives what it gives in memory: records, audit, splits, files."""

from __future__ import annotations

import json
import random
import tracemalloc
from array import array
from pathlib import Path

import numpy as np
import pytest

from tunewright.data import copies, files, row_groups
from tunewright.data import split as split_module
from tunewright.data.audit import audit
from tunewright.data.clean import clean
from tunewright.data.export import export_dataset
from tunewright.data.finding import Places
from tunewright.data.records import Dataset, LazyRecords, Record, Task
from tunewright.data.row_groups import groups_of, key_of
from tunewright.data.row_store import RowPlaces, StoredRows
from tunewright.data.sources import load, load_splits
from tunewright.data.split import split
from tunewright.errors import DataError
from tunewright.fine_tuning import DataCollectionConfig, DataCollector

_NOISE = random.Random(0)
WORDS = ["".join(_NOISE.choices("abdegiklmnoprstu", k=6)) for _ in range(3000)]


def said(noise: random.Random) -> str:
    return " ".join(noise.choices(WORDS, k=9)) + f" {noise.randrange(10**6)} über"


def labelled(noise: random.Random, count: int) -> list[dict]:
    """Rows with copies, near copies, groups, markup, mail addresses, control characters."""
    rows: list[dict] = []
    for i in range(count):
        text = said(noise)
        if i % 7 == 6:
            text = rows[noise.randrange(i)]["text"] + noise.choice(["", " ", " so", "!"])
        if i % 31 == 0:
            text += noise.choice(
                [" <b>so</b>", " me@example.org", " \u0007", " Ã©", " sk-" + "a" * 30]
            )
        row = {"text": text, "label": noise.choice("aaabbc"), "id": i, "same": 1}
        if i % 5 == 0:
            row["group"] = f"g{noise.randrange(40)}"
        rows.append(row)
    return rows


def asked(noise: random.Random, count: int) -> list[dict]:
    prompts = [said(noise) for _ in range(count // 3)]
    return [
        {"prompt": noise.choice(prompts), "completion": said(noise), "kind": i % 4}
        for i in range(count)
    ]


def scored(noise: random.Random, count: int) -> list[dict]:
    return [{"text": said(noise), "score": noise.random() * 10} for _ in range(count)]


def write(path, rows) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return str(path)


@pytest.fixture
def both(monkeypatch):
    """Calls a function twice: with the rows of every file in memory, and on disk."""

    def call(work):
        monkeypatch.setattr(files, "IN_MEMORY", 10**9)
        in_memory = work()
        monkeypatch.setattr(files, "IN_MEMORY", 0)
        return in_memory, work()

    return call


def contents(splits):
    return {name: list(part) for name, part in splits.items()}


@pytest.mark.parametrize("made", [labelled, asked, scored])
def test_audit_splits_and_cleaning_are_the_same(tmp_path, both, made):
    path = write(tmp_path / "rows.jsonl", made(random.Random(1), 240))

    def work():
        data = load(path)
        cut = load_splits(path, 0.1, 0.2, seed=3)
        cleaned = clean(data)
        return (
            audit(data).to_dict(),
            contents(cut),
            audit(cut, cut_here=True).to_dict(),
            contents(cleaned.splits),
            cleaned.changes,
            data.on_disk,
        )

    in_memory, on_disk = both(work)
    assert in_memory[:-1] == on_disk[:-1]
    assert (in_memory[-1], on_disk[-1]) == (False, True)
    if made is labelled:
        found = {finding["id"] for finding in on_disk[0]["findings"]}
        wanted = {"duplicate.exact", "duplicate.near", "label.contradictory", "personal.data"}
        assert wanted | {"secret.key", "encoding.control", "constant.column"} <= found


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_exports_are_the_same_bytes(tmp_path, both, form):
    path = write(tmp_path / "rows.jsonl", asked(random.Random(2), 120))
    parts = ("train", "validation", "test")

    def work():
        collector = DataCollector(
            DataCollectionConfig(
                sources=[path],
                output_format=form,
                output_path=str(tmp_path / "out"),
                max_samples=80,
                min_length=30,
                filter_function=lambda row: row["kind"] != 3,
            )
        )
        collector.export()
        export_dataset(load_splits(path, 0.2, 0.1), tmp_path / "cut", form)
        names = [f"{name}_{part}.{form}" for name in ("out", "cut") for part in parts]
        return [(tmp_path / name).read_bytes() for name in names]

    in_memory, on_disk = both(work)
    assert in_memory == on_disk


def test_records_are_found_by_place_in_any_order(tmp_path, monkeypatch):
    rows = labelled(random.Random(3), 1200)
    path = tmp_path / "rows.jsonl"
    write(path, rows)
    path.write_text("\n\n" + path.read_text("utf-8").replace("\n", "\n \n"), "utf-8")
    held = load(path).records
    monkeypatch.setattr(files, "IN_MEMORY", 0)
    data = load(path)
    stored = data.records
    assert isinstance(stored, LazyRecords)
    assert list(stored) == list(held)
    assert [record.row for record in stored][:2] == [3, 5]
    assert (stored[0], stored[-1], stored[700]) == (held[0], held[-1], held[700])
    assert stored[10:40:3] == held[10:40:3]
    with pytest.raises(IndexError):
        stored[1200]
    order = random.Random(4).sample(range(1200), 900)
    chosen = data.select(order)
    assert list(chosen) == [held[i] for i in order]
    again = chosen.select([5, 5, 0])
    assert list(again) == [held[order[5]], held[order[5]], held[order[0]]]
    assert list(data.select([])) == []
    assert len(load(f"{path}#50")) == 50


def test_files_on_disk_and_in_memory_make_one_data_set(tmp_path, monkeypatch):
    small = write(tmp_path / "small.jsonl", labelled(random.Random(5), 20))
    large = write(tmp_path / "large.jsonl", labelled(random.Random(6), 900))
    held = load([large, small, large])
    monkeypatch.setattr(files, "IN_MEMORY", 10_000)
    data = load([large, small, large])
    assert data.on_disk
    assert list(data) == list(held)
    assert data.records[905] == held.records[905]
    order = [*range(890, 930), 3, 1819, 2]
    chosen = data.select(order)
    assert list(chosen) == [held.records[i] for i in order]
    assert list(chosen.select([41, 0])) == [held.records[1819], held.records[890]]


def test_encodings_and_line_ends_are_those_of_memory(tmp_path, both):
    line = json.dumps({"text": "naïve café", "label": "a"}, ensure_ascii=False)
    contents = [
        (f"{line}{end}" * 3).encode(encoding)
        for encoding in ("utf-8", "utf-8-sig", "cp1252", "utf-16")
        for end in ("\n", "\r\n", "\r", "\n\r")
    ]
    for content in contents:
        path = tmp_path / "rows.jsonl"
        path.write_bytes(content)
        in_memory, on_disk = both(lambda path=path: list(load(path)))
        assert in_memory == on_disk
        assert [record.text for record in on_disk] == ["naïve café"] * 3


def test_a_file_that_changes_while_it_is_in_use_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "IN_MEMORY", 0)
    path = tmp_path / "rows.jsonl"
    write(path, labelled(random.Random(7), 30))
    data = load(path)
    with path.open("a") as file:
        file.write("{}\n")
    with pytest.raises(DataError, match="was changed while it was being read"):
        list(data)


def test_a_row_that_does_not_fit_is_named_by_its_line(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "IN_MEMORY", 0)
    rows = labelled(random.Random(8), 30)
    rows[20]["label"] = None
    path = write(tmp_path / "rows.jsonl", rows)
    with pytest.raises(DataError, match=r"1 row does not fit task 'classification'.*row 21: "):
        load(path)


def test_a_row_on_disk_costs_few_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "IN_MEMORY", 0)
    monkeypatch.setattr(split_module, "NEAR_ROWS", 0)  # whose memory does not grow with the rows
    path = write(tmp_path / "rows.jsonl", labelled(random.Random(9), 2000))
    load(path)  # what is imported and cached stays out of the measure
    tracemalloc.start()
    try:
        data = load(path)
        cut = split(data, 0.1, 0.1)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(cut.train) > 1500
    assert kept < 50 * 2000 + 50_000


def test_of_many_rows_some_are_drawn_and_held_out_rows_meet_all(tmp_path, monkeypatch):
    noise = random.Random(10)
    train = [{"text": said(noise), "label": noise.choice("ab")} for _ in range(400)]
    test = [{"text": said(noise), "label": "a"} for _ in range(10)]
    for place, row in ((3, 0), (399, 1)):
        test[row]["text"] = train[place]["text"].replace(" über", ", uber")
    test[2]["text"] = train[200]["text"].upper()
    write(tmp_path / "train.jsonl", train)
    write(tmp_path / "test.jsonl", test)
    monkeypatch.setattr(files, "IN_MEMORY", 0)
    monkeypatch.setattr(copies, "NEAR_ROWS", 50)
    found = {f.id: f for f in audit(load_splits(tmp_path, 0.0, 0.0)).findings}
    assert "Of 410 rows, 60 drawn at random" in found["audit.sampled"].message
    assert list(found["leakage.near"].places) == [("test", 0), ("test", 1)]
    assert list(found["leakage.exact"].places) == [("test", 2)]
    monkeypatch.setattr(copies, "NEAR_ROWS", 500)
    assert "audit.sampled" not in {f.id for f in audit(load_splits(tmp_path, 0.0, 0.0)).findings}


def test_equal_rows_are_grouped_by_first_appearance():
    keys = array("Q", map(key_of, ["b", "a", "", "b", "c", "a", "", "b"]))
    groups = groups_of(keys)
    assert list(groups) == [[0, 3, 7], [1, 5]]
    assert groups.later.tolist() == [3, 7, 5]
    assert [groups.with_row(row) for row in (0, 1, 4)] == [[0, 3, 7], [1, 5], [4]]
    assert list(groups_of(array("Q", [5, 6]))) == []


def test_places_are_a_sequence_of_parts_and_rows():
    places = Places([("test", 4), ("train", 0)])
    places.add("validation", 10**8)
    assert list(places) == [("test", 4), ("train", 0), ("validation", 10**8)]
    assert places[1:] == (("train", 0), ("validation", 10**8))
    assert len(places) == 3


def test_the_file_is_closed_when_its_rows_are_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "IN_MEMORY", 0)
    path = write(tmp_path / "rows.jsonl", labelled(random.Random(11), 30))
    opened = Path("/proc/self/fd")
    before = len(list(opened.iterdir()))
    data = load(path)
    assert len(list(opened.iterdir())) == before + 1
    del data
    assert len(list(opened.iterdir())) == before


ODD_LINES = (
    '{"text": "he said \\"so\\" : twice", "label": "a", "id": 1}',
    '{ "text" : "spaced" , "label" : "b", "id"\t: 2 }',
    '{"text": "whole", "label": "a", "id": 18446744073709551616}',
    '{"text": "small", "label": "a", "id": -9223372036854775809, "at": 1e22}',
    '{"text": "deep", "label": "b", "id": {"x": [{"y": 36893488147419103232}]}}',
    '{"text": "no number", "label": "b", "id": NaN}',
    '{"text": "half \\ud83d of a character, and \\ud83d\\ude00", "label": "a", "id": -0}',
    '{"text": "fraction", "label": "a", "id": 1e400, "at": 0.1000000000000000055}',
)


@pytest.mark.parametrize("line", ["\n".join(ODD_LINES), *ODD_LINES[:2], ODD_LINES[5]])
def test_lines_that_orjson_reads_otherwise_are_those_of_json(tmp_path, both, line):
    plain = '{"text": "plain", "label": "c", "id": 3}'
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{plain}\n\n \u00a0\n{line}\n{plain}\r\n", "utf-8")
    lines = (plain, *line.split("\n"), plain)
    rows = [json.loads(text, parse_constant=lambda _: None) for text in lines]
    in_memory, on_disk = both(lambda: [record.meta for record in load(str(path))])
    used = ("text", "label")
    wanted = [{k: v for k, v in r.items() if k not in used and v is not None} for r in rows]
    assert repr(in_memory) == repr(on_disk) == repr(wanted)


@pytest.mark.parametrize(
    "line",
    [
        '{"text": "a", "label": "x", "text": "b"}',
        '{"text" : "a", "label" : "x", "text" : "b"}',
        '{"text"\t:"a","label"\t:"x","text"\t:"b"}',
        '{"text": "a", "label": "x", "t\\u0065xt": "b"}',
        '{"text": "a \\": ", "label": "x", "more": [{"k": 1, "text": 2, "text": 3}]}',
    ],
)
def test_a_key_that_is_there_twice_is_named_by_its_line(tmp_path, both, line):
    path = write(tmp_path / "rows.jsonl", labelled(random.Random(12), 5))
    with Path(path).open("a") as file:
        file.write(line + "\n")

    def work():
        with pytest.raises(DataError, match="line 6: the key 'text' is there twice"):
            load(path)

    both(work)


def test_audit_of_parts_with_planted_faults_is_the_same(tmp_path, both):
    noise = random.Random(13)
    train, test = labelled(noise, 200), labelled(noise, 60)
    test[1]["text"] = train[3]["text"].upper()
    test[2]["text"] = train[4]["text"].replace(" über", ", uber")
    test[3]["label"] = "unknown"
    test[4]["text"] = "  "
    train[9]["label"] = "rare"
    train[11]["text"] += " \ufffd &amp; Dear Mr Miller call +49 30 1234567"
    write(tmp_path / "train.jsonl", train)
    write(tmp_path / "test.jsonl", test)

    def work():
        found = audit(load_splits(tmp_path, 0.0, 0.0), words=("miller", "absent"))
        return found.to_dict(), {f.id: list(f.places) for f in found.findings}

    in_memory, on_disk = both(work)
    assert in_memory == on_disk
    places = on_disk[1]
    assert ("test", 1) in places["leakage.exact"]
    assert ("test", 2) in places["leakage.near"]
    assert places["label.unseen"] == [("test", 3)]
    assert places["empty.text"] == [("test", 4)]
    assert places["label.rare"] == [("train", 9)]
    for name in ("encoding.damage", "markup.html", "personal.data"):
        assert ("train", 11) in places[name]
    assert places["content.words"] == [("train", 11)]
    assert {"leakage.group", "secret.key"} <= places.keys()


def test_the_audit_reads_each_row_once_for_all_its_checks(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "IN_MEMORY", 0)
    monkeypatch.setattr(copies, "NEAR_ROWS", 20)
    data = load(write(tmp_path / "rows.jsonl", labelled(random.Random(14), 1500)))
    read = 0
    original = StoredRows.read

    def counted(rows, indices):
        nonlocal read
        for row in original(rows, indices):
            read += 1
            yield row

    monkeypatch.setattr(StoredRows, "read", counted)
    audit(data)
    assert 1500 <= read < 1500 + 20 * 2 + 300  # what is drawn, and the examples that are shown


def test_places_of_rows_take_a_few_bytes_and_are_found_in_any_order():
    noise = random.Random(15)
    places = RowPlaces()
    rows, at = [], 3
    for number in range(1, 201):
        length = noise.randrange(2, 5000)
        rows.append((at, length))
        places.add(at, length, number)
        at += length + 1
    wanted = noise.sample(range(200), 150)
    starts, lengths = places.find(np.array(wanted))
    assert starts.tolist() == [rows[i][0] for i in wanted]
    spans = [rows[i][1] + (i < 199) for i in wanted]  # up to the next row; the last has none
    assert lengths.tolist() == spans
    assert places.numbers == range(1, 201)
    held = len(places._steps) * 4 + len(places._anchors) * 8
    assert held <= 4.3 * 200 + 8
    places.add(at + 1, 5, 203)
    assert list(places.numbers)[-2:] == [200, 203]


def test_groups_of_slices_are_those_of_all(monkeypatch):
    noise = random.Random(16)
    values = [noise.choice([0, noise.getrandbits(64), noise.randrange(40)]) for _ in range(500)]
    values += [2**64 - 1, 2**64 - 1]
    wanted: dict[int, list[int]] = {}
    for row, value in enumerate(values):
        if value:
            wanted.setdefault(value, []).append(row)
    monkeypatch.setattr(row_groups, "_BLOCK", 64)
    groups = groups_of(array("Q", values))
    assert list(groups) == [rows for rows in wanted.values() if len(rows) > 1]
    assert groups.heads.tolist() == [rows[0] for rows in groups]


def test_of_long_rows_fewer_are_compared():
    assert copies.near_rows(30_000_000, 30_000_000 * 100) == 10_000
    assert copies.near_rows(1_000_000, 1_000_000 * 5_000) == 1_000
    assert copies.near_rows(50, 50 * 10**8) == 2


def test_lengths_are_those_of_all_rows():
    noise = np.random.default_rng(17)
    for count in (1, 2, 7, 100, 1001):
        sizes = noise.integers(0, 60, count)
        found = audit(Dataset(Task.TEXT, tuple(Record(text="x" * n) for n in sizes))).lengths
        assert found["median"] == int(np.median(sizes))
        assert found["p95"] == int(np.percentile(sizes, 95))
        assert (found["min"], found["max"]) == (sizes.min(), sizes.max())
        counts, _ = np.histogram(sizes, bins=found["histogram"]["edges"])
        assert found["histogram"]["counts"] == counts.tolist()
