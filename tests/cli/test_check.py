"""`tunewright check` and each of its options, run for real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tiny import instruction_rows, sentiment_rows
from tunewright.cli.app import run
from tunewright.cli.tokens import print_tokens, row_text
from tunewright.data.token_view import Token, TokenRow


@pytest.fixture(autouse=True)
def _work_in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def answer(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    capsys.readouterr()
    assert run([*words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def broken_rows() -> list[dict[str, str]]:
    return [
        *sentiment_rows(),
        {"text": "", "label": "positive"},
        sentiment_rows()[3],
        {"text": "ask jo@example.org about the film", "label": "negative"},
    ]


def test_show_tokens_prints_what_is_trained(
    tiny_decoder: Path, write_rows: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write_rows("qa.jsonl", instruction_rows()))
    words = ["check", path, "--model", str(tiny_decoder), "--show-tokens", "2"]
    assert run(words) == 0
    shown = capsys.readouterr().err
    assert "⟦It is 0.<|im_end|>⟧" in shown and "⟦It is 2.<|im_end|>⟧" in shown
    assert "⟦It is 4." not in shown
    assert "not trained" in shown
    found = answer(capsys, *words)
    assert [(row["part"], row["row"], row["trained"]) for row in found["tokens"]] == [
        ("train", 1, 9), ("train", 2, 9)
    ]  # fmt: skip
    tokens = found["tokens"][0]["tokens"]
    assert set(tokens[0]) == {"id", "text", "trained", "special"}
    assert "".join(t["text"] for t in tokens if t["trained"]) == "It is 0.<|im_end|>"


def test_trained_and_control_tokens_have_colours() -> None:
    tokens = (
        Token(1, "<s>", False, True),
        Token(2, "hi\n", False, False),
        Token(3, "y\n", True, False),
        Token(4, "</s>", True, True),
    )
    text = row_text(tokens, plain=False)
    assert text.plain == "<s>hi\ny↵\n</s>"
    assert len({span.style for span in text.spans}) == 4
    console = Console(force_terminal=True, color_system="truecolor", record=True, width=80)
    print_tokens(console, [TokenRow("train", 1, tokens, cut=3)])
    shown = console.export_text()
    assert "4 tokens, 2 of them trained, 3 more are cut" in shown
    assert "control, trained" in shown and "⟦" not in shown


def test_fix_writes_a_cleaned_copy_and_what_it_took(
    write_rows: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_rows("bad.jsonl", broken_rows())
    before = path.read_bytes()
    assert run(["check", str(path)]) == 1
    assert run(["check", str(path), "--fix", "out"]) == 0  # no error is left
    shown = capsys.readouterr().err
    assert "empty.text: 1 row removed" in shown and "duplicate.exact: 1 row removed" in shown
    assert path.read_bytes() == before
    removed = [json.loads(line) for line in Path("out/removed.jsonl").read_text().splitlines()]
    assert [(r["finding"], r["row"]) for r in removed] == [
        ("empty.text", 61),
        ("duplicate.exact", 62),
    ]
    found = answer(capsys, "check", str(path), "--fix", "masked", "--mask")
    assert found["fixed"]["rows"]["train"] == 61
    assert found["fixed"]["changed"] == {"personal.data": 1}
    assert not {"empty.text", "duplicate.exact", "personal.data"} & {*found["fixed"]["left"]}
    assert "jo@example.org" not in Path("masked/train.jsonl").read_text()
    again = answer(capsys, "check", "masked", "--fix", "twice", "--mask")
    assert (again["fixed"]["removed"], again["fixed"]["changed"]) == ({}, {})
    assert run(["check", str(path), "--fix", "out"]) == 2
    assert "there already" in capsys.readouterr().err


def rows_with_a_wrong_label() -> list[dict[str, str]]:
    """300 rows that two words tell apart, but for row 11."""
    rows = [
        {
            "text": f"{('good lovely', 'bad awful')[i % 2]} film {i} day {i % 7}",
            "label": "pn"[i % 2],
        }
        for i in range(300)
    ]
    rows[10]["label"] = "n"
    return rows


def test_wrong_labels_are_ranked_with_a_guess(
    write_rows: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write_rows("mood.jsonl", rows_with_a_wrong_label()))
    assert "label.suspect" not in {f["id"] for f in answer(capsys, "check", path)["findings"]}
    found = answer(capsys, "check", path, "--wrong-labels")
    (suspect,) = [f for f in found["findings"] if f["id"] == "label.suspect"]
    assert suspect["rows"] == 1
    (listed,) = found["wrong_labels"]
    assert (listed["row"], listed["label"], listed["guess"]) == (11, "n", "p")
    assert listed["odds"] >= 20
    assert "train row 11" in suspect["examples"][0] and "'p' fits better" in suspect["examples"][0]


def test_wrong_labels_are_shown_to_a_person(
    write_rows: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run(["check", str(write_rows("mood.jsonl", rows_with_a_wrong_label())), "--wrong-labels"])
        == 0
    )
    shown = " ".join(capsys.readouterr().err.split())
    assert "row label fits better text 11 n p good lovely film 10 day 3" in shown


def test_a_card_is_one_page_that_needs_no_other_file(
    tiny_encoder: Path, write_rows: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(
        write_rows("bad.jsonl", [*broken_rows(), {"text": "<script>x</script>", "label": "a"}])
    )
    words = ["check", path, "--card", "cards/card.html"]
    assert run([*words, "--model", str(tiny_encoder), "--max-length", "12"]) == 1
    assert "The data card is in cards/card.html." in capsys.readouterr().err
    page = Path("cards/card.html").read_text(encoding="utf-8")
    assert "empty.text" in page and "cut at 12" in page and "Label balance" in page
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert 'src="' not in page and "http://" not in page.replace("http://www.w3.org", "")
    assert answer(capsys, *words, code=1)["card"] == "cards/card.html"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--show-tokens", "2"], "--show-tokens needs --model"),
        (["--max-length", "8"], "--max-length needs --model"),
        (["--mask"], "--mask needs --fix"),
        (["--model", "TINY", "--show-tokens", "2"], "for the tasks instruction and text"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    words: list[str],
    expected: str,
    tiny_encoder: Path,
    sentiment_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = [str(tiny_encoder) if word == "TINY" else word for word in words]
    assert run(["check", str(sentiment_file), *named]) == 2
    assert expected in capsys.readouterr().err
