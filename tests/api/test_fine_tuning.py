"""The public names, as users' documents use them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from ai_models.fine_tuning import (
    DataCollectionConfig,
    DataCollector,
    EvaluationConfig,
    EvaluationMetric,
    FineTuner,
    FineTuningConfig,
    FineTuningMethod,
    ModelEvaluator,
    collect_data,
    compare_models,
    evaluate_model,
    export_dataset,
    fine_tune_model,
    generate_evaluation_report,
    prepare_dataset,
    resume_fine_tuning,
    stop_fine_tuning,
)
from tunewright.errors import ArtifactError, ConfigError, DataError

SHAPES: dict[str, list[dict[str, Any]]] = {
    "text+label": [
        {"text": f"{'good' if i % 2 else 'bad'} book {i}", "label": "pn"[i % 2]} for i in range(30)
    ],
    "instruction+response": [
        {"instruction": f"What is {i}?", "response": f"It is {i}."} for i in range(30)
    ],
    "prompt+completion": [{"prompt": f"{i} is", "completion": f" {i}."} for i in range(30)],
    "messages": [
        {
            "messages": [
                {"role": "user", "content": f"say {i}"},
                {"role": "assistant", "content": f"{i}"},
            ]
        }
        for i in range(30)
    ],
}


@pytest.fixture(autouse=True)
def _work_in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("method", [FineTuningMethod.FULL, "lora"])
@pytest.mark.parametrize("shape", SHAPES)
def test_collect_tune_evaluate(
    shape: str, method: str, tiny_encoder: Path, tiny_decoder: Path, write_rows: Any
) -> None:
    write_rows("some.jsonl", SHAPES[shape])
    collector = DataCollector(DataCollectionConfig(sources=["some.jsonl"], output_path="prepared"))
    assert {k: len(v) for k, v in collector.prepare().items()} == {
        "train": 24,
        "validation": 3,
        "test": 3,
    }
    path = collector.export()
    assert Path("prepared_train.jsonl").is_file()
    model = tiny_encoder if shape == "text+label" else tiny_decoder
    tuner = FineTuner(
        FineTuningConfig(
            str(model), "tuned", method, dataset_path=path, max_steps=3, max_length=64, device="cpu"
        )
    )
    trained = tuner.train()
    assert trained["train_steps"] == 3
    assert trained["eval_loss"] > 0
    assert tuner.reasons["learning_rate"]
    saved = tuner.save("saved")
    first = "macro_f1" if shape == "text+label" else "perplexity"
    assert first in tuner.evaluate()
    evaluator = ModelEvaluator(EvaluationConfig(saved, "prepared", output_dir="scores"))
    found = evaluator.evaluate()
    assert found["metrics"][first]["low"] <= found["metrics"][first]["value"]
    assert json.loads(Path("scores/evaluation_results.json").read_text())["n"] == 3
    pictures = evaluator.visualize_results()
    assert pictures and all(Path(p).stat().st_size > 1000 for p in pictures)


@pytest.mark.parametrize("source", ["prepared", "prepared_metadata.json", "prepared_train.jsonl"])
def test_dataset_path_takes_the_prefix_the_metadata_or_one_file(
    source: str, tiny_encoder: Path, write_rows: Any
) -> None:
    write_rows("some.jsonl", SHAPES["text+label"])
    DataCollector(DataCollectionConfig(["some.jsonl"], output_path="prepared")).export()
    config = FineTuningConfig(
        str(tiny_encoder), "tuned", "full", dataset_path=source, max_steps=1, device="cpu"
    )
    assert fine_tune_model(config)["train_steps"] == 1
    assert json.loads(Path("tuned/fine_tuning_config.json").read_text())["dataset_path"] == source
    assert json.loads(Path("tuned/training_args.json").read_text())["max_steps"] == 1


@pytest.mark.parametrize("output_format", ["jsonl", "csv", "PARQUET", "huggingface"])
def test_every_format_is_read_back(output_format: str, tiny_encoder: Path, write_rows: Any) -> None:
    write_rows("some.jsonl", SHAPES["text+label"])
    config = DataCollectionConfig(["some.jsonl"], output_format, "out")
    DataCollector(config).export()
    tuner = FineTuner(
        FineTuningConfig(
            str(tiny_encoder), "tuned", "full", dataset_path="out", max_steps=1, device="cpu"
        )
    )
    assert tuner.train()["train_steps"] == 1


def test_a_function_writes_another_format(write_rows: Any) -> None:
    write_rows("some.jsonl", SHAPES["text+label"])

    def write(rows: Any, path: Path) -> Path:
        file = path.with_name(path.name + ".txt")
        file.write_text("\n".join(f"{row['label']} {row['text']}" for row in rows))
        return file

    config = DataCollectionConfig(["some.jsonl"], "CUSTOM", "out", writer_function=write)
    files = json.loads(Path(DataCollector(config).export()).read_text())["files"]
    assert files["test"] == "out_test.txt"
    assert len(Path("out_train.txt").read_text().splitlines()) == 24
    export_dataset(collect_data(config), "again", "custom", writer_function=write)
    assert len(Path("again_train.txt").read_text().splitlines()) == 30
    with pytest.raises(ConfigError, match="writer_function is None"):
        DataCollectionConfig(["some.jsonl"], "custom")
    with pytest.raises(ConfigError, match="make it 'custom'"):
        DataCollectionConfig(["some.jsonl"], writer_function=write)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"max_samples": 0}, "max_samples is 0"),
        ({"max_samples": -1}, "max_samples is -1"),
        ({"min_length": 9, "max_length": 5}, "min_length is 9 and max_length is 5"),
    ],
)
def test_a_number_of_rows_that_cannot_be_is_told(settings: dict[str, int], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        DataCollectionConfig(["some.jsonl"], **settings)


def test_a_transform_that_returns_no_row_is_told(write_rows: Any) -> None:
    write_rows("some.jsonl", SHAPES["text+label"])

    def lost(row: dict[str, Any]) -> Any:
        return row if row["text"].endswith(" 0") else None

    with pytest.raises(DataError, match=r"returned None for row 2; .* give filter_function"):
        collect_data(DataCollectionConfig(["some.jsonl"], transform_function=lost))


def test_another_run_in_the_folder_keeps_its_settings(tiny_decoder: Path, write_rows: Any) -> None:
    write_rows("some.jsonl", SHAPES["messages"])
    first = FineTuningConfig(
        str(tiny_decoder), "tuned", dataset_path="some.jsonl", max_steps=1, device="cpu"
    )
    fine_tune_model(first)
    before = Path("tuned/fine_tuning_config.json").read_bytes()
    with pytest.raises(ArtifactError, match="different: max_steps"):
        fine_tune_model(replace(first, max_steps=2))
    assert Path("tuned/fine_tuning_config.json").read_bytes() == before


@pytest.mark.parametrize(("validation", "test"), [(0.0, 0.0), (0.2, 0.0), (0.0, 0.2)])
def test_shares_of_zero_work(
    validation: float, test: float, tiny_encoder: Path, write_rows: Any
) -> None:
    write_rows("some.jsonl", SHAPES["text+label"])
    config = DataCollectionConfig(
        ["some.jsonl"], validation_split=validation, test_split=test, output_path="out"
    )
    parts = prepare_dataset(config)
    assert len(parts["validation"]) == round(30 * validation)
    assert len(parts["test"]) == round(30 * test)
    export_dataset(parts, "out")
    tuner = FineTuner(
        FineTuningConfig(
            str(tiny_encoder), "tuned", "full", dataset_path="out", max_steps=1, device="cpu"
        )
    )
    assert tuner.train()["train_steps"] == 1


def test_filters_transforms_and_limits(write_rows: Any) -> None:
    write_rows("some.jsonl", SHAPES["text+label"])
    rows = collect_data(
        DataCollectionConfig(
            ["some.jsonl"],
            filter_function=lambda row: row["label"] == "p",
            transform_function=lambda row: {**row, "text": row["text"].upper()},
            max_samples=5,
            min_length=3,
            max_length=100,
        )
    )
    assert len(rows) == 5
    assert set(rows["label"]) == {"p"}
    assert all(text.isupper() or text[-1].isdigit() for text in rows["text"])
    with pytest.raises(DataError, match="No row is left of 30"):
        collect_data(DataCollectionConfig(["some.jsonl"], min_length=1000))


def test_missing_source_and_wrong_settings_are_errors(tiny_encoder: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl"):
        collect_data(DataCollectionConfig(["none.jsonl"]))
    with pytest.raises(DataError, match="sources is empty"):
        collect_data(DataCollectionConfig())
    with pytest.raises(ConfigError, match="Did you mean 'parquet'"):
        DataCollectionConfig(["a"], "parquett")
    with pytest.raises(ConfigError, match="Did you mean 'lora'"):
        FineTuningConfig(str(tiny_encoder), "out", "lorra")
    with pytest.raises(ConfigError, match="there is no data"):
        FineTuner(FineTuningConfig(str(tiny_encoder), "out")).prepare()
    with pytest.raises(ConfigError, match="no row to train on"):
        DataCollectionConfig(["a"], validation_split=0.5, test_split=0.5)
    assert not Path("out").exists()


def test_rows_in_memory(tiny_decoder: Path) -> None:
    import datasets

    rows = SHAPES["prompt+completion"]
    parts = datasets.DatasetDict(
        {
            "train": datasets.Dataset.from_list(rows[:20]),
            "test": datasets.Dataset.from_list(rows[20:]),
        }
    )
    for number, given in enumerate((rows, datasets.Dataset.from_list(rows), parts)):
        tuner = FineTuner(
            FineTuningConfig(
                str(tiny_decoder), f"tuned{number}", dataset=given, max_steps=1, device="cpu"
            )
        )
        assert tuner.train()["train_steps"] == 1
    assert tuner.evaluate()["perplexity"] > 1


def test_a_finished_model_is_plain_transformers(tiny_decoder: Path, write_rows: Any) -> None:
    write_rows("some.jsonl", SHAPES["messages"])
    tuner = FineTuner(
        FineTuningConfig(
            str(tiny_decoder), "tuned", "full", dataset_path="some.jsonl", max_steps=1, device="cpu"
        )
    )
    tuner.train()
    folder = tuner.save()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("say 3", return_tensors="pt")
    assert AutoModelForCausalLM.from_pretrained(folder)(**ids).logits.isfinite().all()
    with pytest.raises(ArtifactError, match="has files in it"):
        Path("full").mkdir()
        Path("full/x").touch()
        tuner.save("full")


def test_resume_of_a_finished_run_returns_its_metrics(tiny_encoder: Path, write_rows: Any) -> None:
    write_rows("some.jsonl", SHAPES["text+label"])
    config = FineTuningConfig(
        str(tiny_encoder), "tuned", "full", dataset_path="some.jsonl", max_steps=2, device="cpu"
    )
    trained = fine_tune_model(config)
    assert resume_fine_tuning("tuned") == trained
    assert FineTuner(config).resume() == trained
    with pytest.raises(ArtifactError, match="there is nothing to stop"):
        stop_fine_tuning("tuned")


def test_settings_are_on_disk_before_training_starts(
    tiny_decoder: Path, write_rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows("some.jsonl", SHAPES["messages"])

    def crash(*args: Any) -> None:
        raise RuntimeError("the machine went down")

    config = FineTuningConfig(str(tiny_decoder), "tuned", dataset_path="some.jsonl", device="cpu")
    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="went down"):
        patched.setattr("tunewright.train.passes.accumulate_gradients", crash)
        fine_tune_model(config)
    assert json.loads(Path("tuned/fine_tuning_config.json").read_text())["method"] == "lora"
    assert resume_fine_tuning("tuned")["train_steps"] > 0


def test_custom_metric_is_called_with_model_tokenizer_rows_and_device(
    tiny_decoder: Path, write_rows: Any
) -> None:
    write_rows("some.jsonl", SHAPES["messages"])
    seen: dict[str, Any] = {}

    def score(model: Any, tokenizer: Any, dataset: Any, device: str) -> dict[str, float]:
        seen.update(rows=len(dataset), device=device, ids=tokenizer("a")["input_ids"])
        return {"answers": 0.5}

    found = ModelEvaluator(
        EvaluationConfig(
            str(tiny_decoder),
            "some.jsonl",
            metrics=[EvaluationMetric.CUSTOM],
            custom_evaluation_function=score,
            num_samples=4,
            device="cpu",
        )
    ).evaluate()
    assert found["custom"] == {"answers": 0.5}
    assert (seen["rows"], seen["device"]) == (4, "cpu")
    with pytest.raises(ConfigError, match="give the function"):
        EvaluationConfig("m", metrics=["custom"])
    with pytest.raises(ConfigError, match="add it"):
        EvaluationConfig("m", metrics=["f1"], custom_evaluation_function=score)


LABEL_METRICS = ["accuracy", "balanced_accuracy", "precision", "recall", "f1", "mcc"]
NUMBER_METRICS = ["mse", "mae", "r2", "pearson", "spearman"]
TAG_METRICS = [
    "entity_f1",
    "entity_macro_f1",
    "entity_precision",
    "entity_recall",
    "token_accuracy",
]
ANSWER_METRICS = ["answer_f1", "answer_exact_match"]
RANK_METRICS = ["mrr_at_10", "recall_at_1", "recall_at_10"]
TEXT_METRICS = ["perplexity", "rouge", "bleu", "chrf", "exact_match", "bertscore"]


def test_every_member_of_the_metrics_is_measured(
    tiny_encoder: Path, tiny_decoder: Path, write_rows: Any
) -> None:
    numbers = [{"text": f"good book {i}", "score": i / 3} for i in range(30)]
    tagged = [{"tokens": ["good", f"{i}"], "tags": ["I-X", "O"]} for i in range(30)]
    pairs = [{"anchor": f"good {i}", "positive": f"book {i}"} for i in range(30)]
    asked = [
        {"question": "what", "context": f"it is {i}", "answer": f"{i}", "answer_start": 6}
        for i in range(30)
    ]
    groups = [
        (tiny_encoder, asked, ANSWER_METRICS),
        (tiny_encoder, pairs, RANK_METRICS),
        (tiny_encoder, SHAPES["text+label"], LABEL_METRICS),
        (tiny_encoder, numbers, NUMBER_METRICS),
        (tiny_encoder, tagged, TAG_METRICS),
        (tiny_decoder, SHAPES["messages"], TEXT_METRICS),
    ]
    for number, (model, rows, names) in enumerate(groups):
        write_rows(f"{number}.jsonl", rows)
        fine_tune_model(
            FineTuningConfig(
                str(model), f"t{number}", "full", f"{number}.jsonl", max_steps=1, device="cpu"
            )
        )
        options = {"encoder": str(tiny_encoder)} if "bertscore" in names else {}
        found = evaluate_model(f"t{number}", f"{number}.jsonl", names, num_samples=6, **options)
        assert len(found["metrics"]) == len(names)
    tested = {name for _, _, names in groups for name in names} | {"custom"}
    assert {m.value for m in EvaluationMetric} == tested


def test_misspelt_metric_is_an_error_that_names_the_close_match(
    tiny_decoder: Path, write_rows: Any
) -> None:
    write_rows("some.jsonl", SHAPES["messages"])
    with pytest.raises(ConfigError, match="Did you mean 'perplexity'"):
        evaluate_model(str(tiny_decoder), "some.jsonl", ["perplexty"])
    with pytest.raises(ConfigError, match="which task 'instruction' does not give"):
        evaluate_model(str(tiny_decoder), "some.jsonl", ["accuracy"])


def test_compare_writes_a_report_and_keeps_failures(
    tiny_decoder: Path, tiny_encoder: Path, write_rows: Any
) -> None:
    write_rows("some.jsonl", SHAPES["messages"])
    models = [str(tiny_decoder), str(tiny_decoder), str(tiny_encoder)]
    results = compare_models(models, "some.jsonl", output_dir="compared")
    assert [("error" in r) for r in results] == [False, False, True]
    path = generate_evaluation_report(results, "comparison_report.md")
    text = Path(path).read_text()
    assert "has no classification head" in text
    assert Path("comparison_report.html").is_file()
    assert Path("compared/comparison.json").is_file()
    assert ModelEvaluator.visualize_comparison(results, "pictures")
    assert ModelEvaluator.compare_models(models[:2], "some.jsonl")[0]["n"] == 30
    single = ModelEvaluator.generate_evaluation_report(results[0], "one.md", False)
    assert Path(single).is_file()


def test_answers_are_scored_without_their_prompt(tiny_decoder: Path, write_rows: Any) -> None:
    """A model that repeats the reference scores 1; prompt + completion would score 0."""
    from tunewright.metrics import get_metric

    assert get_metric("exact_match").compute(["It is 4."], [" It is 4.\n"]) == 1.0
    assert get_metric("exact_match").compute(["It is 4."], ["What is 2+2? It is 4."]) == 0.0
