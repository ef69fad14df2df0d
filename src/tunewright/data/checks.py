"""Checks of rows by themselves: empty and damaged texts, labels, numbers of rows, lengths."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from tunewright.data.finding import (
    Finding,
    Places,
    counted,
    listed,
    row_findings,
    show_rows,
    shown,
)
from tunewright.data.records import Record, Splits, Task

ENOUGH_ROWS = (
    (1e9, 500, 1_000, 5_000),
    (10e9, 1_000, 2_000, 10_000),
    (float("inf"), 2_000, 5_000, 20_000),
)
"""Of models below so many weights: the fewest training rows that pay, and from how many to how many
they do well. The usual recommendation for supervised tuning; tasks differ."""
_REMOVE = "Complete them, or take them out with --fix OUT."
FEWEST_HELD_OUT = 100
"""Held-out rows below which an interval around a score is wider than most differences."""
FEWEST_OF_A_LABEL = 10
SKEWED = 10
"""Times the most frequent label outnumbers the rarest."""

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


def _places(splits: Splits, *wanted: Callable[[Record], bool]) -> list[Places]:
    """For each question, the rows where the answer is yes; all are asked in one pass."""
    found = [Places() for _ in wanted]
    for name, part in splits.items():
        for index, record in enumerate(part):
            for places, asked in zip(found, wanted, strict=True):
                if asked(record):
                    places.add(name, index)
    return found


def check_empty(splits: Splits) -> Iterator[Finding]:
    """Rows without words."""
    instruction = splits.task is Task.INSTRUCTION
    blank, lacking, mute, unasked = _places(
        splits,
        lambda r: not r.messages and not r.text.strip(),
        lambda r: r.text_pair is not None and not r.text_pair.strip(),
        lambda r: instruction and any(m.train and not m.content.strip() for m in r.messages),
        lambda r: instruction and _asks_nothing(r),
    )
    yield from row_findings("empty.text", "error", splits, blank, "{rows} {have} no text.", _REMOVE)
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


def check_constant(splits: Splits) -> Iterator[Finding]:
    """Columns that say the same in every row."""
    rows = sum(len(part) for _, part in splits.items())
    records = (record for _, part in splits.items() for record in part)
    first = next(records, None)
    if first is None or rows < 2:
        return
    text, same_text = first.plain_text, True
    same = {column: repr(value) for column, value in first.meta.items()}
    for record in records:
        same_text = same_text and record.plain_text == text
        for column in [c for c, value in same.items() if repr(record.meta.get(c)) != value]:
            del same[column]
        if not same and not same_text:
            return
    if same_text:
        yield Finding(
            "constant.column",
            "error",
            rows,
            f"All {counted(rows, 'row')} have the same text.",
            "Map the column that differs from row to row: columns={text: COLUMN}.",
            show_rows(splits, [("train", 0)] if len(splits.train) else []),
        )
    for column in sorted(same):
        yield Finding(
            "constant.column",
            "info",
            rows,
            f"The unused column {column!r} has the same value in every row: "
            f"{shown(str(first.meta[column]), 60)!r}.",
            "Nothing needs doing; it can be left out.",
        )


def check_labels(splits: Splits) -> Iterator[Finding]:
    """Labels that cannot be learned or predicted."""
    if splits.task is Task.REGRESSION:
        yield from _check_numbers(splits)
    if splits.task not in (Task.CLASSIFICATION, Task.MULTILABEL) or not len(splits.train):
        return
    counts = Counter(label for record in splits.train for label in record.class_names)
    if splits.task is Task.CLASSIFICATION and len(counts) == 1:
        yield Finding(
            "label.single",
            "error",
            len(splits.train),
            f"All training rows have the label {listed(list(counts))}.",
            "Classification needs at least two labels. Check the label column.",
        )
    yield from _check_unseen(splits, counts)
    rare = {label for label, count in counts.items() if count < FEWEST_OF_A_LABEL}
    places = Places()
    for index, record in enumerate(splits.train if rare else ()):
        if rare & {*record.class_names}:
            places.add("train", index)
    names = sorted(rare, key=lambda label: (counts[label], label))
    yield from row_findings(
        "label.rare",
        "warning",
        splits,
        places,
        f"{counted(len(rare), 'label has', 'labels have')} fewer than {FEWEST_OF_A_LABEL} training "
        f"rows: {listed(names)}, in {{rows}}.",
        "Collect more rows of them, or merge them with a similar label.",
    )
    yield from _check_balance(splits, counts)


def _check_unseen(splits: Splits, counts: Mapping[str, int]) -> Iterator[Finding]:
    unseen = Places()
    names: set[str] = set()
    for part in ("validation", "test"):
        for index, record in enumerate(dict(splits.items())[part]):
            if not {*record.class_names} <= counts.keys():
                unseen.add(part, index)
                names.update(record.class_names)
    yield from row_findings(
        "label.unseen",
        "error",
        splits,
        unseen,
        "{rows} held out {have} labels that train lacks: "
        f"{listed(sorted(names - counts.keys()))}. No model could predict them.",
        "Add such rows to train, correct the labels, or leave those rows out.",
    )


def _check_balance(splits: Splits, counts: Counter[str]) -> Iterator[Finding]:
    if len(counts) < 2:
        return
    most, least = counts.most_common()[0], counts.most_common()[-1]
    if most[1] >= SKEWED * least[1]:
        yield Finding(
            "balance.skewed",
            "warning",
            least[1],
            f"The label {most[0]!r} has {counted(most[1], 'training row')}, {least[0]!r} has "
            f"{least[1]:,}: {most[1] / least[1]:.0f} times fewer.",
            "Judge by macro-F1, not by accuracy; collect more rows of the rare labels, or let each "
            "label count alike with data.balance: weights.",
        )


def _check_numbers(splits: Splits) -> Iterator[Finding]:
    values = [record.label for record in splits.train if isinstance(record.label, float)]
    if len(values) > 1 and len(set(values)) == 1:
        yield Finding(
            "label.single",
            "error",
            len(values),
            f"All training rows have the number {values[0]:g}.",
            "There is nothing to learn from a constant. Check the label column.",
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


def check_encoding(splits: Splits) -> Iterator[Finding]:
    """Texts that were damaged on their way."""
    damaged, control, markup = _places(
        splits,
        lambda r: bool(MOJIBAKE.search(r.plain_text)),
        lambda r: bool(CONTROL.search(r.plain_text)),
        lambda r: bool(MARKUP.search(r.plain_text)),
    )
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
    """Rows longer than a model will see. Plain texts are split and never cut.

    Args:
        splits: the rows.
        sizes: tokens of each row, by part.
        max_length: tokens.
    """
    if splits.task is Task.TEXT:
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


CHECKS: tuple[Callable[[Splits], Iterator[Finding]], ...] = (
    check_empty,
    check_constant,
    check_labels,
    check_encoding,
)
