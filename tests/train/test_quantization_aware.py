"""Training for few bits rounds as quantization does, resumes bit for bit, and pays off."""

from __future__ import annotations

import copy
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
from tunewright.config.quantization_aware import FewBits
from tunewright.config.recipe import Recipe
from tunewright.errors import ConfigError, Interrupted, ModelError
from tunewright.models.few_bits import pretend_few_bits, to_few_bits
from tunewright.models.load import load_finished
from tunewright.train.journal import read_journal

pytest.importorskip("torchao")
# torchao registers its enums with PyTorch in a way that is going.
pytestmark = pytest.mark.filterwarnings("ignore:.*register_constant")


def recipe(base: Path, rows: Path, output: Path, **values: Any) -> Recipe:
    return runs.recipe(base, rows, output, **({"method": "full", "max_steps": 4} | values))


def loss(folder: Path, rows: Path, **options: Any) -> float:
    """Cross-entropy of all rows, by the evaluation."""
    found = pipeline.evaluate_model(str(folder), str(rows), with_baselines=False, **options)
    return float(torch.tensor(found.metrics["perplexity"]["value"]).log())


IDS = torch.tensor([[1, 5, 60, 61, 90, 7]])


def both_ways(model: Any, kind: FewBits) -> tuple[Any, Any, torch.Tensor]:
    """Copies that round in training and for good, and the logits that both have."""
    aware, rounded = copy.deepcopy(model), copy.deepcopy(model)
    pretend_few_bits(aware, kind, 16)
    to_few_bits(rounded, kind, 16)
    found: torch.Tensor = aware(input_ids=IDS).logits
    with torch.inference_mode():
        assert torch.equal(found, rounded(input_ids=IDS).logits)
    return aware, rounded, found


@pytest.mark.parametrize("kind", list(FewBits))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_layer_in_training_computes_what_it_will_compute_in_few_bits(
    kind: FewBits, dtype: torch.dtype, tiny_decoder: Path
) -> None:
    model: Any = load_finished(str(tiny_decoder), dtype=dtype).model
    plain = model(input_ids=IDS).logits
    names = list(model.state_dict())
    aware, rounded, found = both_ways(model, kind)
    assert not torch.allclose(found, plain)
    # The weights that are trained are the model's own, under their own names.
    assert list(aware.state_dict()) == names
    found.float().square().mean().backward()
    assert aware.model.layers[0].mlp.up_proj.weight.grad.abs().sum() > 0
    # Heads and embeddings are left alone.
    weights = {name: type(p.data) for name, p in rounded.named_parameters()}
    assert weights["model.embed_tokens.weight"] is torch.Tensor
    assert weights["model.layers.1.self_attn.q_proj.weight"] is not torch.Tensor


