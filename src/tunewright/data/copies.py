"""Checks of rows against each other: copies, leakage across parts, contradictory labels."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from tunewright.data.augment import PARENT
from tunewright.data.duplicates import near_pairs, normal_text
from tunewright.data.finding import (
    EXAMPLES,
    Finding,
    Places,
    counted,
    shown,
)
from tunewright.data.records import Record, Splits, Task
from tunewright.data.row_groups import groups_of, key_of, keys_of
from tunewright.data.row_keys import Rows, first_of_their_text
from tunewright.data.survey import Batch, found_by
from tunewright.data.tags import spans

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NEAR_ROWS, HELD_OUT_ROWS = 10_000, 5_000
"""Rows of a data set on disk among which near copies are looked for, and held-out rows that are
compared with all training rows."""
NEAR_CHARACTERS = 5_000_000
"""Characters that so many rows on disk have at most, or fewer are taken: near copies of each
character take some 70 bytes of memory to find."""
_CHAIN, _CHAIN_SHARE = 10, 0.01
"""Rows, or share of all rows, above which near copies chain up: a split does not keep such chains
together either."""
_FIXED = ("leakage.exact", "leakage.near")
"""Leaks that `tunewright check --fix` takes out."""
_SHORTEST_PROMPT = 20
"""Characters from which a prompt that two parts share is no coincidence."""


def check_copies(splits: Splits, *, cut_here: bool = False) -> list[Finding]:
    """Exact and near copies, within parts and across them.

    Of more than `NEAR_ROWS` rows on disk, near copies are looked for among that many, drawn at
    random, and between `HELD_OUT_ROWS` held-out rows and all training rows.

    Args:
        splits: the rows.
        cut_here: parts that come from one source were cut by `tunewright.data.split`, which keeps
            near copies together unless they form long chains: those that it left apart are chains.
    """
    look = Copies(splits, cut_here=cut_here)
    return found_by(look, splits)


class Copies:
    """Exact and near copies; see `check_copies`.

    Args:
        splits: the rows.
        cut_here: parts that come from one source were cut by `tunewright.data.split`.
    """

    def __init__(self, splits: Splits, *, cut_here: bool = False) -> None:
        self._cut_here = cut_here
        tasks = (Task.CLASSIFICATION, Task.MULTILABEL, Task.TOKEN_CLASSIFICATION)
        self._labelled = splits.task in tasks
        self._parted = sum(len(part) > 0 for _, part in splits.items()) > 1
        self._asks = self._parted and splits.task is Task.INSTRUCTION
        self._texts, self._labels = array("Q"), array("I")
        self._prompts, self._groups = array("Q"), array("Q")
        self._characters = 0

    def see(self, batch: Batch) -> None:
        """Keep the keys of the rows."""
        if self._parted:
            self._keep_groups(batch)
        self._characters += sum(map(len, batch.texts))
        self._texts.frombytes(keys_of(map(normal_text, batch.texts)))
        if self._labelled:
            self._labels.extend(key_of(_label_key(r)) & 0xFFFFFFFF for r in batch.records)
        if self._asks:
            self._prompts.frombytes(keys_of(map(prompt_of, batch.records)))

    def _keep_groups(self, batch: Batch) -> None:
        for row, record in enumerate(batch.records, start=len(self._texts)):
            group = record.meta.get("group")
            if group is not None and group != "":
                self._groups.frombytes(bytes(8 * (row - len(self._groups))))
                self._groups.append(key_of(str(group)))

    def findings(self, splits: Splits) -> Iterator[Finding]:
        """What was found, when every row was seen. The keys of texts are gone then."""
        rows = self._rows(splits)
        pairs = _near_pairs(rows)
        yield from _exact_duplicates(rows)
        yield from _exact_leakage(rows)
        if splits.task is not Task.EMBEDDING:  # a text may belong to several others
            yield from _near_duplicates(rows, pairs)
        yield from _near_leakage(rows, pairs, self._cut_here)
        yield from _contradictions(rows)
        yield from _prompt_leakage(rows)
        yield from _group_leakage(rows)

    def _rows(self, splits: Splits) -> Rows:
        same = groups_of(self._texts)
        heads = first_of_their_text(self._texts, same)
        near = near_rows(len(self._texts), self._characters)
        self._texts = array("Q")
        starts = [0, *accumulate(len(part) for _, part in splits.items())]
        keys = self._labels, self._prompts, self._groups
        return Rows(splits, starts, same, *keys, heads, near)


def near_rows(rows: int, characters: int) -> int:
    """Rows on disk among which near copies are looked for at one go."""
    return max(2, min(NEAR_ROWS, NEAR_CHARACTERS * rows // max(characters, 1)))


def _near_pairs(rows: Rows) -> list[tuple[int, int]]:
    """Pairs of rows with nearly the same text, each the first of its text."""
    import numpy as np

    heads = rows.heads
    if rows.splits.task is Task.QUESTION_ANSWERING:  # a text has several questions
        return []
    on_disk = any(part.on_disk for _, part in rows.splits.items())
    if not on_disk or len(heads) <= rows.near:
        return _pairs_among(rows, heads)
    found = set(_pairs_among(rows, _some(heads, rows.near)))
    trained, held_out = np.split(heads, [np.searchsorted(heads, rows.starts[1])])
    held_out = _some(held_out, min(HELD_OUT_ROWS, rows.near))
    for first in range(0, len(trained) if len(held_out) else 0, rows.near):
        found.update(_pairs_among(rows, trained[first : first + rows.near], held_out))
    return sorted(found)


def _some(rows: NDArray[np.uint32], most: int) -> NDArray[np.uint32]:
    """At most so many of the rows, drawn at random, in order."""
    import numpy as np

    if len(rows) <= most:
        return rows
    return np.sort(np.random.Generator(np.random.Philox(key=0)).choice(rows, most, replace=False))


def _pairs_among(
    rows: Rows, first: NDArray[np.uint32], behind: NDArray[np.uint32] | None = None
) -> list[tuple[int, int]]:
    """Near copies among some rows; with `behind`, only those that end there."""
    import numpy as np

    every = first if behind is None else np.concatenate([first, behind])
    near = near_pairs(rows.texts(every))
    right = every[near.right]
    wanted = right >= (0 if behind is None else behind[0])
    return list(zip(every[near.left][wanted].tolist(), right[wanted].tolist(), strict=True))


def _exact_duplicates(rows: Rows) -> Iterator[Finding]:
    extra = Places()
    examples: list[str] = []
    for group in rows.same:
        first: dict[str, int] = {}
        for row in group:
            part, index = rows.place(row)
            if part not in first:
                first[part] = row
                continue
            extra.add(part, index)
            if len(examples) < EXAMPLES:
                examples.append(rows.show_pair(first[part], row))
    if extra:
        yield Finding(
            "duplicate.exact",
            "warning",
            len(extra),
            f"{counted(len(extra), 'row repeats', 'rows repeat')} the text of an earlier row of "
            "the same part (case and spacing aside), which then counts double.",
            "Take them out with --fix OUT, or keep them where the repetition is meant.",
            tuple(examples),
            extra,
        )


def _near_duplicates(rows: Rows, pairs: Sequence[tuple[int, int]]) -> Iterator[Finding]:
    extra: dict[int, int] = {}
    for first, second in pairs:
        if rows.part(first) == rows.part(second) and second not in extra:
            changed = any(PARENT in rows.record(row).meta for row in (first, second))
            if not changed:
                extra[second] = first
    if extra:
        yield Finding(
            "duplicate.near",
            "info",
            len(extra),
            f"{counted(len(extra), 'row nearly repeats', 'rows nearly repeat')} an earlier row of "
            "the same part (other order, spelling or punctuation).",
            "Look at them; remove those that add nothing.",
            tuple(rows.show_pair(extra[row], row) for row in list(extra)[:EXAMPLES]),
            rows.places(extra),
        )


def _exact_leakage(rows: Rows) -> Iterator[Finding]:
    leaked = array("I")
    early = array("I")
    for group in rows.same if rows.parted else ():
        for row in group[1:]:
            if rows.part(row) != rows.part(group[0]):
                leaked.append(row)
                early.append(group[0])
    yield from _leakage(rows, "leakage.exact", leaked, early, "the same text as a row of")


def _near_leakage(
    rows: Rows, pairs: Sequence[tuple[int, int]], cut_here: bool
) -> Iterator[Finding]:
    chains = _chains(rows, pairs)
    leaked: dict[int, int] = {}
    alike: dict[int, int] = {}
    for left, right in pairs:
        for row in rows.same.with_row(right):
            for other in rows.same.with_row(left):
                early, late = min(row, other), max(row, other)
                if rows.part(early) != rows.part(late):
                    ours = cut_here and rows.source(early) == rows.source(late)
                    found = alike if ours or left in chains else leaked
                    found.setdefault(late, early)
    relation = "nearly the same text as a row of"
    yield from _leakage(rows, "leakage.near", list(leaked), list(leaked.values()), relation)
    yield from _alike(rows, {late: early for late, early in alike.items() if late not in leaked})


def _chains(rows: Rows, pairs: Sequence[tuple[int, int]]) -> set[int]:
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
        sizes[root(group)] += len(rows.same.with_row(group))
    longest = max(_CHAIN, rows.starts[-1] * _CHAIN_SHARE)
    return {group for group in parent if sizes[root(group)] > longest}


def _alike(rows: Rows, alike: dict[int, int]) -> Iterator[Finding]:
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
            rows.places(sorted(alike)),
        )


def _leakage(
    rows: Rows, name: str, leaked: Sequence[int], early: Sequence[int], relation: str
) -> Iterator[Finding]:
    """A finding about held-out rows that earlier ones, of another part, give away."""
    if not leaked:
        return
    have = "has" if len(leaked) == 1 else "have"
    how = "Take them out with --fix OUT" if name in _FIXED else "Remove them"
    there = " and ".join(sorted({rows.part(row) for row in leaked}))
    here = " or ".join(sorted({rows.part(row) for row in early}))
    yield Finding(
        name,
        "error",
        len(leaked),
        f"{counted(len(leaked), 'row')} of {there} {have} {relation} {here}, so the score would be "
        "too good.",
        f"{how} from {there}, or make the parts anew from one file: a split by "
        "Tunewright keeps copies together.",
        tuple(rows.show_pair(*pair) for pair in zip(early[:EXAMPLES], leaked, strict=False)),
        rows.places(sorted(leaked)),
    )


def _contradictions(rows: Rows) -> Iterator[Finding]:
    places = Places()
    examples: list[str] = []
    texts = 0
    for group in rows.same if rows.labels else ():
        if len({rows.labels[row] for row in group}) == 1:
            continue
        texts += 1
        for row in group:
            places.add(*rows.place(row))
        if len(examples) < EXAMPLES:
            labels = {_label_key(rows.record(row)) for row in group}
            text = shown(rows.record(group[0]).plain_text)
            examples.append(f"{text!r} is labelled {' and '.join(sorted(labels))}")
    if places:
        yield Finding(
            "label.contradictory",
            "warning",
            len(places),
            f"{counted(texts, 'text is', 'texts are')} labelled differently in different "
            f"rows ({counted(len(places), 'row')} in all); at least one label of each is wrong.",
            "Decide on one label for each text.",
            tuple(examples),
            places,
        )


def _label_key(record: Record) -> str:
    # Entities by their words, because one text may be cut into words in two ways; as texts are
    # compared, case and spacing aside.
    if record.words:
        found = spans(record.class_names)
        named = [f"{normal_text(' '.join(record.words[a:b]))} [{kind}]" for kind, a, b in found]
        return repr(", ".join(named) or "no entity")
    if isinstance(record.label, tuple):
        return repr(", ".join(sorted(record.label)))
    return repr(record.label)


def _prompt_leakage(rows: Rows) -> Iterator[Finding]:
    """Prompts of held-out rows that train answers, in other words."""
    exact = bytearray(rows.starts[-1])
    for row in rows.same.later if rows.prompts else ():
        exact[row] = 1
    leaked, early = _in_other_parts(rows, rows.prompts, exact)
    yield from _leakage(rows, "leakage.prompt", leaked, early, "the same prompt as a row of")


def _in_other_parts(
    rows: Rows, keys: array[int], without: bytearray | None = None
) -> tuple[Sequence[int], Sequence[int]]:
    """Rows, in order, with the key of a row of an earlier part, and that row of each."""
    leaked: list[tuple[int, int]] = []
    for group in groups_of(keys):
        part = rows.part(group[0])
        for row in group[1:]:
            if rows.part(row) != part and not (without and without[row]):
                leaked.append((row, group[0]))
    leaked.sort()
    return [row for row, _ in leaked], [other for _, other in leaked]


def prompt_of(record: Record) -> str:
    """What a conversation asks, in the form in which prompts are compared; nothing if it is short.

    Two parts may share a prompt of a few words by coincidence.
    """
    asked = [m.content for m in record.messages if m.role not in ("assistant", "system")]
    prompt = normal_text("\n".join(asked))
    return prompt if len(prompt) >= _SHORTEST_PROMPT else ""


def _group_leakage(rows: Rows) -> Iterator[Finding]:
    """Groups (users, documents) that are in more than one part."""
    leaked, early = _in_other_parts(rows, rows.groups)
    yield from _leakage(rows, "leakage.group", leaked, early, "the same group as a row of")
