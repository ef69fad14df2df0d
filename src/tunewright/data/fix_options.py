"""Which findings `check --fix` mends, and by which option."""

from __future__ import annotations

from collections.abc import Iterable

from tunewright.errors import DataError, unknown_name

SAFE = (
    "encoding.damage",
    "encoding.control",
    "empty.text",
    "empty.pair",
    "empty.answer",
    "duplicate.exact",
    "leakage.exact",
    "leakage.near",
)
"""Fixes that no one regrets: repair characters, drop rows without words, count copies once, and
keep copies of training rows out of the held-out parts."""
MASKING = ("personal.data", "secret.key")
"""Fixes that put `[EMAIL]` and the like in place of personal data and secrets."""
NORMALIZING = ("normalize.unicode", "normalize.spacing", "normalize.case")
"""Ways of writing the same made one. They are no findings, and done only when asked for."""
LOOKED_AT = (
    "content.hostile",
    "content.toxic",
    "content.words",
    "language.mixed",
    "outlier.length",
    "outlier.words",
)
"""Findings that a person has to look at, whose rows can be removed once that is done."""
ASKED = (
    "duplicate.near",
    "empty.prompt",
    "label.contradictory",
    "label.suspect",
    "label.unseen",
    "label.variants",
    "leakage.group",
    "leakage.prompt",
    "markup.html",
    *LOOKED_AT,
    *NORMALIZING,
)
"""Fixes that are right for some data and wrong for other: each is done only when it is named."""
_REWRITTEN = ("markup.html", "label.variants")


def option_of(finding: str) -> str:
    """The option of `tunewright check` that mends a finding; empty where none does."""
    if finding in SAFE:
        return "--fix OUT"
    if finding in MASKING:
        return "--fix OUT --mask"
    return f"--fix OUT --also {finding}" if finding in ASKED else ""


def sentence_of(finding: str) -> str:
    """What the option does, for the fixes that have to be named; empty for all others."""
    if finding not in ASKED:
        return ""
    does = "rewrites them" if finding in _REWRITTEN else "takes them out"
    return f"{option_of(finding)} {does}."


def require_known(names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse ids without a fix.

    Raises:
        DataError: names the close match.
    """
    listed = sorted(known)
    for name in names:
        if name not in listed:
            raise DataError(unknown_name("fix", name, listed))
