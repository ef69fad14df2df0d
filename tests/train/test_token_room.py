"""Training rows whose tokens memory cannot hold are refused before anything is written."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import psutil
import pytest

from tiny import byte_tokenizer
from tunewright.data import files
from tunewright.data.render import Renderer
from tunewright.data.sources import load
from tunewright.errors import DataError
from tunewright.train.token_room import held_bytes, require_room


@pytest.fixture
def rows(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "IN_MEMORY", 0)
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": "a" * 99}) + "\n" for _ in range(2000)))
    return load(path)


def free(monkeypatch, size: float) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=int(size)))


def test_rows_that_do_not_fit_are_refused_with_the_number_that_does(rows, monkeypatch):
    renderer = Renderer(byte_tokenizer(), rows.task, 512)
    (example, *_) = renderer.tokenise(rows.select([0]))
    assert len(example) == 100  # 99 letters and the stop token
    needed = 2000 * held_bytes(example)
    free(monkeypatch, needed / 2)
    with pytest.raises(DataError, match=r"2,000 training rows .*data\.max_samples=500\."):
        require_room(rows, renderer)
    free(monkeypatch, needed * 1.1)
    require_room(rows, renderer)


def test_rows_in_memory_are_let_through(rows, monkeypatch):
    free(monkeypatch, 0)
    renderer = Renderer(byte_tokenizer(), rows.task, 512)
    monkeypatch.setattr(files, "IN_MEMORY", 10**9)
    require_room(load(rows.name), renderer)
    require_room(rows.select([]), renderer)


def test_each_token_counts_with_its_number_and_its_flag(rows):
    renderer = Renderer(byte_tokenizer(), rows.task, 512)
    (example, *_) = renderer.tokenise(rows.select([0]))
    lists = sys.getsizeof(example.input_ids) + sys.getsizeof(example.loss_mask)
    assert held_bytes(example) - lists - sys.getsizeof(example) == 100 * 28
