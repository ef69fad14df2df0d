"""`--attribute`: words that moved a prediction, complete by the sum, in JSON and on the page."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from runs import recipe, train
from tiny import WORDS, sentiment_rows
from tunewright import pipeline
from tunewright._api.evaluate import EvaluationConfig, ModelEvaluator
from tunewright.cli.app import run
from tunewright.config.task import Task
from tunewright.data.collate import collate
from tunewright.data.records import Dataset, Record
from tunewright.errors import ConfigError
from tunewright.evaluate.report_blocks import blocks
from tunewright.models.attribution import Attribution, attribute, log_odds
from tunewright.models.forward import LabelForward
from tunewright.models.load import load_finished


@pytest.fixture(scope="module")
def tuned(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attributed")
    rows = folder / "rows.jsonl"
    chance = random.Random(0)
    lines = []
    for i in range(200):  # one of ten words decides; the others are drawn without regard to it
        said = [*chance.sample(WORDS[10:], 6), WORDS[chance.randrange(5) + 5 * (i % 2)]]
        chance.shuffle(said)
        lines.append({"text": " ".join(said), "label": ("positive", "negative")[i % 2]})
    rows.write_text("\n".join(map(json.dumps, lines)))
    made = recipe(
        tiny_encoder, rows, folder / "run", num_train_epochs=4, learning_rate=5e-3,
        data={"train": str(rows), "validation": 0, "test": 0.3},
    )  # fmt: skip
    train(made)
    return folder / "run"


def test_the_scores_are_the_integral_over_the_path(tuned: Path) -> None:
    finished = load_finished(str(tuned))
    renderer = finished.settings.renderer(finished.tokenizer)
    row = Dataset(Task.CLASSIFICATION, (Record(text="the film was lovely", label="positive"),))
    example = renderer.render(row).examples[0]
    forward = LabelForward(finished.model, "single_label_classification")
    found = attribute(
        forward, example, log_odds(1), pad_id=0, special_ids=finished.tokenizer.all_special_ids
    )
    assert found.complete and found.scores[0] == found.scores[-1] == 0.0
    assert sum(found.scores) == pytest.approx(found.output - found.baseline + found.gap)
    # By hand: the mean gradient at 400 midpoints, times the difference of the embeddings.
    batch = collate([example], 0)
    layer = finished.model.get_input_embeddings()
    blank = batch["input_ids"].clone()
    blank[0, 1:-1] = 0
    text, padding = layer(batch["input_ids"]).detach(), layer(blank).detach()
    total = torch.zeros_like(text)
    for k in range(400):
        point = (padding + (k + 0.5) / 400 * (text - padding)).requires_grad_()
        logits = finished.model(
            inputs_embeds=point, attention_mask=batch["attention_mask"]
        ).logits  # fmt: skip
        total += torch.autograd.grad(logits[0, 1] - logits[0, 0], point)[0]
    by_hand = (total / 400 * (text - padding)).sum(-1)[0].tolist()
    assert found.scores == pytest.approx(by_hand, abs=0.02 * max(map(abs, by_hand)))


def test_scores_that_miss_the_change_are_not_called_complete() -> None:
    assert Attribution([1.0, -1.0], 0.0, 0.0, 0.01, 16).complete
    assert not Attribution([1.0, -1.0], 0.0, 0.0, 0.05, 512).complete


def test_the_command_writes_words_and_the_page_marks_them(
    tuned: Path, tmp_path: Path, capsys: Any
) -> None:
    out, page = tmp_path / "e", tmp_path / "report.md"
    words = ["evaluate", str(tuned), "--no-baselines", "--attribute", "2", "--attribute-row", "1"]
    assert run([*words, "--output", str(out), "--report", str(page), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["attribution"]
    assert json.loads((out / "evaluation.json").read_text())["attribution"] == found
    row = next(row for row in found["rows"] if row["row"] == 1)
    assert found["complete"] == len(found["rows"]) and row["complete"] and not found["notes"]
    assert row["of"] == row["predicted"]
    total = sum(word["score"] for word in row["words"])
    assert total == pytest.approx(row["output"] - row["baseline_output"] + row["gap"], abs=1e-6)
    # What decides these rows is one of ten words.
    strongest = max(row["words"], key=lambda word: abs(word["score"]))
    assert strongest["text"] in WORDS[:10] and strongest["score"] > 0
    html = page.with_suffix(".html").read_text()
    assert f'title="+{strongest["score"]:.2f}">{strongest["text"]}<sup>' in html
    assert "Words against it" in page.read_text()
    assert run(words) == 0
    assert f"Row 1, predicted {row['predicted']}: {strongest['text']}" in capsys.readouterr().err


def test_numbers_sets_of_labels_and_pairs_have_words_too(
    tiny_encoder: Path, tmp_path: Path, write_rows: Any
) -> None:
    texts = [row["text"] for row in sentiment_rows(60)]
    sources = {
        "regression": [{"text": t, "label": 0.5 + i} for i, t in enumerate(texts)],
        "multilabel": [{"text": t, "labels": ["a", "b"][: i % 3]} for i, t in enumerate(texts)],
        "classification": [
            {"text": t, "text_pair": texts[-i], "label": "ab"[i % 2]} for i, t in enumerate(texts)
        ],
    }
    for task, rows in sources.items():
        path = write_rows(f"{task}.jsonl", rows)
        data = {"train": str(path), "validation": 0, "test": 0.2}
        train(recipe(tiny_encoder, path, tmp_path / task, task=task, max_steps=3, data=data))
        found = ModelEvaluator(
            EvaluationConfig(
                str(tmp_path / task), attribute=1, attribute_rows=[2], output_dir=str(tmp_path)
            )
        ).evaluate()
        rows_found = found["attribution"]["rows"]
        assert [r["complete"] for r in rows_found] == [True] * len(rows_found) and rows_found, task
        assert (rows_found[0]["of"] is None) == (task == "regression")
        marked = next(b for b in blocks(found) if b.anchor == "words").marked
        assert len(marked[0].parts) == (2 if task == "classification" else 1)


def test_a_decoder_that_classifies_keeps_the_token_it_reads_from(
    tiny_decoder: Path, tmp_path: Path, sentiment_file: Path
) -> None:
    made = recipe(tiny_decoder, sentiment_file, tmp_path / "run", max_steps=2, method="lora")
    train(made)
    found = pipeline.evaluate_model(str(tmp_path / "run"), with_baselines=False, attribute=1)
    assert found.attribution is not None and found.attribution["complete"] == 1


@pytest.fixture(scope="module")
def tagger(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finds good words, which are entities of type GOOD, and bad ones, of type BAD."""
    folder = tmp_path_factory.mktemp("tagger")
    rows = folder / "rows.jsonl"
    chance = random.Random(1)
    lines = []
    for i in range(160):
        lead = [chance.choice(WORDS[10:15]) for _ in range(chance.randrange(4))]
        tokens = [*lead, "very", WORDS[chance.randrange(5) + 5 * (i % 2)], "and"]
        tags = ["O"] * len(lead) + ["O", ("B-GOOD", "B-BAD")[i % 2], "O"]
        lines.append({"tokens": tokens, "tags": tags})
    rows.write_text("\n".join(map(json.dumps, lines)))
    made = recipe(
        tiny_encoder, rows, folder / "run", num_train_epochs=4, learning_rate=1e-2,
        data={"train": str(rows), "validation": 0, "test": 0.25},
    )  # fmt: skip
    train(made)
    return folder / "run"


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
def test_the_tag_of_a_word_is_explained_by_the_words_around_it(
    tagger: Path, tmp_path: Path, capsys: Any
) -> None:
    page = tmp_path / "report.md"
    words = ["evaluate", str(tagger), "--no-baselines", "--attribute-row", "3"]
    assert run([*words, "--report", str(page), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["attribution"]["rows"]
    said = [word["text"] for word in row["words"]]
    place = said.index("very") + 1
    assert row["word"] == place + 1  # the only word of an entity, counted from 1
    assert row["of"] == row["predicted"] == row["expected"] != "O"
    strongest = max(row["words"], key=lambda word: word["score"])
    assert strongest["text"] == said[place]
    total = sum(word["score"] for word in row["words"])
    assert row["complete"]
    assert total == pytest.approx(row["output"] - row["baseline_output"] + row["gap"], abs=1e-6)
    # The output is the log-odds of the tag at the word's place.
    finished = load_finished(str(tagger))
    label = finished.settings.labels.index(row["of"])
    encoded = finished.tokenizer(" ".join(said), return_tensors="pt")
    with torch.no_grad():
        logits = finished.model(**encoded).logits[0, row["word"]].double()
    others = torch.cat([logits[:label], logits[label + 1 :]])
    assert row["output"] == pytest.approx(float(logits[label] - others.logsumexp(0)), abs=1e-4)
    html = page.with_suffix(".html").read_text()
    chosen = f"Row 3, word {row['word']} ({said[place]}): predicted {row['of']}"
    assert chosen in html and ' meant" title=' in html
    assert f"3, word {row['word']} " in page.read_text()
    assert run([*words, "--attribute-word", "1"]) == 0
    assert "Row 3, word 1, predicted O" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
def test_the_worst_entities_are_explained_at_a_wrong_word(tagger: Path) -> None:
    words = ("the", "very", "good", "and", "very", "bad", "and")
    tags = ("O", "O", "B-BAD", "O", "O", "B-BAD", "O")
    rows = Dataset(
        Task.TOKEN_CLASSIFICATION, (Record(text=" ".join(words), words=words, label=tags, row=1),)
    )
    found = pipeline.evaluate_model(
        str(tagger), rows, with_baselines=False, attribute=1
    ).attribution
    assert found is not None
    assert [(row["word"], row["expected"], row["predicted"]) for row in found["rows"]] == [
        (3, "B-BAD", "B-GOOD")
    ]
    for word, said in ((9, "row 1 has 7 words, of which the model sees 6"), (None, "")):
        options: dict[str, Any] = {"attribute_to_rows": [1], "attribute_word": word}
        if word is None:
            options = {"attribute_word": 1}
            said = "it needs --attribute-row ROW"
        with pytest.raises(ConfigError, match=said):
            pipeline.evaluate_model(str(tagger), rows, with_baselines=False, **options)


def test_a_word_beyond_the_length_is_said_not_to_be_seen(tuned: Path) -> None:
    long = "the film was lovely " + "very " * 80 + "end"
    rows = Dataset(Task.CLASSIFICATION, (Record(text=long, label="positive", row=1),))
    found = pipeline.evaluate_model(
        str(tuned), rows, with_baselines=False, attribute_to_rows=[1]
    ).to_dict()
    words = found["attribution"]["rows"][0]["words"]
    assert words[-1]["score"] is None and words[0]["score"] is not None
    marked = next(b for b in blocks(found) if b.anchor == "words").marked
    assert marked[0].parts[0][-1].score == "not seen by the model"


def test_rows_and_tasks_without_an_attribution_are_refused(tuned: Path, tiny_decoder: Path) -> None:
    with pytest.raises(ConfigError, match="--attribute-row 999: there is no such row among the 60"):
        pipeline.evaluate_model(str(tuned), with_baselines=False, attribute_to_rows=[999])
    rows = Dataset(Task.TEXT, (Record(text="a text"),))
    with pytest.raises(ConfigError, match="task 'text' has none: a text is as many predictions"):
        pipeline.evaluate_model(str(tiny_decoder), rows, attribute=1)
    with pytest.raises(ConfigError, match="rows of task 'classification' have no tags"):
        pipeline.evaluate_model(str(tuned), attribute_to_rows=[1], attribute_word=2)
