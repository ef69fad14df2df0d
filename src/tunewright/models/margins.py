"""How sure a classifier is of each row: the rows worth a person's time are those it is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tunewright.config.task import Task
from tunewright.data.records import Record
from tunewright.models.classifier import Classifier

if TYPE_CHECKING:
    from numpy.typing import NDArray


def margins(
    model: str,
    records: Sequence[Record],
    *,
    device: str = "auto",
    batch_size: int = 64,
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.float64]:
    """Probability of the likeliest label less that of the second, 0 to 1, for each row.

    The smallest margins are the rows that the model can tell least about (margin sampling:
    Scheffer, Decomain and Wrobel, "Active Hidden Markov Models", 2001). For several labels a row
    it is the smallest distance of a label's probability from 0.5, doubled.

    Args:
        model, device: as in `Classifier`.
        records, batch_size, progress: as in `Classifier.probabilities`.

    Returns:
        [n] margins.

    Raises:
        ModelError: there is no such model, or it gives no probabilities of labels.
    """
    classifier = Classifier(model, device)
    found = classifier.probabilities(records, batch_size, progress)
    if classifier.task is Task.MULTILABEL:
        nearest: NDArray[np.float64] = 2 * np.abs(found - 0.5).min(axis=1)
        return nearest
    ordered = np.sort(found, axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, -2])
