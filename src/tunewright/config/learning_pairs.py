"""Keys of how pairs of texts are learned."""

from __future__ import annotations

from pydantic import PositiveFloat, PositiveInt

from tunewright.config.base import Strict


class PairKeys(Strict):
    """Part of `Recipe`."""

    temperature: PositiveFloat | None = None
    """What cosine similarities are divided by in the loss of embeddings: lower stresses the texts
    that are hardest to tell apart (arXiv 2012.09740). Task `embedding` and method `setfit`."""
    pairs_per_row: PositiveInt | None = None
    """Pairs that are made of each row with rows of its label, and as many with rows of other
    labels. Method `setfit` only."""
