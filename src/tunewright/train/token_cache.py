"""The tokens of a run's rows: made once, in memory, or in the run's folder for rows on disk.

In the folder they are written beside their place and renamed, so they are whole or not there. A
later start of the run takes them again where all that went into them is equal: the rows, the
tokenizer and how rows are rendered, but not `max_length`. They go when the run is done. This module
does not know how long rows may be, nor what becomes of them.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.metadata
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tunewright import __version__
from tunewright.artifacts import (
    MANIFEST,
    locked,
    read_json,
    require_space,
    sha256_file,
    write_json,
)
from tunewright.config.task import Task
from tunewright.data.records import Dataset, Record
from tunewright.data.render import Renderer
from tunewright.data.token_store import (
    ENTRY_BYTES,
    FIELDS,
    FORMAT,
    HeldBytes,
    HeldRows,
    StoredBytes,
    TokenStore,
    TokenWriter,
    pack,
)
from tunewright.errors import SpaceError

if TYPE_CHECKING:
    from hashlib import _Hash

Progress = Callable[[str, int, int], None]
"""Told what is done, how far, of how much."""

TOKENS = ".tokens"
"""The folder of the tokens in a run's folder."""

_FILES = ("rows.bin", "entries.bin")
_PACKAGES = ("transformers", "tokenizers")
_PLACE = ("source", "row", "meta")
_SAID = attrgetter(*(field.name for field in fields(Record) if field.name not in _PLACE))
"""All that a record says; what is left out tells where it was, and columns that no task uses."""
_SAMPLE = 500
"""Rows, evenly drawn, from which the size of all is told."""
_HELD = (Task.EMBEDDING, Task.QUESTION_ANSWERING)
"""Tasks whose rows are several texts, or know the text they came from: these stay in memory."""
_ROWS_AT_ONCE, _LETTERS_AT_ONCE = 1024, 4_000_000
"""What is tokenised in one go, at most."""


def tokenised(
    dataset: Dataset,
    renderer: Renderer,
    part: str,
    folder: Path,
    progress: Progress | None = None,
) -> TokenStore | HeldRows:
    """The rows as the tokenizer makes them, of any length.

    Args:
        dataset: the records.
        renderer: that tokenises them.
        part: what they are, for messages and the name of a folder.
        folder: where the tokens of records on disk are kept; not touched for others. Processes
            that share it wait for the first, and take what it made.
        progress: told how many rows are done.

    Raises:
        SpaceError: the disk has no room for the tokens. Nothing is left of them.
    """
    told = progress if progress is not None else lambda *_: None
    if dataset.task in _HELD:
        return HeldRows(renderer.tokenise(dataset))
    if not dataset.on_disk or not len(dataset):
        held = _in_memory(dataset, renderer, lambda done: told(_doing(part), done, len(dataset)))
        return TokenStore(*(HeldBytes(sink.getvalue()) for sink in held))
    target = folder / part
    if not folder.exists():  # before anything is written
        _require_room(dataset, renderer, folder, part)
    with locked(folder, wait=True):
        if not _is_made_of(target, dataset, renderer, part, told):
            _write(target, dataset, renderer, part, told)
        return TokenStore(*(StoredBytes(target / name) for name in _FILES))


def longest_row(
    dataset: Dataset, renderer: Renderer, part: str, progress: Progress | None = None
) -> int:
    """Tokens of the longest row; 0 where there is none. Nothing is kept of the rows.

    The arguments are those of `tokenised`.
    """
    longest = done = 0
    for chunk in _chunks(dataset):
        longest = max(longest, *(example.longest for example in renderer.tokenise(chunk)), 0)
        done += len(chunk)
        if progress is not None:
            progress(f"Measuring the {part} rows", done, len(dataset))
    return longest


def remove_tokens(run: Path) -> None:
    """Delete the tokens in a run's folder, and the folder where nothing else is in it."""
    shutil.rmtree(run / TOKENS, ignore_errors=True)
    if run.is_dir() and not any(run.iterdir()):
        run.rmdir()


def _doing(part: str) -> str:
    return f"Tokenising the {part} rows"


def _in_memory(
    dataset: Dataset, renderer: Renderer, done: Callable[[int], None]
) -> tuple[io.BytesIO, io.BytesIO]:
    for pairs in (False, True):
        sinks = io.BytesIO(), io.BytesIO()
        if _tokenise(dataset, renderer, TokenWriter(*sinks), pairs, done):
            break
    return sinks


def _tokenise(
    dataset: Dataset,
    renderer: Renderer,
    writer: TokenWriter,
    pairs: bool,
    done: Callable[[int], None],
    said: _Hash | None = None,
) -> bool:
    """Write all rows; False where a row has two texts and `pairs` is not set, so that labelled
    rows before it came out otherwise than beside a pair."""
    first = 0
    for chunk in _chunks(dataset):
        if not pairs and any(record.text_pair is not None for record in chunk):
            return False
        examples = renderer.tokenise(chunk, pairs)
        for example in examples:
            example.row += first
        writer.add(examples)
        if said is not None:
            _hash_rows(chunk, said)
        first += len(chunk)
        done(first)
    return True


