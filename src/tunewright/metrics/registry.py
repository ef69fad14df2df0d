"""Every metric by name: what it needs, which direction is better, and how it is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from tunewright.config.task import Task
from tunewright.errors import ConfigError, DataError, unknown_name
from tunewright.metrics import answers, entities, labels, numbers, probabilities, retrieval, texts
from tunewright.metrics.sufficient import Sufficient

Needs = Literal[
    "labels",
    "label_sets",
    "numbers",
    "texts",
    "tags",
    "ranks",
    "cosines",
    "answers",
    "nll",
    "nll_bytes",
    "probabilities",
    "passes",
    "similarities",
]
"""What references and predictions are, one a row:

- `labels`: a class name or id on both sides.
- `label_sets`: a tuple, list or set of class names on both sides, possibly empty.
- `numbers`: a number on both sides.
- `texts`: the reference answer, and the generated answer without its prompt.
- `tags`: a sequence of BIO tags on both sides, one a token.
- `ranks`: the number of candidates, and the rank of the right one from 1.
- `cosines`: a number on both sides; the second is of -1 to 1, so that only their order or their
  correlation can be scored.
- `answers`: the right answers (none where there is none), and one answer (empty for none).
- `nll`: the number of tokens scored, and their summed negative log-likelihood in nats.
- `nll_bytes`: the number of UTF-8 bytes scored, and the same sum.
- `probabilities`: the id of the class, and the probability of every class.
- `passes`: True, and whether the answer passes by a function of the user.
- `similarities`: 1, and how alike an encoder finds the generated answer and the reference.
"""

Unit = Literal["share", "plain", "ratio"]
"""How a difference is told: `share` in points (hundredths), `ratio` in per cent, or as it is."""

_GIVEN_BY: dict[Task, frozenset[str]] = {
    Task.CLASSIFICATION: frozenset({"labels", "probabilities", "passes"}),
    Task.MULTILABEL: frozenset({"label_sets", "passes"}),
    Task.REGRESSION: frozenset({"numbers", "passes"}),
    Task.TOKEN_CLASSIFICATION: frozenset({"tags"}),
    Task.EMBEDDING: frozenset({"ranks", "cosines"}),
    Task.QUESTION_ANSWERING: frozenset({"answers", "passes"}),
    Task.INSTRUCTION: frozenset({"nll", "nll_bytes", "texts", "passes", "similarities"}),
    Task.TEXT: frozenset({"nll", "nll_bytes"}),
}


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: as it stands in results.
        better: which direction is better.
        needs: what references and predictions are; see `Needs`.
        sufficient: references and predictions to what the metric needs of each row, from which
            any number of resamples is scored at once.
        unit: how a difference is told.
        also_takes: other shapes of rows that the metric scores too.
        proportion: a share of rows that are right, so that exact tests apply.
        comparable: puts a model's predictions on a scale shared with other models without
            changing its score, so that predictions of two models can be exchanged in a test.
        interval: of a metric that has its own: references, predictions, `confidence`, `draws` and
            `seed` to low and high. Default: Wilson's for a proportion, the bootstrap for the rest.
    """

    name: str
    better: Literal["higher", "lower"]
    needs: Needs
    sufficient: Callable[[Any, Any], Sufficient]
    unit: Unit = "share"
    also_takes: frozenset[str] = frozenset()
    proportion: bool = False
    comparable: Callable[[Any], Any] | None = None
    interval: Callable[..., tuple[float, float]] | None = None

    def compute(self, references: Any, predictions: Any) -> float:
        """The metric of n rows.

        Raises:
            DataError: the rows are not what the metric needs, or it is undefined for them.
        """
        value = self.sufficient(references, predictions).value()
        if value != value:
            raise DataError(f"{self.name} is not defined for these {len(references)} rows.")
        return value

    def fits(self, task: Task | str) -> bool:
        """Whether a model of the task gives what the metric needs."""
        given = _GIVEN_BY[Task(task)]
        return self.needs in given or bool(self.also_takes & given)


_EITHER = frozenset({"label_sets"})
_COSINES = frozenset({"cosines"})

