"""One forward pass for every task: what training minimises and what evaluation reads.

Legend for shape suffixes: B rows, T tokens, D hidden size, V vocabulary, N counted tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tunewright.data.collate import IGNORED
from tunewright.models.head_loss import head_loss, token_losses
from tunewright.models.layers import trial_ids
from tunewright.models.packing import packed_inputs

_CHECK_TOLERANCE = 0.02
"""Largest relative difference allowed between the chunked loss and the model's own logits."""


class CausalForward(nn.Module):
    """Loss of a decoder on the tokens that count.

    The network below the head runs once; the head runs chunk by chunk (`head_loss`). Models
    whose head does more than a matrix product (soft-capping, scaling) are found by comparing
    both on a few tokens, and then use the model's own logits.
    """

    _adds_gradient = False

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        inner = whole_model(model)
        self._prompted = bool(getattr(model, "active_peft_config", None)) and bool(
            model.active_peft_config.is_prompt_learning
        )
        self._network = [inner.get_decoder()]  # in a list: not registered a second time
        self._head = [inner.get_output_embeddings()]
        self.chunked = self._head_is_plain()

    def sum_head_gradient(self) -> None:
        """From here on, sum the gradient of a head that is trained in its `grad`, in float32.

        A table of tokens that the head shares gives a sparse gradient, which joins that sum: over
        the passes of a step nothing of the table's size is made but the sum. Only for a loop that
        reads `grad`.
        """
        head = self._head[0]
        weight = head.weight if self.chunked else None
        if weight is None or not (weight.requires_grad and weight.is_leaf):
            return
        weight.grad_dtype = torch.float32
        for module in self.model.modules():
            if isinstance(module, nn.Embedding) and module.weight is weight:
                module.sparse = True
        self._adds_gradient = True

    @torch.no_grad()
    def _head_is_plain(self) -> bool:
        head = self._head[0]
        if not isinstance(head, nn.Linear) or head.bias is not None:
            return False
        training = self.model.training
        self.model.eval()
        hidden, logits = self._both_outputs(trial_ids(whole_model(self.model), 8)[None])
        ours = torch.log_softmax((hidden @ head.weight.T).float(), dim=-1)
        theirs = torch.log_softmax(logits.float(), dim=-1)
        self.model.train(training)
        return bool((ours - theirs).abs().max() <= _CHECK_TOLERANCE * theirs.abs().max())

    def _both_outputs(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """What the head is given for some tokens, and the logits the model makes of them."""
        hidden: Tensor = self._network[0](input_ids=ids, use_cache=False).last_hidden_state
        # The head is the same with virtual tokens before the input and without them.
        whole = self.model.get_base_model() if self._prompted else self.model
        return hidden, whole(input_ids=ids, use_cache=False).logits

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Sum of the losses in nats and the number of tokens they are of."""
        target_BT = self._targets(batch)
        counted = target_BT != IGNORED
        target_N = target_BT[counted]
        if not self.chunked:
            logits_NV = self._logits(batch)[counted].float()
            return nn.functional.cross_entropy(logits_NV, target_N, reduction="sum"), counted.sum()
        hidden_ND = self._hidden(batch)[counted]
        loss = head_loss(hidden_ND, self._head[0].weight, target_N, adds=self._adds_gradient)
        return loss, counted.sum()

    @torch.no_grad()
    def row_losses(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Per row: sum of the losses in nats [B] (float64), and tokens counted [B]."""
        target_BT = self._targets(batch)
        counted = target_BT != IGNORED
        rows_N = counted.nonzero()[:, 0]
        target_N = target_BT[counted]
        if self.chunked:
            hidden_ND = self._hidden(batch)[counted]
            losses_N = token_losses(hidden_ND, self._head[0].weight, target_N)
        else:
            logits_NV = self._logits(batch)[counted]
            losses_N = nn.functional.cross_entropy(logits_NV.float(), target_N, reduction="none")
        rows = target_BT.shape[0]
        sums_B = torch.zeros(rows, dtype=torch.float64, device=losses_N.device)
        sums_B.index_add_(0, rows_N, losses_N.double())
        return sums_B, counted.sum(1)

    def _targets(self, batch: dict[str, Tensor]) -> Tensor:
        """What each position must predict: the token after it. The last one predicts nothing."""
        return batch["labels"][:, 1:]

    def _logits(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits of the positions of `_targets`."""
        inputs = _inputs(batch) | packed_inputs(batch)
        logits: Tensor = self.model(**inputs, use_cache=self._prompted).logits
        return logits[:, -batch["input_ids"].shape[1] : -1]  # not those of virtual tokens

    def _hidden(self, batch: dict[str, Tensor]) -> Tensor:
        """What the head sees of the positions of `_targets`."""
        if self._prompted:
            return self._hidden_behind_virtual_tokens(batch)
        # Rows are padded on the right and attention looks left only: no token that counts can
        # see padding, and without a mask the faster attention kernels apply.
        hidden: Tensor = self._network[0](
            input_ids=batch["input_ids"], use_cache=False, **packed_inputs(batch)
        ).last_hidden_state
        return hidden[:, :-1]

    def _hidden_behind_virtual_tokens(self, batch: dict[str, Tensor]) -> Tensor:
        """PEFT's own forward pass puts the virtual tokens in place; the head sees one token."""
        seen: list[Tensor] = []
        hook = self._network[0].register_forward_hook(
            lambda network, inputs, output: seen.append(output.last_hidden_state)
        )
        try:
            self.model(**_inputs(batch), logits_to_keep=1)
        finally:
            hook.remove()
        return seen[0][:, -batch["input_ids"].shape[1] : -1]


class LabelForward(nn.Module):
    """Loss of a classification or regression head, one target a row.

    Args:
        model: with a sequence-classification head.
        problem: `single_label_classification`, `multi_label_classification` or `regression`.
        label_smoothing: share of the target spread over all classes.
        scale: standard deviation of the targets; regression errors are divided by it so that the
            learning rate does not depend on their unit.
        class_weights: what a row of each class weighs ([C], for one label a row), or what each
            label weighs where it is absent and where it is present ([2 x C], for several labels a
            row). Their mean over the training rows must be 1, because the loss is divided by the
            number of rows (`data.balance`). Default: everything weighs 1.
        focal_gamma: power of (1 - probability of the label) that the loss of labels is weighed
            with (arXiv 1708.02002, equation 4). Default: 0, plain cross-entropy.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        model: Any,
        problem: str,
        label_smoothing: float = 0.0,
        scale: float = 1.0,
        class_weights: Sequence[float] | Sequence[Sequence[float]] | None = None,
        focal_gamma: float = 0.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.focal_gamma = focal_gamma
        self.problem = problem
        self.label_smoothing = label_smoothing
        self.scale = scale
        # A buffer follows the model to its device; it is no part of what is saved.
        weights = None if class_weights is None else torch.tensor(class_weights)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Sum of the weighted losses over the rows and the number of rows."""
        logits = self.logits(batch)
        labels = batch["labels"]
        rows = torch.tensor(len(labels), device=logits.device)
        if self.problem == "regression":
            error = (logits[:, 0] - labels.to(logits.dtype)) / self.scale
            return (error**2).sum(), rows
        if self.problem == "multi_label_classification":
            truth = labels.to(logits.dtype)
            losses = nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
            losses = self._focal(losses)
            if self.class_weights is not None:
                absent, present = self.class_weights.to(logits.device)
                losses = losses * torch.where(truth > 0.5, present, absent)
            return losses.mean(dim=1).sum(), rows
        if self.class_weights is None and not self.focal_gamma:
            loss = nn.functional.cross_entropy(
                logits, labels, reduction="sum", label_smoothing=self.label_smoothing
            )
            return loss, rows
        # PyTorch's own `weight` would weigh the smoothed share of each class by that class.
        losses = nn.functional.cross_entropy(
            logits, labels, reduction="none", label_smoothing=self.label_smoothing
        )
        losses = self._focal(losses)
        if self.class_weights is not None:
            losses = losses * self.class_weights.to(logits.device)[labels]
        return losses.sum(), rows

    def _focal(self, losses: Tensor) -> Tensor:
        """Cross-entropies weighed by what is not known yet; their probability is exp(-loss)."""
        if not self.focal_gamma:
            return losses
        # Away from zero: the slope of a power below 1 is infinite there.
        return losses * (-torch.expm1(-losses)).clamp_min(1e-7) ** self.focal_gamma

    def logits(self, batch: dict[str, Tensor]) -> Tensor:
        """Outputs of the head in float32, [B x classes]."""
        output: Tensor = self.model(**_inputs(batch)).logits
        return output.float()


class TagForward(nn.Module):
    """Loss of a token-classification head on the first token of each tagged word.

    Args:
        model: with a token-classification head.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Sum of the losses in nats and the number of words they are of."""
        target_BT = batch["labels"]
        losses = nn.functional.cross_entropy(
            self.logits(batch).flatten(0, 1),
            target_BT.flatten(),
            reduction="sum",
            ignore_index=IGNORED,
        )
        return losses, (target_BT != IGNORED).sum()

    def logits(self, batch: dict[str, Tensor]) -> Tensor:
        """Outputs of the head in float32, [B x T x tags]."""
        output: Tensor = self.model(**_inputs(batch)).logits
        return output[:, -batch["input_ids"].shape[1] :].float()  # not those of virtual tokens


Forward = CausalForward | LabelForward | TagForward


def whole_model(model: Any) -> Any:
    """The transformers model, without an adapter around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _inputs(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in batch.items() if key != "labels"}
