"""Workflows: collecting, tuning, evaluating and comparing as one configuration that can be saved.

Each step is what its own class does; a workflow only hands the result of one to the next.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from tunewright._api.collect import DataCollectionConfig, DataCollector, enum_member
from tunewright._api.evaluate import (
    EvaluationConfig,
    ModelEvaluator,
    compare_models,
    generate_evaluation_report,
)
from tunewright._api.tune import FineTuner, FineTuningConfig
from tunewright.artifacts import read_json, write_json
from tunewright.data.folders import METADATA_SUFFIX
from tunewright.errors import ConfigError, unknown_name

CONFIG_FILE = "workflow.json"
RESULTS_FILE = "workflow_results.json"
REPORT_FILE = "report.md"
_NOT_SAVED = "not_saved"


class WorkflowStep(StrEnum):
    """What a workflow may do, in the order in which it does it."""

    DATA_COLLECTION = "data_collection"
    FINE_TUNING = "fine_tuning"
    EVALUATION = "evaluation"
    COMPARISON = "comparison"


@dataclass
class WorkflowConfig:
    """What a workflow does.

    Attributes:
        name: kept with the results.
        output_dir: folder of `workflow.json`, `workflow_results.json` and the report, and of the
            collected rows where `data_collection_config` names no place for them.
        steps: `WorkflowStep` members or names. Default: those that have their settings here. They
            are done in the order of `WorkflowStep`.
        data_collection_config: what to collect; it is what is tuned on.
        fine_tuning_config: what to tune; `dataset_path` may be left out when rows are collected.
        evaluation_config: what to score. Default, with the step EVALUATION: the tuned model on the
            rows that its run held out.
        comparison_models: scored beside the tuned model on the same rows: those of
            `evaluation_config`, or else those held out of what was tuned on.
        metadata: kept with the workflow.
    """

    name: str
    output_dir: str
    steps: Sequence[WorkflowStep | str] | None = None
    data_collection_config: DataCollectionConfig | None = None
    fine_tuning_config: FineTuningConfig | None = None
    evaluation_config: EvaluationConfig | None = None
    comparison_models: Sequence[str] = ()
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.comparison_models, str):
            self.comparison_models = [self.comparison_models]
        given = {
            WorkflowStep.DATA_COLLECTION: self.data_collection_config is not None,
            WorkflowStep.FINE_TUNING: self.fine_tuning_config is not None,
            WorkflowStep.EVALUATION: self.evaluation_config is not None,
            WorkflowStep.COMPARISON: bool(self.comparison_models),
        }
        if self.steps is None:
            self.steps = [step for step in WorkflowStep if given[step]]
        asked = {enum_member(WorkflowStep, step, "workflow step") for step in self.steps}
        self.steps = [step for step in WorkflowStep if step in asked]
        faults = self._faults(asked, given)
        if faults:
            raise ConfigError(faults)

    def _faults(self, asked: set[WorkflowStep], given: dict[WorkflowStep, bool]) -> list[str]:
        faults = [] if asked else ["The workflow has no step; give it the settings of one."]
        tuned = WorkflowStep.FINE_TUNING in asked
        for step, name in _SETTINGS.items():
            if given[step] and step not in asked:
                faults.append(f"{name} is given but steps lacks {step.value}; add it.")
            wanting = step in asked and not given[step]
            if wanting and not (step is WorkflowStep.EVALUATION and tuned):
                faults.append(f"steps has {step.value} but {name} is missing; give it.")
        tuning = self.fine_tuning_config
        if tuned and tuning is not None:
            collected = self.collected_path
            own = tuning.dataset_path
            if own is None and tuning.dataset is None and collected is None:
                faults.append(
                    "fine_tuning_config has no dataset_path, and nothing is collected; give "
                    "dataset_path or data_collection_config."
                )
            if collected is not None and (
                tuning.dataset is not None or own not in (None, collected, *_spellings(collected))
            ):
                faults.append(
                    "Rows are collected, but fine_tuning_config names others to tune on; leave out "
                    "its dataset_path and dataset, or data_collection_config."
                )
        if WorkflowStep.COMPARISON in asked:
            models = [*self.comparison_models, *([tuning.output_dir] if tuning else [])]
            if len(models) < 2:
                faults.append("A comparison needs two models; add one to comparison_models.")
            if self.rows_to_compare is None:
                faults.append(
                    "There are no rows to compare the models on; give evaluation_config with a "
                    "dataset_path."
                )
        return faults

    @property
    def collected_path(self) -> str | None:
        """First part of the names of the collected files, or None where nothing is collected."""
        if self.data_collection_config is None:
            return None
        own = self.data_collection_config.output_path
        return own or str(Path(self.output_dir) / "data" / "rows")

    @property
    def rows_to_compare(self) -> str | None:
        """Where the rows are that models are compared on."""
        if self.evaluation_config is not None and self.evaluation_config.dataset_path is not None:
            return self.evaluation_config.dataset_path
        if self.collected_path is not None:
            return self.collected_path
        own = self.fine_tuning_config.dataset_path if self.fine_tuning_config else None
        return own if isinstance(own, str) else None

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON-like values; functions and rows in memory only by their kind."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in _PARTS:
            part = values[name]
            if part is not None:
                values[name] = {f.name: _plain(getattr(part, f.name)) for f in fields(part)}
        return values | {
            "steps": [str(step) for step in self.steps or ()],
            "comparison_models": list(self.comparison_models),
        }


_SETTINGS = {
    WorkflowStep.DATA_COLLECTION: "data_collection_config",
    WorkflowStep.FINE_TUNING: "fine_tuning_config",
    WorkflowStep.EVALUATION: "evaluation_config",
    WorkflowStep.COMPARISON: "comparison_models",
}
_PARTS: dict[str, type] = {
    "data_collection_config": DataCollectionConfig,
    "fine_tuning_config": FineTuningConfig,
    "evaluation_config": EvaluationConfig,
}


class FineTuningWorkflow:
    """Does the steps of a workflow, one after another.

    Args:
        config: what to do.
    """

    def __init__(self, config: WorkflowConfig) -> None:
        self.config = config

    def run(self) -> dict[str, Any]:
        """Do every step. Called again, it finishes or reuses the tuning that it had begun.

        Returns:
            `name`, `steps` (by step: the metadata file of the collected rows; the folder and the
            metrics of the tuning; the evaluation; the list of compared models), `report` (a
            Markdown file, where something was scored), `metadata` and `seconds`.

        Raises:
            UserError: a fault in the settings, the data or a model. Steps before it are kept.
            Interrupted: stopped on request; `run` goes on.
        """
        config, began = self.config, time.monotonic()
        folder = Path(config.output_dir)
        write_json(folder / CONFIG_FILE, config.to_dict())
        steps: dict[str, Any] = {}
        for step in config.steps or ():
            steps[str(step)] = _WORK[WorkflowStep(step)](config)
        results: dict[str, Any] = {"name": config.name, "steps": steps, "report": None}
        scored = steps.get("comparison") or steps.get("evaluation")
        if scored:
            results["report"] = generate_evaluation_report(scored, str(folder / REPORT_FILE))
        results |= {"metadata": config.metadata, "seconds": round(time.monotonic() - began, 2)}
        write_json(folder / RESULTS_FILE, results)
        return results


def _collect(config: WorkflowConfig) -> str:
    assert config.data_collection_config is not None
    wanted = replace(config.data_collection_config, output_path=config.collected_path)
    return DataCollector(wanted).export()


def _tune(config: WorkflowConfig) -> dict[str, Any]:
    assert config.fine_tuning_config is not None
    wanted = config.fine_tuning_config
    if config.collected_path is not None:
        wanted = replace(wanted, dataset_path=config.collected_path)
    return {"output_dir": wanted.output_dir, "metrics": FineTuner(wanted).train()}


def _evaluate(config: WorkflowConfig) -> dict[str, Any]:
    wanted = config.evaluation_config
    if wanted is None:
        assert config.fine_tuning_config is not None
        wanted = EvaluationConfig(config.fine_tuning_config.output_dir)
    if wanted.output_dir is None:
        wanted = replace(wanted, output_dir=str(Path(config.output_dir) / "evaluation"))
    return ModelEvaluator(wanted).evaluate()


def _compare(config: WorkflowConfig) -> list[dict[str, Any]]:
    tuned = [config.fine_tuning_config.output_dir] if config.fine_tuning_config else []
    rows, scoring = config.rows_to_compare, config.evaluation_config
    assert rows is not None
    return compare_models(
        [*tuned, *config.comparison_models],
        rows,
        scoring.metric_names if scoring else None,
        str(Path(config.output_dir) / "comparison"),
    )


_WORK = {
    WorkflowStep.DATA_COLLECTION: _collect,
    WorkflowStep.FINE_TUNING: _tune,
    WorkflowStep.EVALUATION: _evaluate,
    WorkflowStep.COMPARISON: _compare,
}


def _spellings(prefix: str) -> tuple[str, ...]:
    """Other names of what `DataCollector.export` wrote."""
    return (prefix + METADATA_SUFFIX,)


def _plain(value: Any) -> Any:
    """A setting as JSON holds it; what it cannot hold is named by its kind."""
    if value is None or isinstance(value, bool | int | float | dict):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        return [str(one) for one in value]
    return {_NOT_SAVED: getattr(value, "__qualname__", type(value).__name__)}


def _not_saved(values: dict[str, Any]) -> list[str]:
    """The settings that JSON could not hold."""
    return [
        f"{part}.{name}"
        for part in _PARTS
        for name, value in (values.get(part) or {}).items()
        if isinstance(value, dict) and _NOT_SAVED in value
    ]


Config = TypeVar("Config")


def _made(kind: type[Config], values: Any, what: str) -> Config:
    """A configuration from the values of its fields."""
    if not isinstance(values, dict):
        raise ConfigError(f"{what} is {values!r}; it must be an object of settings by name.")
    known = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise ConfigError(unknown_name(f"setting of {what}", name, known))
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(f"{what} lacks a setting: {error}. Give it.") from error


def create_workflow(config: WorkflowConfig) -> FineTuningWorkflow:
    """`FineTuningWorkflow(config)`."""
    return FineTuningWorkflow(config)


def run_workflow(workflow: WorkflowConfig | FineTuningWorkflow) -> dict[str, Any]:
    """`FineTuningWorkflow(config).run()`."""
    return _as_workflow(workflow).run()


def save_workflow(workflow: WorkflowConfig | FineTuningWorkflow, output_path: str) -> str:
    """Write a workflow as one JSON file, which `load_workflow` reads.

    Returns:
        `output_path`.

    Raises:
        ConfigError: it has functions or rows in memory, which a file cannot hold.
    """
    values = _as_workflow(workflow).config.to_dict()
    missing = _not_saved(values)
    if missing:
        raise ConfigError(
            f"{', '.join(missing)} cannot be saved: functions and rows in memory do not fit in a "
            "file. Leave them out and set them again after load_workflow; rows go into a file, "
            "named by dataset_path."
        )
    write_json(Path(output_path), values)
    return output_path


def load_workflow(path: str) -> FineTuningWorkflow:
    """Read a workflow that `save_workflow` wrote, or that of a workflow's output folder.

    Raises:
        ArtifactError: there is no such file, or it is not JSON.
        ConfigError: it is no workflow, a setting is unknown or wrong, or it had settings that
            could not be saved.
    """
    file = Path(path).expanduser()
    file = file / CONFIG_FILE if file.is_dir() else file
    values = read_json(file)
    if not isinstance(values, dict) or not {"name", "output_dir"} <= values.keys():
        raise ConfigError(f"{file} is no workflow: it lacks name and output_dir.")
    missing = _not_saved(values)
    if missing:
        raise ConfigError(
            f"The workflow in {file} had {', '.join(missing)}, which a file cannot hold. Make its "
            "configuration in Python."
        )
    made: dict[str, Any] = {
        name: _made(kind, values[name], name)
        for name, kind in _PARTS.items()
        if values.get(name) is not None
    }
    return FineTuningWorkflow(_made(WorkflowConfig, values | made, "the workflow"))


def _as_workflow(workflow: WorkflowConfig | FineTuningWorkflow) -> FineTuningWorkflow:
    if isinstance(workflow, FineTuningWorkflow):
        return workflow
    return FineTuningWorkflow(workflow)
