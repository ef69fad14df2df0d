"""Python's garbage collector waits while many small objects are made that all stay.

It looks for cycles each time some thousand objects were made, which takes a third of the time that
rows take to read and to tokenise, and finds nothing: records hold no cycles.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep the collector from running inside the block, or the function that this decorates."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()
