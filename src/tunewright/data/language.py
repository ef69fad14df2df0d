"""Which language each row is in, and the rows that are in another one than the rest.

Languages are told by `py3langid` (byte n-grams and naive Bayes, 90-odd languages; Lui & Baldwin
2012), whose answer counts only where it is sure. Short texts, names and code stay undecided.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from tunewright.data.finding import (
    EXAMPLES,
    Finding,
    Place,
    counted,
    show_row,
)
from tunewright.data.records import Splits

SURE = 0.9
"""Probability from which a language counts. Of 14,390 English tweets, news sentences and questions
to a bank, it then decides 65 to 89 % and is wrong in none; two tweets were Dutch and Spanish."""
SHORTEST = 20
"""Letters from which a text is looked at."""
MAIN = 0.5
"""Share of all rows that the main language must have, or the rows are no plain text."""
FEW = 0.2
"""Share of rows in other languages up to which these look like an oversight."""

_READ = 300
"""Characters of a row that are read: more do not change the answer."""
_NO_WORDS = re.compile(r"https?://\S+|[@#]\w+|(?<![^\W\d_])[^\W\d_]*+\d\w*")
"""Addresses, names, and words with digits. The look behind keeps a word from being tried at each of
its letters."""


def languages_of(texts: Sequence[str]) -> list[str | None]:
    """The language of each text as an ISO 639-1 code, or None where it is not sure."""
    identifier = _identifier()
    found: list[str | None] = []
    for text in texts:
        words = _NO_WORDS.sub(" ", text[:_READ])
        if sum(map(str.isalpha, words)) < SHORTEST:
            found.append(None)
            continue
        language, probability = identifier.classify(words)
        found.append(str(language) if probability >= SURE else None)
    return found


@cache
def _identifier() -> Any:
    """The model, read once: it takes a second."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def by_row(splits: Splits) -> dict[str, list[str | None]]:
    """The language of each row, by part."""
    return {name: languages_of([r.plain_text for r in part]) for name, part in splits.items()}


def count_languages(found: Mapping[str, Sequence[str | None]]) -> dict[str, int]:
    """Rows by language, the most frequent first; rows of none are left out."""
    counts = Counter(language for part in found.values() for language in part if language)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def check_languages(splits: Splits, found: Mapping[str, Sequence[str | None]]) -> Iterator[Finding]:
    """Rows in another language than most."""
    counts = count_languages(found)
    rows = sum(map(len, found.values()))
    main = next(iter(counts), None)
    if main is None or counts[main] < MAIN * rows:
        return
    places: list[Place] = [
        (name, index)
        for name, part in found.items()
        for index, language in enumerate(part)
        if language not in (None, main)
    ]
    if not places:
        return
    oversight = len(places) < FEW * rows
    others = ", ".join(f"{name} {count:,}" for name, count in list(counts.items())[1:6])
    yield Finding(
        "language.mixed",
        "warning" if oversight else "info",
        len(places),
        f"{counted(len(places), 'row seems', 'rows seem')} to be in another language than the "
        f"rest, which is {main!r}: {others}.",
        "Look at them; remove them unless the model will see such text."
        if oversight
        else "Nothing needs doing where several languages are meant; hold out rows of each.",
        tuple(
            f"{show_row(splits, place)} ({found[place[0]][place[1]]})"
            for place in places[:EXAMPLES]
        ),
        tuple(places),
    )
