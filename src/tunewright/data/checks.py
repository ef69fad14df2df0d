"""Checks of rows by themselves: empty and damaged texts, numbers, lengths."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from tunewright.data import label_checks
from tunewright.data.finding import (
    Finding,
    Places,
    counted,
    row_findings,
    show_rows,
    shown,
)
from tunewright.data.records import Record, Splits, Task
from tunewright.data.survey import Asked, Batch, Look, found_by

ENOUGH_ROWS = (
    (1e9, 500, 1_000, 5_000),
    (10e9, 1_000, 2_000, 10_000),
    (float("inf"), 2_000, 5_000, 20_000),
)
"""Of models below so many weights: the fewest training rows that pay, and from how many to how many
they do well. The usual recommendation for supervised tuning; tasks differ."""
_REMOVE = "Complete them, or take them out with --fix OUT."
NEVER_CUT = (Task.TEXT, Task.QUESTION_ANSWERING)
"""Tasks whose rows may be longer than what a model sees at once."""
FEWEST_HELD_OUT = 100
"""Held-out rows below which an interval around a score is wider than most differences."""

MOJIBAKE = re.compile(
    "\ufffd"
    "|\u00c3[\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u2122]"
    "|\u00e2\u20ac[\u0080-\u00bf\u0152\u0153\u0161\u00a6\u02dc\u2122\u201c\u201d]"
    "|\u00c2[\u00a0-\u00bf]"
    "|\u00f0\u0178[\u0080-\u00bf\u2018-\u2122]"
)
"""U+FFFD, and UTF-8 that was read as Windows-1252 or Latin-1."""
CONTROL = re.compile("[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]")
MARKUP = re.compile(
    r"</?(?:a|b|br|div|em|font|h[1-6]|i|img|li|ol|p|script|span|strong|style|table|td|tr|u|ul)"
    r"(?:\s[^<>]*)?/?>|&(?:amp|lt|gt|quot|nbsp|apos|#\d{2,5}|#x[0-9a-f]{2,4});",
    re.IGNORECASE,
)


def check_empty(splits: Splits) -> list[Finding]:
    """Rows without words."""
    return found_by(_Empty(splits.task), splits)


class _Empty(Asked):
    """Rows without words."""

    def __init__(self, task: Task) -> None:
        questions: list[Callable[[Record, str], bool]] = [
            lambda r, _: not r.messages and not r.text.strip(),
            lambda r, _: r.text_pair is not None and not r.text_pair.strip(),
        ]
        if task is Task.INSTRUCTION:
            questions += [
                lambda r, _: any(m.train and not m.content.strip() for m in r.messages),
                lambda r, _: _asks_nothing(r),
            ]
        super().__init__(*questions)

    def findings(self, splits: Splits) -> Iterator[Finding]:
        blank, lacking, mute, unasked = (*self.places, Places(), Places())[:4]
        yield from row_findings(
            "empty.text", "error", splits, blank, "{rows} {have} no text.", _REMOVE
        )
        yield from row_findings(
            "empty.pair",
            "error",
            splits,
            lacking,
            "{rows} {have} no second text.",
            _REMOVE,
        )
        yield from row_findings(
            "empty.answer",
            "error",
            splits,
            mute,
            "{rows} {have} an empty answer, which teaches the model to say nothing.",
            _REMOVE,
        )
        yield from row_findings(
            "empty.prompt",
            "warning",
            splits,
            unasked,
            "{rows} {have} an answer to an empty prompt.",
            "Remove or complete them.",
        )


def _asks_nothing(record: Record) -> bool:
    return not any(m.content.strip() for m in record.messages if m.role in ("user", "tool"))


class _Constant:
    """Columns that say the same in every row."""

    def __init__(self) -> None:
        self._first: Record | None = None
        self._same_text = True
        self._same: dict[str, str] = {}

    def see(self, batch: Batch) -> None:
        if self._first is None:
            self._first = batch.records[0]
            self._same = {column: repr(value) for column, value in self._first.meta.items()}
        if self._same_text:
            text = self._first.plain_text
            self._same_text = all(other == text for other in batch.texts)
        for column, value in [*self._same.items()]:
            if any(repr(record.meta.get(column)) != value for record in batch.records):
                del self._same[column]

    def findings(self, splits: Splits) -> Iterator[Finding]:
        rows = sum(len(part) for _, part in splits.items())
        if self._first is None or rows < 2:
            return
        if self._same_text:
            yield Finding(
                "constant.column",
                "error",
                rows,
                f"All {counted(rows, 'row')} have the same text.",
                "Map the column that differs from row to row: columns={text: COLUMN}.",
                show_rows(splits, [("train", 0)] if len(splits.train) else []),
            )
        for column in sorted(self._same):
            yield Finding(
                "constant.column",
                "info",
                rows,
                f"The unused column {column!r} has the same value in every row: "
                f"{shown(str(self._first.meta[column]), 60)!r}.",
                "Nothing needs doing; it can be left out.",
            )


def check_quantity(splits: Splits, parameters: int | None = None) -> Iterator[Finding]:
    """Too few rows to learn from or to measure with.

    Args:
        splits: the rows.
        parameters: number of weights of the model. Default: a small one.
    """
    count = len(splits.train)
    fewest, good, most = next(row[1:] for row in ENOUGH_ROWS if (parameters or 0) < row[0])
    which = "Small models need" if parameters is None else f"{_size(parameters)} needs"
    well = f"at least {fewest:,}, and do{'' if parameters is None else 'es'} well with {good:,}"
    if 0 < count < fewest and splits.task is not Task.TEXT:
        yield Finding(
            "quantity.small",
            "warning",
            count,
            f"There are {counted(count, 'training row')}. {which} {well} to {most:,}.",
            "Collect more rows, or compare with a prompt and a few examples before tuning.",
        )
    elif parameters is not None and 0 < count < good and splits.task is not Task.TEXT:
        yield Finding(
            "quantity.modest",
            "info",
            count,
            f"There are {counted(count, 'training row')}. {which} {well} to {most:,}.",
            "More rows are likely to help.",
        )
    held_out = len(splits.test) or len(splits.validation)
    if 0 < held_out < FEWEST_HELD_OUT:
        yield Finding(
            "quantity.held_out",
            "info",
            held_out,
            f"Only {counted(held_out, 'row')} are held out, so intervals around scores will be "
            "wide.",
            f"Hold out at least {FEWEST_HELD_OUT} rows to tell models apart.",
        )


def _size(parameters: int) -> str:
    if parameters >= 1e9:
        return f"A model of {parameters / 1e9:.1f} billion weights"
    return f"A model of {max(1, round(parameters / 1e6)):,} million weights"


class _Encoding(Asked):
    """Texts that were damaged on their way."""

    def __init__(self) -> None:
        super().__init__(
            lambda _, text: not text.isascii() and MOJIBAKE.search(text) is not None,
            lambda _, text: not text.isprintable() and CONTROL.search(text) is not None,
            lambda _, text: ("<" in text or "&" in text) and MARKUP.search(text) is not None,
        )

    def findings(self, splits: Splits) -> Iterator[Finding]:
        damaged, control, markup = self.places
        yield from row_findings(
            "encoding.damage",
            "warning",
            splits,
            damaged,
            "{rows} {have} characters that were read in the wrong encoding, such as "
            "\u201c\u00c3\u00a9\u201d for \u201c\u00e9\u201d, or the replacement character \ufffd.",
            "Save the source as UTF-8 and read it again, or repair what can be with --fix OUT.",
        )
        yield from row_findings(
            "encoding.control",
            "warning",
            splits,
            control,
            "{rows} {have} control characters, which no reader sees.",
            "Take them out with --fix OUT.",
        )
        yield from row_findings(
            "markup.html",
            "info",
            splits,
            markup,
            "{rows} {have} HTML tags or entities such as &amp;.",
            "Clean them unless the model will see such text when it is used.",
        )


def over_length(
    splits: Splits, sizes: Mapping[str, Sequence[int]], max_length: int
) -> list[Finding]:
    """Rows longer than a model will see. Plain texts are split and never cut, and texts with a
    question are read in windows.

    Args:
        splits: the rows.
        sizes: tokens of each row, by part.
        max_length: tokens.
    """
    if splits.task in NEVER_CUT:
        return []
    over = [
        (name, index)
        for name, part in sizes.items()
        for index, size in enumerate(part)
        if size > max_length
    ]
    lost = sum(sizes[name][index] - max_length for name, index in over)
    total = sum(map(sum, sizes.values()))
    longest = sorted(over, key=lambda place: -sizes[place[0]][place[1]])
    message = (
        f"{{rows}} {{are}} longer than max_length={max_length} tokens; {lost:,} tokens "
        f"({lost / max(total, 1):.1%} of all) at their ends would be cut."
    )
    return list(
        row_findings(
            "length.over",
            "warning",
            splits,
            longest,
            message,
            "Set data.truncation to cut or drop, raise max_length where the model allows it, or "
            "shorten the rows.",
        )
    )


def looks(task: Task) -> list[Look]:
    """All checks of this module that see every row, and those of labels."""
    return [_Empty(task), _Constant(), label_checks.Labels(task), _Encoding()]
