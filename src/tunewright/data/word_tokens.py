"""Tagged words become token ids: the first token of each word carries the word's tag.

The words are tokenised as one text with blanks between them, as a finished model sees a text, and
tokens are laid to words by their places in it. So every fast tokenizer works, whatever it does with
blanks. This module knows tokenizers. It does not know models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from tunewright.data.example import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from tunewright.data.records import Record


def tagged_examples(
    tokenizer: PreTrainedTokenizerFast, records: Sequence[Record], label_ids: Mapping[str, int]
) -> list[Example]:
    """The examples of rows of tagged words, of any length.

    Args:
        tokenizer: a fast tokenizer.
        records: with `words` and a tag for each.
        label_ids: index of each tag among the model's outputs.
    """
    if not len(records):
        return []
    encoded: Any = tokenizer(
        [" ".join(record.words) for record in records],
        return_attention_mask=False,
        return_token_type_ids=False,
        return_offsets_mapping=True,
        verbose=False,
    )
    rows = zip(records, encoded["input_ids"], encoded["offset_mapping"], strict=True)
    return [
        Example(
            list(ids),
            index,
            word_starts=first_tokens(record.words, places),
            word_tags=[label_ids.get(tag, -1) for tag in record.class_names],
        )
        for index, (record, ids, places) in enumerate(rows)
    ]


def first_tokens(words: Sequence[str], places: Sequence[tuple[int, int]]) -> list[int]:
    """The position of each word's first token.

    Args:
        words: as they stand in the text, with one blank between them.
        places: of each token in that text, its first character and one past its last; equal for
            tokens that the tokenizer adds.

    Returns:
        One position a word; -1 for a word without a token of its own.
    """
    ends = [end - 1 for end in accumulate(len(word) + 1 for word in words)]
    found = [-1] * len(words)
    word = 0
    for position, (start, end) in enumerate(places):
        if start == end:
            continue
        while word < len(words) and ends[word] <= start:
            word += 1
        if word == len(words):
            break
        # A token of only the blank before the word does not reach into it.
        if found[word] < 0 and end > ends[word] - len(words[word]):
            found[word] = position
    return found
