"""`--benchmark`: the values are lm-eval's, their data is found, and what cannot be is refused."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from runs import recipe, train
from tunewright import pipeline
from tunewright._api.evaluate import EvaluationConfig, ModelEvaluator
from tunewright.cli.app import run
from tunewright.config.task import Task
from tunewright.errors import ConfigError, DataError
from tunewright.evaluate import benchmark_tasks
from tunewright.evaluate.before_after import told_probes
from tunewright.evaluate.benchmark_tasks import load_benchmarks, running_lm_eval
from tunewright.evaluate.benchmarks import measure_benchmarks
from tunewright.evaluate.report_blocks import blocks
from tunewright.models.load import load_finished

pytest.importorskip("lm_eval")

SHARED = Path(__file__).parents[3] / "shared" / "data"

CHOICES = """
task: pets
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_choice: animals
doc_to_target: right
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1}}
"""
LAST_WORD = """
task: last_word
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: loglikelihood
doc_to_text: question
doc_to_target: " {{{{animals[right]}}}}"
metric_list:
  - {{metric: perplexity, aggregation: perplexity, higher_is_better: false}}
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
"""
WHOLE_TEXT = """
task: whole_text
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: question
metric_list: [{{metric: {measure}}}]
"""
WRITTEN = """
task: written
dataset_path: json
dataset_kwargs: {{data_files: {{train: {rows}, test: {rows}}}}}
fewshot_split: train
test_split: test
num_fewshot: 2
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{animals[right]}}}}"
generation_kwargs: {{until: ["\\n"], max_gen_toks: 4, do_sample: false}}
metric_list:
  - {{metric: {measure}, aggregation: mean, higher_is_better: true}}
filter_list:
  - name: first
    filter: [{{function: take_first}}]
"""


def questions(n: int = 12) -> list[dict[str, Any]]:
    pets = ["dog", "cat", "parrot"]
    return [
        {"question": f"which of the {i} barks", "animals": pets[: 2 + i % 2], "right": i % 2}
        for i in range(n)
    ]


@pytest.fixture
def definitions(tmp_path: Path, write_rows: Any) -> Path:
    """A folder of the user with a benchmark of every kind of lm-eval."""
    rows, folder = write_rows("pets.jsonl", questions()), tmp_path / "own"
    folder.mkdir()
    for name, text, measure in (
        ("pets", CHOICES, ""),
        ("last", LAST_WORD, ""),
        ("words", WHOLE_TEXT, "word_perplexity"),
        ("bits", WHOLE_TEXT.replace("whole_text", "whole_bits"), "bits_per_byte"),
        ("written", WRITTEN, "exact_match"),
    ):
        (folder / f"{name}.yaml").write_text(text.format(rows=rows, measure=measure))
    return folder


@pytest.fixture(scope="module")
def tuned(tiny_decoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA run that went far from its base."""
    folder = tmp_path_factory.mktemp("benchmarks")
    rows = folder / "rows.jsonl"
    rows.write_text("\n".join(
        json.dumps({"instruction": f"say {i}", "output": "zzzz qqqq"}) for i in range(16)
    ))  # fmt: skip
    made = recipe(
        tiny_decoder, rows, folder / "run", max_steps=12, method="lora", learning_rate=0.3,
        data={"train": str(rows), "validation": 0, "test": 0.25},
    )  # fmt: skip
    train(made)
    return folder / "run"


NAMES = ["pets", "last_word", "whole_text", "whole_bits", "written"]


