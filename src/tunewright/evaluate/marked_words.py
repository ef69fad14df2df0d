"""Words that moved a prediction, as a report shows them: marked in their text, or in a table.

Marks differ in line and sign besides colour, so that they can be told apart in print and by every
reader.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunewright.evaluate import wording
from tunewright.evaluate.report_tables import Table, shortened

_MOST_WORDS = 8
"""Words of a row in a table."""


@dataclass(frozen=True)
class MarkedWord:
    """A word that is shown with how far it moved a prediction.

    Attributes:
        text: the word.
        sign: `for`, `against`, or nothing where it moved little.
        strength: 0 to 4, beside the strongest word of its row.
        score: as it is read, with its sign.
        meant: whether it is the word whose tag is explained.
    """

    text: str
    sign: str
    strength: int
    score: str
    meant: bool = False


@dataclass(frozen=True)
class MarkedText:
    """A text whose words are marked, with a heading; of a pair both texts."""

    head: str
    parts: list[list[MarkedWord]]


def said_of_attribution(found: Mapping[str, Any]) -> list[str]:
    """What a reader must know before looking at the words, and the notes."""
    rows = found["rows"]
    if not rows:
        return ["There is no wrong row whose words could be shown."]
    unit = found["unit"]
    what = unit if unit.startswith("the") else f"the {unit.replace(', nats', '')} (nats)"
    return [
        f"What each word adds to {what} of the label, number or tag that is named, beside "
        f"{found['baseline']} ({found['method']}). The scores of a row add up to the change within "
        f"{100 * found['tolerance']:g} % in {found['complete']} of "
        f"{wording.plural(len(rows), 'row')}. They say what the model used, not what is right.",
        *found["notes"],
    ]


def marked_texts(found: Mapping[str, Any]) -> list[MarkedText]:
    """Each row's words, marked by what they add."""
    texts = []
    for row in found["rows"]:
        most = max((abs(word["score"] or 0) for word in row["words"]), default=0) or 1.0
        parts: list[list[MarkedWord]] = []
        for place, word in enumerate(row["words"], start=1):
            while len(parts) <= word["part"]:
                parts.append([])
            parts[word["part"]].append(_marked(word, most, place == row.get("word")))
        said = f"Row {row['row']}{_meant(row)}: predicted {_value(row['predicted'])}, expected "
        said += f"{_value(row['expected'])}"
        if row["of"] is not None and row["of"] != row["predicted"]:
            said += f"; scores are of {row['of']}"
        ends = [_signed(row[key]) for key in ("baseline_output", "output")]
        said += f" ({ends[0]} without the text, {ends[1]} with it)"
        texts.append(MarkedText(said, parts))
    return texts


def _marked(word: Mapping[str, Any], most: float, meant: bool) -> MarkedWord:
    score = word["score"]
    strength = 0 if score is None else round(4 * abs(score) / most)
    sign = ("for" if score > 0 else "against") if strength else ""
    shown = "not seen by the model" if score is None else _signed(score)
    return MarkedWord(word["text"], sign, strength, shown, meant)


def _meant(row: Mapping[str, Any]) -> str:
    """Which word of a tagged row is explained."""
    word = row.get("word")
    return f", word {word} ({row['words'][word - 1]['text']})" if word else ""


def words_table(found: Mapping[str, Any]) -> Table | None:
    """The words of each row that move its prediction most, for pages without colours."""
    rows = []
    for row in found["rows"]:
        seen = [word for word in row["words"] if word["score"] is not None]
        most = sorted(seen, key=lambda word: -abs(word["score"]))[:_MOST_WORDS]
        pushes = [
            ", ".join(f"{w['text']} {_signed(w['score'])}" for w in most if w["score"] * way > 0)
            for way in (1, -1)
        ]
        text = " ".join(word["text"] for word in row["words"])
        rows.append(
            [
                f"{row['row']}{_meant(row)}",
                shortened(text),
                _listed(row["expected"]),
                _listed(row["predicted"]),
            ]
            + [push or wording.DASH for push in pushes]
        )
    columns = ["Row", "Text", "Expected", "Predicted", "Words for it", "Words against it"]
    return Table(columns, rows) if rows else None


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", wording.MINUS)


def _value(value: Any) -> str:
    return wording.number(value) if isinstance(value, float) else _listed(value)


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
