"""Answers of a model that writes for many prompts, in batches of like length."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from tunewright.data.collate import length_order
from tunewright.models.seq2seq import is_encoder_decoder

_MOST_ROWS, _MOST_TOKENS = 32, 16_384
"""Of a batch, unless the caller says otherwise. More rows are hardly faster."""


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    stop_ids: Sequence[int],
    *,
    max_new_tokens: int = 256,
    batch_size: int | None = None,
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
        batch_size: prompts in one batch. Default: 32, or fewer where they would hold more than
            16,384 tokens with their answers.
        temperature: of the chance by which tokens are drawn; 0 takes the likeliest.
        seed: of that chance.
        progress: called with the number of prompts done in each batch.

    Returns:
        One text a prompt, in their order.
    """
    import torch

    from tunewright.models.greedy import can_decode, decode_greedily

    ours = temperature == 0 and can_decode(model)
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
        size = batch_size or _at_once(prompts, max_new_tokens)
        for rows in _batches(model, [len(p) for p in prompts], size):
            some = [prompts[i] for i in rows]
            options = {"pad_id": tokenizer.pad_token_id, "max_new_tokens": max_new_tokens}
            if ours:
                new: Any = decode_greedily(model, some, stop_ids, **options)
            else:
                new = _generated(model, some, stop_ids, chance, **options)
            texts = tokenizer.batch_decode(new, skip_special_tokens=True)
            for i, text in zip(rows, texts, strict=True):
                answers[i] = text
            if progress is not None:
                progress(len(rows))
    model.train(training)
    return answers


def _generated(
    model: Any,
    prompts: Sequence[Sequence[int]],
    stop_ids: Sequence[int],
    chance: dict[str, Any],
    *,
    pad_id: int,
    max_new_tokens: int,
) -> Any:
    """Token ids of the answers, by transformers' own `generate`."""
    import torch

    device = next(model.parameters()).device
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):  # padded on the left: answers grow on the right
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Position ids are not supported")
        output = model.generate(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            max_new_tokens=max_new_tokens,
            **chance,
            eos_token_id=list(stop_ids),
            pad_token_id=pad_id,
        )
    # An encoder-decoder model gives its target alone.
    return output if is_encoder_decoder(model) else output[:, width:]


def _at_once(prompts: Sequence[Sequence[int]], max_new_tokens: int) -> int:
    """Prompts of a batch that keep the cache of keys and values within bounds."""
    longest = max(map(len, prompts), default=0) + max_new_tokens
    return max(1, min(_MOST_ROWS, _MOST_TOKENS // longest))


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
