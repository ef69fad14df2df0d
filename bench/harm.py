"""Ways to do harm to a run: memory, gradients, files, and the disk that it writes to.

What happens inside of a run is done to it in a child of the bench, before its command begins.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forked import Plan, at_changes
from stress_cases import RUN


def quick_learner(base: Path) -> Path:
    """A copy of an encoder whose layers pass on what they get, so that it learns in few steps."""
    from safetensors.torch import load_file, save_file

    copy = base.with_name("encoder-quick")
    shutil.copytree(base, copy)
    tensors = load_file(copy / "model.safetensors")
    for name, tensor in tensors.items():
        if tensor.ndim == 2 and "embeddings" not in name:
            tensor *= 8  # from 0.02 to what keeps a width of 32 at its size
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


def _flip(file: Path, noise: random.Random) -> None:
    content = bytearray(file.read_bytes())
    content[noise.randrange(len(content))] ^= 1 << noise.randrange(8)
    file.write_bytes(content)


DAMAGE: dict[str, Callable[[Path, random.Random], None]] = {
    "a bit of": _flip,
    "the end of": lambda file, noise: os.truncate(file, noise.randrange(file.stat().st_size)),
    "all of": lambda file, noise: file.unlink(),
    "zeros in": lambda file, noise: file.write_bytes(bytes(file.stat().st_size)) and None,
}
"""What happens to a file."""


def short_of_memory(part: str, calls: set[int], kind: int) -> Plan:
    """In a child: memory runs out in these calls of a part of the step."""
    import torch

    error = (
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        MemoryError(),
    )[kind]
    seen = 0

    def count(*_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen in calls:
            raise error

    def plant(job: Any) -> None:
        if part in ("forward", "score"):
            job.forward.model.register_forward_pre_hook(  # scores ask it without the forward
                lambda module, _: count() if module.training == (part == "forward") else None
            )
        elif part == "backward":
            job.optimizer.parameters[0].register_hook(count)
        elif part == "gather":
            whole = job.optimizer.gather_gradients
            job.optimizer.gather_gradients = lambda: (count(), whole())[1]
        else:
            update = job.optimizer.inner.step

            def half() -> Any:
                with torch.no_grad():  # some weights are changed, others are not
                    for master in job.optimizer.masters[::2] if seen + 1 in calls else ():
                        master.add_(1.0)
                count()
                return update()

            job.optimizer.inner.step = half

    return in_job(plant)


def spiking(step: int, norm: float = 10_000.0) -> Plan:
    """In a child: the gradients of a step have this norm."""

    def plant(job: Any) -> None:
        whole, seen = job.optimizer.gather_gradients, 0

        def gather() -> float:
            nonlocal seen
            seen += 1
            found = float(whole())
            if seen != step:
                return found
            for gradient in job.optimizer.gradients():
                gradient *= norm / found
            return norm

        job.optimizer.gather_gradients = gather

    return in_job(plant)


def in_job(plant: Callable[[Any], None]) -> Plan:
    """In a child: something is done to what is trained before it is."""

    def install() -> None:
        from tunewright.train import run

        whole = run.build_job

        def build(prepared: Any, folder: Path) -> Any:
            job = whole(prepared, folder)
            plant(job)
            return job

        run.build_job = build

    return install


def mounted(folder: Path, size: int) -> bool:
    """Whether `folder` is a small disk in memory now; that takes rights which not everybody has."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def filled(folder: Path, number: int, left: int) -> Plan:
    """In a child: the disk gets full, but for some bytes, before a change."""

    def fill(seen: int) -> None:
        if seen == number:
            room = shutil.disk_usage(folder).free - left
            with (folder / "filler").open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, max(1, room))

    return at_changes(folder / RUN, fill)


def refused(folder: Path, number: int) -> Plan:
    """In a child: every change from this one on fails, as on a disk that is full."""

    def refuse(seen: int) -> None:
        if seen >= number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))

    return at_changes(folder / RUN, refuse)
