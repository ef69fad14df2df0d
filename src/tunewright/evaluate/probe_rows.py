"""What a model could do before tuning, as rows: minimal pairs, plain text, instructions to follow.

The probes of the package stand in `probes/`; a user's files take the place of two of them. This
module knows rows and checks of answers. It does not know models.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from tunewright.config.task import Task
from tunewright.data.files import read_file
from tunewright.data.sources import load
from tunewright.errors import DataError

OWN = "tunewright"
"""Where the rows of the package are from."""


@dataclass(frozen=True, slots=True)
class MinimalPair:
    """Two sentences of which one is right English, and what they differ in."""

    good: str
    bad: str
    phenomenon: str = ""


@dataclass(frozen=True, slots=True)
class Instruction:
    """A prompt, and what must hold of the answer; see `follows`."""

    prompt: str
    checks: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Probes:
    """The rows, and where pairs and texts are from."""

    pairs: list[MinimalPair]
    texts: list[str]
    instructions: list[Instruction]
    pairs_source: str = OWN
    texts_source: str = OWN


def load_probes(pairs: str | Path | None = None, texts: str | Path | None = None) -> Probes:
    """The probes of the package, or a user's rows in their place.

    Args:
        pairs: a file whose rows have `good` and `bad`, and may have `phenomenon`, such as BLiMP's.
        texts: rows of plain text, in any format that a source may have.

    Raises:
        DataError: a file is not there, or has other columns.
    """
    return Probes(
        pairs=_user_pairs(Path(pairs)) if pairs else [MinimalPair(**r) for r in _own("pairs")],
        texts=_user_texts(str(texts)) if texts else [row["text"] for row in _own("texts")],
        instructions=[Instruction(row["prompt"], row["checks"]) for row in _own("instructions")],
        pairs_source=str(pairs or OWN),
        texts_source=str(texts or OWN),
    )


def _own(name: str) -> list[dict[str, Any]]:
    folder = resources.files("tunewright.evaluate") / "probes"
    text = (folder / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _user_pairs(path: Path) -> list[MinimalPair]:
    if not path.is_file():
        raise DataError(
            f"There is no file {path}. Give one whose rows have the columns good and bad."
        )
    found = []
    for number, row in enumerate(read_file(path).rows, 1):
        good, bad = row.get("good"), row.get("bad")
        if not (isinstance(good, str) and isinstance(bad, str) and good.strip() and bad.strip()):
            raise DataError(
                f"{path}, row {number} has no two texts good and bad; its columns are "
                f"{', '.join(row)}. A minimal pair is a right and a wrong sentence."
            )
        found.append(MinimalPair(good, bad, str(row.get("phenomenon") or "")))
    return found


def _user_texts(source: str) -> list[str]:
    texts = [text for r in load(source, task=Task.TEXT) if (text := r.plain_text).strip()]
    if not texts:
        raise DataError(f"{source} has no text. Give rows of plain text.")
    return texts


def follows(answer: str, checks: Mapping[str, Any]) -> bool:
    """Whether an answer does all that was asked, as far as a program can tell.

    Case does not count, but for `contains_exactly`; blank space at the ends never does.

    Raises:
        DataError: a check is unknown.
    """
    unknown = set(checks) - set(CHECKS)
    if unknown:
        raise DataError(f"Unknown check {min(unknown)!r}. Known: {', '.join(sorted(CHECKS))}.")
    return all(CHECKS[name](answer.strip(), wanted) for name, wanted in checks.items())


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _in_order(answer: str, words: list[str]) -> bool:
    text, start = answer.lower(), 0
    for word in words:
        start = text.find(word, start)
        if start < 0:
            return False
        start += len(word)
    return True


def _has_json_key(answer: str, key: str) -> bool:
    fenced = re.fullmatch(r"```(?:json)?\s*(.*?)\s*```", answer, re.DOTALL)
    try:
        content = json.loads(fenced[1] if fenced else answer)
    except ValueError:
        return False
    return isinstance(content, dict) and key in content


CHECKS: dict[str, Callable[[str, Any], bool]] = {
    "contains": lambda answer, text: text in answer.lower(),
    "contains_all": lambda answer, texts: all(text in answer.lower() for text in texts),
    "contains_any": lambda answer, texts: any(text in answer.lower() for text in texts),
    "contains_exactly": lambda answer, text: text in answer,
    "dashes_at_least": lambda answer, n: (
        sum(line.lstrip().startswith("-") for line in _lines(answer)) >= n
    ),
    "ends": lambda answer, text: answer.lower().rstrip(".!\"'").endswith(text),
    "equals": lambda answer, text: _words(answer) == _words(text),
    "in_order": _in_order,
    "json_key": _has_json_key,
    "lacks": lambda answer, text: text not in answer.lower(),
    "lines_at_least": lambda answer, n: len(_lines(answer)) >= n,
    "starts": lambda answer, text: answer.lower().lstrip("\"'").startswith(text),
    "words_at_least": lambda answer, n: len(_words(answer)) >= n,
    "words_at_most": lambda answer, n: len(_words(answer)) <= n,
}
"""Checks of an answer by name; texts that are looked for are in lower case."""
