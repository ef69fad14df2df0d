"""The dropout of a base, as its configuration names it.

Architectures have different names for it (`hidden_dropout_prob`, `attn_pdrop`, `dropout_rate`),
but all of them say "drop" and have a share as their value. This module knows configurations only.
"""

from __future__ import annotations

from typing import Any

from tunewright.errors import ModelError
from tunewright.models.inspect import ModelFacts


def dropout_settings(facts: ModelFacts, share: float) -> dict[str, Any]:
    """Every dropout of a base's configuration, set to `share`.

    The dropping of whole layers (`layerdrop`) is another thing and is left alone.

    Raises:
        ModelError: the architecture has none.
    """
    from transformers import AutoConfig

    from tunewright.models.load import quiet_loading

    with quiet_loading():
        config = AutoConfig.from_pretrained(facts.folder, trust_remote_code=False)
    found = {
        name: share
        for name, value in config.to_dict().items()
        if "drop" in name
        and "layer" not in name
        and isinstance(value, int | float)
        and not isinstance(value, bool)
    }
    if not found:
        raise ModelError(
            f"dropout is {share:g} but {facts.architecture!r} models have no dropout; remove it. "
            "lora_dropout, weight_decay and neftune_noise_alpha work with every model."
        )
    return found
