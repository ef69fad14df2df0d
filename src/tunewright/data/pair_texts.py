"""Pairs of texts become token ids, and the rows of a step become distinct texts and who has which.

A text that several rows have is embedded once, and is known to be the same: it can never be a
negative of a row that it belongs to. This module knows tokens. It does not know losses.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from tunewright.data.duplicates import normal_text
from tunewright.data.example import Example
from tunewright.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerFast

    from tunewright.data.records import Record

Name = TypeVar("Name", bound=Hashable)
_SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")
NONE = -1
"""Index of a negative that a row does not have."""


def is_scored(records: Sequence[Record], name: str = "The data") -> bool:
    """Whether the pairs have a number that says how alike they are.

    Raises:
        DataError: some have and some have none.
    """
    scored = sum(record.label is not None for record in records)
    if 0 < scored < len(records):
        raise DataError(
            f"{name or 'The data'} has {scored:,} pairs with a score and "
            f"{len(records) - scored:,} without, which are learned by different losses. Give all "
            "of them a score, or none."
        )
    return scored > 0


def paired_examples(tokenizer: PreTrainedTokenizerFast, records: Sequence[Record]) -> list[Example]:
    """The examples of pairs, of any length: the first text, and the other ones behind it.

    Args:
        tokenizer: a fast tokenizer.
        records: with `text_pair`; maybe with `negative`, or with a number as `label`.
    """
    if not len(records):
        return []
    texts = [[r.text, r.text_pair or "", *([r.negative] if r.negative else [])] for r in records]
    encoded: Any = tokenizer(
        [text for row in texts for text in row],
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )
    ids = iter(encoded["input_ids"])
    made = []
    for index, (record, row) in enumerate(zip(records, texts, strict=True)):
        first, *others = (list(next(ids)) for _ in row)
        target = record.label if isinstance(record.label, float) else None
        made.append(Example(first, index, others=others, target=target))
    return made


@dataclass(frozen=True, slots=True)
class PairTexts:
    """The distinct texts of n rows, and which of them each row has.

    Attributes:
        texts: token ids of each of m texts.
        anchor, positive, negative: [n] index of each row's text; `NONE` without a negative.
        scores: [n] how alike anchor and positive are, or None where they belong together.
    """

    texts: list[list[int]]
    anchor: NDArray[np.int64]
    positive: NDArray[np.int64]
    negative: NDArray[np.int64]
    scores: NDArray[np.float64] | None

    def __len__(self) -> int:
        return len(self.anchor)

    @property
    def candidates(self) -> NDArray[np.int64]:
        """[c] the texts that an anchor is compared with: every positive and negative, sorted."""
        return np.unique(np.concatenate([self.positive, self.negative[self.negative != NONE]]))

    def wrong(
        self, candidates: NDArray[np.int64], rows: NDArray[np.int64] | None = None
    ) -> NDArray[np.bool_]:
        """[r x c] where a candidate is one that a row's anchor must be told apart from.

        It is not where it is a positive of the row, or of another row with the same anchor, or the
        anchor itself.

        Args:
            candidates: sorted.
            rows: [r] of which it is asked. Default: all.
        """
        anchor = self.anchor if rows is None else self.anchor[rows]
        found: NDArray[np.bool_] = candidates[None] != anchor[:, None]
        order = np.argsort(self.anchor, kind="stable")
        place = np.searchsorted(candidates, self.positive)[order]
        first, end = (np.searchsorted(self.anchor[order], anchor, side=s) for s in _SIDES)
        for row in range(len(anchor)):
            found[row, place[first[row] : end[row]]] = False
        return found


def pair_texts(
    examples: Sequence[Example], names: Sequence[Sequence[str]] | None = None
) -> PairTexts:
    """The distinct texts of some rows.

    Args:
        examples: [n] rendered pairs.
        names: [n] what each text of a row is called; texts of one name are the same. Default:
            those with the same tokens are.
    """
    rows = [(e.input_ids, *(e.others or ())) for e in examples]
    if names is None:
        known, found = numbered([[tuple(ids) for ids in row] for row in rows])
        texts = [list(ids) for ids in known]
    else:
        known_names, found = numbered(names)
        texts = [[] for _ in known_names]
        for numbers, row in zip(found, rows, strict=True):
            for number, ids in zip(numbers, row, strict=True):
                texts[number] = texts[number] or ids
    targets = [example.target for example in examples]
    scored = bool(targets) and targets[0] is not None
    return PairTexts(
        texts,
        np.array([row[0] for row in found], dtype=np.int64),
        np.array([row[1] for row in found], dtype=np.int64),
        np.array([row[2] if len(row) > 2 else NONE for row in found], dtype=np.int64),
        np.array(targets, dtype=np.float64) if scored else None,
    )


def numbered(rows: Sequence[Sequence[Name]]) -> tuple[list[Name], list[list[int]]]:
    """The distinct values of all rows in the order they come, and their indices row by row."""
    numbers: dict[Name, int] = {}
    found = [[numbers.setdefault(value, len(numbers)) for value in row] for row in rows]
    return list(numbers), found


def names_of(record: Record) -> list[str]:
    """What the texts of a row are called when they are compared: case and spacing aside."""
    texts = (record.text, record.text_pair or "", record.negative)
    return [normal_text(text) for text in texts if text is not None]
