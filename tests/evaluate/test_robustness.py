"""Rows written otherwise: what each probe changes, and what the scores beside clean ones say."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from runs import recipe, train
from tiny import WORDS, sentiment_rows
from tunewright import pipeline
from tunewright.cli.app import run
from tunewright.config.task import Task
from tunewright.data.records import Dataset, Message, Record
from tunewright.errors import ConfigError
from tunewright.evaluate import robustness
from tunewright.evaluate.report_blocks import blocks
from tunewright.evaluate.robustness import (
    PROBES,
    negated,
    require_changeable,
    with_slips,
    without_punctuation,
)
from tunewright.evaluate.run import evaluate
from tunewright.metrics import get_metric
from tunewright.models.load import load_finished

NOISE = random.Random(0)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("The film was good.", "The film was not good."),
        ("I do not like it, not at all", "I do like it, not at all"),
        ("I don't know", "I do know"),
        ("We can't and won't", "We can and won't"),
        ("It won\u2019t work", "It will work"),
        ("She cannot come", "She can come"),
        ("Never again", " again"),
        ("Good film", "Good film"),
    ],
)
def test_a_negation_is_put_in_or_taken_out(text: str, other: str) -> None:
    assert negated(text, NOISE) == other


def test_punctuation_goes_but_for_what_means_something() -> None:
    text = 'Well, "this" isn\'t 3.5% of it :) @Ann, see http://a.b/c!  Never!!'
    said = without_punctuation(text, NOISE)
    assert said == "Well this isn't 3.5% of it :) @Ann, see http://a.b/c!  Never"


def test_slips_hit_one_word_in_five_and_spare_the_short_ones() -> None:
    text = "wonderful " * 500
    words = with_slips(text, random.Random(1)).split()
    assert 70 <= sum(word != "wonderful" for word in words) <= 130
    assert with_slips("not 1984 the @user", random.Random(1)) == "not 1984 the @user"


@pytest.fixture(scope="module")
def tuned(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:

    folder = tmp_path_factory.mktemp("robust")
    rows = folder / "rows.jsonl"
    rows.write_text("\n".join(map(json.dumps, sentiment_rows(300))))
    made = recipe(
        tiny_encoder, rows, folder / "run", num_train_epochs=5, learning_rate=5e-3,
        data={"train": str(rows), "validation": 0, "test": 0.6},
    )  # fmt: skip
    train(made)
    return folder / "run"


def test_the_score_of_changed_rows_is_that_of_the_rows_changed_by_hand(
    tuned: Path, tmp_path: Path
) -> None:
    found = pipeline.evaluate_model(
        str(tuned), robustness=True, with_baselines=False, output_dir=tmp_path / "e"
    ).to_dict()
    robust = found["robustness"]
    assert list(robust["probes"]) == ["typing slips"]  # the tokenizer has no case, the rows no mark
    assert len(robust["notes"]) == len(PROBES) - 1
    assert "Capitals: no row is written otherwise then." in robust["notes"]
    clean = pipeline.rows_to_score(str(tuned))
    by_hand = Dataset(
        clean.task,
        tuple(
            Record(text=with_slips(r.text, random.Random(f"0:{i}")), label=r.label, row=r.row)
            for i, r in enumerate(clean)
        ),
    )
    other = evaluate(str(tuned), by_hand, with_baselines=False)
    slips = robust["probes"]["typing slips"]
    assert slips["score"] == {k: other.metrics["macro_f1"][k] for k in slips["score"]}
    assert robust["clean"]["value"] == found["metrics"]["macro_f1"]["value"]
    gap = slips["score"]["value"] - robust["clean"]["value"]
    assert slips["comparison"]["difference"] == pytest.approx(gap)
    n, right = len(clean), found["metrics"]["accuracy"]["value"]
    assert slips["broken"] - slips["fixed"] == round(
        n * (right - other.metrics["accuracy"]["value"])
    )
    assert slips["status"] == "worse" and robust["status"] == "worse"
    assert robust["verdict"][0] == "The model is worse on rows with typing slips."
    for example in slips["examples"]:
        assert example["before"] == example["expected"] != example["now"]
        assert example["changed"] != example["text"]
    assert robust["negation"]["rows"] == n  # every row has "was"
    assert 0 <= robust["negation"]["moved"]["value"] <= 1
    titles = {block.title: block for block in blocks(found)}
    table = titles["Robustness"].table
    assert table is not None and table.marked == (0,) and table.rows[0][-1] == "worse"
    assert titles["Broken by a change"].table is not None
    assert json.loads((tmp_path / "e" / "evaluation.json").read_text())["robustness"] == robust


def test_only_the_prompt_changes_and_the_loss_is_of_the_same_answer(tiny_decoder: Path) -> None:
    rows = [("What Is THIS?", "It is a test."), ("and, this", "no"), ("AAA", "bb")]
    records = tuple(
        Record(messages=(Message("user", asked), Message("assistant", answer, True)), row=i)
        for i, (asked, answer) in enumerate(rows, 1)
    )
    found = evaluate(
        str(tiny_decoder), Dataset(Task.INSTRUCTION, records), robustness=True, batch_size=2
    )
    assert found.robustness is not None
    assert list(found.robustness["probes"]) == list(PROBES)
    finished = load_finished(str(tiny_decoder), device="cpu")

    def nats(asked: str, answer: str) -> tuple[int, float]:
        """A loop as one would write it: one row, one token after the other."""
        said = f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n"
        first = len(finished.tokenizer(said)["input_ids"])
        ids = finished.tokenizer(f"{said}{answer}<|im_end|>")["input_ids"]
        with torch.no_grad():
            logs = finished.model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
        return len(ids) - first, -sum(float(logs[i - 1, ids[i]]) for i in range(first, len(ids)))

    for name, change in {"capitals": str.upper, "lower case": str.lower}.items():
        sizes, losses = zip(*(nats(change(a), b) for a, b in rows), strict=True)
        expected = get_metric("perplexity").compute(np.array(sizes), np.array(losses))
        score = found.robustness["probes"][name]["score"]
        assert score["value"] == pytest.approx(expected, rel=1e-5)
    sizes, losses = zip(*(nats(a, b) for a, b in rows), strict=True)
    clean = get_metric("perplexity").compute(np.array(sizes), np.array(losses))
    assert found.metrics["perplexity"]["value"] == pytest.approx(clean, rel=1e-5)
    assert found.robustness["probes"]["capitals"]["broken"] is None
    assert found.robustness["negation"] is None


def test_rows_that_ask_nothing_are_refused() -> None:
    for task in (Task.TEXT, Task.TOKEN_CLASSIFICATION):
        with pytest.raises(ConfigError, match="--robustness changes what a row asks"):
            require_changeable(task)


@pytest.mark.parametrize("scored", [False, True], ids=["found", "scored"])
def test_of_pairs_the_first_text_changes_and_what_is_searched_stays(
    scored: bool, tiny_encoder: Path
) -> None:
    texts = [row["text"] for row in sentiment_rows(24)]
    records = tuple(
        Record(text=t, text_pair=texts[-i], label=float(i % 5) if scored else None, row=i + 1)
        for i, t in enumerate(texts)
    )
    found = evaluate(str(tiny_encoder), Dataset(Task.EMBEDDING, records), robustness=True)
    robust = found.robustness
    assert robust is not None
    slips = robust["probes"]["typing slips"]
    by_hand = tuple(
        Record(
            text=with_slips(r.text, random.Random(f"0:{r.text}")), text_pair=r.text_pair,
            label=r.label, row=r.row,
        )
        for r in records
    )  # fmt: skip
    other = evaluate(str(tiny_encoder), Dataset(Task.EMBEDDING, by_hand), with_baselines=False)
    assert slips["score"]["value"] == other.metrics[robust["metric"]]["value"]
    assert (robust["negation"] is None) == scored
    if not scored:
        assert robust["negation"]["rows"] == 24


def test_of_questions_the_text_stays(tiny_encoder: Path, tmp_path: Path, write_rows: Any) -> None:
    nouns = ("film", "book", "day")
    rows = [
        {
            "question": f"what was the {nouns[i % 3]}",
            "context": f"the {nouns[i % 3]} was {WORDS[i % 10]} and it is so {'very ' * 60}",
            "answers": {"text": [WORDS[i % 10]], "answer_start": [len(nouns[i % 3]) + 9]},
        }
        for i in range(40)
    ]
    path = write_rows("asked.jsonl", rows)
    data = {"train": str(path), "validation": 0, "test": 0.4}
    train(recipe(tiny_encoder, path, tmp_path / "run", max_steps=3, data=data))
    found = pipeline.evaluate_model(str(tmp_path / "run"), robustness=True, with_baselines=False)
    robust = found.robustness
    assert robust is not None and robust["metric"] == "answer_f1"
    assert robust["probes"]["typing slips"]["rows"] > 0
    assert robust["negation"]["rows"] == found.n
    examples = [e for p in robust["probes"].values() for e in p["examples"]]
    for shown in [*robust["negation"]["examples"], *examples]:
        (was, text), (now, there) = (shown[key].split("\n") for key in ("text", "changed"))
        assert was != now and text == there


def test_paraphrases_are_one_more_probe(
    tuned: Path, tiny_decoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def other_words(model: str, **_: Any) -> Any:
        def ask(texts: Any, copy: int) -> list[str | None]:
            # The word that decides becomes another of the other kind; some texts have no end.
            return [
                None
                if " is 1" in t
                else " ".join(
                    WORDS[(WORDS.index(w) + 5) % 10] if w in WORDS[:10] else w for w in t.split()
                )
                for t in texts
            ]

        return ask

    monkeypatch.setattr(robustness, "rewriter", other_words)
    report = tmp_path / "r.md"
    words = ["evaluate", str(tuned), "--no-baselines", "--report", str(report), "--json"]
    assert run([*words, "--paraphraser", str(tiny_decoder)]) == 0
    found = json.loads(capsys.readouterr().out)["robustness"]
    probe = found["probes"]["paraphrases"]
    left = sum(" is 1" in r.text for r in pipeline.rows_to_score(str(tuned)))
    assert probe["rows"] == 180 - left and found["paraphraser"] == str(tiny_decoder)
    assert any("may say something else than the row" in note for note in found["notes"])
    assert any(note.startswith(f"{left} of 180 texts got no paraphrase") for note in found["notes"])
    assert "Paraphrases" in report.read_text()
    monkeypatch.undo()
    # Random weights say nothing with an end, so every text stays.
    assert run([*words, "--paraphraser", str(tiny_decoder), "--num-samples", "12"]) == 0
    found = json.loads(capsys.readouterr().out)["robustness"]
    assert "paraphrases" not in found["probes"]
    assert "Paraphrases: no row is written otherwise then." in found["notes"]
    assert run([*words, "--paraphraser", str(tuned)]) == 2
    assert "cannot write any" in json.loads(capsys.readouterr().out)["error"]


def test_the_command_says_it_and_writes_it(tuned: Path, tmp_path: Path, capsys: Any) -> None:
    report = tmp_path / "robust.md"
    words = ["evaluate", str(tuned), "--robustness", "--no-baselines", "--report", str(report)]
    assert run(words) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "The model is worse on rows with typing slips." in said
    assert "negation: the answer moves in" in said
    assert "## Robustness" in report.read_text() or "### Robustness" in report.read_text()
