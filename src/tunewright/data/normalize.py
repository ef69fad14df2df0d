"""Ways of writing the same made one: Unicode forms, spacing, case.

What reads a model that was trained on such texts must write them alike. This module knows texts.
"""

from __future__ import annotations

import re
import unicodedata

_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")
"""Soft hyphens, zero-width spaces, word joiners and marks of byte order. Zero-width joiners stay:
emoji and some scripts are written with them."""
_BLANK = re.compile("[\t\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_INNER = re.compile(r"(?<=[^ \n]) {2,}")
_LINE_END = re.compile(r" +(?=\n)")
_LINES = re.compile(r"\n{3,}")


def one_unicode_form(text: str) -> str:
    """Composed characters (NFC, Unicode Standard Annex 15), without invisible ones."""
    return unicodedata.normalize("NFC", _INVISIBLE.sub("", text))


def one_spacing(text: str) -> str:
    """One blank between words, none at the ends, at most one empty line.

    The blanks at the beginning of a line stay: in code and lists they mean something.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = _BLANK.sub(" ", text) if "\n" not in text else _blanks_within_lines(text)
    return _LINES.sub("\n\n", _LINE_END.sub("", _INNER.sub(" ", lines))).strip()


def _blanks_within_lines(text: str) -> str:
    """Other blanks than a space become one, but not the tabs that a line begins with."""
    kept = []
    for line in text.split("\n"):
        indent = len(line) - len(line.lstrip(" \t"))
        kept.append(line[:indent] + _BLANK.sub(" ", line[indent:]))
    return "\n".join(kept)


def one_case(text: str) -> str:
    """Small letters."""
    return text.lower()
