"""Names of metrics, their defaults, and values worked out by hand."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

import tunewright.metrics
from tunewright.config.task import Task
from tunewright.errors import ConfigError, DataError
from tunewright.metrics import METRIC_NAMES, compare, estimate, get_metric, metrics_for
from tunewright.metrics.entities import entities
from tunewright.metrics.texts import last_number


def test_a_misspelt_metric_names_the_close_match() -> None:
    with pytest.raises(ConfigError, match=r"Unknown metric 'acuracy'. Did you mean 'accuracy'\?"):
        get_metric("acuracy")


@pytest.mark.parametrize(
    ("alias", "name"),
    [("f1", "macro_f1"), ("ROUGE", "rougeL"), ("RougeL", "rougeL"), ("Perplexity", "perplexity")],
)
def test_names_are_found_in_any_case_and_by_alias(alias: str, name: str) -> None:
    assert get_metric(alias).name == name


def test_every_default_metric_fits_its_task() -> None:
    firsts = {task: metrics_for(task)[0] for task in Task}
    assert firsts == {
        Task.CLASSIFICATION: "macro_f1",
        Task.MULTILABEL: "micro_f1",
        Task.REGRESSION: "pearson",
        Task.TOKEN_CLASSIFICATION: "entity_f1",
        Task.EMBEDDING: "mrr_at_10",
        Task.QUESTION_ANSWERING: "answer_f1",
        Task.INSTRUCTION: "perplexity",
        Task.TEXT: "perplexity",
    }
    for task in Task:
        assert all(get_metric(name).fits(task) for name in metrics_for(task))
    assert not get_metric("bleu").fits(Task.CLASSIFICATION)
    assert get_metric("f1").fits("multilabel")


def test_public_names_are_sorted_and_exist() -> None:
    names = tunewright.metrics.__all__
    assert names == sorted(names, key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    assert all(getattr(tunewright.metrics, name) is not None for name in names)
    assert set(names) <= set(dir(tunewright.metrics))
    with pytest.raises(AttributeError, match="no attribute 'estimatte'"):
        tunewright.metrics.estimatte  # noqa: B018


def test_importing_the_room_loads_no_library() -> None:
    code = (
        "import sys, tunewright.metrics; "
        "print(sorted({m.partition('.')[0] for m in sys.modules} & "
        "{'numpy', 'scipy', 'sklearn', 'sacrebleu', 'rouge_score', 'torch'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_scoring_labels_loads_no_text_library() -> None:
    code = (
        "import sys; from tunewright.metrics import get_metric; "
        "get_metric('macro_f1').compute(['a', 'b'], ['a', 'a']); "
        "print(sorted({m.partition('.')[0] for m in sys.modules} & "
        "{'scipy', 'sklearn', 'sacrebleu', 'rouge_score', 'torch'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "references", "predictions", "expected"),
    [
        # F1 of a: 2*2/(2+3) = 0.8; of b: 2*1/(2+1) = 2/3.
        ("macro_f1", ["a", "a", "b", "b"], ["a", "a", "a", "b"], (0.8 + 2 / 3) / 2),
        ("accuracy", ["a", "a", "b", "b"], ["a", "a", "a", "b"], 0.75),
        ("accuracy", np.array([1, 0]), [1, 1], 0.5),
        ("mcc", ["a", "b"], ["a", "a"], 0.0),
        # 2 shared of 3 expected and 3 predicted.
        ("micro_f1", [("a", "b"), ("a",)], [("a", "b"), ("b",)], 4 / 6),
        ("micro_f1", [{"a"}, set()], [["a"], []], 1.0),
        ("micro_f1", np.array([[1, 0], [1, 1]]), np.array([[1, 0], [0, 1]]), 4 / 5),
        ("hamming_loss", [("a",), ("b",)], [("a", "b"), ("b",)], 0.25),
        # exp((6 + 4) / (3 + 2)) = e^2: the mean over tokens, not over rows.
        ("perplexity", [3, 2], [6.0, 4.0], math.exp(2)),
        ("perplexity", [1, 3], [4.0, 0.0], math.e),
        ("bits_per_byte", [4, 4], [8 * math.log(2), 0.0], 1.0),
        ("log_loss", [0, 1], [[0.5, 0.5], [0.75, 0.25]], (math.log(2) + math.log(4)) / 2),
        # Bin (0.8, 0.9]: one right at 0.9; bin (0.6, 0.7]: one wrong at 0.7.
        ("ece", [0, 0], [[0.9, 0.1], [0.3, 0.7]], (0.1 + 0.7) / 2),
        ("roc_auc", [0, 1, 1], [0.5, 0.5, 0.9], 0.75),
        ("exact_match", ["Paris", "Rome"], [" Paris\n", "rome"], 0.5),
        # The prompt is no part of the answer.
        ("exact_match", ["4"], ["2 + 2 = 4"], 0.0),
        ("numeric_match", ["so\n#### 1,250"], ["It is $1250.00."], 1.0),
        ("numeric_match", ["#### 7"], ["7 apples and 8 pears"], 0.0),
        ("rougeL", ["a b c d"], ["a c"], 2 * 1.0 * 0.5 / 1.5),
        ("rmse", [0, 0], [3, 4], math.sqrt(12.5)),
        ("r2", [1, 1], [1, 1], 1.0),
        ("pearson", [1, 2, 3], [5, 5, 5], 0.0),
        ("spearman", [1, 2, 3], [10, 100, 1000], 1.0),
        # (PER, 0-2) right, (ORG, 3-4) of the wrong type.
        (
            "entity_f1",
            [["B-PER", "I-PER", "O", "B-ORG"]],
            [["B-PER", "I-PER", "O", "B-PER"]],
            0.5,
        ),
        # Types: PER 1 of 1 found right but ORG's 1 is not found, and 1 PER too many is.
        (
            "entity_macro_f1",
            [["B-PER", "I-PER", "O", "B-ORG"]],
            [["B-PER", "I-PER", "O", "B-PER"]],
            (2 / 3 + 0) / 2,
        ),
        # 1 of 3 predicted is right; the border of the second is wrong.
        ("entity_precision", [["B-X", "O", "B-X", "I-X"]], [["B-X", "B-X", "B-X", "O"]], 1 / 3),
        ("entity_recall", [["B-X", "O", "B-X", "I-X"]], [["B-X", "B-X", "B-X", "O"]], 1 / 2),
        ("entity_macro_f1", [["O"]], [["O"]], 0.0),
        ("entity_recall", [["O", "B-X"]], [["O", "O"]], 0.0),
        # 3 of 5 tokens of all rows, not the mean of 1/2 and 2/3.
        ("token_accuracy", [["O", "B-X"], ["O", "O", "O"]], [["O", "O"], ["O", "O", "B-X"]], 0.6),
    ],
)
def test_values_worked_out_by_hand(
    name: str, references: object, predictions: object, expected: float
) -> None:
    assert get_metric(name).compute(references, predictions) == pytest.approx(expected)


def test_a_reference_copied_is_a_perfect_score() -> None:
    rows = ["the quick brown fox jumps", "over the lazy dog again"]
    for name, best in (("bleu", 100), ("chrf", 100), ("ter", 0), ("rouge1", 1), ("rouge2", 1)):
        assert get_metric(name).compute(rows, rows) == pytest.approx(best)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("#### 42", 42),
        ("3 + 4 = 7\n#### 7 apples of 9", 7),
        ("the answer is -3.5.", -3.5),
        ("costs $1,234,567.89 in all", 1234567.89),
        ("between 3 and .5", 0.5),
        ("#### none, so 8", 8),
        ("4 ####", 4),
        ("no number", None),
        ("pages 3-4", 4),
    ],
)
def test_last_number(text: str, number: float | None) -> None:
    assert last_number(text) == number


def test_a_perfect_score_of_entities_keeps_its_doubt_and_more_rows_lessen_it() -> None:
    row = ["B-PER", "I-PER", "O", "B-ORG"]
    for name in ("entity_f1", "entity_macro_f1", "entity_recall", "token_accuracy"):
        few, many = (estimate(name, [row] * n, [row] * n) for n in (12, 200))
        assert (few.value, few.high, many.value) == (1.0, 1.0, 1.0)
        assert few.low < 0.95 < many.low < 1


def test_a_model_that_is_right_everywhere_beats_one_that_is_wrong_everywhere() -> None:
    rows, nothing = [["B-PER", "O"]] * 12, [["O", "O"]] * 12
    found = compare("entity_f1", rows, rows, nothing)
    assert (found.difference, found.p < 0.01) == (1.0, True)
    assert "better by 100.0 points" in found.verdict


def test_an_i_tag_that_continues_nothing_is_no_entity() -> None:
    assert entities(["I-PER", "B-PER", "I-ORG", "B-ORG", "I-ORG"]) == {
        ("PER", 1, 2),
        ("ORG", 3, 5),
    }


@pytest.mark.parametrize(
    ("name", "references", "predictions", "message"),
    [
        ("accuracy", ["a"], ["a", "b"], "1 references and 2 predictions"),
        ("accuracy", [], [], "no row to score"),
        ("accuracy", ["a", "b"], [0, 1], "Names and ids are mixed"),
        ("micro_f1", [("a",)], [(0,)], "Names and ids are mixed"),
        ("accuracy", ["a", None], ["a", "a"], "Row 2 of the references has no label"),
        ("accuracy", "ab", "ab", "one str; a list"),
        ("micro_f1", [("a",), ("b",)], [("a",), "b"], "Row 2 of the predictions is 'b'"),
        ("mse", [1.0, math.nan], [1.0, 2.0], "not finite, the first in row 2"),
        ("mse", ["x"], [1.0], "not numbers"),
        ("mse", [[1.0, 2.0]], [1.0], r"shape \(1, 2\)"),
        ("perplexity", [0, 0], [1.0, 1.0], "not all 0"),
        ("log_loss", [0, 2], [[0.5, 0.5], [0.5, 0.5]], "Reference 2 in row 2"),
        ("log_loss", [0, 1], [[2.0, -1.0], [0.5, 0.5]], "apply softmax to logits"),
        ("log_loss", [0], [[1.0]], "two classes or more"),
        ("roc_auc", [1, 1], [0.2, 0.3], "of one class"),
        ("roc_auc", [0, 1], [0.2, math.nan], "row 2 are not finite"),
        ("exact_match", ["a"], [None], "Row 1 of the predictions is None; a text"),
        ("numeric_match", ["nothing"], ["3"], "Reference 1 has no number"),
        ("entity_f1", [["I-PER"]], [["O"]], "continues no entity"),
        ("entity_f1", [["PER"]], [["O"]], "O, B-TYPE and I-TYPE are known"),
        ("entity_f1", [["O", "O"]], [["O"]], "2 reference tags and 1 predicted"),
    ],
)
def test_rows_that_do_not_fit_are_refused(
    name: str, references: object, predictions: object, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        get_metric(name).compute(references, predictions)


def test_every_metric_is_named_once() -> None:
    assert len({name.lower() for name in METRIC_NAMES}) == len(METRIC_NAMES)
