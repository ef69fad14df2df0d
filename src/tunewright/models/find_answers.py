"""Answers of a model that points at them, over all windows of a text.

Legend for shape suffixes: B windows, T tokens, N tokens of the text in one window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tunewright.data.collate import collate, length_order
from tunewright.data.example import Example

_BEST = 20
"""Spans that the probability of the best one is told against."""
Floats = NDArray[np.float64]


class SpanForward(nn.Module):
    """Loss of a question-answering head: where an answer begins and where it ends.

    Args:
        model: with a question-answering head.
        longest: tokens of an answer at most, when one is looked for.
        may_be_none: whether a text may have no answer.
    """

    def __init__(self, model: Any, longest: int = 30, may_be_none: bool = False) -> None:
        super().__init__()
        self.model = model
        self.longest = longest
        self.may_be_none = may_be_none

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Sum over windows of the mean loss of begin and end in nats, and the number of windows."""
        losses_B = self.losses(self.logits(batch), batch["labels"])
        return losses_B.sum(), torch.tensor(len(losses_B), device=losses_B.device)

    def losses(self, logits_B2T: Tensor, labels_B2: Tensor) -> Tensor:
        """Mean cross-entropy of begin and end of each window, [B]."""
        flat = nn.functional.cross_entropy(
            logits_B2T.flatten(0, 1), labels_B2.flatten(), reduction="none"
        )
        return flat.view(-1, 2).mean(1)

    def logits(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits of begin and end in float32, [B x 2 x T]; padding has none."""
        inputs = {key: value for key, value in batch.items() if key != "labels"}
        output = self.model(**inputs)
        mask_BT = batch["attention_mask"]
        both = torch.stack([output.start_logits, output.end_logits], dim=1)
        both = both[:, :, -mask_BT.shape[1] :].float()  # not those of virtual tokens
        # Not part of the choice, or the loss of a row would depend on the rows beside it.
        return both.masked_fill(mask_BT[:, None] == 0, torch.finfo(torch.float32).min)


@dataclass(slots=True)
class FoundAnswers:
    """What a model answers to n rows, in the order of their first windows.

    Attributes:
        rows: [n] index of each record.
        texts: [n] the answer as it stands in the text; empty for none.
        starts: [n] character at which it begins; -1 for none.
        sureness: [n] probability of the answer among the 20 best of its row.
        loss: mean loss a window in nats.
    """

    rows: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    sureness: list[float] = field(default_factory=list)
    loss: float = 0.0


@dataclass(slots=True)
class _Row:
    """The best spans of a row so far: score, first character, one past the last; and of none."""

    context: str
    spans: list[tuple[float, int, int]] = field(default_factory=list)
    none: float = np.inf


@torch.inference_mode()
def find_answers(
    forward: SpanForward,
    examples: Sequence[Example],
    *,
    pad_id: int = 0,
    batch_size: int = 32,
    progress: Callable[[int], None] | None = None,
) -> FoundAnswers:
    """Look for the best answer of each row in all of its windows.

    A span scores the sum of the logits of its first and last token; it stands in the text, ends
    where it begins or behind that, and has at most `forward.longest` tokens. No answer scores the
    lowest sum at the first token that a window of the row has (arXiv 1810.04805, section 4.3).

    Args:
        forward: the model in its forward pass; left in the mode it was in.
        examples: windows.
        pad_id: token to pad with.
        batch_size: windows in one pass.
        progress: called with the number of windows done so far in each pass.
    """
    device = next(forward.parameters()).device
    training = forward.training
    forward.eval()
    windows = [(example, example.window) for example in examples]
    rows = {
        example.row: _Row(window.record.text_pair or "")
        for example, window in windows
        if window is not None
    }
    total = 0.0
    for chosen in length_order([len(e) for e in examples], batch_size):
        some = [examples[i] for i in chosen]
        batch = {key: value.to(device) for key, value in collate(some, pad_id).items()}
        logits_B2T = forward.logits(batch)
        total += float(forward.losses(logits_B2T, batch["labels"]).cpu().double().sum())
        for example, logits_2T in zip(some, logits_B2T.cpu().double().numpy(), strict=True):
            window, row = example.window, rows[example.row]
            assert window is not None
            row.none = min(row.none, float(logits_2T[:, 0].sum()))
            inside = slice(window.first, window.first + len(window.places))
            for score, first, last in best_spans(
                logits_2T[0, inside], logits_2T[1, inside], forward.longest
            ):
                span = (score, int(window.places[first, 0]), int(window.places[last, 1]))
                row.spans.append(span)
        if progress is not None:
            progress(len(chosen))
    forward.train(training)
    found = FoundAnswers(list(rows), loss=total / max(1, len(examples)))
    for row in rows.values():
        text, start, sure = _choose(row, forward.may_be_none)
        found.texts.append(text)
        found.starts.append(start)
        found.sureness.append(sure)
    return found


def best_spans(begin_N: Floats, end_N: Floats, longest: int) -> list[tuple[float, int, int]]:
    """The 20 best spans of a window: score, first token, last token; the best first.

    Args:
        begin_N, end_N: logits of the tokens of the text.
        longest: tokens of a span at most.
    """
    n = len(begin_N)
    if n == 0:
        return []
    widths = min(longest, n)
    scores = np.full((widths, n), -np.inf)
    for width in range(widths):
        scores[width, : n - width] = begin_N[: n - width] + end_N[width:]
    order = np.argsort(-scores, axis=None, kind="stable")[:_BEST]
    spans = [(int(first), int(first + width)) for width, first in zip(*np.divmod(order, n))]  # noqa: B905
    return [
        (float(scores.flat[place]), first, last)
        for place, (first, last) in zip(order, spans, strict=True)
        if np.isfinite(scores.flat[place])
    ]


def _choose(row: _Row, may_be_none: bool) -> tuple[str, int, float]:
    """The answer of a row, where it begins, and how sure it is."""
    best: dict[tuple[int, int], float] = {}
    for score, first, end in sorted(row.spans, reverse=True):
        best.setdefault((first, end), score)  # neighbouring windows have the same spans
    ranked = sorted(best.items(), key=lambda item: (-item[1], item[0]))[:_BEST]
    scores = np.array([score for _, score in ranked] + ([row.none] if may_be_none else []))
    if len(scores) == 0:
        return "", -1, 1.0
    weights = np.exp(scores - scores.max())
    sure = float(weights.max() / weights.sum())
    if not ranked or (may_be_none and row.none > ranked[0][1]):
        return "", -1, sure
    (first, end), _ = ranked[0]
    text = row.context[first:end]
    stripped = text.strip()
    return stripped, first + text.index(stripped), sure
