"""What is broken is not trained on, unless it is accepted by name; nothing is left half-written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from chat_templates import SMOLLM2
from tiny import instruction_rows, sentiment_rows
from tunewright import checking, pipeline
from tunewright.cli.app import run
from tunewright.config.finding_ids import ERRORS
from tunewright.config.recipe import Recipe
from tunewright.errors import ConfigError, DataError
from tunewright.fine_tuning import FineTuner, FineTuningConfig


@pytest.fixture(autouse=True)
def _work_in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def recipe(model: Path, **data: Any) -> dict[str, Any]:
    return {
        "model": str(model),
        "data": {"validation": 0, "truncation": "cut", **data},
        "output_dir": "run",
        "max_steps": 2,
        "per_device_train_batch_size": 4,
        "device": "cpu",
    }


@pytest.fixture
def leaking(write_rows: Any) -> dict[str, str]:
    """A test part of which one row is in train."""
    rows = sentiment_rows()
    return {
        "train": str(write_rows("train.jsonl", rows[:50])),
        "test": str(write_rows("test.jsonl", [rows[7], *rows[50:]])),
    }


def test_train_and_run_refuse_errors_and_write_nothing(
    tiny_encoder: Path, leaking: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("r.yaml").write_text(yaml.safe_dump(recipe(tiny_encoder, **leaking)))
    for verb in ("train", "run"):
        assert run([verb, "r.yaml"]) == 2
        said = capsys.readouterr().err
        assert "The audit found an error in the data: leakage.exact (1 row)" in said
        assert "data.allow=[template.system, leakage.exact]" in said
        assert "1 row of test has the same text" in said  # the table of findings
        assert not Path("run").exists()
    assert run(["train", "r.yaml", "data.allow=[leakage.exact]"]) == 0
    assert Path("run/model.safetensors").is_file()


def test_run_shows_the_audit(
    tiny_encoder: Path, leaking: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    given = recipe(tiny_encoder, **leaking) | {"output_dir": "other"}
    Path("r.yaml").write_text(yaml.safe_dump(given))
    assert run(["run", "r.yaml", "data.allow=[leakage.exact]"]) == 0
    assert "quantity.small" in capsys.readouterr().err
    assert run(["run", "r.yaml", "data.allow=[leakage.exact]"]) == 0
    assert "quantity.small" not in capsys.readouterr().err  # the run is done: nothing to refuse


def test_every_error_is_named_at_once() -> None:
    findings = [
        {"id": i, "severity": s, "rows": 3, "message": f"Said of {i}.", "fix": "Do it."}
        for i, s in (("empty.text", "error"), ("label.rare", "warning"), ("leakage.near", "error"))
    ]
    with pytest.raises(DataError) as raised:
        checking.require_sound({"findings": findings}, [])
    said = str(raised.value)
    assert "2 errors in the data: empty.text (3 rows), leakage.near (3 rows)" in said
    assert "data.allow=[empty.text, leakage.near]" in said
    assert "--fix OUT` writes a copy without empty.text, leakage.near." in said
    with pytest.raises(DataError, match=r"an error in the data: leakage\.near"):
        checking.require_sound({"findings": findings}, ["empty.text"])
    checking.require_sound({"findings": findings}, ["empty.text", "leakage.near"])
    findings[0]["id"] = "label.single"  # nothing that --fix could mend
    with pytest.raises(DataError, match=r"Said of empty\.text\. Do it\. To train in spite"):
        checking.require_sound({"findings": findings[:1]}, [])


def test_only_errors_can_be_allowed_and_slips_name_the_close_match() -> None:
    values = {"model": "m", "data": {"train": "t.jsonl", "allow": ["leakage.neer"]}}
    with pytest.raises(ConfigError, match=r"Did you mean 'leakage\.near'"):
        Recipe.check(values)
    values["data"]["allow"] = ["label.rare"]  # a warning stops nothing
    with pytest.raises(ConfigError, match=r"Unknown finding 'label\.rare'"):
        Recipe.check(values)
    values["data"]["allow"] = list(ERRORS)
    assert Recipe.check(values).data.allow == list(ERRORS)


def test_from_python_errors_are_refused_too_and_nothing_is_written(
    tiny_encoder: Path, leaking: dict[str, str]
) -> None:
    rows = sentiment_rows()
    parts = {"train": rows[:50], "test": [rows[7], *rows[50:]]}
    config = FineTuningConfig(
        str(tiny_encoder), "run", "full", dataset=parts, max_steps=2, device="cpu"
    )
    with pytest.raises(DataError, match=r"leakage\.exact"):
        FineTuner(config).train()
    assert not Path("run").exists()
    config.allow = ["leakage.exact"]
    assert FineTuner(config).train()["train_steps"] == 2


@pytest.fixture
def prompted(tiny_decoder: Path, tmp_path: Path) -> Path:
    """A decoder whose template adds a system prompt."""
    import shutil

    folder = tmp_path / "prompted"
    shutil.copytree(tiny_decoder, folder)
    (folder / "chat_template.jinja").write_text(SMOLLM2)
    return folder


def test_a_system_prompt_of_the_template_is_an_error_that_recipes_accept_unless_they_say_otherwise(
    prompted: Path, write_rows: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write_rows("qa.jsonl", instruction_rows()))
    assert run(["check", path, "--model", str(prompted)]) == 1
    assert "named SmolLM" in " ".join(capsys.readouterr().err.split())
    Path("r.yaml").write_text(yaml.safe_dump(recipe(prompted, train=path)))
    assert run(["train", "r.yaml", "data.allow=[]"]) == 2
    assert "template.system (24 rows)" in capsys.readouterr().err
    assert run(["train", "r.yaml"]) == 0
    assert run(["init", "--data", path, "--model", str(prompted), "--output", "i.yaml"]) == 0
    written = Path("i.yaml").read_text()
    assert "allow: [template.system]" in written and "named SmolLM" in written


def test_the_audit_of_a_run_is_of_what_its_model_sees(tiny_decoder: Path, write_rows: Any) -> None:
    rows = instruction_rows()
    rows[3]["output"] = "It is <|im_end|> six."
    path = str(write_rows("qa.jsonl", rows))
    prepared = pipeline.prepare(Recipe.check(recipe(tiny_decoder, train=path)))
    found = {f["id"]: f for f in pipeline.audit_prepared(prepared)["findings"]}
    assert found["template.control"]["rows"] == 1
    assert found["template.control"]["severity"] == "warning"
