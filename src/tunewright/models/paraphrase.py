"""Ask a decoder for training rows in other words: a paraphrase, or a translation there and back.

This module knows how a model is asked. `data.rewrites` knows what is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tunewright.config.task import Task
from tunewright.data.records import Dataset, Message, Record
from tunewright.data.render import Renderer
from tunewright.data.rewrites import Ask, Rewritten, rewrite
from tunewright.errors import ConfigError, ModelError
from tunewright.models.catalogue import model_folder
from tunewright.models.device import limit_threads
from tunewright.models.generate import generate
from tunewright.models.inspect import inspect_model
from tunewright.models.load import Finished, load_finished

INSTRUCTION = (
    "Rewrite the following text in other words. Keep its meaning, language and tone. Answer with "
    "the rewritten text only."
)
_TEMPERATURE = 0.8
"""Of second and later copies. The first is the likeliest answer, which is always the same."""
_ROOM = 2.0
"""Tokens that a rewrite may have for each token of its text; a longer one has lost its way."""
_LEAST_ROOM = 32


def paraphrase(
    model: str,
    train: Dataset,
    output: Path,
    *,
    instructions: Sequence[str] = (),
    copies: int = 1,
    seed: int = 0,
    batch_size: int = 8,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Rewritten:
    """Write training rows as a model says them in other words; see `data.rewrites.rewrite`.

    Args:
        model: a finished run, a folder, a catalogue name or a hub id of a decoder.
        train: training rows only.
        output: JSONL.
        instructions: what is asked of the model, before the text. Of several, each is asked about
            the answer to the one before: a translation into another language and one back.
            Default: a paraphrase.
        copies: of each row; those behind the first are drawn by chance.
        seed: of that chance.
        batch_size: texts in one pass.
        device: `auto`, `cpu`, `cuda` or `mps`.
        progress: called with the rewrites done and those in all.

    Raises:
        ConfigError: an instruction is blank, or there is nothing to rewrite.
        ModelError: there is no such model, or it does not write.
    """
    asked = tuple(instructions) or (INSTRUCTION,)
    if not all(instruction.strip() for instruction in asked):
        raise ConfigError("--instruction is blank. Say what the model is to do with each text.")
    require_writer(model)

    def load() -> Ask:
        return rewriter(model, asked, seed=seed, batch_size=batch_size, device=device)

    return rewrite(
        train,
        output,
        load,
        {"model": model, "instructions": list(asked), "seed": seed},
        copies=copies,
        at_once=4 * batch_size,
        progress=progress,
    )


def require_writer(model: str) -> None:
    """Refuse a model that cannot write.

    Raises:
        ModelError: there is no such model, or it is an encoder.
    """
    if inspect_model(model_folder(model)).kind == "encoder":
        raise ModelError(
            f"{model} reads texts and cannot write any. Give a model that writes, such as "
            "smollm2-135m-instruct."
        )


def rewriter(
    model: str,
    instructions: Sequence[str] = (INSTRUCTION,),
    *,
    seed: int = 0,
    batch_size: int = 8,
    device: str = "auto",
) -> Ask:
    """Load a model that says texts in other words; the arguments are those of `paraphrase`."""
    limit_threads()
    finished = load_finished(model, Task.INSTRUCTION, device=device)
    return lambda texts, copy: _chain(finished, instructions, texts, copy, seed, batch_size)


def _chain(
    finished: Finished,
    instructions: Sequence[str],
    texts: Sequence[str],
    copy: int,
    seed: int,
    batch_size: int,
) -> list[str | None]:
    """Each text through all instructions; None where an answer had no end."""
    found: list[str | None] = list(texts)
    for number, instruction in enumerate(instructions):
        left = [i for i, text in enumerate(found) if text]
        asked = [found[i] or "" for i in left]
        chance = seed + 1000 * copy + number
        answers = _answers(finished, instruction, asked, copy, chance, batch_size)
        for i, answer in zip(left, answers, strict=True):
            found[i] = answer
    return found


def _answers(
    finished: Finished,
    instruction: str,
    texts: Sequence[str],
    copy: int,
    seed: int,
    batch_size: int,
) -> list[str | None]:
    settings, tokenizer = finished.settings, finished.tokenizer
    renderer = settings.renderer(tokenizer)
    prompts = [_prompt(renderer, instruction, text) for text in texts]
    room = [max(_LEAST_ROOM, int(_ROOM * len(renderer.literal_ids(text)))) for text in texts]
    # A prompt that leaves no room for an answer of this size is not asked.
    fits = [i for i, p in enumerate(prompts) if len(p) + room[i] <= finished.facts.max_length]
    found: list[str | None] = [None] * len(texts)
    if not fits:
        return found
    answers = generate(
        finished.model,
        tokenizer,
        [prompts[i] for i in fits],
        renderer.stop_ids(),
        max_new_tokens=max(room[i] for i in fits),
        batch_size=batch_size,
        temperature=_TEMPERATURE if copy else 0.0,
        seed=seed,
    )
    for i, answer in zip(fits, answers, strict=True):
        if len(renderer.literal_ids(answer)) < room[i]:
            found[i] = answer
    return found


def _prompt(renderer: Renderer, instruction: str, text: str) -> list[int]:
    asked = (Message("user", f"{instruction}\n\n{text}"), Message("assistant", "", train=True))
    return renderer.prompt(Record(messages=asked))[0]
