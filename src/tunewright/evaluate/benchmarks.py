"""What public benchmarks say of a tuned model and of its base, question by question.

lm-eval asks and marks; intervals, paired tests and the verdict are those of every probe. This
module knows models that answer. It does not know how a benchmark is defined.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np

from tunewright.errors import ConfigError
from tunewright.evaluate import wording
from tunewright.evaluate.answers import Progress, row_counter
from tunewright.evaluate.before_after import (
    Probe,
    overall_status,
    sentence,
    those,
    told_probes,
)
from tunewright.evaluate.benchmark_tasks import (
    SEED,
    Benchmark,
    running_lm_eval,
    shown_score,
    supported_aggregation,
)
from tunewright.metrics import get_metric
from tunewright.metrics.numbers import mean_value
from tunewright.metrics.registry import Metric
from tunewright.models.load import Finished, load_finished

_RIGHT, _WRONG = "right", "wrong"

Key = tuple[str, str]
"""A score of lm-eval: its name, and the filter that the answers went through."""


def require_decoder(finished: Finished, model: str) -> None:
    """Refuse an encoder-decoder, which cannot be asked how likely an answer is after its question.

    Raises:
        ConfigError: the model is one.
    """
    if getattr(finished.model.config, "is_encoder_decoder", False):
        raise ConfigError(
            f"{model} is an encoder-decoder; --benchmark asks decoders, which go on from a text."
        )


def measure_benchmarks(
    finished: Finished,
    model: str,
    benchmarks: Sequence[Benchmark],
    *,
    device: str = "auto",
    batch_size: int = 8,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Let the tuned model and its base answer the same questions.

    Questions are put as lm-eval does by default: as text to go on from, without a chat template.

    Args:
        finished: the tuned model.
        model: its name, for messages.
        benchmarks: from `load_benchmarks`.
        device: of the base: `auto`, `cpu`, `cuda` or `mps`.
        batch_size: rows in one pass.
        progress: told how far the work is.

    Returns:
        `before` (the base; None where the model does not say what it was tuned from), `status`,
        `verdict` and `notes` as `measure_forgetting`, and `probes`: by benchmark what
        `told_probes` says, with `shots`, `limit`, `others` (further scores, `before` and `after`)
        and, of a group, `tasks`.

    Raises:
        ConfigError: the model is no decoder.
    """
    require_decoder(finished, model)
    before = finished.settings.base if finished.settings.base != model else ""
    after_said = _ask(finished, benchmarks, batch_size, progress, "after" if before else "")
    before_said: dict[str, _Said] = {}
    if before:
        task, dtype = finished.settings.task, finished.model.dtype
        base = load_finished(before, task, device=device, dtype=dtype)
        before_said = _ask(base, benchmarks, batch_size, progress, "before")
    both = [(one, after_said[one.name], before_said.get(one.name)) for one in benchmarks]
    told = told_probes([_probe(*answered) for answered in both])
    for answered in both:
        told[answered[0].name] |= _besides(*answered)
    alone = [] if before else [f"{model} does not say what it was tuned from: scores alone."]
    return {
        "before": before or None,
        "status": overall_status(told),
        "verdict": [*_headline(told), *(sentence(name, probe) for name, probe in told.items())],
        "notes": [*_said_of_others(told), *alone],
        "probes": told,
    }


_Said = dict[str, dict[Key, list[Any]]]
"""By task of lm-eval, the values of each score, one a question."""


def _ask(
    finished: Finished,
    benchmarks: Sequence[Benchmark],
    batch_size: int,
    progress: Progress | None,
    when: str,
) -> dict[str, _Said]:
    """The values of each benchmark's questions, by its name."""
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    said = {}
    with running_lm_eval():
        asked = HFLM(
            pretrained=finished.model,
            tokenizer=finished.tokenizer,
            batch_size=batch_size,
            softmax_dtype="float32",  # a log-likelihood in bfloat16 has two digits
        )
        for one in benchmarks:
            for task in one.tasks.values():
                task.set_fewshot_seed(seed=SEED)  # both models see the same examples
            what = f"{one.name} {when} tuning" if when else one.name
            with _counted(asked, one, progress, what):
                found = evaluate(
                    asked, {"tasks": one.tasks}, limit=one.limit, bootstrap_iters=0,
                )  # fmt: skip
            said[one.name] = {name: _values(rows) for name, rows in found["samples"].items()}
    return said


@contextmanager
def _counted(asked: Any, one: Benchmark, progress: Progress | None, what: str) -> Iterator[None]:
    """Tell how many questions are answered, by the share of batches of each question."""
    tasks = one.tasks.values()
    total = sum(min(len(task.eval_docs), one.limit or len(task.eval_docs)) for task in tasks)
    step = row_counter(progress, what, total)
    if step is None:
        yield
        return
    methods = {name: getattr(asked, name) for name in ("_model_call", "_model_generate")}
    choices, done = max(1, _choices(one)), 0.0

    def counting(method: Any) -> Any:
        def counted(rows: Any, *args: Any, **options: Any) -> Any:
            nonlocal done
            whole = int(done)
            done = min(float(total), done + len(rows) / choices)
            step(int(done) - whole)
            return method(rows, *args, **options)

        return counted

    for name, method in methods.items():
        setattr(asked, name, counting(method))
    try:
        yield
    finally:
        for name, method in methods.items():
            setattr(asked, name, method)


