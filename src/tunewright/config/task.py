"""The tasks a model can learn. Light to import: every room uses it."""

from __future__ import annotations

from enum import StrEnum


class Task(StrEnum):
    """What the model learns to do."""

    CLASSIFICATION = "classification"
    """One label a row, from a text or a pair of texts."""
    MULTILABEL = "multilabel"
    """Any number of labels a row."""
    REGRESSION = "regression"
    """A number a row."""
    TOKEN_CLASSIFICATION = "token_classification"
    """One tag a word: entities and their types."""
    EMBEDDING = "embedding"
    """Vectors that are near for texts that belong together, from pairs of texts."""
    QUESTION_ANSWERING = "question_answering"
    """Point at the answer to a question in a text, or say that it has none."""
    INSTRUCTION = "instruction"
    """Answer a prompt or a conversation; the loss is on the answers only."""
    TEXT = "text"
    """Continue plain text; the loss is on every token."""

    @property
    def is_generative(self) -> bool:
        """True for tasks that a decoder answers with text."""
        return self in (Task.INSTRUCTION, Task.TEXT)

    @property
    def has_new_head(self) -> bool:
        """True for tasks whose base gets a head that starts from nothing."""
        return not self.is_generative and self is not Task.EMBEDDING
