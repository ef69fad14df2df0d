"""Adapters that share a base answer as each does alone, and combine into what the weights say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import runs
from runs import train
from tiny import instruction_rows
from tunewright import pipeline
from tunewright.cli.app import run
from tunewright.errors import ArtifactError, ConfigError, ModelError
from tunewright.models.adapter_sets import AdapterSet
from tunewright.models.combine_adapters import Combination, Combined, combine_adapters
from tunewright.models.load import load_finished

pytestmark = pytest.mark.filterwarnings("ignore:MatMul8bitLt")

IDS = torch.tensor([[1, 5, 60, 61, 90, 7]])
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"method": "lora", "lora_r": 4},
    "other": {"method": "lora", "lora_r": 4, "seed": 1, "data": {"system": "Be brief."}},
    "rank": {"method": "lora", "lora_r": 2, "lora_target_modules": ["q_proj", "up_proj"]},
    "rslora": {"method": "lora", "lora_r": 4, "use_rslora": True},
    "dora": {"method": "lora", "lora_r": 4, "use_dora": True},
    "saved": {"method": "lora", "lora_r": 4, "modules_to_save": ["norm"]},
    "qlora": {"method": "qlora", "lora_r": 4, "quantization_bits": 8},
    "prompt": {"method": "prompt_tuning", "num_virtual_tokens": 3},
    "prompt two": {"method": "prompt_tuning", "num_virtual_tokens": 3, "seed": 1},
    "ia3": {"method": "ia3"},
    "ia3 two": {"method": "ia3", "seed": 1},
}


class Trained:
    """Adapters of one tiny decoder, each trained when first asked for."""

    def __init__(self, base: Path, rows: Path, folder: Path) -> None:
        self.base, self.rows, self.folder = base, rows, folder

    def __call__(self, name: str) -> str:
        output = self.folder / name.replace(" ", "-")
        if not output.exists():
            values = {"max_steps": 1, "learning_rate": 0.1, "warmup_steps": 0} | METHODS[name]
            data = {"train": str(self.rows), "validation": 0.2} | values.pop("data", {})
            train(runs.recipe(self.base, self.rows, output, data=data, **values))
        return str(output)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_decoder: Path) -> Trained:
    folder = tmp_path_factory.mktemp("adapters")
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in instruction_rows()))
    return Trained(tiny_decoder, rows, folder)


def logits(model: Any, ids: torch.Tensor = IDS) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=ids).logits
    return found


def alone(folder: str | Path) -> torch.Tensor:
    return logits(load_finished(str(folder)).model)


def combined(
    folder: Path, trained: Trained, names: str, *weights: float, **options: Any
) -> Combined:
    return combine_adapters([trained(n) for n in names.split("+")], str(folder), weights, **options)


# Switching


@pytest.mark.parametrize(
    "names", ["lora+other+rank", "prompt+prompt two", "ia3+ia3 two", "dora+saved"]
)
def test_each_adapter_of_a_set_answers_as_it_does_alone(names: str, trained: Trained) -> None:
    folders = {f"my.{name}": trained(name) for name in names.split("+")}
    expected = {name: alone(folder) for name, folder in folders.items()}
    adapters = AdapterSet(folders)
    assert adapters.names == tuple(folders) and adapters.active == next(iter(folders))
    for name in (*folders, *folders):  # and again, in another order than they were loaded
        used = adapters.use(name)
        assert adapters.active == name
        assert torch.equal(logits(used.model), expected[name])
        own = load_finished(folders[name])
        assert (used.settings, used.facts) == (own.settings, own.facts)
    with adapters.base() as model:
        plain = logits(load_finished(str(trained.base)).model)
        assert torch.equal(logits(model)[:, -IDS.shape[1] :], plain)
    assert len({tuple(e.flatten().tolist()) for e in expected.values()}) == len(folders)


def test_classifiers_of_one_base_are_switched_with_their_heads_and_labels(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path
) -> None:
    values = {"method": "lora", "lora_r": 2, "max_steps": 2}
    train(runs.recipe(tiny_encoder, sentiment_file, tmp_path / "mood", **values))
    other = tmp_path / "other.jsonl"
    other.write_text(
        sentiment_file.read_text().replace("positive", "yes").replace("negative", "no")
    )
    train(runs.recipe(tiny_encoder, other, tmp_path / "yes", **values, seed=1))
    adapters = AdapterSet({"mood": str(tmp_path / "mood"), "yes": str(tmp_path / "yes")})
    ids = torch.tensor([[2, 4, 9, 3]])
    for name, labels in (("yes", ("no", "yes")), ("mood", ("negative", "positive"))):
        used = adapters.use(name)
        assert used.settings.labels == labels
        assert torch.equal(
            logits(used.model, ids), logits(load_finished(str(tmp_path / name)).model, ids)
        )
    three = tmp_path / "three" / "tunewright.json"
    shutil.copytree(tmp_path / "mood", three.parent)
    three.write_text(json.dumps(json.loads(three.read_text()) | {"labels": ["a", "b", "c"]}))
    with pytest.raises(ModelError, match=r"three has 3 labels"):
        AdapterSet({"mood": str(tmp_path / "mood"), "three": str(tmp_path / "three")})
    with pytest.raises(ModelError, match="has a head for classification"):
        combine_adapters([str(tmp_path / "mood"), str(tmp_path / "yes")], str(tmp_path / "both"))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("lora+prompt", "method is 'LORA' for the one and 'PROMPT_TUNING' for the other"),
        ("lora+qlora", "quantization is None for the one and Quantization"),
    ],
)
def test_adapters_that_cannot_share_a_base_are_refused_with_what_differs(
    names: str, message: str, trained: Trained
) -> None:
    with pytest.raises(ModelError, match=message):
        AdapterSet({name: trained(name) for name in names.split("+")})


def test_wrong_names_and_models_are_refused(trained: Trained, tmp_path: Path) -> None:
    adapters = AdapterSet({"first": trained("lora")})
    with pytest.raises(ConfigError, match=r"Unknown adapter 'frist'. Did you mean 'first'"):
        adapters.use("frist")
    with pytest.raises(ConfigError, match="at least one adapter"):
        AdapterSet({})
    with pytest.raises(ModelError, match="is a whole model, not an adapter"):
        AdapterSet({"base": str(trained.base)})
    shutil.copytree(trained("lora"), tmp_path / "foreign")
    (tmp_path / "foreign" / "tunewright.json").unlink()
    with pytest.raises(ModelError, match=r"foreign: there is no tunewright\.json"):
        AdapterSet({"foreign": str(tmp_path / "foreign")})


# One base


def moved(adapter: str, base: Path, target: Path) -> str:
    """A copy of an adapter that says it belongs to another base, as if trained there."""
    shutil.copytree(adapter, target)
    config = json.loads((target / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(base)
    (target / "adapter_config.json").write_text(json.dumps(config))
    return str(target)


def test_a_base_is_told_by_its_weights_and_not_by_its_folder(
    trained: Trained, tmp_path: Path
) -> None:
    shutil.copytree(trained.base, tmp_path / "copy")
    there = moved(trained("other"), tmp_path / "copy", tmp_path / "there")
    pair = [trained("lora"), there]
    assert combine_adapters(pair, str(tmp_path / "both")).rank == 8
    # Without a manifest the files themselves are compared.
    (tmp_path / "there" / "manifest.json").unlink()
    assert combine_adapters(pair, str(tmp_path / "again")).rank == 8
    weights = tmp_path / "copy" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    with pytest.raises(ModelError, match=r"do not belong to one base: theirs are .* other weights"):
        combine_adapters(pair, str(tmp_path / "wrong"))
    with pytest.raises(ModelError, match="do not belong to one base"):
        AdapterSet(dict(zip("ab", pair, strict=True)))
    alike = [moved(trained(n), tmp_path / "copy", tmp_path / n) for n in ("lora", "other")]
    with pytest.raises(ModelError, match=r"not those that .*lora was trained on: they"):
        combine_adapters(alike, str(tmp_path / "wrong"))
    assert not (tmp_path / "wrong").exists()


def test_an_adapter_whose_base_has_moved_finds_it_by_the_name_in_the_recipe(
    trained: Trained, tmp_path: Path
) -> None:
    there = moved(trained("lora"), tmp_path / "gone", tmp_path / "there")
    assert torch.equal(alone(there), alone(trained("lora")))
    (tmp_path / "there" / "tunewright.json").unlink()
    with pytest.raises(ModelError, match=r"base of the adapter in .*there cannot be found"):
        alone(there)


# Combining

EXACT = ("cat", "svd", "linear")
NEED_DENSITY = [kind for kind in Combination if kind.drops]
KEEPS_FIRST = [k for k in Combination if "ties" not in k.value]
"""Signs are elected among all adapters, whatever their weights, so `ties` is not among these."""


@pytest.mark.parametrize("kind", list(Combination))
def test_weights_of_one_and_zero_give_the_first_adapter_and_others_do_not(
    kind: Combination, trained: Trained, tmp_path: Path
) -> None:
    density = {"density": 1.0} if kind.drops else {}
    first = alone(trained("lora"))
    made = combined(tmp_path / "first", trained, "lora+other", 1, 0, kind=kind.value, **density)
    assert made.rank == (8 if kind is Combination.CAT else 4)
    found = alone(tmp_path / "first")
    if kind in KEEPS_FIRST:
        torch.testing.assert_close(found, first, rtol=1e-4, atol=1e-5)
    kept = {"density": 0.5} if kind.drops else {}
    options = kept | ({"rank": 6} if kind.value.endswith("svd") else {})
    made = combined(tmp_path / "both", trained, "lora+other", 0.6, -0.4, kind=kind, **options)
    assert made.rank == {"cat": 8}.get(kind.value, 6 if "rank" in options else 4)
    both = alone(tmp_path / "both")
    assert both.isfinite().all() and not torch.allclose(both, first, atol=1e-3)


@pytest.mark.parametrize("kind", ["cat", "svd"])
@pytest.mark.parametrize("names", ["lora+rank", "rslora+rslora"])
def test_exact_combinations_add_the_updates_of_unlike_ranks_scales_and_layers(
    kind: str, names: str, trained: Trained, tmp_path: Path
) -> None:
    rank = {"rank": 8} if kind == "svd" else {}
    combined(tmp_path / "sum", trained, names, 0.5, 2, kind=kind, **rank)
    expected: dict[str, torch.Tensor] = {}
    for name, weight in zip(names.split("+"), (0.5, 2), strict=True):
        for layer, update in updates(trained(name)).items():
            expected[layer] = expected.get(layer, 0) + weight * update
    found = updates(str(tmp_path / "sum"))
    assert found.keys() == expected.keys()
    for layer, update in expected.items():
        torch.testing.assert_close(found[layer], update, rtol=1e-4, atol=1e-6)


def updates(folder: str) -> dict[str, torch.Tensor]:
    """scale x B A of each layer of an adapter on disk."""
    from safetensors.torch import load_file

    config = json.loads((Path(folder) / "adapter_config.json").read_text())
    tensors = load_file(Path(folder) / "adapter_model.safetensors")
    root = config["r"] ** 0.5 if config["use_rslora"] else config["r"]
    scale = config["lora_alpha"] / root
    names = [name for name in tensors if ".lora_A." in name]
    return {n: scale * tensors[n.replace(".lora_A.", ".lora_B.")] @ tensors[n] for n in names}


def test_scales_are_averaged_and_adapters_over_few_bits_are_combined(
    trained: Trained, tmp_path: Path
) -> None:
    made = combined(tmp_path / "ia3", trained, "ia3+ia3 two", 1, 0)
    assert (made.kind, made.rank) == (Combination.LINEAR, None)
    torch.testing.assert_close(alone(tmp_path / "ia3"), alone(trained("ia3")))
    with pytest.raises(ModelError, match=r"must have the sum 1.* it is 1\.5"):
        combined(tmp_path / "no", trained, "ia3+ia3 two", 1, 0.5)
    with pytest.raises(ModelError, match="only linear combines"):
        combined(tmp_path / "no", trained, "ia3+ia3 two", 1, 0, kind="cat")
    combined(tmp_path / "qlora", trained, "qlora+qlora", 0.25, 0.75)
    torch.testing.assert_close(alone(tmp_path / "qlora"), alone(trained("qlora")))


def test_a_combination_is_a_finished_model_for_evaluation_comparison_and_more_combining(
    trained: Trained, tmp_path: Path
) -> None:
    made = combined(tmp_path / "both", trained, "lora+other")
    assert made.weights == (0.5, 0.5)
    assert "different system messages; the combination has that of" in made.notes[0]
    manifest = json.loads((tmp_path / "both" / "manifest.json").read_text())
    assert (manifest["kind"], manifest["status"]) == ("adapter", "done")
    assert {"model/model.safetensors", "adapter/0", "adapter/1"} == set(manifest["parents"])
    both = str(tmp_path / "both")
    found = pipeline.compare_models([trained("lora"), both], str(trained.rows), num_samples=4)
    assert all(entry["metrics"] for entry in found)
    again = combine_adapters([both, trained("rank")], str(tmp_path / "more"), [1, 0])
    assert again.rank == 10
    torch.testing.assert_close(alone(again.folder), alone(both))
    # A folder of PEFT without our file has the base's tokenizer and template.
    for name in ("tunewright.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "both" / name).unlink()
    torch.testing.assert_close(alone(both), alone(again.folder))
    with pytest.raises(ModelError, match=r"both has no tunewright\.json"):
        combine_adapters([trained("lora"), both], str(tmp_path / "no"))


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        ("lora", {}, "at least two adapters; 1 was given"),
        ("lora+other", {"weights": [1]}, "2 adapters and 1 weights"),
        ("lora+other", {"weights": [1, float("nan")]}, "finite"),
        ("lora+other", {"kind": "tiesed"}, "Unknown kind .* Did you mean 'ties'"),
        ("lora+other", {"kind": "ties"}, "density does not say which"),
        ("lora+other", {"kind": "ties", "density": 2}, "above 0, and at most 1"),
        ("lora+other", {"density": 0.5}, "density has no effect with cat"),
        ("lora+other", {"rank": 3}, "rank has no effect with cat"),
        ("lora+other", {"kind": "svd", "rank": 0}, "at least 1"),
        (
            "lora+rank",
            {"kind": "linear"},
            "lora has 4, .*rank has 2. Use cat or svd",
        ),
        ("lora+rank", {"kind": "ties", "density": 0.5}, "Use cat or ties_svd"),
        ("lora+dora", {}, "use_dora"),
        ("saved+lora", {}, r"trained whole \(norm\)"),
        ("prompt+prompt two", {}, "virtual tokens cannot. Switch"),
        ("lora+ia3", {}, "method is 'LORA' for the one and 'IA3'"),
        ("lora+qlora", {}, "quantization is None"),
    ],
)
def test_what_cannot_be_combined_is_refused_and_nothing_is_written(
    names: str, options: dict[str, Any], message: str, trained: Trained, tmp_path: Path
) -> None:
    with pytest.raises((ConfigError, ModelError), match=message):
        combine_adapters([trained(n) for n in names.split("+")], str(tmp_path / "out"), **options)
    assert list(tmp_path.iterdir()) == []


def test_the_command_combines_and_says_what_it_did(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair, output = [trained("lora"), trained("other")], str(tmp_path / "both")
    words = ["models", "combine", *pair, "--output", output, "--weight", "0.7", "--weight", "0.3"]
    assert run([*words, "--kind", "svd", "--rank", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["folder"], found["kind"], found["rank"]) == (output, "svd", 3)
    assert found["weights"] == [0.7, 0.3]
    assert run(words) == 2
    assert "has files in it" in capsys.readouterr().err
    words[words.index(output)] = str(tmp_path / "ties")
    assert run([*words, "--kind", "dare_ties", "--density", "0.5", "--seed", "3"]) == 0
    shown = capsys.readouterr().err.replace("\n", "")
    assert "Combined by dare_ties, rank 4: 0.7 x" in shown and "tunewright evaluate" in shown
    with pytest.raises(ArtifactError, match="has files in it"):
        combine_adapters(pair, str(tmp_path))
