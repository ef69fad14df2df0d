"""Keys of how answers are found in long texts."""

from __future__ import annotations

from pydantic import NonNegativeInt, PositiveInt

from tunewright.config.base import Strict


class AnswerKeys(Strict):
    """Part of `Recipe`."""

    doc_stride: NonNegativeInt | None = None
    """Tokens that two neighbouring windows of a long text share. Task `question_answering` only."""
    max_answer_length: PositiveInt | None = None
    """Longest answer that is looked for, in tokens. Task `question_answering` only."""
