"""Rows for encoder-decoder models: what the encoder reads, and what the decoder must write.

A conversation gives a pair for each of its answers: all that was said before, and the answer. There
is no chat template between them. The tokenizer puts its own closing tokens behind both, and what a
text says is never control.

This module knows tokenizers. It does not know lengths, batches or models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tunewright.data.records import Message, Record
from tunewright.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class SourceTarget:
    """Sources and targets as token ids.

    Args:
        tokenizer: of an encoder-decoder model.
        prefix: text before every source, such as `summarize: `.

    Raises:
        DataError: the tokenizer writes codes of languages, for which there are no settings here.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, prefix: str = "") -> None:
        if getattr(tokenizer, "src_lang", None) is not None:
            raise DataError(
                f"The tokenizer ({type(tokenizer).__name__}) writes the code of a language beside "
                "every text (mBART, NLLB and M2M100 do), which is not supported. Take a model for "
                "one pair of languages, or one that is told what to do in words, such as T5."
            )
        self.tokenizer = tokenizer
        self.prefix = prefix

    def sources(self, said: Sequence[Sequence[Message]]) -> list[list[int]]:
        """Token ids of what was said before each answer, special tokens included."""
        texts = [self.prefix + "\n\n".join(m.content for m in messages) for messages in said]
        return self._encode(texts)

    def targets(self, answers: Sequence[str]) -> list[list[int]]:
        """Token ids of answers as the decoder writes them; each ends with the stop token."""
        stop = self.tokenizer.eos_token_id
        rows = self._encode(answers)
        return [ids if ids[-1:] == [stop] else [*ids, stop] for ids in rows]

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        encoded: list[list[int]] = self.tokenizer(
            list(texts),
            return_attention_mask=False,
            return_token_type_ids=False,
            split_special_tokens=True,
            verbose=False,
        )["input_ids"]
        return encoded


def pairs_of(record: Record) -> Iterator[tuple[int, Sequence[Message], str]]:
    """Index, what was said before, and text of each answer of a conversation that is trained."""
    for index, message in enumerate(record.messages):
        if message.role == "assistant" and message.train:
            yield index, record.messages[:index], message.content
