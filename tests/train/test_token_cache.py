"""Rows on disk are trained on as rows in memory are, with their tokens in the run's folder."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import pytest
from transformers import AutoTokenizer

import runs
from runs import StopAfter, train
from tiny import byte_tokenizer, instruction_rows, reversal_rows, sentiment_rows
from tunewright import pipeline
from tunewright.artifacts import sha256_file
from tunewright.data import files
from tunewright.data.records import Dataset, Record, Task
from tunewright.data.render import Renderer
from tunewright.data.sources import load
from tunewright.errors import Interrupted, SpaceError
from tunewright.train import token_cache
from tunewright.train.journal import read_journal
from tunewright.train.token_cache import longest_row, tokenised

TAGGED = [{"tokens": ["anna", "is", "good"], "tags": ["B-X", "O", "O"]}] * 12


@pytest.fixture
def on_disk(monkeypatch):
    monkeypatch.setattr(files, "IN_MEMORY", 0)


@pytest.fixture
def texts(write_rows, on_disk) -> Dataset:
    return load(write_rows("texts.jsonl", [{"text": "a" * (i % 50)} for i in range(300)]))


def renderer_of(data: Dataset) -> Renderer:
    return Renderer(byte_tokenizer(), data.task, 512)


class Told(list):
    """The things that were done, each once."""

    def __call__(self, what: str, done: int, total: int) -> None:
        if what not in self:
            self.append(what)


def outcome(folder: Path) -> tuple:
    steps = [
        (x["loss"], x["grad_norm"], x["tokens"])
        for x in read_journal(folder)
        if x["event"] == "step"
    ]
    scores = [x["metrics"] for x in read_journal(folder) if x["event"] == "evaluation"]
    return steps, scores, {p.name: sha256_file(p) for p in sorted(folder.glob("*.safetensors"))}


CASES = {
    "classes": ("tiny_encoder", sentiment_rows(40), {"method": "full"}),
    "chats": ("tiny_decoder", instruction_rows(20), {"method": "lora", "lora_r": 2}),
    "texts": ("tiny_decoder", [{"text": f"day {i} " * 20} for i in range(12)], {"max_length": 64}),
    "entities": ("tiny_encoder", TAGGED, {"data": {"allow": ["constant.column"]}}),
    "translations": ("tiny_t5", reversal_rows(), {"data": {"validation": 0}}),
}


@pytest.mark.parametrize("case", CASES)
def test_rows_on_disk_give_the_bytes_of_rows_in_memory(
    case, request, write_rows, tmp_path, monkeypatch
) -> None:
    base, rows, values = CASES[case]
    model = request.getfixturevalue(base)
    path = write_rows("rows.jsonl", rows)
    data = {"train": str(path), "validation": 0.25}
    values = {"max_steps": 4, **values, "data": data | values.get("data", {})}
    for name, limit in (("memory", 10**9), ("disk", 0)):
        monkeypatch.setattr(files, "IN_MEMORY", limit)
        train(runs.recipe(model, path, tmp_path / name, **values))
        assert not (tmp_path / name / ".tokens").exists()
    assert outcome(tmp_path / "disk") == outcome(tmp_path / "memory")


def test_a_stopped_run_takes_its_tokens_again_and_ends_with_the_same_bytes(
    tiny_encoder, sentiment_file, tmp_path, on_disk
) -> None:
    values = {"save_strategy": "steps", "save_steps": 2, "num_train_epochs": 1}
    train(runs.recipe(tiny_encoder, sentiment_file, tmp_path / "whole", **values))
    made = runs.recipe(tiny_encoder, sentiment_file, tmp_path / "cut", **values)
    told = Told()
    prepared = pipeline.prepare(made, progress=told)
    assert told == ["Tokenising the training rows", "Tokenising the validation rows"]
    with pytest.raises(Interrupted):
        pipeline.train(prepared, StopAfter(tmp_path / "cut", 3))
    shutil.rmtree(tmp_path / "cut" / ".tokens" / "validation")
    told.clear()
    pipeline.resume(tmp_path / "cut", progress=told)
    assert told == [
        "Comparing the training rows with their tokens",
        "Tokenising the validation rows",
    ]
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")
    assert not (tmp_path / "cut" / ".tokens").exists()


def test_a_proposed_recipe_leaves_no_tokens(
    tiny_encoder, sentiment_file, tmp_path, on_disk, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pipeline.propose_recipe(str(sentiment_file), model=str(tiny_encoder))
    assert not (tmp_path / "runs" / "sentiment").exists()


def test_tokens_are_made_again_when_anything_that_went_into_them_changed(
    texts, write_rows, tmp_path
) -> None:
    renderer = renderer_of(texts)

    def done(data: Dataset, renderer: Renderer) -> str:
        told = Told()
        store = tokenised(data, renderer, "training", tmp_path / "t", told)
        assert list(store) == renderer.tokenise(data)
        return told[-1].split()[0]

    assert done(texts, renderer) == "Tokenising"
    assert done(texts, renderer) == "Comparing"
    renderer.max_length = 7  # tokens are of any length
    assert done(texts, renderer) == "Comparing"
    rows = [{"text": "a" * (i % 50)} for i in range(300)]
    rows[200]["text"] = "b" + rows[200]["text"][1:]
    assert done(load(write_rows("other.jsonl", rows)), renderer) == "Tokenising"
    assert done(texts.select(range(299)), renderer) == "Tokenising"
    assert done(texts, renderer) == "Tokenising"
    other = Renderer(byte_tokenizer(eos_token="<|endoftext|>"), texts.task, 512)
    assert done(texts, other) == "Tokenising"
    assert done(texts, other) == "Comparing"
    path = tmp_path / "t" / "training" / "rows.bin"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert done(texts, other) == "Tokenising"


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from tiny import byte_tokenizer
from tunewright.data import files
from tunewright.data.render import Renderer
from tunewright.data.sources import load
from tunewright.train import token_cache

files.IN_MEMORY = 0
token_cache._ROWS_AT_ONCE = 100
data = load(sys.argv[1])

def half(what, done, total):
    if done == 200:
        os.kill(os.getpid(), signal.SIGKILL)

token_cache.tokenised(
    data, Renderer(byte_tokenizer(), data.task, 512), "training", Path(sys.argv[2]), half
)
"""


