"""Personal data and secrets in texts: found by form and checksum, masked on request.

Found are mail addresses, phone numbers, payment cards, bank accounts (IBAN), social security
numbers, addresses on the internet, keys of well-known services, and names of people where the words
before them say that they are: a title, "my name is", the end of a letter. Other names need a model.
Numbers are taken only with a checksum or a form that little else has, because a scan that cries
wolf is switched off.

This module knows texts. It does not know records.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_EMAIL = r"""
    (?<![\w.+%-])[A-Za-z0-9][\w.+%-]{0,63}
    @(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,24}(?![\w@])
"""
_PHONE = r"""
    # +49 30 1234567, +1 (555) 123-4567, 0044 20 7946 0958
    (?<![\w+/.=-])(?:\+|00)[1-9]\d{0,2}[ .\-/]?(?:\(0?\d{1,5}\)[ .\-/]?)?\d{1,5}
        (?:[ .\-/]?\d{2,5}){1,5}(?![\w/-]|\.\d)
    # (555) 123-4567, 555-123-4567, 1-800-555-0199, 555.123.4567
    | (?<![\w+/.=-])(?:1[ .-])?(?:\([2-9]\d{2}\)[ ]?|[2-9]\d{2}[ .-])[2-9]\d{2}[ .-]\d{4}
        (?![\w/-]|\.\d)
    # 020 7946 0958, 0171-5551234, 01 23 45 67 89, 02079460958
    | (?<![\w+/.,:=-])0[1-9](?:\d{8,9}|\d{0,4}(?:[ \-/]\d{2,8}){1,4})(?![\w/:-]|[.,]\d)
"""
_CARD = r"""
    (?<![\w.+-])(?:[3-6]\d{3}[ -]?\d{4}[ -]?\d{4}[ -]?\d{1,7}|3[47]\d{2}[ -]?\d{6}[ -]?\d{5})
    (?![\w-]|\.\d)
