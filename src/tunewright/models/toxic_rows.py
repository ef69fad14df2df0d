"""Rows that a classifier of the user's calls toxic."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from tunewright.config.task import Task
from tunewright.data.finding import Finding, Places, row_findings
from tunewright.data.records import Splits
from tunewright.errors import ModelError, unknown_name
from tunewright.models.classifier import Classifier

_TOXIC = re.compile(r"toxic|offens|hate|insult|threat|obscen|abus|harass|hostil", re.IGNORECASE)
_NOT = re.compile(r"^(?:non|not|no|un)(?:[-_ ]|toxic|hate|offens)", re.IGNORECASE)
_SURE = 0.5


def toxic_labels(model: str, labels: Sequence[str], wanted: Sequence[str] = ()) -> list[str]:
    """The labels of a classifier that mean toxic text.

    Args:
        model: its name, for messages.
        labels: of the classifier.
        wanted: those that the user names. Default: those whose names say so.

    Raises:
        ModelError: a label is unknown, or none of them is named so.
    """
    for label in wanted:
        if label not in labels:
            raise ModelError(f"{model}: {unknown_name('label', label, labels)}")
    found = list(wanted) or [x for x in labels if _TOXIC.search(x) and not _NOT.match(x)]
    if not found:
        raise ModelError(
            f"{model} has the labels {', '.join(map(repr, labels))}, and none is named after toxic "
            "text. Say which ones mean it with --toxic-label."
        )
    return found


def toxic_rows(
    splits: Splits,
    model: str,
    wanted: Sequence[str] = (),
    *,
    device: str = "auto",
    progress: Callable[[int], None] | None = None,
) -> Iterator[Finding]:
    """Rows for which the toxic labels have a probability of 0.5 or more, the surest first.

    Args:
        splits: the rows.
        model: as in `Classifier`. Of one label a row, the probabilities of the toxic labels are
            summed; of several, the highest counts.
        wanted: labels that mean toxic. Default: see `toxic_labels`.
        device: `auto`, `cpu`, `cuda` or `mps`.
        progress: called with the number of rows done in each pass.
    """
    classifier = Classifier(model, device)
    toxic = toxic_labels(model, classifier.labels, wanted)
    rows = [(part, i, record) for part, data in splits.items() for i, record in enumerate(data)]
    found = classifier.probabilities([record for _, _, record in rows], progress=progress)
    chosen = found[:, [classifier.labels.index(label) for label in toxic]]
    scores = chosen.max(axis=1) if classifier.task is Task.MULTILABEL else chosen.sum(axis=1)
    ranked = [int(i) for i in (-scores).argsort(kind="stable") if scores[i] >= _SURE]
    yield from row_findings(
        "content.toxic",
        "info",
        splits,
        Places((rows[i][0], rows[i][1]) for i in ranked),
        f"{{rows}} {{are}} toxic to {model} ({', '.join(toxic)}).",
        "Look at them, the surest first: it errs too. Remove what the model is not to learn.",
    )
