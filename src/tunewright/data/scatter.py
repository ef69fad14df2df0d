"""Lines that are made in one order and wanted in another, more of them than memory holds.

Rows of a large file are quick to read from the first to the last, and very slow in any other order
where the file is not in memory: a disk finds some thousand places a second. So they are read in the
order of the file, put down in pieces of the wanted order, and each piece is sorted in memory.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunewright.artifacts import require_space

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PIECE = 64_000_000
"""Bytes of a piece, about."""
_MOST_PIECES = 256
"""Files that are open at once."""
_SAMPLE = 1024
_HEAD = struct.Struct("<II")
"""Place of a line, and its bytes."""


def in_order(lines: Iterable[str], places: NDArray[Any], folder: Path) -> Iterator[str]:
    """The lines by their places.

    Args:
        lines: as many as there are places.
        places: [n] where each line belongs: every number below n once.
        folder: on a disk that has room for all lines; nothing stays there.

    Raises:
        SpaceError: the disk has no room.
    """
    rest = iter(lines)
    first = list(islice(rest, _SAMPLE))
    size = (
        sum(len(line.encode()) + _HEAD.size for line in first) * len(places) // max(1, len(first))
    )
    require_space(folder, int(1.1 * size), "Putting rows in order")
    pieces = min(_MOST_PIECES, 1 + size // _PIECE)
    width = 1 + (len(places) - 1) // pieces
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".order-") as scratch:
        paths = [Path(scratch) / str(i) for i in range(pieces)]
        with ExitStack() as opened:
            files = [opened.enter_context(path.open("wb")) for path in paths]
            for place, line in zip(map(int, places), chain(first, rest), strict=True):
                content = line.encode()
                files[place // width].write(_HEAD.pack(place, len(content)) + content)
        for path in paths:
            yield from (line.decode() for _, line in sorted(_placed(path.read_bytes())))
            path.unlink()


def _placed(content: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(content):
        place, size = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        yield place, content[at : at + size]
        at += size
