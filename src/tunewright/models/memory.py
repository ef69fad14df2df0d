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
_TRIM, _MAP = -1, -3
"""Numbers of glibc's M_TRIM_THRESHOLD and M_MMAP_THRESHOLD (mallopt(3))."""
_LARGE, _KEPT = 32 * 2**20, 256 * 2**20
"""Bytes of a block that is mapped by itself (glibc takes no more), and of what the heap keeps free
at its end."""


def keep_freed_memory() -> None:
    """Let the C library keep what a step frees for the next one, where it is glibc.

    Otherwise it gives much of it back to the system, which hands it out again page by page, and
    clears each page: a tenth of a small step. Blocks of 32 MiB and more still go back at once.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(None)
            library.mallopt(_MAP, _LARGE)
            library.mallopt(_TRIM, _KEPT)


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
