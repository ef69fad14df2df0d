"""Sources: files, folders with parts, exports, lists, names. Nothing missing is passed over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunewright.config.task import Task
from tunewright.data import catalogue
from tunewright.data.sources import load, load_splits
from tunewright.errors import DataError

SHARED = Path(__file__).parents[3] / "shared" / "data"


def labelled(count: int, start: int = 0) -> list[dict[str, str]]:
    words = ["red", "blue", "green", "grey", "pink"]
    return [
        {
            "text": f"number {i} is a {words[i % 5]} thing seen in {1900 + 7 * i}",
            "label": "ab"[i % 2],
        }
        for i in range(start, start + count)
    ]


def put(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def sizes(splits) -> list[int]:
    return [len(part) for _, part in splits.items()]


def test_one_file_is_cut_by_shares_and_none_means_no_test(tmp_path):
    path = put(tmp_path / "rows.jsonl", labelled(100))
    assert sizes(load_splits(path)) == [90, 10, 0]
    assert sizes(load_splits(str(path), 0.0, 0.0)) == [100, 0, 0]
    assert sizes(load_splits(path, 0.1, 0.2)) == [70, 10, 20]
    assert len(load(path)) == 100


def test_a_relative_file_without_folder_part(tmp_path, monkeypatch):
    put(tmp_path / "rows.jsonl", labelled(10))
    monkeypatch.chdir(tmp_path)
    assert len(load("rows.jsonl")) == 10
    assert load("rows.jsonl").records[3].source == "rows.jsonl"


@pytest.mark.parametrize("name", ["validation", "valid", "dev", "val"])
def test_a_folder_with_parts(tmp_path, name):
    put(tmp_path / "train.jsonl", labelled(20))
    put(tmp_path / f"{name}.jsonl", labelled(6, 20))
    put(tmp_path / "test.jsonl", labelled(4, 26))
    (tmp_path / "README.md").write_text("about", encoding="utf-8")
    assert sizes(load_splits(tmp_path, 0.5, 0.4)) == [20, 6, 4]
    assert len(load(tmp_path)) == 30


def test_a_share_is_cut_only_for_a_missing_part(tmp_path):
    put(tmp_path / "train.jsonl", labelled(50))
    put(tmp_path / "test.jsonl", labelled(9, 50))
    assert sizes(load_splits(tmp_path, 0.1, 0.1)) == [45, 5, 9]


def test_sharded_and_prefixed_parts_and_folders_of_texts(tmp_path):
    put(tmp_path / "a/train-00000-of-00002.jsonl", labelled(3))
    put(tmp_path / "a/train-00001-of-00002.jsonl", labelled(4, 3))
    put(tmp_path / "a/test-00000-of-00001.jsonl", labelled(2, 7))
    assert sizes(load_splits(tmp_path / "a", 0.0)) == [7, 0, 2]
    put(tmp_path / "b/mine_train.jsonl", labelled(3))
    put(tmp_path / "b/mine_test.jsonl", labelled(2, 3))
    assert sizes(load_splits(tmp_path / "b", 0.0)) == [3, 0, 2]
    for part, count in (("train", 3), ("test", 1)):
        for i in range(count):
            path = tmp_path / "c" / part / f"{i}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"document {i} of {part}", encoding="utf-8")
    found = load_splits(tmp_path / "c", 0.0)
    assert (sizes(found), found.task) == ([3, 0, 1], Task.TEXT)


def test_ambiguous_folders_are_refused(tmp_path):
    put(tmp_path / "train.jsonl", labelled(3))
    (tmp_path / "train.csv").write_text("text,label\na,x\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"more than one train part: train\.csv, train\.jsonl"):
        load(tmp_path)
    put(tmp_path / "x/one_train.jsonl", labelled(3))
    put(tmp_path / "x/two_train.jsonl", labelled(3))
    with pytest.raises(DataError, match="several data sets: 'one', 'two'"):
        load(tmp_path / "x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no data file"):
        load(tmp_path / "empty")


def test_a_folder_of_files_without_parts_is_one_data_set(tmp_path):
    put(tmp_path / "b.jsonl", labelled(2, 3))
    put(tmp_path / "a.jsonl", labelled(3))
    assert [r.text[:8] for r in load(tmp_path)] == [f"number {i}" for i in range(5)]


def test_lists_of_sources_are_joined_in_order_and_by_part(tmp_path):
    one = put(tmp_path / "one.jsonl", labelled(10))
    put(tmp_path / "two/train.jsonl", labelled(5, 10))
    put(tmp_path / "two/test.jsonl", labelled(5, 15))
    found = load_splits([str(one), str(tmp_path / "two")], 0.0)
    assert sizes(found) == [15, 0, 5]
    assert found.train.records[10].text.startswith("number 10 ")


def test_sources_of_different_shapes_of_one_task_mix(tmp_path):
    one = put(tmp_path / "one.jsonl", [{"prompt": "a", "completion": "b"}])
    two = put(tmp_path / "two.jsonl", [{"instruction": "a", "input": "", "output": "b"}])
    assert len(load([one, two])) == 2
    three = put(tmp_path / "three.jsonl", labelled(2))
    with pytest.raises(DataError, match=r"different tasks: .*one\.jsonl is for instruction"):
        load([one, three])


def test_validation_and_test_may_be_sources(tmp_path):
    train = put(tmp_path / "train_rows.jsonl", labelled(20))
    held = put(tmp_path / "held.jsonl", labelled(5, 20))
    assert sizes(load_splits(train, 0.1, str(held))) == [18, 2, 5]
    put(tmp_path / "parts/train.jsonl", labelled(9, 30))
    put(tmp_path / "parts/test.jsonl", labelled(3, 40))
    assert sizes(load_splits(train, 0.0, str(tmp_path / "parts"))) == [20, 0, 3]


def test_the_parts_follow_the_task_of_train(tmp_path):
    train = put(tmp_path / "a.jsonl", [{"text": f"t {i}", "score": i / 2} for i in range(20)])
    test = put(tmp_path / "b.jsonl", [{"text": "u", "score": 1}, {"text": "v", "score": 2}])
    found = load_splits(train, 0.0, str(test))
    assert found.task is found.test.task is Task.REGRESSION
    assert [r.label for r in found.test] == [1.0, 2.0]


def test_a_part_that_lacks_the_label_column_is_an_error(tmp_path):
    train = put(tmp_path / "a.jsonl", labelled(10))
    test = put(tmp_path / "b.jsonl", [{"text": "u"}])
    with pytest.raises(DataError, match=r"b\.jsonl does not fit task 'classification'"):
        load_splits(train, 0.0, str(test))


def test_columns_apply_to_every_part(tmp_path):
    rows = [{"tweet": r["text"], "mood": r["label"], "text": "no"} for r in labelled(20)]
    path = put(tmp_path / "a.jsonl", rows)
    found = load_splits(path, 0.2, columns={"text": "tweet", "label": "mood"})
    assert sizes(found) == [16, 4, 0]
    assert found.validation.records[0].meta == {"text_column": "no"}


def test_missing_sources_name_what_is_near(tmp_path):
    put(tmp_path / "tweets.jsonl", labelled(2))
    with pytest.raises(DataError, match=r"no file or folder .*Near in name.*'tweets\.jsonl'"):
        load(tmp_path / "twets.jsonl")
    with pytest.raises(DataError, match="is not there either"):
        load(tmp_path / "nowhere" / "x.jsonl")
    with pytest.raises(DataError, match="Did you mean 'vader-tweets'"):
        load("vader-tweet")
    with pytest.raises(DataError, match=r"begin with s3:// are not known"):
        load("s3://bucket/rows.jsonl")
    with pytest.raises(DataError, match="list of sources is empty"):
        load([])
    one = put(tmp_path / "one.jsonl", labelled(2))
    with pytest.raises(DataError, match=r"gone\.jsonl"):
        load([one, tmp_path / "gone.jsonl"])


def test_a_saved_datasets_folder_keeps_class_names(tmp_path):
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    whole = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features)
    whole.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": whole, "test": whole}).save_to_disk(str(tmp_path / "two"))
    assert [r.label for r in load(tmp_path / "one")] == ["yes", "no"]
    assert sizes(load_splits(tmp_path / "two", 0.0)) == [2, 0, 2]
    (tmp_path / "one" / "state.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="not a whole saved `datasets` folder"):
        load(tmp_path / "one")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not here")
@pytest.mark.parametrize(
    ("name", "task", "rows"),
    [
        ("vader_tweets", Task.CLASSIFICATION, [3150, 0, 1050]),
        ("tweet_emotion", Task.CLASSIFICATION, [3257, 374, 1421]),
        ("stsb", Task.REGRESSION, [5749, 1500, 1379]),
        ("goemotions_group", Task.MULTILABEL, [12000, 5426, 5427]),
        ("medquad", Task.INSTRUCTION, [2113, 0, 300]),
        ("chat_sgd", Task.INSTRUCTION, [4000, 400, 400]),
        ("gsm8k", Task.INSTRUCTION, [2000, 0, 300]),
        ("sms_spam", Task.CLASSIFICATION, [4475, 550, 549]),
        ("scitldr", Task.INSTRUCTION, [1992, 619, 618]),
    ],
)
def test_real_sets_are_detected_without_help(name, task, rows):
    found = load_splits(SHARED / name, 0.0)
    assert (found.task, sizes(found)) == (task, rows)


def test_rows_of_a_named_set_carry_its_name_and_no_path_of_the_cache(tmp_path, monkeypatch):
    put(tmp_path / "data" / f"vader-tweets-{catalogue._FORMAT}.jsonl", labelled(30))
    monkeypatch.setenv("TUNEWRIGHT_CACHE", str(tmp_path))
    found = load_splits("vader-tweets#20", 0.1)
    assert sizes(found) == [18, 2, 0]
    assert {r.source for r in found.train} == {"vader-tweets"}
    assert found.train.name == "vader-tweets"
