"""Write a cleaned copy of a data set, with everything that was taken out or changed beside it.

The source is never touched. This module does not know what is fixed, or how.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunewright.artifacts import atomic_write
from tunewright.data.clean import Cleaned, clean
from tunewright.data.export import write_dataset
from tunewright.data.finding import Finding
from tunewright.data.fix_options import MASKING, SAFE
from tunewright.data.records import Splits
from tunewright.errors import ArtifactError, DataError

REMOVED = "removed.jsonl"
"""One line for each row that was removed or changed: why, where it was, and the row as it was."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """A cleaned data set on disk.

    Attributes:
        folder: with `train.jsonl`, ..., a manifest and `removed.jsonl`.
        removed: rows that are gone, by the finding that they were part of.
        changed: rows that read otherwise, by finding.
        rows: what is left, by part.
    """

    folder: Path
    removed: dict[str, int]
    changed: dict[str, int]
    rows: dict[str, int]


def write_fixed(
    splits: Splits,
    folder: Path,
    *,
    mask: bool = False,
    also: Sequence[str] = (),
    found: Sequence[Finding] = (),
) -> Fixed:
    """Apply the safe fixes, and those asked for, and write the result into a new folder.

    Args:
        splits: the rows.
        folder: must not exist, or be empty.
        mask: also put `[EMAIL]`, `[SECRET]` and the like in place of personal data and secrets.
        also: further fixes, of `fix_options.ASKED`.
        found: what an audit of `splits` found; needed for fixes of `fix_options.LOOKED_AT`.

    Raises:
        ArtifactError: the folder has something in it.
        DataError: no training row would be left.
    """
    require_new(folder)
    cleaned = clean(splits, (*SAFE, *(MASKING if mask else ()), *also), found)
    if len(splits.train) and not len(cleaned.splits.train):
        raise DataError(
            f"None of the {len(splits.train)} training rows would be left: "
            f"{', '.join(_counts(cleaned, removed=True))}. Nothing was written. Look at the rows."
        )
    write_dataset(cleaned.splits, folder)
    lines = [json.dumps(c.to_row(), ensure_ascii=False, default=str) for c in cleaned.changes]
    atomic_write(folder / REMOVED, "".join(f"{line}\n" for line in lines))
    return Fixed(
        folder,
        _counts(cleaned, removed=True),
        _counts(cleaned, removed=False),
        {name: len(part) for name, part in cleaned.splits.items()},
    )


def require_new(folder: Path) -> None:
    """Refuse a folder with something in it.

    Raises:
        ArtifactError: it is there and not empty, or is no folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ArtifactError(
            f"{folder} is there already, and nothing is written over. Give a new folder to --fix."
        )


def _counts(cleaned: Cleaned, *, removed: bool) -> dict[str, int]:
    found = Counter(c.finding for c in cleaned.changes if (c.after is None) is removed)
    return dict(found.most_common())
