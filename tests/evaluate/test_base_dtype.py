"""The base is measured in the numbers that the tuned model has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from runs import recipe, train
from tunewright import pipeline
from tunewright.evaluate import references
from tunewright.models.load import load_finished


def test_a_base_saved_in_bfloat16_is_scored_in_the_float32_of_its_adapter(
    tiny_decoder: Path, instruction_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "base"
    model = AutoModelForCausalLM.from_pretrained(tiny_decoder, dtype=torch.bfloat16)
    model.save_pretrained(base)
    AutoTokenizer.from_pretrained(tiny_decoder).save_pretrained(base)
    assert load_finished(str(base), None).model.dtype == torch.bfloat16
    values: dict[str, Any] = {"method": "lora", "dtype": "float32", "max_steps": 1}
    train(recipe(base, instruction_file, tmp_path / "run", **values))
    loaded = []

    def noted(*args: Any, **options: Any) -> Any:
        loaded.append(load_finished(*args, **options))
        return loaded[-1]

    monkeypatch.setattr(references, "load_finished", noted)
    found = pipeline.evaluate_model(str(tmp_path / "run"), metrics=["perplexity"])
    assert [one.model.dtype for one in loaded] == [torch.float32]
    assert found.baselines["base"]["metrics"]["perplexity"]["value"] > 0
