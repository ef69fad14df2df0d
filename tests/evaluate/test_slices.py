"""Slices: which there are, what they score, and how often they are called worse by chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import fisher_exact

from tunewright.config.task import Task
from tunewright.data.records import Message, Record
from tunewright.errors import ConfigError
from tunewright.evaluate.slice_columns import columns_of
from tunewright.evaluate.slices import find_slices, said_where, slice_metric


def rows(n: int, **columns: Any) -> list[Record]:
    """Records of one length whose columns are given a value a row."""
    return [
        Record(text="x" * 5, meta={name: values[i] for name, values in columns.items()}, row=i)
        for i in range(n)
    ]


def values(records: list[Record], **options: Any) -> dict[str, dict[str, int]]:
    return {
        column.name: {name: int(mask.sum()) for name, mask in column.values.items()}
        for column in columns_of(records, **options)
    }


def test_columns_of_few_values_and_bands_of_numbers_are_slices() -> None:
    shop = ["a", "b", "b", None] * 10
    price = [float(i) for i in range(40)]
    found = values(rows(40, shop=shop, price=price, note=[f"free text {i}" for i in range(40)],
                        parts=[[1]] * 40, id=list(range(40))))  # fmt: skip
    assert found == {
        "shop": {"a": 10, "b": 20},
        "price": {"0 to 9": 10, "10 to 19": 10, "20 to 29": 10, "30 to 39": 10},
    }


def test_length_label_language_and_source_are_slices() -> None:
    long = "This is quite an ordinary English sentence about the weather in the north."
    german = "Das ist ein ganz gewöhnlicher deutscher Satz über das Wetter im Norden."
    records = [Record(text=long, label="a", source="one.csv")] * 12
    records += [Record(text=german, label=("a", "b"), source="two.csv")] * 12
    found = values(records)
    assert found["length"] == {"71 characters": 12, "74 characters": 12}
    assert found["label"] == {"a": 24, "b": 12}
    assert found["language"] == {"en": 12, "de": 12}
    assert found["source"] == {"one.csv": 12, "two.csv": 12}


def test_conversations_and_numbers_as_labels_have_slices() -> None:
    said = [Record(messages=(Message("user", "x" * (1 + i % 2)),), label=None) for i in range(4)]
    assert values(said) == {"length": {"1 characters": 2, "2 characters": 2}}
    graded = [Record(text="x", label=float(i)) for i in range(40)]
    assert list(values(graded)["label"]) == ["0 to 9", "10 to 19", "20 to 29", "30 to 39"]


def planted(n: int = 200) -> tuple[list[Record], list[str], list[str]]:
    """A model that errs in half of the rows of shop c and in a tenth of the others."""
    shop = ["abcd"[i % 4] for i in range(n)]
    wrong = [i // 4 % 2 == 0 if s == "c" else i // 4 % 10 == 0 for i, s in enumerate(shop)]
    records = rows(n, shop=shop, size=[i // 4 % 3 for i in range(n)])
    return records, ["yes"] * n, ["no" if w else "yes" for w in wrong]


def test_a_planted_bad_slice_is_found_and_said_with_fishers_p() -> None:
    records, truth, guess = planted()
    found = find_slices(records, "accuracy", truth, guess, wanted=["shop"])
    assert found is not None
    assert [one["where"] for one in found["slices"] if one["worse"]] == [{"shop": "c"}]
    bad = next(one for one in found["slices"] if one["worse"])
    assert (bad["score"]["value"], bad["score"]["n"]) == (0.5, 50)
    assert bad["score"]["low"] < 0.5 < bad["score"]["high"]
    assert bad["rest"] == pytest.approx(0.9)
    exact = fisher_exact([[25, 25], [135, 15]], alternative="less").pvalue
    assert bad["p"] == pytest.approx(4 * exact)  # Holm: the smallest of four
    assert found["tested"] == 4
    assert found["verdict"] == [
        "Worse where shop c: accuracy 0.500 (95 % interval 0.366 to 0.634, 50 rows) against 0.900 "
        "on the rest (p < 0.001 after Holm's correction for 4 slices)."
    ]


def test_a_pair_that_is_bad_only_together_is_found() -> None:
    n = 400
    shop = ["ab"[i % 2] for i in range(n)]
    kind = ["xyzw"[i // 2 % 4] for i in range(n)]
    guess = []
    for i in range(n):
        both = shop[i] == "b" and kind[i] == "w"
        guess.append("no" if (i // 8) % (2 if both else 3) == 0 else "yes")
    # Elsewhere shop b and kind w are the better ones, so neither is bad by itself.
    for i in range(n):
        if (shop[i] == "b") != (kind[i] == "w"):
            guess[i] = "yes"
    found = find_slices(rows(n, shop=shop, kind=kind), "accuracy", ["yes"] * n, guess)
    assert found is not None
    worse = [one["where"] for one in found["slices"] if one["worse"]]
    assert {"shop": "b", "kind": "w"} in worse
    assert said_where({"shop": "b", "kind": "w"}) == "shop b and kind w"


def test_losses_are_tested_by_exchange_and_scored_as_perplexity() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(5, 20, 120)
    hard = np.arange(120) % 3 == 0
    losses = tokens * rng.gamma(20, np.where(hard, 0.15, 0.1))
    records = rows(120, kind=["hard" if h else "easy" for h in hard])
    found = find_slices(records, "perplexity", tokens, losses)
    assert found is not None and found["better"] == "lower"
    by_name = {one["where"]["kind"]: one for one in found["slices"]}
    assert by_name["hard"]["worse"] and not by_name["easy"]["worse"]
    value = float(np.exp(losses[hard].sum() / tokens[hard].sum()))
    assert by_name["hard"]["score"]["value"] == pytest.approx(value)
    assert by_name["hard"]["rest"] == pytest.approx(by_name["easy"]["score"]["value"])


@pytest.mark.parametrize("metric", ["accuracy", "mae"])
def test_equal_slices_are_called_worse_in_five_per_cent_of_sets_at_most(metric: str) -> None:
    rng = np.random.default_rng(3)
    records = rows(60, one=["ab"[i % 2] for i in range(60)], two=["xyz"[i % 3] for i in range(60)])
    alarms, sets = 0, 25
    for _ in range(sets):
        if metric == "accuracy":
            truth: Any = ["r"] * 60
            guess: Any = np.where(rng.random(60) < 0.7, "r", "w").tolist()
        else:
            truth, guess = np.zeros(60), rng.exponential(size=60)
        found = find_slices(records, metric, truth, guess, wanted=["one", "two"])
        assert found is not None
        alarms += any(one["worse"] for one in found["slices"])
    assert alarms <= 4  # of 25 sets at 5 %, more than 4 come once in 140 times


@pytest.mark.parametrize("metric", ["accuracy", "mae"])
def test_rows_that_share_a_source_raise_no_more_false_alarms(metric: str) -> None:
    """Thirty documents of eight rows that are right or wrong together, in shops that are alike."""
    rng = np.random.default_rng(11)
    document = np.repeat(np.arange(30), 8)
    records = rows(
        240, shop=["abc"[i % 3] for i in document], kind=["xy"[i % 2] for i in range(240)]
    )
    alarms, loose, sets = 0, 0, 40
    for i in range(sets):
        hard = rng.beta(0.3, 0.2, 30)[document]  # most documents are nearly all right, or wrong
        if metric == "accuracy":
            truth: Any = ["r"] * 240
            guess: Any = np.where(rng.random(240) < hard, "r", "w").tolist()
        else:
            truth, guess = np.zeros(240), hard + rng.exponential(0.1, size=240)
        options: dict[str, Any] = {"wanted": ["shop", "kind"], "seed": i}
        found = find_slices(records, metric, truth, guess, groups=document, **options)
        by_row = find_slices(records, metric, truth, guess, **options)
        assert found is not None and by_row is not None
        alarms += any(one["worse"] for one in found["slices"])
        loose += any(one["worse"] for one in by_row["slices"])
    assert alarms <= 5  # of 40 sets at 5 %, more than 5 come once in 70 times
    assert loose >= 10  # taken for independent draws, rows raise twice as many and more


def test_a_slice_that_is_worse_in_many_groups_is_found_and_one_of_a_single_group_is_not() -> None:
    document = np.repeat(np.arange(24), 10)
    shop = ["b" if i % 3 == 0 else "a" for i in document]
    odd = ["odd" if i == 5 else "even" for i in document]
    wrong = np.array([s == "b" for s in shop]) & (np.arange(240) % 10 < 5)
    wrong |= document == 5
    guess = np.where(wrong, "no", "yes").tolist()
    records = rows(240, shop=shop, odd=odd)
    found = find_slices(records, "accuracy", ["yes"] * 240, guess, groups=document.tolist())
    assert found is not None
    by = {next(iter(s["where"].values())): s for s in found["slices"] if len(s["where"]) == 1}
    assert by["b"]["worse"] and not by["odd"]["worse"]
    assert (by["odd"]["score"]["low"], by["odd"]["score"]["high"]) == (None, None)
    # Every document of shop b is half right: whole documents leave no doubt that rows would.
    assert by["b"]["score"]["low"] == by["b"]["score"]["high"] == 0.5
    loose = find_slices(records, "accuracy", ["yes"] * 240, guess)
    assert loose is not None
    assert any(s["worse"] for s in loose["slices"] if s["where"] == {"odd": "odd"})


def test_groups_of_one_row_are_tested_as_rows_are() -> None:
    rng = np.random.default_rng(2)
    hard = np.arange(200) % 2 == 0
    guess = rng.exponential(np.where(hard, 1.25, 1.0))
    records = rows(200, kind=["hard" if h else "easy" for h in hard])
    by_row = find_slices(records, "mae", np.zeros(200), guess)
    grouped = find_slices(records, "mae", np.zeros(200), guess, groups=list(range(200)))
    assert by_row is not None and grouped is not None
    for one, other in zip(by_row["slices"], grouped["slices"], strict=True):
        assert one["score"]["value"] == other["score"]["value"]
        assert one["p"] == pytest.approx(other["p"], abs=0.03)


def test_entities_are_sliced_by_their_types_and_tested_by_exchange() -> None:
    tags = [("B-PER", "O"), ("B-LOC", "I-LOC"), ("O", "O")] * 30
    records = [Record(text="x x", words=("x", "x"), label=t, meta={"shop": "a"}) for t in tags]
    # Every second place is missed, and no person is.
    said = [("O", "O") if t[0] == "B-LOC" and i % 2 else t for i, t in enumerate(tags)]
    found = find_slices(records, "entity_f1", tags, said)
    assert found is not None
    by = {next(iter(s["where"].items())): s for s in found["slices"]}
    assert set(by) == {("label", "LOC"), ("label", "PER")}
    assert by["label", "LOC"]["score"]["value"] == pytest.approx(2 * 15 / (30 + 15))
    assert by["label", "LOC"]["rest"] == 1.0
    assert by["label", "LOC"]["worse"] and not by["label", "PER"]["worse"]


def test_few_rows_have_no_slices() -> None:
    assert find_slices(rows(12, shop=["a", "b"] * 6), "accuracy", ["y"] * 12, ["y"] * 12) is None


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (["shp"], "Did you mean 'shop'"),
        (["source"], "no value that can be told apart"),
        (["rare"], "at least 10 rows"),
    ],
)
def test_a_slice_that_cannot_be_is_refused(wanted: list[str], said: str) -> None:
    records = rows(40, shop=["a", "b"] * 20, rare=[str(i) for i in range(40)])
    with pytest.raises(ConfigError, match=said):
        find_slices(records, "accuracy", ["y"] * 40, ["y"] * 40, wanted=wanted)


@pytest.mark.parametrize(
    ("names", "task", "metric"),
    [
        (["macro_f1"], Task.CLASSIFICATION, "accuracy"),
        (["log_loss"], Task.CLASSIFICATION, "log_loss"),
        (["pearson"], Task.REGRESSION, "mae"),
        (["micro_f1"], Task.MULTILABEL, "subset_accuracy"),
        (["exact_match"], Task.INSTRUCTION, "exact_match"),
        (["bleu"], Task.INSTRUCTION, "perplexity"),
    ],
)
def test_slices_are_compared_by_a_metric_that_rows_have(
    names: list[str], task: Task, metric: str
) -> None:
    assert slice_metric(names, task) == metric