def _choices(one: Benchmark) -> int:
    """How many texts one question takes, by the first question."""
    task = next(iter(one.tasks.values()))
    if task.get_config("doc_to_choice") is None or task.OUTPUT_TYPE != "multiple_choice":
        return 1
    return len(task.doc_to_choice(task.eval_docs[0]))


def _values(rows: Sequence[Mapping[str, Any]]) -> dict[Key, list[Any]]:
    """Scores of questions, each in the order of the questions."""
    found: dict[Key, list[Any]] = {}
    for row in sorted(rows, key=lambda row: int(row["doc_id"])):
        for measure in row["metrics"]:
            found.setdefault((measure, row["filter"]), []).append(row[measure])
    return found


def _pooled(said: _Said, key: Key) -> list[Any]:
    return [value for task in said.values() for value in task[key]]


def _probe(one: Benchmark, after: _Said, before: _Said | None) -> Probe:
    task = next(iter(one.tasks.values()))
    values = [_pooled(said, one.score) for said in (after, before) if said is not None]
    metric, references, scored = _scored(task, one.score[0], values)
    then = scored[1] if before is not None else None
    return Probe(one.name, metric, references, scored[0], then, one.source, shown_score(one.score))


def _scored(task: Any, measure: str, said: Sequence[list[Any]]) -> tuple[Metric, Any, list[Any]]:
    """The metric that lm-eval's score is, its references, and what each model has.

    Args:
        task: lm-eval's.
        measure: name of the score.
        said: the values of each model, one a question.
    """
    made = supported_aggregation(task, measure)
    if made == "perplexity":  # of one text a question, whatever its length
        losses = [-np.asarray(values, np.float64) for values in said]
        return get_metric("perplexity"), np.ones(len(said[0])), losses
    if made in ("weighted_perplexity", "bits_per_byte"):
        sizes = np.array([size for _, size in said[0]], np.float64)
        losses = [-np.array([value for value, _ in values], np.float64) for values in said]
        metric = "perplexity" if made == "weighted_perplexity" else "bits_per_byte"
        return get_metric(metric), sizes, losses
    numbers = [np.asarray(values, np.float64) for values in said]
    if all(np.isin(values, (0.0, 1.0)).all() for values in numbers):
        marks = [np.where(values == 1, _RIGHT, _WRONG).tolist() for values in numbers]
        return get_metric("accuracy"), [_RIGHT] * len(said[0]), marks
    better: Literal["higher", "lower"]
    better = "higher" if task.higher_is_better().get(measure, True) else "lower"
    mean = Metric("mean", better, "numbers", mean_value, "plain")
    return mean, np.zeros(len(said[0])), numbers


def _besides(one: Benchmark, after: _Said, before: _Said | None) -> dict[str, Any]:
    """What is told beside the score that is tested: other scores, and the tasks of a group."""
    task = next(iter(one.tasks.values()))
    models = {"after": after} | ({} if before is None else {"before": before})

    def values(other: Key, only: str | None = None) -> dict[str, float | None]:
        return {
            when: _value(task, other, _pooled(said, other) if only is None else said[only][other])
            for when, said in models.items()
        }

    shared = set.intersection(*(set(said) for said in after.values())) - {one.score}
    found: dict[str, Any] = {
        "shots": int(task.get_config("num_fewshot") or 0),
        "limit": one.limit,
        "others": {
            shown_score(other): values(other)
            for other in next(iter(after.values()))
            if other in shared and _is_known(task, other, after)
        },
    }
    if len(one.tasks) > 1:
        found["tasks"] = {name: values(one.score, name) for name in after}
    return found


def _is_known(task: Any, key: Key, said: _Said) -> bool:
    """Whether a score has a number, or a loss and its size, for every question."""
    if supported_aggregation(task, key[0]) is None:
        return False
    try:
        return bool(np.isfinite(np.array(_pooled(said, key), np.float64)).all())
    except (TypeError, ValueError):  # text, None, or lists of unlike length
        return False


def _value(task: Any, key: Key, values: list[Any]) -> float | None:
    metric, references, (said,) = _scored(task, key[0], [values])
    value = metric.compute(references, said)
    return value if math.isfinite(value) else None


def _headline(told: Mapping[str, Mapping[str, Any]]) -> list[str]:
    if all(probe["status"] is None for probe in told.values()):
        return []
    if worse := those(told, "forgotten"):
        return [f"Tuning made the model worse at {worse}."]
    if better := those(told, "improved"):
        return [f"No public benchmark got detectably worse; {better} got better."]
    return ["No detectable difference on public benchmarks."]


def _said_of_others(told: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What else lm-eval counts, in one sentence; nothing where there is nothing else."""
    said = []
    for name, probe in told.items():
        for other, values in probe["others"].items():
            scores = [
                wording.number(values[when]) for when in ("before", "after") if when in values
            ]
            said.append(f"{name} {other} {' before, '.join(scores)}{' after' * (len(scores) > 1)}")
    return [f"Further scores, which are not tested: {'; '.join(said)}."] if said else []
