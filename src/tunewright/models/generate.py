"""Answers of a model that writes for many prompts, in batches of like length."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from tunewright.data.collate import length_order
from tunewright.models.seq2seq import is_encoder_decoder


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    stop_ids: Sequence[int],
    *,
    max_new_tokens: int = 256,
    batch_size: int = 8,
    temperature: float = 0.0,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """Answers without the prompt and without special tokens: greedy, or drawn by chance.

    Args:
        model: a decoder or an encoder-decoder model; left in the mode it was in. Nothing is dropped
            out while it writes.
        tokenizer: its tokenizer.
        prompts: token ids of each prompt, or source.
        stop_ids: tokens that end an answer.
        max_new_tokens: longest answer in tokens.
        batch_size: prompts in one batch.
        temperature: of the chance by which tokens are drawn; 0 takes the likeliest.
        seed: of that chance.
        progress: called with the number of prompts done in each batch.

    Returns:
        One text a prompt, in their order.
    """
    import torch

    device = next(model.parameters()).device
    pairs = is_encoder_decoder(model)
    answers = [""] * len(prompts)
    chance: dict[str, Any] = {"do_sample": False}
    if temperature > 0:
        chance = {"do_sample": True, "temperature": temperature, "top_k": 0}
    training = model.training
    model.eval()
    # Drawing leaves the random state of the process as it was.
    with torch.random.fork_rng(enabled=temperature > 0):
        if temperature > 0:
            torch.manual_seed(seed)
        for rows in _batches(model, [len(p) for p in prompts], batch_size):
            width = max(len(prompts[i]) for i in rows)
            ids = torch.full((len(rows), width), tokenizer.pad_token_id, dtype=torch.long)
            mask = torch.zeros_like(ids)
            for line, i in enumerate(rows):  # padded on the left: answers grow on the right
                length = len(prompts[i])
                ids[line, width - length :] = torch.tensor(prompts[i])
                mask[line, width - length :] = 1
            with torch.inference_mode(), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Position ids are not supported")
                output = model.generate(
                    input_ids=ids.to(device),
                    attention_mask=mask.to(device),
                    max_new_tokens=max_new_tokens,
                    **chance,
                    eos_token_id=list(stop_ids),
                    pad_token_id=tokenizer.pad_token_id,
                )
            # An encoder-decoder model gives its target alone.
            new = output if pairs else output[:, width:]
            texts = tokenizer.batch_decode(new, skip_special_tokens=True)
            for i, text in zip(rows, texts, strict=True):
                answers[i] = text
            if progress is not None:
                progress(len(rows))
    model.train(training)
    return answers


def _batches(model: Any, lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Rows of like length; of equal length where padding would shift what the model sees.

    PEFT drops the position ids of a prompt-tuned model, so padding on the left would count.
    """
    batches = length_order(lengths, batch_size)
    config = getattr(model, "active_peft_config", None)
    if config is None or config.peft_type not in ("PROMPT_TUNING", "P_TUNING"):
        return batches
    return [
        [i for i in batch if lengths[i] == length]
        for batch in batches
        for length in sorted({lengths[i] for i in batch})
    ]
