"""Rows from databases: tables, views and queries, read-only, with no secret in any message."""

from __future__ import annotations

import os
import sqlite3
import sys
from pathlib import Path

import pytest

from tunewright.cli.app import run
from tunewright.data import sql
from tunewright.data.sources import load, load_splits
from tunewright.errors import DataError


@pytest.fixture
def tickets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """40 tickets, written out of order, beside an empty table."""
    path = tmp_path / "tickets.db"
    with sqlite3.connect(path) as base:
        base.execute("CREATE TABLE tickets (id INTEGER, text TEXT, label TEXT, PRIMARY KEY(id))")
        base.execute("CREATE TABLE empty (text TEXT)")
        base.execute("CREATE TABLE 'two words' (id INT, text TEXT, at DATE, raw BLOB)")
        base.execute("CREATE VIEW urgent AS SELECT text, label FROM tickets WHERE label = 'b'")
        base.execute("INSERT INTO 'two words' VALUES (1, 'a', '2026-01-02', x'00ff')")
        rows = [(i, f"ticket {i} about {i * 7}", "ab"[i % 2]) for i in range(40)]
        base.executemany("INSERT INTO tickets VALUES (?, ?, ?)", rows[::-1])
    base.close()
    monkeypatch.chdir(tmp_path)
    return path


def test_a_table_is_read_in_the_order_of_its_key(tickets):
    found = load("sqlite:///tickets.db::tickets")
    assert [record.meta["id"] for record in found] == list(range(40))
    assert found.records[3].text == "ticket 3 about 21"
    assert found.records[3].source == found.name == "sqlite:///tickets.db::tickets"


def test_a_query_a_view_and_an_absolute_path(tickets):
    query = "sqlite:///tickets.db::SELECT text, label FROM tickets WHERE text LIKE '%:2%' OR id < 9"
    assert len(load(query)) == 9
    assert {r.label for r in load(f"sqlite:///{tickets}::urgent")} == {"b"}
    assert (
        len(load("sqlite:///tickets.db::with x as (select * from urgent) select * from x;")) == 20
    )


def test_cells_are_as_a_json_file_would_hold_them(tickets):
    table = sql.read("sqlite:///tickets.db::two words")
    assert table.rows == [{"id": 1, "text": "a", "at": "2026-01-02", "raw": "00ff"}]


def test_a_database_is_a_source_everywhere(tickets, capsys):
    parts = load_splits("sqlite:///tickets.db::tickets#30", 0.1)
    assert (len(parts.train), len(parts.validation)) == (27, 3)
    mix = [{"source": "sqlite:///tickets.db::urgent", "weight": 2}, "sqlite:///tickets.db::tickets"]
    assert len(load(mix)) == 30
    assert run(["check", "sqlite:///tickets.db::tickets", "--json"]) == 0
    assert '"rows": 40' in capsys.readouterr().out


def test_the_name_of_the_only_table_may_be_left_out(tmp_path):
    with sqlite3.connect(tmp_path / "one.db") as base:
        base.execute("CREATE TABLE notes (text TEXT)")
        base.execute("INSERT INTO notes VALUES ('hello')")
    base.close()
    assert [r.text for r in load(f"sqlite:///{tmp_path}/one.db")] == ["hello"]


