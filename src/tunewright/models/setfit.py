"""Rows by pairs, and a logistic regression on what came out: SetFit (arXiv 2209.11055).

Legend for shape suffixes: B rows of a pass, N training rows, D size of a vector, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tunewright.data.example import Example
from tunewright.data.pair_texts import PairTexts
from tunewright.data.token_store import targets_of
from tunewright.errors import TrainingError
from tunewright.models.embed_texts import EmbeddingForward, embed_texts
from tunewright.models.pooling_layer import output_layer

_C = 10.0
"""Inverse strength of the penalty, as that of the baselines of frozen vectors."""


class SetFitForward(EmbeddingForward):
    """What a classifier's output layer sees of each row, and that layer fitted by regression.

    Args:
        model: a sequence classifier with a pooling layer (`models.pooling_layer`).
        temperature: of the loss of pairs.
        rows: [N] the training rows, whose target is the index of a class.
        pad_id: token to pad with.
        batch_size: rows in one pass where the output layer is fitted.
        class_weights: [C] what a row of each class weighs in the regression. Default: 1.
    """

    def __init__(
        self,
        model: Any,
        temperature: float,
        rows: Sequence[Example],
        *,
        pad_id: int = 0,
        batch_size: int = 64,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__(model, temperature)
        self._rows, self._pad_id, self._batch_size = rows, pad_id, batch_size
        self._class_weights = class_weights
        self._seen: list[Tensor] = []
        output_layer(model).register_forward_pre_hook(
            lambda layer, inputs: self._seen.append(inputs[0])
        )

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """What the output layer sees, in float32, [B x D]."""
        self._seen.clear()
        self.model(**batch)
        return self._seen.pop().float()

    def loss(self, vectors_BD: Tensor, rows: PairTexts) -> Tensor:
        """As of pairs with a score, by the cosines of the vectors: a pair of one label has 1, a
        pair of two has 0."""
        return super().loss(nn.functional.normalize(vectors_BD, dim=1), rows)

    def fit_head(self) -> None:
        """Make the output layer a logistic regression on the vectors of the training rows.

        It is fitted in float64 on vectors whose mean length is 1. With two classes the logits are
        plus and minus half of the one that the regression has.

        Raises:
            TrainingError: a vector is not finite.
        """
        from sklearn.linear_model import LogisticRegression

        texts = [example.input_ids for example in self._rows]
        found = embed_texts(self, texts, pad_id=self._pad_id, batch_size=self._batch_size)
        vectors_ND = found.double().numpy()
        if not np.isfinite(vectors_ND).all():
            raise TrainingError(
                "The vectors of the training rows are not finite: the encoder has diverged. Lower "
                "learning_rate, or raise temperature."
            )
        length = float(np.linalg.norm(vectors_ND, axis=1).mean()) or 1.0
        weights = dict(enumerate(self._class_weights)) if self._class_weights else None
        regression = LogisticRegression(
            C=_C, max_iter=1000, solver="newton-cg", class_weight=weights
        ).fit(vectors_ND / length, targets_of(self._rows).astype(np.int64))
        weight_CD, bias_C = regression.coef_ / length, regression.intercept_
        if len(weight_CD) == 1:
            weight_CD = np.concatenate([-weight_CD, weight_CD]) / 2
            bias_C = np.concatenate([-bias_C, bias_C]) / 2
        layer = output_layer(self.model)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight_CD))
            layer.bias.copy_(torch.from_numpy(bias_C))
