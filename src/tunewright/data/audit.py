"""Look at a data set and say everything in it that would spoil a model or its score.

Nothing is changed here. Each finding has a stable id; `docs/data.md` lists them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tunewright.data import checks, copies
from tunewright.data.finding import SEVERITIES, Finding, Severity
from tunewright.data.records import Dataset, Splits

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BINS = 24
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Audit:
    """What a data set looks like and what is wrong with it.

    Attributes:
        task: what the rows are for.
        rows: in all parts.
        splits: rows by part.
        labels: rows by label, all parts, most frequent first. Empty for tasks without classes.
        lengths: of the rows in `unit` (tokens, or characters without a tokenizer): `min`,
            `median`, `p95`, `max`, and a `histogram` with `edges` (n + 1) and `counts` (n).
        findings: the worst first.
    """

    task: str
    rows: int
    splits: Mapping[str, int]
    labels: Mapping[str, int]
    lengths: Mapping[str, Any]
    findings: Sequence[Finding] = field(default_factory=tuple)

    @property
    def worst(self) -> Severity | None:
        """The highest severity found, or None."""
        found = {finding.severity for finding in self.findings}
        return next((s for s in reversed(SEVERITIES) if s in found), None)

    def to_dict(self) -> dict[str, Any]:
        """The audit as `tunewright check --json` prints it."""
        return {
            "task": self.task,
            "rows": self.rows,
            "splits": dict(self.splits),
            "labels": dict(self.labels),
            "lengths": dict(self.lengths),
            "findings": [finding.to_dict() for finding in self.findings],
        }


def audit(
    data: Splits | Dataset,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    max_length: int | None = None,
    wrong_labels: bool = False,
) -> Audit:
    """Examine every row.

    Args:
        data: parts of a data set, or one data set, which counts as training rows.
        tokenizer: measure lengths in its tokens; otherwise in characters.
        max_length: longest row in tokens that the model will see; needs `tokenizer`.
        wrong_labels: also rank training labels that look wrong, by models trained on the words:
            seconds for ten thousand rows.
    """
    splits = as_splits(data)
    findings: list[Finding] = []
    for check in (*checks.CHECKS, *copies.CHECKS):
        findings += check(splits)
    sizes = _sizes(splits, tokenizer)
    if tokenizer is not None and max_length is not None:
        findings += checks.over_length(splits, sizes, max_length)
    if wrong_labels:
        findings += copies.check_suspect_labels(splits)
    order = {severity: rank for rank, severity in enumerate(reversed(SEVERITIES))}
    findings.sort(key=lambda f: (order[f.severity], -f.rows, f.id))
    counts = Counter(
        label for _, part in splits.items() for record in part for label in record.class_names
    )
    return Audit(
        task=splits.task.value,
        rows=sum(len(part) for _, part in splits.items()),
        splits={name: len(part) for name, part in splits.items()},
        labels=dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        lengths=_lengths(
            [size for part in sizes.values() for size in part],
            "tokens" if tokenizer is not None else "characters",
        ),
        findings=tuple(findings),
    )


def as_splits(data: Splits | Dataset) -> Splits:
    """One data set as parts, of which only train has rows."""
    if isinstance(data, Splits):
        return data
    empty = Dataset(data.task, (), data.name)
    return Splits(data, empty, empty)


def _sizes(splits: Splits, tokenizer: PreTrainedTokenizerBase | None) -> dict[str, list[int]]:
    """Length of each row, by part."""
    found: dict[str, list[int]] = {}
    for name, part in splits.items():
        if tokenizer is None:
            found[name] = [len(record.plain_text) for record in part]
            continue
        sizes: list[int] = []
        for first in range(0, len(part), _BATCH):
            records = part.records[first : first + _BATCH]
            paired = any(record.text_pair is not None for record in records)
            texts = [r.plain_text if r.messages or not paired else r.text for r in records]
            pairs = [record.text_pair or "" for record in records] if paired else None
            sizes += map(len, tokenizer(texts, pairs, verbose=False)["input_ids"])
        found[name] = sizes
    return found


def _lengths(sizes: Sequence[int], unit: str) -> dict[str, Any]:
    import numpy as np

    if not sizes:
        return {"unit": unit}
    values = np.asarray(sizes)
    step = max(1, -(-int(values.max()) // _BINS))
    counts, edges = np.histogram(values, bins=np.arange(0, values.max() + step + 1, step))
    return {
        "unit": unit,
        "min": int(values.min()),
        "median": int(np.median(values)),
        "p95": int(np.percentile(values, 95)),
        "max": int(values.max()),
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }
