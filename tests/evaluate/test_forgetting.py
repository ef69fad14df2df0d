"""Probes before and after tuning: what they score, what they say, and who they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from runs import train
from tunewright.cli.app import run
from tunewright.config.recipe import Recipe
from tunewright.errors import ConfigError, DataError
from tunewright.evaluate import forgetting
from tunewright.evaluate.forgetting import measure_forgetting
from tunewright.evaluate.probe_rows import CHECKS, follows, load_probes
from tunewright.evaluate.report_blocks import before_after_table
from tunewright.models.load import load_finished


@pytest.mark.parametrize(
    ("checks", "right", "wrong"),
    [
        ({"contains": "paris"}, "It is Paris.", "It is Rome."),
        ({"contains_all": ["cat", "roof"]}, "A cat on the roof", "A cat"),
        ({"contains_any": ["may", "july"]}, "July", "June"),
        ({"contains_exactly": "HELLO"}, "HELLO!", "hello"),
        ({"dashes_at_least": 2}, "- red\n- blue", "- red, blue"),
        ({"ends": "done"}, "It is done.", "done it is"),
        ({"equals": "ready"}, " Ready. ", "I am ready"),
        ({"in_order": ["apple", "pear"]}, "apple, pear", "pear, apple"),
        ({"json_key": "name"}, '```json\n{"name": "Ada"}\n```', '{"Name": 1}'),
        ({"json_key": "name"}, '{"name": "Ada"}', "name: Ada"),
        ({"lacks": "z"}, "a horse", "a zebra"),
        ({"lines_at_least": 2}, "one\n\ntwo", "one two"),
        ({"starts": "yes"}, "Yes, it is.", "Well, yes."),
        ({"words_at_least": 2}, "two words", "one"),
        ({"words_at_most": 2}, "two words", "it has three"),
    ],
)
def test_an_answer_follows_what_was_asked(checks: dict[str, Any], right: str, wrong: str) -> None:
    assert follows(right, checks) and not follows(wrong, checks)


def test_every_check_has_a_test_and_an_unknown_one_is_refused() -> None:
    marks = test_an_answer_follows_what_was_asked.pytestmark  # type: ignore[attr-defined]
    assert {name for case in marks[0].args[1] for name in case[0]} == set(CHECKS)
    with pytest.raises(DataError, match="Unknown check 'rhymes'"):
        follows("x", {"rhymes": "y"})


def test_the_probes_of_the_package_are_whole() -> None:
    probes = load_probes()
    assert (len(probes.pairs), len(probes.texts), len(probes.instructions)) == (100, 24, 40)
    assert len({pair.good for pair in probes.pairs}) == 100
    assert all(p.good != p.bad and p.phenomenon for p in probes.pairs)
    assert len({pair.phenomenon for pair in probes.pairs}) == 10
    for row in probes.instructions:
        assert row.checks.keys() <= CHECKS.keys()
        assert not follows("", row.checks), row.prompt


def test_a_users_pairs_and_texts_take_the_place_of_the_packages(write_rows: Any) -> None:
    pairs = write_rows("pairs.jsonl", [{"good": "I am", "bad": "I is"}])
    texts = write_rows("texts.jsonl", [{"text": "one"}, {"text": "two"}])
    probes = load_probes(pairs, texts)
    assert [(p.good, p.bad, p.phenomenon) for p in probes.pairs] == [("I am", "I is", "")]
    assert probes.texts == ["one", "two"]
    with pytest.raises(DataError, match="has no two texts good and bad; its columns are text"):
        load_probes(texts)
    with pytest.raises(DataError, match="There is no file"):
        load_probes("no-such-file")


@pytest.fixture(autouse=True)
def _short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "_ANSWER_TOKENS", 4)


@pytest.fixture(scope="module")
def spoiled(tiny_decoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose tuning drove it far from its base."""
    folder = tmp_path_factory.mktemp("forgetting")
    rows = folder / "rows.jsonl"
    lines = [json.dumps({"instruction": f"say {i}", "output": "zzzz qqqq"}) for i in range(16)]
    rows.write_text("\n".join(lines))
    made: dict[str, Any] = {
        "model": str(tiny_decoder),
        "method": "full",
        "data": {"train": str(rows), "validation": 0, "test": 0.25},
        "output_dir": str(folder / "run"),
        "max_steps": 12,
        "learning_rate": 0.02,
        "device": "cpu",
    }
    train(Recipe.check(made))
    return folder / "run"


def test_evaluate_says_what_was_forgotten_in_every_form(
    spoiled: Path, tiny_decoder: Path, write_rows: Any, tmp_path: Path, capsys: Any
) -> None:
    pairs = [{"good": f"the dog {i} barks", "bad": f"barks the dog {i}", "phenomenon": "order"}
             for i in range(4)]  # fmt: skip
    words = ["evaluate", str(spoiled), "--num-samples", "2", "--no-baselines", "--report"]
    words += [str(tmp_path / "r.md"), "--probe-pairs", str(write_rows("pairs.jsonl", pairs))]
    assert run([*words, "--forgetting", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["forgetting"]
    assert found["before"] == str(tiny_decoder)
    assert found["status"] == "forgotten"
    assert found["verdict"][0].startswith("Tuning made the model forget: it is worse at general")
    text = found["probes"]["general text"]
    assert text["metric"] == "perplexity" and text["status"] == "forgotten"
    assert text["after"]["value"] > text["before"]["value"]
    grammar = found["probes"]["minimal pairs"]
    assert grammar["comparison"]["n"] == 4 and list(grammar["phenomena"]) == ["order"]
    assert found["probes"]["instructions"]["before"]["n"] == 40
    for page in ("r.md", "r.html"):
        said = (tmp_path / page).read_text()
        assert "Forgetting" in said and "Minimal pairs" in said and "Tuning made" in said
    table = before_after_table(found)
    assert [row[-1] for row in table.rows][1] == "worse" and 1 in table.marked


def test_a_model_against_itself_has_forgotten_nothing(tiny_decoder: Path) -> None:
    finished = load_finished(str(tiny_decoder), device="cpu")
    found = measure_forgetting(
        finished, "tuned", load_probes(), before=str(tiny_decoder), batch_size=64
    )
    assert found["status"] == "none"
    assert found["verdict"][0] == "No detectable forgetting."
    for probe in found["probes"].values():
        assert probe["comparison"]["difference"] == 0
        assert not probe.get("lost")
        assert probe["before"] == probe["after"]


def test_the_likelihood_of_a_sentence_equals_a_hand_written_loop(
    tiny_decoder: Path, write_rows: Any
) -> None:
    """The sum over the tokens of a sentence after the token that begins a text."""
    model = AutoModelForCausalLM.from_pretrained(tiny_decoder)
    tokenizer = AutoTokenizer.from_pretrained(tiny_decoder)

    def loss(text: str) -> float:
        ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(text)["input_ids"]]])
        with torch.no_grad():
            logs = model(ids).logits.log_softmax(-1)
        return -float(logs[0, :-1].gather(1, ids[0, 1:, None]).sum())

    sentences = [("the dog barks", "dog the barks"), ("he is", "him is"), ("two cats", "two cat")]
    rows = [{"good": good, "bad": bad} for good, bad in sentences]
    texts = write_rows("texts.jsonl", [{"text": "some words"}, {"text": "and some more"}])
    probes = load_probes(write_rows("pairs.jsonl", rows), texts)
    probes.instructions.clear()
    probes.instructions.append(load_probes().instructions[0])
    finished = load_finished(str(tiny_decoder), device="cpu")
    found = measure_forgetting(finished, "tuned", probes, before=str(tiny_decoder))["probes"]
    right = sum(loss(good) < loss(bad) for good, bad in sentences)
    assert found["minimal pairs"]["before"]["value"] == pytest.approx(right / 3)
    mean = (loss("some words") + loss("and some more")) / (10 + 13)
    assert found["general text"]["before"]["value"] == pytest.approx(
        float(torch.tensor(mean).exp()), rel=1e-4
    )


def test_models_without_text_or_without_a_base_are_refused(
    tiny_encoder: Path, tiny_decoder: Path, sentiment_file: Path, instruction_file: Path,
    tmp_path: Path, capsys: Any,
) -> None:  # fmt: skip
    words = ["evaluate", str(tiny_decoder), "--data", str(instruction_file), "--forgetting"]
    assert run(words) == 2
    assert "does not say what it was tuned from" in " ".join(capsys.readouterr().err.split())
    finished = load_finished(str(tiny_decoder), device="cpu")
    object.__setattr__(finished.settings, "task", type(finished.settings.task).CLASSIFICATION)
    with pytest.raises(ConfigError, match="answers with labels or numbers"):
        measure_forgetting(finished, "m", load_probes(), before="x")
