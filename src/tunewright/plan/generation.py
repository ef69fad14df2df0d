"""Which answers are written and scored during training, where a recipe asks for them.

This module knows rules and the names of metrics. It does not know how answers are made.
"""

from __future__ import annotations

from collections.abc import Sequence

from tunewright.config.recipe import Recipe
from tunewright.config.task import Task
from tunewright.errors import ConfigError
from tunewright.metrics import METRIC_NAMES, get_metric
from tunewright.plan.settings import Choices, Settings

_ROWS = 64
"""The 95 % interval of a share of one half is 12 points to each side."""
_NEW_TOKENS = 256
_SLACK = 8
"""Tokens more than the longest answer has; without them one that should have ended looks right."""
_KEYS = ("generation_metrics", "generation_rows", "generation_max_new_tokens")


def answer_metrics() -> list[str]:
    """Names of the metrics that score generated answers."""
    return [name for name in METRIC_NAMES if get_metric(name).needs == "texts"]


def asks_for_answers(recipe: Recipe, task: Task) -> bool:
    """Whether a run of this task writes answers that are scored."""
    best = recipe.metric_for_best_model
    scored = best is not None and best != "loss" and get_metric(best).needs == "texts"
    return task is Task.INSTRUCTION and (scored or recipe.generation_metrics is not None)


def choose_generation(
    settings: Settings, task: Task, prompts: Sequence[int], answers: Sequence[int], room: int
) -> Settings:
    """Fill the keys of generated answers, where the recipe asks for a metric of them.

    Args:
        settings: with every other key filled.
        task: of the data.
        prompts: tokens of each validation row's prompt; 0 where answers have a window of their own.
        answers: tokens of each validation row's answer, its end included.
        room: tokens that the model takes, prompt and answer together.

    Raises:
        ConfigError: a metric is unknown or scores something else, the task has no answers, or
            there are not as many rows.
    """
    recipe = settings.recipe
    if not asks_for_answers(recipe, task):
        _require_none(recipe, task)
        return settings
    choice = Choices(recipe)
    metrics = [_canonical(name) for name in recipe.generation_metrics or ()]
    best = recipe.metric_for_best_model
    if best is not None and best != "loss" and get_metric(best).needs == "texts":
        metrics = list(dict.fromkeys([*metrics, get_metric(best).name]))
    choice.set("generation_metrics", metrics, "metric_for_best_model scores written answers")
    choice.values["generation_metrics"] = metrics  # by their own names, the deciding one among them
    if not answers:
        raise ConfigError(
            f"{', '.join(metrics)} cannot be measured during training: there is no validation row. "
            "Set data.validation, such as 0.1."
        )
    longest = max(answers)
    limit = choice.set(
        "generation_max_new_tokens",
        min(_NEW_TOKENS, longest + max(_SLACK, longest // 4)),
        f"the longest answer of a validation row has {longest:,} tokens, and one that does not end "
        "must show",
    )
    fitting = sum(prompt + limit <= room for prompt in prompts)
    if not fitting:
        raise ConfigError(
            f"generation_max_new_tokens is {limit}, but beside the shortest prompt the model has "
            f"room for {room - min(prompts)} tokens. Lower it."
        )
    rows = choice.set(
        "generation_rows",
        min(_ROWS, fitting),
        f"of {fitting:,}; each costs an answer with each score",
    )
    if rows > fitting:
        raise ConfigError(
            f"generation_rows is {rows} but {fitting} validation rows can be answered within the "
            f"{room:,} tokens of the model; lower it or hold more rows out (data.validation)."
        )
    return Settings(recipe.model_copy(update=choice.values), settings.reasons | choice.reasons)


def _require_none(recipe: Recipe, task: Task) -> None:
    """Refuse keys of answers that would have no effect."""
    given = next((key for key in _KEYS if getattr(recipe, key) is not None), None)
    if given is None:
        return
    if task is Task.INSTRUCTION:
        raise ConfigError(
            f"{given} has no effect without generation_metrics, such as exact_match. Give both or "
            "neither."
        )
    why = "plain texts have no answers" if task is Task.TEXT else "such a model writes nothing"
    raise ConfigError(f"{given} has no effect with task {task.value!r}: {why}. Remove it.")


def _canonical(name: str) -> str:
    """The metric's own name.

    Raises:
        ConfigError: it is unknown, or does not score answers.
    """
    if name == "loss" or get_metric(name).needs != "texts":
        raise ConfigError(
            f"generation_metrics names {name!r}, which does not score answers. Those that do: "
            f"{', '.join(answer_metrics())}."
        )
    return get_metric(name).name
