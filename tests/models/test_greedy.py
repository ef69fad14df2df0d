"""Our own greedy decoding writes what transformers would, and lets finished rows go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tunewright.config.task import Task
from tunewright.models import greedy
from tunewright.models.generate import _at_once, _generated
from tunewright.models.greedy import RoomyLayer, can_decode, decode_greedily
from tunewright.models.load import load_finished

PROMPTS = [list(range(5, 5 + n)) for n in (3, 9, 4, 12, 7, 5)]


@pytest.fixture(scope="module")
def model(tiny_decoder: Path) -> Any:
    loaded = load_finished(str(tiny_decoder), Task.INSTRUCTION).model
    # Random weights repeat one token; larger ones move, so that answers end at unlike lengths.
    with torch.no_grad():
        for parameter in loaded.parameters():
            if parameter.dim() == 2:
                parameter.mul_(6)
    return loaded.eval()


def test_answers_are_those_of_generate_and_rows_leave_when_they_are_done(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert can_decode(model)
    free = decode_greedily(model, PROMPTS, [], pad_id=2, max_new_tokens=70)
    assert all(len(answer) == 70 for answer in free)
    stops = [free[0][3], free[1][20]]  # the first answer ends early, others later or never
    theirs = _generated(model, PROMPTS, stops, {"do_sample": False}, pad_id=2, max_new_tokens=70)
    sizes: list[int] = []
    kept = RoomyLayer.keep

    def keep(layer: RoomyLayer, rows: torch.Tensor) -> None:
        sizes.append(len(rows))
        kept(layer, rows)

    monkeypatch.setattr(RoomyLayer, "keep", keep)
    ours = decode_greedily(model, PROMPTS, stops, pad_id=2, max_new_tokens=70)
    for answer, tokens in zip(ours, theirs.tolist(), strict=True):
        ends = next((i for i, token in enumerate(tokens) if token in stops), len(tokens) - 1)
        assert answer == tokens[: ends + 1]
    assert len(set(map(len, ours))) > 1
    assert sizes and sizes == sorted(sizes, reverse=True) and sizes[0] < len(PROMPTS)


def test_a_cache_that_is_full_grows_and_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greedy, "_ROOM", 2)
    layer, states = RoomyLayer(), torch.arange(48.0).reshape(2, 1, 8, 3)
    for begin, end in ((0, 3), (3, 4), (4, 5), (5, 6), (6, 8)):
        keys, values = layer.update(states[:, :, begin:end], -states[:, :, begin:end])
        assert torch.equal(keys, states[:, :, :end]) and torch.equal(values, -states[:, :, :end])
        assert layer.get_seq_length() == end
    layer.keep(torch.tensor([1]))
    assert torch.equal(layer.keys, states[1:])
    assert torch.equal(layer.update(states[1:, :, :1], states[1:, :, :1])[0][:, :, :8], states[1:])


def test_models_that_need_more_are_left_to_generate(
    model: Any, tiny_t5: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not can_decode(load_finished(str(tiny_t5), Task.INSTRUCTION).model)
    monkeypatch.setattr(model.generation_config, "repetition_penalty", 1.3)
    assert not can_decode(model)
    monkeypatch.undo()
    from peft import PromptTuningConfig, get_peft_model
    from transformers import MistralConfig, MistralForCausalLM

    small = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
             "num_attention_heads": 2, "num_key_value_heads": 1}  # fmt: skip
    assert can_decode(MistralForCausalLM(MistralConfig(**small, sliding_window=None)))
    assert not can_decode(MistralForCausalLM(MistralConfig(**small, sliding_window=8)))
    prompted = MistralForCausalLM(MistralConfig(**small, sliding_window=None))
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    assert not can_decode(get_peft_model(prompted, config))


def test_long_prompts_come_in_smaller_batches() -> None:
    found = [_at_once([[1] * length], 96) for length in (100, 4000, 40_000)]
    assert found == [32, 4, 1] and _at_once([], 96) == 32
