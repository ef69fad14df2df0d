"""A recipe as a commented YAML file that runs as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

_ALWAYS = ("method", "num_train_epochs", "per_device_train_batch_size", "learning_rate")
_ORDER = (
    "method",
    "num_train_epochs",
    "per_device_train_batch_size",
    "learning_rate",
    "head_learning_rate",
    "max_length",
    "temperature",
    "pairs_per_row",
    "doc_stride",
    "max_answer_length",
    "dtype",
    "lora_r",
    "lora_alpha",
    "lora_dropout",
    "lora_target_modules",
    "evaluation_strategy",
    "save_strategy",
    "load_best_model_at_end",
)


def recipe_text(
    recipe: Mapping[str, Any],
    reasons: Mapping[str, str],
    headline: Sequence[str],
    data_comments: Mapping[str, str],
) -> str:
    """Write a recipe with its reasons as comments.

    Args:
        recipe: resolved, as JSON-like values.
        reasons: why each chosen setting has its value.
        headline: comment lines at the top.
        data_comments: comments for keys of `data`.
    """
    lines = [f"# {line}" for line in headline]
    lines += [_line("task", recipe["task"]), _line("model", recipe["model"])]
    lines.append("data:")
    for key, value in recipe["data"].items():
        if value in ({}, None, "") or (key == "template" and value == "auto"):
            continue
        if key == "balance" and value == "none":
            if key in data_comments:
                lines.append("  # " + _line(key, "weights", data_comments[key]))
            continue
        if key in ("truncation", "allow") and key not in data_comments:
            continue
        lines.append("  " + _line(key, value, data_comments.get(key)))
    lines += [_line("output_dir", recipe["output_dir"]), _line("seed", recipe["seed"])]
    for key in _ORDER:
        if recipe.get(key) is not None and (key in reasons or key in _ALWAYS):
            lines.append(_line(key, recipe[key], reasons.get(key)))
    return "\n".join(lines) + "\n"


def _line(key: str, value: Any, comment: str | None = None) -> str:
    written = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000)
    text = f"{key}: {written.removesuffix('...' + chr(10)).strip()}"
    return f"{text:40}  # {comment}" if comment else text
