"""Every key of a recipe can be reached from Python."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from tunewright._api.recipe_keys import RecipeKeys
from tunewright.config.data_keys import DataConfig
from tunewright.config.recipe import Recipe
from tunewright.errors import ConfigError
from tunewright.fine_tuning import FineTuningConfig

KEYS: dict[str, tuple[Any, dict[str, Any]]] = {
    "task": ("classification", {}),
    "model": ("another", {}),
    "method": ("full", {}),
    "output_dir": ("elsewhere", {}),
    "seed": (3, {}),
    "num_train_epochs": (2.0, {}),
    "max_steps": (7, {}),
    "per_device_train_batch_size": (9, {}),
    "per_device_eval_batch_size": (9, {}),
    "gradient_accumulation_steps": (3, {}),
    "max_tokens_per_pass": (512, {}),
    "packing": (True, {}),
    "temperature": (0.1, {}),
    "pairs_per_row": (6, {"method": "setfit"}),
    "doc_stride": (64, {}),
    "max_answer_length": (20, {}),
    "learning_rate": (0.3, {}),
    "head_learning_rate": (0.2, {}),
    "lr_scheduler_type": ("cosine", {}),
    "warmup_steps": (5, {}),
    "warmup_ratio": (0.2, {}),
    "decay_ratio": (0.5, {"lr_scheduler_type": "warmup_stable_decay"}),
    "weight_decay": (0.3, {}),
    "max_grad_norm": (0.5, {}),
    "label_smoothing": (0.2, {}),
    "max_length": (99, {}),
    "dtype": ("bfloat16", {}),
    "device": ("cpu", {}),
    "gradient_checkpointing": (True, {}),
    "lora_r": (4, {}),
    "lora_alpha": (7.0, {}),
    "lora_dropout": (0.3, {}),
    "lora_target_modules": (["query"], {}),
    "use_rslora": (True, {}),
    "use_dora": (True, {}),
    "quantization_bits": (8, {"method": "qlora"}),
    "bnb_4bit_quant_type": ("fp4", {"method": "qlora"}),
    "bnb_4bit_use_double_quant": (False, {"method": "qlora"}),
    "quantization_aware": ("int4_weight", {"method": "full"}),
    "quantization_group_size": (64, {"method": "full", "quantization_aware": "int4_weight"}),
    "num_virtual_tokens": (6, {"method": "prompt_tuning"}),
    "evaluation_strategy": ("epoch", {}),
    "eval_steps": (5, {"evaluation_strategy": "steps"}),
    "save_strategy": ("epoch", {}),
    "save_steps": (5, {"save_strategy": "steps"}),
    "save_total_limit": (4, {}),
    "load_best_model_at_end": (True, {}),
    "metric_for_best_model": ("rouge1", {}),
    "early_stopping_patience": (3, {}),
    "freeze_trainable_layers": (1, {"method": "partial"}),
    "unfreeze_steps": (4, {"method": "full"}),
    "layer_learning_rate_decay": (0.9, {}),
    "init_lora_weights": ("pissa", {}),
    "loraplus_lr_ratio": (16.0, {}),
    "modules_to_save": (["norm"], {}),
    "dropout": (0.1, {}),
    "neftune_noise_alpha": (5.0, {}),
    "ema_decay": (0.99, {}),
    "decay_to_start": (0.01, {"method": "full"}),
    "l1_decay": (0.01, {}),
    "focal_gamma": (2.0, {}),
    "optim": ("muon", {"method": "full"}),
    "reactions": ("propose", {}),
    "report_to": (["tensorboard"], {}),
    "generation_metrics": (["chrf"], {}),
    "generation_rows": (5, {}),
    "generation_max_new_tokens": (50, {}),
    "data.train": ("rows.jsonl", {}),
    "data.validation": (0.2, {}),
    "data.test": ("held.jsonl", {}),
    "data.mixing_limit": (500, {"dataset_path": ["a.jsonl", "b.jsonl"]}),
    "data.mixing_temperature": (2.0, {"dataset_path": ["a.jsonl", "b.jsonl"]}),
    "data.time_column": ("when", {}),
    "data.columns": ({"text": "tweet"}, {}),
    "data.max_samples": (50, {}),
    "data.balance": ("weights", {}),
    "data.augment": ({"typos": 0.1}, {}),
    "data.template": ("plain", {}),
    "data.system": ("Be brief.", {}),
    "data.source_prefix": ("summarize: ", {}),
    "data.truncation": ("drop", {}),
    "data.allow": (["label.single"], {}),
}
"""A value of each key that is not its default, and what it needs beside it."""
_NAMES = {"model": "model_path", "data.train": "dataset_path"}


def test_every_recipe_key_has_a_value_here() -> None:
    """A key that is new needs a field of `RecipeKeys` and a line above."""
    own = {name for name in Recipe.model_fields if name != "data"}
    assert KEYS.keys() == own | {f"data.{name}" for name in DataConfig.model_fields}


@pytest.mark.parametrize("key", KEYS)
def test_the_recipe_of_a_configuration_has_the_key(key: str) -> None:
    value, beside = KEYS[key]
    name = _NAMES.get(key, key.removeprefix("data."))
    given: dict[str, Any] = {"model_path": "base", "output_dir": "runs/x", "dataset_path": "rows"}
    found: Any = FineTuningConfig(**(given | beside | {name: value})).to_recipe()
    for part in key.split("."):
        found = getattr(found, part)
    plain = found.model_dump(exclude_unset=True) if hasattr(found, "model_dump") else found
    assert plain == value


def test_the_fields_are_keys_of_the_recipe_and_are_left_out_by_default() -> None:
    keys = {*Recipe.model_fields, *DataConfig.model_fields}
    assert all(field.name in keys and field.default is None for field in fields(RecipeKeys))
    untouched = FineTuningConfig("base", "runs/x", "full", "rows").to_recipe()
    assert (untouched.seed, untouched.optim, untouched.data.truncation) == (0, "adamw", "cut")


def test_a_wrong_value_is_told_as_in_a_recipe() -> None:
    with pytest.raises(ConfigError, match=r"optim is 'moon'.*Did you mean 'muon'"):
        FineTuningConfig("base", "runs/x", optim="moon").to_recipe()
    with pytest.raises(TypeError, match="lora_rank"):
        FineTuningConfig("base", "runs/x", lora_rank=4)  # type: ignore[call-arg]


def test_what_is_kept_with_a_run_is_plain() -> None:
    config = FineTuningConfig("base", "runs/x", modules_to_save=("norm",), columns={"text": "t"})
    assert config.to_dict()["modules_to_save"] == ["norm"]
    assert config.to_dict()["columns"] == {"text": "t"}
