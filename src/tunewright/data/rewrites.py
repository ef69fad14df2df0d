"""Training rows in other words, whoever finds the words: what is asked, kept and dropped.

A journal beside the output has a line for each row that was asked, so a killed call goes on where
it was, and what was dropped can be looked at. This module knows rows and files, but no models.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tunewright.artifacts import atomic_write
from tunewright.data.augment import PARENT
from tunewright.data.duplicates import near_pairs, normal_text
from tunewright.data.language import languages_of
from tunewright.data.records import Dataset, Record, Task
from tunewright.errors import ArtifactError, ConfigError, DataError

JOURNAL = ".asked.jsonl"
"""Ending of the journal, in place of `.jsonl`."""
REASONS = ("empty", "unfinished", "damaged", "same", "near", "language")
"""Why a rewrite is dropped, in the order in which it is looked for."""

Ask = Callable[[Sequence[str], int], Sequence[str | None]]
"""Texts, and which copy of them it is, become rewrites; None for one that had no end."""
_REPLACEMENT = "\ufffd"


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What came of a call.

    Attributes:
        output: file of the rewrites that were kept.
        journal: file with every rewrite, and why one was dropped.
        asked: rewrites asked for, copies counted.
        kept: rows in `output`.
        dropped: by reason.
        reused: of those asked for, how many an earlier call had done.
    """

    output: str
    journal: str
    asked: int
    kept: int
    dropped: Mapping[str, int]
    reused: int

    def to_dict(self) -> dict[str, Any]:
        """As `tunewright data paraphrase --json` prints it."""
        return asdict(self)


