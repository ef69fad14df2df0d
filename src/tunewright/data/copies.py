"""Checks of rows against each other: copies, leakage across parts, contradictory labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tunewright.data.augment import PARENT
from tunewright.data.duplicates import exact_groups, near_pairs, normal_text
from tunewright.data.finding import (
    EXAMPLES,
    Finding,
    Place,
    counted,
    record_at,
    show_row,
    shown,
)
from tunewright.data.records import Record, Splits, Task

_CHAIN, _CHAIN_SHARE = 10, 0.01
"""Rows, or share of all rows, above which near copies chain up: a split does not keep such chains
together either."""
_FIXED = ("leakage.exact", "leakage.near")
"""Leaks that `tunewright check --fix` takes out."""
_SHORTEST_PROMPT = 20
"""Characters from which a prompt that two parts share is no coincidence."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """All rows of all parts in one order, train first."""

    splits: Splits
    places: Sequence[Place]
    groups: Sequence[Sequence[int]]
    """Rows whose texts are equal, by first appearance; texts that occur once too."""

    def part(self, row: int) -> str:
        return self.places[row][0]

    def source(self, row: int) -> str:
        """Where a row was read."""
        return record_at(self.splits, self.places[row]).source

    def show_pair(self, first: int, second: int) -> str:
        left, right = (show_row(self.splits, self.places[row]) for row in (first, second))
        return f"{left} / {right}"


def check_copies(splits: Splits, *, cut_here: bool = False) -> list[Finding]:
    """Exact and near copies, within parts and across them.

    Args:
        splits: the rows.
        cut_here: parts that come from one source were cut by `tunewright.data.split`, which keeps
            near copies together unless they form long chains: those that it left apart are chains.
    """
    rows = _rows(splits)
    texts = [record_at_row(rows, group[0]).plain_text for group in rows.groups]
    near = near_pairs(texts)
    pairs = list(zip(near.left.tolist(), near.right.tolist(), strict=True))
    found = [*_exact_duplicates(rows), *_exact_leakage(rows)]
    found += [*_near_duplicates(rows, pairs), *_near_leakage(rows, pairs, cut_here)]
    found += [*_contradictions(rows), *_prompt_leakage(rows), *_group_leakage(rows)]
    return found


def record_at_row(rows: _Rows, row: int) -> Record:
    """The record of a row in the common order."""
    return record_at(rows.splits, rows.places[row])


def _rows(splits: Splits) -> _Rows:
    places = [(name, i) for name, part in splits.items() for i in range(len(part))]
    texts = [record.plain_text for _, part in splits.items() for record in part]
    return _Rows(splits, places, list(exact_groups(texts).values()))


def _exact_duplicates(rows: _Rows) -> Iterator[Finding]:
    extra: list[int] = []
    examples: list[str] = []
    for group in rows.groups:
        first: dict[str, int] = {}
        for row in group if len(group) > 1 else ():
            if rows.part(row) not in first:
                first[rows.part(row)] = row
                continue
            extra.append(row)
            examples.append(rows.show_pair(first[rows.part(row)], row))
    if extra:
        yield Finding(
            "duplicate.exact",
            "warning",
            len(extra),
            f"{counted(len(extra), 'row repeats', 'rows repeat')} the text of an earlier row of "
            "the same part (case and spacing aside), which then counts double.",
            "Take them out with --fix OUT, or keep them where the repetition is meant.",
            tuple(examples[:EXAMPLES]),
            tuple(rows.places[row] for row in extra),
        )


def _near_duplicates(rows: _Rows, pairs: Sequence[tuple[int, int]]) -> Iterator[Finding]:
    extra: dict[int, str] = {}
    for left, right in pairs:
        first, second = rows.groups[left][0], rows.groups[right][0]
        changed = any(PARENT in record_at_row(rows, row).meta for row in (first, second))
        if rows.part(first) == rows.part(second) and not changed:
            extra.setdefault(second, rows.show_pair(first, second))
    if extra:
        yield Finding(
            "duplicate.near",
            "info",
            len(extra),
            f"{counted(len(extra), 'row nearly repeats', 'rows nearly repeat')} an earlier row of "
            "the same part (other order, spelling or punctuation).",
            "Look at them; remove those that add nothing.",
            tuple(list(extra.values())[:EXAMPLES]),
            tuple(rows.places[row] for row in extra),
        )


def _exact_leakage(rows: _Rows) -> Iterator[Finding]:
    leaked: dict[int, int] = {}
    for group in rows.groups:
        for row in group:
            if rows.part(row) != rows.part(group[0]):
                leaked[row] = group[0]
    yield from _leakage(rows, "leakage.exact", leaked, "the same text as a row of")


def _near_leakage(
    rows: _Rows, pairs: Sequence[tuple[int, int]], cut_here: bool
) -> Iterator[Finding]:
    chains = _chains(rows, pairs)
    leaked: dict[int, int] = {}
    alike: dict[int, int] = {}
    for left, right in pairs:
        for row in rows.groups[right]:
            for other in rows.groups[left]:
                early, late = min(row, other), max(row, other)
                if rows.part(early) != rows.part(late):
                    ours = cut_here and rows.source(early) == rows.source(late)
                    found = alike if ours or left in chains else leaked
                    found.setdefault(late, early)
    yield from _leakage(rows, "leakage.near", leaked, "nearly the same text as a row of")
    yield from _alike(rows, {late: early for late, early in alike.items() if late not in leaked})


def _chains(rows: _Rows, pairs: Sequence[tuple[int, int]]) -> set[int]:
    """Groups of rows that near copies tie into chains too long to be copies of one text."""
    parent: dict[int, int] = {}

    def root(group: int) -> int:
        parent.setdefault(group, group)
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    for left, right in pairs:
        parent[root(left)] = root(right)
    sizes: Counter[int] = Counter()
    for group in parent:
        sizes[root(group)] += len(rows.groups[group])
    longest = max(_CHAIN, len(rows.places) * _CHAIN_SHARE)
    return {group for group in parent if sizes[root(group)] > longest}


def _alike(rows: _Rows, alike: dict[int, int]) -> Iterator[Finding]:
    if alike:
        yield Finding(
            "leakage.alike",
            "warning",
            len(alike),
            f"{counted(len(alike), 'held-out row resembles', 'held-out rows resemble')} rows of an "
            "earlier part, as do many others here: the rows are made by a pattern. The score says "
            "how well the pattern is learned, and little about other texts.",
            "Hold out rows from another source, or remove the rows that add nothing.",
            tuple(rows.show_pair(other, row) for row, other in list(alike.items())[:EXAMPLES]),
            tuple(rows.places[row] for row in sorted(alike)),
        )


def _leakage(rows: _Rows, name: str, leaked: dict[int, int], relation: str) -> Iterator[Finding]:
    """A finding about held-out rows that an earlier part gives away."""
    if not leaked:
        return
    have = "has" if len(leaked) == 1 else "have"
    how = "Take them out with --fix OUT" if name in _FIXED else "Remove them"
    late = sorted({rows.part(row) for row in leaked})
    early = sorted({rows.part(row) for row in leaked.values()})
    yield Finding(
        name,
        "error",
        len(leaked),
        f"{counted(len(leaked), 'row')} of {' and '.join(late)} {have} {relation} "
        f"{' or '.join(early)}, so the score would be too good.",
        f"{how} from {' and '.join(late)}, or make the parts anew from one file: a split by "
        "Tunewright keeps copies together.",
        tuple(rows.show_pair(other, row) for row, other in list(leaked.items())[:EXAMPLES]),
        tuple(rows.places[row] for row in sorted(leaked)),
    )


def _contradictions(rows: _Rows) -> Iterator[Finding]:
    if rows.splits.task not in (Task.CLASSIFICATION, Task.MULTILABEL):
        return
    places: list[Place] = []
    examples = []
    for group in rows.groups:
        labels = {_label_key(record_at_row(rows, row)) for row in group} if len(group) > 1 else ()
        if len(labels) > 1:
            places += [rows.places[row] for row in group]
            text = shown(record_at_row(rows, group[0]).plain_text)
            examples.append(f"{text!r} is labelled {' and '.join(sorted(labels))}")
    if places:
        yield Finding(
            "label.contradictory",
            "warning",
            len(places),
            f"{counted(len(examples), 'text is', 'texts are')} labelled differently in different "
            f"rows ({counted(len(places), 'row')} in all); at least one label of each is wrong.",
            "Decide on one label for each text.",
            tuple(examples[:EXAMPLES]),
            tuple(places),
        )


def _label_key(record: Record) -> str:
    if isinstance(record.label, tuple):
        return repr(", ".join(sorted(record.label)))
    return repr(record.label)


def _prompt_leakage(rows: _Rows) -> Iterator[Finding]:
    """Prompts of held-out rows that train answers, in other words."""
    if rows.splits.task is not Task.INSTRUCTION:
        return
    exact = {row for group in rows.groups for row in group[1:]}
    first: dict[str, int] = {}
    leaked: dict[int, int] = {}
    for row in range(len(rows.places)):
        prompt = prompt_of(record_at_row(rows, row))
        if not prompt:
            continue
        other = first.setdefault(prompt, row)
        if rows.part(other) != rows.part(row) and row not in exact:
            leaked[row] = other
    yield from _leakage(rows, "leakage.prompt", leaked, "the same prompt as a row of")


def prompt_of(record: Record) -> str:
    """What a conversation asks, in the form in which prompts are compared; nothing if it is short.

    Two parts may share a prompt of a few words by coincidence.
    """
    asked = [m.content for m in record.messages if m.role not in ("assistant", "system")]
    prompt = normal_text("\n".join(asked))
    return prompt if len(prompt) >= _SHORTEST_PROMPT else ""


def _group_leakage(rows: _Rows) -> Iterator[Finding]:
    """Groups (users, documents) that are in more than one part."""
    first: dict[str, int] = {}
    leaked: dict[int, int] = {}
    for row in range(len(rows.places)):
        group = record_at_row(rows, row).meta.get("group")
        if group is None or group == "":
            continue
        other = first.setdefault(str(group), row)
        if rows.part(other) != rows.part(row):
            leaked[row] = other
    yield from _leakage(rows, "leakage.group", leaked, "the same group as a row of")
