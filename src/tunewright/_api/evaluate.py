"""Evaluation: `ModelEvaluator` and its functions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from tunewright import pipeline
from tunewright._api.rows import to_splits
from tunewright.artifacts import write_json
from tunewright.data.records import Dataset
from tunewright.errors import ConfigError
from tunewright.evaluate.endpoint import SECONDS, Endpoint
from tunewright.evaluate.names import distinct_names
from tunewright.evaluate.plots import comparison_plots, evaluation_plots
from tunewright.evaluate.report import write_comparison
from tunewright.evaluate.run import check_metrics


class EvaluationMetric(StrEnum):
    """Metrics that `EvaluationConfig.metrics` takes; their names as strings work too."""

    ACCURACY = "accuracy"
    BALANCED_ACCURACY = "balanced_accuracy"
    PRECISION = "precision"
    RECALL = "recall"
    F1 = "f1"
    MCC = "mcc"
    PERPLEXITY = "perplexity"
    ROUGE = "rouge"
    BLEU = "bleu"
    CHRF = "chrf"
    BERTSCORE = "bertscore"
    EXACT_MATCH = "exact_match"
    MSE = "mse"
    MAE = "mae"
    R2 = "r2"
    PEARSON = "pearson"
    SPEARMAN = "spearman"
    ENTITY_F1 = "entity_f1"
    ENTITY_MACRO_F1 = "entity_macro_f1"
    ENTITY_PRECISION = "entity_precision"
    ENTITY_RECALL = "entity_recall"
    TOKEN_ACCURACY = "token_accuracy"
    MRR_AT_10 = "mrr_at_10"
    RECALL_AT_1 = "recall_at_1"
    RECALL_AT_10 = "recall_at_10"
    ANSWER_F1 = "answer_f1"
    ANSWER_EXACT_MATCH = "answer_exact_match"
    CUSTOM = "custom"


@dataclass
class EvaluationConfig:
    """What to evaluate, on what, and by which metrics.

    Attributes:
        model_path: a finished run, a model or adapter folder, a catalogue name or a hub id.
        dataset_path: rows with references. None: the rows the run held out.
        dataset: rows in memory instead.
        metrics: `EvaluationMetric` members or names. None: those of the model's task
            (perplexity for text).
        custom_evaluation_function: called with (model, tokenizer, dataset, device), returns a
            dict of numbers; needs `EvaluationMetric.CUSTOM` among the metrics or metrics None.
        output_dir: where results and pictures go. None: `evaluation_results`.
        save_results: write `evaluation_results.json`.
        batch_size: rows in one forward pass.
        max_length: longest row in tokens. None: as in training.
        num_samples: score only the first so many rows.
        device: `auto`, `cpu`, `cuda` or `mps`.
        metadata: kept with the results.
        pass_function: called with (row, answer), says whether the answer passes; `pass_rate` is
            then the first metric.
        slices: columns to score parts of the rows by. None: length, label, language, source and
            every column of few values.
        against: an earlier model to compare with.
        few_shot: training rows to show the base before each row, as one more baseline.
        forgetting: measure what tuning cost, by probes before and after (models of text only).
        probe_pairs, probe_text: files of your own for the probes.
        benchmarks: public benchmarks by lm-eval's names, asked of the model and of its base.
        benchmark_data, benchmark_tasks: folders of their questions, and of tasks of your own.
        encoder: what the metric `bertscore` compares texts by. None: all-minilm-l6-v2.
        robustness: also score the rows with typing slips, in other case, without punctuation.
        latency: so many rows are also answered one by one, and timed.
        paraphraser: a model that writes, for the robustness against other words.
        judge: address of an endpoint of chat completions that compares the model's answers with
            those of `against`, or of its base, each prompt in both orders. Answers and votes are
            kept in `judge` below `output_dir`; 50 prompts unless `num_samples` says otherwise.
        judge_model: the name of the judging model there. Its key is taken from `OPENAI_API_KEY`.
        judge_timeout: seconds that one of its replies may take.
        attribute: of so many of the worst errors, say which words moved the prediction.
        attribute_rows: the same of these rows, by their number.
        attribute_word: of tagged rows, the word of them whose tag is explained, from 1.
    """

    model_path: str
    dataset_path: str | None = None
    dataset: Any = None
    metrics: Sequence[EvaluationMetric | str] | None = None
    custom_evaluation_function: Callable[[Any, Any, Any, str], Mapping[str, float]] | None = None
    output_dir: str | None = None
    save_results: bool = True
    batch_size: int = 8
    max_length: int | None = None
    num_samples: int | None = None
    device: str = "auto"
    metadata: dict[str, Any] = field(default_factory=dict)
    pass_function: Callable[[dict[str, Any], Any], bool] | None = None
    slices: Sequence[str] | None = None
    against: str | None = None
    few_shot: int = 0
    forgetting: bool = False
    probe_pairs: str | None = None
    probe_text: str | None = None
    benchmarks: Sequence[str] | None = None
    benchmark_data: str | None = None
    benchmark_tasks: str | None = None
    encoder: str | None = None
    robustness: bool = False
    latency: int = 0
    paraphraser: str | None = None
    judge: str | None = None
    judge_model: str | None = None
    judge_timeout: float = SECONDS
    attribute: int = 0
    attribute_rows: Sequence[int] = ()
    attribute_word: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.metrics, str):
            self.metrics = [self.metrics]
        custom = self.custom_evaluation_function is not None
        wanted = EvaluationMetric.CUSTOM in [str(m).lower() for m in self.metrics or ()]
        if wanted and not custom:
            raise ConfigError(
                "metrics has CUSTOM but custom_evaluation_function is None; give the function."
            )
        if custom and self.metrics and not wanted:
            raise ConfigError(
                "custom_evaluation_function is given but metrics lacks CUSTOM; add it."
            )

        if self.judge is None and self.judge_model is not None:
            raise ConfigError("judge_model names a model of an endpoint; it needs judge.")
        judging_endpoint(self)  # a wrong address is told before any work

    @property
    def metric_names(self) -> list[str] | None:
        """Names of the metrics, CUSTOM left out; None for the task's own."""
        if self.metrics is None:
            return None
        return [name for m in self.metrics if (name := str(m).lower()) != "custom"]


