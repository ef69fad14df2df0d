"""Insults, threats and curses are found where they are said of someone, and nothing else is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tunewright.cli.app import run
from tunewright.data.hostile import is_hostile


@pytest.mark.parametrize(
    "text",
    [
        "You are an idiot.",
        "you absolute MORONS",
        "No, you\u2019re such a pathetic\n little  loser!",
        "she's a worthless piece of shit",
        "they just called her a whore",
        "u r a dumb bitch",
        "kill yourself",
        "I will fucking kill you",
        "hope you all get cancer",
        "They deserve to be shot.",
        "Oh, go fuck yourself",
        "stfu",
    ],
)
def test_what_is_said_against_someone_is_found(text: str) -> None:
    assert is_hostile(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "an idiot-proof kettle",
        "this film is a damn good piece of trash cinema",
        "the killer is caught, and you will love it",
        "how do you kill a process?",
        "I hope you have time, the candle burns",
        "sit wherever the fuck you want",
        "take your garbage to the tip",
        "he was shot in 1901 and died at home",
    ],
)
def test_hard_words_about_nobody_are_not(text: str) -> None:
    assert not is_hostile(text)


def test_check_names_the_rows(write_rows: Any, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"text": f"the film number {i} was fine", "label": "ab"[i % 2]} for i in range(30)]
    rows[4]["text"] = "whoever wrote this: you are an idiot"
    assert run(["check", str(write_rows("rows.jsonl", rows)), "--json"]) == 0
    found = {f["id"]: f for f in json.loads(capsys.readouterr().out)["findings"]}
    assert (found["content.hostile"]["severity"], found["content.hostile"]["rows"]) == ("info", 1)
    assert "train row 5" in found["content.hostile"]["examples"][0]
