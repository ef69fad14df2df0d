"""Score a model on a data set: with intervals, beside baselines, with its worst errors.

This module knows predictions, metrics and baselines. It does not know training.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tunewright.artifacts import Artifact, atomic_write, write_json
from tunewright.config.task import Task
from tunewright.data.records import Dataset, Record
from tunewright.data.render import Example, Renderer
from tunewright.errors import ConfigError, DataError
from tunewright.evaluate.answers import Answers, Progress, Work
from tunewright.evaluate.entity_rows import (
    entity_errors,
    entity_line,
    said_of_unseen,
    type_scores,
)
from tunewright.evaluate.wording import system_name
from tunewright.metrics import compare, get_metric, metrics_for
from tunewright.metrics.confusion import calibration_bins, confusion_matrix, per_class_scores
from tunewright.models.baselines import Baseline, embedding_logistic, majority, tfidf_logistic
from tunewright.models.catalogue import model_folder
from tunewright.models.input_settings import InputSettings
from tunewright.models.inspect import inspect_model
from tunewright.models.load import limit_threads, load_finished
from tunewright.models.tag_baselines import majority_tag, tag_dictionary

if TYPE_CHECKING:
    from collections.abc import Mapping

EVALUATION = "evaluation.json"
PREDICTIONS = "predictions.jsonl"
WORST = 10
"""Errors shown."""


@dataclass(frozen=True, slots=True)
class Pair:
    """What a metric takes: references and predictions, row by row."""

    metric: str
    references: Any
    predictions: Any


@dataclass(slots=True)
class Evaluation:
    """Everything an evaluation found; `to_dict` is what `evaluate --json` prints.

    Attributes:
        metrics: by name, each with value, low, high, n and which direction is better.
        baselines: by name, each with the same metrics.
        comparison: by baseline, the paired difference on the first metric, with p and a verdict.
        errors: the worst rows.
        pair: references and predictions of the first metric, for tests against other models.
    """

    model: str
    task: str
    data: dict[str, Any]
    n: int
    metrics: dict[str, dict[str, Any]]
    baselines: dict[str, dict[str, Any]] = field(default_factory=dict)
    comparison: dict[str, dict[str, Any]] = field(default_factory=dict)
    confusion: dict[str, Any] | None = None
    per_class: list[dict[str, Any]] | None = None
    calibration: dict[str, Any] | None = None
    errors: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    rows_per_second: float = 0.0
    pair: Pair | None = None

    def to_dict(self) -> dict[str, Any]:
        """The evaluation as a JSON-like mapping, without `pair`."""
        names = [name for name in self.__dataclass_fields__ if name != "pair"]
        return {name: getattr(self, name) for name in names}


def evaluate(
    model: str,
    dataset: Dataset,
    *,
    metrics: Sequence[str] | None = None,
    train: Dataset | None = None,
    with_baselines: bool = True,
    notes: Sequence[str] = (),
    batch_size: int | None = None,
    max_length: int | None = None,
    max_new_tokens: int = 256,
    device: str = "auto",
    output_dir: Path | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score a model on every row of `dataset`.

    Args:
        model: a finished run, a folder with a model or adapter, a catalogue name or a hub id.
        dataset: rows with references, of the model's task.
        metrics: names; default: those of the task.
        train: the rows the model was tuned on, which the trained baselines need.
        with_baselines: measure the base and the baselines too.
        notes: what a reader must know about the rows; kept with the result.
        batch_size: rows in one pass. Default: 64, or 8 for generative tasks.
        max_length: longest row in tokens. Default: what the model was trained with.
        max_new_tokens: longest generated answer in tokens.
        device: `auto`, `cpu`, `cuda` or `mps`.
        output_dir: where to write `evaluation.json` and `predictions.jsonl`. Default: nowhere.
        progress: told how far the work is.

    Raises:
        ConfigError: a metric is unknown, or does not fit the task.
        DataError: the rows do not fit the model.
        ModelError: the model is not there or cannot answer.
    """
    began = time.monotonic()
    limit_threads()
    names = check_metrics(metrics or (), dataset.task)
    if len(dataset) == 0:
        raise DataError("There is no row to evaluate on. Check the source and its splits.")
    finished = load_finished(model, dataset.task, device=device, max_length=max_length)
    settings = finished.settings
    _check_labels(dataset, settings.labels)
    names = names or [n for n in metrics_for(dataset.task) if _measurable(n, settings)]
    size = batch_size or (8 if dataset.task.is_generative else 64)
    renderer = Renderer(
        finished.tokenizer, settings.task, settings.max_length, settings.template, settings.labels
    )
    examples, cut = _rendered(renderer, dataset)
    work = Work(dataset, examples, renderer, size, max_new_tokens, progress)
    answer_began = time.monotonic()
    answers = work.answers(finished, names, "Scoring the model")
    answer_seconds = time.monotonic() - answer_began
    found = Evaluation(
        model=model,
        task=dataset.task.value,
        data={"name": dataset.name, "rows": len(dataset)},
        n=len(work.rows),
        metrics=work.estimates(names, answers),
        notes=[*notes, *cut, *said_of_unseen(answers)],
    )
    if (pair := work.pair(names[0], answers)) is not None:
        found.pair = Pair(names[0], *pair)
    if with_baselines:
        _add_baselines(found, work, names, answers, train, settings.base, device)
    _add_errors(found, work, answers)
    found.rows_per_second = round(len(examples) / max(1e-9, answer_seconds), 2)
    found.seconds = round(time.monotonic() - began, 2)
    if output_dir is not None:
        _write(found, work, answers, output_dir)
    return found


