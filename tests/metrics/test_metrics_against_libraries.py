"""Every metric equals the library that defines it, on random rows, to 1e-6."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF, TER
from scipy import stats
from sklearn import metrics as sk
from sklearn.preprocessing import MultiLabelBinarizer

from tunewright.metrics import get_metric
from tunewright.metrics.entities import per_type_scores

CASES = 500
WORDS = ["the", "cat", "sat", "on", "a", "mat", "Hello,", "world!", "naïve", "3.5%", "x", "(ok)"]


@pytest.fixture(autouse=True)
def _without_warnings() -> Iterator[None]:
    """Libraries warn of classes without rows; catching that anew for each case takes long."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def labels(rng: np.random.Generator) -> tuple[list[str], list[str]]:
    n, k = int(rng.integers(1, 60)), int(rng.integers(1, 7))
    classes = np.array([f"class {i}" for i in range(k)])
    truth = rng.choice(classes, n)
    guess = np.where(rng.random(n) < rng.random(), truth, rng.choice(classes, n))
    return truth.tolist(), guess.tolist()


def of_classes(truth: Any, guess: Any) -> dict[str, float]:
    """Macro and micro scores; scikit-learn gives precision, recall and F1 in one call."""
    macro = sk.precision_recall_fscore_support(truth, guess, average="macro", zero_division=0)
    micro_f1 = sk.f1_score(truth, guess, average="micro", zero_division=0)
    return dict(zip(("precision", "recall", "macro_f1"), macro, strict=False)) | {
        "micro_f1": micro_f1
    }


def test_label_metrics_equal_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    for _ in range(CASES):
        truth, guess = labels(rng)
        expected = of_classes(truth, guess) | {
            "accuracy": sk.accuracy_score(truth, guess),
            "balanced_accuracy": sk.balanced_accuracy_score(truth, guess),
            "mcc": sk.matthews_corrcoef(truth, guess),
        }
        for name, value in expected.items():
            assert get_metric(name).compute(truth, guess) == pytest.approx(value, abs=1e-9), name


def test_label_set_metrics_equal_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    for _ in range(CASES):
        n, k = int(rng.integers(1, 40)), int(rng.integers(2, 6))
        truth = [tuple(f"t{j}" for j in range(k) if rng.random() < 0.4) for _ in range(n)]
        truth[0] = ("t0", "t1")  # scikit-learn takes one column for two classes
        guess = [row if rng.random() < 0.5 else ("t0",) for row in truth]
        binarizer = MultiLabelBinarizer().fit([*truth, *guess])
        theirs = binarizer.transform(truth), binarizer.transform(guess)
        expected = of_classes(*theirs) | {
            "subset_accuracy": sk.accuracy_score(*theirs),
            "hamming_loss": sk.hamming_loss(*theirs),
        }
        for name, value in expected.items():
            assert get_metric(name).compute(truth, guess) == pytest.approx(value, abs=1e-9), name


def probabilities(rng: np.random.Generator, k: int) -> tuple[Any, Any]:
    n = int(rng.integers(2 * k, 60))
    truth = np.concatenate([np.arange(k), rng.integers(0, k, n - k)])
    p = rng.dirichlet(np.ones(k), n).round(1 if rng.random() < 0.5 else 6)
    p[:, 0] += 1 - p.sum(axis=1)  # rounding makes ties, the sum stays 1
    return truth, np.abs(p)


def test_areas_and_log_loss_equal_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    for case in range(CASES):
        k = 2 if case % 3 else 4
        truth, p = probabilities(rng, k)
        p = p / p.sum(axis=1, keepdims=True)
        scores = p[:, 1] if k == 2 else p
        expected = {
            "roc_auc": sk.roc_auc_score(truth, scores, multi_class="ovr"),
            "pr_auc": sk.average_precision_score(truth, scores),
            "log_loss": sk.log_loss(truth, p, labels=range(k)),
        }
        for name, value in expected.items():
            assert get_metric(name).compute(truth, p) == pytest.approx(value, abs=1e-6), name


def test_one_column_of_probabilities_is_the_second_class() -> None:
    truth, p = [0, 1, 1, 0], np.array([0.2, 0.9, 0.4, 0.6])
    for name in ("roc_auc", "pr_auc", "log_loss", "ece"):
        both = np.stack([1 - p, p], axis=1)
        assert get_metric(name).compute(truth, p) == get_metric(name).compute(truth, both)


