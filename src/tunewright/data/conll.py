"""CoNLL files: one token a line with its columns, a blank line between sentences.

The first column has the tokens and the last one the tags, in the shared tasks of 2000 to 2003, in
WNUT and in most files that tools write; CoNLL-U has names for its ten columns. This module knows
the layout. It does not know what a tag means.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tunewright.data.encoding import read_text
from tunewright.data.table import Table
from tunewright.errors import DataError

ENDINGS = (".conll", ".conllu", ".iob", ".iob2", ".bio", ".bioes")

_UNIVERSAL = ("id", "tokens", "lemma", "tags", "xpos", "feats", "head", "deprel", "deps", "misc")
"""CoNLL-U: the fourth column, the universal part of speech, is taken for the tags."""
_DOCUMENT = "-DOCSTART-"
_TAG = re.compile(r"O|[BIESLU]-[\w./-]+")
_LOOKED_AT = 50
_SHOWN_FAULTS = 3


def looks_like_conll(text: str) -> bool:
    """Whether a text has one token a line, with a tag of the form O, B-PER or I-PER behind it."""
    lines = [line for line in text.splitlines()[: 2 * _LOOKED_AT] if line.strip()][:_LOOKED_AT]
    rows = [line.split() for line in lines if not line.startswith((_DOCUMENT, "#"))]
    return len(rows) >= 2 and all(
        len(row) == len(rows[0]) >= 2 and _TAG.fullmatch(row[-1]) for row in rows
    )


def read_conll(path: Path) -> Table:
    """Read a CoNLL file as rows of `tokens`, `tags` and, where there are more, `column_2`, ...

    Columns are divided by tabs where there are any, else by spaces. `-DOCSTART-` lines are no
    tokens; where there are any, the column `document` counts them. Of CoNLL-U, comments are left
    out and ranges (1-2) and empty nodes (1.1) are no tokens.

    Raises:
        DataError: lines have unlike numbers of columns, or only one.
    """
    text = read_text(path)
    lines = text.splitlines()
    universal = path.suffix.lower() == ".conllu"
    names: tuple[str, ...] = _UNIVERSAL if universal else ()
    sentences: list[dict[str, Any]] = []
    numbers: list[int] = []
    faults: list[str] = []
    sentence: dict[str, list[str]] = {}
    document = 0
    start = 0
    for number, line in enumerate([*lines, ""], start=1):
        comment = universal and line.startswith("#")
        if not line.strip() or line.startswith(_DOCUMENT) or comment:
            if sentence and not comment:
                sentences.append(dict(sentence) | ({"document": document} if document else {}))
                numbers.append(start)
                sentence = {}
            document += line.startswith(_DOCUMENT)
            continue
        cells = line.rstrip().split("\t") if "\t" in line else line.split()
        if not names:
            names = _names(len(cells))
        if len(cells) != len(names) or len(cells) < 2:
            columns = "1 column" if len(cells) == 1 else f"{len(cells)} columns"
            faults.append(f"line {number} has {columns}, not {max(2, len(names))}")
            continue
        if universal and not cells[0].isdigit():
            continue
        if not sentence:
            start = number
            sentence = {name: [] for name in names}
        for name, cell in zip(names, cells, strict=True):
            sentence[name].append(cell)
    if faults:
        more = f"; and {len(faults) - _SHOWN_FAULTS:,} more" if len(faults) > _SHOWN_FAULTS else ""
        raise DataError(
            f"{path} is not a whole CoNLL file: {'; '.join(faults[:_SHOWN_FAULTS])}{more}. Each "
            "line must hold one token and its tag, with a blank line between sentences."
        )
    return Table(str(path), sentences, numbers)


def _names(count: int) -> tuple[str, ...]:
    return ("tokens", *(f"column_{i}" for i in range(2, count)), "tags")
