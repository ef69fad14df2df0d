"""Encoder-decoder models from recipe to scores: they learn, resume, and plain transformers reads
them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from runs import StopAfter, train
from tiny import reversal_rows
from tunewright import pipeline
from tunewright.artifacts import sha256_file
from tunewright.checking import check, read_data, show_tokens
from tunewright.config.recipe import Recipe
from tunewright.errors import ConfigError, DataError, Interrupted, ModelError
from tunewright.models.input_settings import read_settings
from tunewright.train.journal import read_journal


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """Words and the same words backwards."""
    path = tmp_path / "toy.jsonl"
    lines = [json.dumps(row) for row in reversal_rows()]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def recipe(base: Path, rows: Path, output: Path, **values: Any) -> Recipe:
    data = {"train": str(rows), "validation": 0.0} | values.pop("data", {})
    defaults: dict[str, Any] = {
        "model": str(base),
        "data": data,
        "output_dir": str(output),
        "per_device_train_batch_size": 6,
        "max_steps": 3,
        "device": "cpu",
    }
    return Recipe.check(defaults | values)


def test_a_model_learns_to_write_words_backwards_and_beats_its_base(
    tiny_t5: Path, toy: Path, tmp_path: Path
) -> None:
    data = {"source_prefix": "reverse: "}
    made = recipe(tiny_t5, toy, tmp_path / "run", data=data, learning_rate=1e-2, max_steps=60)
    result = train(made)
    found = pipeline.evaluate_model(
        str(tmp_path / "run"),
        str(toy),
        metrics=["exact_match", "chrf", "rouge1", "bleu", "perplexity", "bits_per_byte"],
        max_new_tokens=6,
        output_dir=tmp_path / "evaluation",
    )
    base = found.baselines["base"]["metrics"]
    assert found.metrics["exact_match"]["value"] >= 0.8 > base["exact_match"]["value"]
    assert found.metrics["chrf"]["value"] > 60 > base["chrf"]["value"]
    assert found.comparison["base"]["difference"] > 0.5
    # 3 letters and the stop token a target; bits a byte are of the letters.
    nats = torch.tensor(found.metrics["perplexity"]["value"]).log() * 4
    bits = found.metrics["bits_per_byte"]["value"]
    torch.testing.assert_close(torch.tensor(bits), (nats / 3 / torch.tensor(2.0).log()))

    tokenizer: Any = AutoTokenizer.from_pretrained(result.folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(result.folder)
    source = tokenizer("reverse: abc", return_tensors="pt")
    tokens = model.generate(**source, max_new_tokens=6)
    written = tokenizer.decode(tokens[0], skip_special_tokens=True)
    lines = (tmp_path / "evaluation/predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0])["predicted"] == written
    settings = read_settings(result.folder)
    assert settings is not None
    assert (settings.template, settings.source_prefix) == ("seq2seq", "reverse: ")


METHODS: dict[str, dict[str, Any]] = {
    "full": {"method": "full"},
    "lora": {"method": "lora", "lora_r": 4, "gradient_checkpointing": True},
    "qlora": {"method": "qlora", "lora_r": 4},
    "ia3": {"method": "ia3"},
}
CASES = [("t5", "full"), ("bart", "lora"), ("t5", "qlora"), ("t5", "ia3")]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_stopped_run_ends_with_the_bytes_of_one_that_was_not(
    kind: str, name: str, request: pytest.FixtureRequest, toy: Path, tmp_path: Path
) -> None:
    base: Path = request.getfixturevalue(f"tiny_{kind}")
    whole = train(recipe(base, toy, tmp_path / "whole", **METHODS[name])).folder
    stopped = tmp_path / "stopped"
    with pytest.raises(Interrupted):
        train(recipe(base, toy, stopped, **METHODS[name]), StopAfter(stopped, 2))
    pipeline.resume(stopped)
    (first,) = whole.glob("*model.safetensors")
    assert sha256_file(first) == sha256_file(stopped / first.name)
    losses = [
        [line["loss"] for line in read_journal(folder) if line["event"] == "step"]
        for folder in (whole, stopped)
    ]
    assert losses[0] == losses[1] and len(losses[0]) == 3


def test_an_adapter_is_read_by_plain_peft(tiny_bart: Path, toy: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    made = recipe(tiny_bart, toy, tmp_path / "run", method="lora", lora_r=4, learning_rate=1e-2)
    train(made)
    config = json.loads((tmp_path / "run/adapter_config.json").read_text(encoding="utf-8"))
    assert config["task_type"] == "SEQ_2_SEQ_LM"
    batch = {"input_ids": torch.tensor([[3, 20, 1]]), "labels": torch.tensor([[3, 21, 1]])}
    before = AutoModelForSeq2SeqLM.from_pretrained(tiny_bart).eval()
    with torch.inference_mode():
        plain = float(before(**batch).loss)
        adapted = PeftModel.from_pretrained(before, tmp_path / "run").eval()
        assert abs(float(adapted(**batch).loss) - plain) > 1e-4
    found = pipeline.evaluate_model(str(tmp_path / "run"), str(toy))
    assert found.comparison["base"]["n"] == 6


def test_the_number_of_passes_changes_nothing(tiny_bart: Path, toy: Path, tmp_path: Path) -> None:
    still = tmp_path / "still"  # dropout draws for each pass
    shutil.copytree(tiny_bart, still)
    config = json.loads((still / "config.json").read_text(encoding="utf-8")) | {"dropout": 0.0}
    (still / "config.json").write_text(json.dumps(config), encoding="utf-8")
    losses = []
    for name, values in {
        "one": {},
        "many": {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 6},
        "short": {"max_tokens_per_pass": 11},
    }.items():
        train(recipe(still, toy, tmp_path / name, max_steps=2, **({"method": "full"} | values)))
        lines = [x for x in read_journal(tmp_path / name) if x["event"] == "step"]
        losses.append([line["loss"] for line in lines])
        assert lines[0]["tokens"] == 6 * (5 + 5)  # <s> abc </s> on both sides
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert losses[2] == pytest.approx(losses[0], rel=1e-5)


def test_the_audit_measures_sources_and_targets_as_they_will_be_cut(
    tiny_bart: Path, tmp_path: Path
) -> None:
    rows = [{"document": "abc " * 30, "summary": "abc"}, {"document": "ab", "summary": "cd " * 30}]
    path = tmp_path / "long.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    found = check(str(path), model=str(tiny_bart))
    assert found.lengths["limit"] == 64 and found.lengths["max"] > 120
    by_id = {finding.id: finding for finding in found.findings}
    assert by_id["length.answer_cut"].places == (("train", 1),)
    # Sixty letters of the source and thirty of the target are more than 64 together, not apart.
    fits = [{"prompt": "a" * 60, "completion": "b" * 30}]
    path.write_text(json.dumps(fits[0]), encoding="utf-8")
    found = check(str(path), model=str(tiny_bart))
    assert found.lengths["max"] == 62
    assert not [f for f in found.findings if f.id.startswith("length.")]


def test_tokens_are_shown_source_first_and_only_the_target_is_trained(
    tiny_t5: Path, toy: Path
) -> None:
    (row,) = show_tokens(read_data(str(toy)), str(tiny_t5), 1)
    assert [(t.text, t.trained, t.special) for t in row.tokens] == [
        *(("a", False, False), ("b", False, False), ("c", False, False), ("</s>", False, True)),
        *(("c", True, False), ("b", True, False), ("a", True, False), ("</s>", True, True)),
    ]
    (cut,) = show_tokens(read_data(str(toy)), str(tiny_t5), 1, max_length=3)
    assert cut.cut == 2 and cut.trained == 3


def test_init_writes_a_recipe_for_an_encoder_decoder_model(tiny_t5: Path, toy: Path) -> None:
    text, values = pipeline.propose_recipe(str(toy), model=str(tiny_t5))
    assert values["task"] == "instruction" and values["learning_rate"] == 1e-4
    assert "source_prefix" not in text and "template" not in text
    assert Recipe.check(values).model == str(tiny_t5)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"data": {"template": "plain"}}, ConfigError, r"remove data\.template"),
        ({"method": "prefix_tuning"}, ModelError, "does not work with encoder-decoder"),
        ({"method": "prompt_tuning"}, ModelError, "does not work with encoder-decoder"),
        ({"task": "text", "data": {"columns": {"text": "prompt"}}}, ModelError, "needs a decoder"),
        ({"max_length": 3}, DataError, "12 tokens at their ends would be cut"),
        ({"lora_target_modules": ["query"], "method": "lora"}, ModelError, "layers: k, o, q, v"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(
    tiny_t5: Path, toy: Path, tmp_path: Path, values: Any, error: Any, message: str
) -> None:
    with pytest.raises(error, match=message):
        train(recipe(tiny_t5, toy, tmp_path / "run", **values))
    assert not (tmp_path / "run").exists()


def test_a_prefix_for_a_decoder_is_refused(tiny_decoder: Path, toy: Path, tmp_path: Path) -> None:
    made = recipe(tiny_decoder, toy, tmp_path / "run", data={"source_prefix": "reverse: "})
    with pytest.raises(ConfigError, match="remove it, or write the words into the prompts"):
        train(made)


def test_the_python_door_tunes_an_encoder_decoder_model(tiny_t5: Path, tmp_path: Path) -> None:
    from tunewright.fine_tuning import FineTuner, FineTuningConfig

    config = FineTuningConfig(
        model_path=str(tiny_t5),
        output_dir=str(tmp_path / "tuned"),
        method="lora",
        dataset=reversal_rows(),
        max_steps=1,
        device="cpu",
        source_prefix="reverse: ",
    )
    FineTuner(config).train()
    settings = read_settings(tmp_path / "tuned")
    assert settings is not None and settings.source_prefix == "reverse: "
