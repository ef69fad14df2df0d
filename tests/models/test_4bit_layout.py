"""4-bit layers on a CPU stay as they were loaded, so that training can go on after a score."""

from __future__ import annotations

from pathlib import Path

import torch
from bitsandbytes.nn import Linear4bit

from tunewright.config.task import Task
from tunewright.models.input_settings import Quantization
from tunewright.models.inspect import inspect_model
from tunewright.models.load import load_base


def test_a_score_leaves_weights_and_gradients_of_4_bit_layers_as_they_are(
    tiny_decoder: Path,
) -> None:
    model = load_base(
        inspect_model(tiny_decoder),
        Task.INSTRUCTION,
        (),
        torch.float32,
        quantization=Quantization(4, "nf4", True),
    )
    layers = [module for module in model.modules() if isinstance(module, Linear4bit)]
    assert layers
    # Where the processor has no bfloat16 the library's own default is False too.
    assert not any(layer.support_avx512bf16_for_cpu for layer in layers)
    before = [layer.weight.data.clone() for layer in layers]
    ids = torch.arange(3, 9)[None]
    with torch.no_grad():
        model.eval()(input_ids=ids)
    assert all(map(torch.equal, before, [layer.weight.data for layer in layers]))
    states = model.get_input_embeddings()(ids).detach().requires_grad_()
    model.train()(inputs_embeds=states).logits.sum().backward()
    assert states.grad is not None and states.grad.abs().sum() > 0
