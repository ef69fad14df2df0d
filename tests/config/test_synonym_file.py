"""Synonyms from a file are those that a recipe holds itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunewright.config.data_keys import AugmentConfig
from tunewright.config.load import dump_recipe, parse_yaml
from tunewright.config.recipe import Recipe
from tunewright.data.augment import augment
from tunewright.data.records import Dataset, Record, Task
from tunewright.errors import ConfigError

FILE = "# a thesaurus\nFilm: movie, motion picture,\n\nconcert: gig\nfilm: picture, movie\n"
WORDS = {"film": ["movie", "motion picture", "picture"], "concert": ["gig"]}


@pytest.fixture
def synonyms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "synonyms.txt"
    path.write_text(FILE, encoding="utf-8-sig")
    return path


def test_a_file_is_read_and_its_words_replace_others(synonyms: Path) -> None:
    changes = AugmentConfig.check({"synonyms": "synonyms.txt", "synonym_replacement": 1.0})
    assert changes.synonyms == WORDS
    rows = Dataset(Task.CLASSIFICATION, (Record(text="A CONCERT, or the film?", label="a"),))
    copy = augment(rows, changes).records[1]
    assert copy.text in [f"A GIG, or the {word}?" for word in WORDS["film"]]


def test_the_recipe_that_is_kept_needs_no_file(synonyms: Path) -> None:
    values = {
        "model": "m",
        "data": {
            "train": "rows.jsonl",
            "augment": {"synonyms": str(synonyms), "synonym_replacement": 0.3},
        },
    }
    kept = dump_recipe(Recipe.check(values))
    synonyms.unlink()
    again = Recipe.check(parse_yaml(kept, "recipe.yaml"))
    assert again.data.augment is not None
    assert again.data.augment.synonyms == WORDS


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"film: movie\nconcert gig\n", "line 2 of synonyms.txt is 'concert gig'"),
        (b"film:\n", "line 1 of synonyms.txt"),
        (b"# nothing\n", "has no word in it"),
        (b"caf\xe9: bar\n", "is not UTF-8 text"),
        (b"a film: movie\n", "it must be one word"),
        (None, "there is no file 'synonyms.txt'"),
    ],
)
def test_a_file_of_another_form_is_told(synonyms: Path, content: bytes | None, told: str) -> None:
    if content is None:
        synonyms.unlink()
    else:
        synonyms.write_bytes(content)
    with pytest.raises(ConfigError, match=told):
        AugmentConfig.check({"synonyms": "synonyms.txt", "synonym_replacement": 0.3})
