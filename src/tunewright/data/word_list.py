"""Rows that hold words of a list that the user gives: insults, names of products, anything.

A list is taken at its word: it knows no context, and what it lacks is not found. This module knows
records and words. It comes with no list of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tunewright.data.duplicates import normal_text
from tunewright.data.encoding import read_text
from tunewright.data.finding import Finding, Places, counted, listed, show_rows
from tunewright.data.records import Splits
from tunewright.data.survey import Batch
from tunewright.errors import DataError

_WORD = re.compile(r"\w+")


def read_words(path: str | Path) -> tuple[str, ...]:
    """A word or phrase a line, in the form in which texts are compared, each once.

    Args:
        path: text file. Blank lines and those that begin with `#` are passed over.

    Raises:
        DataError: there is no such file, or no word in it.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise DataError(f"There is no file {file}. --words takes a text file with one word a line.")
    lines = (line.strip() for line in read_text(file).splitlines())
    words = dict.fromkeys(normal_text(line) for line in lines if line and line[0] != "#")
    if not words:
        raise DataError(f"{file} has no word in it. Write one word or phrase a line.")
    return tuple(words)


class WordList:
    """Finds whole words and phrases, whatever their case, spacing and Unicode form.

    Args:
        words: from `read_words`.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._single = {word for word in words if _WORD.fullmatch(word)}
        phrases = sorted({*words} - self._single, key=lambda phrase: (-len(phrase), phrase))
        self._phrases = [(p, re.compile(rf"(?<!\w){re.escape(p)}(?!\w)")) for p in phrases]

    def find(self, text: str) -> set[str]:
        """The words of the list that are in a text."""
        normal = normal_text(text)
        found = self._single.intersection(_WORD.findall(normal))
        return found.union(
            p for p, pattern in self._phrases if p in normal and pattern.search(normal)
        )


class ListedWords:
    """Rows that hold words of a list.

    Args:
        words: from `read_words`; none finds nothing.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._words = WordList(words) if words else None
        self._places = Places()
        self._counts: Counter[str] = Counter()

    def see(self, batch: Batch) -> None:
        """Search the rows for the words."""
        if self._words is None:
            return
        for index, text in enumerate(batch.texts, start=batch.start):
            if found := self._words.find(text):
                self._places.add(batch.part, index)
                self._counts.update(found)

    def findings(self, splits: Splits) -> Iterator[Finding]:
        """What was found, when every row was seen."""
        if not self._places:
            return
        ranked = sorted(self._counts, key=lambda word: (-self._counts[word], word))
        yield Finding(
            "content.words",
            "info",
            len(self._places),
            f"{counted(len(self._places), 'row holds', 'rows hold')} words of the list: "
            f"{listed(ranked)}.",
            "Look at them: a list knows no context. Remove the rows that the model is not to "
            "learn.",
            show_rows(splits, self._places),
            self._places,
        )
