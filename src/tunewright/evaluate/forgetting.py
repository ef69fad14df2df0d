"""What tuning cost: a fixed probe answered before and after, with paired tests and a verdict.

Three probes: minimal pairs (is the right sentence more likely than the wrong one?), perplexity of
general text, and instructions whose answers a program can check. This module knows models that
answer. It does not know training.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tunewright.config.task import Task
from tunewright.data.example import Example
from tunewright.data.records import Message, Record
from tunewright.data.render import Renderer
from tunewright.errors import ConfigError
from tunewright.evaluate.answers import Progress, row_counter
from tunewright.evaluate.before_after import (
    Probe,
    overall_status,
    sentence,
    those,
    told_probes,
)
from tunewright.evaluate.probe_rows import Probes, follows
from tunewright.metrics import get_metric
from tunewright.models.forward import CausalForward
from tunewright.models.generate import generate
from tunewright.models.load import Finished, load_finished
from tunewright.models.predict import predict

GRAMMAR, TEXT, INSTRUCTIONS = "minimal pairs", "general text", "instructions"
_ANSWER_TOKENS = 48
"""Longest answer to an instruction; all that are asked for are shorter."""
_LONGEST = 1024
"""Tokens of a probe text that are read."""
_SHOWN = 10


@dataclass(slots=True)
class _Said:
    """What one model makes of the probes.

    Attributes:
        right: [pairs] whether the right sentence is more likely.
        losses: [texts] summed negative log-likelihood in nats.
        ids: [texts] tokens of each.
        answers: one an instruction; None where the tokenizer has no chat template to ask by.
    """

    right: list[bool]
    losses: Any
    ids: list[list[int]]
    answers: list[str] | None = None


def measure_forgetting(
    finished: Finished,
    model: str,
    probes: Probes,
    *,
    before: str = "",
    device: str = "auto",
    batch_size: int = 8,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Let the tuned model and what it was tuned from answer the same probes.

    Args:
        finished: the tuned model.
        model: its name, for messages.
        probes: from `load_probes`.
        before: the model it was tuned from. Default: what its folder says.
        device: `auto`, `cpu`, `cuda` or `mps`.
        batch_size: rows in one pass.
        progress: told how far the work is.

    Returns:
        `before`, `status` (`forgotten`, `none`, `improved`), `verdict` (sentences), `notes`, and
        `probes`: by name what `told_probes` says, and the rows `lost`.

    Raises:
        ConfigError: the model writes no text, or it is not known what it was tuned from.
    """
    require_tuned_text(finished, model, before)
    task, before = finished.settings.task, before or finished.settings.base
    after_said = _ask(finished, probes, batch_size, progress, "after")
    base = load_finished(before, task, device=device, dtype=finished.model.dtype)
    before_said = _ask(base, probes, batch_size, progress, "before")
    notes = []
    found = [_grammar(probes, before_said, after_said), _text(probes, before_said, after_said)]
    if before_said.answers is None or after_said.answers is None:
        notes.append("Instructions were not asked: the tokenizer has no chat template.")
    else:
        found.append(_instructions(probes, before_said.answers, after_said.answers))
    told = told_probes(found)
    told[GRAMMAR]["lost"] = [
        {"good": pair.good, "bad": pair.bad, "phenomenon": pair.phenomenon}
        for pair, b, a in zip(probes.pairs, before_said.right, after_said.right, strict=True)
        if b and not a
    ][:_SHOWN]
    told[GRAMMAR]["phenomena"] = _phenomena(probes, before_said.right, after_said.right)
    if INSTRUCTIONS in told:
        told[INSTRUCTIONS]["lost"] = _lost_instructions(probes, before_said, after_said)
    return {
        "before": before,
        "status": overall_status(told),
        "verdict": [_headline(told), *(sentence(name, probe) for name, probe in told.items())],
        "notes": notes,
        "probes": told,
    }


def require_tuned_text(finished: Finished, model: str, before: str = "") -> None:
    """Refuse a model of which forgetting cannot be measured.

    Raises:
        ConfigError: the model writes no text, or it is not known what it was tuned from.
    """
    task = finished.settings.task
    if not task.is_generative:
        raise ConfigError(
            f"{model} answers with labels or numbers (task {task.value!r}); forgetting is measured "
            "of models that write text."
        )
    before = before or finished.settings.base
    if not before or before == model:
        raise ConfigError(
            f"{model} does not say what it was tuned from, so there is nothing to forget. "
            "Give a finished run."
        )