def rewrite(
    train: Dataset,
    output: Path,
    ask: Callable[[], Ask],
    settings: Mapping[str, Any],
    *,
    copies: int = 1,
    at_once: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> Rewritten:
    """Write rewritten copies of training rows, each with the label of its row.

    Of pairs both texts are rewritten, of conversations what the user says and never an answer.

    Args:
        train: training rows only.
        output: JSONL to write when all rows were asked. It must not exist, unless a call with the
            same rows and settings wrote it.
        ask: makes what rewrites texts; not called where nothing is left to ask.
        settings: what else decides the rewrites; kept in the journal, and compared.
        copies: of each row.
        at_once: rows between two writes to the journal.
        progress: called with the rewrites done and those in all.

    Raises:
        ConfigError: the task is `text`, `token_classification`, `embedding` or
            `question_answering`, or there are no rows.
        DataError: `output` or its journal is there from something else.
        ArtifactError: another call writes the same output.
    """
    if train.task is Task.TEXT or not len(train):
        why = "there is no training row" if not len(train) else "every token of a text is learned"
        raise ConfigError(f"There is nothing to rewrite: {why}. Give rows with labels or answers.")
    if train.task is Task.TOKEN_CLASSIFICATION:
        raise ConfigError(
            "Rows of tagged words cannot be rewritten: the new words would have no tags. Give rows "
            "with labels or answers."
        )
    if train.task is Task.QUESTION_ANSWERING:
        raise ConfigError(
            "Texts with answers in them cannot be rewritten: the answers would not be where they "
            "were. Give rows with labels or answers to write."
        )
    if train.task is Task.EMBEDDING:
        raise ConfigError(
            "Pairs of texts cannot be rewritten: a text in other words would be told apart from "
            "what it belongs to. Give rows with labels or answers."
        )
    journal = output.with_name(output.name.removesuffix(".jsonl") + JOURNAL)
    whole = {**settings, "copies": copies, "rows": _fingerprint(train)}
    if output.exists() and not journal.exists():
        raise DataError(f"{output} exists. Choose another file; nothing was written.")
    with _journal(journal, whole) as (done, append):
        reused = len(done)
        every = [(position, copy) for copy in range(copies) for position in range(len(train))]
        waiting = [place for place in every if place not in done]
        asking = ask() if waiting else None
        for first in range(0, len(waiting), at_once):
            assert asking is not None
            some = waiting[first : first + at_once]
            append(_answered(train, some, asking))
            if progress is not None:
                progress(reused + first + len(some), len(every))
        kept, dropped = _kept(train, [done[place] for place in every])
    lines = (json.dumps(r.to_row(), ensure_ascii=False, default=str) + "\n" for r in kept)
    if kept:
        atomic_write(output, "".join(lines))
    counts = {reason: dropped[reason] for reason in REASONS if dropped[reason]}
    return Rewritten(str(output), str(journal), len(every), len(kept), counts, reused)


def _texts(record: Record) -> list[str]:
    """What is rewritten of a row."""
    if record.messages:
        return [m.content for m in record.messages if m.role == "user"]
    return [record.text] if record.text_pair is None else [record.text, record.text_pair]


def _with_texts(record: Record, texts: Sequence[str], position: int) -> Record:
    """The row with these texts in place of its own."""
    meta = {**record.meta, PARENT: record.row or position + 1}
    if record.messages:
        left = iter(texts)
        said = tuple(
            replace(m, content=next(left)) if m.role == "user" else m for m in record.messages
        )
        return replace(record, messages=said, meta=meta)
    pair = texts[1] if record.text_pair is not None else None
    return replace(record, text=texts[0], text_pair=pair, meta=meta)


def _answered(train: Dataset, places: Sequence[tuple[int, int]], ask: Ask) -> list[dict[str, Any]]:
    """A line of the journal for each place."""
    found: dict[tuple[int, int], list[str | None]] = {place: [] for place in places}
    for copy in sorted({copy for _, copy in places}):
        owners = [
            ((position, c), text)
            for position, c in places
            if c == copy
            for text in _texts(train.records[position])
        ]
        answers = ask([text for _, text in owners], copy)
        for (place, _), answer in zip(owners, answers, strict=True):
            found[place].append(None if answer is None else answer.strip())
    return [
        {"position": position, "copy": copy, "texts": texts}
        for (position, copy), texts in found.items()
    ]


def _kept(train: Dataset, lines: Sequence[Mapping[str, Any]]) -> tuple[list[Record], Counter[str]]:
    """The rows to write, and how many were dropped for which reason."""
    old = [record.plain_text for record in train]
    languages = languages_of(old)
    main = next((name for name, _ in Counter(filter(None, languages)).most_common(1)), None)
    dropped: Counter[str] = Counter()
    made: list[Record] = []
    seen = {normal_text(text) for text in old}
    for line in lines:
        position = line["position"]
        reason = _reason(line["texts"])
        record = train.records[position]
        if not reason:
            record = _with_texts(record, line["texts"], position)
            found = languages_of([record.plain_text])[0]
            if normal_text(record.plain_text) in seen:
                reason = "same"
            elif found is not None and found != (languages[position] or main or found):
                reason = "language"
        if reason:
            dropped[reason] += 1
            continue
        seen.add(normal_text(record.plain_text))
        made.append(record)
    pairs = near_pairs([*old, *(record.plain_text for record in made)])
    near = {right - len(old) for right in pairs.right.tolist() if right >= len(old)}
    if near:
        dropped["near"] = len(near)
    return [record for i, record in enumerate(made) if i not in near], dropped


def _reason(texts: Sequence[str | None]) -> str:
    """Why an answer is no text at all; nothing where it is one."""
    if any(text is None for text in texts):
        return "unfinished"
    if not texts or not all(texts):
        return "empty"
    return "damaged" if any(_REPLACEMENT in (text or "") for text in texts) else ""


def _fingerprint(train: Dataset) -> str:
    """Of the rows in their order, so that a journal is not taken for that of other rows."""
    digest = hashlib.sha256()
    for record in train:
        digest.update(json.dumps(record.to_row(), default=str).encode("utf-8", "replace"))
    return digest.hexdigest()[:16]


_Done = dict[tuple[int, int], Mapping[str, Any]]


@contextmanager
def _journal(
    path: Path, settings: Mapping[str, Any]
) -> Iterator[tuple[_Done, Callable[[list[dict[str, Any]]], None]]]:
    """What a journal holds, and a function that adds lines, which are on the disk when it returns.

    A last line that a kill cut short is taken off.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ArtifactError(
                f"{path} is in use by another call. Wait for it, or choose another --output."
            ) from error
        content = path.read_bytes()
        whole, _, torn = content.rpartition(b"\n")
        os.ftruncate(handle, len(content) - len(torn))
        lines = [json.loads(line) for line in whole.splitlines()]
        if not lines:
            _add(handle, [dict(settings)])
        elif lines[0] != dict(settings):
            changed = sorted(
                k for k in {*settings, *lines[0]} if settings.get(k) != lines[0].get(k)
            )
            raise DataError(
                f"{path} is the journal of a call with other settings (different: "
                f"{', '.join(changed)}). Choose another --output, or delete it to begin again."
            )
        done: _Done = {(line["position"], line["copy"]): line for line in lines[1:]}

        def append(made: list[dict[str, Any]]) -> None:
            _add(handle, made)
            done.update({(line["position"], line["copy"]): line for line in made})

        yield done, append
    finally:
        os.close(handle)


def _add(handle: int, lines: Sequence[Mapping[str, Any]]) -> None:
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    os.write(handle, text.encode("utf-8", "replace"))
    os.fsync(handle)