@pytest.mark.parametrize("kind", list(FewBits))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_update_in_training_is_rounded_together_with_its_base(
    kind: FewBits, dtype: torch.dtype, tiny_decoder: Path
) -> None:
    from peft import LoraConfig, get_peft_model

    base: Any = load_finished(str(tiny_decoder), dtype=dtype).model
    torch.manual_seed(0)
    config = LoraConfig(target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    model: Any = get_peft_model(base, config, autocast_adapter_dtype=False)
    aware, _, found = both_ways(model, kind)
    found.float().square().mean().backward()
    learned = {name for name, p in aware.named_parameters() if p.grad is not None}
    assert learned == {name for name, p in model.named_parameters() if p.requires_grad}
    assert len(learned) == 2 * 2 * model.config.num_hidden_layers
    # Without the update it is the rounded base.
    plain: Any = load_finished(str(tiny_decoder), dtype=dtype).model
    pretend_few_bits(plain, kind, 16)
    with aware.disable_adapter():
        assert torch.equal(aware(input_ids=IDS).logits, plain(input_ids=IDS).logits)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("decoder", {"quantization_aware": "int4_weight"}),
        ("decoder", {"quantization_aware": "int8_dynamic_int4_weight", "method": "lora"}),
        (
            "encoder",
            {
                "quantization_aware": "Int8_Dynamic_Int4_Weight",
                "quantization_group_size": 16,
                "method": "partial",
                "freeze_trainable_layers": 1,
            },
        ),
    ],
)
def test_a_stopped_run_ends_like_a_whole_one_and_is_scored_as_it_was_trained(
    kind: str, values: dict[str, Any], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    base = request.getfixturevalue(f"tiny_{kind}")
    rows = request.getfixturevalue("sentiment_file" if kind == "encoder" else "instruction_file")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    saves = {"save_strategy": "steps", "save_steps": 2}
    train(recipe(base, rows, whole, **values, **saves))
    with pytest.raises(Interrupted):
        train(recipe(base, rows, cut, **values, **saves), StopAfter(cut, 3))
    pipeline.resume(cut)
    lora = values.get("method") == "lora"
    file = "adapter_model.safetensors" if lora else "model.safetensors"
    ours, theirs = (load_file(folder / file) for folder in (whole, cut))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    # A plain model of floats, without a word of quantization.
    assert all(tensor.is_floating_point() for tensor in ours.values())
    if not lora:
        assert "quantization_config" not in json.loads((whole / "config.json").read_text())
    # Scored in the same bits it has the losses of training; scored as it is, others.
    last = [x for x in read_journal(whole) if x["event"] == "evaluation"][-1]["metrics"]["loss"]
    bits = {
        "quantized": values["quantization_aware"],
        "quantized_group_size": values.get("quantization_group_size"),
    }
    found = pipeline.evaluate_model(str(whole), with_baselines=False, **bits)
    name = "perplexity" if kind == "decoder" else "log_loss"
    value = found.metrics[name]["value"]
    value = float(torch.tensor(value).log()) if name == "perplexity" else value
    assert value == pytest.approx(last, rel=1e-5)
    assert any("quantized to int" in note for note in found.notes)
    plain = pipeline.evaluate_model(str(whole), with_baselines=False)
    assert plain.metrics[name]["value"] != found.metrics[name]["value"]


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_model_trained_for_few_bits_is_better_in_them_than_one_that_was_not(
    method: str, tiny_decoder: Path, instruction_file: Path, tmp_path: Path
) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    # Random layers of the usual size hardly change what the embeddings say; larger ones do.
    base = tmp_path / "base"
    shutil.copytree(tiny_decoder, base)
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(base, initializer_range=0.3)
    AutoModelForCausalLM.from_config(config).save_pretrained(base)
    values = {"max_steps": 120, "learning_rate": 0.003, "dtype": "float32", "method": method}
    values |= {"evaluation_strategy": "no", "save_strategy": "no"}
    bits = {"quantized": "int4_weight"}
    train(recipe(base, instruction_file, tmp_path / "plain", **values))
    aware = {"quantization_aware": "int4_weight"}
    train(recipe(base, instruction_file, tmp_path / "aware", **values, **aware))
    before = loss(tmp_path / "plain", instruction_file)
    costs = loss(tmp_path / "plain", instruction_file, **bits)
    found = loss(tmp_path / "aware", instruction_file, **bits)
    assert before < costs
    # More than half of what rounding costs is won back.
    assert costs - found > 0.5 * (costs - before)


def test_what_cannot_be_in_few_bits_is_refused_before_anything_is_written(
    tiny_decoder: Path, instruction_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepared(**values: Any) -> Any:
        return pipeline.prepare(recipe(tiny_decoder, instruction_file, tmp_path / "run", **values))

    aware = {"quantization_aware": "int4_weight"}
    with pytest.raises(ModelError, match=r"q_proj has 32 inputs.*groups of 32"):
        prepared(**aware, quantization_group_size=48)
    with pytest.raises(ConfigError, match="method is 'ia3'"):
        prepared(**aware, method="ia3")
    for key in ({"use_dora": True}, {"lora_dropout": 0.1}):
        with pytest.raises(ConfigError, match="use_dora and lora_dropout do not have"):
            prepared(**aware, method="lora", **key)
    with pytest.raises(ConfigError, match="no effect without quantization_aware"):
        prepared(quantization_group_size=32)
    assert prepared(**aware, method=None).recipe.method == "full"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs torchao.*pip install 'tunewright\[qat\]'"):
        prepared(**aware)
    assert not (tmp_path / "run").exists()


def test_the_commands_score_in_few_bits_and_refuse_what_cannot_be(
    tiny_decoder: Path, instruction_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(recipe(tiny_decoder, instruction_file, tmp_path / "ia3", method="ia3", max_steps=1))
    prompt = {"method": "prompt_tuning", "num_virtual_tokens": 2, "max_steps": 1}
    train(recipe(tiny_decoder, instruction_file, tmp_path / "prompt", **prompt))
    words = ["evaluate", str(tiny_decoder), "--data", str(instruction_file), "--no-baselines"]
    words += ["--num-samples", "4", "--metric", "perplexity"]
    bits = ["--quantized", "int8_dynamic_int4_weight", "--group-size", "16"]
    assert run([*words, *bits, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert any("int8_dynamic_int4_weight, in groups of 16" in note for note in found["notes"])
    models = [str(tiny_decoder), str(tmp_path / "ia3"), str(tmp_path / "prompt")]
    compared = ["compare", *models, *words[2:4], *words[5:]]
    assert run([*compared, *bits, "--output", str(tmp_path / "report.md"), "--json"]) == 0
    first, second, third = json.loads(capsys.readouterr().out)["results"]
    assert first["metrics"]["perplexity"] == found["metrics"]["perplexity"]
    assert second["metrics"]["perplexity"]["value"] > 0
    assert "PROMPT_TUNING adapter, whose vectors stand before the base's layers" in third["error"]
    for wrong, said in (
        (["--quantized", "int4_weights"], "Did you mean 'int4_weight'"),
        (["--group-size", "16"], "no effect without --quantized"),
        (["--quantized", "int4_weight", "--group-size", "48"], "do not divide"),
    ):
        assert run([*words, *wrong]) == 2
        assert said in capsys.readouterr().err
