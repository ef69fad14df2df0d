"""Checks of labels: those that cannot be learned, cannot be predicted, or are unlike in number."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from tunewright.data.finding import Finding, Places, counted, listed, row_findings
from tunewright.data.records import Splits, Task
from tunewright.data.survey import Batch, found_by

FEWEST_OF_A_LABEL = 10
SKEWED = 10
"""Times the most frequent label outnumbers the rarest."""
_BETWEEN = re.compile(r"[\s_-]+")


def check_labels(splits: Splits) -> list[Finding]:
    """Labels that cannot be learned or predicted."""
    return found_by(Labels(splits.task), splits)


class Labels:
    """Labels that cannot be learned or predicted.

    Args:
        task: of the rows.
    """

    def __init__(self, task: Task) -> None:
        self._named = task in (Task.CLASSIFICATION, Task.MULTILABEL)
        self._numbered = task in (Task.REGRESSION, Task.EMBEDDING)
        self._counts: Counter[str] = Counter()
        self._rows: dict[str, list[int]] = {}  # of labels that are rare so far
        self._trained = False
        self._unseen = Places()
        self._unseen_names: Counter[str] = Counter()
        self._number: float | None = None
        self._numbers = 0
        self._same_number = True

    def see(self, batch: Batch) -> None:
        """Count the labels of training rows, and compare those of the others with them."""
        if batch.part != "train":
            if self._named and self._trained:
                self._compare(batch)
        elif self._named:
            self._trained = True
            self._count(batch)
        elif self._numbered:
            values = [r.label for r in batch.records if isinstance(r.label, float)]
            self._numbers += len(values)
            if self._number is None and values:
                self._number = values[0]
            self._same_number = self._same_number and set(values) <= {self._number}

    def _count(self, batch: Batch) -> None:
        for index, record in enumerate(batch.records, start=batch.start):
            for label in record.class_names:
                self._counts[label] += 1
                if self._counts[label] < FEWEST_OF_A_LABEL:
                    self._rows.setdefault(label, []).append(index)
                else:
                    self._rows.pop(label, None)

    def _compare(self, batch: Batch) -> None:
        known = self._counts.keys()
        for index, record in enumerate(batch.records, start=batch.start):
            if not known >= {*record.class_names}:
                self._unseen.add(batch.part, index)
                self._unseen_names.update({*record.class_names} - known)

    def findings(self, splits: Splits) -> Iterator[Finding]:
        """What was found, when every row was seen."""
        if self._numbers > 1 and self._same_number:
            yield Finding(
                "label.single",
                "error",
                self._numbers,
                f"All training rows have the number {self._number:g}.",
                "There is nothing to learn from a constant. Check the label column.",
            )
        if not self._named or not len(splits.train):
            return
        counts = self._counts
        if splits.task is Task.CLASSIFICATION and len(counts) == 1:
            yield Finding(
                "label.single",
                "error",
                len(splits.train),
                f"All training rows have the label {listed(list(counts))}.",
                "Classification needs at least two labels. Check the label column.",
            )
        yield from row_findings(
            "label.unseen",
            "error",
            splits,
            self._unseen,
            "{rows} held out {have} labels that train lacks: "
            f"{listed(sorted(self._unseen_names))}. No model could predict them.",
            "Add such rows to train, correct the labels, or leave those rows out.",
        )
        rare = sorted(self._rows, key=lambda label: (counts[label], label))
        rows = sorted({row for label in rare for row in self._rows[label]})
        yield from row_findings(
            "label.rare",
            "warning",
            splits,
            Places(("train", row) for row in rows),
            f"{counted(len(rare), 'label has', 'labels have')} fewer than {FEWEST_OF_A_LABEL} "
            f"training rows: {listed(rare)}, in {{rows}}.",
            "Collect more rows of them, or merge them with a similar label.",
        )
        yield from _unlike_in_number(counts)
        yield from _spelled_otherwise(counts + self._unseen_names)


def spellings(counts: Mapping[str, int]) -> dict[str, str]:
    """Labels that differ from a more frequent one in case, or in what parts their words, only.

    Args:
        counts: of the labels.

    Returns:
        The more frequent one, by the other.
    """
    alike: dict[str, list[str]] = {}
    for label in sorted(counts, key=lambda label: (-counts[label], label)):
        alike.setdefault(_BETWEEN.sub(" ", label.casefold()), []).append(label)
    return {other: first for first, *others in alike.values() for other in others}


def _spelled_otherwise(counts: Counter[str]) -> Iterator[Finding]:
    if others := spellings(counts):
        shown = [f"{other!r} and {first!r}" for other, first in others.items()]
        more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
        yield Finding(
            "label.variants",
            "warning",
            sum(counts[other] for other in others),
            f"{counted(len(others), 'label is', 'labels are')} spelled like another but for case, "
            f"spaces, hyphens or underscores: {', '.join(shown[:3])}{more}. They would be learned "
            "as different.",
            "Write them alike where they mean the same.",
        )


def skewed_ends(counts: Counter[str]) -> tuple[tuple[str, int], tuple[str, int]] | None:
    """The most frequent name and the rarest with their numbers, where they are far apart."""
    if len(counts) < 2:
        return None
    ordered = counts.most_common()
    most, least = ordered[0], ordered[-1]
    return (most, least) if most[1] >= SKEWED * least[1] else None


def _unlike_in_number(counts: Counter[str]) -> Iterator[Finding]:
    if ends := skewed_ends(counts):
        most, least = ends
        yield Finding(
            "balance.skewed",
            "warning",
            least[1],
            f"The label {most[0]!r} has {counted(most[1], 'training row')}, {least[0]!r} has "
            f"{least[1]:,}: {most[1] / least[1]:.0f} times fewer.",
            "Judge by macro-F1, not by accuracy; collect more rows of the rare labels, or let each "
            "label count alike with data.balance: weights.",
        )
