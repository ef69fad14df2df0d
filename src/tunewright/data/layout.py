"""Which layout the rows of a model that writes get: `chat`, `plain` or `seq2seq`.

This module knows the choice. What each layout makes of a row is said by `render.py`.
"""

from __future__ import annotations

from typing import Any

from tunewright.config.task import Task
from tunewright.errors import ConfigError

SOURCE_TARGET = "seq2seq"
"""The layout of encoder-decoder models, beside `chat` and `plain`. It follows from the model and
cannot be asked for in a recipe."""


def pick_template(
    template: str,
    tokenizer: Any,
    task: Task,
    kind: str = "decoder",
    source_prefix: str = "",
    system: str = "",
) -> str:
    """How rows are laid out.

    Args:
        template: `auto` takes `seq2seq` for an encoder-decoder model, and `chat` for conversations
            where the tokenizer has a template. Anything else is taken as it is.
        tokenizer: of the model.
        task: of the rows.
        kind: of the model; see `models.inspect`.
        source_prefix: text before every source.
        system: system message of conversations that have none.

    Raises:
        ConfigError: the template, the prefix or the system message is for another kind of model or
            task.
    """
    if system and (kind != "decoder" or task is not Task.INSTRUCTION):
        what = f"the task is {task.value!r}" if kind == "decoder" else f"the model is an {kind}"
        raise ConfigError(
            f"data.system is {system!r}, which only conversations with a decoder have, and {what}; "
            "remove it."
        )
    if kind == "encoder-decoder":
        if template not in ("auto", SOURCE_TARGET):
            raise ConfigError(
                f"data.template is {template!r}, but an encoder-decoder model reads a source and "
                "writes a target, with no template between them; remove data.template."
            )
        return SOURCE_TARGET
    if source_prefix:
        raise ConfigError(
            f"data.source_prefix is {source_prefix!r}, which only encoder-decoder models have, and "
            f"the model is {'an encoder' if kind == 'encoder' else 'a decoder'}; remove it, or "
            "write the words into the prompts."
        )
    if template != "auto":
        return template
    return "chat" if tokenizer.chat_template and task is Task.INSTRUCTION else "plain"
