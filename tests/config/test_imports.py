"""Settings of other toolkits become recipes that load, and nothing in them is passed over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tunewright.cli.app import run
from tunewright.config.foreign import Imported
from tunewright.config.imports import import_settings
from tunewright.config.load import load_recipe
from tunewright.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(name: str, content: object) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


def taken_over(name: str, content: object) -> Imported:
    """Import a file, and hold the result to what holds for every import."""
    keys = yaml.safe_load(content) if isinstance(content, str) and "--" not in content else {}
    found = import_settings(put(name, content))
    written = put("recipe.yaml", found.to_yaml())
    assert load_recipe(written).model_dump(mode="json", exclude_unset=True) == found.recipe
    if name.endswith((".yaml", ".yml")):
        told = {key.partition("[")[0].partition(".")[0] for key in found.left_out}
        assert keys.keys() <= found.taken.keys() | told, "a key was passed over"
    return found


# LLaMA-Factory

INFO = {
    "mine": {"file_name": "mine.json"},
    "asked": {
        "hf_hub_url": "org/asked",
        "subset": "en",
        "columns": {"prompt": "q", "response": "a", "history": "h"},
    },
    "chats": {
        "file_name": "chats.jsonl",
        "formatting": "sharegpt",
        "columns": {"messages": "turns"},
        "tags": {"role_tag": "from", "user_tag": "asker"},
        "num_samples": 200,
    },
    "odd_split": {"hf_hub_url": "org/odd", "split": "train_sft"},
    "preferred": {"file_name": "p.json", "ranking": True},
    "elsewhere": {"script_url": "loader"},
    "usual": {
        "file_name": "usual.json",
        "columns": {"prompt": "instruction", "query": "input", "response": "output"},
    },
}
PACKED = "a row there is a block of many rows, which a batch counts: raise the batch size instead"
FACTORY = {
    "model_name_or_path": "org/model",
    "stage": "sft",
    "finetuning_type": "lora",
    "dataset": "mine",
    "lora_rank": 8,
    "lora_alpha": 16,
    "lora_target": "q_proj,v_proj",
    "cutoff_len": 1024,
    "learning_rate": "1e-4",
    "num_train_epochs": 3,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 8,
    "lr_scheduler_type": "cosine",
    "warmup_ratio": 0.1,
    "bf16": True,
    "packing": True,
    "logging_steps": 10,
    "resume_from_checkpoint": None,
}


def factory(**changed) -> Imported:
    put("data/dataset_info.json", INFO)
    return taken_over("factory.yaml", yaml.safe_dump(FACTORY | changed))


def test_llama_factory_is_taken_over_key_by_key(folder):
    found = factory()
    assert found.recipe == {
        "model": "org/model",
        "method": "lora",
        "data": {"train": "data/mine.json", "truncation": "cut"},
        "num_train_epochs": 3.0,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 8,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "cosine",
        "warmup_ratio": 0.1,
        "max_length": 1024,
        "dtype": "bfloat16",
        "lora_r": 8,
        "lora_alpha": 16.0,
        "lora_target_modules": ["q_proj", "v_proj"],
    }
    assert found.left_out == {
        "packing": PACKED,
        "logging_steps": "every step is in journal.jsonl",
        "resume_from_checkpoint": "off",
    }


def test_the_default_system_message_of_llama_factory_is_taken_over(folder):
    found = factory(default_system="Answer in one sentence.")
    assert found.recipe["data"]["system"] == "Answer in one sentence."
    assert found.taken["default_system"] == "data.system"


def test_data_sets_of_llama_factory_become_sources(folder):
    asked = factory(dataset="asked")
    assert asked.recipe["data"]["train"] == "org/asked:en"
    assert asked.recipe["data"]["columns"] == {"prompt": "q", "completion": "a"}
    assert asked.left_out["asked.columns.history"] == "no equivalent"
    chats = factory(dataset="chats")
    assert chats.recipe["data"]["train"] == "data/chats.jsonl#200"
    assert chats.recipe["data"]["columns"] == {"messages": "turns"}
    assert "asker" in chats.left_out["chats.tags.user_tag"]
    assert factory(dataset="odd_split").recipe["data"]["train"] == "org/odd[train_sft]"
    both = factory(dataset="mine, usual", max_samples=10)
    assert both.recipe["data"]["train"] == ["data/mine.json", "data/usual.json"]
    assert "columns" not in both.recipe["data"], "the usual names are found without a mapping"
    assert "max_samples" in both.left_out
    assert factory(max_samples=10).recipe["data"]["max_samples"] == 10
    assert "name their columns differently" in factory(dataset="mine,asked").left_out["columns"]


def test_probabilities_of_llama_factory_become_weights(folder):
    mix = {"dataset": "mine,usual", "interleave_probs": "0.7,0.3"}
    found = factory(**mix, mix_strategy="interleave_under")
    assert found.recipe["data"]["train"] == [
        {"source": "data/mine.json", "weight": 0.7},
        {"source": "data/usual.json", "weight": 0.3},
    ]
    over = factory(**mix, mix_strategy="interleave_over")
    assert over.recipe["data"]["train"] == ["data/mine.json", "data/usual.json"]
    assert {"mix_strategy", "interleave_probs"} <= over.left_out.keys()


def test_held_out_rows_of_llama_factory(folder):
    assert factory(val_size=0.1).recipe["data"]["validation"] == 0.1
    assert "200 rows" in factory(val_size=200).left_out["val_size"]
    assert factory(eval_dataset="usual").recipe["data"]["validation"] == "data/usual.json"
    assert "several" in factory(eval_dataset="usual,mine").left_out["eval_dataset"]


def test_kinds_of_training_of_llama_factory(folder):
    full = factory(finetuning_type="full")
    assert full.recipe["method"] == "full"
    assert full.left_out["lora_rank"] == "no adapter is trained"
    assert factory(stage="pt").recipe["task"] == "text"
    quantized = factory(quantization_bit=4, double_quantization=True, use_rslora=True)
    assert quantized.recipe["method"] == "qlora"
    assert quantized.recipe["quantization_bits"] == 4
    assert quantized.recipe["bnb_4bit_use_double_quant"] is True
    assert quantized.recipe["use_rslora"] is True
    assert "quantization_type" in factory(quantization_type="nf4").left_out
    with pytest.raises(ConfigError, match="stage is 'dpo'"):
        factory(stage="dpo")
    with pytest.raises(ConfigError, match="finetuning_type is 'freeze'"):
        factory(finetuning_type="freeze")
    with pytest.raises(ConfigError, match="preferred holds preference pairs"):
        factory(dataset="preferred")
    with pytest.raises(ConfigError, match=r"No source .* elsewhere\.script_url"):
        factory(dataset="elsewhere")
    with pytest.raises(ConfigError, match=r"Unknown data set 'mien'. Did you mean 'mine'"):
        factory(dataset="mien")


def test_newer_keys_of_llama_factory(folder):
    found = factory(
        optim="paged_adamw_8bit",
        neftune_noise_alpha=5,
        loraplus_lr_ratio=16.0,
        additional_target="norm,lm_head",
        early_stopping_steps=3,
        eval_strategy="epoch",
        save_strategy="epoch",
        pissa_init=True,
        pissa_iter=-1,
        report_to="tensorboard",
        bf16=False,
    )
    expected = {
        "optim": "adamw_8bit",
        "neftune_noise_alpha": 5.0,
        "loraplus_lr_ratio": 16.0,
        "modules_to_save": ["norm", "lm_head"],
        "early_stopping_patience": 3,
        "init_lora_weights": "pissa",
        "report_to": ["tensorboard"],
    }
    assert expected.items() <= found.recipe.items()
    other = factory(optim="galore_adamw", pissa_init=True, report_to=["swanlab", "mlflow"])
    assert "'galore_adamw' is not the same here" in other.left_out["optim"]
    assert "pissa_iter: -1" in other.left_out["pissa_init"]
    assert other.left_out["report_to"] == "swanlab cannot be reported to"
    assert other.recipe["report_to"] == ["mlflow"]
    for settings in ({"bf16": True}, {"quantization_bit": 4, "bf16": False}):
        left = factory(pissa_init=True, pissa_iter=-1, **settings).left_out["pissa_init"]
        assert left.startswith("init_lora_weights: pissa is for")
    assert "report_to" not in factory(report_to="none").recipe


def test_a_list_of_data_sets_alone(folder):
    found = taken_over("data/dataset_info.json", {k: INFO[k] for k in ("mine", "usual")} | {
        "preferred": INFO["preferred"]})  # fmt: skip
    assert found.recipe["data"]["train"] == ["data/mine.json", "data/usual.json"]
    assert found.left_out.keys() == {"model", "preferred"}


def test_the_place_of_the_list_may_be_given(folder, capsys):
    put("other/list.json", INFO)
    put("f.yaml", yaml.safe_dump(FACTORY))
    assert run(["data", "import", "f.yaml"]) == 2
    assert "Give its place with --info" in capsys.readouterr().err
    assert run(["data", "import", "f.yaml", "--info", "other/list.json"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["data"]["train"] == "other/mine.json"


# Axolotl

AXOLOTL = """
base_model: org/model
datasets:
  - path: org/asked
    type: alpaca