"""
_IBAN = r"(?<!\w)[A-Z]{2}\d{2}(?:[ ]?[A-Z0-9]{4}){2,7}(?:[ ]?[A-Z0-9]{1,3})?(?!\w)"
_SSN = r"(?<![\w-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])"
_IP = r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)"
_KEY_NAME = (
    r"(?:RSA[ ]|EC[ ]|DSA[ ]|OPENSSH[ ]|PGP[ ]|ENCRYPTED[ ])?PRIVATE[ ]KEY(?:[ ]BLOCK)?-----"
)
_SECRET = rf"""
    -----BEGIN[ ]{_KEY_NAME}(?:[\s\S]{{0,8000}}?-----END[ ]{_KEY_NAME})?
    | (?<!\w)(?:AKIA|ASIA)[A-Z0-9]{{16}}(?!\w)                       # Amazon
    | (?<!\w)gh[pousr]_[A-Za-z0-9]{{36,255}}(?!\w)                   # GitHub
    | (?<!\w)github_pat_\w{{22,255}}(?!\w)
    | (?<!\w)glpat-[\w-]{{20,}}(?!\w)                                # GitLab
    | (?<!\w)xox[abeprs]-[A-Za-z0-9-]{{10,}}                         # Slack
    | (?<!\w)AIza[\w-]{{35}}(?![\w-])                                # Google
    | (?<!\w)sk-(?:ant-|proj-|svcacct-)?[A-Za-z0-9_-]{{20,}}(?!\w)   # OpenAI, Anthropic
    | (?<!\w)[rs]k_(?:live|test)_[A-Za-z0-9]{{16,}}(?!\w)            # Stripe
    | (?<!\w)hf_[A-Za-z0-9]{{30,}}(?!\w)                             # Hugging Face
    | (?<!\w)pypi-[\w-]{{50,}}(?!\w)
    | (?<!\w)eyJ[\w-]{{10,}}\.eyJ[\w-]{{10,}}\.[\w-]{{10,}}(?!\w)    # JSON web token
    | (?<=://)[^\s/:@]{{1,64}}:[^\s/:@]{{3,128}}(?=@[\w.-])          # name:password in an address
"""
_NAME_WORD = (
    r"(?:[A-Z][.]|(?:[OD]['\u2019]|Ma?c)?[A-ZÀ-ÖØ-Þ][a-zß-öø-ÿ]+(?:[-'\u2019][A-Z][a-z]+)?)"
)
_PARTICLES = r"(?:(?:van|von|de|der|den|di|da|del|la|bin)[ ]){0,2}"
_NAME = rf"""
    (?<![\w.&])(?:
        (?:Mr|Mrs|Ms|Mx|Dr|Prof)\.?[ ](?={_NAME_WORD}[ ]{_PARTICLES}{_NAME_WORD})
        | [Dd]ear[ ](?:Mr|Mrs|Ms|Mx|Dr|Prof)\.?[ ]
        | [Mm]y[ ](?:(?:full|first|last)[ ])?name(?:[ ]is|['\u2019]s)[ ]
        | (?:[Ff]ull|[Ff]irst|[Ll]ast|[Pp]atient|[Cc]ustomer)[ ][Nn]ame:[ ]
        | (?P<letter>(?:(?:(?:[Kk]ind|[Bb]est|[Ww]arm)[ ])?[Rr]egards|[Bb]est[ ]wishes|[Ss]incerely
            |[Yy]ours[ ](?:sincerely|faithfully|truly)),[ ]?\s?)
    )
    (?P<name>{_NAME_WORD}(?:[ ]{_PARTICLES}{_NAME_WORD}){{0,2}})
    (?!\w)(?(letter)(?=[ .]*(?:\n|$)))
"""
"""The piece is the name without the words before it. In a text a title needs a full name behind it:
a surname alone is that of many, and news and novels are full of them."""
_NO_NAMES = frozenset({
    "A", "Bean", "Big", "Chair", "Chairman", "Customer", "Evil", "Fox", "Governor", "Grey", "I",
    "Judge", "Justice", "Madam", "Martens", "Mayor", "Minister", "Mom", "My", "Nice", "No", "Not",
    "Nobody", "Our", "Pepper", "Perfect", "President", "Right", "Robot", "Secretary", "Senator",
    "Speaker", "Strange", "Support", "Team", "The", "Universe", "What", "Who", "Wrong", "You",
    "Your",
})  # fmt: skip
"""Words that stand behind a title or a greeting and name nobody: an office, a part, a brand."""


@dataclass(frozen=True, slots=True)
class Found:
    """One piece of personal data: its kind, and where it is in the text."""

    kind: str
    start: int
    end: int


def find_personal(text: str) -> list[Found]:
    """Personal data and secrets in a text, in order, none within another.

    Returns:
        Pieces of the kinds `secret`, `email`, `iban`, `card`, `id`, `phone`, `ip` and `name`.
    """
    named = any(word in text for word in _MAYBE_NAMED)
    other = _has_mark(text) and _MAYBE.search(text) is not None
    if not (named or other):
        return []
    pieces: list[Found] = []
    taken = bytearray(len(text))
    for kind, pattern, valid in _KINDS:
        if not (named if kind == "name" else other):
            continue
        for match in pattern.finditer(text):
            start, end = match.span("name" if kind == "name" else 0)
            if valid(text[start:end]) and not any(taken[start:end]):
                taken[start:end] = b"\1" * (end - start)
                pieces.append(Found(kind, start, end))
    return sorted(pieces, key=lambda piece: piece.start)


def mask_personal(text: str) -> str:
    """The text with each piece of personal data replaced by its kind, such as `[EMAIL]`."""
    return "".join(_masked(text))


def _masked(text: str) -> Iterator[str]:
    done = 0
    for piece in find_personal(text):
        yield text[done : piece.start]
        yield f"[{piece.kind.upper()}]"
        done = piece.end
    yield text[done:]


def _luhn(text: str) -> bool:
    """The check digit of payment cards (ISO/IEC 7812-1), for numbers of 13 to 19 digits."""
    digits = [int(letter) for letter in text if letter.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) < 2:
        return False
    doubled = [d * 2 - 9 * (d > 4) for d in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _iban(text: str) -> bool:
    """The check digits of a bank account (ISO 13616)."""
    plain = text.replace(" ", "")
    if not 15 <= len(plain) <= 34:
        return False
    return int("".join(str(int(letter, 36)) for letter in plain[4:] + plain[:4])) % 97 == 1


def _phone(text: str) -> bool:
    """As many digits as a number has (ITU-T E.164 allows 15), and not a date."""
    digits = sum(letter.isdigit() for letter in text)
    dated = not text.startswith(("+", "00")) and _DATE.search(text)
    return 8 <= digits <= 15 and not dated


def _address(text: str) -> bool:
    """A public address of version 4: local ones and version numbers say nothing of a person."""
    if sum(len(part) > 1 for part in text.split(".")) < 2:
        return False
    try:
        return ipaddress.IPv4Address(text).is_global
    except ipaddress.AddressValueError:
        return False


def _person(text: str) -> bool:
    """Neither an office nor an initial alone."""
    first = text.split(" ", 1)[0]
    return first not in _NO_NAMES and text != first[:1] + "."


def _any(text: str) -> bool:
    return True


_DATE = re.compile(r"(?<!\d)\d{1,2}[-/. ]\d{1,2}[-/. ](?:19|20)\d{2}(?!\d)")
_MAYBE = re.compile(
    r"(?<=[\w.+%-])@[A-Za-z0-9]|\d[\d ().\-/]{5,}\d|://|-----BEGIN"
    r"|[A-Za-z]{2,6}[_-]\w{10}|AKIA|ASIA|AIza|eyJ|[A-Z]{2}\d\d"
)
"""What every kind but names has at least: most texts are done with after this one look."""
_MAYBE_NAMED = (
    "Mr", "Ms", "Mx", "Dr", "Prof", "name", "Name", "egards,", "wishes,", "incerely,", "ours ",
)  # fmt: skip
"""One of these stands before every name."""
_MARKS = ("@", "://", "-", "_", "AKIA", "ASIA", "AIza", "eyJ")
_NUMERAL = re.compile(r"\d")


def _has_mark(text: str) -> bool:
    """Whether there is a digit or another thing without which `_MAYBE` finds nothing.

    Plain searches are many times as fast as a pattern with alternatives.
    """
    return any(mark in text for mark in _MARKS) or _NUMERAL.search(text) is not None


_KINDS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("secret", re.compile(_SECRET, re.VERBOSE), _any),
    ("email", re.compile(_EMAIL, re.VERBOSE), _any),
    ("iban", re.compile(_IBAN, re.VERBOSE), _iban),
    ("card", re.compile(_CARD, re.VERBOSE), _luhn),
    ("id", re.compile(_SSN, re.VERBOSE), _any),
    ("phone", re.compile(_PHONE, re.VERBOSE), _phone),
    ("ip", re.compile(_IP, re.VERBOSE), _address),
    ("name", re.compile(_NAME, re.VERBOSE), _person),
)
