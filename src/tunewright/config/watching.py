"""Recipe keys of how a run is watched, and what it may do about what it sees."""

from __future__ import annotations

from typing import Literal

from tunewright.config.base import Strict


class WatchingKeys(Strict):
    """Part of `Recipe`."""

    reactions: Literal["act", "propose"] = "act"
    """What a run does about spikes, divergence and short memory: `act`, or only `propose` what a
    person could do."""
