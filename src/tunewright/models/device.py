"""The device that a model runs on, and the threads that it may take of a CPU."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tunewright.errors import ModelError

if TYPE_CHECKING:
    import torch


def pick_device(wanted: str = "auto") -> torch.device:
    """The device for `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        ModelError: the device asked for is not in this machine.
    """
    import torch

    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if wanted == "auto":
        wanted = next(name for name in ("cuda", "mps", "cpu") if available[name])
    if not available.get(wanted, False):
        raise ModelError(
            f"device is {wanted!r}, but this machine has only "
            f"{', '.join(name for name, here in available.items() if here)}. Use device: auto."
        )
    return torch.device(wanted)


def limit_threads() -> None:
    """Keep PyTorch to the physical cores this process may use; more threads fight."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    wanted = int(os.environ.get("OMP_NUM_THREADS", cores or 1))
    if torch.get_num_threads() > wanted:
        torch.set_num_threads(wanted)