_METRICS = (
    Metric("accuracy", "higher", "labels", labels.accuracy, proportion=True),
    Metric("balanced_accuracy", "higher", "labels", labels.balanced_accuracy),
    Metric("macro_f1", "higher", "labels", labels.macro_f1, also_takes=_EITHER),
    Metric("precision", "higher", "labels", labels.macro_precision, also_takes=_EITHER),
    Metric("recall", "higher", "labels", labels.macro_recall, also_takes=_EITHER),
    Metric("mcc", "higher", "labels", labels.mcc, "plain"),
    Metric("micro_f1", "higher", "label_sets", labels.micro_f1, also_takes=frozenset({"labels"})),
    Metric("subset_accuracy", "higher", "label_sets", labels.accuracy, proportion=True),
    Metric("hamming_loss", "lower", "label_sets", labels.hamming_loss),
    Metric(
        "roc_auc",
        "higher",
        "probabilities",
        probabilities.roc_auc,
        comparable=probabilities.ranked_scores,
    ),
    Metric(
        "pr_auc",
        "higher",
        "probabilities",
        probabilities.pr_auc,
        comparable=probabilities.ranked_scores,
    ),
    Metric("log_loss", "lower", "probabilities", probabilities.log_loss, "plain"),
    Metric("ece", "lower", "probabilities", probabilities.ece, interval=probabilities.ece_interval),
    Metric("exact_match", "higher", "texts", texts.exact_match, proportion=True),
    Metric("numeric_match", "higher", "texts", texts.numeric_match, proportion=True),
    Metric("rouge1", "higher", "texts", texts.rouge1),
    Metric("rouge2", "higher", "texts", texts.rouge2),
    Metric("rougeL", "higher", "texts", texts.rougeL),
    Metric("bleu", "higher", "texts", texts.bleu, "plain"),
    Metric("chrf", "higher", "texts", texts.chrf, "plain"),
    Metric("ter", "lower", "texts", texts.ter, "plain"),
    Metric("bertscore", "higher", "similarities", numbers.mean_similarity),
    Metric("perplexity", "lower", "nll", numbers.perplexity, "ratio"),
    Metric("log_perplexity", "lower", "nll", numbers.log_perplexity, "ratio"),
    Metric("bits_per_byte", "lower", "nll_bytes", numbers.bits_per_byte, "plain"),
    Metric("mse", "lower", "numbers", numbers.mse, "plain"),
    Metric("mae", "lower", "numbers", numbers.mae, "plain"),
    Metric("rmse", "lower", "numbers", numbers.rmse, "plain"),
    Metric("r2", "higher", "numbers", numbers.r2, "plain"),
    Metric(
        "pearson",
        "higher",
        "numbers",
        numbers.pearson,
        "plain",
        also_takes=_COSINES,
        comparable=numbers.standardised,
    ),
    Metric(
        "spearman",
        "higher",
        "numbers",
        numbers.spearman,
        "plain",
        also_takes=_COSINES,
        comparable=numbers.ranked,
    ),
    Metric("pass_rate", "higher", "passes", labels.accuracy, proportion=True),
    Metric("entity_f1", "higher", "tags", entities.entity_f1),
    Metric("entity_macro_f1", "higher", "tags", entities.entity_macro_f1),
    Metric("entity_precision", "higher", "tags", entities.entity_precision),
    Metric("entity_recall", "higher", "tags", entities.entity_recall),
    Metric("token_accuracy", "higher", "tags", entities.token_accuracy),
    Metric("answer_f1", "higher", "answers", answers.answer_f1),
    Metric("answer_exact_match", "higher", "answers", answers.answer_exact_match, proportion=True),
    Metric("mrr_at_10", "higher", "ranks", retrieval.mrr_at_10),
    Metric("recall_at_1", "higher", "ranks", retrieval.recall_at_1, proportion=True),
    Metric("recall_at_10", "higher", "ranks", retrieval.recall_at_10, proportion=True),
)
_ALIASES = {
    "f1": "macro_f1",
    "f1_macro": "macro_f1",
    "macro_precision": "precision",
    "macro_recall": "recall",
    "f1_micro": "micro_f1",
    "rouge": "rougeL",
    "bert_score": "bertscore",
    "matthews_correlation": "mcc",
    "auc": "roc_auc",
    "average_precision": "pr_auc",
}
_BY_NAME = {metric.name.lower(): metric for metric in _METRICS}
_BY_NAME |= {alias: _BY_NAME[name.lower()] for alias, name in _ALIASES.items()}

_DEFAULTS: dict[Task, tuple[str, ...]] = {
    Task.CLASSIFICATION: (
        "macro_f1",
        "accuracy",
        "balanced_accuracy",
        "mcc",
        "log_loss",
        "ece",
    ),
    Task.MULTILABEL: ("micro_f1", "macro_f1", "subset_accuracy", "hamming_loss"),
    Task.REGRESSION: ("pearson", "spearman", "mse", "mae", "r2"),
    Task.TOKEN_CLASSIFICATION: (
        "entity_f1",
        "entity_macro_f1",
        "entity_precision",
        "entity_recall",
        "token_accuracy",
    ),
    Task.EMBEDDING: ("mrr_at_10", "recall_at_1", "recall_at_10", "spearman", "pearson"),
    Task.QUESTION_ANSWERING: ("answer_f1", "answer_exact_match"),
    Task.INSTRUCTION: ("perplexity",),
    Task.TEXT: ("perplexity",),
}

METRIC_NAMES: tuple[str, ...] = tuple(metric.name for metric in _METRICS)
"""Canonical names, in the order of the registry."""


def get_metric(name: str) -> Metric:
    """The metric of that name or alias (`f1` is `macro_f1`, `rouge` is `rougeL`), in any case.

    Raises:
        ConfigError: no such metric; names the closest one.
    """
    try:
        return _BY_NAME[name.strip().lower()]
    except KeyError:
        known = {*METRIC_NAMES, *_ALIASES}
        raise ConfigError(unknown_name("metric", name, known)) from None


def metrics_for(task: Task | str) -> list[str]:
    """Names of the metrics that a task is measured by when none is asked for, the main one first.

    Generated texts are scored only on request, because generating them takes time.
    """
    return list(_DEFAULTS[Task(task)])
