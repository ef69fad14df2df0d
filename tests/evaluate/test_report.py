"""The report: the verdict it gives, what it holds, and what it lets nobody slip in."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from example_section import classification_section, language_section, metric

from tunewright.errors import DataError
from tunewright.evaluate import pages, wording
from tunewright.evaluate.report import ReportPaths, Section, write_report
from tunewright.evaluate.report_tables import Table
from tunewright.evaluate.verdict import verdict


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> ReportPaths:
    """A report of both example jobs."""
    sections = [classification_section(), language_section()]
    return write_report("Two jobs", sections, tmp_path_factory.mktemp("report"))


class Page(HTMLParser):
    """Collects tags with their attributes, ids, and the text outside of pictures."""

    VOID = frozenset({"meta", "link", "br", "img", "input", "hr"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open and "svg" not in self.open:
            self.text += data

    def attributes(self, name: str) -> list[str]:
        return [value for _, attributes in self.tags if (value := attributes.get(name))]


def page(paths: ReportPaths) -> Page:
    return Page(paths.html.read_text(encoding="utf-8"))


def with_scores(value: float, baseline: float, p: float | None) -> dict[str, Any]:
    test = {"metric": "accuracy", "difference": value - baseline, "p": p, "test": "McNemar"}
    return {
        "task": "classification",
        "n": 200,
        "metrics": {"accuracy": metric(value, 0.05, 200)},
        "baselines": {"tfidf_logistic": {"metrics": {"accuracy": metric(baseline, 0.05, 200)}}},
        "comparison": {} if p is None else {"tfidf_logistic": test},
    }


@pytest.mark.parametrize(
    ("evaluation", "status", "sentence"),
    [
        (
            classification_section().evaluation,
            "better",
            "Fine-tuning reached macro-F1 0.79 (0.75-0.82), 11 points above the best baseline, "
            "frozen embeddings + logistic regression; the difference is real (paired bootstrap, "
            "p < 0.001).",
        ),
        (
            language_section().evaluation,
            "better",
            "Fine-tuning reached perplexity 7.91 (7.49-8.33), 43 % below the base model; the "
            "difference is real (paired permutation, p < 0.001).",
        ),
        (
            with_scores(0.82, 0.80, 0.412),
            "unclear",
            "Fine-tuning reached accuracy 0.82 (0.77-0.87), 2.0 points above TF-IDF + logistic "
            "regression. There is no detectable difference (McNemar, p = 0.41): 200 test rows "
            "cannot tell the two apart.",
        ),
        (
            with_scores(0.70, 0.80, 0.004),
            "worse",
            "Fine-tuning reached accuracy 0.70 (0.65-0.75), 10 points below TF-IDF + logistic "
            "regression; the difference is real (McNemar, p = 0.004). Use the baseline, or change "
            "the data or the recipe.",
        ),
        (
            with_scores(0.9, 0.8, None),
            "untested",
            "Fine-tuning reached accuracy 0.90 (0.85-0.95), 10 points above TF-IDF + logistic "
            "regression. No paired test was run, so the difference may be chance.",
        ),
        (
            {"metrics": {"accuracy": {"value": 0.9}}},
            "untested",
            "Fine-tuning reached accuracy 0.90. Nothing was measured beside it, so the score does "
            "not say whether fine-tuning helped.",
        ),
        (
            {"metrics": {"accuracy": {"value": float("nan")}}},
            "missing",
            "The model has no test score. Evaluate it on rows that it was not trained on.",
        ),
    ],
)
def test_the_verdict_says_what_the_evidence_says(
    evaluation: dict[str, Any], status: str, sentence: str
) -> None:
    found = verdict(evaluation)
    assert found.status == status
    assert found.sentence.replace(wording.DASH, "-") == sentence


def test_lower_perplexity_than_the_base_is_better_and_higher_is_worse() -> None:
    evaluation = language_section().evaluation
    metrics = evaluation["metrics"]
    evaluation["metrics"] = evaluation["baselines"]["base"]["metrics"]
    evaluation["baselines"] = {"base": {"metrics": metrics}}
    assert verdict(evaluation).status == "worse"
    assert "76 % above the base model" in verdict(evaluation).sentence


def test_the_first_screen_holds_the_verdicts_and_what_to_know(report: ReportPaths) -> None:
    text = page(report).text
    first_screen = text[: text.index("Scores on the test set")]
    assert "Both fine-tuned models are measurably better" in first_screen
    assert "11 points above the best baseline" in first_screen
    assert "43 % below the base model" in first_screen
    assert "6 test rows have a near copy in train" in first_screen


def test_the_report_holds_everything_needed_to_judge_and_repeat(report: ReportPaths) -> None:
    section = classification_section()
    for text in (page(report).text, report.markdown.read_text(encoding="utf-8")):
        for wanted in (
            "0.786 (0.754-0.818)",  # score and interval
            "+10.5 points",  # against a baseline
            "+6.8 to +14.2 points",  # interval of the paired difference
            "Oh great, another Monday.",  # a worst error
            "leakage.near",  # a finding
            "1 min 21 s",
            "1.23 GB",
            "2,912",
            section.command,
            section.reasons[0],
            "Platinum 8481C",
            "9f2c" * 16,
            "2.13.0+cpu",
        ):
            assert wanted in text.replace(wording.DASH, "-")
        recipe = re.search(r"task: classification\n.*?learning_rate: [\d.e-]+", text, re.DOTALL)
        assert recipe is not None
        assert yaml.safe_load(recipe[0]) == section.run["config"]


def test_perplexity_is_shown_as_a_share_of_the_base(report: ReportPaths) -> None:
    assert f"{wording.MINUS}43 %" in page(report).text


def test_the_page_needs_nothing_from_outside_and_runs_nothing(report: ReportPaths) -> None:
    found = page(report)
    assert not {"script", "link", "iframe", "img"} & {tag for tag, _ in found.tags}
    assert not any(name.startswith("on") for _, a in found.tags for name in a)
    links = found.attributes("href") + found.attributes("xlink:href") + found.attributes("src")
    assert all(link.startswith("#") for link in links)
    html = report.html.read_text(encoding="utf-8")
    assert "@import" not in html
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))


def test_ids_are_unique_and_every_link_on_the_page_leads_somewhere(report: ReportPaths) -> None:
    found = page(report)
    ids = found.attributes("id")
    assert len(ids) == len(set(ids))
    html = report.html.read_text(encoding="utf-8")
    targets = [link[1:] for link in found.attributes("href") + found.attributes("xlink:href")]
    targets += re.findall(r"url\(#([^)]*)\)", html)
    assert set(targets) <= set(ids)


def test_every_picture_has_a_description(report: ReportPaths) -> None:
    pictures = [attributes for tag, attributes in page(report).tags if tag == "svg"]
    assert len(pictures) == 9
    assert all(a["role"] == "img" and a["aria-label"] for a in pictures)


def test_the_markdown_names_each_picture_file(report: ReportPaths) -> None:
    named = re.findall(r"!\[[^\]]+\]\(<([^>]+)>\)", report.markdown.read_text(encoding="utf-8"))
    assert sorted(report.markdown.parent / name for name in named) == sorted(report.pictures)
    assert all(path.is_file() for path in report.pictures)


HOSTILE = "</pre><script>alert(1)</script><b onmouseover='x'> | **bold** ``` [a](javascript:x) $x$"


def hostile_section() -> Section:
    """The example with hostile text in every place that a user or a file can fill."""
    section = classification_section()
    for finding in section.data["findings"]:
        finding |= {"id": HOSTILE, "message": HOSTILE, "fix": HOSTILE, "examples": [HOSTILE]}
        finding["severity"] = HOSTILE
    section.data["labels"] = {HOSTILE: 2, "other": 3}
    for error in section.evaluation["errors"]:
        error |= {"text": HOSTILE, "expected": HOSTILE, "predicted": HOSTILE}
    section.evaluation["confusion"]["labels"][0] = HOSTILE
    section.evaluation["per_class"][0]["label"] = HOSTILE
    section.evaluation["baselines"][HOSTILE] = section.evaluation["baselines"]["majority"]
    section.journal[-1] |= {"name": HOSTILE, "message": HOSTILE, "action": HOSTILE}
    section.run["config"]["output_dir"] = HOSTILE
    section.run["parents"] = {HOSTILE: HOSTILE}
    return replace(section, title=HOSTILE, reasons=[HOSTILE], command=HOSTILE)


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    paths = write_report(HOSTILE, [hostile_section()], tmp_path)
    found = page(paths)
    assert not {"script", "b"} & {tag for tag, _ in found.tags}
    assert not any(name.startswith("on") for _, a in found.tags for name in a)
    assert "<script>alert(1)</script>" in found.text
    outside_code = re.sub(
        r"^(`{3,})[^\n]*\n.*?^\1$", "", paths.markdown.read_text("utf-8"), flags=re.M | re.S
    )
    assert "<script" not in outside_code
    assert re.search(r"(?<!\\)\[a\\?\]\(", outside_code) is None
    assert re.search(r"(?<!\\)\*\*bold", outside_code) is None
    rows = [line for line in outside_code.splitlines() if line.startswith("| 12 |")]
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 6


@pytest.mark.parametrize(
    "missing", [["data"], ["journal"], ["evaluation"], ["run", "reasons", "command"]], ids="-".join
)
def test_a_missing_part_is_left_out(missing: list[str], tmp_path: Path) -> None:
    section = classification_section()
    emptied = replace(section, **{part: type(getattr(section, part))() for part in missing})
    paths = write_report("Part", [emptied], tmp_path)
    for text in (page(paths).text, paths.markdown.read_text(encoding="utf-8")):
        assert "None" not in text
        assert "undefined" not in text.lower()
    assert ("Worst errors" in page(paths).text) == ("evaluation" not in missing)


def test_a_section_with_a_title_alone_is_reported_as_not_measured(tmp_path: Path) -> None:
    paths = write_report("Empty", [Section("Job")], tmp_path)
    assert "Not measured" in page(paths).text
    assert paths.pictures == []


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    def written(folder: Path) -> dict[str, bytes]:
        write_report("Again", [classification_section()], folder, generated="today")
        return {p.name: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    first = written(tmp_path / "one")
    assert len(first) == 9
    assert first == written(tmp_path / "two")


def test_the_json_holds_the_input_and_the_verdicts_and_no_nan(tmp_path: Path) -> None:
    section = classification_section()
    section.journal[0]["loss"] = float("nan")
    section.evaluation["metrics"]["log_loss"]["value"] = float("inf")
    text = write_report("J", [section], tmp_path).json.read_text(encoding="utf-8")

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    found = json.loads(text, parse_constant=refuse)["sections"][0]
    assert found["verdict"]["status"] == "better"
    assert found["journal"][0]["loss"] is None
    assert found["evaluation"]["metrics"]["log_loss"]["value"] is None
    assert found["run"]["config"] == section.run["config"]


def test_no_section_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least one section"):
        write_report("Nothing", [], tmp_path)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (wording.duration(3.94), "3.9 s"),
        (wording.duration(59.7), "1 min 00 s"),
        (wording.duration(7500), "2 h 05 min"),
        (wording.memory(1_230_000_000), "1.23 GB"),
        (wording.memory(22_700_000), "23 MB"),
        (wording.count(134_515_008), "134.5 million"),
        (wording.p_value(0.0004), "p < 0.001"),
        (wording.p_value(0.0456), "p = 0.046"),
        (wording.p_value(None), ""),
        (wording.number(1234.5), "1,234"),
        (wording.number(None), wording.DASH),
        (wording.change("accuracy", 0.8, 0.7, "higher"), "+10.0 points"),
        (wording.change("spearman", 0.8, 0.7, "higher"), "+0.100"),
        (wording.change("perplexity", 8.0, 10.0, "lower"), f"{wording.MINUS}20 %"),
        (wording.distance("accuracy", 0.71, 0.70, "higher"), "1.0 point above"),
        (wording.distance("perplexity", 5.0, 5.0, "lower"), "level with"),
    ],
)
def test_numbers_read_as_people_write_them(shown: str, expected: str) -> None:
    assert shown == expected


def test_an_interval_may_stand_below_its_score_and_other_cells_are_left_alone() -> None:
    parts = pages.score_parts("0.554 (0.459\u20130.661)")
    assert parts == '0.554 <span class="between">(0.459\u20130.661)</span>'
    assert pages.score_parts("\u22120.10 (\u22120.20 to 0.10)") is not None
    for cell in ("real", "p = 0.004", "a word (in brackets, two)", "<b> (x"):
        assert pages.score_parts(cell) is None
    assert "<b>" not in str(pages.score_parts("<b> (<i>)"))


def test_a_wide_table_of_scores_says_where_its_further_columns_are() -> None:
    template = '{% from "parts.html.j2" import table %}{{ table(rows, "scores") }}'
    rendered = pages._environment(markdown=False).from_string(template)
    for columns, said in ((7, False), (8, True)):
        rows = Table([f"m{i}" for i in range(columns)], [["0.5 (0.4\u20130.6)"] * columns])
        page = rendered.render(rows=rows)
        assert ("A wider screen" in page) == said
        assert page.count('class="scored"') == columns - 1
