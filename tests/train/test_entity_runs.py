"""Tagged words from rows to a finished model: trained, scored, compared, read by transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import runs
from runs import StopAfter, train
from tiny import WORDS
from tunewright import pipeline
from tunewright.cli.app import run
from tunewright.config.recipe import Recipe
from tunewright.config.task import Task
from tunewright.data.records import Dataset, Record
from tunewright.data.sources import load
from tunewright.errors import ConfigError, DataError, Interrupted
from tunewright.evaluate.run import evaluate
from tunewright.models.inspect import inspect_model
from tunewright.models.load import load_base, load_finished
from tunewright.models.tag_baselines import majority_tag, tag_dictionary
from tunewright.train.journal import read_journal


def tagged_rows(n: int = 60) -> list[dict[str, list[str]]]:
    """`very WORD` is one entity of type STRONG, WORD alone one of type PLAIN or none.

    So a word's own tag depends on the word before it, which no dictionary knows.
    """
    rows = []
    for i in range(n):
        word, other = WORDS[i % 10], WORDS[(i * 3 + 1) % 10]
        tokens = ["the", ("film", "book", "day")[i % 3], "was", "very", word, "and", "not", other]
        tags = ["O", "O", "O", "B-STRONG", "I-STRONG", "O", "O", "B-PLAIN"]
        rows.append({"tokens": tokens + ["so"] * (i % 5), "tags": tags + ["O"] * (i % 5)})
    return rows


def recipe(base: Path, rows: Path, output: Path, **values: Any) -> Recipe:
    return runs.recipe(base, rows, output, **({"max_steps": 4} | values))


@pytest.fixture
def tagged_file(write_rows: Any) -> Path:
    found: Path = write_rows("tagged.jsonl", tagged_rows())
    return found


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
def test_entities_are_learned_and_the_finished_model_is_plain_transformers(
    tiny_encoder: Path, tagged_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    content = {
        "model": str(tiny_encoder),
        "data": {"train": str(tagged_file), "validation": 0.1, "test": 0.2, "allow": []},
        "output_dir": str(folder),
        "max_steps": 60,
        "learning_rate": 0.01,
        "device": "cpu",
        "metric_for_best_model": "entity_f1",
    }
    # Every text differs from the others in one or two words, which the audit calls leakage.
    content["data"]["allow"] = ["leakage.exact", "leakage.near"]
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(content))
    assert run(["run", str(tmp_path / "r.yaml")]) == 0
    said = capsys.readouterr()
    found = json.loads((folder / "evaluation/evaluation.json").read_text())
    scores = found["metrics"]
    assert scores["entity_f1"]["value"] > 0.95
    assert scores["entity_f1"]["low"] <= scores["entity_f1"]["value"] <= scores["entity_f1"]["high"]
    assert scores["entity_f1"]["n"] == found["n"] == 12  # rows, not entities
    assert [each["label"] for each in found["per_class"]] == ["PLAIN", "STRONG"]
    assert [each["support"] for each in found["per_class"]] == [12, 12]
    assert set(found["baselines"]) == {"majority_tag", "tag_dictionary"} == set(found["comparison"])
    assert found["baselines"]["majority_tag"]["metrics"]["entity_f1"]["value"] == 0
    assert "entity_f1" in said.out + said.err
    page = (folder / "report.html").read_text()
    assert "F1 of each entity type" in page and "Entities by type" in page
    line = json.loads((folder / "evaluation/predictions.jsonl").read_text().splitlines()[0])
    assert len(line["tokens"]) == len(line["predicted"]) == len(line["probabilities"])
    strong = line["expected_entities"][0]
    assert (strong["type"], strong["start"], strong["end"]) == ("STRONG", 3, 5)
    assert strong["text"] == " ".join(line["tokens"][3:5])

    from transformers import AutoModelForTokenClassification, AutoTokenizer
    from transformers import pipeline as hf_pipeline

    model = AutoModelForTokenClassification.from_pretrained(folder)
    names = ["O", "B-PLAIN", "I-PLAIN", "B-STRONG", "I-STRONG"]
    assert model.config.id2label == dict(enumerate(names))
    tagger: Any = hf_pipeline(
        "token-classification",
        model=model,
        tokenizer=AutoTokenizer.from_pretrained(folder),
        aggregation_strategy="first",
    )
    spoken = tagger(" ".join(line["tokens"]))
    theirs = [(each["entity_group"], each["word"]) for each in spoken]
    assert theirs == [(e["type"], e["text"]) for e in line["predicted_entities"]]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("encoder", {"method": "full"}),
        ("encoder", {"method": "lora", "lora_r": 4}),
        ("encoder", {"method": "prompt_tuning", "num_virtual_tokens": 3}),
        ("decoder", {"method": "full"}),
        ("decoder", {"method": "lora", "lora_r": 4}),
        ("decoder", {"method": "qlora", "lora_r": 4}),
        ("decoder", {"method": "prefix_tuning", "num_virtual_tokens": 3}),
    ],
)
def test_the_finished_model_scores_as_the_trained_one_and_a_stopped_run_ends_like_a_whole_one(
    kind: str, values: dict[str, Any], request: pytest.FixtureRequest, tagged_file: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    base = request.getfixturevalue(f"tiny_{kind}")
    values = values | {"save_strategy": "steps", "save_steps": 2}
    train(recipe(base, tagged_file, tmp_path / "whole", **values))
    trained = [x for x in read_journal(tmp_path / "whole") if x["event"] == "evaluation"][-1]
    found = pipeline.evaluate_model(str(tmp_path / "whole"), with_baselines=False)
    for name, score in found.metrics.items():
        assert score["value"] == pytest.approx(trained["metrics"][name], abs=1e-9)
    with pytest.raises(Interrupted):
        train(recipe(base, tagged_file, tmp_path / "cut", **values), StopAfter(tmp_path / "cut", 3))
    pipeline.resume(tmp_path / "cut")
    losses = [
        [x["loss"] for x in read_journal(tmp_path / name) if x["event"] == "step"][-1]
        for name in ("whole", "cut")
    ]
    assert losses[0] == losses[1]


def test_the_loss_is_transformers_own_on_the_first_token_of_each_word(tiny_encoder: Path) -> None:
    from tunewright.data.collate import collate
    from tunewright.data.example import Example
    from tunewright.models.forward import TagForward

    model = load_base(
        inspect_model(tiny_encoder), Task.TOKEN_CLASSIFICATION, ["O", "B-X", "I-X"], torch.float32
    )
    forward = TagForward(model).eval()
    rows = [
        Example([2, 5, 6, 7, 3], 0, word_starts=[1, 3], word_tags=[1, 0]),
        Example([2, 9, 3], 1, word_starts=[1, -1], word_tags=[2, 0]),
    ]
    batch = collate(rows, pad_id=0)
    with torch.no_grad():
        total, words = forward(batch)
        theirs: Any = model(**batch).loss
    assert words == 3 == sum(row.trained_tokens for row in rows)
    assert float(total / words) == pytest.approx(float(theirs), rel=1e-6)


def test_words_beyond_the_length_count_as_outside_and_are_told(
    tiny_encoder: Path, tagged_file: Path, tmp_path: Path
) -> None:
    train(recipe(tiny_encoder, tagged_file, tmp_path / "run"))
    rows = load(str(tagged_file))
    found = evaluate(str(tmp_path / "run"), rows, max_length=6, with_baselines=False)
    words = sum(len(record.words) - 4 for record in rows)  # 6 tokens are 4 words
    assert found.notes == [
        f"{words} words beyond the model's length or without a token are scored as O."
    ]
    assert found.metrics["entity_recall"]["n"] == 60


def test_baselines_know_only_words() -> None:
    def rows(*pairs: tuple[str, str]) -> Dataset:
        made = (Record(w, words=tuple(w.split()), label=tuple(t.split())) for w, t in pairs)
        return Dataset(Task.TOKEN_CLASSIFICATION, tuple(made))

    learned = rows(
        ("Ann Lee is in Bonn", "B-PER I-PER O O B-LOC"),
        ("in Bonn is Bonn", "O B-LOC O B-ORG"),
    )
    asked = rows(("bonn is New", "B-LOC O O"), ("Lee Ann", "B-PER B-PER"))
    assert majority_tag(learned, asked).predictions == [("O", "O", "O"), ("O", "O")]
    # Bonn is LOC twice and ORG once, in lower case too; Lee alone, an I-, begins an entity.
    assert tag_dictionary(learned, asked).predictions == [("B-LOC", "O", "O"), ("B-PER", "B-PER")]


def test_what_cannot_be_done_with_tagged_words_is_refused(
    tiny_encoder: Path, tagged_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def trained(**data: Any) -> Any:
        data = {"train": str(tagged_file), "validation": 0.2, **data}
        return pipeline.prepare(recipe(tiny_encoder, tagged_file, tmp_path / "run", data=data))

    with pytest.raises(ConfigError, match="no class labels to balance"):
        trained(balance="weights")
    with pytest.raises(ConfigError, match="each word has a tag, and changed words"):
        trained(augment={"typos": 0.1})
    with pytest.raises(ConfigError, match="label_smoothing works with"):
        pipeline.prepare(recipe(tiny_encoder, tagged_file, tmp_path / "r", label_smoothing=0.1))
    empty = Dataset(Task.TOKEN_CLASSIFICATION, (Record("a", words=("a",), label=("O",)),))
    with pytest.raises(DataError, match="every tag is O"):
        from tunewright.data.records import Splits

        none = Dataset(Task.TOKEN_CLASSIFICATION, ())
        pipeline.prepare(
            recipe(tiny_encoder, tagged_file, tmp_path / "r"), Splits(empty, none, none)
        )
    for words, message in (
        (["data", "few-shot", str(tagged_file)], "no answer in words"),
        (["data", "label", str(tagged_file), "--output", str(tmp_path / "l.jsonl")], "one tag a"),
    ):
        assert run(words) == 2
        assert message in " ".join(capsys.readouterr().err.split())


def test_a_model_that_lacks_a_type_says_so(
    tiny_encoder: Path, tagged_file: Path, write_rows: Any, tmp_path: Path
) -> None:
    train(recipe(tiny_encoder, tagged_file, tmp_path / "run"))
    # As a model that another program made: its tags are in its configuration.
    (tmp_path / "run" / "tunewright.json").unlink()
    assert load_finished(str(tmp_path / "run")).settings.task is Task.TOKEN_CLASSIFICATION
    other = write_rows("other.jsonl", [{"tokens": ["good"], "tags": ["B-NEW"]}])
    with pytest.raises(DataError, match="labels that the model does not know: 'B-NEW', 'I-NEW'"):
        evaluate(str(tmp_path / "run"), load(str(other)))
