"""Data sets by hub id, from the cache of `datasets` or a loader given. No hub is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunewright.data import hub
from tunewright.data.sources import load, load_splits
from tunewright.errors import DataError


def rows(start: int, count: int):
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    texts = [f"text {i} of many {i * 13}" for i in range(start, start + count)]
    return datasets.Dataset.from_dict(
        {"text": texts, "label": [i % 2 for i in range(count)]}, features
    )


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`someone/notes` in the cache of `datasets`, as an earlier fetch would have left it."""
    import datasets

    cache = tmp_path / "datasets-cache"
    for part, dataset in (("train", rows(0, 20)), ("test", rows(20, 6))):
        dataset.to_parquet(str(tmp_path / f"{part}.parquet"))
    files = {part: str(tmp_path / f"{part}.parquet") for part in ("train", "test")}
    datasets.load_dataset("parquet", data_files=files, cache_dir=str(cache))
    (built,) = (cache / "parquet").iterdir()
    built.rename((cache / "someone___notes").with_name("moved"))
    target = cache / "someone___notes" / "default"
    target.parent.mkdir()
    (cache / "moved").rename(target)
    for path in target.rglob("parquet-*.arrow"):
        path.rename(path.with_name(path.name.replace("parquet-", "notes-")))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)


def test_a_cached_data_set_is_read_offline_with_its_splits(cached):
    found = load_splits("someone/notes", 0.0)
    assert [len(part) for _, part in found.items()] == [20, 0, 6]
    assert [r.label for r in found.train][:2] == ["no", "yes"]
    assert found.test.name == "someone/notes (test)"
    assert len(load("someone/notes#5")) == 10


def test_what_is_not_cached_says_what_to_do(cached):
    with pytest.raises(DataError, match=r"no file or folder 'someone/nots'.*not in the cache"):
        load("someone/nots")


def test_a_local_path_wins(cached, tmp_path):
    (tmp_path / "someone").mkdir()
    (tmp_path / "someone/notes").write_text('{"text": "mine"}', encoding="utf-8")
    assert [r.text for r in load("someone/notes")] == ["mine"]


def test_a_slip_in_a_path_is_not_asked_for_on_the_hub(cached, tmp_path, monkeypatch):
    (tmp_path / "sets/tweets").mkdir(parents=True)
    monkeypatch.setattr(hub, "read", lambda *a: pytest.fail("the hub was asked"))
    with pytest.raises(DataError, match=r"Near in name, in sets: 'tweets'"):
        load("sets/twets")


@pytest.mark.parametrize(
    ("source", "yes"),
    [
        ("org/name", True),
        ("org/name-2.1", True),
        ("org/name:config", True),
        ("org/name:config[train_sft]", True),
        ("org/name[x]", True),
        ("name", False),
        ("a/b/c", False),
        ("org/rows.jsonl", False),
        ("org/rows.csv", False),
        ("../name", False),
        ("./name", False),
        ("org/na me", False),
    ],
)
def test_what_a_hub_id_looks_like(source, yes):
    assert hub.is_id(source) is yes


def made(**parts: int):
    """A loader that knows one data set, and what it was asked for."""
    asked = []

    def loader(identity, config):
        asked.append((identity, config))
        return {name: rows(0, count) for name, count in parts.items()}

    return loader, asked


def test_the_configuration_stands_behind_a_colon():
    loader, asked = made(train=4, validation=3, test=2)
    parts = hub.read("org/name:small", "", loader)
    assert asked == [("org/name", "small")]
    assert {name: sum(map(len, tables)) for name, tables in parts.tables.items()} == {
        "train": 4, "validation": 3, "test": 2,
    }  # fmt: skip


def test_one_split_is_read_by_its_name():
    loader, asked = made(train_sft=4, test_sft=2)
    parts = hub.read("org/name[train_sft]", "", loader)
    assert (asked, list(parts.tables), parts.named) == ([("org/name", None)], ["train"], False)
    with pytest.raises(DataError, match=r"has a part 'train_sft'.*such as org/name\[train_sft\]"):
        hub.read("org/name", "", loader)
    with pytest.raises(DataError, match="no split 'train'; it has train_sft, test_sft"):
        hub.read("org/name[train]", "", loader)


def test_a_configuration_that_the_cache_lacks(cached, tmp_path):
    with pytest.raises(DataError, match="has no configuration 'en'; those in the cache are defaul"):
        load("someone/notes:en")


@pytest.mark.parametrize(
    ("words", "config", "said"),
    [
        (
            "Config name is missing.\nPlease pick one among the available configs: ['de', 'en']",
            None,
            r"has several configurations; .*are de, en\..*such as org/name:de\.",
        ),
        (
            "BuilderConfig 'fr' not found. Available: ['de', 'en']",
            "fr",
            r"has no configuration 'fr'; .*are de, en\.",
        ),
        (
            "There are multiple 'name' configurations in the cache: de, en\nPlease specify",
            None,
            r"has several configurations; .*are de, en\.",
        ),
        (
            "Couldn't reach the hub",
            None,
            "No such file\\. As a hub id, org/name is not in the cache",
        ),
    ],
)
def test_faults_of_the_hub_become_errors_of_ours(words, config, said):
    def failing(identity, name):
        assert name == config
        raise ValueError(words)

    source = f"org/name:{config}" if config else "org/name"
    with pytest.raises(DataError, match=said):
        hub.read(source, "No such file.", failing)


def test_a_fault_of_the_network_is_told_when_it_is_used(monkeypatch):
    import datasets

    def failing(identity, name):
        raise ConnectionError("Couldn't reach the hub.\nTraceback")

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    with pytest.raises(DataError, match=r"could not be read: Couldn't reach the hub\.$"):
        hub.read("org/name", "No such file.", failing)