val_set_size: 0.05
sequence_len: 4096
sample_packing: true
adapter: lora
lora_r: 32
lora_alpha: 16
lora_dropout: 0.05
lora_target_linear: true
gradient_accumulation_steps: 4
micro_batch_size: 2
num_epochs: 4
optimizer: adamw_bnb_8bit
lr_scheduler: cosine
learning_rate: 0.0002
bf16: auto
saves_per_epoch: 1
evals_per_epoch: 4
wandb_project:
"""


def axolotl(extra: str = "", **replaced: str) -> Imported:
    text = AXOLOTL
    for old, new in replaced.items():
        line = next(line for line in text.splitlines() if line.startswith(f"{old}:"))
        text = text.replace(line, f"{old}: {new}")
    return taken_over("axolotl.yml", text + extra)


def test_axolotl_is_taken_over_key_by_key(folder):
    found = axolotl()
    assert found.recipe == {
        "model": "org/model",
        "method": "lora",
        "data": {"train": "org/asked", "validation": 0.05, "truncation": "drop"},
        "num_train_epochs": 4.0,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 4,
        "learning_rate": 2e-4,
        "lr_scheduler_type": "cosine",
        "max_length": 4096,
        "lora_r": 32,
        "lora_alpha": 16.0,
        "lora_dropout": 0.05,
        "lora_target_modules": "all-linear",
        "save_strategy": "epoch",
        "optim": "adamw_8bit",
    }
    assert found.left_out.keys() == {
        "sample_packing", "bf16", "evals_per_epoch", "wandb_project",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "train", "columns", "left"),
    [
        ("{path: mine.jsonl, ds_type: json, type: alpaca}", "mine.jsonl", None, None),
        ("{path: json, data_files: [a.jsonl, b.jsonl]}", ["a.jsonl", "b.jsonl"], None, None),
        ("{path: org/a, name: en, split: extra}", "org/a:en[extra]", None, None),
        ("{path: org/a-v1.5, split: train}", "org/a-v1.5", None, None),
        ("{path: a.jsonl, type: completion, field: body}", "a.jsonl", {"text": "body"}, None),
        (
            "{path: a.jsonl, type: chat_template, field_messages: turns, roles_to_train: [gpt]}",
            "a.jsonl",
            {"messages": "turns"},
            "datasets[0].roles_to_train",
        ),
        (
            "{path: a.jsonl, type: {field_instruction: q, field_output: a, format: x}}",
            "a.jsonl",
            {"prompt": "q", "completion": "a"},
            "datasets[0].type.format",
        ),
        ("{path: a.jsonl, shards: 4}", "a.jsonl", None, "datasets[0].shards"),
        ("{path: a.jsonl, type: input_output}", "a.jsonl", None, "datasets[0].type"),
        ("{path: org/a, data_files: x.json}", "org/a", None, "datasets[0].data_files"),
    ],
)
def test_data_sets_of_axolotl_become_sources(folder, entry, train, columns, left):
    text = AXOLOTL.replace("  - path: org/asked\n    type: alpaca\n", f"  - {entry}\n")
    found = taken_over("axolotl.yml", text)
    assert found.recipe["data"]["train"] == train
    assert found.recipe["data"].get("columns") == columns
    assert left is None or left in found.left_out
    assert (found.recipe.get("task") == "text") is ("completion" in entry)


def test_other_settings_of_axolotl(folder):
    assert axolotl(adapter="").recipe["method"] == "full"
    for adapter, extra, bits in (("qlora", "", 4), ("lora", "load_in_8bit: true\n", 8)):
        quantized = axolotl(extra + "peft_use_dora: true\n", adapter=adapter).recipe
        assert (quantized["method"], quantized["quantization_bits"]) == ("qlora", bits)
        assert quantized["use_dora"] is True
    assert axolotl("eval_steps: 20\n").recipe["evaluation_strategy"] == "steps"
    assert axolotl(evals_per_epoch="1").recipe["evaluation_strategy"] == "epoch"
    held_out = "test_datasets:\n  - path: held.jsonl\n    split: train\n"
    assert axolotl(held_out).recipe["data"]["validation"] == 0.05
    assert axolotl(held_out, val_set_size="").recipe["data"]["validation"] == "held.jsonl"
    newer = axolotl(
        "use_tensorboard: true\nuse_mlflow: false\npeft_init_lora_weights: pissa\n"
        "lora_modules_to_save: [embed_tokens]\nneftune_noise_alpha: 5\n",
        optimizer="muon",
    )
    assert newer.recipe["report_to"] == ["tensorboard"]
    assert newer.recipe["init_lora_weights"] == "pissa"
    assert newer.recipe["modules_to_save"] == ["embed_tokens"]
    assert newer.recipe["neftune_noise_alpha"] == 5.0
    assert newer.left_out["optimizer"].startswith("'muon' is not the same here")
    cut = axolotl("excess_length_strategy: truncate\n")
    assert cut.recipe["data"]["truncation"] == "cut"
    with pytest.raises(ConfigError, match="rl is 'dpo'"):
        axolotl("rl: dpo\n")
    with pytest.raises(ConfigError, match="a list of data sets with `path` is expected"):
        taken_over("a.yml", "base_model: m\ndatasets: [a.jsonl]\n")


# TRL

TRL = """
model_name_or_path: org/model
dataset_name: org/chats
dataset_config: en
learning_rate: 2.0e-5
max_length: 512
packing: true
use_peft: true
lora_r: 16
lora_alpha: 32
lora_target_modules: all-linear
eval_strategy: steps
eval_steps: 100
save_steps: 200
load_best_model_at_end: true
"""


def test_trl_is_taken_over_key_by_key(folder):
    found = taken_over("trl.yaml", TRL)
    assert found.recipe == {
        "model": "org/model",
        "method": "lora",
        "data": {"train": "org/chats:en", "truncation": "cut"},
        "learning_rate": 2e-5,
        "max_length": 512,
        "lora_r": 16,
        "lora_alpha": 32.0,
        "lora_target_modules": "all-linear",
        "evaluation_strategy": "steps",
        "eval_steps": 100,
        "save_strategy": "steps",
        "save_steps": 200,
        "load_best_model_at_end": True,
    }
    assert found.left_out == {"packing": PACKED}


def test_a_command_line_of_trl(folder):
    script = (
        "#!/bin/bash\n# train\naccelerate launch trl/scripts/sft.py \\\n"
        "  --model_name_or_path org/model --dataset_name=org/chats --learning-rate 1e-5 \\\n"
        "  --use_peft --lora_target_modules q_proj v_proj --packing  # and more\n"
    )
    found = taken_over("train.sh", script)
    assert found.recipe["data"]["train"] == "org/chats"
    assert found.recipe["learning_rate"] == 1e-5
    assert found.recipe["lora_target_modules"] == ["q_proj", "v_proj"]
    assert found.left_out.keys() == {"packing"}
    with pytest.raises(ConfigError, match="The command calls dpo"):
        taken_over("train.sh", "trl dpo --dataset_name org/pairs")


def test_a_command_line_of_trl_over_a_file(folder):
    put("trl.yaml", TRL)
    found = taken_over("train.sh", "trl sft --config trl.yaml --learning_rate 3e-5 --seed 4")
    assert (found.recipe["learning_rate"], found.recipe["seed"]) == (3e-5, 4)
    assert found.recipe["max_length"] == 512
    with pytest.raises(ConfigError, match=r"no file gone\.yaml"):
        taken_over("train.sh", "trl sft --config gone.yaml")


def test_words_in_comments_are_no_command_line(folder):
    comment = "# accelerate launch sft.py --config trl.yaml\n"
    assert taken_over("trl.yaml", comment + TRL).recipe["max_length"] == 512
    script = comment + "trl sft --model_name_or_path m --dataset_name org/a --max_length 9\n"
    assert taken_over("train.sh", script).recipe["max_length"] == 9


def test_other_commands_of_a_script_are_not_settings(folder):
    train = "trl sft --model_name_or_path m --dataset_name org/a\n"
    assert taken_over("train.sh", f"pip install --upgrade trl\n{train}").recipe["model"] == "m"
    with pytest.raises(ConfigError, match="holds 2 commands with training settings"):
        taken_over("train.sh", train * 2)


def test_a_command_line_of_llama_factory(folder):
    put("data/dataset_info.json", INFO)
    words = "--model_name_or_path m --dataset mine --finetuning_type full --cutoff_len 99"
    found = taken_over("train.sh", f"llamafactory-cli train {words}\n")
    assert (found.toolkit, found.recipe["max_length"]) == ("LLaMA-Factory", 99)


def test_data_of_trl(folder):
    base = "model_name_or_path: m\n"
    mixture = (
        "datasets:\n  - {path: org/a, name: en}\n"
        "  - {path: json, data_files: [b.jsonl], columns: [x]}\ntest_split_size: 0.2\n"
    )
    found = taken_over("t.yaml", base + mixture)
    assert found.recipe["data"]["train"] == ["org/a:en", "b.jsonl"]
    assert found.recipe["data"]["validation"] == 0.2
    assert found.left_out.keys() == {"datasets[1].columns"}
    text = base + "dataset_name: org/a\ndataset_text_field: body\ndataset_test_split: dev2\n"
    found = taken_over("t.yaml", text)
    assert found.recipe["data"]["columns"] == {"text": "body"}
    assert found.recipe["data"]["validation"] == "org/a[dev2]"


# What they share


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ({"lr_scheduler_type": "constant_with_warmup"}, {"lr_scheduler_type": "constant"}),
        (
            {"lr_scheduler_type": "constant", "warmup_steps": 5},
            {"lr_scheduler_type": "constant", "warmup_ratio": 0.0, "warmup_steps": None},
        ),
        ({"lr_scheduler_type": "polynomial"}, {"lr_scheduler_type": None}),
        ({"max_steps": 9, "num_train_epochs": 2}, {"max_steps": 9, "num_train_epochs": None}),
        ({"max_steps": -1, "num_train_epochs": 2}, {"max_steps": None, "num_train_epochs": 2.0}),
        ({"eval_steps": 9}, {"eval_steps": None, "evaluation_strategy": None}),
        ({"eval_strategy": "steps", "logging_steps": 7}, {"eval_steps": 7}),
        ({"eval_strategy": "steps"}, {"eval_steps": 500}),
        ({"save_strategy": "steps"}, {"save_steps": 500}),
        ({"save_strategy": "epoch", "save_steps": 9}, {"save_steps": None}),
        ({"eval_strategy": "steps", "eval_steps": 0.1}, {"evaluation_strategy": None}),
        ({"learning_rate": -1}, {"learning_rate": None}),
        ({"torch_dtype": "bfloat16"}, {"dtype": "bfloat16"}),
        ({"torch_dtype": "auto"}, {"dtype": None}),
        ({"bf16": False}, {"dtype": None}),
        (
            {"use_peft": True, "load_in_4bit": True, "bnb_4bit_quant_type": "fp4"},
            {"method": "qlora", "quantization_bits": 4, "bnb_4bit_quant_type": "fp4"},
        ),
        ({"load_in_4bit": True}, {"method": "full", "quantization_bits": None}),
        (
            {"eval_strategy": "no", "load_best_model_at_end": True},
            {"load_best_model_at_end": None, "evaluation_strategy": "no"},
        ),
    ],
    ids=str,
)
def test_training_arguments_of_transformers(folder, there, here):
    base = {"model_name_or_path": "m", "dataset_name": "org/a"}
    found = taken_over("t.yaml", yaml.safe_dump(base | there))
    assert {key: found.recipe.get(key) for key in here} == here


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.yaml", "colour: red\n", "of no toolkit that is known"),
        ("a.json", "{", "is not JSON"),
        ("a.json", "{}", "of no toolkit that is known"),
        ("a.yaml", "a: [", "Not valid YAML"),
        ("a.sh", "trl sft --dataset_name 'x", "cannot be read"),
    ],
)
def test_files_that_are_no_settings(folder, name, content, said):
    with pytest.raises(ConfigError, match=said):
        import_settings(put(name, content))


def test_the_command_prints_a_recipe_or_json(folder, capsys):
    put("axolotl.yml", AXOLOTL)
    assert run(["data", "import", "axolotl.yml"]) == 0
    printed = capsys.readouterr().out
    assert f"#   sample_packing: {PACKED}\n" in printed
    assert yaml.safe_load(printed)["max_length"] == 4096
    assert run(["data", "import", "axolotl.yml", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["toolkit"] == "Axolotl"
    assert found["taken"]["micro_batch_size"] == "per_device_train_batch_size"
    assert run(["data", "import", "gone.yml"]) == 2
