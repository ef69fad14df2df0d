"""The stage before the first run: a recipe proposed from data, with a reason behind each choice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunewright.config.recipe import Recipe
from tunewright.config.source_name import short_name, shown
from tunewright.config.task import Task
from tunewright.data.balance import said_of_skew
from tunewright.data.chat import ChatTemplate
from tunewright.data.finding import counted
from tunewright.data.sources import load_splits
from tunewright.errors import ModelError
from tunewright.models.catalogue import CATALOGUE
from tunewright.plan.recipe_file import recipe_text
from tunewright.train.folder import is_begun
from tunewright.train.prepare import prepare
from tunewright.train.token_cache import remove_tokens


def suggest_model(task: Task) -> str:
    """The catalogue's base for a task."""
    kind = "decoder" if task.is_generative else "encoder"
    for entry in CATALOGUE.values():
        if entry.kind == kind:
            return entry.name
    raise ModelError(f"The catalogue has no {kind} for task {task.value!r}.")


def propose_recipe(
    source: str,
    *,
    model: str | None = None,
    task: str = "auto",
    columns: Mapping[str, str] | None = None,
) -> tuple[str, dict[str, Any]]:
    """A recipe for a data set, with a reason behind each choice.

    Args:
        source: file, folder with parts, or catalogue name.
        model: the base. Default: the catalogue's for the task.
        task: `auto` detects it.
        columns: role to column.

    Returns:
        The recipe as commented YAML, and as JSON-like values.
    """
    splits = load_splits(source, 0.0, 0.0, task=task, columns=columns)
    enough = len(splits.train) >= 20
    held_out = {
        "validation": 0.0 if len(splits.validation) or not enough else 0.1,
        "test": 0.0 if len(splits.test) or not enough else 0.1,
    }
    name = short_name(source)
    values: dict[str, Any] = {
        "task": splits.task.value,
        "model": model or suggest_model(splits.task),
        "output_dir": f"runs/{name}",
        "data": {"train": source, "columns": dict(columns or {}), "truncation": "cut"} | held_out,
    }
    wanted = Recipe.check(values)
    begun = is_begun(Path(wanted.output_dir))
    prepared = prepare(wanted)
    if not begun:  # a proposal leaves nothing behind
        remove_tokens(Path(wanted.output_dir))
    recipe = prepared.recipe.model_dump(mode="json")
    rendered = prepared.train
    comments = {"validation": "share of the training rows, or a source", "test": "the same"}
    for part in ("validation", "test"):
        if held_out[part] == 0.0:
            comments[part] = (
                f"{shown(source)} has its own {part} rows"
                if len(getattr(splits, part))
                else "too few rows to hold any out"
            )
    if prepared.template == "chat" and (added := ChatTemplate(prepared.tokenizer).added_system()):
        comments["allow"] = f"the chat template of the model adds {added!r}"
    if skew := said_of_skew(splits.train):
        comments["balance"] = skew
    if rendered.cut:
        comments["truncation"] = (
            f"{counted(rendered.cut, 'training row is', 'training rows are')} longer than "
            f"{prepared.recipe.max_length} tokens; what is beyond is cut"
        )
    labels = f", {len(prepared.labels)} labels" if prepared.labels else ""
    headline = (
        f"{shown(source)}: {len(splits.train):,} training rows, task {splits.task.value}{labels}.",
        "Written by `tunewright init`. Lines may be removed: what is left out is chosen again.",
    )
    return recipe_text(recipe, prepared.reasons, headline, comments), recipe
