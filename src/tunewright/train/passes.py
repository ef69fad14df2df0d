"""The passes of one step: gradients of a global batch, in the memory that there is.

Where memory runs out, in whichever process, all processes drop what they have of the step and take
it again in passes of half the size. The update stays that of the whole batch. This module does
not know what becomes of the gradients.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tunewright.config.recipe import FineTuningMethod
from tunewright.config.task import Task
from tunewright.data.collate import collate, micro_batches, pack
from tunewright.errors import TrainingError
from tunewright.train.contrast import contrastive_gradients
from tunewright.train.watch import Diagnosis

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import nn

    from tunewright.train.checkpoint import LoopState
    from tunewright.train.loop import Job

_BUCKET = 2**24
"""Values exchanged between processes at once."""


def is_memory_error(error: Exception) -> bool:
    """Whether an exception says that memory ran out, on a CPU or an accelerator."""
    import torch
    from accelerate.utils.memory import should_reduce_batch_size

    return isinstance(error, MemoryError | torch.OutOfMemoryError) or should_reduce_batch_size(
        error
    )


def memory_error(error: Exception) -> str | None:
    """What an exception says where memory ran out, in a line; None for any other one."""
    if not is_memory_error(error):
        return None
    return str(error).partition("\n")[0] or type(error).__name__


def step_gradients(
    job: Job, rows: Sequence[int], state: LoopState, seed: Callable[[], None]
) -> tuple[float, list[Diagnosis]]:
    """Sum the gradients of a step's mean loss over all its rows, on every device and in every pass.

    The mean is over all tokens (or rows) of the step, so one pass of eight rows gives the gradient
    that eight passes of one row give.

    Args:
        job: what is trained.
        rows: indices of the rows of the global batch.
        state: `halvings` is raised where memory runs out.
        seed: sets the random state of the step; called before each try.

    Returns:
        The mean loss of the step in nats, and what was done where memory ran out.

    Raises:
        TrainingError: memory is too short for a single row, or the recipe only proposes.
    """
    count = int(job.trained[list(rows)].sum())
    found: list[Diagnosis] = []
    while True:
        seed()
        total, error = _try_passes(job, rows, count, state.halvings)
        total, failures = _sums(job.accelerator, total, float(error is not None))
        if not failures:
            exchange_gradients(job.accelerator, job.forward.parameters())
            return total / count, found
        free_memory(job)
        found.append(shrink(job, state, rows, error))


def _try_passes(
    job: Job, rows: Sequence[int], count: int, halvings: int
) -> tuple[float, str | None]:
    """This process's part of the sum of losses, and the error where memory ran out."""
    try:
        return accumulate_gradients(job, rows, count, halvings), None
    except (MemoryError, RuntimeError) as error:
        if (said := memory_error(error)) is None:
            raise
        return 0.0, said


def pass_limits(job: Job, halvings: int) -> tuple[int, int | None]:
    """Rows and tokens of a pass at most, after so many halvings."""
    rows, tokens = job.recipe.per_device_train_batch_size, job.recipe.max_tokens_per_pass
    assert rows is not None
    return max(1, rows >> halvings), None if tokens is None else max(1, tokens >> halvings)


def accumulate_gradients(job: Job, rows: Sequence[int], count: int, halvings: int) -> float:
    """Run this process's passes and sum their gradients. Exchanges nothing with other processes.

    Args:
        job, rows: as in `step_gradients`.
        count: tokens (or rows) of the whole step, by which the loss is divided.
        halvings: of the size of a pass.

    Returns:
        The sum of the losses of these passes in nats.
    """
    accelerator = job.accelerator
    size, tokens = pass_limits(job, halvings)
    if job.task is Task.EMBEDDING or job.recipe.method is FineTuningMethod.SETFIT:
        return contrastive_gradients(job, rows, count, size, tokens)
    passes = micro_batches(
        rows,
        size,
        accelerator.process_index,
        accelerator.num_processes,
        lengths=job.lengths,
        max_tokens=tokens,
        packed=job.recipe.packing,
    )
    total = 0.0
    for micro in passes:
        # An empty pass still runs, with a weight of zero: all processes get the same gradients.
        chosen = micro or [rows[0]]
        weight = 1.0 if micro else 0.0
        began = time.monotonic()
        examples = [job.train[i] for i in chosen]
        made = pack(examples) if job.recipe.packing else collate(examples, job.pad_id)
        batch = {
            key: value.to(accelerator.device, non_blocking=True) for key, value in made.items()
        }
        job.data_seconds += time.monotonic() - began
        loss_sum, _ = job.forward(batch)
        accelerator.backward(loss_sum * (weight / count))
        total += weight * float(loss_sum.detach())
    return total


