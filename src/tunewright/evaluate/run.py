"""Score a model on a data set: with intervals, beside baselines, with its worst errors.

This module knows predictions, metrics and baselines. It does not know training.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tunewright.artifacts import Artifact, atomic_write, write_json
from tunewright.config.task import Task
from tunewright.data.example import Example
from tunewright.data.finding import counted
from tunewright.data.records import Dataset
from tunewright.data.render import Renderer
from tunewright.errors import ConfigError, DataError
from tunewright.evaluate.answer_rows import answer_errors, said_of_windows
from tunewright.evaluate.answers import Answers, Progress, Work
from tunewright.evaluate.attributed import attribute_rows, require_attributable
from tunewright.evaluate.benchmark_tasks import Benchmark, require_asked
from tunewright.evaluate.benchmarks import measure_benchmarks, require_decoder
from tunewright.evaluate.cost import measure_cost, require_latency
from tunewright.evaluate.entity_rows import entity_errors, said_of_unseen, type_scores
from tunewright.evaluate.forgetting import measure_forgetting, require_tuned_text
from tunewright.evaluate.pair_rows import pair_errors, require_measurable
from tunewright.evaluate.passes import PASS_RATE, Passes
from tunewright.evaluate.predictions import prediction_lines
from tunewright.evaluate.probe_rows import Probes
from tunewright.evaluate.prompted import check_few_shot
from tunewright.evaluate.references import add_baselines, add_previous
from tunewright.evaluate.robustness import measure_robustness, require_changeable
from tunewright.evaluate.slices import find_slices, slice_metric
from tunewright.evaluate.suspect_rows import suspect_rows
from tunewright.evaluate.task_scores import scores_by_task
from tunewright.evaluate.worst_errors import WORST, worst_errors
from tunewright.metrics import get_metric, metrics_for
from tunewright.metrics.confusion import calibration_bins, confusion_matrix, per_class_scores
from tunewright.models.device import limit_threads
from tunewright.models.few_bits import quantize_for_scores
from tunewright.models.input_settings import InputSettings
from tunewright.models.load import load_finished
from tunewright.models.memory import reset_peak_memory
from tunewright.models.paraphrase import require_writer
from tunewright.models.token_similarity import ENCODER

EVALUATION = "evaluation.json"
BERTSCORE = "bertscore"
PREDICTIONS = "predictions.jsonl"


@dataclass(frozen=True, slots=True)
class Pair:
    """What a metric takes: references and predictions by row, and which rows share a source."""

    metric: str
    references: Any
    predictions: Any
    groups: Any = None


@dataclass(slots=True)
class Evaluation:
    """Everything an evaluation found; `to_dict` is what `evaluate --json` prints.

    Attributes:
        metrics: by name, each with value, low, high, n and which direction is better.
        baselines: by name, each with the same metrics.
        comparison: by baseline, the paired difference on the first metric, with p and a verdict.
        errors: the worst rows, with the training rows nearest to each where these are known.
        by_task: of a mix of tasks, the metrics of each source's rows, by its name.
        slices: scores of parts of the rows, and which are worse than the rest; see `find_slices`.
        changes: rows fixed and broken since an earlier model.
        forgetting: probes before and after tuning; see `measure_forgetting`.
        benchmarks: public benchmarks before and after; see `measure_benchmarks`.
        robustness: scores of rows that are written otherwise; see `measure_robustness`.
        suspects: rows whose own label is probably wrong; see `suspect_rows`.
        cost: size, memory and time of the model; see `measure_cost`.
        attribution: which words moved the prediction of some rows; see `attribute_rows`.
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
    by_task: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    slices: dict[str, Any] | None = None
    changes: dict[str, Any] | None = None
    forgetting: dict[str, Any] | None = None
    benchmarks: dict[str, Any] | None = None
    robustness: dict[str, Any] | None = None
    attribution: dict[str, Any] | None = None
    suspects: dict[str, Any] | None = None
    cost: dict[str, Any] | None = None
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
    few_shot: int = 0,
    slices: Sequence[str] | None = None,
    against: str | None = None,
    probes: Probes | None = None,
    benchmarks: Sequence[Benchmark] = (),
    robustness: bool = False,
    paraphraser: str | None = None,
    latency: int = 0,
    attribute: int = 0,
    attribute_to_rows: Sequence[int] = (),
    attribute_word: int | None = None,
    passes: Passes | None = None,
    notes: Sequence[str] = (),
    batch_size: int | None = None,
    max_length: int | None = None,
    max_new_tokens: int = 256,
    encoder: str | None = None,
    device: str = "auto",
    quantized: str | None = None,
    quantized_group_size: int | None = None,
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
        few_shot: training rows to show the base before each row, in a baseline of its own: those
            most like the row. Of instructions, and of labels where the base is a decoder.
        slices: columns to score the rows by, one part after the other. Default: length, label,
            language, source and every column of few values.
        against: an earlier model of the same task, which becomes the baseline `previous`.
        probes: rows that show what tuning cost (`load_probes`). Default: that is not measured.
        benchmarks: public benchmarks to ask the model and its base (`load_benchmarks`).
        robustness: also score the rows with typing slips, in other case, without punctuation, and
            count the answers that a negation moves.
        paraphraser: a model that writes, which says the rows in other words: one more probe of
            robustness, and asks for the others too.
        latency: so many rows are also answered one by one, and timed.
        attribute: say of so many of the worst errors which words moved the prediction.
        attribute_to_rows: the same of these rows, by their number.
        attribute_word: of tagged rows, the word of them whose tag is explained, from 1.
        passes: says of a row and the answer to it whether it passes; `pass_rate` then comes first.
        notes: what a reader must know about the rows; kept with the result.
        batch_size: rows in one pass. Default: 64, or 8 for generative tasks, of which 32
            answers are written at once.
        max_length: longest row in tokens. Default: what the model was trained with.
        max_new_tokens: longest generated answer in tokens.
        encoder: what `bertscore` compares texts by; a folder, catalogue name or hub id. Default:
            all-minilm-l6-v2.
        device: `auto`, `cpu`, `cuda` or `mps`.
        quantized: score the model with its layers in few bits: `int4_weight` or
            `int8_dynamic_int4_weight`. What it is compared with is not quantized.
        quantized_group_size: inputs that share a scale then. Default: 32.
        output_dir: where to write `evaluation.json` and `predictions.jsonl`. Default: nowhere.
        progress: told how far the work is.

    Raises:
        ConfigError: a metric is unknown, or does not fit the task; a slice does not exist.
        DataError: the rows do not fit the model.
        ModelError: the model is not there or cannot answer.
    """
    began = time.monotonic()
    limit_threads()
    names = check_metrics(metrics or (), dataset.task)
    if PASS_RATE in names and passes is None:
        raise ConfigError("Metric 'pass_rate' needs a function that says what passes: --pass.")
    if passes is not None and not get_metric(PASS_RATE).fits(dataset.task):
        raise ConfigError(
            f"Rows of task {dataset.task.value!r} have no answers that a function could pass."
        )
    if encoder is not None and BERTSCORE not in names:
        raise ConfigError("--encoder is what bertscore compares texts by: --metric bertscore.")
    if robustness or paraphraser:
        require_changeable(dataset.task)
    if paraphraser:
        require_writer(paraphraser)
    if latency:
        require_latency(dataset.task)
    if attribute or attribute_to_rows or attribute_word:
        require_attributable(dataset.task, attribute_word)
    if attribute_word and not attribute_to_rows:
        raise ConfigError("--attribute-word chooses a word of a row; it needs --attribute-row ROW.")
    if benchmarks:
        require_asked(dataset.task)
    if few_shot and not with_baselines:
        raise ConfigError("--few-shot measures one more baseline; leave out --no-baselines.")
    if len(dataset) == 0:
        raise DataError("There is no row to evaluate on. Check the source and its splits.")
    reset_peak_memory()
    finished = load_finished(model, dataset.task, device=device, max_length=max_length)
    if quantized is not None:
        notes = [*notes, quantize_for_scores(finished.model, quantized, quantized_group_size)]
    if probes is not None:
        require_tuned_text(finished, model)
    if benchmarks:
        require_decoder(finished, model)
    settings = finished.settings
    _check_labels(dataset, settings.labels)
    check_few_shot(few_shot, dataset.task, settings.base, settings.labels, train)
    names = require_measurable(names, dataset)
    names = names or [n for n in metrics_for(dataset.task) if _measurable(n, settings)]
    if passes is not None:
        names = [PASS_RATE, *(name for name in names if name != PASS_RATE)]
    size = batch_size or (8 if dataset.task.is_generative else 64)
    renderer = settings.renderer(finished.tokenizer)
    examples, cut = _rendered(renderer, dataset)
    work = Work(
        dataset, examples, renderer, size, max_new_tokens, progress, passes,
        encoder or ENCODER, device, batch_size,
    )  # fmt: skip
    if BERTSCORE in names:
        notes = [*notes, f"bertscore: tokens compared by {work.encoder}, not rescaled."]
    if (groups := work.groups) is not None:
        notes = [
            *notes,
            f"Intervals and tests are over the {len(set(groups)):,} groups of column 'group', not "
            f"over {len(groups):,} rows.",
        ]
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
    found.by_task = scores_by_task(work, names, answers)
    if (pair := work.pair(names[0], answers)) is not None:
        found.pair = Pair(names[0], *pair, work.groups)
    found.cost = measure_cost(finished, work, latency)  # before other models need memory
    if against is not None:
        add_previous(found, work, names, answers, against, device)
    if with_baselines:
        add_baselines(
            found, work, names, answers, train, settings.base, device, few_shot,
            finished.model.dtype,
        )  # fmt: skip
    _add_errors(found, work, answers, train)
    _add_slices(found, work, names, answers, slices)
    if probes is not None:
        found.forgetting = measure_forgetting(
            finished, model, probes, device=device, batch_size=size, progress=progress
        )
    if benchmarks:
        found.benchmarks = measure_benchmarks(
            finished, model, benchmarks, device=device, batch_size=size, progress=progress
        )
    if robustness or paraphraser:
        found.robustness = measure_robustness(finished, work, names, answers, paraphraser)
    if attribute or attribute_to_rows:
        found.attribution = attribute_rows(
            finished, work, answers, attribute, attribute_to_rows, attribute_word, progress
        )
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


def _rendered(renderer: Renderer, dataset: Dataset) -> tuple[Sequence[Example], list[str]]:
    rendered = renderer.render(dataset, "cut")
    notes = []
    if renderer.task is Task.QUESTION_ANSWERING:
        return rendered.examples, said_of_windows(rendered)
    if rendered.cut and renderer.task is not Task.TOKEN_CLASSIFICATION:
        notes.append(
            f"{counted(rendered.cut, 'row is', 'rows are')} longer than {renderer.max_length} "
            "tokens; what is beyond was not scored."
        )
    if rendered.dropped:
        dropped = counted(rendered.dropped, "row has", "rows have")
        notes.append(f"{dropped} nothing to score within that length.")
    return rendered.examples, notes


def _add_errors(found: Evaluation, work: Work, answers: Answers, train: Dataset | None) -> None:
    if work.dataset.task is Task.TOKEN_CLASSIFICATION:
        found.errors = entity_errors(work.records, answers)[:WORST]
        found.per_class = type_scores(work.records, answers)
        return
    if work.dataset.task is Task.QUESTION_ANSWERING:
        found.errors = answer_errors(work.records, answers)[:WORST]
        return
    if work.dataset.task is Task.EMBEDDING:
        found.errors = pair_errors(work.records, answers)[:WORST]
        return
    known = train if train is not None and train.task is work.dataset.task else None
    found.errors = worst_errors(work.records, answers, work.dataset.task, known)
    if work.dataset.task is Task.CLASSIFICATION:
        labels = [str(record.label) for record in work.records]
        matrix = confusion_matrix(labels, list(answers.predictions), list(answers.classes))
        found.confusion = {"labels": list(answers.classes), "matrix": np.asarray(matrix).tolist()}
        found.per_class = per_class_scores(labels, list(answers.predictions), list(answers.classes))
        index = {name: i for i, name in enumerate(answers.classes)}
        found.suspects = suspect_rows(work.records, answers)
        found.calibration = calibration_bins(
            [index[label] for label in labels], answers.probabilities
        )


def _add_slices(
    found: Evaluation,
    work: Work,
    names: Sequence[str],
    answers: Answers,
    wanted: Sequence[str] | None,
) -> None:
    metric = slice_metric(names, work.dataset.task)
    pair = work.pair(metric, answers)
    if pair is not None:
        found.slices = find_slices(work.records, metric, *pair, wanted=wanted, groups=work.groups)


def _write(found: Evaluation, work: Work, answers: Answers, folder: Path) -> None:
    artifact = Artifact.create(folder, "evaluation", {"model": found.model, "data": found.data})
    atomic_write(folder / PREDICTIONS, "\n".join(prediction_lines(work, answers)) + "\n")
    write_json(folder / EVALUATION, found.to_dict())
    artifact.finish("done", metrics=found.metrics)
