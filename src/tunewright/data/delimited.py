"""CSV and its relatives: delimiter and quoting are detected, ragged rows are errors.

A file is read twice: once to see what it is like, once for its rows. So a file that is more than
memory holds is read by the same code as a small one.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tunewright.data.encoding import is_wide, narrow_encoding, read_text
from tunewright.data.spool import line_of, spooled
from tunewright.data.table import Table
from tunewright.errors import DataError

_DELIMITERS = ",\t;|"
_SAMPLE_ROWS = 200
_LONGEST_NAME = 64
_LARGEST_FIELD = 2**31 - 1


@dataclass(frozen=True, slots=True)
class _Dialect:
    delimiter: str
    quoted: bool

    @property
    def name(self) -> str:
        delimiter = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "bar"}[self.delimiter]
        return delimiter if self.quoted else f"{delimiter}, without quoting"

    def parse(self, lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
        """Rows with the line each starts at; blank lines are skipped.

        Raises:
            csv.Error: the quotes do not pair up.
        """
        reader = csv.reader(
            lines,
            delimiter=self.delimiter,
            quoting=csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE,
            strict=True,
        )
        start = 1
        for row in reader:
            if row:
                yield start, row
            start = reader.line_num + 1


@dataclass(slots=True)
class _Survey:
    """What all rows of a file are like, read in one dialect.

    Attributes:
        header: the fields of the first row.
        rows: how many follow it.
        ragged: those with another number of fields than the header.
        first_ragged: the line of the first of them, and its fields.
        swallowed: whether a field holds a tab and a line end.
        again: for each column, the rows in which its name stands as a value.
        blank: whether no field holds more than blank space.
    """

    header: list[str] = field(default_factory=list)
    rows: int = 0
    ragged: int = 0
    first_ragged: tuple[int, list[str]] = (0, [])
    swallowed: bool = False
    again: list[int] = field(default_factory=list)
    blank: bool = True


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a sound file is read: its dialect, the names of its columns, and how many rows it has."""

    dialect: _Dialect
    columns: list[str]
    rows: int


Lines = Callable[[], Iterable[str]]
"""Starts again at the first line of a file each time; every line end is `\\n`."""


def read_delimited(path: Path) -> Table:
    """Read CSV or TSV. The first row names the columns.

    Raises:
        DataError: no header, repeated column names, or rows with too many or too few fields.
    """
    text = read_text(path)

    def lines() -> Iterable[str]:
        return io.StringIO(text, newline="")

    with _any_length():
        layout = _layout(path, lines)
        numbered = list(_rows(layout, lines))
    return Table(str(path), [row for _, row in numbered], [line for line, _ in numbered])


def spooled_delimited(path: Path, cache: Path | None = None) -> Table | None:
    """The rows of a large CSV or TSV file, written into the cache at the first use; see `spooled`.

    Args:
        path: the file.
        cache: folder for the rows. Default: `tunewright.download.cache_folder()`.

    Returns:
        None for UTF-16 and UTF-32.

    Raises:
        DataError: as `read_delimited`.
        SpaceError: the disk has no room for the rows.
    """
    layouts: list[_Layout] = []
    with path.open("rb") as handle:
        head = handle.read(1 << 16)
    if is_wide(head):
        return None

    def json_lines() -> Iterator[str]:
        encoding = narrow_encoding(path, head)

        def lines() -> Iterator[str]:
            with path.open(encoding=encoding) as handle:
                yield from handle

        with _any_length():
            if not layouts:
                layouts.append(_layout(path, lines))
            reached = 1
            for number, row in _rows(layouts[0], lines):
                # Blank lines keep the numbers of lines: a row is where it is in the file.
                yield "\n" * (number - reached) + line_of(row)
                reached = number + 1

    return spooled(path, json_lines, lambda: layouts[0].rows, cache)


def _rows(layout: _Layout, lines: Lines) -> Iterator[tuple[int, dict[str, str]]]:
    parsed = layout.dialect.parse(lines())
    next(parsed)
    for number, row in parsed:
        yield number, dict(zip(layout.columns, row, strict=True))


