"""A table or a query of a database becomes a table: anything that SQLAlchemy connects to.

`URL::TABLE` or `URL::SELECT ...`. Nothing is ever written: SQLite is opened read-only, so a file
that is not there is not made; elsewhere the transaction is read-only where the database knows
such, and always rolled back. This module knows databases. It does not know what columns mean.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tunewright.config.source_name import HIDDEN, divide, shown
from tunewright.data.parquet import json_like
from tunewright.data.table import Table
from tunewright.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

_READS = re.compile(r"(?:select|with|values)\b", re.IGNORECASE)
_WRITES = re.compile(
    r"(?:insert|update|delete|drop|alter|create|replace|truncate|merge|attach|pragma|grant|call"
    r"|exec|execute|vacuum|copy|set)\s",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|--[^\n]*|/\*.*?\*/", re.DOTALL)
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")
_SHOWN_TABLES = 12
_PACKAGES = {"psycopg": "'tunewright[postgresql]'", "MySQLdb": "mysqlclient"}
"""What pip installs, where it is not called like the module."""


def read(source: str) -> Table:
    """Read the rows of a table (in the order of its primary key) or of a query.

    Args:
        source: a SQLAlchemy URL, `::`, and the name of a table or view, or a query. Where the
            database has one table, its name may be left out. A password may be the name of an
            environment variable: `postgresql://user:$DB_PASSWORD@host/base::notes`.

    Raises:
        DataError: the database, the driver, the table or the password is missing, the query is
            wrong or would write, or there are no rows.
    """
    address, wanted = divide(source)
    if _READS.match(wanted):
        _refuse_several(wanted, shown(source))
    elif _WRITES.match(wanted):
        raise DataError(
            f"{shown(source)} would change the database; Tunewright only reads. Give a table or a "
            "query that begins with SELECT or WITH."
        )
    with _connected(address) as connection:
        if _READS.match(wanted):
            result = connection.execution_options(no_parameters=True).exec_driver_sql(wanted)
        else:
            result = connection.execute(_all_rows(connection, wanted, shown(address)))
        names = list(result.keys())
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(
                f"{shown(source)} gives two columns the name {twice!r}. Name them apart with AS."
            )
        rows = [dict(zip(names, map(json_like, row), strict=True)) for row in result]
    if not rows:
        raise DataError(f"{shown(source)} gives no rows; at least one is needed.")
    return Table(shown(source), rows)


def _refuse_several(query: str, source: str) -> None:
    if ";" in _QUOTED.sub("", query).rstrip().rstrip(";"):
        raise DataError(f"{source} holds more than one statement. Give one query.")


def _all_rows(connection: Connection, wanted: str, address: str) -> Any:
    """SELECT * of a table or view, by its key, so that the same rows come in the same order."""
    import sqlalchemy

    inspector = sqlalchemy.inspect(connection)
    schema, _, name = wanted.rpartition(".")
    there = [*inspector.get_table_names(schema or None), *inspector.get_view_names(schema or None)]
    if not wanted and len(there) == 1:
        name = there[0]
    if name not in there and wanted in (all_of := inspector.get_table_names()):
        schema, name, there = "", wanted, all_of  # a dot that belongs to the name
    if name not in there:
        found = ", ".join(there[:_SHOWN_TABLES]) or "none"
        more = f" and {len(there) - _SHOWN_TABLES} more" if len(there) > _SHOWN_TABLES else ""
        said = f"has no table {wanted!r}." if wanted else "needs the name of a table or a query."
        raise DataError(
            f"{address} {said}{did_you_mean(name, there)} Tables there: {found}{more}. Write "
            f"{address}::TABLE, or {address}::SELECT ..."
        )
    key = inspector.get_pk_constraint(name, schema or None)["constrained_columns"]
    table = sqlalchemy.table(name, schema=schema or None)
    query = sqlalchemy.select(sqlalchemy.text("*")).select_from(table)
    return query.order_by(*(sqlalchemy.column(column) for column in key))


@contextmanager
def _connected(address: str) -> Iterator[Connection]:
    """A connection that is rolled back and closed; whatever goes wrong is told without secrets."""
    import sqlalchemy
    from sqlalchemy.exc import SQLAlchemyError

    url = _url(address)
    try:
        engine = _engine(url, address)
        try:
            with engine.connect() as connection:
                yield connection
                connection.rollback()
        finally:
            engine.dispose()
    except sqlalchemy.exc.NoSuchModuleError as error:
        kind = url.drivername
        raise DataError(
            f"{shown(address)}: sources that begin with {kind}:// are not known. Known are http, "
            "https, and the databases of SQLAlchemy: sqlite, postgresql, mysql, mariadb, oracle, "
            "mssql, and others with their dialect installed."
        ) from error
    except ImportError as error:
        module = error.name or str(error)
        package = _PACKAGES.get(module, module)
        raise DataError(
            f"{shown(address)} needs the Python package {module!r}, which is not installed. "
            f"Install it (pip install {package}), or name a driver that is, as in "
            "DIALECT+DRIVER://."
        ) from error
    except SQLAlchemyError as error:
        told = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        for secret in _secrets(url):
            told = told.replace(secret, HIDDEN)
        raise DataError(
            f"{shown(address)} could not be read: {told}. Check the address and the query."
        ) from error


def _secrets(url: URL) -> list[str]:
    """What a driver may repeat and nobody may see."""
    hidden = [str(v) for k, v in url.query.items() if shown(f"x://x?{k}={v}").endswith(HIDDEN)]
    return [secret for secret in (url.password, *hidden) if secret]


def _url(address: str) -> URL:
    import sqlalchemy

    try:
        url = sqlalchemy.make_url(address)
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:
        raise DataError(
            f"{shown(address)} is not the address of a database. Write it as SQLAlchemy does: "
            "sqlite:///FILE or DIALECT://USER@HOST/DATABASE."
        ) from error
    if url.password == HIDDEN:
        raise DataError(
            f"The password in {address} was hidden when this was written. Name an environment "
            "variable that holds it: $DB_PASSWORD in its place."
        )
    variable = _VARIABLE.fullmatch(url.password or "")
    if variable:
        value = os.environ.get(variable[1])
        if value is None:
            raise DataError(
                f"{address} takes its password from the environment variable {variable[1]}, which "
                "is not set. Set it to the password."
            )
        url = url.set(password=value)
    return url


def _engine(url: URL, address: str) -> Engine:
    import sqlalchemy

    if url.get_backend_name() == "sqlite":
        return _sqlite(url, address)
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    if url.get_backend_name() == "postgresql":
        return engine.execution_options(postgresql_readonly=True)
    return engine


def _sqlite(url: URL, address: str) -> Engine:
    import sqlite3

    import sqlalchemy

    if not url.database or url.database == ":memory:" or url.query:
        raise DataError(
            f"{address} does not name a SQLite file. Write sqlite:///FILE, with four slashes for "
            "an absolute path, and nothing behind a question mark: it is opened read-only."
        )
    path = Path(url.database).expanduser()
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob("*")) if path.parent.is_dir() else []
        raise DataError(
            f"There is no SQLite file {str(path)!r}.{did_you_mean(path.name, near)} After "
            "sqlite:/// stands a path from this folder, after sqlite://// an absolute one."
        )
    place = f"file:{quote(str(path.resolve()))}?mode=ro"
    return sqlalchemy.create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(place, uri=True),
        poolclass=sqlalchemy.NullPool,
    )