def test_a_process_that_is_killed_while_it_writes_leaves_nothing_that_is_taken(
    texts, tmp_path
) -> None:
    folder = tmp_path / "t"
    command = [
        sys.executable,
        "-c",
        KILLED,
        texts.name,
        str(folder),
        str(Path(__file__).parents[1]),
    ]
    assert subprocess.run(command, check=False).returncode == -9
    assert (folder / ".training.tmp").is_dir()
    assert not (folder / "training").exists()
    told = Told()
    store = tokenised(texts, renderer_of(texts), "training", folder, told)
    assert told == ["Tokenising the training rows"]
    assert list(store) == renderer_of(texts).tokenise(texts)
    assert sorted(p.name for p in folder.iterdir()) == [".lock", "training"]


def test_processes_that_share_a_folder_tokenise_once(texts, tmp_path) -> None:
    told: list[str] = []
    stores: dict[int, list] = {}

    def work(number: int) -> None:
        tell = Told()
        store = tokenised(texts, renderer_of(texts), "training", tmp_path / "t", tell)
        stores[number] = list(store)
        told.extend(tell)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said.split()[0] for said in told) == ["Comparing", "Comparing", "Tokenising"]
    assert stores[0] == stores[1] == stores[2]


def test_a_disk_without_room_is_refused_before_anything_is_written(
    texts, tmp_path, monkeypatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    size = sum(map(len, map(token_cache.pack, renderer_of(texts).tokenise(texts))))
    for free, fits in ((size, False), (2 * size + 2_000_000, True)):
        monkeypatch.setattr("shutil.disk_usage", lambda _, f=free: usage._replace(free=f))
        if fits:
            tokenised(texts, renderer_of(texts), "training", tmp_path / "run" / ".tokens")
            continue
        with pytest.raises(SpaceError, match=r"tokens of the 300 training rows needs about"):
            tokenised(texts, renderer_of(texts), "training", tmp_path / "run" / ".tokens")
        assert not (tmp_path / "run").exists()


def test_a_disk_that_fills_up_leaves_nothing_half_written(texts, tmp_path, monkeypatch) -> None:
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(token_cache._HashedFile, "write", full)
    with pytest.raises(SpaceError, match=r"the tokens of the training rows .*data\.max_samples"):
        tokenised(texts, renderer_of(texts), "training", tmp_path / "t")
    assert [path.name for path in (tmp_path / "t").iterdir()] == [".lock"]


def test_rows_of_one_text_beside_pairs_are_tokenised_as_in_one_go(
    tiny_encoder, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(token_cache, "_ROWS_AT_ONCE", 2)
    pairs = (None, None, None, "so it is", None, "not")
    data = Dataset(
        Task.CLASSIFICATION, tuple(Record("the film", pair, label="a") for pair in pairs)
    )
    renderer = Renderer(AutoTokenizer.from_pretrained(tiny_encoder), data.task, 64, labels=("a",))
    store = tokenised(data, renderer, "training", tmp_path / "t")
    assert list(store) == renderer.tokenise(data)
    told = Told()
    assert longest_row(data, renderer, "test", told) == 8
    assert told == ["Measuring the test rows"]
    assert longest_row(data.select([]), renderer, "test") == 0
    assert not (tmp_path / "t").exists()


def test_a_row_on_disk_costs_few_bytes_of_memory_to_train_on(
    write_rows, tmp_path, on_disk, monkeypatch
) -> None:
    monkeypatch.setattr(token_cache, "_ROWS_AT_ONCE", 64)
    count, length = 1500, 300
    path = write_rows("long.jsonl", [{"text": "a" * length}] * count)
    data = load(path)
    renderer = renderer_of(data)
    renderer.tokenise(data.select([0]))  # what is imported and cached stays out of the measure
    tracemalloc.start()
    try:
        store = tokenised(data, renderer, "training", tmp_path / "t")
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert store.lengths.tolist() == [length + 1] * count
    assert held < 16 * count + 50_000
    assert peak < 64 * length * 120  # of 64 rows at once, not of 1500
    assert json.loads((tmp_path / "t" / "training" / "manifest.json").read_text())["rows"] == count