def test_both_models_score_as_in_lm_evals_own_evaluation(
    tuned: Path, tiny_decoder: Path, definitions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval import evaluator, simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    monkeypatch.setattr(evaluator, "add_env_info", lambda storage: None)  # calls programs, slowly
    finished = load_finished(str(tuned), device="cpu")
    asked = load_benchmarks(NAMES, definitions=str(definitions))
    found = measure_benchmarks(finished, str(tuned), asked, batch_size=4)
    models = {"after": finished, "before": load_finished(finished.settings.base, device="cpu")}
    for when, model in models.items():
        with running_lm_eval():
            judged = simple_evaluate(
                HFLM(pretrained=model.model, tokenizer=model.tokenizer, batch_size=3),
                tasks=list(NAMES),
                task_manager=TaskManager(include_defaults=False, include_path=str(definitions)),
                bootstrap_iters=0,
            )["results"]
        for name, probe in found["probes"].items():
            scores = {probe["measure"]: probe[when]["value"]}
            scores |= {other: values[when] for other, values in probe["others"].items()}
            for measure, value in scores.items():
                key = measure.replace(", ", ",") if "," in measure else f"{measure},none"
                assert value == pytest.approx(judged[name][key], rel=1e-5), (when, name, key)
    measures = [(p["metric"], p["measure"]) for p in found["probes"].values()]
    assert measures == [
        ("accuracy", "acc"), ("perplexity", "perplexity"), ("perplexity", "word_perplexity"),
        ("bits_per_byte", "bits_per_byte"), ("accuracy", "exact_match, first"),
    ]  # fmt: skip
    assert found["probes"]["written"]["shots"] == 2
    # Text of any kind became likelier than random weights have it.
    assert found["probes"]["whole_text"]["status"] == "improved"
    assert found["probes"]["whole_text"]["comparison"]["n"] == 12
    assert found["verdict"][0].endswith("got better.")
    base = models["before"]
    object.__setattr__(base.settings, "base", str(tuned))  # the other way round
    found = measure_benchmarks(base, str(tiny_decoder), asked[2:3])
    assert found["status"] == found["probes"]["whole_text"]["status"] == "forgotten"
    assert found["verdict"][0] == "Tuning made the model worse at whole_text."
    assert "word_perplexity" in found["verdict"][1] and ": worse (95 %" in found["verdict"][1]


def test_the_command_writes_both_models_into_every_form(
    tuned: Path, definitions: Path, tmp_path: Path, capsys: Any
) -> None:
    words = ["evaluate", str(tuned), "--no-baselines", "--benchmark", "pets#8"]
    words += ["--benchmark-tasks", str(definitions), "--report", str(tmp_path / "r.md")]
    assert run([*words, "--json"]) == 0
    screen = capsys.readouterr()
    assert screen.err == ""
    found = json.loads(screen.out)["benchmarks"]
    pets = found["probes"]["pets"]
    assert found["status"] == pets["status"] == "none" and pets["comparison"]["n"] == 8
    assert found["verdict"][0] == "No detectable difference on public benchmarks."
    assert pets["limit"] == 8 and pets["shots"] == 0 and set(pets["others"]) == {"acc_norm"}
    assert found["notes"][0].startswith("Further scores, which are not tested: pets acc_norm 0.")
    for page in ("r.md", "r.html"):
        said = (tmp_path / page).read_text()
        assert "Public benchmarks" in said and "No detectable difference on public" in said
    assert run(words) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "pets: acc" in said and "no detectable difference" in said and "it/s" not in said


def test_python_takes_benchmarks_and_a_base_alone_has_scores_without_tests(
    tiny_decoder: Path, definitions: Path, instruction_file: Path, tmp_path: Path
) -> None:
    found = ModelEvaluator(
        EvaluationConfig(
            str(tiny_decoder), str(instruction_file), num_samples=2, output_dir=str(tmp_path),
            benchmarks=["pets"], benchmark_tasks=str(definitions),
        )
    ).evaluate()  # fmt: skip
    public = found["benchmarks"]
    assert public["before"] is None and public["probes"]["pets"]["comparison"] is None
    assert (
        public["verdict"][0].startswith("pets: acc 0.") and "(95 % interval" in public["verdict"][0]
    )
    assert "does not say what it was tuned from" in public["notes"][-1]
    table = next(block for block in blocks(found) if block.anchor == "benchmarks").table
    assert table is not None and table.columns == ["Probe", "Metric", "Rows", "Score"]


def hub_rows(n: int = 6) -> list[dict[str, Any]]:
    """Rows in the columns of ARC's data set."""
    return [
        {"question": f"which is {i}?", "answerKey": "AB"[i % 2],
         "choices": {"text": [f"it is {i}", "another"], "label": ["A", "B"]}}
        for i in range(n)
    ]  # fmt: skip


def laid_out(row: dict[str, Any]) -> dict[str, Any]:
    """The same question as LLM Foundry writes it."""
    gold = row["choices"]["label"].index(row["answerKey"])
    return {
        "query": f"Question: {row['question']}\n", "choices": row["choices"]["text"], "gold": gold,
    }  # fmt: skip


def asked_of(benchmark: Any) -> list[tuple[Any, ...]]:
    (task,) = benchmark.tasks.values()
    return [(task.doc_to_text(d), task.doc_to_choice(d), task.doc_to_target(d))
            for d in task.eval_docs]  # fmt: skip


def test_a_folder_stands_in_for_the_hub_in_its_columns_or_laid_out(
    tmp_path: Path, write_rows: Any
) -> None:
    for name in ("hub", "out", "parquet"):
        (tmp_path / name / "arc_easy").mkdir(parents=True)
    write_rows("hub/arc_easy.jsonl", hub_rows())
    write_rows("out/arc_easy/test.jsonl", [laid_out(row) for row in hub_rows()])
    import pandas

    pandas.DataFrame([laid_out(r) for r in hub_rows()]).to_parquet(
        tmp_path / "parquet" / "arc_easy" / "validation.parquet"
    )
    (tmp_path / "hub" / "arc_easy").rmdir()
    found = {
        name: load_benchmarks(["arc_easy"], str(tmp_path / name))[0]
        for name in ("hub", "out", "parquet")
    }
    first = ("Question: which is 0?\nAnswer:", ["it is 0", "another"], 0)
    assert asked_of(found["hub"])[0] == first
    assert asked_of(found["hub"]) == asked_of(found["out"]) == asked_of(found["parquet"])
    assert found["out"].source.endswith("out/arc_easy/test.jsonl")
    write_rows("out/lambada_openai.jsonl", [{"context": "it was a", "continuation": "dog"}])
    (task,) = load_benchmarks(["lambada_openai"], str(tmp_path / "out"))[0].tasks.values()
    assert (task.doc_to_text(task.eval_docs[0]), task.doc_to_target(task.eval_docs[0])) == (
        "it was a", " dog",
    )  # fmt: skip


def test_a_task_that_shows_examples_needs_their_split(tmp_path: Path, write_rows: Any) -> None:
    rows = [{"question": f"{i} and {i}?", "answer": f"It is. #### {2 * i}"} for i in range(8)]
    (tmp_path / "data" / "gsm8k").mkdir(parents=True)
    write_rows("data/gsm8k/test.jsonl", rows)
    with pytest.raises(DataError, match="shows 5 solved questions of the split 'train'"):
        load_benchmarks(["gsm8k"], str(tmp_path / "data"))
    write_rows("data/gsm8k/train.jsonl", rows)
    (found,) = load_benchmarks(["gsm8k"], str(tmp_path / "data"))
    assert (
        found.score == ("exact_match", "strict-match") and len(found.tasks["gsm8k"].eval_docs) == 8
    )
    (tmp_path / "data" / "gsm8k" / "test.jsonl").unlink()
    with pytest.raises(DataError, match=r"has train.jsonl; benchmark 'gsm8k' asks the split test"):
        load_benchmarks(["gsm8k"], str(tmp_path / "data"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--benchmark", "arc_easi"], "Unknown benchmark 'arc_easi'. Did you mean 'arc_easy'?"),
        (["--benchmark", "arc_easy#0"], "NAME#0 asks no question"),
        (["--benchmark", "arc_easy", "--benchmark-data", "gone"], "gone: there is no such folder"),
        (["--benchmark-data", "."], "--benchmark-data is for public benchmarks; name one"),
        (["--benchmark", "humaneval"], "runs code that a model wrote"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_the_model_is_read(
    words: list[str], said: str, tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tunewright.evaluate.run.load_finished", lambda *args, **options: 1 / 0)
    assert run(["evaluate", str(tuned), *words]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_questions_that_are_not_there_are_said_with_both_ways_to_bring_them(
    tuned: Path, tmp_path: Path, write_rows: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    words = ["evaluate", str(tuned), "--benchmark", "arc_easy", "--benchmark-data", str(tmp_path)]
    assert run(words) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "The questions of benchmark 'arc_easy' are not there. Looked for its data set" in said
    assert "allenai/ai2_arc" in said and "--benchmark-data FOLDER" in said
    write_rows("arc_easy.jsonl", [{"text": "no question"}])
    assert run(words) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "whose columns are text" in said and "query, choices and gold" in said
    write_rows("arc_easy.jsonl", [["no object"]])
    with pytest.raises(DataError, match="a line must be one JSON object"):
        load_benchmarks(["arc_easy"], str(tmp_path))


def test_labels_encoder_decoders_and_a_missing_package_are_refused(
    tiny_encoder: Path, tiny_t5: Path, definitions: Path, sentiment_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with pytest.raises(ConfigError, match="task 'classification' answers with something else"):
        pipeline.evaluate_model(str(tiny_encoder), str(sentiment_file), benchmarks=["pets"])
    finished = load_finished(str(tiny_t5), Task.INSTRUCTION, device="cpu")
    with pytest.raises(ConfigError, match="is an encoder-decoder"):
        measure_benchmarks(finished, "t5", load_benchmarks(["pets"], definitions=str(definitions)))
    monkeypatch.setattr(benchmark_tasks.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="not installed: pip install 'lm-eval=="):
        load_benchmarks(["pets"])


def test_a_group_is_one_benchmark_over_all_its_questions(
    tuned: Path, definitions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lm_eval.tasks

    (definitions / "second.yaml").write_text(
        (definitions / "pets.yaml").read_text().replace("task: pets", "task: more_pets")
    )
    (definitions / "all.yaml").write_text("group: all_pets\ntask: [pets, more_pets]\n")
    (definitions / "odd.yaml").write_text("group: odd\ntask: [pets, whole_text]\n")
    # lm-eval's own 14,000 definitions take it ten seconds to read, and none is in these groups.
    own = partial(lm_eval.tasks.TaskManager, include_defaults=False)
    monkeypatch.setattr(lm_eval.tasks, "TaskManager", own)
    asked = load_benchmarks(["all_pets#5"], definitions=str(definitions))
    finished = load_finished(str(tuned), device="cpu")
    probe = measure_benchmarks(finished, str(tuned), asked)["probes"]["all_pets"]
    assert probe["after"]["n"] == 10 and set(probe["tasks"]) == {"pets", "more_pets"}
    assert probe["tasks"]["pets"]["after"] == probe["after"]["value"]
    with pytest.raises(ConfigError, match=r"unlike scores \(acc, word_perplexity\)"):
        load_benchmarks(["odd"], definitions=str(definitions))


def test_scores_of_all_answers_together_are_refused_and_means_are_not_shares(
    tuned: Path, definitions: Path
) -> None:
    written = (definitions / "written.yaml").read_text()
    (definitions / "written.yaml").write_text(
        written.replace("metric: exact_match, aggregation: mean", "metric: bleu, aggregation: bleu")
    )
    with pytest.raises(ConfigError, match="scored by bleu of all answers together"):
        load_benchmarks(["written"], definitions=str(definitions))
    from tunewright.evaluate.benchmarks import _scored

    class Means:
        def aggregation(self) -> dict[str, Any]:
            from lm_eval.api.metrics import mean

            return {"overlap": mean}

        def higher_is_better(self) -> dict[str, bool]:
            return {"overlap": False}

    metric, references, (said,) = _scored(Means(), "overlap", [[0.5, 0.25, 1.0]])
    assert (metric.name, metric.better, metric.unit) == ("mean", "lower", "plain")
    assert metric.compute(references, said) == pytest.approx(1.75 / 3)


def test_p_values_of_several_probes_are_corrected() -> None:
    from tunewright.evaluate.before_after import Probe, sentence
    from tunewright.metrics import get_metric

    truth = ["right"] * 40
    worse = ["right"] * 32 + ["wrong"] * 8
    accuracy = get_metric("accuracy")
    alone = told_probes([Probe("a", accuracy, truth, worse, truth, "x")])["a"]
    both = told_probes([Probe(name, accuracy, truth, worse, truth, "x") for name in "ab"])
    assert both["a"]["comparison"]["p"] == pytest.approx(2 * alone["comparison"]["p"])
    assert alone["status"] == "forgotten"
    assert sentence("a", alone).startswith("a: accuracy 1.00 before, 0.800 after: worse (95 %")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not here")
def test_public_rows_that_are_laid_out_are_read(tmp_path: Path) -> None:
    for name, rows in (("arc_easy", 2376), ("piqa", 1838), ("lambada_openai", 5153)):
        (tmp_path / f"{name}.jsonl").symlink_to(SHARED / f"general_{name}" / "test.jsonl")
        (found,) = load_benchmarks([name], str(tmp_path))
        (task,) = found.tasks.values()
        assert len(task.eval_docs) == rows
        if name != "lambada_openai":
            text = task.doc_to_text(task.eval_docs[0])
            assert text.startswith("Question: ") and text.endswith("\nAnswer:")
