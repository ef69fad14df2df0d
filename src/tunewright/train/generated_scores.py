"""Scores of answers that the model writes for validation rows during training.

The rows are drawn once, from the recipe's seed, so that scores of different steps are of the same
prompts. Answers are the likeliest tokens, which takes no chance, and leave nothing behind: no
logits, no random state. This module knows rows, metrics and how answers are made. It does not know
what is done about a score.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tunewright.config.recipe import Recipe
from tunewright.data.example import Example
from tunewright.data.records import Dataset
from tunewright.data.render import Renderer
from tunewright.data.task_prompts import MIXED, rows_by_name
from tunewright.errors import DataError
from tunewright.metrics import get_metric
from tunewright.models.generate import generate

if TYPE_CHECKING:
    from accelerate import Accelerator


_LOOKED_AT = 1000
"""Rows that are drawn from, unless the recipe asks for more answers."""


@dataclass(frozen=True, slots=True)
class Question:
    """A validation row as a prompt, and the answer it should get.

    Attributes:
        prompt: token ids.
        reference: the answer.
        window: tokens of the prompt that take room from the answer: none in an encoder.
        answer_tokens: of the reference, its end included.
        mixed: the source of the row, where tasks are mixed.
    """

    prompt: list[int]
    reference: str
    window: int
    answer_tokens: int
    mixed: str = ""


@dataclass(frozen=True, slots=True)
class GeneratedScores:
    """What is asked with each score, and what measures the answers.

    Attributes:
        metrics: names, of metrics that need texts.
        questions: prompts and references.
        tokenizer: of the model.
        stop_ids: tokens that end an answer.
        max_new_tokens: longest answer.
    """

    metrics: Sequence[str]
    questions: Sequence[Question]
    tokenizer: Any
    stop_ids: Sequence[int]
    max_new_tokens: int

    def measure(
        self, model: Any, accelerator: Accelerator, batch_size: int
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Let the model answer, and score its answers.

        Several processes share the questions, and all get all scores.

        Args:
            model: left in the mode it was in.
            accelerator: knows the processes.
            batch_size: prompts in one batch.

        Returns:
            Each metric by name, and `METRIC_NAME` of each source of a mix; and what it cost:
            `rows`, `seconds`.
        """
        began = time.monotonic()
        here = range(accelerator.process_index, len(self.questions), accelerator.num_processes)
        said = generate(
            model,
            self.tokenizer,
            [self.questions[i].prompt for i in here],
            self.stop_ids,
            max_new_tokens=self.max_new_tokens,
            batch_size=batch_size,
        )
        answers = _of_all(accelerator, list(zip(here, said, strict=True)))
        references = [question.reference for question in self.questions]
        scores = {name: get_metric(name).compute(references, answers) for name in self.metrics}
        names = [question.mixed for question in self.questions]
        for mixed, rows in rows_by_name(names if len(set(names)) > 1 else []).items():
            pair = [references[i] for i in rows], [answers[i] for i in rows]
            scores |= {f"{n}_{mixed}": get_metric(n).compute(*pair) for n in self.metrics}
        seconds = round(time.monotonic() - began, 3)
        return scores, {"rows": len(answers), "seconds": seconds}


def _of_all(accelerator: Accelerator, said: list[tuple[int, str]]) -> list[str]:
    """The answers of all processes, in the order of the questions."""
    if accelerator.num_processes > 1:
        from accelerate.utils import gather_object

        said = gather_object(said)
    return [text for _, text in sorted(said)]


def questions_of(
    recipe: Recipe, renderer: Renderer, dataset: Dataset, examples: Sequence[Example]
) -> list[Question]:
    """Validation rows as prompts with references: all, or some of very many.

    Args:
        recipe: its seed, and how many rows it asks for.
        renderer: of the run.
        dataset: the validation rows.
        examples: the same, rendered.
    """
    # The same with a recipe that leaves the number open, and with what it became for a resume.
    looked_at = max(_LOOKED_AT, recipe.generation_rows or 0)
    found = []
    for i in _drawn(recipe.seed, len(examples), looked_at):
        example = examples[i]
        record = dataset.records[example.row]
        prompt, reference = renderer.prompt(record, example.answer)
        window = 0 if renderer.pairs is not None else len(prompt)
        tokens = len(renderer.literal_ids(reference)) + 1
        mixed = str(record.meta.get(MIXED) or "")
        found.append(Question(prompt, reference, window, tokens, mixed))
    return found


def make_generated_scores(
    recipe: Recipe, renderer: Renderer, asked: Sequence[Question], room: int
) -> GeneratedScores | None:
    """Draw the rows that are answered, and hold every metric to their references.

    Args:
        recipe: resolved.
        renderer: of the run.
        asked: from `questions_of`.
        room: tokens that the model takes; a prompt that leaves too few for an answer is not drawn.

    Returns:
        None where the recipe asks for no metric of answers.

    Raises:
        DataError: a metric is not defined for these references.
    """
    limit = recipe.generation_max_new_tokens
    if not recipe.generation_metrics or limit is None:
        return None
    fitting = [question for question in asked if question.window + limit <= room]
    assert recipe.generation_rows is not None
    questions = [fitting[i] for i in _drawn(recipe.seed, len(fitting), recipe.generation_rows)]
    references = [question.reference for question in questions]
    for name in recipe.generation_metrics:
        try:
            get_metric(name).compute(references, references)
        except DataError as error:
            raise DataError(
                f"{name} cannot be measured during training. {error} Take another metric, or "
                "validation rows that have what it needs."
            ) from error
    return GeneratedScores(
        recipe.generation_metrics, questions, renderer.tokenizer, renderer.stop_ids(), limit
    )


def _drawn(seed: int, rows: int, wanted: int) -> list[int]:
    """At most `wanted` of the rows, in order, by chance from the seed alone."""
    random = np.random.Generator(np.random.Philox(key=[seed, rows]))
    return [int(i) for i in np.sort(random.permutation(rows)[:wanted])]