def judging_endpoint(config: EvaluationConfig) -> Endpoint | None:
    """The judge that a configuration names, or None.

    Raises:
        ConfigError: the address or the name of its model cannot be.
    """
    if config.judge is None:
        return None
    return Endpoint(config.judge, config.judge_model or "", seconds=config.judge_timeout)


class ModelEvaluator:
    """Evaluates one model.

    Args:
        config: what to evaluate, on what, and by which metrics.
    """

    def __init__(self, config: EvaluationConfig) -> None:
        self.config = config
        self._dataset: Dataset | None = None
        self._results: dict[str, Any] | None = None

    def prepare(self) -> None:
        """Read the rows and check that the model is there. Writes nothing.

        Raises:
            UserError: a fault in data, model or metrics.
        """
        config = self.config
        if config.dataset is not None:
            splits = to_splits(config.dataset)
            self._dataset = next(
                part for part in (splits.test, splits.validation, splits.train) if len(part)
            )
        else:
            self._dataset = pipeline.rows_to_score(config.model_path, config.dataset_path)
        if config.metric_names:
            check_metrics(config.metric_names, self._dataset.task)

    def evaluate(self) -> dict[str, Any]:
        """Score the model.

        Returns:
            `model`, `metrics` (each with value, low, high, n), `baselines`, `comparison`,
            `errors`, `metadata` and `seconds`; and `judge` where one was asked.
        """
        if self._dataset is None:
            self.prepare()
        config = self.config
        began = time.monotonic()
        names = config.metric_names
        only_custom = names == [] and config.custom_evaluation_function is not None
        found: dict[str, Any] = {"model": config.model_path, "metrics": {}}
        if not only_custom:
            found = pipeline.evaluate_model(
                config.model_path,
                self._dataset,
                metrics=names or None,
                num_samples=config.num_samples,
                batch_size=config.batch_size,
                max_length=config.max_length,
                device=config.device,
                passes=config.pass_function,
                slices=config.slices,
                against=config.against,
                encoder=config.encoder,
                few_shot=config.few_shot,
                forgetting=config.forgetting,
                robustness=config.robustness,
                latency=config.latency,
                paraphraser=config.paraphraser,
                attribute=config.attribute,
                attribute_to_rows=config.attribute_rows,
                attribute_word=config.attribute_word,
                probe_pairs=config.probe_pairs,
                probe_text=config.probe_text,
                benchmarks=config.benchmarks,
                benchmark_data=config.benchmark_data,
                benchmark_tasks=config.benchmark_tasks,
            ).to_dict()
        if config.custom_evaluation_function is not None:
            found["custom"] = self._custom()
        if (endpoint := judging_endpoint(config)) is not None:
            found["judge"] = pipeline.judge_answers(
                config.model_path,
                config.against,
                self._folder() / "judge",
                endpoint,
                self._dataset,
                num_samples=config.num_samples,
                batch_size=config.batch_size,
                device=config.device,
            )
        found["metadata"] = config.metadata
        found["seconds"] = round(time.monotonic() - began, 2)
        self._results = found
        if config.save_results:
            write_json(self._folder() / "evaluation_results.json", found)
        return found

    def visualize_results(self, output_path: str | None = None) -> list[str]:
        """Draw the results: scores with intervals, confusion, calibration.

        Args:
            output_path: folder of the pictures. Default: `output_dir`.

        Returns:
            Paths of the PNG files.
        """
        if self._results is None:
            self.evaluate()
        assert self._results is not None
        folder = Path(output_path) if output_path else self._folder()
        return [str(path) for path in evaluation_plots(self._results, folder)]

    def _folder(self) -> Path:
        return Path(self.config.output_dir or "evaluation_results")

    def _custom(self) -> dict[str, float]:
        from tunewright.models.load import load_finished

        config = self.config
        assert self._dataset is not None
        assert config.custom_evaluation_function is not None
        finished = load_finished(config.model_path, device=config.device)
        rows = [record.to_row() for record in self._dataset][: config.num_samples]
        device = str(next(finished.model.parameters()).device)
        scores = config.custom_evaluation_function(finished.model, finished.tokenizer, rows, device)
        if not isinstance(scores, Mapping) or not scores:
            raise ConfigError(
                "custom_evaluation_function must return a dict of numbers by name; it returned "
                f"{scores!r}."
            )
        return {str(name): float(value) for name, value in scores.items()}

    @staticmethod
    def compare_models(
        model_paths: Sequence[str],
        dataset_path: str,
        metrics: Sequence[EvaluationMetric | str] | None = None,
        output_dir: str | None = None,
        **options: Any,
    ) -> list[dict[str, Any]]:
        """Score several models on the same rows; see the function `compare_models`."""
        return compare_models(model_paths, dataset_path, metrics, output_dir, **options)

    @staticmethod
    def visualize_comparison(results: Sequence[Mapping[str, Any]], output_dir: str) -> list[str]:
        """Draw the scores of several models side by side; returns the PNG files."""
        return [str(path) for path in comparison_plots(results, Path(output_dir))]

    @staticmethod
    def generate_evaluation_report(
        results: Any, output_path: str, include_visualizations: bool = True
    ) -> str:
        """Write a report; see the function `generate_evaluation_report`."""
        return generate_evaluation_report(results, output_path, include_visualizations)


