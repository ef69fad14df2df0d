"""Adapters of classifiers: the whole head is trained, saved and read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from tunewright.config.recipe import Recipe
from tunewright.config.task import Task
from tunewright.models.adapters import apply_method

SHAPE = {
    "vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 64, "pad_token_id": 0,
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": {},
    "distilbert": {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4},
    "deberta-v2": {},
    "albert": {"embedding_size": 16},
    "modernbert": {
        "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2,
    },
}  # fmt: skip
CLASSES = {
    Task.CLASSIFICATION: AutoModelForSequenceClassification,
    Task.TOKEN_CLASSIFICATION: AutoModelForTokenClassification,
    Task.QUESTION_ANSWERING: AutoModelForQuestionAnswering,
}
PARTS = {
    ("bert", Task.CLASSIFICATION): ["bert.pooler"],
    ("albert", Task.CLASSIFICATION): ["albert.pooler"],
    ("deberta-v2", Task.CLASSIFICATION): ["pooler"],
    ("distilbert", Task.CLASSIFICATION): ["pre_classifier"],
    ("modernbert", Task.CLASSIFICATION): ["head"],
    ("modernbert", Task.TOKEN_CLASSIFICATION): ["head"],
    ("modernbert", Task.QUESTION_ANSWERING): ["head", "classifier"],
}


NO_LORA = dict.fromkeys(("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules"))


def recipe(**values: Any) -> Recipe:
    keys = {
        "model": "base", "output_dir": "run", "data": {"train": "rows.jsonl"}, "method": "lora",
        "lora_r": 4, "lora_alpha": 8.0, "lora_dropout": 0.0, "lora_target_modules": "all-linear",
    }  # fmt: skip
    return Recipe.check(keys | values)


def new_head(base: Path, kind: str, task: Task) -> Any:
    """A base whose checkpoint has no part of a head, so that each load makes another one."""
    if not base.is_dir():
        torch.manual_seed(0)
        model = CLASSES[task].from_config(AutoConfig.for_model(kind, **(SHAPE | KINDS[kind])))
        inside = f"{model.base_model_prefix}."
        kept = {k: v for k, v in model.state_dict().items()
                if k.startswith(inside) and ".pooler." not in k}  # fmt: skip
        model.save_pretrained(base, state_dict=kept)
    return CLASSES[task].from_pretrained(base, num_labels=2)


METHODS = {
    "lora": recipe(),
    "ia3": recipe(method="ia3", **NO_LORA),
    "prompt_tuning": recipe(method="prompt_tuning", num_virtual_tokens=3, **NO_LORA),
    "p_tuning": recipe(method="p_tuning", num_virtual_tokens=3, **NO_LORA),
}
CASES = [("lora", kind, task) for kind in KINDS for task in CLASSES] + [
    (method, kind, Task.CLASSIFICATION)
    for method in ("ia3", "prompt_tuning", "p_tuning")
    for kind in (("bert", "roberta") if method == "ia3" else KINDS)
]


@pytest.mark.parametrize(("method", "kind", "task"), CASES)
def test_a_saved_adapter_answers_as_the_trained_model(
    method: str, kind: str, task: Task, tmp_path: Path
) -> None:
    model = apply_method(new_head(tmp_path / "base", kind, task), METHODS[method], task)
    asked = task is Task.QUESTION_ANSWERING
    known = ["qa_outputs"] if asked else ["classifier", "score"]
    whole = [name for name in model.peft_config["default"].modules_to_save or ()
             if name not in known]  # fmt: skip
    assert whole == PARTS.get((kind, task), [])
    for parameter in model.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter.data, std=0.3)
    ids = torch.arange(3, 13)[None]
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with torch.no_grad():
        trained = model.eval()(**inputs)[0]
        model.save_pretrained(tmp_path / "adapter")
        again = PeftModel.from_pretrained(
            new_head(tmp_path / "base", kind, task), tmp_path / "adapter"
        )
        torch.testing.assert_close(again.eval()(**inputs)[0], trained)
    assert not [name for name, _ in model.named_parameters()
                if "lora_" in name and any(part in name for part in whole)]  # fmt: skip


def test_modules_of_the_recipe_are_trained_beside_the_head(tmp_path: Path) -> None:
    wanted = recipe(modules_to_save=["word_embeddings"])
    model = apply_method(
        new_head(tmp_path / "base", "bert", Task.CLASSIFICATION), wanted, Task.CLASSIFICATION
    )
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert any("word_embeddings" in name for name in trained)
    assert any("pooler" in name for name in trained)
