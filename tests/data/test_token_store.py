"""Packed rows are the rows that were packed, and are cut as rows in a list are."""

from __future__ import annotations

import io
import random
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from tiny import byte_tokenizer, letter_tokenizer
from tunewright.data.example import Example
from tunewright.data.fitted_rows import block_lengths, fitted
from tunewright.data.records import Dataset, Message, Record, Task
from tunewright.data.render import Renderer
from tunewright.data.token_store import (
    HELD,
    HeldBytes,
    StoredBytes,
    TokenStore,
    TokenWriter,
    lengths_of,
    pack,
    targets_of,
    unpack,
)
from tunewright.errors import DataError

QUICK = settings(deadline=None, max_examples=50)
numbers = st.integers(-(2**62), 2**62)
KINDS = {
    "int": numbers,
    "float": st.floats(allow_nan=False),
    "list[int]": st.lists(st.integers(0, 255))
    | st.lists(st.integers(0, 70_000))
    | st.lists(st.integers(-3, 2**31))
    | st.lists(numbers),
    "list[bool]": st.lists(st.booleans()),
    "list[float]": st.lists(st.floats(allow_nan=False)),
    "None": st.none(),
}


def anything(kind: str) -> st.SearchStrategy:
    return st.one_of([KINDS[name] for name in kind.split(" | ")])


examples = st.builds(
    Example, **{f.name: anything(str(f.type)) for f in fields(Example) if f.name not in HELD}
)


def bare(example: Example) -> dict:
    return {field.name: getattr(example, field.name) for field in fields(Example)}


def typed(example: Example) -> str:
    """Also tells 1 from 1.0 and True."""
    return repr(bare(example))


@QUICK
@given(examples)
def test_every_field_of_a_row_comes_back(example: Example) -> None:
    assert typed(unpack(pack(example))) == typed(example)


def test_a_row_of_a_conversation_takes_little_more_than_two_bytes_a_token() -> None:
    row = Example(list(range(1000, 1800)), 7, loss_mask=[i > 500 for i in range(800)])
    assert len(pack(row)) < 800 * 2.125 + 40


def stored(examples: list[Example]) -> TokenStore:
    sinks = io.BytesIO(), io.BytesIO()
    writer = TokenWriter(*sinks)
    for start in range(0, len(examples), 3):
        writer.add(examples[start : start + 3])
    return TokenStore(*(HeldBytes(sink.getvalue()) for sink in sinks))


def chats() -> tuple[Renderer, Dataset]:
    noise = random.Random(0)
    records = [
        Record(
            messages=(
                Message("user", "x" * noise.randrange(40)),
                Message("assistant", "y" * noise.randrange(60), True),
            ),
            row=i + 1,
        )
        for i in range(11)
    ]
    data = Dataset(Task.INSTRUCTION, tuple(records), "chats")
    return Renderer(byte_tokenizer(), Task.INSTRUCTION, 60, "chat"), data


def translations() -> tuple[Renderer, Dataset]:
    _, data = chats()
    return Renderer(letter_tokenizer(), Task.INSTRUCTION, 25, "seq2seq"), data


def texts() -> tuple[Renderer, Dataset]:
    records = [Record(text="a" * length, row=1) for length in (0, 1, 9, 10, 11, 19, 20, 21, 47)]
    return Renderer(byte_tokenizer(), Task.TEXT, 10), Dataset(Task.TEXT, tuple(records))


def entities() -> tuple[Renderer, Dataset]:
    words = [("ab",) * n for n in (1, 2, 5, 9)]
    records = [Record(" ".join(w), words=w, label=("B-X", *["O"] * (len(w) - 1))) for w in words]
    renderer = Renderer(byte_tokenizer(), Task.TOKEN_CLASSIFICATION, 9, labels=("O", "B-X"))
    return renderer, Dataset(Task.TOKEN_CLASSIFICATION, tuple(records))


def labelled(task: Task, label, folder, pair: bool = False) -> tuple[Renderer, Dataset]:
    records = [
        Record("the film was " + "very " * i, "and so" if pair else None, label=label(i), row=i + 1)
        for i in range(8)
    ]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return Renderer(tokenizer, task, 9, labels=("a", "b")), Dataset(task, tuple(records))


@pytest.fixture(
    params=["chats", "translations", "texts", "entities", "classes", "pairs", "sets", "numbers"]
)
def layout(request: pytest.FixtureRequest, tiny_encoder) -> tuple[Renderer, Dataset]:
    made = {
        "chats": chats,
        "translations": translations,
        "texts": texts,
        "entities": entities,
        "classes": lambda: labelled(Task.CLASSIFICATION, lambda i: "ab"[i % 2], tiny_encoder),
        "pairs": lambda: labelled(Task.CLASSIFICATION, lambda i: "a", tiny_encoder, pair=True),
        "sets": lambda: labelled(Task.MULTILABEL, lambda i: ("a",) * (i % 2), tiny_encoder),
        "numbers": lambda: labelled(Task.REGRESSION, lambda i: i / 3, tiny_encoder),
    }
    return made[request.param]()


@pytest.mark.parametrize("truncation", ["cut", "drop", "error"])
@pytest.mark.parametrize("limit", [0, 10**4])
def test_packed_rows_are_cut_as_rows_in_a_list_are(layout, truncation, limit) -> None:
    renderer, data = layout
    renderer.max_length = limit or renderer.max_length
    store = stored(renderer.tokenise(data))
    try:
        wanted = renderer.fit(data, renderer.tokenise(data), truncation)
    except DataError as error:
        with pytest.raises(DataError) as found:
            fitted(renderer, data, store, truncation)
        assert str(found.value) == str(error)
        return
    rendered = fitted(renderer, data, store, truncation)
    rows = rendered.examples
    assert list(map(typed, rows)) == list(map(typed, wanted.examples))
    assert (rendered.cut, rendered.dropped) == (wanted.cut, wanted.dropped)
    for found, expected in zip(lengths_of(rows), lengths_of(wanted.examples), strict=True):
        assert found.tolist() == expected.tolist()
    np.testing.assert_array_equal(targets_of(rows), targets_of(wanted.examples))
    assert [typed(e) for e in rows[-3::2]] == [typed(e) for e in wanted.examples[-3::2]]
    with pytest.raises(IndexError):
        rows[len(rows)]


def test_rows_of_a_file_are_those_of_memory_though_the_file_is_deleted(tmp_path) -> None:
    made = [Example([i] * i, i, target=float(i)) for i in range(1, 90)]
    paths = [tmp_path / "rows", tmp_path / "entries"]
    with paths[0].open("wb") as rows, paths[1].open("wb") as entries:
        TokenWriter(rows, entries).add(made)
    store = TokenStore(*map(StoredBytes, paths))
    for path in paths:
        path.unlink()
    assert list(map(typed, store)) == list(map(typed, made))
    assert store.piece(41, 40, 99) == ([42, 42], 42)
    assert store.targets().tolist() == [float(i) for i in range(1, 90)]


@QUICK
@given(st.lists(st.integers(0, 50), max_size=20), st.integers(1, 12), st.integers(1, 2))
def test_blocks_of_texts_are_those_of_slices(sizes, limit, shortest) -> None:
    pieces = [
        [n for start in range(0, size, limit) if (n := min(limit, size - start)) >= shortest]
        for size in sizes
    ]
    counts, lengths = block_lengths(np.array(sizes, dtype=np.uint32), limit, shortest)
    assert counts.tolist() == list(map(len, pieces))
    assert lengths.tolist() == [n for block in pieces for n in block]
