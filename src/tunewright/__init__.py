"""Tunewright fine-tunes language models end to end and proves every step.

The names for users are in `tunewright.fine_tuning`; the command line is `tunewright`.
"""

from __future__ import annotations

import os

# Threads of a matrix product that wait by spinning take the core from whatever else runs: with one
# other busy process on two cores that made training 15 times slower. It must be set before PyTorch
# is imported; a value that the user has set stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
