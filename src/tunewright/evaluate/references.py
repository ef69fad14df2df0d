"""What a model is measured against on the same rows: its base, trained baselines, an earlier model.

This module knows models and baselines. It does not know how scores are told.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunewright.config.task import Task
from tunewright.data.few_shot import NearestRows
from tunewright.data.records import Dataset
from tunewright.evaluate.answers import Answers, Work, of_pairs
from tunewright.evaluate.previous import (
    PREVIOUS,
    ask_previous,
    changes,
    paired,
    said_of_changes,
)
from tunewright.evaluate.prompted import (
    FEW_SHOT,
    ZERO_SHOT,
    asks_labels,
    label_answers,
    shown_work,
)
from tunewright.evaluate.wording import system_name
from tunewright.metrics import compare
from tunewright.models.answer_baselines import nearest_sentence, no_answer
from tunewright.models.baselines import (
    Baseline,
    embedding_knn,
    embedding_logistic,
    embeddings,
    majority,
    tfidf_logistic,
)
from tunewright.models.catalogue import model_folder
from tunewright.models.inspect import inspect_model
from tunewright.models.load import load_finished
from tunewright.models.rank_pairs import tfidf_pairs
from tunewright.models.tag_baselines import majority_tag, tag_dictionary

if TYPE_CHECKING:
    import torch

    from tunewright.evaluate.run import Evaluation


def add_baselines(
    found: Evaluation,
    work: Work,
    names: Sequence[str],
    answers: Answers,
    train: Dataset | None,
    base: str,
    device: str,
    few_shot: int = 0,
    dtype: torch.dtype | None = None,
) -> None:
    """Measure the base and the baselines on the same rows, and compare with each.

    Args:
        few_shot: training rows that the base is shown before each row, besides being asked without.
        dtype: of the base's weights: that of the model, or rounding would be compared too.
    """
    test = Dataset(work.dataset.task, tuple(work.records), work.dataset.name)
    others: dict[str, Answers] = {}
    if not work.dataset.task.has_new_head:
        is_tuned = Path(base).expanduser() != Path(found.model).expanduser()
        if base and (is_tuned or few_shot):
            finished = load_finished(base, work.dataset.task, device=device, dtype=dtype)
            if is_tuned:
                others["base"] = work.answers(finished, names, "Scoring the base")
            if few_shot and train is not None:
                shown = shown_work(work, finished, NearestRows(train, few_shot))
                others[FEW_SHOT] = shown.answers(finished, names, f"The base, {few_shot} examples")
        if work.dataset.task is Task.EMBEDDING:
            others["tfidf_cosine"] = of_pairs(tfidf_pairs(work.records), work.records)
    elif work.dataset.task is Task.QUESTION_ANSWERING:
        others["nearest_sentence"] = Answers(nearest_sentence(test).predictions)
        if any(not record.answers for record in test):
            others["no_answer"] = Answers(no_answer(test).predictions)
    elif train is None:
        found.notes.append(
            "The rows the model was tuned on are not known, so only the base could be a baseline; "
            "give them to measure the others too."
        )
    else:
        others |= _trained_baselines(work, train, test, base, device)
    if train is not None and asks_labels(work.dataset.task, base, answers.classes):
        finished = load_finished(base, Task.INSTRUCTION, device=device, dtype=dtype)
        others[ZERO_SHOT] = label_answers(work, finished, answers.classes)
        if few_shot:
            near = NearestRows(train, few_shot)
            others[FEW_SHOT] = label_answers(work, finished, answers.classes, near)
    for name, other in others.items():
        found.baselines[name] = {"metrics": work.estimates(names, other)}
        if name == FEW_SHOT:
            found.baselines[name]["examples"] = few_shot
        ours, theirs = work.pair(names[0], answers), work.pair(names[0], other)
        _add_test(found, name, names[0], ours, theirs, work.groups)


def _add_test(
    found: Evaluation, name: str, metric: str, ours: Any, theirs: Any, groups: list[Any] | None
) -> None:
    """Compare with a baseline row by row, where both were asked the same."""
    if paired(ours, theirs):
        found.comparison[name] = compare(
            metric,
            ours[0],
            ours[1],
            theirs[1],
            groups=groups,
            name_a="this model",
            name_b=system_name(name),
        ).to_dict()


def add_previous(
    found: Evaluation, work: Work, names: Sequence[str], answers: Answers, against: str, device: str
) -> None:
    """Measure an earlier model on the same rows, and say what changed since."""
    theirs, before = ask_previous(against, work, names, device)
    found.baselines[PREVIOUS] = {
        "model": against,
        "metrics": theirs.estimates(names, before),
    }
    ours, other = work.pair(names[0], answers), theirs.pair(names[0], before)
    _add_test(found, PREVIOUS, names[0], ours, other, work.groups)
    if PREVIOUS not in found.comparison:
        found.notes.append(
            f"{against} reads the rows in other tokens, so there is no paired test against it; "
            "compare the intervals, or score by bits_per_byte."
        )
    found.changes = changes(work, answers, theirs, before, names)
    if found.changes is not None:
        found.notes.append(said_of_changes(found.changes))


def _trained_baselines(
    work: Work, train: Dataset, test: Dataset, base: str, device: str
) -> Mapping[str, Answers]:
    report = work.progress or (lambda what, done, total: None)
    steps: list[tuple[str, Callable[[], Baseline]]] = [
        ("Baseline: majority", lambda: majority(train, test)),
        ("Baseline: TF-IDF", lambda: tfidf_logistic(train, test)),
    ]
    if train.task is Task.TOKEN_CLASSIFICATION:
        steps = [
            ("Baseline: most frequent tag", lambda: majority_tag(train, test)),
            ("Baseline: each word's most frequent tag", lambda: tag_dictionary(train, test)),
        ]
    elif base and inspect_model(model_folder(base)).kind == "encoder":
        folder = model_folder(base)
        shared = functools.cache(lambda: embeddings(train, test, folder, device=device))
        steps += [
            (
                "Baseline: frozen embeddings",
                lambda: embedding_logistic(train, test, shared()),
            ),
            (
                "Baseline: nearest training rows",
                lambda: embedding_knn(train, test, shared()),
            ),
        ]
    made = {}
    for number, (what, measure) in enumerate(steps):
        report(what, number, len(steps))
        found = measure()
        made[found.name] = Answers(found.predictions, found.probabilities, found.classes or ())
        report(what, number + 1, len(steps))
    return made
