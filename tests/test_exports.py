"""The public names, frozen: a name that goes or comes is a decision, not an accident."""

from __future__ import annotations

import importlib

import pytest

FINE_TUNING = [
    "DataCollectionConfig",
    "DataCollector",
    "DatasetFormat",
    "EvaluationConfig",
    "EvaluationMetric",
    "FineTuner",
    "FineTuningConfig",
    "FineTuningMethod",
    "FineTuningWorkflow",
    "ModelEvaluator",
    "WorkflowConfig",
    "WorkflowStep",
    "collect_data",
    "compare_models",
    "create_workflow",
    "evaluate_model",
    "export_dataset",
    "fine_tune_model",
    "generate_evaluation_report",
    "load_workflow",
    "prepare_dataset",
    "resume_fine_tuning",
    "run_workflow",
    "save_workflow",
    "stop_fine_tuning",
]
EVALUATOR_METHODS = [
    "compare_models",
    "evaluate",
    "generate_evaluation_report",
    "prepare",
    "visualize_comparison",
    "visualize_results",
]


@pytest.mark.parametrize("module", ["tunewright.fine_tuning", "ai_models.fine_tuning"])
def test_fine_tuning_exports_exactly_the_public_names(module: str) -> None:
    found = importlib.import_module(module)
    assert list(found.__all__) == FINE_TUNING
    assert all(getattr(found, name) is not None for name in FINE_TUNING)


def test_both_import_paths_give_the_same_objects() -> None:
    ours = importlib.import_module("tunewright.fine_tuning")
    theirs = importlib.import_module("ai_models.fine_tuning")
    assert all(getattr(ours, name) is getattr(theirs, name) for name in FINE_TUNING)


def test_the_evaluator_has_its_methods() -> None:
    evaluator = importlib.import_module("tunewright.fine_tuning").ModelEvaluator
    assert [
        name for name in EVALUATOR_METHODS if not callable(getattr(evaluator, name, None))
    ] == []
