"""Sources of different tasks become one list of instructions, in the proportions asked for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tunewright.config.data_keys import DataConfig
from tunewright.config.recipe import Recipe
from tunewright.config.task import Task
from tunewright.data.draw import Mixing
from tunewright.data.sources import load, load_splits
from tunewright.data.task_prompts import MIXED
from tunewright.errors import ConfigError, DataError

MOODS = [{"text": f"day {i}", "label": ("good", "bad")[i % 2], "id": i} for i in range(60)]
PAIRS = [
    {"premise": f"a{i}", "hypothesis": f"b{i}", "label": ("yes", "no", "maybe")[i % 3]}
    for i in range(12)
]
SETS = [{"text": f"box {i}", "labels": [[], ["red"], ["blue", "red"]][i % 3]} for i in range(12)]
RATES = [{"text": f"meal {i}", "score": i / 4} for i in range(12)]
PLACES = [
    {
        "question": f"where is {i}",
        "context": f"{i} is in Ulm",
        "answers": {"text": ["Ulm"], "answer_start": [len(f"{i} is in ")]},
    }
    if i % 4
    else {
        "question": f"who is {i}",
        "context": f"{i} is in Ulm",
        "answers": {"text": [], "answer_start": []},
    }
    for i in range(12)
]
ASKED = [{"prompt": f"Say {i}", "completion": f"It is {i}"} for i in range(12)]


@pytest.fixture
def files(write_rows: Any) -> dict[str, str]:
    named = {
        "moods": MOODS,
        "pairs": PAIRS,
        "sets": SETS,
        "rates": RATES,
        "places": PLACES,
        "asked": ASKED,
    }
    return {name: str(write_rows(f"{name}.jsonl", rows)) for name, rows in named.items()}


def said(source: dict[str, Any]) -> list[tuple[str, str]]:
    found = load([source])
    assert found.task is Task.INSTRUCTION
    return [(r.messages[0].content, r.messages[1].content) for r in found]


@pytest.mark.parametrize(
    ("name", "prompt", "asked", "answers"),
    [
        ("moods", "{text}: {options}?", "day 0: bad, good?", ["good", "bad", "good"]),
        ("pairs", "{text}/{text_pair}", "a0/b0", ["yes", "no", "maybe"]),
        ("sets", "{{{text}}} {options}", "{box 0} blue, red", ["none", "red", "blue, red"]),
        ("rates", "Rate {text}", "Rate meal 0", ["0", "0.25", "0.5"]),
        ("places", "{context}\n{question}", "0 is in Ulm\nwho is 0", ["unanswerable", "Ulm"]),
    ],
)
def test_rows_of_each_task_become_a_prompt_and_its_answer(
    files: dict[str, str], name: str, prompt: str, asked: str, answers: list[str]
) -> None:
    found = said({"source": files[name], "prompt": prompt})
    assert found[0][0] == asked
    assert [answer for _, answer in found[: len(answers)]] == answers


def test_a_mix_has_all_rows_with_their_source_and_other_columns(files: dict[str, str]) -> None:
    found = load(
        [
            {"source": files["moods"], "prompt": "{text}?", "name": "mood"},
            {"source": files["asked"]},
        ]
    )
    assert Counter(r.meta[MIXED] for r in found) == {"mood": 60, "asked": 12}
    assert found.records[7].meta["id"] == 7 and found.records[7].row == 8
    assert found.records[7].source == files["moods"]


def test_columns_and_tasks_may_differ_by_source(write_rows: Any, files: dict[str, str]) -> None:
    odd = write_rows("odd.jsonl", [{"tweet": f"t {i}", "mood": i % 3} for i in range(9)])
    one = {"source": str(odd), "columns": {"text": "tweet", "label": "mood"}}
    found = load([one | {"task": "regression", "prompt": "{text}"}, files["asked"]])
    assert found.records[2].messages[1].content == "2"
    # Without a prompt, sources of one task are one data set of that task.
    labelled = load([one, files["moods"]], task="auto")
    assert labelled.task is Task.CLASSIFICATION and len(labelled) == 69
    assert MIXED not in labelled.records[0].meta


@pytest.mark.parametrize(
    ("mixing", "rows"),
    [
        (None, {"moods": 60, "asked": 12}),
        (Mixing(), {"moods": 60, "asked": 12}),
        (Mixing(limit=20), {"moods": 20, "asked": 12}),
        # The roots of 60 and 12 stand to each other as 26.8 to 12.
        (Mixing(temperature=2), {"moods": 26, "asked": 12}),
        # Of at most 48, whose root is twice that of 12.
        (Mixing(limit=48, temperature=2), {"moods": 24, "asked": 12}),
    ],
)
def test_proportions_follow_from_the_rows_and_no_row_is_drawn_twice(
    files: dict[str, str], mixing: Mixing | None, rows: dict[str, int]
) -> None:
    sources = [{"source": files["moods"], "prompt": "{text}"}, files["asked"]]
    found = load_splits(sources, 0.0, mixing=mixing).train
    assert Counter(r.meta[MIXED] for r in found) == rows
    assert len({r.messages[0].content for r in found}) == len(found)


def test_equal_shares_are_equal_weights(files: dict[str, str]) -> None:
    weighed = [
        {"source": files["moods"], "prompt": "{text}", "weight": 1},
        {"source": files["asked"], "weight": 1},
    ]
    assert Counter(r.meta[MIXED] for r in load(weighed)) == {"moods": 12, "asked": 12}


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ({"source": "moods", "prompt": "{txt}"}, r"\{txt\}.*Did you mean 'text'"),
        ({"source": "moods", "prompt": "{text_pair} {text}"}, "do not have"),
        ({"source": "moods", "prompt": "Good or bad?"}, r"lacks \{text\}"),
        ({"source": "pairs", "prompt": "{text}"}, r"lacks \{text_pair\}"),
        ({"source": "rates", "prompt": "{text} {options}"}, "do not have"),
        ({"source": "places", "prompt": "{question}"}, r"lacks \{context\}"),
        ({"source": "moods", "prompt": "{text"}, "cannot be read"),
        (
            {"source": "asked", "prompt": "{text}", "name": "a"},
            "is for instruction, whose rows take no prompt",
        ),
        ({"source": "sets", "name": "sets"}, "different tasks: .*give a prompt to each"),
    ],
)
def test_what_cannot_be_mixed_is_refused(
    files: dict[str, str], source: dict[str, Any], match: str
) -> None:
    with pytest.raises(DataError, match=match):
        load([source | {"source": files[source["source"]]}, files["asked"]])


def test_names_and_columns_must_be_clear(files: dict[str, str]) -> None:
    one = {"source": files["moods"], "prompt": "{text}"}
    with pytest.raises(DataError, match="Two sources of the mix are called 'moods'"):
        load([one, files["moods"]])
    with pytest.raises(DataError, match=r"data\.columns is for all sources"):
        load_splits([one, files["asked"]], 0.0, columns={"text": "text"})


@pytest.mark.parametrize(
    ("train", "match"),
    [
        ("a.jsonl", "data.train has one"),
        ([{"source": "a.jsonl", "weight": 2}, "b.jsonl"], "a source has a weight"),
    ],
)
def test_mixing_without_a_mix_or_beside_weights_is_refused(train: Any, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        Recipe.check({"model": "m", "data": {"train": train, "mixing_limit": 5}})


def test_a_described_source_is_written_down_as_it_was_given(tmp_path: Path) -> None:
    given = {"source": "a.jsonl", "prompt": "{text}?", "task": "classification", "name": "a"}
    made = DataConfig.check({"train": [given, {"source": "b.jsonl", "weight": 2.0}]})
    written = made.model_dump(mode="json")["train"]
    assert written == [given, {"source": "b.jsonl", "weight": 2.0}]
    assert DataConfig.check({"train": written}).train == made.train
