"""A finished classifier of texts, asked for the probability of each label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tunewright.config.task import Task
from tunewright.data.records import Dataset, Record
from tunewright.errors import ModelError
from tunewright.models.forward import LabelForward
from tunewright.models.load import load_finished
from tunewright.models.predict import predict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Classifier:
    """A run, a model folder or a model of the hub that gives texts labels.

    Args:
        model: its folder or name; of task `classification`, where a row's probabilities sum to 1,
            or `multilabel`.
        device: `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        ModelError: there is no such model, or it gives no probabilities of labels.
    """

    def __init__(self, model: str, device: str = "auto") -> None:
        self._finished = load_finished(model, device=device)
        self.task = self._finished.settings.task
        self.labels = tuple(self._finished.settings.labels)
        if self.task not in (Task.CLASSIFICATION, Task.MULTILABEL):
            raise ModelError(
                f"{model} was trained for {self.task.value!r}, which has no probabilities of "
                "labels. Give a model of task 'classification' or 'multilabel'."
            )

    def probabilities(
        self,
        records: Sequence[Record],
        batch_size: int = 64,
        progress: Callable[[int], None] | None = None,
    ) -> NDArray[np.float64]:
        """Probability of each label for each row, [n x labels]; of a conversation, for all of it.

        Args:
            records: rows with or without labels. Those that are too long are cut.
            batch_size: rows in one pass.
            progress: called with the number of rows done in each pass.
        """
        texts = tuple(
            Record(record.plain_text if record.messages else record.text, record.text_pair)
            for record in records
        )
        model, tokenizer = self._finished.model, self._finished.tokenizer
        renderer = self._finished.settings.renderer(tokenizer)
        found = predict(
            LabelForward(model, model.config.problem_type or ""),
            renderer.render(Dataset(self.task, texts), "cut").examples,
            self.task,
            labels=self.labels,
            pad_id=int(tokenizer.pad_token_id),
            batch_size=batch_size,
            progress=progress,
        )
        assert found.probabilities is not None
        return found.probabilities
