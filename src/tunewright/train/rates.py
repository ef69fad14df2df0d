"""Which share of the rate each parameter has, and when it joins: by its layer, or its part in LoRA.

This module knows where a parameter stands (`models.layers`). It does not know optimizers.
"""

from __future__ import annotations

import math
import os
from typing import Any

from torch import nn

from tunewright.config.optimization import Optimizer
from tunewright.config.recipe import FineTuningMethod, Recipe
from tunewright.config.task import Task
from tunewright.errors import ConfigError
from tunewright.models.layers import Stack, find_stack


def rate_shares(model: nn.Module, recipe: Recipe) -> dict[str, float]:
    """What the peak rate of each trained parameter is multiplied with; 1 where it is not named.

    With `layer_learning_rate_decay` d, layer i of n has d^(n - i) and the embeddings d^n: the last
    layer and what stands above it have the whole rate (arXiv 1801.06146, section 3.2). With
    `loraplus_lr_ratio` the B matrices have that many times the rate of A (arXiv 2402.12354).
    """
    shares: dict[str, float] = {}
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    decay = recipe.layer_learning_rate_decay
    if decay is not None:
        stack = find_stack(model)
        count = len(stack.layers)
        shares = {name: decay ** max(0, count - stack.depth[name]) for name in trained}
    if recipe.loraplus_lr_ratio is not None:
        for name in trained:
            if ".lora_B." in name or ".lora_embedding_B." in name:
                shares[name] = shares.get(name, 1.0) * recipe.loraplus_lr_ratio
    return shares


def hidden_matrices(model: nn.Module, recipe: Recipe) -> frozenset[str]:
    """The matrices inside layers, which Muon takes; none with another optimizer."""
    if recipe.optim is not Optimizer.MUON:
        return frozenset()
    stack = find_stack(model)
    return frozenset(
        name
        for name, p in model.named_parameters()
        if p.ndim == 2 and 0 < stack.depth[name] < stack.top
    )


class Unfreezing:
    """Lets layers join from the last one down, as a pure function of the step.

    At first the head is trained; without a new head (texts) the last layer with it. After each
    `every` steps the next layer below joins, and at last the embeddings.

    Args:
        stack: of the model.
        parameters: those that are trained in the end, by name.
        every: steps between two layers.
        task: decides whether there is a new head.
    """

    def __init__(
        self, stack: Stack, parameters: dict[str, nn.Parameter], every: int, task: Task
    ) -> None:
        self.every = every
        self.highest = stack.top - 1 if task.is_generative else stack.top
        self.depths = [(stack.depth[name], parameter) for name, parameter in parameters.items()]
        self.lowest = min(depth for depth, _ in self.depths)

    def frontier(self, step: int) -> int:
        """The lowest depth that is trained in a step (counted from 0)."""
        return max(self.lowest, self.highest - step // self.every)

    def apply(self, step: int) -> dict[str, int] | None:
        """Set what is trained in a step; say what joined if something did in this very step."""
        frontier = self.frontier(step)
        for depth, parameter in self.depths:
            parameter.requires_grad_(depth >= frontier)
        if step and frontier == self.frontier(step - 1):
            return None
        trained = [parameter.numel() for depth, parameter in self.depths if depth >= frontier]
        layers = self.highest - frontier
        return {"layers": layers, "trainable_parameters": sum(trained)}


def make_unfreezing(model: Any, recipe: Recipe, task: Task) -> Unfreezing | None:
    """The schedule of `unfreeze_steps`, or None without it."""
    if recipe.unfreeze_steps is None:
        return None
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return Unfreezing(find_stack(model), trained, recipe.unfreeze_steps, task)


def planned_steps(recipe: Recipe, rows: int) -> int:
    """Steps of a resolved recipe's run."""
    assert recipe.per_device_train_batch_size is not None
    processes = int(os.environ.get("WORLD_SIZE", "1"))  # as launchers of several processes say it
    batch = recipe.per_device_train_batch_size * recipe.gradient_accumulation_steps * processes
    if recipe.max_steps > 0:
        return recipe.max_steps
    assert recipe.num_train_epochs is not None
    return max(1, math.ceil(recipe.num_train_epochs * math.ceil(rows / batch)))


def check_unfreezing(recipe: Recipe, layers: int, steps: int, task: Task) -> None:
    """Refuse a run that ends before every layer it trains has joined.

    Args:
        recipe: resolved.
        layers: of the base.
        steps: of the whole run.
        task: decides whether the first stage is the head alone.

    Raises:
        ConfigError: says how many steps are needed.
    """
    every = recipe.unfreeze_steps
    if every is None:
        return
    partial = recipe.method is FineTuningMethod.PARTIAL
    joining = (recipe.freeze_trainable_layers or layers) if partial else layers + 1
    stages = joining - int(task.is_generative)
    if stages * every >= steps:
        last = f"layer {layers - joining + 1}" if partial else "the embeddings"
        raise ConfigError(
            f"unfreeze_steps is {every}, so that {last} would join after {stages * every:,} steps, "
            f"but the run has {steps:,}. Lower it to at most {max(1, (steps - 1) // stages)}, or "
            "train longer."
        )