def test_a_missing_file_is_an_error_and_is_not_made(tickets):
    with pytest.raises(DataError, match=r"no SQLite file 'ticket\.db'.*Did you mean 'tickets\.db'"):
        load("sqlite:///ticket.db::tickets")
    assert not Path("ticket.db").exists()
    with pytest.raises(DataError, match="does not name a SQLite file"):
        load("sqlite://::tickets")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("sqlite:///tickets.db::ticket", "no table 'ticket'. Did you mean 'tickets'"),
        ("sqlite:///tickets.db", "Tables there: empty, tickets, two words, urgent"),
        ("sqlite:///tickets.db::SELECT wrong FROM tickets", "no such column: wrong"),
        ("sqlite:///tickets.db::SELECT text, text FROM tickets", "two columns the name 'text'"),
        ("sqlite:///tickets.db::empty", "gives no rows"),
        ("sqlite:///tickets.db::select 1; drop table tickets", "more than one statement"),
        ("sqlite:///tickets.db::tickets#41", "asks for 41 rows, but"),
        ("nosuch://host/db::t", "nosuch:// are not known"),
        ("postgresql://me:hush@host/db::t", "'psycopg', which is not installed. Install it (pip "),
        ("postgresql://me:hush@host/db::t", "install 'tunewright[postgresql]')"),
        ("mysql://me:hush@host/db::t", "(pip install mysqlclient)"),
        ("postgresql://me:***@host/db::t", "was hidden when this was written"),
        ("postgresql://me:$NOT_SET_HERE@host/db::t", "NOT_SET_HERE, which is not set"),
        ("postgresql://host:port/db::t", "is not the address of a database"),
    ],
)
def test_what_cannot_be_read_is_told_without_secrets(tickets, monkeypatch, source, said):
    monkeypatch.delenv("NOT_SET_HERE", raising=False)
    for driver in ("psycopg", "MySQLdb"):
        monkeypatch.setitem(sys.modules, driver, None)  # as if it were not installed
    with pytest.raises(DataError) as caught:
        load(source)
    assert said in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_file_that_is_no_database_is_told(tmp_path):
    (tmp_path / "no.db").write_bytes(b"x" * 4096)
    with pytest.raises(DataError, match="file is not a database"):
        load(f"sqlite:///{tmp_path}/no.db::t")


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM tickets",
        "drop table tickets",
        "WITH x AS (SELECT 1) DELETE FROM tickets",
        "ATTACH DATABASE 'other.db' AS other",
    ],
)
def test_nothing_is_written(tickets, query):
    before = tickets.read_bytes()
    with pytest.raises(DataError, match=r"would change the database|readonly database"):
        load(f"sqlite:///tickets.db::{query}")
    assert tickets.read_bytes() == before
    assert sorted(p.name for p in Path().iterdir()) == ["tickets.db"]


def test_a_semicolon_in_a_text_is_no_second_statement(tickets):
    source = "sqlite:///tickets.db::SELECT text || '; :x %s' AS text FROM tickets -- a; b"
    assert load(source).records[0].text.endswith("; :x %s")


def test_a_password_comes_from_the_environment_and_never_shows(monkeypatch):
    monkeypatch.setenv("TICKETS_PASSWORD", "hush")
    url = sql._url("postgresql://me:$TICKETS_PASSWORD@host/db")
    assert url.password == "hush"
    assert sql._url("postgresql://me:${TICKETS_PASSWORD}@host/db").password == "hush"


def test_a_driver_that_repeats_the_password_is_silenced(monkeypatch):
    import sqlalchemy

    def failing(*arguments, **options):
        raise sqlalchemy.exc.OperationalError("", {}, Exception("no login me/hush@host, quiet"))

    monkeypatch.setattr(sqlalchemy, "create_engine", failing)
    said = r"could not be read: no login me/\*\*\*@host, \*\*\*\."
    with pytest.raises(DataError, match=said) as caught:
        load("postgresql://me:hush@host/db?access_token=quiet::t")
    assert "hush" not in str(caught.value)


@pytest.mark.skipif(
    "TUNEWRIGHT_POSTGRESQL" not in os.environ,
    reason="TUNEWRIGHT_POSTGRESQL is not the address of a database to make a table in",
)
def test_postgresql_is_read_by_key_and_never_written():
    sqlalchemy = pytest.importorskip("sqlalchemy")
    pytest.importorskip("psycopg")
    address = os.environ["TUNEWRIGHT_POSTGRESQL"]
    name = f"tickets_{os.getpid()}"
    engine = sqlalchemy.create_engine(address)
    try:
        with engine.begin() as base:
            base.exec_driver_sql(
                f"CREATE TABLE {name} (id INT PRIMARY KEY, text TEXT, label TEXT, "
                "cost NUMERIC(9,2), extra JSONB, raw BYTEA)"
            )
            base.exec_driver_sql(
                f"INSERT INTO {name} SELECT i, 'ticket ' || i, (ARRAY['a','b'])[1 + (i & 1)], "
                "i / 2.0, '{\"k\": [1]}', '\\x00ff' FROM generate_series(40, 1, -1) AS i"
            )
        found = load(f"{address}::{name}")
        assert [record.meta["id"] for record in found] == list(range(1, 41))
        assert found.records[2].label == "b"
        row = sql.read(f"{address}::{name}").rows[2]
        assert (float(row["cost"]), row["extra"], row["raw"]) == (1.5, {"k": [1]}, "00ff")
        assert len(load(f"{address}::SELECT text, label FROM {name} WHERE text LIKE '%7%'")) == 4
        with pytest.raises(DataError, match="read-only transaction"):
            load(f"{address}::WITH x AS (DELETE FROM {name} RETURNING *) SELECT * FROM x")
        assert len(load(f"{address}::{name}")) == 40
    finally:
        with engine.begin() as base:
            base.exec_driver_sql(f"DROP TABLE IF EXISTS {name}")
        engine.dispose()
