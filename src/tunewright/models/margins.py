"""How sure a classifier is of each row: the rows worth a person's time are those it is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tunewright.config.task import Task
from tunewright.data.records import Dataset, Record
from tunewright.errors import ModelError
from tunewright.models.forward import LabelForward
from tunewright.models.load import load_finished
from tunewright.models.predict import predict

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
        model: a finished run or a model folder, for classification or multilabel.
        records: rows with or without labels.
        device: `auto`, `cpu`, `cuda` or `mps`.
        batch_size: rows in one pass.
        progress: called with the number of rows done in each pass.

    Returns:
        [n] margins.

    Raises:
        ModelError: there is no such model, or it gives no probabilities of labels.
    """
    finished = load_finished(model, device=device)
    task = finished.settings.task
    if task not in (Task.CLASSIFICATION, Task.MULTILABEL):
        raise ModelError(
            f"{model} was trained for {task.value!r}, which has no probabilities of labels to be "
            "unsure about. Give a model of task 'classification' or 'multilabel'."
        )
    texts = [
        Record(record.plain_text if record.messages else record.text, record.text_pair)
        for record in records
    ]
    settings = finished.settings
    renderer = settings.renderer(finished.tokenizer)
    examples = renderer.render(Dataset(task, tuple(texts)), "cut").examples
    found = predict(
        LabelForward(finished.model, finished.model.config.problem_type or ""),
        examples,
        task,
        labels=settings.labels,
        pad_id=int(finished.tokenizer.pad_token_id),
        batch_size=batch_size,
        progress=progress,
    )
    assert found.probabilities is not None
    if task is Task.MULTILABEL:
        nearest: NDArray[np.float64] = 2 * np.abs(found.probabilities - 0.5).min(axis=1)
        return nearest
    ordered = np.sort(found.probabilities, axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, -2])
