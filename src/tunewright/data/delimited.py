"""CSV and its relatives: delimiter and quoting are detected, ragged rows are errors."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tunewright.data.encoding import read_text
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

    def parse(self, text: str) -> Iterator[tuple[int, list[str]]]:
        """Rows with the line each starts at; blank lines are skipped.

        Raises:
            csv.Error: the quotes do not pair up.
        """
        reader = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=self.delimiter,
            quoting=csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE,
            strict=True,
        )
        start = 1
        for row in reader:
            if row:
                yield start, row
            start = reader.line_num + 1


def read_delimited(path: Path) -> Table:
    """Read CSV or TSV. The first row names the columns.

    Raises:
        DataError: no header, repeated column names, or rows with too many or too few fields.
    """
    text = read_text(path)
    if not text.strip():
        raise DataError(f"{path} holds only blank space; a header line and rows are needed.")
    limit = csv.field_size_limit(_LARGEST_FIELD)
    try:
        return _read(path, text)
    finally:
        csv.field_size_limit(limit)


def _read(path: Path, text: str) -> Table:
    first = _best_dialect(text, "\t" if path.suffix.lower() in (".tsv", ".tab") else "")
    problem = ""
    for dialect in (first, _Dialect(first.delimiter, not first.quoted)):
        try:
            parsed = list(dialect.parse(text))
        except csv.Error as error:
            problem = problem or f"its quotes do not pair up ({error})"
            continue
        ragged = [(line, row) for line, row in parsed if len(row) != len(parsed[0][1])]
        if not ragged and not (dialect is first and _swallows(parsed, text, first)):
            return _table(path, parsed)
        problem = problem or _describe_ragged(parsed, ragged or parsed, dialect)
    raise DataError(
        f"{path}: {problem}. Put fields that hold the delimiter or a line end in double quotes, "
        "and double the quotes inside them."
    )


def _swallows(parsed: list[tuple[int, list[str]]], text: str, dialect: _Dialect) -> bool:
    """True for tab-separated text where a stray quote took whole rows into one field.

    Fields that hold both a tab and a line end are taken for that unless the header is quoted too
    or the rows are ragged without quoting.
    """
    if dialect.delimiter != "\t" or not dialect.quoted or text.startswith('"'):
        return False
    if not any("\t" in field and "\n" in field for _, row in parsed for field in row):
        return False
    plain = _Dialect("\t", False).parse(text)
    return all(len(row) == len(parsed[0][1]) for _, row in plain)


def _describe_ragged(
    parsed: list[tuple[int, list[str]]], ragged: list[tuple[int, list[str]]], dialect: _Dialect
) -> str:
    line, row = ragged[0]
    wide = len(parsed[0][1])
    count = "1 row has" if len(ragged) == 1 else f"{len(ragged):,} rows have"
    shown = dialect.delimiter.join(row)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return (
        f"{count} another number of fields than the {wide} of its header (delimiter: "
        f"{dialect.name}); the first is line {line} with {len(row)}: {shown!r}"
    )


def _best_dialect(text: str, preferred: str) -> _Dialect:
    """The delimiter that cuts most rows of the sample into the same number of fields above one."""
    best = _Dialect(preferred or ",", True)
    best_score = 0.0
    for delimiter in preferred + _DELIMITERS:
        for quoted in (True, False):
            score = _evenness(text, _Dialect(delimiter, quoted))
            if score > best_score + 1e-9:
                best, best_score = _Dialect(delimiter, quoted), score
    return best


def _evenness(text: str, dialect: _Dialect) -> float:
    widths: Counter[int] = Counter()
    header = 0
    try:
        for _, row in dialect.parse(text):
            header = header or len(row)
            widths[len(row)] += 1
            if widths.total() == _SAMPLE_ROWS:
                break
    except csv.Error:
        return 0.0
    return widths[header] / widths.total() if header > 1 else 0.0


def _table(path: Path, parsed: list[tuple[int, list[str]]]) -> Table:
    header = [name.strip() for name in parsed[0][1]]
    columns = [name or f"column_{i}" for i, name in enumerate(header, start=1)]
    repeated = sorted(name for name, count in Counter(columns).items() if count > 1)
    if repeated:
        raise DataError(
            f"{path} has more than one column named {', '.join(map(repr, repeated))}. Give each "
            "column its own name."
        )
    body = parsed[1:]
    _require_header(path, header, [row for _, row in body])
    rows = [dict(zip(columns, row, strict=True)) for _, row in body]
    return Table(str(path), rows, [line for line, _ in body])


def _require_header(path: Path, header: list[str], body: list[list[str]]) -> None:
    """Refuse a first row that is data: reading it as names would lose it without a word."""
    for position, name in enumerate(header):
        number = name.replace(".", "", 1).lstrip("+-").isdigit()
        long = len(name) > _LONGEST_NAME
        value = bool(name) and sum(row[position].strip() == name for row in body) > 1
        if number or long or value:
            shown = name if len(name) <= 60 else name[:57] + "..."
            raise DataError(
                f"The first line of {path} looks like data, not like column names: {shown!r}. Add "
                "a header line, for example: text,label."
            )
