"""Tunewright fine-tunes language models end to end and proves every step.

The names for users are in `tunewright.fine_tuning`; the command line is `tunewright`.
"""

from __future__ import annotations

import os

# Threads of a matrix product that wait by spinning take the core from whatever else runs: PyTorch's
# default made training 15 times slower beside one busy process. Threads that sleep at once lose a
# third of the speed of an idle machine, because a small model has thousands of short products a
# step. A short spin costs neither. It must be set before PyTorch is imported; a choice that the
# user has made stays.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

__version__ = "0.1.0"
