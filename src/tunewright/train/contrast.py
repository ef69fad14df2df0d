"""Gradients of a loss that sets all rows of a step against each other, in the memory that there is.

The loss needs the vectors of all texts at once, the passes through the network do not: vectors are
made pass by pass without gradients, the loss gives the gradient of each vector, and the passes run
again to carry it on (GradCache, arXiv 2101.06983). The update is that of the whole batch, however
small the passes, on however many devices. A step that fits into one pass takes one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tunewright.data.collate import micro_batches
from tunewright.data.pair_texts import PairTexts, pair_texts

if TYPE_CHECKING:
    from torch import Tensor

    from tunewright.models.embed_texts import EmbeddingForward
    from tunewright.train.loop import Job


def contrastive_gradients(
    job: Job, rows: Sequence[int], count: int, size: int, max_tokens: int | None
) -> float:
    """Run this process's passes over the texts of a step, and sum their gradients.

    Args:
        job: what is trained.
        rows: indices of the rows of the global batch.
        count: rows that the loss is divided by.
        size: rows of a pass at most; a row has two texts, or three with a negative.
        max_tokens: tokens of a pass at most, padding included.

    Returns:
        The sum of the losses in nats in the main process, 0 in the others.

    Raises:
        MemoryError: memory ran out in another process while vectors were made.
    """
    import torch

    accelerator, forward = job.accelerator, job.forward
    began = time.monotonic()
    examples = [job.train[i] for i in rows]
    pairs = pair_texts(examples)
    lengths = [len(ids) for ids in pairs.texts]
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    most = max(1 + len(example.others or ()) for example in examples)
    passes = micro_batches(
        order,
        size * most,
        accelerator.process_index,
        accelerator.num_processes,
        lengths=lengths,
        max_tokens=max_tokens,
    )
    job.data_seconds += time.monotonic() - began
    main = 1.0 if accelerator.is_main_process else 0.0
    if accelerator.num_processes == 1 and len(passes) == 1:
        loss = _loss(job, _embed(job, pairs, passes[0]), passes[0], pairs)
        accelerator.backward(loss / count)
        return float(loss.detach())
    # Dropout must hit the same activations in both passes over a text.
    seeds = torch.randint(2**31, (len(passes),)).tolist()
    with torch.no_grad():
        vectors = _all_vectors(job, pairs, passes, seeds)
    vectors.requires_grad_()
    loss = forward.loss(vectors, pairs)  # type: ignore[operator]
    (gradient,) = torch.autograd.grad(loss / count, vectors)
    for seed, chosen in zip(seeds, passes, strict=True):
        # An empty pass still runs, with a weight of zero: all processes get the same gradients.
        texts = chosen or [0]
        torch.manual_seed(seed)
        made = _embed(job, pairs, texts)
        accelerator.backward((made * gradient[texts]).sum() * (1.0 if chosen else 0.0))
    return main * float(loss.detach())


def _embed(job: Job, pairs: PairTexts, chosen: Sequence[int]) -> Tensor:
    from tunewright.models.embed_texts import text_batch

    began = time.monotonic()
    batch = text_batch([pairs.texts[i] for i in chosen], job.pad_id, job.accelerator.device)
    job.data_seconds += time.monotonic() - began
    found: Any = job.forward(batch)
    vectors: Tensor = found
    return vectors


def _loss(job: Job, made: Tensor, chosen: Sequence[int], pairs: PairTexts) -> Tensor:
    """The loss of vectors that are in the order of a pass."""
    import torch

    place = torch.empty(len(chosen), dtype=torch.long)
    place[torch.tensor(chosen)] = torch.arange(len(chosen))
    forward: EmbeddingForward = job.forward  # type: ignore[assignment]
    return forward.loss(made[place.to(made.device)], pairs)


def _all_vectors(
    job: Job, pairs: PairTexts, passes: Sequence[Sequence[int]], seeds: Sequence[int]
) -> Tensor:
    """The vectors of all texts; each process makes those of its passes."""
    import torch

    from tunewright.train.passes import any_process, is_memory_error

    accelerator = job.accelerator
    found: list[tuple[list[int], Tensor]] = []
    failed: Exception | None = None
    try:
        for seed, chosen in zip(seeds, passes, strict=True):
            torch.manual_seed(seed)
            made = _embed(job, pairs, chosen or [0])
            found.append((list(chosen), made[: len(chosen)]))
    except (MemoryError, RuntimeError) as error:
        if not is_memory_error(error):
            raise
        failed = error
    # None may wait for vectors that another has no memory for.
    if any_process(accelerator, failed is not None):
        raise failed or MemoryError("in another process")
    width = found[0][1].shape[1]
    vectors = torch.zeros(len(pairs.texts), width, device=accelerator.device)
    for chosen, made in found:
        vectors[torch.tensor(chosen, device=made.device, dtype=torch.long)] = made
    if accelerator.num_processes == 1:
        return vectors
    summed: Any = accelerator.reduce(vectors, "sum")
    return torch.as_tensor(summed)
