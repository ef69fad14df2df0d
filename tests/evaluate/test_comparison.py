"""The comparison of several models: ranks, marks, names and failures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from example_section import classification_section, metric

from tunewright.errors import DataError
from tunewright.evaluate import wording
from tunewright.evaluate.names import distinct_names
from tunewright.evaluate.report import write_comparison


def result(model: str, value: float, **more: Any) -> dict[str, Any]:
    return {"model": model, "metrics": {"accuracy": metric(value, 0.03, 400)}, **more}


def paired(p: float) -> dict[str, Any]:
    return {"metric": "accuracy", "difference": 0.02, "low": -0.01, "high": 0.05, "p": p}


def rows(markdown: Path) -> list[list[str]]:
    """The cells of the first table below its heading, without emphasis."""
    text = markdown.read_text(encoding="utf-8").replace(wording.DASH, "-")
    table = text.partition("\n\n|")[2].partition("\n\n")[0].splitlines()[2:]
    return [
        [re.sub(r"^\*\*(.*)\*\*$", r"\1", cell.strip()) for cell in line.strip("|").split(" |")]
        for line in table
    ]


def test_the_table_ranks_by_score_and_says_what_is_not_settled(tmp_path: Path) -> None:
    results = [result("b", 0.80), result("a", 0.82), result("c", 0.60)]
    found = rows(write_comparison(results, tmp_path / "r.md", pictures=False).markdown)
    assert [row[:2] for row in found] == [["1-2", "a"], ["1-2", "b"], ["3", "c"]]
    assert [row[3] for row in found] == [
        "-",
        f"{wording.MINUS}2.0 points ≈",
        f"{wording.MINUS}22.0 points †",
    ]


@pytest.mark.parametrize(
    ("p", "mark", "ranks"),
    [
        (0.2, "=", ["1-2", "1-2"]),
        (0.03, r"\*", ["1", "2"]),
        (0.004, r"\*\*", ["1", "2"]),
        (0.0001, r"\*\*\*", ["1", "2"]),
    ],
)
def test_a_paired_test_decides_where_there_is_one(
    p: float, mark: str, ranks: list[str], tmp_path: Path
) -> None:
    results = [result("a", 0.82, comparison={"b": paired(p)}), result("b", 0.80)]
    found = rows(write_comparison(results, tmp_path / "r.md", pictures=False).markdown)
    assert [row[0] for row in found] == ranks
    assert found[1][3] == f"{wording.MINUS}2.0 points {mark}"


def test_lower_is_better_for_perplexity(tmp_path: Path) -> None:
    results = [
        {"model": name, "metrics": {"perplexity": metric(value, 0.5, 100, "lower")}}
        for name, value in (("base", 14.0), ("tuned", 8.0))
    ]
    found = rows(write_comparison(results, tmp_path / "r.md", pictures=False).markdown)
    assert [row[1] for row in found] == ["tuned", "base"]
    assert found[1][3] == "+75 % †"


def test_a_model_that_failed_is_a_row_with_its_error(tmp_path: Path) -> None:
    results = [result("a", 0.8), {"model": "lost", "error": "lost is not there. Check | path."}]
    paths = write_comparison(results, tmp_path / "r.md")
    assert rows(paths.markdown)[1][:3] == [
        "-",
        "lost",
        r"failed: lost is not there. Check \| path.",
    ]
    assert "failed: lost is not there." in paths.html.read_text(encoding="utf-8")


def test_when_all_models_fail_the_report_still_says_why(tmp_path: Path) -> None:
    paths = write_comparison([{"model": "a", "error": "broken"}], tmp_path / "r.md")
    assert "No model could be scored." in paths.markdown.read_text(encoding="utf-8")
    assert rows(paths.markdown)[0][1:3] == ["a", "failed: broken"]
    assert paths.pictures == []


def test_a_path_with_no_folder_part_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = write_comparison([result("a", 0.8)], Path("comparison_report.md"))
    assert paths.html == Path("comparison_report.html")
    written = {p.name for p in tmp_path.iterdir()}
    assert written == {
        "comparison_report.md",
        "comparison_report.html",
        "comparison_report_pictures",
    }


def test_models_of_the_same_name_keep_their_own_rows_and_pictures(tmp_path: Path) -> None:
    one = classification_section().evaluation | {"baselines": {}, "comparison": {}}
    results = [one | {"model": "jan/tweets"}, one | {"model": "feb/tweets"}]
    paths = write_comparison(results, tmp_path / "r.md")
    assert {row[1] for row in rows(paths.markdown)} == {"jan/tweets", "feb/tweets"}
    assert len(paths.pictures) == len(set(paths.pictures)) == 5
    assert all(path.is_file() for path in paths.pictures)


@pytest.mark.parametrize(
    ("models", "names"),
    [
        (["runs/a", "runs/b"], ["a", "b"]),
        (["x/run", "y/run", "z"], ["x/run", "y/run", "z"]),
        (["run", "run"], ["run", "run (2)"]),
        (["run (2)", "run", "run"], ["run (2)", "run", "run (3)"]),
        (["/a/m", "a/m", "b/m"], ["//a/m", "a/m", "b/m"]),
    ],
)
def test_names_are_as_long_as_it_takes(models: list[str], names: list[str]) -> None:
    assert distinct_names(models) == names


def test_a_single_evaluation_is_compared_with_its_baselines(tmp_path: Path) -> None:
    paths = write_comparison([classification_section().evaluation], tmp_path / "r.md")
    assert [row[1] for row in rows(paths.markdown)] == [
        "tweets",
        "Frozen embeddings + logistic regression",
        "TF-IDF + logistic regression",
        "Majority class",
    ]
    text = paths.markdown.read_text(encoding="utf-8")
    assert "measurably better than every other" in text
    assert "Oh great, another Monday." in text


def test_a_score_of_a_users_own_function_is_shown(tmp_path: Path) -> None:
    results = [{"model": "a", "metrics": {}, "custom": {"politeness": 0.5}}]
    found = rows(write_comparison(results, tmp_path / "r.md").markdown)
    assert found[0][2] == "0.500"


def test_nothing_to_compare_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to compare"):
        write_comparison([], tmp_path / "r.md")
