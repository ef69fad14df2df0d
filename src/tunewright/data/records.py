"""The one canonical record that every reader makes and every later stage takes.

This module knows what a training example is. It does not know files or tokenizers.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

from tunewright.config.task import Task
from tunewright.data.answer_places import Answer
from tunewright.data.tags import label_names, spans
from tunewright.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Dataset", "Label", "LazyRecords", "Message", "Record", "Splits", "Task"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation. `train` says whether its tokens count in the loss."""

    role: str
    content: str
    train: bool = False


Label = str | float | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """One training example.

    A record holds either `text` (with `text_pair` and `label` where the task has them) or
    `messages`. Of tagged words, `words` has them, `text` has them with blanks between, and `label`
    has a BIO tag for each. Of pairs for embeddings, `text` and `text_pair` belong together (as
    closely as `label`, a number, says where there is one), and `negative` does not belong to
    `text`. Of a question (`text`) and what it is asked of (`text_pair`), `answers` has the right
    answers, none where there is none. `source` and `row` (counted from 1) say where it came from,
    so that every message about a record can name its place. `meta` keeps the columns that the task
    does not use.
    """

    text: str = ""
    text_pair: str | None = None
    label: Label | None = None
    messages: tuple[Message, ...] = ()
    words: tuple[str, ...] = ()
    negative: str | None = None
    answers: tuple[Answer, ...] | None = None
    source: str = ""
    row: int = 0
    meta: Mapping[str, Any] = field(default_factory=dict)

    def to_row(self) -> dict[str, Any]:
        """The record as a JSON-like row that `from_row` reads back."""
        row: dict[str, Any] = {}
        if self.messages:
            row["messages"] = [
                {"role": m.role, "content": m.content}
                | ({} if m.train == (m.role == "assistant") else {"train": m.train})
                for m in self.messages
            ]
        elif self.words:
            row["tokens"] = list(self.words)
        else:
            row["text"] = self.text
        if self.text_pair is not None:
            row["text_pair"] = self.text_pair
        if self.negative is not None:
            row["negative"] = self.negative
        if self.answers is not None:
            row["answers"] = {
                "text": [answer.text for answer in self.answers],
                "answer_start": [answer.start for answer in self.answers],
            }
        if isinstance(self.label, tuple):
            row["tags" if self.words else "labels"] = list(self.label)
        elif self.label is not None:
            row["label"] = self.label
        return row | {key: value for key, value in self.meta.items() if key not in row}

    @property
    def class_names(self) -> tuple[str, ...]:
        """The labels as class names: none for a number or a row without a label."""
        if isinstance(self.label, str):
            return (self.label,)
        return self.label if isinstance(self.label, tuple) else ()

    @property
    def entity_types(self) -> tuple[str, ...]:
        """The type of each entity in a row of tagged words; none for other rows."""
        if not self.words or not isinstance(self.label, tuple):
            return ()
        return tuple(kind for kind, _, _ in spans(self.label))

    @property
    def plain_text(self) -> str:
        """All words of the record in one string, for search, duplicates and lengths."""
        if self.messages:
            return "\n".join(message.content for message in self.messages)
        texts = (self.text, self.text_pair, self.negative)
        return "\n".join(text for text in texts if text is not None)


class LazyRecords(Sequence[Record]):
    """Records that are not in memory: each is made when it is asked for."""

    @abstractmethod
    def read(self, indices: Sequence[int] | NDArray[Any]) -> Iterator[Record]:
        """The records at `indices`, in that order; neighbours are read together."""

    @abstractmethod
    def select(self, indices: Sequence[int] | NDArray[Any]) -> LazyRecords:
        """A view of the records at `indices`, in that order."""

    @abstractmethod
    def file_order(self) -> NDArray[Any]:
        """Positions of all records in the order in which they are quick to read."""

    @cached_property
    def class_names(self) -> frozenset[str]:
        """Every class name that occurs. All records are read for it, once."""
        return frozenset(n for record in self.read(self.file_order()) for n in record.class_names)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | Sequence[Record]:
        if isinstance(index, slice):
            return tuple(self.read(range(*index.indices(len(self)))))
        return next(self.read([range(len(self))[index]]))

    def __iter__(self) -> Iterator[Record]:
        return self.read(range(len(self)))


@dataclass(frozen=True, slots=True)
class Dataset:
    """Records of one task, in order: in memory, or on disk (`LazyRecords`)."""

    task: Task
    records: Sequence[Record]
    name: str = ""

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    @property
    def labels(self) -> list[str]:
        """Every class name that occurs, sorted. Empty for tasks without classes.

        Of tags: `O`, then B- and I- of every entity type that occurs.
        """
        if isinstance(self.records, LazyRecords):
            found = self.records.class_names
        else:
            found = frozenset(name for record in self.records for name in record.class_names)
        return label_names(found) if self.task is Task.TOKEN_CLASSIFICATION else sorted(found)

    @property
    def on_disk(self) -> bool:
        """True where the records may be more than memory holds."""
        return isinstance(self.records, LazyRecords)

    def select(self, indices: Sequence[int] | NDArray[Any]) -> Dataset:
        """The records at `indices`, in that order; of records on disk, a view."""
        if isinstance(self.records, LazyRecords):
            return Dataset(self.task, self.records.select(indices), self.name)
        return Dataset(self.task, tuple(self.records[int(i)] for i in indices), self.name)


@dataclass(frozen=True, slots=True)
class Splits:
    """Train, validation and test parts of one data set. The last two may be empty."""

    train: Dataset
    validation: Dataset
    test: Dataset

    @property
    def task(self) -> Task:
        """The task that all parts share."""
        return self.train.task

    def items(self) -> Iterator[tuple[str, Dataset]]:
        """The parts by name, empty ones too."""
        yield "train", self.train
        yield "validation", self.validation
        yield "test", self.test

    def require_known_labels(self) -> None:
        """Refuse a validation or test label that train lacks: no model could predict it.

        Raises:
            DataError: names the labels, how many rows have them, and the known ones.
        """
        known = set(self.train.labels)
        if not known:
            return
        for name, part in (("validation", self.validation), ("test", self.test)):
            unseen = sorted(set(part.labels) - known)
            if unseen:
                rows = sum(not known.issuperset(record.class_names) for record in part)
                counted = f"{rows:,} row{'s' * (rows > 1)}"
                raise DataError(
                    f"The {name} split has {counted} with labels that train lacks: "
                    f"{', '.join(map(repr, unseen[:5]))}. Train has "
                    f"{', '.join(map(repr, sorted(known)[:10]))}. Add such rows to train, "
                    "correct the labels, or leave those rows out."
                )
