"""Keys of answers that a model writes while it is trained, to be scored.

This module knows keys. Which metrics there are, and what they need, is in `metrics`.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PositiveInt

from tunewright.config.base import Strict


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class GenerationKeys(Strict):
    """Part of the recipe: which answers are written with each score, and what measures them."""

    generation_metrics: Annotated[
        Annotated[list[str], Field(min_length=1)] | None, BeforeValidator(_listed)
    ] = None
    """Metrics of answers that the model writes for validation rows with each score, such as
    `exact_match` or `[rougeL, chrf]`. Task `instruction` only. Default: none, but for
    `metric_for_best_model`."""
    generation_rows: PositiveInt | None = None
    """Validation rows that are answered, drawn at random once: the same ones with each score."""
    generation_max_new_tokens: PositiveInt | None = None
    """Longest answer that is written, in tokens."""
