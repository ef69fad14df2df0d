"""Where the time of a training step goes, and how much of it the machine cannot give back.

Every operation of the profiled steps is counted, with its own time alone, in one part:

- `linear`: the linear layers, forward and backward;
- `attention`: the attention kernel, forward and backward;
- `head_and_loss`: the head, the loss and their gradients;
- `embedding`: looking tokens up, and the gradient of the table;
- `optimizer`: the gradient norm, clipping, the update;
- `data`: making batches;
- `other`: norms, activations, residuals, dropout, rotations, copies.

The bound of a part is what its work takes here at best, measured in the same process: for linear
layers and the head, their bare matrix products at the same shapes; for attention, its products at
the rate of a large square one; for the embedding and the optimizer, the bytes they must move
(AdamW reads a weight, its gradient and two moments and writes three of them: 28 bytes a weight in
float32) at the rate of a large copy. Data and other have none.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from sides import best_seconds

from tunewright.data.collate import epoch_order, micro_batches
from tunewright.models.first_token import first_token_layers
from tunewright.train.build import build_job
from tunewright.train.checkpoint import LoopState
from tunewright.train.loop import Job, seed_step
from tunewright.train.passes import pass_limits, step_gradients
from tunewright.train.prepare import Prepared

PARTS = ("linear", "attention", "head_and_loss", "embedding", "optimizer", "data", "other")
_OPTIMIZER = "part: optimizer"
_SQUARE = 1024 if not torch.cuda.is_available() else 8192
_ADAMW_BYTES = 28
_BY_NAME = (
    ("head_and_loss", ("_HeadLoss", "nll_loss", "log_softmax", "LogSoftmax", "cross_entropy")),
    ("optimizer", (_OPTIMIZER, "Optimizer.step")),
    ("attention", ("CausalBlocks", "scaled_dot_product", "ScaledDotProduct", "flash_attention",
                   "aten::bmm", "BmmBackward", "aten::softmax", "aten::_softmax",
                   "SoftmaxBackward")),
    ("embedding", ("embedding", "Embedding")),
    ("linear", ("aten::mm", "aten::addmm", "aten::linear", "AddmmBackward", "MmBackward",
                "_LoraProduct", "aten::matmul")),
)  # fmt: skip
"""A part, and what its operations or their callers have in their names. The first match counts."""


def measured_parts(prepared: Prepared, steps: int) -> dict[str, Any]:
    """Profile our steps.

    Returns:
        `step_seconds`, of the profiled steps on average, the profiler's own work included; and
        `parts`, part to its seconds a step and its bound.
    """
    job = build_job(prepared, Path(prepared.recipe.output_dir))
    job.forward.train()
    order = epoch_order(job.lengths, job.global_batch, prepared.recipe.seed, 0)
    _step(job, order[0])  # warms up, and makes the optimizer's moments
    taken = [order[i % len(order)] for i in range(1, steps + 1)]
    data_before = job.data_seconds
    began = time.perf_counter()
    with torch.profiler.profile(activities=_activities()) as profile:
        for rows in taken:
            _step(job, rows)
    seconds = time.perf_counter() - began
    found: Counter[str] = Counter()
    for event in profile.events():
        if event.device_type != torch.autograd.DeviceType.CPU:
            continue  # a kernel, whose time the operation that launched it has too
        on_device = torch.cuda.is_available()
        own = event.self_device_time_total if on_device else event.self_cpu_time_total
        found[_part(event)] += own / 1e6
    found["data"] = job.data_seconds - data_before
    bounds = _bounds(job, taken)
    return {
        "step_seconds": seconds / steps,
        "parts": {
            part: {
                "seconds": found[part] / steps,
                "bound": bounds[part] / steps if part in bounds else None,
            }
            for part in PARTS
        },
    }


def _activities() -> list[Any]:
    kinds = torch.profiler.ProfilerActivity
    return [kinds.CPU] + ([kinds.CUDA] if torch.cuda.is_available() else [])


def _step(job: Job, rows: Sequence[int]) -> None:
    step_gradients(job, rows, LoopState(), lambda: seed_step(0, 0))
    with torch.profiler.record_function(_OPTIMIZER):
        norm = job.optimizer.gather_gradients()
        job.optimizer.step(norm, job.recipe.max_grad_norm)
        job.optimizer.zero_grad()


def _part(event: Any) -> str:
    """The part of an operation: the first whose names it or one of its callers has."""
    names = []
    while event is not None:
        names.append(event.name)
        event = event.cpu_parent
    for part, marks in _BY_NAME:
        if any(mark in name for name in names for mark in marks):
            return part
    return "other"


def _bounds(job: Job, taken: Sequence[Sequence[int]]) -> dict[str, float]:
    """Seconds that the steps' work takes at best, by part."""
    model = job.forward.model
    config = model.config
    device, dtype = job.accelerator.device, next(model.parameters()).dtype
    top = 2 * _SQUARE**3 / _product(_SQUARE, _SQUARE, _SQUARE, dtype, device)
    bandwidth = _copy_rate(device)
    head = model.get_output_embeddings() if job.task.is_generative else None
    short = first_token_layers(model)
    left = {id(m) for m in (head, *short)}
    layers = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and id(m) not in left]
    found: Counter[str] = Counter()
    for tokens, counted in pass_sizes(job, taken):
        found["linear"] += _products(layers, tokens, dtype, device)
        if short:  # with a label a row, rows are what counts
            found["linear"] += _products(short, counted, dtype, device)
        if head is not None and counted:
            found["head_and_loss"] += _products([head], counted, dtype, device)
    width = config.num_attention_heads * (
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )
    seen = 0.5 if job.task.is_generative else 1.0  # of all pairs of tokens
    pairs = sum(job.lengths[i] ** 2 for rows in taken for i in rows) * seen
    # Two products forward and four backward, where the weights are kept.
    found["attention"] = 6 * 2 * pairs * width * config.num_hidden_layers / top
    table = model.get_input_embeddings().weight
    tokens = sum(job.lengths[i] for rows in taken for i in rows)
    found["embedding"] = 2 * tokens * table.shape[1] * table.element_size() / bandwidth
    sparse = getattr(model.get_input_embeddings(), "sparse", False)
    if table.requires_grad and not sparse:  # its gradient is made as zeros, then summed into
        passes = len(pass_sizes(job, taken))
        found["embedding"] += passes * table.numel() * table.element_size() / bandwidth
    found["optimizer"] = len(taken) * job.optimizer.updated * _ADAMW_BYTES / bandwidth
    return dict(found)


