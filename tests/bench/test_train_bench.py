"""The training bench runs, and its figures mean what they say."""

from __future__ import annotations

import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from transformers import LlamaConfig

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The modules of `bench/` by name, as its scripts import one another."""
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module


def quick(bench: Any, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """The last line of a quick run, its sides in this process: PyTorch is imported already."""
    sides = bench("sides").SIDES

    def run(spec: dict[str, Any]) -> dict[str, Any]:
        AcceleratorState._reset_state(reset_partial_state=True)  # in a process of its own it is new
        found: dict[str, Any] = sides[spec["side"]](json.loads(json.dumps(spec)))
        return found

    bench("train").main(["--quick", "--json", "--held-out", "4", *arguments], run=run)
    AcceleratorState._reset_state(reset_partial_state=True)
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def test_classification_is_measured_beside_the_trainer(
    bench: Any, tiny_encoder: Path, sentiment_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = quick(
        bench, capsys, "--works", "minilm_full", "--encoder", str(tiny_encoder),
        "--tweets", str(sentiment_file),
    )  # fmt: skip
    assert printed["machine"]["cores"]
    figures = printed["figures"]
    ratio = figures["minilm_full.trainer_256.ours_times_faster"]
    assert ratio["goal"] == 25.0 and ratio["better"] == "higher"
    assert ratio["spread"][0] <= ratio["value"] <= ratio["spread"][1]
    assert 0 <= figures["minilm_full.trainer_dynamic.macro_f1"]["value"] <= 1
    assert abs(figures["minilm_full.trainer_dynamic.ours_points_of_macro_f1_more"]["value"]) <= 100
    assert figures["minilm_full.share_of_matrix_rate"]["value"] > 0
    for part in ("linear", "attention", "optimizer", "embedding"):
        step = figures[f"minilm_full.step.{part}_seconds"]
        assert step["value"] > 0 and step["bound"] > 0, part


@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="the extra bench")
@pytest.mark.parametrize("work", ["smollm2_full", "smollm2_lora"])
def test_instructions_are_measured_beside_trl(
    bench: Any,
    work: str,
    tiny_decoder: Path,
    instruction_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    figures = quick(
        bench, capsys, "--works", work, "--decoder", str(tiny_decoder),
        "--rows", str(instruction_file), "--peers", "ours_packed", "sft_plain",
    )["figures"]  # fmt: skip
    assert not any("sft_defaults" in key for key in figures)
    for side in ("ours", "ours_packed", "sft_plain"):
        assert figures[f"{work}.{side}.tokens_per_second"]["value"] > 0
    losses = [figures[f"{work}.{side}.held_out_loss"]["value"] for side in ("ours", "sft_plain")]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="the extra bench")
@pytest.mark.parametrize("work", ["llama_3_8b_lora", "llama_3_8b_full"])
def test_a_large_shape_is_measured_on_random_weights(
    bench: Any,
    work: str,
    tiny_decoder: Path,
    instruction_file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shapes = bench("shapes")
    assert shapes.SHAPES["llama-3-8b"]().num_hidden_layers == 32
    small = LlamaConfig(
        vocab_size=600, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
    )  # fmt: skip
    monkeypatch.setitem(shapes.SHAPES, "llama-3-8b", lambda: small)
    monkeypatch.setattr(shapes, "_DRAWN", 100)
    figures = quick(
        bench, capsys, "--works", work, "--decoder", str(tiny_decoder),
        "--rows", str(instruction_file),
    )["figures"]  # fmt: skip
    for side in ("ours", "sft_packed"):
        assert figures[f"{work}.{side}.tokens_per_second"]["value"] > 0
        assert f"{work}.{side}.held_out_loss" not in figures
    assert figures[f"{work}.share_of_matrix_rate"]["value"] > 0


def test_a_work_without_its_peer_is_left_out_in_words(
    bench: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    bench("train").main(["--quick", "--json", "--works", "smollm2_full"])
    printed = capsys.readouterr()
    assert "smollm2_full: left out, trl is missing" in printed.err
    assert json.loads(printed.out)["figures"] == {}


def test_a_side_in_its_own_process_gives_its_result(bench: Any) -> None:
    found = bench("train").in_own_process({"side": "rate", "size": 64})
    assert found["float32"] > 1e6 and found["bfloat16"] > 1e6


def test_flops_are_six_a_trained_weight_and_four_a_frozen_one(bench: Any) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Linear(5, 2, bias=False))
    assert bench("sides").model_flops(model, tokens=7) == 6 * (15 + 10) * 7
    model[0].weight.requires_grad = False
    assert bench("sides").model_flops(model, tokens=7) == (4 * 15 + 6 * 10) * 7
