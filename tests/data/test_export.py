"""What is written is read back, in every layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunewright.artifacts import Artifact, hash_files
from tunewright.config.task import Task
from tunewright.data.export import DatasetFormat, export_dataset, write_dataset
from tunewright.data.records import Dataset, Message, Record, Splits
from tunewright.data.sources import load, load_splits
from tunewright.errors import DataError

LABELLED = [
    Record(text="Ça va, “ok”?\nsecond line", label="1", meta={"id": 7}),
    Record(text="=cmd()", label="b", meta={"id": 8}),
    Record(text='a "quoted", text', label="1", meta={"id": 9}),
]
MULTI = [
    Record(text="one", label=("a", "b")),
    Record(text="two", label=()),
    Record(text="three", label=("b",)),
]
NUMBERS = [Record(text="one", text_pair="uno", label=1.0), Record(text="a", text_pair="b", label=2)]
CHATS = [
    Record(
        messages=(
            Message("system", "s"),
            Message("user", "a"),
            Message("assistant", "b"),
            Message("user", "c"),
            Message("assistant", "d", train=True),
        ),
        meta={"group": "g1"},
    ),
    Record(messages=(Message("user", "e"), Message("assistant", "f", train=True))),
]
TEXTS = [Record(text="label,text\n1,2"), Record(text="plain")]
SETS = [
    (Task.CLASSIFICATION, LABELLED),
    (Task.MULTILABEL, MULTI),
    (Task.REGRESSION, NUMBERS),
    (Task.INSTRUCTION, CHATS),
    (Task.TEXT, TEXTS),
]


def splits_of(task, records) -> Splits:
    return Splits(
        Dataset(task, tuple(records)), Dataset(task, ()), Dataset(task, tuple(records[:1]))
    )


def as_xml(rows, path: Path) -> Path:
    """A writer of the user's own: one element a row."""
    file = path.with_name(path.name + ".xml")
    file.write_text("".join(f"<row>{row['text']}</row>" for row in rows), encoding="utf-8")
    return file


def test_a_writer_of_the_users_own_writes_each_part(tmp_path):
    made = splits_of(Task.TEXT, [Record(text="one"), Record(text="two")])
    metadata = export_dataset(made, tmp_path / "new" / "out", "custom", writer=as_xml)
    described = json.loads(metadata.read_text())
    assert described["files"] == {"train": "out_train.xml", "test": "out_test.xml"}
    assert (tmp_path / "new" / "out_train.xml").read_text() == "<row>one</row><row>two</row>"
    names = sorted(path.name for path in metadata.parent.iterdir())
    assert names == ["out_metadata.json", "out_test.xml", "out_train.xml"]
    with pytest.raises(DataError, match=r"\.xml"):
        load(metadata)  # nothing says how to read it


def test_a_writer_of_rows_that_tunewright_reads_is_read_back(tmp_path):
    def as_lines(rows, path: Path) -> str:
        file = path.with_name(path.name + ".v2.jsonl")
        file.write_text("".join(json.dumps({"text": row["text"]}) + "\n" for row in rows))
        return str(file)

    made = splits_of(Task.TEXT, [Record(text="one"), Record(text="two")])
    export_dataset(made, tmp_path / "out", DatasetFormat.CUSTOM, writer=as_lines)
    assert [r.text for r in load_splits(str(tmp_path / "out"), 0, 0).train] == ["one", "two"]


@pytest.mark.parametrize(
    ("writer", "told"),
    [
        (lambda rows, path: None, "returned None for the part 'train'"),
        (lambda rows, path: path, "which is no file"),
        (lambda rows, path: Path(__file__), "must only add an ending"),
    ],
)
def test_a_writer_that_writes_no_file_leaves_nothing(tmp_path, writer, told):
    made = splits_of(Task.TEXT, [Record(text="one")])
    with pytest.raises(DataError, match=told):
        export_dataset(made, tmp_path / "out", "custom", writer=writer)
    assert list(tmp_path.iterdir()) == []


def test_custom_and_a_writer_go_together(tmp_path):
    made = splits_of(Task.TEXT, [Record(text="one")])
    with pytest.raises(DataError, match="needs a writer"):
        export_dataset(made, tmp_path / "out", "custom")
    with pytest.raises(DataError, match="the format is 'csv'; use 'custom'"):
        export_dataset(made, tmp_path / "out", "csv", writer=as_xml)


def content(splits):
    return [
        [(r.text, r.text_pair, r.label, r.messages) for r in part] for _, part in splits.items()
    ]


@pytest.mark.parametrize(("task", "records"), SETS)
def test_a_data_artifact_reads_back_exactly(tmp_path, task, records):
    splits = splits_of(task, records)
    artifact = write_dataset(splits, tmp_path / "data")
    assert artifact.status == "done"
    found = load_splits(tmp_path / "data", 0.3, 0.3)
    assert found.task is task
    assert content(found) == content(splits)
    assert [dict(r.meta) for r in found.train] == [dict(r.meta) for r in records]


