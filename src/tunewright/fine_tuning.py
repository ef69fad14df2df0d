"""The public names: collect data, fine-tune, evaluate, compare."""

from tunewright._api.collect import (
    DataCollectionConfig,
    DataCollector,
    DatasetFormat,
    collect_data,
    export_dataset,
    prepare_dataset,
)
from tunewright._api.evaluate import (
    EvaluationConfig,
    EvaluationMetric,
    ModelEvaluator,
    compare_models,
    evaluate_model,
    generate_evaluation_report,
)
from tunewright._api.tune import (
    FineTuner,
    FineTuningConfig,
    fine_tune_model,
    resume_fine_tuning,
    stop_fine_tuning,
)
from tunewright._api.workflow import (
    FineTuningWorkflow,
    WorkflowConfig,
    WorkflowStep,
    create_workflow,
    load_workflow,
    run_workflow,
    save_workflow,
)
from tunewright.config.recipe import FineTuningMethod

__all__ = [
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
