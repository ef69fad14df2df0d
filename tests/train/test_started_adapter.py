"""A run whose model is an adapter trains that adapter further, and nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import runs
from runs import StopAfter, train
from tunewright import pipeline
from tunewright.cli.app import run
from tunewright.config.recipe import Recipe
from tunewright.errors import ConfigError, Interrupted, ModelError
from tunewright.fine_tuning import FineTuner, FineTuningConfig
from tunewright.models.load import load_finished
from tunewright.train.build import build_job
from tunewright.train.journal import read_journal

pytestmark = pytest.mark.filterwarnings("ignore:MatMul8bitLt")
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"method": "lora", "lora_r": 4, "use_rslora": True, "modules_to_save": ["norm"]},
    "qlora": {"method": "qlora", "lora_r": 4, "quantization_bits": 8},
    "pissa": {"method": "lora", "lora_r": 4, "init_lora_weights": "pissa"},
    "ia3": {"method": "ia3"},
    "prefix_tuning": {"method": "prefix_tuning", "num_virtual_tokens": 5},
    "prompt_tuning": {"method": "prompt_tuning", "num_virtual_tokens": 5},
}
RESUMED = ("lora", "prefix_tuning")
"""What follows the start is the same code for all."""


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def further(first: Path, rows: Path, output: Path, **values: Any) -> Recipe:
    """A recipe as short as a user may write it."""
    return runs.recipe(first, rows, output, **({"max_steps": 4} | values))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_starts_as_its_adapter_was_and_resumes_bit_for_bit(
    name: str, tiny_decoder: Path, instruction_file: Path, tmp_path: Path
) -> None:
    first, whole, cut = (tmp_path / part for part in ("first", "whole", "cut"))
    data = {"data": {"train": str(instruction_file), "validation": 0.2, "system": "Be brief."}}
    train(further(tiny_decoder, instruction_file, first, max_steps=2, **data, **METHODS[name]))
    started = tensors(first)
    prepared = pipeline.prepare(further(first, instruction_file, whole))
    assert prepared.recipe.data.system == prepared.settings.system == "Be brief."
    assert prepared.settings.base == str(tiny_decoder)
    assert "which is trained further" in prepared.reasons["method"]
    build_job(prepared, whole).save_model(tmp_path / "start")
    same = tensors(tmp_path / "start")
    assert same.keys() == started.keys()
    assert all(torch.equal(same[key], started[key]) for key in started)
    if name not in RESUMED:
        return
    # A run that is stopped and resumed is the run that was not.
    saves = {"save_strategy": "steps", "save_steps": 2}
    result = train(further(first, instruction_file, whole, **saves))
    with pytest.raises(Interrupted):
        train(further(first, instruction_file, cut, **saves), StopAfter(cut, 3))
    pipeline.resume(cut)
    ours, theirs = tensors(whole), tensors(cut)
    assert ours.keys() == started.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)
    assert any(not torch.equal(ours[key], started[key]) for key in ours)
    # The finished adapter belongs to the base, and scores as it was trained.
    config = json.loads((whole / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tiny_decoder)
    parents = json.loads((whole / "manifest.json").read_text())["parents"]
    assert {"model/model.safetensors", "adapter/adapter_model.safetensors"} <= parents.keys()
    found = pipeline.evaluate_model(str(whole), with_baselines=False)
    last = [x for x in read_journal(whole) if x["event"] == "evaluation"][-1]["metrics"]["loss"]
    assert torch.tensor(found.metrics["perplexity"]["value"]).log() == pytest.approx(last, rel=2e-3)
    assert result.results["trainable_parameters"] < 20_000


def test_a_classifier_goes_on_with_its_head_on_rows_that_have_some_of_its_labels(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path, write_rows: Any
) -> None:
    rows = [{"text": f"the film was number {i}", "label": "cab"[i % 3]} for i in range(36)]
    all_three, some = (
        write_rows("three.jsonl", rows),
        write_rows("some.jsonl", [row for row in rows if row["label"] != "b"]),
    )
    values = {"method": "lora", "lora_r": 2, "max_steps": 2}
    train(runs.recipe(tiny_encoder, all_three, tmp_path / "first", **values))
    prepared = pipeline.prepare(
        further(tmp_path / "first", some, tmp_path / "next", learning_rate=2e-4)
    )
    assert prepared.recipe.head_learning_rate == 2e-4
    assert prepared.labels == ["a", "b", "c"] and len(prepared.splits.train.labels) == 2
    pipeline.train(prepared)
    finished = load_finished(str(tmp_path / "next"))
    assert finished.settings.labels == ("a", "b", "c")
    head = "base_model.model.classifier.weight"
    before, after = tensors(tmp_path / "first")[head], tensors(tmp_path / "next")[head]
    assert before.shape == after.shape and 0 < (before - after).abs().max() < 0.05
    with pytest.raises(ModelError, match=r"'negative', 'positive'\. It has 'a', 'b', 'c', and its"):
        pipeline.prepare(further(tmp_path / "first", sentiment_file, tmp_path / "no"))


def test_what_the_adapter_decides_cannot_be_changed_and_the_rest_can(
    tiny_decoder: Path, instruction_file: Path, sentiment_file: Path, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    train(further(tiny_decoder, instruction_file, first, method="lora", lora_r=4, max_steps=1))

    def prepared(**values: Any) -> Any:
        return pipeline.prepare(further(first, instruction_file, tmp_path / "next", **values))

    with pytest.raises(ConfigError) as caught:
        prepared(method="lora", lora_r=8, use_dora=True, lora_target_modules=["q_proj"])
    said = str(caught.value)
    assert f"lora_r is 8 and that of the adapter {first} is 4, which cannot be changed" in said
    assert "use_dora is True" in said and "lora_target_modules is q_proj" in said
    with pytest.raises(
        ConfigError, match=f"method is full and that of .*train its base '{tiny_decoder}'"
    ):
        prepared(method="full")
    with pytest.raises(ConfigError, match="init_lora_weights is 'pissa', and the update goes on"):
        prepared(init_lora_weights="pissa")
    with pytest.raises(ConfigError, match="num_virtual_tokens has no effect with method 'lora'"):
        prepared(num_virtual_tokens=4)
    with pytest.raises(ModelError, match="trained for 'instruction' and the data is for 'class"):
        pipeline.prepare(further(first, sentiment_file, tmp_path / "next"))
    found = prepared(
        lora_r=4,
        lora_dropout=0.5,
        dtype="bfloat16",
        data={"train": str(instruction_file), "validation": 0.2, "template": "plain", "system": ""},
    )
    recipe = found.recipe
    assert (recipe.lora_dropout, recipe.dtype, recipe.data.template) == (0.5, "bfloat16", "plain")
    # The same update over a base of fewer bits.
    assert prepared(method="qlora").settings.quantization.bits == 4
    assert not (tmp_path / "next").exists()


def test_adapters_that_cannot_be_trained_further_say_what_to_do(
    tiny_decoder: Path, instruction_file: Path, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    made = {"method": "p_tuning", "num_virtual_tokens": 4, "max_steps": 1}
    train(further(tiny_decoder, instruction_file, first, **made))
    with pytest.raises(ModelError, match="has the vectors and not the network that made them"):
        pipeline.prepare(further(first, instruction_file, tmp_path / "no"))
    settings = first / "adapter_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"peft_type": "LOHA"}))
    with pytest.raises(ModelError, match="is a LOHA adapter of PEFT that no method here trains"):
        pipeline.prepare(further(first, instruction_file, tmp_path / "no"))


def test_the_command_and_the_python_names_train_an_adapter_further(
    tiny_decoder: Path, instruction_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    train(further(tiny_decoder, instruction_file, first, method="lora", lora_r=3, max_steps=1))
    # As PEFT alone would have written it: no file of ours, no tokenizer.
    for file in first.glob("*"):
        if file.is_file() and not file.name.startswith("adapter_"):
            file.unlink()
    shutil.rmtree(first / "data")
    options = {"max_steps": 1, "device": "cpu", "dataset_path": str(instruction_file)}
    tuner = FineTuner(FineTuningConfig(str(first), str(second), **options))
    assert tuner.train()["train_steps"] == 1
    assert tuner.config.to_recipe().data.model_fields_set.isdisjoint({"system", "source_prefix"})
    assert json.loads((second / "adapter_config.json").read_text())["r"] == 3
    wrong = FineTuner(FineTuningConfig(str(first), str(tmp_path / "no"), lora_r=16, **options))
    with pytest.raises(ConfigError, match="lora_r is 16 and that of the adapter"):
        wrong.train()
    made = tmp_path / "recipe.yaml"
    made.write_text(f"model: {second}\ndata: {{train: {instruction_file}}}\nmax_steps: 1\n")
    assert run(["train", str(made), f"output_dir={tmp_path / 'third'}"]) == 0
    assert "which is trained further" in " ".join(capsys.readouterr().err.split())