NUMBER_METRICS: dict[str, Callable[[Any, Any], float]] = {
    "mse": sk.mean_squared_error,
    "mae": sk.mean_absolute_error,
    "rmse": sk.root_mean_squared_error,
    "r2": sk.r2_score,
    "pearson": lambda r, p: stats.pearsonr(r, p).statistic,
    "spearman": lambda r, p: stats.spearmanr(r, p).statistic,
}


@pytest.mark.parametrize("name", NUMBER_METRICS)
def test_number_metrics_equal_scikit_learn_and_scipy(name: str) -> None:
    rng = np.random.default_rng(4)
    for _ in range(CASES):
        n = int(rng.integers(3, 60))
        offset, scale = rng.normal() * 100, 10 ** rng.uniform(-3, 3)
        truth = rng.normal(size=n).round(1) * scale + offset
        truth[:2] = offset, offset + scale
        guess = truth + rng.normal(size=n).round(1) * scale
        guess[:2] = offset - scale, offset + 2 * scale
        expected = NUMBER_METRICS[name](truth, guess)
        assert get_metric(name).compute(truth, guess) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def texts(rng: np.random.Generator) -> tuple[list[str], list[str]]:
    refs, preds = [], []
    for _ in range(int(rng.integers(1, 6))):
        words = rng.choice(WORDS, int(rng.integers(1, 12))).tolist()
        changed = [w if rng.random() < 0.7 else str(rng.choice(WORDS)) for w in words]
        refs.append(" ".join(words))
        preds.append(" ".join(changed[: int(rng.integers(0, len(changed) + 1))]))
    return refs, preds


SACREBLEU = {"bleu": BLEU, "chrf": CHRF, "ter": TER}


@pytest.mark.parametrize("name", SACREBLEU)
def test_corpus_scores_equal_sacrebleu(name: str) -> None:
    rng = np.random.default_rng(5)
    for _ in range(CASES):
        refs, preds = texts(rng)
        expected = SACREBLEU[name]().corpus_score(preds, [refs]).score
        assert get_metric(name).compute(refs, preds) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ["rouge1", "rouge2", "rougeL"])
def test_rouge_equals_rouge_score(name: str) -> None:
    rng = np.random.default_rng(6)
    scorer = RougeScorer([name])
    for _ in range(CASES):
        refs, preds = texts(rng)
        each = [scorer.score(r, p)[name].fmeasure for r, p in zip(refs, preds, strict=True)]
        assert get_metric(name).compute(refs, preds) == pytest.approx(np.mean(each), abs=1e-9)


def test_entity_scores_equal_seqeval_in_strict_mode() -> None:
    from seqeval import metrics as seqeval
    from seqeval import scheme

    rng = np.random.default_rng(7)
    for _ in range(CASES):
        refs, preds = [], []
        for _ in range(int(rng.integers(1, 5))):
            n = int(rng.integers(1, 15))
            row: list[str] = []
            while len(row) < n:
                kind = rng.choice(["PER", "ORG"])
                row += (
                    ["O"]
                    if rng.random() < 0.4
                    else [f"B-{kind}"] + [f"I-{kind}"] * (int(rng.integers(0, 3)))
                )
            refs.append(row[:n])
            tags = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG"]
            preds.append([t if rng.random() < 0.7 else str(rng.choice(tags)) for t in row[:n]])
        strict: Any = {"mode": "strict", "scheme": scheme.IOB2, "zero_division": 0}
        expected = {
            "entity_precision": seqeval.precision_score(refs, preds, **strict),
            "entity_recall": seqeval.recall_score(refs, preds, **strict),
            "entity_f1": seqeval.f1_score(refs, preds, **strict),
            # NaN where there is no entity on either side, which we score 0.
            "entity_macro_f1": np.nan_to_num(
                seqeval.f1_score(refs, preds, average="macro", **strict)
            ),
            "token_accuracy": seqeval.accuracy_score(refs, preds),
        }
        each = seqeval.classification_report(refs, preds, output_dict=True, **strict)
        for name, value in expected.items():
            assert get_metric(name).compute(refs, preds) == pytest.approx(value, abs=1e-9), name
        for found in per_type_scores(refs, preds):
            theirs = each[found["label"]]
            assert found["f1"] == pytest.approx(theirs["f1-score"], abs=1e-9)
            assert (found["support"], found["recall"]) == (
                theirs["support"],
                pytest.approx(theirs["recall"], abs=1e-9),
            )
