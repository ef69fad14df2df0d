"""How sources are written: limits behind them, and secrets that must not show."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from tunewright.config.load import dump_recipe
from tunewright.config.recipe import Recipe
from tunewright.config.source_name import divide, short_name, shown, split_limit
from tunewright.errors import ConfigError


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("rows.jsonl#500", ("rows.jsonl", 500)),
        ("rows.jsonl #7", ("rows.jsonl", 7)),
        ("rows.jsonl#0", ("rows.jsonl", 0)),
        ("a#b#12", ("a#b", 12)),
        ("rows.jsonl#x", ("rows.jsonl#x", None)),
        ("rows.jsonl#-5", ("rows.jsonl#-5", None)),
        ("rows.jsonl#", ("rows.jsonl#", None)),
        ("#5", ("#5", None)),
        ("sqlite:///t.db::SELECT a\nFROM t#3", ("sqlite:///t.db::SELECT a\nFROM t", 3)),
    ],
)
def test_a_limit_is_digits_behind_the_last_hash(source, expected):
    assert split_limit(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("postgresql://me:s3cr/et@host/db::t", "postgresql://me:***@host/db::t"),
        ("mysql+pymysql://me:pw@host:3306/db", "mysql+pymysql://me:***@host:3306/db"),
        ("postgresql://me@host/db::t", "postgresql://me@host/db::t"),
        ("postgresql://me:$DB_PW@host/db::t", "postgresql://me:$DB_PW@host/db::t"),
        ("postgresql://me:${DB_PW}@host/db::t", "postgresql://me:${DB_PW}@host/db::t"),
        ("mssql://h/db?password=pw&a=b::t", "mssql://h/db?password=***&a=b::t"),
        ("sqlite:///a:b@c.db::SELECT 'x:y@z'", "sqlite:///a:b@c.db::SELECT 'x:y@z'"),
        ("https://me:pw@host/a.csv", "https://me:***@host/a.csv"),
        ("https://host:8080/a@b.csv", "https://host:8080/a@b.csv"),
        ("https://h/a.csv?x=1&token=abc#5", "https://h/a.csv?x=1&token=***#5"),
        ("https://h/a.csv?X-Amz-Signature=abc", "https://h/a.csv?X-Amz-Signature=***"),
        ("https://h/a::b.csv?api_key=abc", "https://h/a::b.csv?api_key=***"),
        ("notes?token=abc.jsonl", "notes?token=abc.jsonl"),
    ],
)
def test_secrets_in_addresses_are_hidden_and_nothing_else(source, expected):
    assert shown(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("sqlite:///t.db::notes", ("sqlite:///t.db", "notes")),
        ("sqlite:///t.db", ("sqlite:///t.db", "")),
        ("sqlite:///t.db:: SELECT a::text FROM t", ("sqlite:///t.db", "SELECT a::text FROM t")),
        ("postgresql://me:p@[::1]:5432/db::notes", ("postgresql://me:p@[::1]:5432/db", "notes")),
        ("postgresql://[::1]/db::notes", ("postgresql://[::1]/db", "notes")),
        ("postgresql://h:5432/db::SELECT 'a@b'", ("postgresql://h:5432/db", "SELECT 'a@b'")),
        ("oracle://h::SELECT 'a:b@c'", ("oracle://h", "SELECT 'a:b@c'")),
        ("mysql://h/db::SELECT 'a:b@c'", ("mysql://h/db", "SELECT 'a:b@c'")),
    ],
)
def test_an_address_is_divided_at_the_first_two_colons(source, expected):
    assert divide(source) == expected


@given(st.text(st.characters(codec="utf-8", exclude_characters="@"), min_size=1))
def test_no_password_shows_whatever_it_is(password):
    # As SQLAlchemy wants it, `@` is written %40. Digits before :: or / would be a port.
    assume(not re.match(r":|\d+(/|::|$)", password) or re.fullmatch(r"\d+", password))
    assume(not re.fullmatch(r"\$\{?\w+\}?", password))
    source = f"postgresql://me:{password}@host/db::SELECT a FROM t"
    assert shown(source) == "postgresql://me:***@host/db::SELECT a FROM t"
    assert divide(source) == (f"postgresql://me:{password}@host/db", "SELECT a FROM t")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("data/tweets.jsonl#500", "tweets"),
        ("tweets", "tweets"),
        ("python-docs:json,os", "python-docs"),
        ("https://me@host/sets/rows.csv?x=a/b#5", "rows"),
        ("https://host/", "host"),
        ("postgresql://me:hush@host/db::public.notes", "notes"),
        ("postgresql://me:hush@host/db?a=b::SELECT a FROM t", "db"),
        ("sqlite:///tickets.db", "tickets"),
        ("org/name:config[split]", "name"),
        ("org/name[split]", "name"),
        ("..", "model"),
    ],
)
def test_a_short_name_says_what_a_source_holds(source, expected):
    assert short_name(source) == expected


def recipe(**data) -> Recipe:
    return Recipe.check({"model": "m", "data": data}, "r.yaml")


@pytest.mark.parametrize(
    "train",
    ["a.jsonl", ["a.jsonl", "b.jsonl#5"], [{"source": "a.jsonl", "weight": 2.5}, "b.jsonl"]],
)
def test_every_form_of_training_sources_survives_dump_and_load(train):
    written = dump_recipe(recipe(train=train))
    assert yaml.safe_load(written)["data"]["train"] == train
    again = Recipe.check(yaml.safe_load(written))
    assert again == recipe(train=train)
    assert dump_recipe(again) == written


def test_a_recipe_that_is_written_down_holds_no_password():
    address = "postgresql://me:hush@host/db::t"
    made = recipe(train=[{"source": address, "weight": 2}, address], validation=address)
    assert made.data.train[0].source == made.data.train[1] == address
    written = dump_recipe(made)
    assert "hush" not in written
    assert written.count("me:***@host") == 3


@pytest.mark.parametrize(
    ("train", "said"),
    [
        (3, "it must be a source or a list of sources"),
        ([], "it must be a source or a list of sources"),
        (["a", 3], "3 is no source"),
        ([{"source": "a", "weight": 0}], "weight is 0: Input should be greater than 0"),
        ([{"source": "a", "weight": float("inf")}], "weight is inf"),
        ([{"source": "a", "wieght": 1}], "Did you mean 'weight'"),
        ([{"weight": 2}], "source is missing"),
    ],
)
def test_wrong_training_sources_are_told_in_words(train, said):
    with pytest.raises(ConfigError, match=said):
        recipe(train=train)
