"""What a model costs to use: its size, memory, and how long one row takes.

This module knows models that answer. It does not know scores.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

from tunewright.config.task import Task
from tunewright.errors import ConfigError
from tunewright.evaluate.answers import Work, row_counter
from tunewright.evaluate.reworded import rows_of
from tunewright.models.catalogue import model_folder
from tunewright.models.generate import generate
from tunewright.models.inspect import inspect_model
from tunewright.models.load import Finished
from tunewright.models.memory import peak_memory

_PAIRS_AT_LEAST = 2
"""Rows of pairs for embeddings that are answered together: one alone has nothing to be found in."""


def measure_cost(finished: Finished, work: Work, latency: int = 0) -> dict[str, Any]:
    """Size and memory of a model, and how long rows take that come one by one.

    Args:
        finished: the model.
        work: the rows.
        latency: so many rows, evenly over all, are answered one by one, after one that warms up.
            Default: none.

    Returns:
        `parameters` (of the whole model, an adapter's base too), `weight_bytes` on disk,
        `peak_memory_bytes` (of the accelerator, or resident in this process), `device`, and
        `latency_ms` (`median`, `p95`, `rows`) or None.

    Raises:
        ConfigError: latency is asked of pairs for embeddings, which are answered together.
    """
    facts = finished.facts
    weights = facts.weight_bytes
    if facts.is_adapter and facts.base is not None:
        weights += inspect_model(model_folder(facts.base)).weight_bytes
    device = next(finished.model.parameters()).device.type
    return {
        "parameters": sum(p.numel() for p in finished.model.parameters()),
        "weight_bytes": weights,
        "peak_memory_bytes": peak_memory(device),
        "device": device,
        "latency_ms": _latency(finished, work, latency) if latency else None,
    }


def require_latency(task: Task) -> None:
    """Refuse rows that are not answered one by one.

    Raises:
        ConfigError: the rows are pairs for embeddings.
    """
    if task is Task.EMBEDDING:
        raise ConfigError(
            "--latency times rows that come one by one; pairs for embeddings are compared with "
            "all others. Leave it out."
        )


def _latency(finished: Finished, work: Work, wanted: int) -> dict[str, Any]:
    by_row = rows_of(work)
    every = list(by_row)
    rows = [every[i] for i in np.linspace(0, len(every) - 1, min(wanted, len(every))).astype(int)]
    step = row_counter(work.progress, "Rows one by one", len(rows))
    milliseconds = []
    for number, row in enumerate([rows[0], *rows]):
        one = replace(work, examples=by_row[row], batch_size=1, progress=None)
        began = time.perf_counter()
        _answer(finished, one)
        if number:
            milliseconds.append(1000 * (time.perf_counter() - began))
            if step is not None:
                step(1)
    return {
        "median": float(np.median(milliseconds)),
        "p95": float(np.quantile(milliseconds, 0.95)),
        "rows": len(rows),
    }


def _answer(finished: Finished, one: Work) -> None:
    """Answer the rows as a user would be answered: an assistant writes."""
    if one.dataset.task is not Task.INSTRUCTION:
        one.answers(finished, (), "")
        return
    generate(
        finished.model,
        finished.tokenizer,
        one.prompts(),
        one.renderer.stop_ids(),
        max_new_tokens=one.max_new_tokens,
        batch_size=1,
    )