def _chunks(dataset: Dataset) -> Iterator[Dataset]:
    """The records in runs that fit in memory, whatever their length."""
    chunk: list[Record] = []
    letters = 0
    for record in dataset:
        chunk.append(record)
        letters += len(record.plain_text)
        if len(chunk) == _ROWS_AT_ONCE or letters >= _LETTERS_AT_ONCE:
            yield Dataset(dataset.task, tuple(chunk), dataset.name)
            chunk, letters = [], 0
    if chunk:
        yield Dataset(dataset.task, tuple(chunk), dataset.name)


def _hash_rows(chunk: Dataset, said: _Hash) -> None:
    """Add all of the records that tokens can come from."""
    for record in chunk:
        content = repr(_SAID(record))
        said.update(content.encode("utf-8", "surrogatepass"))


def _how(renderer: Renderer) -> dict[str, Any]:
    """All that decides which tokens a record becomes, but the record."""
    tokenizer = renderer.tokenizer
    content = (
        tokenizer.backend_tokenizer.to_str(),
        type(tokenizer).__name__,
        tokenizer.chat_template,
        tokenizer.special_tokens_map,
    )
    said = json.dumps(content, sort_keys=True, default=str)
    settings = {
        name: value
        for name, value in vars(renderer).items()
        if isinstance(value, str | int | float | dict) and name[0] != "_" and name != "max_length"
    }
    return {
        "format": [FORMAT, *FIELDS],
        "versions": [__version__, *(importlib.metadata.version(name) for name in _PACKAGES)],
        "tokenizer": hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest(),
        "settings": settings,
        "source_prefix": renderer.pairs.prefix if renderer.pairs is not None else "",
    }


def _is_made_of(
    target: Path, dataset: Dataset, renderer: Renderer, part: str, told: Progress
) -> bool:
    """Whether whole tokens of exactly these rows are there."""
    if not (target / MANIFEST).is_file():
        return False
    found = read_json(target / MANIFEST)
    if found["how"] != _how(renderer) or found["rows"] != len(dataset):
        return False
    if any(sha256_file(target / name) != found["files"][name] for name in _FILES):
        return False
    said = hashlib.sha256()
    done = 0
    for chunk in _chunks(dataset):
        _hash_rows(chunk, said)
        done += len(chunk)
        told(f"Comparing the {part} rows with their tokens", done, len(dataset))
    return bool(found["content"] == said.hexdigest())


class _HashedFile:
    """A new file, and the SHA-256 of what is written into it."""

    def __init__(self, path: Path) -> None:
        self._handle = path.open("wb")
        self.digest = hashlib.sha256()

    def write(self, content: bytes, /) -> object:
        """Write behind what is there."""
        self.digest.update(content)
        return self._handle.write(content)

    def close(self) -> None:
        """Have all of it on the disk."""
        with self._handle:
            self._handle.flush()
            os.fsync(self._handle.fileno())


def _write(target: Path, dataset: Dataset, renderer: Renderer, part: str, told: Progress) -> None:
    """Make the tokens beside `target`, and rename."""
    scratch = target.with_name(f".{target.name}.tmp")
    for old in (target, scratch):  # of other rows; of a process that was killed
        shutil.rmtree(old, ignore_errors=True)
    needed = _require_room(dataset, renderer, target.parent, part)
    try:
        for pairs in (False, True):
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(parents=True)
            with contextlib.ExitStack() as open_files:
                sinks = [_HashedFile(scratch / name) for name in _FILES]
                for sink in sinks:
                    open_files.callback(sink.close)
                said = hashlib.sha256()
                whole = _tokenise(
                    dataset,
                    renderer,
                    TokenWriter(*sinks),
                    pairs,
                    lambda done: told(_doing(part), done, len(dataset)),
                    said,
                )
            if whole:
                break
        described = {
            "how": _how(renderer),
            "rows": len(dataset),
            "content": said.hexdigest(),
            "files": {n: s.digest.hexdigest() for n, s in zip(_FILES, sinks, strict=True)},
        }
        write_json(scratch / MANIFEST, described)
        scratch.rename(target)
    except BaseException as error:
        shutil.rmtree(scratch, ignore_errors=True)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise SpaceError(
                f"The disk is full: the tokens of the {part} rows need about {needed / 1e9:.2f} GB "
                f"in {target.parent}. Free some room, choose another output_dir, or train on some "
                "of the rows (data.max_samples)."
            ) from error
        raise


def _require_room(dataset: Dataset, renderer: Renderer, folder: Path, part: str) -> int:
    """Bytes that the tokens of all rows take, told from some; refused where the disk lacks them."""
    drawn = np.unique(np.linspace(0, len(dataset) - 1, _SAMPLE).astype(np.int64))
    sizes = [
        len(pack(example)) + ENTRY_BYTES
        for chunk in _chunks(dataset.select(drawn))
        for example in renderer.tokenise(chunk)
    ]
    needed = int(1.05 * sum(sizes) * len(dataset) / len(drawn)) + 1_000_000
    require_space(folder, needed, f"A file with the tokens of the {len(dataset):,} {part} rows")
    return needed
