"""The charts: what they draw, and that they draw it the same each time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import pytest
from example_section import classification_section, journal
from matplotlib.figure import Figure

from tunewright.errors import DataError
from tunewright.evaluate import plots

SECTION = classification_section()
CHARTS: dict[str, Callable[[], Figure]] = {
    "label_balance": lambda: plots.label_balance(SECTION.data["labels"]),
    "length_histogram": lambda: plots.length_histogram(SECTION.data["lengths"]),
    "training_curves": lambda: plots.training_curves(SECTION.journal),
    "score_comparison": lambda: plots.score_comparison(
        [plots.Score("tuned", 0.79, 0.76, 0.82, highlight=True), plots.Score("other", 0.6)],
        "macro-F1",
    ),
    "confusion_matrix": lambda: plots.confusion_matrix(
        SECTION.evaluation["confusion"]["labels"], SECTION.evaluation["confusion"]["matrix"]
    ),
    "reliability_curve": lambda: plots.reliability_curve(SECTION.evaluation["calibration"]),
}


def texts(figure: Figure) -> list[str]:
    """Every piece of text in the picture."""
    root = ElementTree.fromstring(plots.to_svg(figure))
    return ["".join(e.itertext()).strip() for e in root.iter() if e.tag.endswith("}text")]


@pytest.mark.parametrize("name", CHARTS)
def test_the_same_chart_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    first, second = CHARTS[name](), CHARTS[name]()
    assert plots.to_svg(first) == plots.to_svg(second)
    one, two = plots.to_png(first, tmp_path / "1.png"), plots.to_png(second, tmp_path / "2.png")
    assert one.read_bytes() == two.read_bytes()
    assert one.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_has_a_title_and_leaves_the_global_style_alone(name: str) -> None:
    before = dict(matplotlib.rcParams)
    figure = CHARTS[name]()
    plots.to_svg(figure)
    assert {key: matplotlib.rcParams[key] for key in before if key != "backend"} == {
        key: value for key, value in before.items() if key != "backend"
    }
    assert figure.axes[0].get_title(loc="left")


def test_label_balance_lists_labels_by_size_and_joins_the_rare_ones() -> None:
    shown = texts(plots.label_balance({f"label {i:02d}": 100 - i for i in range(30)}))
    names = [text for text in shown if "label" in text and "balance" not in text]
    assert names == [f"label {i:02d}" for i in range(19)] + ["11 other labels"]
    rare = sum(100 - i for i in range(19, 30))
    assert f"{rare:,} · {rare / sum(range(71, 101)) * 100:.0f} %" in shown


def test_a_label_with_dollar_signs_is_text_and_not_mathematics() -> None:
    assert r"$\bad{$" in texts(plots.label_balance({r"$\bad{$": 3}))


def test_length_histogram_marks_the_median_and_the_95th_percentile() -> None:
    shown = texts(plots.length_histogram(SECTION.data["lengths"]))
    assert {"median 18", "95th percentile 35", "length in tokens"} <= set(shown)


def test_training_curves_draw_a_repeated_step_once_as_it_was_done_last() -> None:
    steps = [
        {"event": "step", "step": 1, "loss": 3.0},
        {"event": "step", "step": 2, "loss": 9.0},
        {"event": "resume", "step": 1},
        {"event": "step", "step": 2, "loss": 2.0},
        {"event": "step", "step": 3, "loss": float("nan")},
    ]
    raw = plots.training_curves(steps).axes[0].lines[0]
    assert list(raw.get_xdata()) == [1, 2]
    assert list(raw.get_ydata()) == [3.0, 2.0]


def test_the_smoothed_loss_of_a_constant_is_that_constant() -> None:
    steps = [{"event": "step", "step": i, "loss": 1.5} for i in range(1, 51)]
    smooth = plots.training_curves(steps).axes[0].lines[1]
    assert list(smooth.get_ydata()) == pytest.approx([1.5] * 50)


def test_training_curves_show_validation_where_there_is_some() -> None:
    events = journal(40, 2.0, 1.0, 10)
    assert "validation" in texts(plots.training_curves(events))
    alone = [e for e in events if e["event"] == "step"]
    assert "validation" not in texts(plots.training_curves(alone))


@pytest.mark.parametrize(("better", "order"), [("higher", ["b", "a"]), ("lower", ["a", "b"])])
def test_score_comparison_puts_the_best_on_top(better: str, order: list[str]) -> None:
    figure = plots.score_comparison([plots.Score("a", 1.0), plots.Score("b", 2.0)], "m", better)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == order
    assert axes.yaxis_inverted()


def test_a_confusion_matrix_of_many_labels_keeps_those_with_most_errors() -> None:
    labels = [f"intent {i}" for i in range(30)]
    matrix = [[10 if i == j else 0 for j in range(30)] for i in range(30)]
    for wrong in range(10, 30):
        matrix[wrong][0] = 5
    shown = texts(plots.confusion_matrix(labels, matrix))
    assert "Confusion matrix, the 20 of 30 labels with most errors" in shown
    assert "intent 10" in shown
    assert "intent 9" not in shown


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.label_balance({}), "no labelled rows"),
        (lambda: plots.length_histogram({"histogram": {"edges": [1], "counts": [1]}}), "edges"),
        (lambda: plots.training_curves([{"event": "checkpoint", "step": 1}]), "no training step"),
        (lambda: plots.score_comparison([plots.Score("a", float("nan"))], "F1"), "no finite F1"),
        (lambda: plots.confusion_matrix(["a", "b"], [[1, 2]]), "as many rows and columns"),
        (lambda: plots.reliability_curve({"bins": []}), "no calibration bin"),
        (lambda: plots.evaluation_plots({}, Path("nowhere")), "no score to draw"),
        (lambda: plots.comparison_plots([{"error": "x"}], Path("nowhere")), "None of the models"),
    ],
)
def test_nothing_to_draw_is_an_error_that_says_so(draw: Callable[[], object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        draw()


def test_evaluation_plots_write_what_the_evaluation_has(tmp_path: Path) -> None:
    files = plots.evaluation_plots(SECTION.evaluation, tmp_path)
    assert [f.name for f in files] == ["scores.png", "confusion.png", "calibration.png"]
    assert all(f.stat().st_size > 1000 for f in files)


def test_comparison_plots_write_one_file_a_metric_and_skip_a_failed_model(tmp_path: Path) -> None:
    results = [SECTION.evaluation, {"model": "broken", "error": "no weights"}]
    files = plots.comparison_plots(results, tmp_path)
    assert [f.name for f in files] == [
        "comparison-macro-f1.png",
        "comparison-accuracy.png",
        "comparison-log-loss.png",
    ]
