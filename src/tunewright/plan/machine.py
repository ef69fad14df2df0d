"""What a run's settings depend on of the machine it will run on."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Machine:
    """What the settings depend on.

    Attributes:
        device: `cpu`, `cuda` or `mps`.
        memory_bytes: of the device (of the machine, for a CPU).
        bfloat16_gain: rate of bfloat16 matrix products of the model's width over float32 ones.
    """

    device: str
    memory_bytes: int
    bfloat16_gain: float


def measure_machine(device: str, width: int = 1024) -> Machine:
    """Look at the device and measure what bfloat16 gains on it (about a tenth of a second).

    Args:
        device: `cpu`, `cuda` or `mps`.
        width: of the layers that will be trained: narrow ones gain less on some machines.
    """
    import psutil
    import torch

    if device == "cuda":
        memory = torch.cuda.get_device_properties(0).total_memory
    else:
        memory = psutil.virtual_memory().total
    # On a CPU, what other work takes of it must not decide.
    clock = time.process_time if device == "cpu" else time.perf_counter
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.ones(512, width, device=device, dtype=dtype)
        b = torch.ones(width, 4 * width, device=device, dtype=dtype)
        timings = []
        for _ in range(5):
            began = clock()
            # Reading one element waits for the device.
            float((a @ b)[0, 0])
            timings.append(clock() - began)
        seconds[dtype] = min(timings)
    gain = seconds[torch.float32] / max(1e-9, seconds[torch.bfloat16])
    return Machine(device, memory, gain)
