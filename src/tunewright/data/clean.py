"""Apply the fixes that an audit proposes; what is taken out is handed back with its reason.

This module knows findings and records. It does not know files.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tunewright.data.answer_places import Answer
from tunewright.data.audit import as_splits
from tunewright.data.checks import CONTROL, MARKUP, MOJIBAKE, check_empty
from tunewright.data.copies import check_copies
from tunewright.data.finding import Finding, Place
from tunewright.data.fix_options import LOOKED_AT, SAFE, require_known
from tunewright.data.label_checks import check_labels, spellings
from tunewright.data.normalize import one_case, one_spacing, one_unicode_form
from tunewright.data.personal import mask_personal
from tunewright.data.records import Dataset, Record, Splits
from tunewright.data.tag_checks import check_tags
from tunewright.data.wrong_labels import check_suspects, find_suspects
from tunewright.errors import DataError

_REMOVABLE = frozenset(
    {
        "empty.text", "empty.pair", "empty.answer", "empty.prompt", "duplicate.exact",
        "duplicate.near", "leakage.exact", "leakage.near", "leakage.prompt", "leakage.group",
        "label.unseen", "label.contradictory", "label.suspect", *LOOKED_AT,
    }
)  # fmt: skip
_SPELLING = "label.variants"
_TAG = re.compile(r"<br\s*/?>|</(?:p|div|li|tr|h[1-6])>", re.IGNORECASE)
_CODE_PAGE = {bytes([i]).decode("cp1252"): i for i in range(128, 256) if i not in
              (0x81, 0x8D, 0x8F, 0x90, 0x9D)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Change:
    """One row that was removed or rewritten.

    Attributes:
        finding: id of the finding that was fixed.
        part: where the row was.
        before: the row as it was.
        after: the row as it is now, or None when it was removed.
    """

    finding: str
    part: str
    before: Record
    after: Record | None = None

    def to_row(self) -> dict[str, Any]:
        """The change as a JSON-like row, for a file that keeps what was taken out."""
        row: dict[str, Any] = {
            "finding": self.finding,
            "part": self.part,
            "source": self.before.source,
            "row": self.before.row,
            "before": self.before.to_row(),
        }
        return row if self.after is None else row | {"after": self.after.to_row()}


@dataclass(frozen=True, slots=True)
class Cleaned:
    """Cleaned parts, and every change that was made, in order."""

    splits: Splits
    changes: tuple[Change, ...]


def clean(
    data: Splits | Dataset, fixes: Sequence[str] = SAFE, found: Sequence[Finding] = ()
) -> Cleaned:
    """Fix what an audit finds.

    Texts are rewritten first, because that can make two rows equal; then the rows are audited
    again and those that must go are removed.

    Args:
        data: parts, or one data set, which counts as training rows.
        fixes: ids of findings. Rewriting: encoding.damage, encoding.control, markup.html,
            personal.data, secret.key, label.variants, normalize.*. Removing rows: empty.*,
            duplicate.*, leakage.*, label.unseen, label.contradictory, label.suspect, content.*,
            language.mixed, outlier.*.
        found: what an audit of `data` found. The last three kinds are taken from there.

    Raises:
        DataError: an id has no fix, or its rows are not known, because only some were looked at.
    """
    require_known(fixes, _REMOVABLE | _REWRITES.keys() | {_SPELLING})
    told = [finding for finding in found if finding.id in {*LOOKED_AT} & {*fixes}]
    for finding in told:
        if not finding.places:
            raise DataError(
                f"{finding.id} was looked for in some of the rows only, so its rows cannot be "
                "taken out. Fix a part of the rows (FILE#100000)."
            )
    splits = as_splits(data)
    changes: list[Change] = []
    for name, rewrite in _REWRITES.items():
        if name in fixes:
            splits = _rewritten(splits, name, partial(_mapped, rewrite=rewrite), changes)
    if _SPELLING in fixes:
        splits = _rewritten(splits, _SPELLING, _spelling(splits), changes)
    wanted = [name for name in fixes if name in _REMOVABLE]
    # Fewer rows can make a chain of near copies short enough to be copies, so look again.
    before = -1
    while wanted and before != len(changes):
        before = len(changes)
        splits = _without(splits, wanted, changes, told)
        told = []  # rows have other places now
    return Cleaned(splits, tuple(changes))


def _rewritten(
    splits: Splits, name: str, rewrite: Callable[[Record], Record], changes: list[Change]
) -> Splits:
    parts = []
    for part, dataset in splits.items():
        records = []
        for record in dataset:
            after = rewrite(record)
            if after != record:
                changes.append(Change(name, part, record, after))
            records.append(after)
        parts.append(replace(dataset, records=tuple(records)))
    return Splits(*parts)


def _mapped(record: Record, rewrite: Callable[[str], str]) -> Record:
    if record.words:  # one by one, so that each keeps its tag
        words = tuple(rewrite(word) or word for word in record.words)
        return replace(record, text=" ".join(words), words=words)
    return replace(
        record,
        text=rewrite(record.text),
        text_pair=None if record.text_pair is None else rewrite(record.text_pair),
        negative=None if record.negative is None else rewrite(record.negative),
        answers=None if record.answers is None else _moved(record, rewrite),
        messages=tuple(replace(m, content=rewrite(m.content)) for m in record.messages),
    )


def _spelling(splits: Splits) -> Callable[[Record], Record]:
    """Gives labels of several spellings the one that most rows of all parts have."""
    rows = (record for _, part in splits.items() for record in part)
    known = spellings(Counter(label for record in rows for label in record.class_names))

    def spelled(record: Record) -> Record:
        if record.words or not known.keys() & {*record.class_names}:
            return record
        if isinstance(record.label, str):
            return replace(record, label=known[record.label])
        labels = (known.get(label, label) for label in record.class_names)
        return replace(record, label=tuple(dict.fromkeys(labels)))

    return spelled


def _moved(record: Record, rewrite: Callable[[str], str]) -> tuple[Answer, ...]:
    """The answers of a record, where they are when its text is rewritten.

    A letter stands for the answer, so that what is before it does not end in blanks.
    """
    context = record.text_pair or ""
    return tuple(
        Answer(rewrite(answer.text), len(rewrite(context[: answer.start] + "x")) - 1)
        if answer.start >= 0
        else Answer(rewrite(answer.text))
        for answer in record.answers or ()
    )


def _without(
    splits: Splits, wanted: Sequence[str], changes: list[Change], told: Sequence[Finding]
) -> Splits:
    reasons: dict[Place, str] = {}
    found = [*told, *check_empty(splits), *check_labels(splits), *check_tags(splits)]
    found += check_copies(splits)
    if "label.suspect" in wanted:
        found += check_suspects(splits, find_suspects(splits))
    for finding in sorted(
        found, key=lambda finding: wanted.index(finding.id) if finding.id in wanted else -1
    ):
        if finding.id in wanted:
            for place in finding.places:
                reasons.setdefault(place, finding.id)
    parts = []
    for part, dataset in splits.items():
        kept = []
        for index, record in enumerate(dataset):
            reason = reasons.get((part, index))
            if reason is None:
                kept.append(record)
            else:
                changes.append(Change(reason, part, record))
        parts.append(replace(dataset, records=tuple(kept)))
    return Splits(*parts)


def repair_encoding(text: str) -> str:
    """Undo UTF-8 that was read as Windows-1252, where that gives back whole characters.

    Runs of such characters are repaired one by one, so good text around them stays as it is.
    """
    if not MOJIBAKE.search(text):
        return text
    return _DAMAGED_RUN.sub(_repaired_run, text)


def _repaired_run(match: re.Match[str]) -> str:
    run = match.group()
    content = bytes(_CODE_PAGE.get(letter, ord(letter) & 0xFF) for letter in run)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return run


_HIGH = "".join(re.escape(c) for c in _CODE_PAGE) + "\u0080-\u009f"
_DAMAGED_RUN = re.compile(f"[\u00c2-\u00f4][{_HIGH}]{{1,3}}")


def strip_markup(text: str) -> str:
    """Text without HTML tags, with entities as characters. Breaks become line ends."""
    if not MARKUP.search(text):
        return text
    plain = MARKUP.sub(lambda m: m.group() if m.group()[0] == "&" else "", _TAG.sub("\n", text))
    return html.unescape(plain)


_REWRITES: dict[str, Callable[[str], str]] = {
    "encoding.damage": repair_encoding,
    "encoding.control": lambda text: CONTROL.sub("", text),
    "markup.html": strip_markup,
    "normalize.unicode": one_unicode_form,
    "normalize.spacing": one_spacing,
    "normalize.case": one_case,
    "personal.data": mask_personal,
    "secret.key": mask_personal,
}
"""In the order they are applied."""
