"""Synonyms from a text file: `film: movie, picture`, a word a line.

This module reads words. It does not know texts or where synonyms are used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def words_or_file(value: Any) -> Any:
    """The synonyms of a file by word, where `value` is the path of one; else `value` itself.

    A line has a word, a colon, and words that may stand for it with commas between them; of a word
    on several lines all are taken. Blank lines and those that begin with `#` are passed over.

    Raises:
        ValueError: there is no such file, it is not UTF-8, or a line has another form.
    """
    if not isinstance(value, str):
        return value
    path = Path(value).expanduser()
    if not path.is_file():
        raise ValueError(
            f"there is no file {value!r}; give synonyms as {{film: [movie]}} or a file"
        )
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{value} is not UTF-8 text; save it as UTF-8") from error
    found: dict[str, list[str]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        word, colon, others = line.partition(":")
        named = [other.strip() for other in others.split(",") if other.strip()]
        if not (colon and word.strip() and named):
            raise ValueError(
                f"line {number} of {value} is {line.strip()!r}; it must be a word, a colon and "
                "words with commas between them, such as film: movie, picture"
            )
        known = found.setdefault(word.strip().lower(), [])
        known += [other for other in named if other not in known]
    if not found:
        raise ValueError(f"{value} has no word in it; write film: movie, picture on a line")
    return found
