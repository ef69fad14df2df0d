"""Tunewright fine-tunes language models end to end and proves every step.

The names for users are in `tunewright.fine_tuning`; the command line is `tunewright`.
"""

from __future__ import annotations

__version__ = "0.1.0"
