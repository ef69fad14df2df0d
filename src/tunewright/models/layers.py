"""The layers of a network, found by its structure: no list of architectures.

A network is a stack: embeddings below, layers one above the other, then what makes the output.
This module knows PyTorch modules. It does not know methods or recipes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tunewright.errors import ModelError

if TYPE_CHECKING:
    from tunewright.models.inspect import ModelFacts

_SHARE_OF_A_STACK = 0.2
"""A stack of layers has at least this share of the weights in lists; a list of two convolutions
or of heads has less."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Where each parameter of a network stands.

    Attributes:
        layers: their names, from the input to the output. An encoder's come before a decoder's.
        depth: of each parameter, by name: 0 below the layers, 1 to `top - 1` in them, `top` above.
    """

    layers: list[str]
    depth: dict[str, int]

    @property
    def top(self) -> int:
        """The depth of what stands above the layers: the last norm and the head."""
        return len(self.layers) + 1


def find_stack(model: nn.Module) -> Stack:
    """Find the layers and where every parameter stands.

    Layers are the members of the outermost module lists that hold most of the weights. Below them
    is what has embeddings in it; everything else outside of them is above. A head that shares its
    weight with the input embeddings is that weight, and stands below.

    Raises:
        ModelError: there is no list of two or more layers (ALBERT uses one layer many times).
    """
    lists = [(name, module) for name, module in _outermost_lists(model, "") if len(module) > 1]
    sizes = {name: sum(p.numel() for p in module.parameters()) for name, module in lists}
    total = sum(sizes.values())
    layers = [
        f"{name}.{i}"
        for name, module in lists
        if total and sizes[name] >= _SHARE_OF_A_STACK * total
        for i in range(len(module))
    ]
    if not layers:
        raise ModelError(
            f"{type(model).__name__} has no list of layers, so that parts of it cannot be trained "
            "or given rates of their own. Use method: full or lora, without unfreeze_steps and "
            "layer_learning_rate_decay."
        )
    number = {layer: i for i, layer in enumerate(layers, start=1)}
    above = {prefix for layer in layers for prefix in _prefixes(layer)}
    below = set()
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding):
            # The widest module around the embedding that has no layer in it, for its norm.
            around = [name, *_prefixes(name)]
            below.add([part for part in around if part == name or part not in above][-1])
    depth = {}
    for name, _ in model.named_parameters():
        around = [name, *_prefixes(name)]
        inside = [number[part] for part in around if part in number]
        if inside:
            depth[name] = inside[0]
        else:
            depth[name] = 0 if any(part in below for part in around) else len(layers) + 1
    return Stack(layers, depth)


def layer_count(facts: ModelFacts) -> int:
    """Layers of the model in a folder, from its configuration; loads no weights.

    Raises:
        ModelError: it has no list of layers.
    """
    import torch
    from transformers import AutoConfig, AutoModel

    from tunewright.models.load import quiet_loading

    with quiet_loading(), torch.device("meta"):
        config = AutoConfig.from_pretrained(facts.folder, trust_remote_code=False)
        model = AutoModel.from_config(config, trust_remote_code=False)
    return len(find_stack(model).layers)


def trial_ids(model: Any, count: int) -> Tensor:
    """Ids of tokens that a model has, to see what it makes of them: [count], on its device."""
    table: Tensor = model.get_input_embeddings().weight
    return torch.arange(1, 1 + count, device=table.device) % table.shape[0]


def _outermost_lists(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.ModuleList]]:
    for name, child in module.named_children():
        path = f"{prefix}.{name}" if prefix else name
        if isinstance(child, nn.ModuleList):
            yield path, child
        else:
            yield from _outermost_lists(child, path)


def _prefixes(name: str) -> list[str]:
    """`a.b.c` is inside `a.b` and `a`, the nearest first."""
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(len(parts) - 1, 0, -1)]