def check_metrics(names: Sequence[str], task: Task) -> list[str]:
    """Canonical names of metrics; refuses those that cannot score the task.

    Raises:
        ConfigError: unknown names (with the close match) and unfitting ones, all at once.
    """
    faults, found = [], []
    for name in names:
        try:
            metric = get_metric(name)
        except ConfigError as error:
            faults += error.faults
            continue
        if not metric.fits(task):
            faults.append(
                f"Metric {name!r} scores {metric.needs.replace('_', ' ')}, which task "
                f"{task.value!r} does not give. Metrics for it: {', '.join(metrics_for(task))}."
            )
        found.append(metric.name)
    if faults:
        raise ConfigError(faults)
    return list(dict.fromkeys(found))


def _measurable(name: str, settings: InputSettings) -> bool:
    """Areas under curves by default only where there are two classes."""
    return get_metric(name).needs != "probabilities" or len(settings.labels) >= 2


def _check_labels(dataset: Dataset, known: Sequence[str]) -> None:
    unknown = sorted(set(dataset.labels) - set(known))
    if unknown and known:
        raise DataError(
            f"{dataset.name or 'The data'} has labels that the model does not know: "
            f"{', '.join(map(repr, unknown[:5]))}. It knows {', '.join(map(repr, known[:10]))}. "
            "Map or remove those rows, or train a model with them."
        )


def _rendered(renderer: Renderer, dataset: Dataset) -> tuple[list[Example], list[str]]:
    rendered = renderer.render(dataset, "cut")
    notes = []
    if rendered.cut and renderer.task is not Task.TOKEN_CLASSIFICATION:
        notes.append(
            f"{rendered.cut} rows are longer than {renderer.max_length} tokens; their ends were "
            "not scored."
        )
    if rendered.dropped:
        notes.append(f"{rendered.dropped} rows have nothing to score within that length.")
    return rendered.examples, notes


def _add_baselines(
    found: Evaluation,
    work: Work,
    names: Sequence[str],
    answers: Answers,
    train: Dataset | None,
    base: str,
    device: str,
) -> None:
    """Measure the base and the baselines on the same rows, and compare with each."""
    test = Dataset(work.dataset.task, tuple(work.records), work.dataset.name)
    others: dict[str, Answers] = {}
    if work.dataset.task.is_generative:
        if base and Path(base).expanduser() != Path(found.model).expanduser():
            finished = load_finished(base, work.dataset.task, device=device)
            others["base"] = work.answers(finished, names, "Scoring the base")
    elif train is None:
        found.notes.append(
            "The rows the model was tuned on are not known, so only the base could be a baseline; "
            "give them to measure the others too."
        )
    else:
        others |= _trained_baselines(work, train, test, base)
    first = names[0]
    for name, other in others.items():
        found.baselines[name] = {"metrics": work.estimates(names, other)}
        ours, theirs = work.pair(first, answers), work.pair(first, other)
        if ours is not None and theirs is not None:
            found.comparison[name] = compare(
                first,
                ours[0],
                ours[1],
                theirs[1],
                name_a="this model",
                name_b=system_name(name),
            ).to_dict()


