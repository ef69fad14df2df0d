"""Every method trains what it says, is finished as it was trained, and resumes bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import runs
from runs import StopAfter, train
from tunewright import pipeline
from tunewright.config.recipe import FineTuningMethod, Recipe
from tunewright.config.task import Task
from tunewright.data.collate import collate
from tunewright.data.example import Example
from tunewright.data.render import Renderer
from tunewright.data.sources import load
from tunewright.errors import ConfigError, Interrupted, ModelError
from tunewright.models.adapters import apply_method, check_method
from tunewright.models.forward import CausalForward
from tunewright.models.generate import generate
from tunewright.models.inspect import inspect_model
from tunewright.models.load import load_base, load_finished
from tunewright.train.journal import read_journal

METHODS: dict[str, dict[str, Any]] = {
    "lora": {"method": "lora", "lora_r": 4},
    "rslora": {"method": "lora", "lora_r": 4, "use_rslora": True},
    "dora": {"method": "lora", "lora_r": 4, "use_dora": True},
    "qlora in 4 bits": {"method": "qlora", "lora_r": 4},
    "qlora in fp4": {
        "method": "qlora",
        "lora_r": 4,
        "bnb_4bit_quant_type": "fp4",
        "bnb_4bit_use_double_quant": False,
    },
    "qlora in 8 bits": {"method": "qlora", "lora_r": 4, "quantization_bits": 8},
    "prefix_tuning": {"method": "prefix_tuning", "num_virtual_tokens": 5},
    "prompt_tuning": {"method": "prompt_tuning", "num_virtual_tokens": 5},
    "p_tuning": {"method": "p_tuning", "num_virtual_tokens": 5},
    "ia3": {"method": "ia3"},
}
CASES = [
    *((kind, name) for name in METHODS for kind in ("decoder",)),
    *(("encoder", name) for name in METHODS if name != "prefix_tuning"),
]


def recipe(base: Path, rows: Path, output: Path, **values: Any) -> Recipe:
    return runs.recipe(base, rows, output, **({"max_steps": 4} | values))


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "adapter_model.safetensors")


@pytest.mark.parametrize(("kind", "name"), CASES)
@pytest.mark.filterwarnings("ignore:MatMul8bitLt")
def test_the_finished_model_scores_as_the_trained_one_and_a_stopped_run_ends_like_a_whole_one(
    kind: str, name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    model = request.getfixturevalue(f"tiny_{kind}")
    data = request.getfixturevalue("sentiment_file" if kind == "encoder" else "instruction_file")
    values = METHODS[name] | {"save_strategy": "steps", "save_steps": 2}
    result = train(recipe(model, data, tmp_path / "whole", **values))
    assert 0 < result.results["trainable_parameters"] < result.results["parameters"]
    # The last scores of training, and those of the finished model on the same rows.
    trained = [x for x in read_journal(tmp_path / "whole") if x["event"] == "evaluation"][-1]
    found = pipeline.evaluate_model(str(tmp_path / "whole"), with_baselines=False)
    ours = "log_perplexity" if kind == "decoder" else "log_loss"
    measured = found.metrics.get(ours) or {"value": _log(found.metrics["perplexity"]["value"])}
    assert measured["value"] == pytest.approx(trained["metrics"]["loss"], rel=2e-3)
    # Stopped after an odd step, so that steps behind the last checkpoint are there to be redone.
    with pytest.raises(Interrupted):
        train(recipe(model, data, tmp_path / "cut", **values), StopAfter(tmp_path / "cut", 3))
    pipeline.resume(tmp_path / "cut")
    whole, cut = tensors(tmp_path / "whole"), tensors(tmp_path / "cut")
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[key], cut[key]) for key in whole)


@pytest.mark.parametrize("name", ["lora", "qlora in 4 bits", "qlora in 8 bits"])
def test_an_adapter_has_the_numbers_of_its_base_in_training_and_in_use(
    name: str,
    tiny_decoder: Path,
    instruction_file: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    values = METHODS[name] | {"dtype": "bfloat16", "max_steps": 2}
    train(recipe(tiny_decoder, instruction_file, tmp_path / "run", **values))
    assert {tensor.dtype for tensor in tensors(tmp_path / "run").values()} == {torch.bfloat16}
    model = load_finished(str(tmp_path / "run")).model
    found = [p.dtype for n, p in model.named_parameters() if ".lora_" in n]
    assert found and {*found} == {torch.bfloat16}
    trained = [x for x in read_journal(tmp_path / "run") if x["event"] == "evaluation"][-1]
    measured = pipeline.evaluate_model(str(tmp_path / "run"), with_baselines=False)
    loss = _log(measured.metrics["perplexity"]["value"])
    assert loss == pytest.approx(trained["metrics"]["loss"], rel=1e-4)
    assert not [r for r in caplog.records if "MatMul8bitLt" in r.getMessage()]


def _log(value: float) -> float:
    import math

    return math.log(value)


def test_a_prefix_longer_than_all_rows_starts_at_random_and_says_so(
    tiny_decoder: Path, instruction_file: Path, tmp_path: Path
) -> None:
    for tokens, said in ((5, 0), (200, 1)):
        made = recipe(
            tiny_decoder, instruction_file, tmp_path / str(tokens), method="prefix_tuning",
            num_virtual_tokens=tokens, max_steps=1, data={"train": f"{instruction_file}#4"},
        )  # fmt: skip
        train(made)
        lines = read_journal(tmp_path / str(tokens))
        found = [line for line in lines if line.get("name") == "random_prefix"]
        assert len(found) == said
    assert "and the prefix 200." in found[0]["message"] and found[0]["step"] == 0


@pytest.mark.parametrize("name", ["prefix_tuning", "prompt_tuning", "p_tuning"])
def test_virtual_tokens_change_the_loss_as_peft_itself_computes_it(
    name: str, tiny_decoder: Path, instruction_file: Path, tmp_path: Path
) -> None:
    train(recipe(tiny_decoder, instruction_file, tmp_path / "run", **METHODS[name]))
    model: Any = load_finished(str(tmp_path / "run")).model
    rows = [
        Example([5, 6, 7, 8, 9], 0, loss_mask=[False, False, True, True, True]),
        Example([5, 9, 4], 1, loss_mask=[False, True, True]),
    ]
    batch = collate(rows, pad_id=2)
    forward = CausalForward(model)
    assert forward.chunked
    loss_sum, count = forward(batch)
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    logits = logits[:, -5:][:, :-1].flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(logits, batch["labels"][:, 1:].flatten())
    torch.testing.assert_close(loss_sum / count, expected)
    with model.disable_adapter():
        plain = model(input_ids=batch["input_ids"]).logits
    assert not torch.allclose(plain[:, -5:][:, :-1].flatten(0, 1), logits)


@pytest.mark.parametrize(
    "name", ["prefix_tuning", "prompt_tuning", "p_tuning", "ia3", "qlora in 4 bits"]
)
def test_answers_follow_from_the_logits_that_were_trained(
    name: str, tiny_decoder: Path, instruction_file: Path, tmp_path: Path
) -> None:
    values = METHODS[name] | {"learning_rate": 0.3 if name != "qlora in 4 bits" else 1e-2}
    train(recipe(tiny_decoder, instruction_file, tmp_path / "run", **values))
    finished = load_finished(str(tmp_path / "run"))
    settings = finished.settings
    renderer = Renderer(finished.tokenizer, Task.INSTRUCTION, settings.max_length, "chat")
    prompts = [renderer.prompt(record)[0] for record in load(str(instruction_file)).records[:3]]
    model: Any = finished.model
    answers = generate(model, finished.tokenizer, prompts, [2], max_new_tokens=6, batch_size=3)
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = list(prompt)
        for _ in range(6):
            chosen = int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
            ids.append(chosen)
            if chosen == 2:
                break
        said = finished.tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True)
        assert said == answer


def test_quantized_weights_take_the_room_of_their_bits(tiny_decoder: Path) -> None:
    from tunewright.models.input_settings import Quantization

    facts = inspect_model(tiny_decoder)
    sizes = {}
    for bits in (4, 8):
        model: Any = load_base(
            facts, Task.INSTRUCTION, (), torch.float32, quantization=Quantization(bits)
        )
        layer = model.get_decoder().layers[0].mlp.up_proj.weight
        sizes[bits] = layer.numel() * layer.element_size()
        assert model.get_output_embeddings().weight.dtype == torch.float32
    assert sizes == {4: 32 * 64 // 2, 8: 32 * 64}


def test_rslora_scales_by_the_root_of_the_rank(tiny_decoder: Path) -> None:
    facts = inspect_model(tiny_decoder)
    found = {}
    for use in (False, True):
        made = Recipe.check(
            {
                "model": str(tiny_decoder),
                "data": {"train": "x"},
                "method": "lora",
                "lora_r": 16,
                "lora_alpha": 32,
                "lora_dropout": 0.0,
                "lora_target_modules": "all-linear",
                "use_rslora": use,
            }
        )
        base = load_base(facts, Task.INSTRUCTION, (), torch.float32)
        model: Any = apply_method(base, made, Task.INSTRUCTION)
        found[use] = model.get_base_model().get_decoder().layers[0].mlp.up_proj.scaling["default"]
    assert found == {False: 2.0, True: 8.0}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": "full", "use_dora": True}, "use_dora has no effect with method 'full'"),
        ({"method": "lora", "quantization_bits": 4}, "use method: qlora"),
        (
            {"method": "ia3", "num_virtual_tokens": 4},
            "use method: prefix_tuning, prompt_tuning or p",
        ),
        (
            {"method": "qlora", "quantization_bits": 8, "bnb_4bit_quant_type": "nf4"},
            "bnb_4bit_quant_type is for 4 bits",
        ),
        (
            {"method": "prefix_tuning", "gradient_checkpointing": True},
            "gradient_checkpointing does not work",
        ),
        ({"method": "qlora", "quantization_bits": 5}, "quantization_bits"),
        ({"method": "p-tuning"}, "Did you mean 'p_tuning'"),
    ],
)
def test_settings_of_another_method_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Recipe.check({"model": "m", "data": {"train": "x"}} | values)


def test_virtual_tokens_take_room_in_the_window(
    tiny_decoder: Path, instruction_file: Path, tmp_path: Path
) -> None:
    values = {"method": "prompt_tuning", "num_virtual_tokens": 40, "max_length": 250}
    with pytest.raises(ConfigError, match="takes at most 216 tokens beside 40 virtual ones"):
        pipeline.prepare(recipe(tiny_decoder, instruction_file, tmp_path / "run", **values))


def test_prefix_tuning_of_an_encoder_is_refused_and_names_what_works(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path
) -> None:
    made = recipe(tiny_encoder, sentiment_file, tmp_path / "run", method="prefix_tuning")
    with pytest.raises(ModelError, match=r"needs a decoder.*Use prompt_tuning or lora"):
        pipeline.prepare(made)
    assert not (tmp_path / "run").exists()


def test_every_method_has_a_case() -> None:
    tested = {values["method"] for values in METHODS.values()}
    assert tested == {method for method in FineTuningMethod if not method.trains_base}


def test_an_architecture_without_a_list_for_ia3_is_refused(tiny_decoder: Path) -> None:
    facts = replace(inspect_model(tiny_decoder), architecture="mamba")
    made = Recipe.check({"model": "m", "data": {"train": "x"}, "method": "ia3"})
    with pytest.raises(ModelError, match=r"no list of layers for 'mamba'.*llama.*Use lora"):
        check_method(facts, made)


def test_prompt_tuning_answers_alike_with_absolute_positions_and_prompts_of_any_length() -> None:
    """Padding on the left would shift the positions, which PEFT cannot correct."""
    from peft import PromptTuningConfig, get_peft_model
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=40, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    base = GPT2LMHeadModel(config)
    torch.nn.init.normal_(base.transformer.wpe.weight, std=2.0)  # positions must matter
    tuned: Any = get_peft_model(
        base, PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM")
    )
    tuned.eval()

    class Tokenizer:
        pad_token_id = 0

        def batch_decode(self, ids: Any, skip_special_tokens: bool) -> list[str]:
            return [" ".join(map(str, row.tolist())) for row in ids]

    prompts = [[5, 6, 7, 8, 9], [11], [12, 13, 14]]
    together = generate(tuned, Tokenizer(), prompts, [39], max_new_tokens=5, batch_size=3)
    alone = [generate(tuned, Tokenizer(), [p], [39], max_new_tokens=5)[0] for p in prompts]
    assert together == alone