def evaluate_model(
    model_path: str,
    dataset_path: str | None,
    metrics: Sequence[EvaluationMetric | str] | None = None,
    output_dir: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """`ModelEvaluator(EvaluationConfig(...)).evaluate()`."""
    config = EvaluationConfig(
        model_path, dataset_path, metrics=metrics, output_dir=output_dir, **options
    )
    return ModelEvaluator(config).evaluate()


def compare_models(
    model_paths: Sequence[str],
    dataset_path: str,
    metrics: Sequence[EvaluationMetric | str] | None = None,
    output_dir: str | None = None,
    *,
    judge: str | None = None,
    judge_model: str | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Score several models on the same rows.

    Args:
        model_paths: two or more models.
        dataset_path: rows with references.
        metrics: as in `EvaluationConfig`.
        output_dir: where `comparison.json` goes. None: nothing is written.
        judge, judge_model: as in `EvaluationConfig`: every model after the first is judged against
            the first, and has `judge`. Votes go below `output_dir`, or `judged`.
        options: further fields of `EvaluationConfig`: batch_size, max_length, num_samples, device.

    Returns:
        One evaluation a model, in their order; a model that failed has `error` instead of scores.
    """
    names = [str(m).lower() for m in metrics] if metrics else None
    endpoint = None if judge is None else Endpoint(judge, judge_model or "")
    results = pipeline.compare_models(model_paths, dataset_path, metrics=names, **options)
    if endpoint is not None:
        shared = {k: v for k, v in options.items() if k in ("num_samples", "batch_size", "device")}
        folders = distinct_names(list(model_paths))
        others = zip(model_paths, folders, results, strict=True)
        for number, (model, name, found) in list(enumerate(others))[1:]:
            if "error" in found or "error" in results[0]:
                continue
            folder = Path(output_dir or "judged") / "judge" / f"{number}-{Path(name).name}"
            found["judge"] = pipeline.judge_answers(
                model, model_paths[0], folder, endpoint, dataset_path, **shared
            )
    if output_dir is not None:
        write_json(Path(output_dir) / "comparison.json", results)
    return results


def generate_evaluation_report(
    results: Any, output_path: str, include_visualizations: bool = True
) -> str:
    """Write what one or several evaluations found as Markdown, with an HTML page beside it.

    Args:
        results: from `evaluate`, or a list of them from `compare_models`.
        output_path: of the Markdown file, such as `comparison_report.md`.
        include_visualizations: put pictures in.

    Returns:
        `output_path`.
    """
    several = [dict(results)] if isinstance(results, Mapping) else [dict(r) for r in results]
    write_comparison(several, Path(output_path), pictures=include_visualizations)
    return output_path