def pass_sizes(job: Job, taken: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Tokens of each pass, with padding, and those that count in its loss."""
    size, most = pass_limits(job, 0)
    sizes = []
    for rows in taken:
        for chosen in micro_batches(
            rows, size, lengths=job.lengths, max_tokens=most, packed=job.recipe.packing
        ):
            lengths = [job.lengths[i] for i in chosen]
            tokens = sum(lengths) if job.recipe.packing else max(lengths) * len(lengths)
            sizes.append((tokens, sum(job.train[i].trained_tokens for i in chosen)))
    return sizes


def _products(
    layers: Sequence[torch.nn.Linear], tokens: int, dtype: torch.dtype, device: torch.device
) -> float:
    """Seconds of the bare products of linear layers: output, and gradients of input and weight."""
    seconds = 0.0
    for layer in layers:
        rows, columns = layer.weight.shape
        seconds += _product(tokens, columns, rows, dtype, device)
        seconds += _product(tokens, rows, columns, dtype, device)
        if layer.weight.requires_grad:
            seconds += _product(rows, tokens, columns, dtype, device)
    return seconds


@cache
def _product(m: int, k: int, n: int, dtype: torch.dtype, device: torch.device) -> float:
    """Seconds of a product of [m x k] and [k x n] at best."""
    a = torch.ones(m, k, dtype=dtype, device=device)
    b = torch.ones(k, n, dtype=dtype, device=device)
    return best_seconds(lambda: a @ b, 3)


def _copy_rate(device: torch.device) -> float:
    """Bytes a second that a copy of 256 MB reads and writes."""
    a = torch.ones(64 * 2**20, device=device)
    b = torch.empty_like(a)
    return 2 * a.numel() * 4 / best_seconds(lambda: b.copy_(a), 3)
