"""Questions and the texts that answer them become token ids: long texts in windows that overlap.

Every window has the whole question. An answer is a span of tokens of the window that holds all of
it; the other windows of its row have none, which is the first token. This module knows tokenizers.
It does not know models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tunewright.data.answer_places import first_placed
from tunewright.data.example import Example, Rendered
from tunewright.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerFast

    from tunewright.data.records import Dataset, Record

_FEWEST = 4
"""Tokens of a text that a window has at least, beside the question."""


@dataclass(slots=True)
class Window:
    """A part of a text, and where the answer is in it.

    Attributes:
        record: the row.
        first: position of the first token of the text.
        places: [n x 2] characters of each token of the text: its first, and one past its last.
        start, end: positions of the first and the last token of the answer; 0 for none.
        lost: the row has an answer that its text does not have.
    """

    record: Record
    first: int
    places: NDArray[np.int32]
    start: int = 0
    end: int = 0
    lost: bool = False


def answered_examples(
    tokenizer: PreTrainedTokenizerFast, records: Sequence[Record]
) -> list[Example]:
    """A question and its whole text for each row, of any length.

    Args:
        tokenizer: a fast tokenizer.
        records: with a question, a text, and answers in it.
    """
    if not len(records):
        return []
    encoded: Any = tokenizer(
        [record.text.strip() for record in records],
        [record.text_pair or "" for record in records],
        return_attention_mask=False,
        return_offsets_mapping=True,
        verbose=False,
    )
    types = encoded.get("token_type_ids")
    made = []
    for index, record in enumerate(records):
        ids = list(encoded["input_ids"][index])
        sides = encoded.sequence_ids(index)
        inside = [i for i, side in enumerate(sides) if side == 1]
        first = inside[0] if inside else len(ids)
        offsets = encoded["offset_mapping"][index]
        places = np.array([offsets[i] for i in inside], dtype=np.int32).reshape(-1, 2)
        window = _with_answer(Window(record, first, places), record)
        row_types = list(types[index]) if types is not None else None
        made.append(Example(ids, index, token_type_ids=row_types, window=window))
    return made


def _with_answer(window: Window, record: Record) -> Window:
    """Mark the tokens of the answer."""
    if not record.answers:
        return window
    span = first_placed(record.answers, record.text_pair or "")
    if span is None:
        window.lost = True
        return window
    begins, ends = window.places[:, 0], window.places[:, 1]
    inside = np.flatnonzero((ends > span[0]) & (begins < span[1]) & (ends > begins))
    if len(inside):
        window.start = window.first + int(inside[0])
        window.end = window.first + int(inside[-1])
    else:  # no token of it is known to the tokenizer
        window.lost = True
    return window


def fit_windows(dataset: Dataset, examples: Sequence[Example], limit: int, stride: int) -> Rendered:
    """The windows of all rows; an answer that no window has whole counts as cut.

    Args:
        dataset: the records of the examples, for messages.
        examples: from `answered_examples`.
        limit, stride: as in `windows_of`.

    Raises:
        DataError: a question leaves no room for its text, or no answer is in its text.
    """
    found: list[Example] = []
    cut = dropped = 0
    for example in examples:
        assert example.window is not None
        if example.window.lost:
            dropped += 1
            continue
        windows = windows_of(example, limit, stride)
        has = any(one.window is not None and one.window.start for one in windows)
        cut += bool(example.window.start) and not has
        found += windows
    if examples and not found:
        raise DataError(
            f"No row of {dataset.name or 'the data'} has its answer in its text. Check the columns "
            "(data.columns); case and spacing count."
        )
    return Rendered(found, cut, dropped)


def windows_of(example: Example, limit: int, stride: int) -> list[Example]:
    """The windows of a row, in order; the row itself where it is short enough.

    Args:
        example: from `answered_examples`.
        limit: tokens of a window at most, question included.
        stride: tokens that two neighbours share; at most half of a window's text.

    Raises:
        DataError: the question leaves no room for the text.
    """
    whole = example.window
    assert whole is not None
    if len(example.input_ids) <= limit:
        return [example]
    count = len(whole.places)
    last = whole.first + count
    head, tail = example.input_ids[: whole.first], example.input_ids[last:]
    room = limit - len(head) - len(tail)
    if room < _FEWEST:
        record = whole.record
        raise DataError(
            f"The question in {record.source or 'the data'}, row {record.row}, has so many tokens "
            f"({len(head)}) that max_length={limit} leaves room for {max(0, room)} of its text. "
            "Shorten the question, or raise max_length where the model allows it."
        )
    step = room - min(stride, room // 2)
    found = []
    for start in range(0, count, step):
        first = min(start, count - room)  # the last window is whole, too
        end = first + room
        types = example.token_type_ids
        if types is not None:
            inner = types[whole.first + first : whole.first + end]
            types = types[: whole.first] + inner + types[last:]
        middle = example.input_ids[whole.first + first : whole.first + end]
        window = Window(whole.record, whole.first, whole.places[first:end], lost=whole.lost)
        if whole.start and whole.start >= whole.first + first and whole.end < whole.first + end:
            window.start, window.end = whole.start - first, whole.end - first
        found.append(
            Example(head + middle + tail, example.row, token_type_ids=types, window=window)
        )
        if end == count:
            break
    return found