def _trained_baselines(
    work: Work, train: Dataset, test: Dataset, base: str
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
        steps.append(
            ("Baseline: frozen embeddings", lambda: embedding_logistic(train, test, folder))
        )
    made = {}
    for number, (what, measure) in enumerate(steps):
        report(what, number, len(steps))
        found = measure()
        made[found.name] = Answers(found.predictions, found.probabilities, found.classes or ())
        report(what, number + 1, len(steps))
    return made


def _add_errors(found: Evaluation, work: Work, answers: Answers) -> None:
    records = work.records
    task = work.dataset.task
    if task.is_generative:
        mean = answers.losses / np.maximum(1, answers.tokens)
        worst = np.argsort(-mean, kind="stable")[:WORST].tolist()
        found.errors = [_generative_error(records[i], float(mean[i]), answers, i) for i in worst]
        return
    if task is Task.REGRESSION:
        expected = np.asarray([float(str(r.label)) for r in records])
        gaps = np.abs(np.asarray(answers.predictions) - expected)
        worst = np.argsort(-gaps, kind="stable")[:WORST].tolist()
        found.errors = [
            _error(records[i], answers.predictions[i]) | {"distance": float(gaps[i])} for i in worst
        ]
        return
    if task is Task.TOKEN_CLASSIFICATION:
        found.errors = entity_errors(records, answers)[:WORST]
        found.per_class = type_scores(records, answers)
        return
    wrong = [
        i for i, r in enumerate(records) if _as_set(r.label) != _as_set(answers.predictions[i])
    ]
    confidence = np.asarray(answers.probabilities).max(axis=1)
    wrong.sort(key=lambda i: -confidence[i])
    found.errors = [
        _error(records[i], answers.predictions[i]) | {"confidence": float(confidence[i])}
        for i in wrong[:WORST]
    ]
    if task is Task.CLASSIFICATION:
        labels = [str(record.label) for record in records]
        matrix = confusion_matrix(labels, list(answers.predictions), list(answers.classes))
        found.confusion = {"labels": list(answers.classes), "matrix": np.asarray(matrix).tolist()}
        found.per_class = per_class_scores(labels, list(answers.predictions), list(answers.classes))
        index = {name: i for i, name in enumerate(answers.classes)}
        found.calibration = calibration_bins(
            [index[label] for label in labels], answers.probabilities
        )


def _as_set(label: Any) -> set[str]:
    return set(label) if isinstance(label, tuple) else {str(label)}


def _error(record: Record, predicted: Any) -> dict[str, Any]:
    return {
        "row": record.row,
        "text": record.plain_text,
        "expected": list(record.label) if isinstance(record.label, tuple) else record.label,
        "predicted": list(predicted) if isinstance(predicted, tuple) else predicted,
    }


def _generative_error(record: Record, loss: float, answers: Answers, i: int) -> dict[str, Any]:
    return {
        "row": record.row,
        "prompt": "\n".join(message.content for message in record.messages[:-1]),
        "expected": record.messages[-1].content if record.messages else record.text[:500],
        "predicted": answers.texts[i] if answers.texts else None,
        "loss": loss,
    }


def _write(found: Evaluation, work: Work, answers: Answers, folder: Path) -> None:
    artifact = Artifact.create(folder, "evaluation", {"model": found.model, "data": found.data})
    lines = []
    for i, record in enumerate(work.records):
        line: dict[str, Any] = {"row": record.row}
        if answers.losses is not None:
            line |= {"loss": float(answers.losses[i]), "tokens": int(answers.tokens[i])}
            if answers.texts:
                line["predicted"] = answers.texts[i]
        elif record.words:
            line |= entity_line(record, answers, i)
        else:
            line |= {"expected": record.label, "predicted": answers.predictions[i]}
            if answers.probabilities is not None:
                line["probabilities"] = [round(float(p), 6) for p in answers.probabilities[i]]
        lines.append(json.dumps(line, ensure_ascii=False))
    atomic_write(folder / PREDICTIONS, "\n".join(lines) + "\n")
    write_json(folder / EVALUATION, found.to_dict())
    artifact.finish("done", metrics=found.metrics)