def _sums(accelerator: Accelerator, *values: float) -> list[float]:
    """Each value summed over all processes."""
    if accelerator.num_processes == 1:
        return list(values)
    import torch

    summed: Any = accelerator.reduce(torch.tensor(values, device=accelerator.device), "sum")
    return [float(value) for value in summed]


def any_process(accelerator: Accelerator, flag: bool) -> bool:
    """Whether any process says so: all must stop after the same step."""
    return bool(_sums(accelerator, float(flag))[0])


def exchange_gradients(accelerator: Accelerator, parameters: Iterable[nn.Parameter]) -> None:
    """Sum the gradients over all processes, in buckets of one dtype.

    That is done here and not by DistributedDataParallel in its passes, where a process whose
    memory ran out would leave the others waiting.
    """
    if accelerator.num_processes == 1:
        return
    import torch

    waiting: dict[torch.dtype, list[torch.Tensor]] = {}
    for parameter in parameters:
        if parameter.grad is None:
            continue
        bucket = waiting.setdefault(parameter.grad.dtype, [])
        bucket.append(parameter.grad)
        if sum(gradient.numel() for gradient in bucket) >= _BUCKET:
            _sum_bucket(accelerator, bucket)
            bucket.clear()
    for bucket in waiting.values():
        _sum_bucket(accelerator, bucket)


def _sum_bucket(accelerator: Accelerator, gradients: Sequence[Any]) -> None:
    import torch

    if not gradients:
        return
    summed: Any = accelerator.reduce(torch.cat([g.reshape(-1) for g in gradients]), "sum")
    pieces = torch.split(summed, [g.numel() for g in gradients])
    for gradient, piece in zip(gradients, pieces, strict=True):
        gradient.copy_(piece.view_as(gradient))


def free_memory(job: Job) -> None:
    """Drop what is left of a step that failed."""
    from accelerate.utils.memory import clear_device_cache

    job.optimizer.zero_grad()
    clear_device_cache(garbage_collection=True)


def shrink(
    job: Job, state: LoopState, rows: Sequence[int], error: str | None, part: str = "step"
) -> Diagnosis:
    """Halve the passes from here on, or stop where that is not possible or not wanted.

    Args:
        job, state, rows: as in `step_gradients`.
        error: what was said, or None where memory ran out in another process.
        part: of the run, to which the number of the step is added.

    Raises:
        TrainingError: passes have one row already, or the recipe only proposes.
    """
    recipe = job.recipe
    size, tokens = pass_limits(job, state.halvings)
    longest = int(job.lengths[list(rows)].max())
    found = error or "in another process"
    said = f"Memory ran out in {part} {state.step + 1} with {size} rows a pass ({found})."
    if size == 1:
        raise TrainingError(
            f"{said} A pass cannot be smaller than one row, and the longest of this step has "
            f"{longest:,} tokens. Shorten rows (max_length), or take gradient_checkpointing: true, "
            "method: lora, or a smaller base. Checkpoints from before are kept."
        )
    if recipe.reactions == "propose":
        raise TrainingError(
            f"{said} Set per_device_train_batch_size: {size // 2} and "
            f"gradient_accumulation_steps: {2 * recipe.gradient_accumulation_steps}, which is the "
            "same training, or reactions: act. Checkpoints from before are kept."
        )
    state.halvings += 1
    smaller, fewer = pass_limits(job, state.halvings)
    return Diagnosis(
        "memory_short",
        said,
        f"The step was taken again with at most {smaller} rows a pass, and so are all from here "
        "on; the update stays that of the whole batch.",
        {
            "rows_a_pass": size,
            "rows_a_pass_now": smaller,
            "max_tokens_per_pass": tokens,
            "max_tokens_per_pass_now": fewer,
            "longest_row_tokens": longest,
        },
    )