def test_equal_data_gives_equal_files_and_old_parts_go(tmp_path):
    splits = splits_of(Task.CLASSIFICATION, LABELLED)
    write_dataset(splits, tmp_path / "one")
    write_dataset(splits, tmp_path / "two")
    assert hash_files(tmp_path / "one") == hash_files(tmp_path / "two")
    empty = Dataset(Task.CLASSIFICATION, ())
    write_dataset(Splits(splits.train, empty, empty), tmp_path / "one")
    assert sorted(hash_files(tmp_path / "one")) == ["train.jsonl"]


def test_an_unfinished_artifact_is_refused(tmp_path):
    write_dataset(splits_of(Task.TEXT, TEXTS), tmp_path / "data")
    artifact = Artifact.open(tmp_path / "data")
    artifact.status = "running"
    artifact.write()
    with pytest.raises(DataError, match="not written to its end"):
        load(tmp_path / "data")


@pytest.mark.parametrize("form", [f for f in DatasetFormat if f is not DatasetFormat.CUSTOM])
@pytest.mark.parametrize(("task", "records"), SETS)
def test_exports_read_back_by_prefix_metadata_and_file(tmp_path, monkeypatch, form, task, records):
    monkeypatch.chdir(tmp_path)
    splits = splits_of(task, records)
    metadata = export_dataset(splits, "prepared_dataset", form, {"author": "me"})
    assert metadata == Path("prepared_dataset_metadata.json")
    for way in ("prepared_dataset", str(metadata), metadata.absolute()):
        assert content(load_splits(way, 0.2, 0.2)) == content(splits)
    assert json.loads(metadata.read_text(encoding="utf-8"))["metadata"] == {"author": "me"}
    if form is DatasetFormat.HUGGINGFACE:
        import datasets

        assert set(datasets.load_from_disk("prepared_dataset")) == {"train", "test"}
    else:
        one = Path(f"prepared_dataset_train.{form.value}")
        assert content(load_splits(one, 0.0, task=task))[0] == content(splits)[0]
        assert not Path(f"prepared_dataset_validation.{form.value}").exists()


def test_the_folder_of_an_export_is_a_source(tmp_path):
    splits = splits_of(Task.CLASSIFICATION, LABELLED)
    export_dataset(splits, tmp_path / "out" / "prepared", "JSONL")
    assert content(load_splits(tmp_path / "out", 0.0)) == content(splits)


def test_exporting_again_replaces_what_was_there(tmp_path):
    splits = splits_of(Task.CLASSIFICATION, LABELLED)
    for form in ("huggingface", "csv"):
        export_dataset(splits, tmp_path / form, form)
        export_dataset(Dataset(Task.CLASSIFICATION, tuple(LABELLED[:2])), tmp_path / form, form)
        assert [len(p) for _, p in load_splits(tmp_path / form, 0.0).items()] == [2, 0, 0]
    assert not list(tmp_path.glob(".*"))


def test_a_folder_that_is_something_else_is_not_replaced(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(DataError, match="not a saved `datasets` folder"):
        export_dataset(splits_of(Task.TEXT, TEXTS), tmp_path / "mine", "huggingface")
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_a_dataset_dict_is_exported_with_names_for_classes(tmp_path):
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    part = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features)
    export_dataset(datasets.DatasetDict({"train": part}), tmp_path / "x", "jsonl")
    assert [r.label for r in load(tmp_path / "x")] == ["yes", "no"]
    export_dataset({"train": [{"prompt": "a", "completion": "b"}]}, tmp_path / "y", "parquet")
    assert load(tmp_path / "y").task is Task.INSTRUCTION


def test_wrong_calls_write_nothing(tmp_path):
    splits = splits_of(Task.TEXT, TEXTS)
    with pytest.raises(DataError, match=r"Unknown format 'jsnl'.*'jsonl'"):
        export_dataset(splits, tmp_path / "x", "jsnl")
    with pytest.raises(DataError, match="Unknown part 'training'"):
        export_dataset({"training": [{"text": "a"}]}, tmp_path / "x")
    with pytest.raises(DataError, match="no row to export"):
        export_dataset(Dataset(Task.TEXT, ()), tmp_path / "x")
    with pytest.raises(DataError, match="names no file"):
        export_dataset(splits, "")
    assert list(tmp_path.iterdir()) == []


def test_mixed_types_in_a_column_become_text_in_parquet(tmp_path):
    rows = [
        {"text": "a", "extra": 1},
        {"text": "b", "extra": "x"},
        {"text": "c", "extra": {"k": 1}},
    ]
    export_dataset({"train": rows}, tmp_path / "x", "parquet")
    assert [r.meta["extra"] for r in load(tmp_path / "x")] == ["1", "x", '{"k": 1}']
