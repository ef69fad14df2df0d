"""The tokens of a row one by one: what each one says, and whether it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tunewright.data.example import Example
from tunewright.data.records import Splits
from tunewright.data.render import Renderer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_BYTES = 4
"""Tokens that one character takes at most, where tokens are bytes."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a row.

    Attributes:
        id: its number.
        text: what it adds to the text. Of a character that takes several tokens, the last one has
            the text and the others have none, so that the texts joined are the row.
        trained: it counts in the loss.
        special: it is control, not text.
    """

    id: int
    text: str
    trained: bool
    special: bool


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A row as the model sees it.

    Attributes:
        part, row: where it is; rows count from 1.
        tokens: at most `max_length`; of an encoder-decoder model, of its source and then of its
            target.
        cut: tokens at the ends that the model would not see.
    """

    part: str
    row: int
    tokens: tuple[Token, ...]
    cut: int = 0

    @property
    def trained(self) -> int:
        """Tokens that count in the loss."""
        return sum(token.trained for token in self.tokens)

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON-like values."""
        return {
            "part": self.part,
            "row": self.row,
            "trained": self.trained,
            "cut": self.cut,
            "tokens": [asdict(token) for token in self.tokens],
        }


def token_rows(
    splits: Splits, tokenizer: PreTrainedTokenizerFast, template: str, max_length: int, rows: int
) -> list[TokenRow]:
    """The first training rows, token by token.

    Args:
        splits: the rows, of a task that writes text.
        tokenizer: of the model.
        template: `chat`, `plain` or `seq2seq`.
        max_length: tokens; what is beyond is counted, not shown.
        rows: how many.
    """
    renderer = Renderer(tokenizer, splits.task, max_length, template)
    sample = splits.train.select(range(min(rows, len(splits.train))))
    return [
        TokenRow(
            "train",
            sample.records[example.row].row or example.row + 1,
            tuple(_tokens(tokenizer, example, max_length)),
            example.beyond(max_length),
        )
        for example in renderer.tokenise(sample)
    ]


def _tokens(tokenizer: PreTrainedTokenizerFast, example: Example, max_length: int) -> list[Token]:
    # The first token of a row is given, never predicted.
    flags = [False, *(example.loss_mask or [])[1:]]
    if example.target_ids is not None:
        flags = [False] * len(example.input_ids)
    shown = list(zip(example.input_ids, flags, strict=False))[:max_length]
    shown_target = [(i, True) for i in (example.target_ids or [])[:max_length]]
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return [
        Token(i, text, trained, i in special)
        for part in (shown, shown_target)
        for (i, trained), text in zip(part, pieces(tokenizer, [i for i, _ in part]), strict=True)
    ]


def pieces(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> list[str]:
    """What each token adds to the decoded text; nothing where a character is not yet whole."""

    def decoded(first: int, last: int) -> str:
        return str(tokenizer.decode(ids[first:last], clean_up_tokenization_spaces=False))

    found: list[str] = []
    # Decoding from the token before keeps the spaces that some tokenizers drop at the start.
    before, start = 0, 0
    for end in range(1, len(ids) + 1):
        known, text = decoded(before, start), decoded(before, end)
        broken = text.endswith("\ufffd") and end < len(ids) and end - start < _BYTES
        found.append("" if broken else text[len(known) :])
        if not broken:
            before, start = start, end
    return found