@contextmanager
def _any_length() -> Iterator[None]:
    """Fields may be longer than what the csv module takes by default."""
    limit = csv.field_size_limit(_LARGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _layout(path: Path, lines: Lines) -> _Layout:
    first = _best_dialect(lines, "\t" if path.suffix.lower() in (".tsv", ".tab") else "")
    problem = ""
    for dialect in (first, _Dialect(first.delimiter, not first.quoted)):
        try:
            found = _survey(dialect, lines)
        except csv.Error as error:
            problem = problem or f"its quotes do not pair up ({error})"
            continue
        if found.blank:
            raise DataError(f"{path} holds only blank space; a header line and rows are needed.")
        if not found.ragged and not (dialect is first and _swallows(found, lines, first)):
            return _Layout(dialect, _columns(path, found), found.rows)
        problem = problem or _describe_ragged(found, dialect)
    raise DataError(
        f"{path}: {problem}. Put fields that hold the delimiter or a line end in double quotes, "
        "and double the quotes inside them."
    )


def _survey(dialect: _Dialect, lines: Lines) -> _Survey:
    found = _Survey()
    may_swallow = dialect == _Dialect("\t", True)
    for line, row in dialect.parse(lines()):
        found.blank = found.blank and not any(map(str.strip, row))
        if not found.header:
            found.header = row
            found.again = [0] * len(row)
            names = [name.strip() for name in row]
        else:
            found.rows += 1
            if len(row) != len(found.header):
                found.ragged += 1
                if found.ragged == 1:
                    found.first_ragged = line, row
                continue
            for position, name in enumerate(names):
                if name and row[position].strip() == name:
                    found.again[position] += 1
        if may_swallow and not found.swallowed:
            found.swallowed = any("\n" in cell and "\t" in cell for cell in row)
    return found


def _swallows(found: _Survey, lines: Lines, dialect: _Dialect) -> bool:
    """True for tab-separated text where a stray quote took whole rows into one field.

    Fields that hold both a tab and a line end are taken for that unless the header is quoted too
    or the rows are ragged without quoting.
    """
    if dialect.delimiter != "\t" or not dialect.quoted or not found.swallowed:
        return False
    if next(iter(lines())).startswith('"'):
        return False
    wide = len(found.header)
    return all(len(row) == wide for _, row in _Dialect("\t", False).parse(lines()))


def _describe_ragged(found: _Survey, dialect: _Dialect) -> str:
    line, row = found.first_ragged
    count = "1 row has" if found.ragged == 1 else f"{found.ragged:,} rows have"
    shown = dialect.delimiter.join(row)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return (
        f"{count} another number of fields than the {len(found.header)} of its header (delimiter: "
        f"{dialect.name}); the first is line {line} with {len(row)}: {shown!r}"
    )


def _best_dialect(lines: Lines, preferred: str) -> _Dialect:
    """The delimiter that cuts most rows of the sample into the same number of fields above one."""
    best = _Dialect(preferred or ",", True)
    best_score = 0.0
    for delimiter in preferred + _DELIMITERS:
        for quoted in (True, False):
            score = _evenness(lines, _Dialect(delimiter, quoted))
            if score > best_score + 1e-9:
                best, best_score = _Dialect(delimiter, quoted), score
    return best


def _evenness(lines: Lines, dialect: _Dialect) -> float:
    widths: Counter[int] = Counter()
    header = 0
    try:
        for _, row in dialect.parse(lines()):
            header = header or len(row)
            widths[len(row)] += 1
            if widths.total() == _SAMPLE_ROWS:
                break
    except csv.Error:
        return 0.0
    return widths[header] / widths.total() if header > 1 else 0.0


def _columns(path: Path, found: _Survey) -> list[str]:
    """The names of the columns.

    A first row that is data is refused: reading it as names would lose it without a word.
    """
    header = [name.strip() for name in found.header]
    columns = [name or f"column_{i}" for i, name in enumerate(header, start=1)]
    repeated = sorted(name for name, count in Counter(columns).items() if count > 1)
    if repeated:
        raise DataError(
            f"{path} has more than one column named {', '.join(map(repr, repeated))}. Give each "
            "column its own name."
        )
    for name, again in zip(header, found.again, strict=True):
        number = name.replace(".", "", 1).lstrip("+-").isdigit()
        if number or len(name) > _LONGEST_NAME or again > 1:
            shown = name if len(name) <= 60 else name[:57] + "..."
            raise DataError(
                f"The first line of {path} looks like data, not like column names: {shown!r}. Add "
                "a header line, for example: text,label."
            )
    return columns
