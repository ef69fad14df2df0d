"""Rows that insult, threaten or curse someone, told by English phrases.

A word alone says little ("a damn good film"), so an insult counts only where it is said of someone
("you are an idiot"). Hatred in other words, irony and other languages are not found; a classifier
of the user's finds more (`models.toxic_rows`). This module knows texts and records.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator

from tunewright.data.finding import Finding, Places, row_findings
from tunewright.data.records import Splits
from tunewright.data.survey import Batch

_INSULTS = (
    "idiot", "moron", "imbecile", "retard", "scum", "scumbag", "asshole", "arsehole", "bastard",
    "bitch", "cunt", "dickhead", "douche", "douchebag", "dumbass", "fucker", "motherfucker",
    "fuckwit", "prick", "whore", "slut", "twat", "wanker", "shithead", "loser", "vermin",
    "degenerate", "trash", "garbage", "subhuman",
)  # fmt: skip
_HARMED = ("shot", "hanged", "hung", "exterminated", "gassed", "lynched", "killed", "raped")
_ATTACKS = ("kill", "murder", "rape", "strangle", "stab", "behead", "lynch")

_SOMEONE = (
    r"(?:(?:you|they)(?:'re| are|re)|you(?: all| guys| lot| people)?|u r|ur|(?:he|she)(?:'s| is)|"
    r"(?:call|called|calls|calling) (?:you|u|me|him|her|us|them))"
)
_MORE = (
    r"(?:(?:all|just|such|really|truly|a|an|the|nothing but|fuck(?:ing|in)|f\*+ing|(?:god)?damn|"
    r"bloody|stupid|dumb|ignorant|pathetic|worthless|disgusting|ugly|fat|lying|little|complete|total|"
    r"absolute|utter|big|biggest|filthy|sick|bunch of|whiny|racist|sad|miserable|real) )"
)
_SELF = r"(?:you?r ?sel(?:f|ves)|ur ?self)"

_PHRASES = (
    rf"{_SOMEONE} {_MORE}{{0,4}}(?:(?:{'|'.join(_INSULTS)})(?:s|es)?|pieces? of (?:shit|crap))",
    rf"(?:kill|hang|shoot|drown|neck) {_SELF}|kys",
    r"(?:i|we)(?:'?(?:ll|m)| will| am| are)?(?: going to| gonna|ma)?(?: fucking)? "
    rf"(?:{'|'.join(_ATTACKS)}) (?:you|u|him|her|them|ur|your)",
    r"(?:hope|wish) (?:you|u|he|she|they)(?: all)? "
    r"(?:die|dies|died|rot|rots|burn|get (?:raped|cancer|killed|shot))",
    rf"(?<!the )fuck (?:you|u|off|{_SELF})|go to hell|shut the (?:fuck|hell) up|stfu|eat shit",
    rf"(?:should|deserves? to|need to|must|ought to) (?:all )?(?:be (?:{'|'.join(_HARMED)})|die)",
)
_HOSTILE = re.compile(rf"\b(?:{'|'.join(_PHRASES)})\b")
_NEEDED = {
    *(insult + ending for insult in _INSULTS for ending in ("", "s", "es")), *_HARMED, *_ATTACKS,
    "shit", "crap", "hang", "shoot", "drown", "neck", "kys", "die", "dies", "died", "rot", "rots",
    "burn", "cancer", "fuck", "hell", "stfu",
}  # fmt: skip
"""Each phrase has one of these words. Most texts have none, and are done after one quick look."""
_BLANKS = str.maketrans(dict.fromkeys(string.punctuation + "\u2019\u201c\u201d\u2026", " "))
_SPACE = re.compile(r"\s+")


def is_hostile(text: str) -> bool:
    """Whether a text insults, threatens or curses someone in one of the known phrases."""
    lower = text.lower()
    if _NEEDED.isdisjoint(lower.translate(_BLANKS).split()):
        return False
    return _HOSTILE.search(_SPACE.sub(" ", lower.replace("\u2019", "'"))) is not None


class Hostile:
    """Rows with such phrases."""

    def __init__(self) -> None:
        self._places = Places()

    def see(self, batch: Batch) -> None:
        """Look for them in each text."""
        for index, text in enumerate(batch.texts, start=batch.start):
            if is_hostile(text):
                self._places.add(batch.part, index)

    def findings(self, splits: Splits) -> Iterator[Finding]:
        """What was found, when every row was seen."""
        yield from row_findings(
            "content.hostile",
            "info",
            splits,
            self._places,
            "{rows} {have} an English insult, threat or curse at someone.",
            "Look at them, and remove what the model is not to say. Rows that teach a model to "
            "recognise such text need them.",
        )
