"""Changed copies of training rows: typing slips, words left out or replaced; the label is kept.

What carries the meaning is never touched: numbers, addresses, @names, hashtags, placeholders and
negations. This module knows records. It does not know which rows are held out: it is called with
training rows only.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from tunewright.data.records import Dataset, Message, Record, Task
from tunewright.errors import ConfigError

PARENT = "augmented_from"
"""In the `meta` of a changed copy: the row number of the row it was made from."""

NEGATIONS = frozenset({
    "aint", "arent", "barely", "cannot", "cant", "couldnt", "didnt", "doesnt", "dont", "hadnt",
    "hardly", "hasnt", "havent", "isnt", "lack", "mustnt", "neednt", "neither", "never", "no",
    "nobody", "none", "nor", "not", "nothing", "nowhere", "rarely", "scarcely", "seldom",
    "shouldnt", "wasnt", "werent", "without", "wont", "wouldnt",
})  # fmt: skip
"""Words, apostrophes left out, without which a sentence says the opposite."""

_SHORTEST_TYPO = 4
"""Letters from which a word with a slip can still be read."""
_FEWEST_WORDS = 4
"""Texts with fewer words lose none: one word may be all that a label rests on."""

_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_OFFSETS = (0.0, 0.25, 0.75)
"""How far each row of keys stands to the right of the first, in keys."""

_WORD = re.compile(r"(\S+)(\s*)")
_ENDS = ".!?"
_PROTECTED = re.compile(r"\d|://|^www\.|@|#|^<.*>$|^\[.*\]$|^\{.*\}$|_", re.IGNORECASE)
_APOSTROPHE = re.compile("['\u2018\u2019`]")
_LETTERS = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
)
"""Scripts that put no space between words: what stands between two spaces there is no word."""


class Changes(Protocol):
    """How much is changed; `config.recipe.AugmentConfig` is one."""

    copies: int
    typos: float
    word_dropout: float
    synonym_replacement: float

    @property
    def synonyms(self) -> Mapping[str, Sequence[str]]:
        """Lower-case word to words that may stand for it."""


def augment(dataset: Dataset, changes: Changes, seed: int = 0) -> Dataset:
    """The rows, and behind them their changed copies.

    Of pairs both texts are changed; of conversations what the user says, never an answer. A copy
    has the label and the `meta` of its row, and the number of that row under `augmented_from`. A
    copy that would equal its row, or an earlier copy of it, is left out.

    Args:
        dataset: training rows.
        changes: `copies` of each row, `typos` (share of words of four letters or more that get
            one slip), `word_dropout` (share of words left out; none where a text has fewer than
            four words) and `synonym_replacement` (share of the words in `synonyms`, lower case,
            that one of theirs stands for), each share from 0 to 1.
        seed: of the slips and the words. A row's copies depend on it, on the row's position and on
            nothing else.

    Raises:
        ConfigError: the task is `text`, whose model would learn to write the slips, or
            `token_classification`, whose tags belong to the words as they are, or `embedding`,
            whose copies would be told apart from the rows they are of, or `question_answering`,
            whose answers would be moved.
    """
    if dataset.task is Task.TEXT:
        raise ConfigError(
            "data.augment is set, but with task 'text' every token is learned, typing slips too. "
            "Remove data.augment."
        )
    if dataset.task is Task.TOKEN_CLASSIFICATION:
        raise ConfigError(
            "data.augment is set, but with task 'token_classification' each word has a tag, and "
            "changed words would lose theirs. Remove data.augment."
        )
    if dataset.task is Task.EMBEDDING:
        raise ConfigError(
            "data.augment is set, but with task 'embedding' a changed copy of a pair would be told "
            "apart from the pair itself. Remove data.augment."
        )
    if dataset.task is Task.QUESTION_ANSWERING:
        raise ConfigError(
            "data.augment is set, but with task 'question_answering' answers are places in a text, "
            "which changed words would move. Remove data.augment."
        )
    made: list[Record] = []
    for position, record in enumerate(dataset):
        seen = {_content(record)}
        for number in range(changes.copies):
            noise = random.Random(f"{seed}:{position}:{number}")
            copy = with_changed_text(record, partial(change_text, changes=changes, noise=noise))
            if _content(copy) not in seen:
                seen.add(_content(copy))
                meta = {**record.meta, PARENT: record.row or position + 1}
                made.append(replace(copy, meta=meta))
    return Dataset(dataset.task, (*dataset.records, *made), dataset.name)


def said_of_copies(before: Dataset, after: Dataset, copies: int) -> str:
    """Rows before and after, in one line."""
    made = len(after) - len(before)
    missing = copies * len(before) - made
    same = f"; {missing:,} copies came out unchanged and were left out" if missing else ""
    return f"{len(before):,} training rows became {len(after):,}: {made:,} changed copies{same}"


def change_text(text: str, changes: Changes, noise: random.Random) -> str:
    """One text with slips, without some words and with others replaced; its spacing stays.

    Args:
        text: of any script; words of scripts that put no spaces between words are left alone.
        changes: `typos`, `word_dropout`, `synonyms` and `synonym_replacement`.
        noise: where chance comes from.
    """
    kept = [text[: len(text) - len(text.lstrip())]]
    found = list(_WORD.finditer(text))
    spare = len(found) - _FEWEST_WORDS + 1
    for match in found:
        word, space = match.groups()
        if not is_protected(word):
            # All are drawn for every word, so that one share does not move what another hits.
            drop, slip = noise.random() < changes.word_dropout, noise.random() < changes.typos
            other, which = noise.random() < changes.synonym_replacement, noise.random()
            if drop and spare > 0:
                spare -= 1
                if len(kept) > 1:
                    before = kept[-1].rstrip()
                    ends = word[-1] in _ENDS and not is_protected(before)
                    end = word[-1] if ends else ""
                    between = kept[-1][len(before) :]
                    kept[-1] = before + end + (between if "\n" in between else space)
                continue
            if other:
                word = _replaced(word, changes.synonyms, which)
            if slip:
                word = _slip(word, noise)
        kept.append(word + space)
    return "".join(kept)


def is_protected(word: str) -> bool:
    """Whether a word must stay as it is.

    Args:
        word: what stands between two spaces, with its punctuation.
    """
    if _PROTECTED.search(word.strip('.,;:!?"()')) or _UNSPACED.search(word):
        return True
    letters = _LETTERS.findall(word)
    if not letters or (len("".join(letters)) == 1 and word not in letters):
        return True  # a mark, or a face such as :D
    return any(_negates(part) for part in letters)


def _negates(word: str) -> bool:
    plain = _APOSTROPHE.sub("'", word.lower())
    return plain.endswith("n't") or plain.replace("'", "") in NEGATIONS


def _replaced(word: str, synonyms: Mapping[str, Sequence[str]], which: float) -> str:
    """A word with one that may stand for it, its capitals and punctuation kept."""
    found = _LETTERS.search(word)
    known = synonyms.get(found.group().lower(), ()) if found is not None else ()
    if found is None or not known:
        return word
    old, new = found.group(), known[int(which * len(known))]
    if old.isupper() and len(old) > 1:
        new = new.upper()
    elif old[0].isupper():
        new = new[:1].upper() + new[1:]
    return word[: found.start()] + new + word[found.end() :]


def _slip(word: str, noise: random.Random) -> str:
    """One typing slip behind the first letter of a word that is long enough."""
    found = max(_LETTERS.finditer(word), key=lambda m: len(m.group()), default=None)
    if found is None or len(found.group()) < _SHORTEST_TYPO:
        return word
    letters = found.group()
    slips = list(_SLIPS)
    noise.shuffle(slips)
    for slip in slips:
        wrong = slip(letters, noise)
        if wrong != letters:
            return word[: found.start()] + wrong + word[found.end() :]
    return word


def _neighbour(letters: str, noise: random.Random) -> str:
    at = noise.randrange(1, len(letters))
    near = NEIGHBOURS.get(letters[at].lower())
    if not near:
        return letters
    key = noise.choice(near)
    return letters[:at] + (key.upper() if letters[at].isupper() else key) + letters[at + 1 :]


def _swapped(letters: str, noise: random.Random) -> str:
    at = noise.randrange(1, len(letters) - 1)
    return letters[:at] + letters[at + 1] + letters[at] + letters[at + 2 :]


def _left_out(letters: str, noise: random.Random) -> str:
    at = noise.randrange(1, len(letters))
    return letters[:at] + letters[at + 1 :]


def _doubled(letters: str, noise: random.Random) -> str:
    at = noise.randrange(1, len(letters))
    return letters[:at] + letters[at] + letters[at:]


_SLIPS: tuple[Callable[[str, random.Random], str], ...] = (
    _neighbour,
    _swapped,
    _left_out,
    _doubled,
)


def _neighbours() -> dict[str, str]:
    """The keys that touch each key of an English keyboard."""
    places = {
        key: (row, column + _OFFSETS[row])
        for row, keys in enumerate(_KEYS)
        for column, key in enumerate(keys)
    }
    return {
        key: "".join(
            other
            for other, (there, across) in places.items()
            if other != key and abs(there - row) <= 1 and abs(across - column) <= 1
        )
        for key, (row, column) in places.items()
    }


NEIGHBOURS: Mapping[str, str] = _neighbours()


def with_changed_text(record: Record, change: Callable[[str], str]) -> Record:
    """The record with what a user wrote changed: both texts of a pair, the user's own turns."""
    if record.messages:
        messages = tuple(
            Message(m.role, change(m.content), m.train) if m.role == "user" else m
            for m in record.messages
        )
        return replace(record, messages=messages)
    pair = None if record.text_pair is None else change(record.text_pair)
    return replace(record, text=change(record.text), text_pair=pair)


def _content(record: Record) -> tuple[object, ...]:
    return record.text, record.text_pair, record.messages
