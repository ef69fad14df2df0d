"""How much memory the process or the accelerator has used at most."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import re
import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def reset_peak_memory() -> None:
    """Start a new measurement where the system allows it (Linux, CUDA)."""
    release_memory()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def release_memory() -> None:
    """Give back what finished work has left: unreachable models, and the C library's free heap."""
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # not every C library has it
            ctypes.CDLL(None).malloc_trim(0)


def peak_memory(device: str = "cpu") -> int:
    """Bytes used at most since `reset_peak_memory`: of the accelerator for `cuda`, otherwise the
    resident memory of this process (where it cannot be reset, since the process began)."""
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    if _STATUS.is_file():
        found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text(encoding="ascii"))
        if found:
            return int(found[1]) * 1024
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024
