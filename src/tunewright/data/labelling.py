"""Labels given by hand, kept as they are given: which row is next, and a file that loses nothing.

Every answer is on disk before the next row is asked, so a session may be killed at any time. This
module knows rows and files. It does not know terminals or models.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tunewright.artifacts import atomic_write
from tunewright.data.duplicates import normal_text
from tunewright.data.records import Dataset, Record
from tunewright.errors import ArtifactError, DataError

SKIPPED = ".skipped"
"""Ending of the file that remembers which rows were put off."""
_BEGINNING = b'{"text": "'
"""What every line that is written here begins with."""


class LineFile:
    """A file of labelled rows that grows by one whole line at a time, held by one process.

    Args:
        path: made when missing, its folder too. A last line that a crash cut short is taken off.
        labels: that its rows may have.
    """

    def __init__(self, path: Path, labels: Sequence[str]) -> None:
        self.path = path
        self.labels = labels
        self.lines: list[dict[str, Any]] = []
        self._handle = -1

    def __enter__(self) -> Self:
        if self.path.is_dir():
            raise ArtifactError(f"{self.path} is a folder; a file is needed. Choose another path.")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._open()
        try:
            self._read()
        except BaseException:
            os.close(self._handle)
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        if not self.lines:
            self.path.unlink(missing_ok=True)  # a file without rows is none that can be read
        os.close(self._handle)

    def _read(self) -> None:
        """Read the lines. Nothing is changed before they are known to be labelled rows."""
        content = self.path.read_bytes()
        whole, _, torn = content.rpartition(b"\n")
        self.lines = [self._parsed(line, n) for n, line in enumerate(whole.splitlines(), 1)]
        if not torn:
            return
        ours = torn.startswith(_BEGINNING) or _BEGINNING.startswith(torn)
        # Where the power failed, a file may end in zeros.
        if not ours and (torn.strip(b"\0") or not self.lines):
            self._parsed(torn, len(self.lines) + 1)
        row = None
        with contextlib.suppress(DataError):
            # Another program may have left out the last line end.
            row = self._parsed(torn, len(self.lines) + 1)
        os.ftruncate(self._handle, len(content) - len(torn))
        if row is not None:
            self.append(row)

    def _open(self) -> None:
        self._handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._handle)
            raise ArtifactError(
                f"{self.path} is in use by another session. End it, or choose another --output."
            ) from error

    def _parsed(self, line: bytes, number: int) -> dict[str, Any]:
        place = f"{self.path}, line {number}"
        advice = "so it is no file of labels. Choose another --output."
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{place} is not JSON ({error}), {advice}") from error
        if not isinstance(row, dict) or not isinstance(row.get("text"), str) or "label" not in row:
            raise DataError(f"{place} has no text and label, {advice}")
        if str(row["label"]) not in self.labels:
            raise DataError(
                f"{place} has the label {row['label']!r}, which is not among those to give: "
                f"{', '.join(self.labels)}. Add it to --labels, or choose another --output."
            )
        return row

    def append(self, row: dict[str, Any]) -> None:
        """Write one line; it is on the disk when this returns."""
        line = json.dumps(row, ensure_ascii=False, default=str) + "\n"
        os.write(self._handle, line.encode("utf-8", "replace"))
        os.fsync(self._handle)
        self.lines.append(row)

    def drop_last(self) -> dict[str, Any]:
        """Take off the last line and give it back; the file is the old one or the new one."""
        row = self.lines.pop()
        text = "".join(json.dumps(x, ensure_ascii=False, default=str) + "\n" for x in self.lines)
        atomic_write(self.path, text.encode("utf-8", "replace"))
        os.close(self._handle)
        self._open()
        return row


@dataclass
class Session:
    """Rows to label one after the other; made by `open_session`.

    Attributes:
        labels: that may be given.
        answers: the file of labelled rows.
        waiting: rows that are still to be asked, the next one first.
        total: different rows, labelled or not.
        labelled: how many of them have a label.
        copies: rows that repeat the text of another and are not asked.
        empty: rows without text, which are not asked.
        comment: on the current row, written with its label.
    """

    labels: Sequence[str]
    answers: LineFile
    waiting: list[Record]
    total: int
    labelled: int
    copies: int
    empty: int
    _records: dict[str, Record]
    _later: list[str]
    _done: list[str] = field(default_factory=list)
    comment: str = ""

    @property
    def current(self) -> Record | None:
        """The row to ask about, or None when all have a label."""
        return self.waiting[0] if self.waiting else None

    @property
    def skipped(self) -> int:
        """Rows that were put off and have no label yet."""
        return len(self._later)

    def counts(self) -> Counter[str]:
        """Rows by label, all that the file holds."""
        return Counter(str(row["label"]) for row in self.answers.lines)

    def label(self, name: str) -> None:
        """Give the current row a label, with the comment made before."""
        record = self.waiting[0]
        row = labelled_row(record, name)
        if self.comment:
            row["comment"] = self.comment
        self.answers.append(row)
        self.waiting.pop(0)
        self._done.append("label")
        self.labelled += 1
        self.comment = ""
        self._put_off(record, False)

    def skip(self) -> None:
        """Put the current row off until all others are done."""
        record = self.waiting.pop(0)
        self.waiting.append(record)
        self._done.append("skip")
        self.comment = ""
        self._put_off(record, True)

    def undo(self) -> bool:
        """Take the last answer back and ask its row again; False where there is none.

        Labels of earlier sessions are taken back too, the last one first; rows that those put off
        stay so.
        """
        if self._done and self._done[-1] == "skip":
            self._done.pop()
            self.waiting.insert(0, self.waiting.pop())
            self._put_off(self.waiting[0], False)
            self.comment = ""
            return True
        if not self.answers.lines or row_key(self.answers.lines[-1]) not in self._records:
            return False
        if self._done:
            self._done.pop()
        row = self.answers.drop_last()
        self.labelled -= 1
        self.waiting.insert(0, self._records[row_key(row)])
        self.comment = str(row.get("comment", ""))
        return True

    def _put_off(self, record: Record, later: bool) -> None:
        """Note on the disk whether a row was put off."""
        mark = _mark(record_key(record))
        if (mark in self._later) == later:
            return
        if later:
            self._later.append(mark)
        else:
            self._later.remove(mark)
        path = _put_off_path(self.answers.path)
        if self._later:
            atomic_write(path, "".join(f"{mark}\n" for mark in self._later))
        else:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def open_session(dataset: Dataset, output: Path, labels: Sequence[str]) -> Iterator[Session]:
    """Begin a session, or go on with one.

    Args:
        dataset: the rows, in the order they are asked; labels they have are kept in the file as
            `label_before`. Rows with the same text, but for case and spacing, are asked once.
        output: JSONL, one line a labelled row; what it holds is not asked again. Rows that were
            put off are remembered in a file beside it and asked last.
        labels: that may be given.

    Raises:
        DataError: `output` is something else, or has labels that may not be given.
        ArtifactError: another session writes to `output`.
    """
    with LineFile(output, labels) as answers:
        records: dict[str, Record] = {}
        empty = 0
        for record in dataset:
            key = record_key(record)
            if key:
                records.setdefault(key, record)
            else:
                empty += 1
        labelled = {row_key(row) for row in answers.lines}
        noted = _put_off_path(output)
        marks = noted.read_text(encoding="utf-8").split() if noted.is_file() else []
        by_mark = {_mark(key): key for key in records if key not in labelled}
        later = [mark for mark in marks if mark in by_mark]
        last = [by_mark[mark] for mark in later]
        waiting = [records[key] for key in records if key not in labelled | set(last)]
        yield Session(
            labels=labels,
            answers=answers,
            waiting=waiting + [records[key] for key in last],
            total=len(records),
            labelled=len(labelled & records.keys()),
            copies=len(dataset) - empty - len(records),
            empty=empty,
            _records=records,
            _later=later,
        )


def _put_off_path(output: Path) -> Path:
    return output.with_name(output.name + SKIPPED)


def _mark(key: str) -> str:
    """A short name of a row."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:16]


def labelled_row(record: Record, label: str) -> dict[str, Any]:
    """A record as a line of the output: its text, the label, and its other columns."""
    row: dict[str, Any] = {"text": record.plain_text if record.messages else record.text}
    if record.text_pair is not None:
        row["text_pair"] = record.text_pair
    row["label"] = label
    if record.label is not None and record.label != label:
        before = record.label
        row["label_before"] = list(before) if isinstance(before, tuple) else before
    return row | {key: value for key, value in record.meta.items() if key not in row}


def record_key(record: Record) -> str:
    """What makes a row the same row: its text but for case and spacing. Empty without text."""
    return normal_text(record.plain_text)


def row_key(row: dict[str, Any]) -> str:
    """The same for a line of the output."""
    pair = row.get("text_pair")
    return normal_text(row["text"] if pair is None else f"{row['text']}\n{pair}")
