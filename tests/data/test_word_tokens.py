"""Words meet tokens: the first token of each word carries its tag."""

from __future__ import annotations

import pytest

from tiny import byte_tokenizer
from tunewright.config.task import Task
from tunewright.data.collate import IGNORED, collate
from tunewright.data.records import Dataset, Record
from tunewright.data.render import Renderer
from tunewright.data.word_tokens import first_tokens
from tunewright.errors import DataError

LABELS = ["O", "B-PER", "I-PER"]


def rows(*pairs) -> Dataset:
    return Dataset(
        Task.TOKEN_CLASSIFICATION,
        tuple(
            Record(" ".join(words), words=tuple(words), label=tuple(tags), row=i)
            for i, (words, tags) in enumerate(pairs, start=1)
        ),
    )


def encoder_tokenizer(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize(
    ("words", "places", "starts"),
    [
        # [CLS] Ann ##a is [SEP]
        (["Anna", "is"], [(0, 0), (0, 3), (3, 4), (5, 7), (0, 0)], [1, 3]),
        # The blank belongs to the token behind it, or is a token of its own.
        (["ab", "c"], [(0, 2), (2, 4)], [0, 1]),
        (["ab", "c"], [(0, 2), (2, 3), (3, 4)], [0, 2]),
        # An empty word has no token; nor has the second word of a token over both.
        (["a", "", "b"], [(0, 1), (3, 4)], [0, -1, 1]),
        (["a", "b", "c"], [(0, 3), (4, 5)], [0, -1, 1]),
        # Several tokens of one character (its bytes): the first.
        (["é", "x"], [(0, 1), (0, 1), (2, 3)], [0, 2]),
    ],
)
def test_the_first_token_that_reaches_into_a_word_is_its_own(words, places, starts):
    assert first_tokens(words, places) == starts


def test_bytes_of_each_word_are_found(tiny_decoder):
    tokenizer = byte_tokenizer()
    words = ["Ann", "Lée", ",", "hi"]
    (example,) = Renderer(tokenizer, Task.TOKEN_CLASSIFICATION, 64, labels=LABELS).tokenise(
        rows((words, ["B-PER", "I-PER", "O", "O"]))
    )
    said = [tokenizer.decode([example.input_ids[s]]) for s in example.word_starts]
    assert said == ["A", "L", ",", "h"]
    assert (example.word_tags, example.trained_tokens) == ([1, 2, 0, 0], 4)


def test_only_first_tokens_are_labelled_in_a_batch(tiny_encoder):
    renderer = Renderer(
        encoder_tokenizer(tiny_encoder), Task.TOKEN_CLASSIFICATION, 16, labels=LABELS
    )
    found = renderer.render(
        rows((["film-book", "day"], ["B-PER", "O"]), (["good"], ["O"]))
    ).examples
    labels = collate(found, pad_id=0)["labels"].tolist()
    no = IGNORED  # [CLS] film - book day [SEP]; [CLS] good [SEP] and padding
    assert labels == [[no, 1, no, no, 0, no], [no, 0, no, no, no, no]]


def test_words_that_are_cut_lose_their_tags_and_are_counted(tiny_encoder):
    renderer = Renderer(
        encoder_tokenizer(tiny_encoder), Task.TOKEN_CLASSIFICATION, 5, labels=LABELS
    )
    data = rows((["good"] * 5, ["B-PER", "I-PER", "O", "O", "O"]), (["day"], ["O"]))
    with pytest.raises(DataError, match=r"1 of 2 rows.*max_length=5 tokens; 2 tokens"):
        renderer.render(data)
    rendered = renderer.render(data, "cut")
    long = rendered.examples[0]
    assert (rendered.cut, len(long), long.word_starts) == (1, 5, [1, 2, 3, -1, -1])
    assert long.trained_tokens == 3
    assert len(renderer.render(data, "drop").examples) == 1
