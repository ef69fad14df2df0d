"""Tags of tokens: the scheme they are written in, and all schemes as one.

Everything behind a reader sees BIO (IOB2): `B-TYPE` begins an entity, `I-TYPE` continues it, `O` is
outside. This module knows tags. It does not know tables, tokenizers or models.

Schemes: IOB1 and IOB2 as in Tjong Kim Sang and Veenstra, "Representing Text Chunks" (EACL 1999);
BIOES, BILOU as in Ratinov and Roth, "Design Challenges and Misconceptions in Named Entity
Recognition" (CoNLL 2009).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

OUTSIDE = "O"
Span = tuple[str, int, int]
"""Type, first word, one past the last word."""

_SINGLE = {"S": "S", "U": "S"}
_LAST = {"E": "E", "L": "E"}


class Scheme(StrEnum):
    """How entities are written as one tag a word."""

    BIO = "BIO"
    """IOB2: every entity begins with B-."""
    IOB1 = "IOB1"
    """An entity begins with I-; with B- only right behind another one of its type."""
    BIOES = "BIOES"
    """As BIO, with E- at the end and S- for an entity of one word."""
    BILOU = "BILOU"
    """BIOES with other letters: L- for E-, U- for S-."""


class TagFault(ValueError):  # noqa: N818 - always turned into a DataError
    """A tag that its scheme does not allow; the message names the word and says why."""


@dataclass(slots=True)
class SchemeEvidence:
    """What the tags of many rows say about their scheme.

    Attributes:
        letters: the prefixes that occur.
        opened_by_b: entities that begin with B- where IOB1 would write I-.
        opened_by_i: entities that begin with I-, which BIO would begin with B-.
    """

    letters: set[str]
    opened_by_b: int = 0
    opened_by_i: int = 0

    def add(self, tags: Sequence[str]) -> None:
        """Look at the tags of one row."""
        before = OUTSIDE
        for tag in tags:
            prefix, kind = tag[:2], tag[2:]
            if prefix[1:] == "-":
                self.letters.add(prefix[0])
            if prefix == "B-" and before[2:] != kind:
                self.opened_by_b += 1
            elif prefix == "I-" and before[2:] != kind:
                self.opened_by_i += 1
            before = tag

    @property
    def scheme(self) -> Scheme:
        """The scheme that most entities are written in; `to_bio` refuses the others."""
        if self.letters & {"U", "L"} and not self.letters & {"S", "E"}:
            return Scheme.BILOU
        if self.letters & {"S", "E"}:
            return Scheme.BIOES
        return Scheme.IOB1 if self.opened_by_i > self.opened_by_b else Scheme.BIO


def find_scheme(rows: Iterable[Sequence[str]]) -> Scheme:
    """The scheme of the tags of many rows."""
    evidence = SchemeEvidence(set())
    for tags in rows:
        evidence.add(tags)
    return evidence.scheme


def to_bio(tags: Sequence[str], scheme: Scheme) -> tuple[str, ...]:
    """The tags of one row, written in `scheme`, as BIO.

    Raises:
        TagFault: a tag is no tag of the scheme, or stands where the scheme does not allow it.
    """
    if all(tag == OUTSIDE for tag in tags):
        return tuple(tags)
    long = scheme in (Scheme.BIOES, Scheme.BILOU)
    found: list[str] = []
    open_kind = ""
    for place, tag in enumerate(tags, start=1):
        letter, kind = _parts(tag, place, scheme)
        letter = _LAST.get(letter, _SINGLE.get(letter, letter)) if long else letter
        continues = open_kind != "" and kind == open_kind
        if long and open_kind and not (letter in ("I", "E") and continues):
            last = "L" if scheme is Scheme.BILOU else "E"
            raise TagFault(
                f"word {place}: {tag!r} stands where the {open_kind!r} entity before it is not "
                f"ended ({scheme} ends it with {last}-{open_kind})"
            )
        if letter == OUTSIDE:
            open_kind = ""
            found.append(OUTSIDE)
            continue
        if letter in ("I", "E") and not continues and scheme is not Scheme.IOB1:
            before = tags[place - 2] if place > 1 else "nothing"
            raise TagFault(
                f"word {place}: {tag!r} continues no entity (before it is {before!r}); {scheme} "
                f"begins each entity with B-, as in B-{kind}"
            )
        if letter == "B" and not continues and scheme is Scheme.IOB1:
            raise TagFault(
                f"word {place}: {tag!r} begins an entity, but most entities of this source begin "
                f"with I- (IOB1, where B- stands only between two entities of one type); write all "
                f"in one scheme, best each beginning with B- (BIO)"
            )
        begins = letter in ("B", "S") or not continues
        found.append(f"{'B' if begins else 'I'}-{kind}")
        open_kind = "" if letter in ("S", "E") else kind
    if long and open_kind:
        raise TagFault(f"the row ends inside the {open_kind!r} entity, which {scheme} must end")
    return tuple(found)


def _parts(tag: str, place: int, scheme: Scheme) -> tuple[str, str]:
    """The letter and the type of a tag; `O` has no type."""
    if tag == OUTSIDE:
        return OUTSIDE, ""
    letters = {Scheme.BIOES: "BIES", Scheme.BILOU: "BILU"}.get(scheme, "BI")
    if len(tag) < 3 or tag[1] != "-" or tag[0] not in letters:
        known = ", ".join([OUTSIDE, *(f"{letter}-TYPE" for letter in letters)])
        raise TagFault(
            f"word {place} has the tag {tag!r}, which is none of {scheme} ({known}); known "
            f"schemes: {', '.join(Scheme)}"
        )
    return tag[0], tag[2:]


def repaired(tags: Iterable[str]) -> tuple[str, ...]:
    """Predicted tags as BIO that holds together: an `I-` that continues nothing begins an entity.

    So do conlleval and the token-classification pipeline of transformers read them.
    """
    found: list[str] = []
    before = ""
    for tag in tags:
        kind = tag[2:] if tag != OUTSIDE else ""
        starts = tag.startswith("I-") and kind != before
        found.append(f"B-{kind}" if starts else tag)
        before = kind
    return tuple(found)


def spans(tags: Sequence[str]) -> list[Span]:
    """The entities of one row of BIO tags, in order."""
    found: list[Span] = []
    start = 0
    for i, tag in enumerate(tags):
        if tag.startswith("B-"):
            start = i
        ends = i + 1 == len(tags) or not tags[i + 1].startswith("I-")
        if tag != OUTSIDE and ends:
            found.append((tag[2:], start, i + 1))
    return found


def label_names(tags: Iterable[str]) -> list[str]:
    """What a model of these BIO tags must be able to say: `O`, and B- and I- of every type.

    A type whose entities all have one word in these rows has I- too: elsewhere they may be longer.
    """
    kinds = sorted({tag[2:] for tag in tags if tag != OUTSIDE})
    return [OUTSIDE, *(f"{letter}-{kind}" for kind in kinds for letter in "BI")]
