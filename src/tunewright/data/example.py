"""One row as a model sees it, and all rows of a data set.

Who makes them is `data.render`; this module knows neither tokenizers nor records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tunewright.data.answer_windows import Window

Truncation = Literal["error", "cut", "drop"]
"""What to do with rows that are too long: refuse them, cut their ends, or leave them out."""


@dataclass(slots=True)
class Example:
    """One row as the model sees it.

    Attributes:
        input_ids: token ids, length t. For an encoder-decoder model, those of the source.
        row: index of the record in its data set.
        loss_mask: for generative tasks, t flags: True where the token counts in the loss.
        token_type_ids: for pairs, t segment ids, where the model has them.
        target: class index, number, or one 0/1 per class.
        answer: index of the message that is trained, where a conversation takes several examples.
        target_ids: for an encoder-decoder model, token ids of the target, which all count.
        word_starts: of tagged words, the position of each word's first token, which carries its
            tag; -1 for a word that has no token, or whose token was cut.
        word_tags: of tagged words, the index of each word's tag; -1 where the model has none.
        window: of questions, the part of the text that the row has.
        others: of pairs for embeddings, token ids of the texts behind the first.
    """

    input_ids: list[int]
    row: int
    loss_mask: list[bool] | None = None
    token_type_ids: list[int] | None = None
    target: int | float | list[float] | None = None
    answer: int | None = None
    target_ids: list[int] | None = None
    word_starts: list[int] | None = None
    word_tags: list[int] | None = None
    others: list[list[int]] | None = None
    window: Window | None = None

    def __len__(self) -> int:
        behind = sum(map(len, self.others or ()))
        return len(self.input_ids) + len(self.target_ids or ()) + behind

    @property
    def longest(self) -> int:
        """Tokens that `max_length` limits: of the row; of its source or target, or of its texts,
        the longest one."""
        return max(len(self.input_ids), len(self.target_ids or ()), *map(len, self.others or ()))

    @property
    def trained_ids(self) -> list[int]:
        """The tokens that count in the loss. The first token of a row is never predicted; that of
        a target is, from the decoder's own start."""
        if self.target_ids is not None:
            return self.target_ids
        pairs = zip(self.input_ids[1:], (self.loss_mask or [])[1:], strict=False)
        return [token for token, counts in pairs if counts]

    @property
    def trained_tokens(self) -> int:
        """What the loss of a row is divided by: tokens that count, or 1 for a label."""
        if self.target_ids is not None:
            return len(self.target_ids)
        if self.word_starts is not None:
            return sum(start >= 0 for start in self.word_starts)
        return sum(self.loss_mask[1:]) if self.loss_mask is not None else 1

    def beyond(self, limit: int) -> int:
        """Tokens that are cut where a row, or each of its texts, may have `limit`."""
        texts = (self.input_ids, self.target_ids or (), *(self.others or ()))
        return sum(max(0, len(ids) - limit) for ids in texts)


@dataclass(slots=True)
class Rendered:
    """All rows of a data set as the model sees them.

    Attributes:
        examples: in the order of the records; a long plain text gives several, and so does a
            conversation whose template shows earlier answers in another form.
        cut: rows whose end was cut.
        dropped: rows left out because they are too long, or because nothing to train is left.
    """

    examples: Sequence[Example]
    cut: int = 0
    dropped: int = 0