def _ask(
    finished: Finished, probes: Probes, batch_size: int, progress: Progress | None, when: str
) -> _Said:
    tokenizer = finished.tokenizer
    sentences = [text for pair in probes.pairs for text in (pair.good, pair.bad)]
    losses, ids = text_losses(
        finished,
        [*sentences, *probes.texts],
        batch_size,
        row_counter(progress, f"Probe {when} tuning", len(sentences) + len(probes.texts)),
    )
    n = len(sentences)
    right = [bool(good < bad) for good, bad in losses[:n].reshape(-1, 2)]
    said = _Said(right, losses[n:], ids[n:])
    if getattr(tokenizer, "chat_template", None):
        longest = min(_LONGEST, finished.facts.max_length)
        renderer = Renderer(tokenizer, Task.INSTRUCTION, longest, "chat")
        asked = [
            renderer.prompt(
                Record(messages=(Message("user", row.prompt), Message("assistant", "", True)))
            )[0]
            for row in probes.instructions
        ]
        said.answers = generate(
            finished.model,
            tokenizer,
            asked,
            renderer.stop_ids(),
            max_new_tokens=_ANSWER_TOKENS,
            batch_size=batch_size,
            progress=row_counter(progress, f"Instructions {when} tuning", len(asked)),
        )
    return said


def text_losses(
    finished: Finished,
    texts: Sequence[str],
    batch_size: int = 8,
    progress: Callable[[int], None] | None = None,
) -> tuple[Any, list[list[int]]]:
    """How unlikely a model finds texts: the sums over their tokens, in nats.

    Before a text stands the token that begins one, as in lm-evaluation-harness.

    Returns:
        [n] negative log-likelihoods, and the tokens that they are of: 1,023 of a text at most.
    """
    tokenizer = finished.tokenizer
    longest = min(_LONGEST, finished.facts.max_length)
    renderer = Renderer(tokenizer, Task.INSTRUCTION, longest)
    ids = [renderer.literal_ids(text)[: longest - 1] for text in texts]
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    found = predict(
        CausalForward(finished.model),
        [Example([first, *row], i, [False] + [True] * len(row)) for i, row in enumerate(ids)],
        finished.settings.task,
        pad_id=int(tokenizer.pad_token_id),
        batch_size=batch_size,
        progress=progress,
    )
    return found.losses, ids


_RIGHT, _WRONG = "right", "wrong"


def _marks(right: Sequence[bool]) -> list[str]:
    return [_RIGHT if one else _WRONG for one in right]


def _grammar(probes: Probes, before: _Said, after: _Said) -> Probe:
    return Probe(
        GRAMMAR,
        get_metric("accuracy"),
        [_RIGHT] * len(probes.pairs),
        _marks(after.right),
        _marks(before.right),
        probes.pairs_source,
    )


def _text(probes: Probes, before: _Said, after: _Said) -> Probe:
    """Perplexity where both read the same tokens, or else bits a byte."""
    if before.ids == after.ids:
        metric, sizes = "perplexity", np.array([len(ids) for ids in before.ids])
    else:
        metric, sizes = "bits_per_byte", np.array([len(t.encode()) for t in probes.texts])
    return Probe(TEXT, get_metric(metric), sizes, after.losses, before.losses, probes.texts_source)


def _followed(probes: Probes, answers: Sequence[str]) -> list[bool]:
    pairs = zip(answers, probes.instructions, strict=True)
    return [follows(answer, row.checks) for answer, row in pairs]


def _instructions(probes: Probes, before: Sequence[str], after: Sequence[str]) -> Probe:
    return Probe(
        INSTRUCTIONS,
        get_metric("accuracy"),
        [_RIGHT] * len(probes.instructions),
        _marks(_followed(probes, after)),
        _marks(_followed(probes, before)),
        "tunewright",
    )


def _phenomena(
    probes: Probes, before: Sequence[bool], after: Sequence[bool]
) -> dict[str, dict[str, Any]]:
    """Share of pairs that are right before and after, by what they differ in."""
    rows: dict[str, list[int]] = defaultdict(list)
    for i, pair in enumerate(probes.pairs):
        rows[pair.phenomenon].append(i)
    return {
        name: {
            "n": len(chosen),
            "before": sum(before[i] for i in chosen) / len(chosen),
            "after": sum(after[i] for i in chosen) / len(chosen),
        }
        for name, chosen in rows.items()
        if name
    }


def _lost_instructions(probes: Probes, before: _Said, after: _Said) -> list[dict[str, str]]:
    assert before.answers is not None and after.answers is not None
    was, now = (_followed(probes, said) for said in (before.answers, after.answers))
    return [
        {"prompt": row.prompt, "before": before.answers[i], "after": after.answers[i]}
        for i, row in enumerate(probes.instructions)
        if was[i] and not now[i]
    ][:_SHOWN]


def _headline(told: dict[str, dict[str, Any]]) -> str:
    if forgotten := those(told, "forgotten"):
        return f"Tuning made the model forget: it is worse at {forgotten} than before."
    return "No detectable forgetting."
