"""PiSSA (arXiv 2404.02948): updates that start as the strongest directions of each weight.

PEFT takes these directions out of the base when the adapter is made, so a trained adapter fits a
base that no one else has. `as_plain_lora` writes it for the base as it was published. This module
knows PEFT's layout. It does not know the training loop.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from torch import Tensor

from tunewright.artifacts import write_json


def initial_factors(model: Any) -> dict[str, Tensor]:
    """Copies of the A and B matrices as they are now, by their names in an adapter's file."""
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(model)
    return {name: t.detach().cpu().clone() for name, t in state.items() if _side(name)}


def as_plain_lora(folder: Path, initial: dict[str, Tensor]) -> None:
    """Rewrite a saved PiSSA adapter as a LoRA of twice the rank over the published base.

    With A0 and B0 taken out of the base, s (B A - B0 A0) = s [B, -B0] [A; A0].

    Args:
        folder: with the adapter's two files, which are replaced.
        initial: from `initial_factors`, before training.
    """
    import torch
    from safetensors.torch import load_file, save_file

    weights, settings = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    tensors = load_file(weights)
    for name, start in initial.items():
        if _side(name) == "A":
            tensors[name] = torch.cat([tensors[name], start.to(tensors[name].dtype)], dim=0)
        else:
            tensors[name] = torch.cat([tensors[name], -start.to(tensors[name].dtype)], dim=1)
    save_file({n: t.contiguous() for n, t in tensors.items()}, weights, metadata={"format": "pt"})
    config = json.loads(settings.read_text(encoding="utf-8"))
    # The scale is alpha / r, or alpha / sqrt(r), and stays what it was in training.
    config["lora_alpha"] *= math.sqrt(2) if config["use_rslora"] else 2
    config |= {"r": 2 * config["r"], "init_lora_weights": True}
    write_json(settings, config)


def _side(name: str) -> str:
    """Whether a tensor is an `A` or a `B` matrix; empty for neither."""
    return "A" if ".lora_A." in name else "B" if ".lora_B." in name else ""
