"""A model's layers without its weights.

For what follows from layers alone: it takes neither time nor memory, whatever the model's size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunewright.config.task import Task
from tunewright.models.inspect import ModelFacts
from tunewright.models.load import model_class

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def skeleton(facts: ModelFacts, task: Task) -> PreTrainedModel:
    """A base with the head of a task, all of whose float32 weights are one zero.

    Args:
        facts: of the base's folder.
        task: decides the head.
    """
    import torch
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(facts.folder, trust_remote_code=False)
    with torch.device("meta"):
        model: PreTrainedModel = model_class(facts, task).from_config(config, dtype=torch.float32)
    zero = torch.zeros(())
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            shared = torch.nn.Parameter(zero.expand(parameter.shape), requires_grad=False)
            module.register_parameter(name, shared)
    return model
