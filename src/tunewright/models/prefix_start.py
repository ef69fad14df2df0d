"""Where prefix tuning starts: the keys and values that a base makes of real tokens.

Random vectors, which PEFT starts with, are nothing that a network has seen before: its answers are
spoilt first, and a few hundred steps only mend them (arXiv 2101.00190, section 7.4, finds real
words better where rows are few). This module knows PEFT and transformers' caches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


@torch.no_grad()
def start_prefix(model: Any, tokens: Sequence[int]) -> str | None:
    """Give a prefix the keys and values of the first tokens, as many as it has.

    Args:
        model: of PEFT, with a new adapter of prefix tuning.
        tokens: ids of tokens such as rows begin with, at least as many as the prefix is long.

    Returns:
        None, or why it did not and the prefix starts at random: there are too few tokens, or the
        architecture keeps other things than keys and values of one shape.
    """
    from peft.tuners.cartridge.utils import initialize_kv_prefix_from_past_key_values

    network = model.get_base_model().base_model  # heads for labels say nothing of the cache
    length = model.active_peft_config.num_virtual_tokens
    if len(tokens) < length:
        return f"the training rows have {len(tokens)} tokens, and the prefix {length}"
    training = model.training
    ids = torch.tensor([list(tokens[:length])], device=network.device)
    kept = network.eval()(input_ids=ids, use_cache=True).past_key_values
    model.train(training)
    try:
        initialize_kv_prefix_from_past_key_values(model, past_key_values=kept)
    except (AttributeError, TypeError, ValueError):  # how PEFT finds another kind of cache
        return f"{network.config.model_type} keeps other things than keys and values of one shape"
    return None
