"""Workflows: steps hand their results on, and a saved one does the same again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ai_models.fine_tuning import (
    DataCollectionConfig,
    EvaluationConfig,
    FineTuningConfig,
    FineTuningWorkflow,
    WorkflowConfig,
    WorkflowStep,
    create_workflow,
    load_workflow,
    run_workflow,
    save_workflow,
)
from tunewright.errors import ArtifactError, ConfigError, DataError

TUNE_AND_SCORE = [WorkflowStep.DATA_COLLECTION, WorkflowStep.FINE_TUNING, WorkflowStep.EVALUATION]


@pytest.fixture
def whole(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> WorkflowConfig:
    """Every step, on a tiny model, which is compared with itself."""
    monkeypatch.chdir(tmp_path)
    return WorkflowConfig(
        "mood",
        "out",
        data_collection_config=DataCollectionConfig([sentiment_file.name], test_split=0.2),
        fine_tuning_config=FineTuningConfig(
            str(tiny_encoder), "out/run", "full", max_steps=2, max_length=32, device="cpu"
        ),
        evaluation_config=EvaluationConfig("out/run", metrics=["accuracy"], device="cpu"),
        comparison_models=["out/run"],
        metadata={"who": "me"},
    )


def test_all_steps_run_and_a_saved_workflow_does_the_same_again(whole: WorkflowConfig) -> None:
    saved = save_workflow(whole, "kept/workflow.json")
    found = create_workflow(whole).run()
    assert list(found["steps"]) == [str(step) for step in WorkflowStep]
    assert found["steps"]["data_collection"] == "out/data/rows_metadata.json"
    assert found["steps"]["fine_tuning"]["metrics"]["train_steps"] == 2
    assert found["steps"]["evaluation"]["n"] == 12  # a fifth of 60: what the run held out
    assert [one["n"] for one in found["steps"]["comparison"]] == [12, 12]
    assert "accuracy" in Path(found["report"]).read_text().lower()
    kept = json.loads(Path("out/workflow_results.json").read_text())
    assert (kept["name"], kept["metadata"]) == ("mood", {"who": "me"})

    weights = Path("out/run/model.safetensors").read_bytes()
    for path in (saved, "out"):
        assert load_workflow(path).config.to_dict() == whole.to_dict()
    loaded = load_workflow(saved).config
    # Without settings of its own, the evaluation is that of the model that was tuned.
    again = run_workflow(
        replace(loaded, steps=TUNE_AND_SCORE, comparison_models=[], evaluation_config=None)
    )
    assert Path("out/run/model.safetensors").read_bytes() == weights
    scored = again["steps"]["evaluation"]["metrics"]
    assert scored["accuracy"] == found["steps"]["evaluation"]["metrics"]["accuracy"]


def test_steps_are_done_in_their_order_and_follow_from_the_settings(whole: WorkflowConfig) -> None:
    mixed = replace(whole, steps=["comparison", "EVALUATION", "fine_tuning", "data_collection"])
    assert mixed.steps == list(WorkflowStep) == replace(whole, steps=None).steps
    only = WorkflowConfig("scores", "scores", evaluation_config=EvaluationConfig("out/run"))
    assert FineTuningWorkflow(only).config.steps == [WorkflowStep.EVALUATION]


def test_settings_are_on_disk_before_a_step_fails(whole: WorkflowConfig) -> None:
    assert whole.data_collection_config is not None
    whole.data_collection_config.sources = ["missing.jsonl"]
    with pytest.raises(DataError, match=r"missing\.jsonl"):
        run_workflow(whole)
    assert load_workflow("out").config.to_dict() == whole.to_dict()
    assert not Path("out/workflow_results.json").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"steps": ["fine_tunning"]}, "Did you mean 'fine_tuning'"),
        ({"steps": ["fine_tuning", "evaluation"]}, "data_collection_config is given but steps"),
        ({"fine_tuning_config": None}, "fine_tuning_config is missing"),
        ({"comparison_models": []}, "comparison_models is missing"),
    ],
)
def test_steps_and_settings_must_agree(
    whole: WorkflowConfig, change: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        replace(whole, **({"steps": list(WorkflowStep)} | change))


def test_data_to_tune_on_is_named_once(whole: WorkflowConfig) -> None:
    assert whole.fine_tuning_config is not None
    other = replace(whole.fine_tuning_config, dataset_path="other.jsonl")
    with pytest.raises(ConfigError, match="names others to tune on"):
        replace(whole, fine_tuning_config=other)
    same = replace(whole.fine_tuning_config, dataset_path="out/data/rows_metadata.json")
    assert replace(whole, fine_tuning_config=same).steps == list(WorkflowStep)
    with pytest.raises(ConfigError, match="nothing is collected"):
        WorkflowConfig("x", "out", fine_tuning_config=whole.fine_tuning_config)
    with pytest.raises(ConfigError, match="no step"):
        WorkflowConfig("x", "out")
    with pytest.raises(ConfigError, match="needs two models"):
        WorkflowConfig("x", "out", comparison_models=["a"])


def test_what_a_file_cannot_hold_is_named(whole: WorkflowConfig) -> None:
    assert whole.data_collection_config is not None
    whole.data_collection_config.filter_function = lambda row: True
    with pytest.raises(ConfigError, match=r"data_collection_config\.filter_function cannot be"):
        save_workflow(whole, "workflow.json")
    assert not Path("workflow.json").exists()


def test_a_file_that_is_no_workflow_is_refused(whole: WorkflowConfig, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        load_workflow("nowhere.json")
    path = tmp_path / "w.json"
    path.write_text("{}")
    with pytest.raises(ConfigError, match="lacks name and output_dir"):
        load_workflow(str(path))
    values = whole.to_dict()
    values["fine_tuning_config"]["lerning_rate"] = 1
    path.write_text(json.dumps(values))
    with pytest.raises(ConfigError, match="Did you mean 'learning_rate'"):
        load_workflow(str(path))
    del values["fine_tuning_config"]["lerning_rate"], values["fine_tuning_config"]["model_path"]
    path.write_text(json.dumps(values))
    with pytest.raises(ConfigError, match="model_path"):
        load_workflow(str(path))
