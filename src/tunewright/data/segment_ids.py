"""Pieces of a text become token ids, so that each has the same ones whatever stands behind it.

This module knows tokenizers. It does not know what the pieces are for.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from tunewright.data.chat import Segment

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_BEFORE = "a:"
"""A text that nothing is joined to, to see what a tokenizer makes of the text behind it."""


class SegmentTokenizer:
    """Tokenises segments apart, without the tokens that a tokenizer puts around a text.

    Args:
        tokenizer: a fast tokenizer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer

    def ids(self, rows: Sequence[Sequence[Segment]]) -> list[list[list[int]]]:
        """Token ids of each segment of each row."""
        if not self._cuts_anywhere:
            return [self._ids_in_context(row) for row in rows]
        pieces = [segment for row in rows for segment in row]
        common = iter(self.encode([s.text for s in pieces if not s.literal]))
        literal = iter(self.encode([s.text for s in pieces if s.literal], literal=True))
        return [[next(literal if s.literal else common) for s in row] for row in rows]

    @cached_property
    def _cuts_anywhere(self) -> bool:
        """Whether a text may be tokenised in pieces.

        Not so where the tokenizer puts a space of its own before every text (SentencePiece).
        """
        whole, left, right, spaced, word = self.encode(
            [f"{_BEFORE}b", _BEFORE, "b", f"{_BEFORE} b", " b"]
        )
        return whole == left + right and spaced == left + word

    def _ids_in_context(self, row: Sequence[Segment]) -> list[list[int]]:
        """Token ids of each segment: what it adds to the ids of the text before it.

        Where a token would reach over the border, the segment is tokenised by itself, as it is when
        the model goes on from there. A literal segment breaks the text in two.
        """
        found: list[list[int]] = []
        text, ids = "", list[int]()
        for segment in row:
            if segment.literal:
                text = _BEFORE
                (ids,) = self.encode([text])
            whole, alone = self.encode([text + segment.text, segment.text], segment.literal)
            if whole[: len(ids)] == ids:
                found.append(whole[len(ids) :])
                text, ids = text + segment.text, whole
            else:
                found.append(alone)
                text, ids = segment.text, alone
            if segment.literal:
                text = _BEFORE
                (ids,) = self.encode([text])
        return found

    def encode(self, texts: list[str], literal: bool = False) -> list[list[int]]:
        """Token ids of texts; with `literal`, control tokens in them are words like others."""
        if not texts:
            return []
        encoded: list[list[int]] = self._tokenizer(
            texts,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            split_special_tokens=literal,
            verbose=False,
        )["input_ids"]
        return encoded
