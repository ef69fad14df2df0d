"""The times of rows as numbers that sort: dates in the forms that files use, or plain numbers.

A form that could mean two days is refused, never guessed. This module knows records. It does not
know splits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from tunewright.data.finding import counted
from tunewright.data.records import Dataset, Record
from tunewright.data.values import as_number
from tunewright.errors import DataError, did_you_mean

_SHOWN = 3
_TWITTER = "%a %b %d %H:%M:%S %z %Y"
_UTC = re.compile(r"\s*(?:UTC|GMT)$", re.IGNORECASE)
_SLASHED = re.compile(r"^(\d{4})/(\d{1,2})/(\d{1,2})")
_TWO_WAYS = re.compile(r"^\d{1,2}[/.-]\d{1,2}[/.-]\d{2,4}\b")


def row_times(dataset: Dataset, column: str) -> list[float]:
    """The time of each row.

    Either every value is a number, and then any unit will do (seconds since 1970, a year, a row
    number), or every value is a date: ISO 8601, year/month/day, the form of mails (RFC 5322) or
    that of tweets. Dates without a zone are taken as UTC.

    Args:
        dataset: the rows; the column is one that the task does not use.
        column: name of the column.

    Returns:
        One number a row; a later row has a larger one.

    Raises:
        DataError: the column is not there, or rows have no time or one that cannot be read.
    """
    values = [_value(record, column) for record in dataset]
    if dataset.records and all(value is None for value in values):
        raise DataError(_no_column(dataset, column))
    numbers = [as_number(value) for value in values]
    finite = [number for number in numbers if number is not None and math.isfinite(number)]
    if len(finite) == len(values):
        return finite
    times = [_moment(value) for value in values]
    wrong = [i for i, time in enumerate(times) if time is None]
    if wrong:
        raise DataError(_unreadable(dataset, column, values, wrong))
    return [time for time in times if time is not None]


def _value(record: Record, column: str) -> Any:
    """A cell that says something, or None."""
    value = record.meta.get(column)
    return None if isinstance(value, str) and not value.strip() else value


def _moment(value: Any) -> float | None:
    """Seconds since 1970 of a date, or None."""
    if isinstance(value, datetime):
        return _seconds(value)
    if isinstance(value, date):
        return _seconds(datetime(value.year, value.month, value.day))
    if not isinstance(value, str):
        return None
    text = _UTC.sub("+00:00", value.strip())
    text = _SLASHED.sub(lambda m: f"{m[1]}-{int(m[2]):02}-{int(m[3]):02}", text)
    for read in _FORMS:
        try:
            return _seconds(read(text))
        except ValueError:
            continue
    return None


_FORMS: tuple[Callable[[str], datetime], ...] = (
    datetime.fromisoformat,
    lambda text: datetime.strptime(text, _TWITTER),
    parsedate_to_datetime,
)


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _no_column(dataset: Dataset, column: str) -> str:
    known = sorted({key for record in dataset.records[:1000] for key in record.meta})
    there = f"Columns that the task does not use: {', '.join(known)}." if known else ""
    return (
        f"No row of {dataset.name or 'the data'} has a time in column {column!r} "
        f"(data.time_column).{did_you_mean(column, known)} "
        f"{there or 'The task uses every column there is.'}"
    )


def _unreadable(dataset: Dataset, column: str, values: Sequence[Any], wrong: Sequence[int]) -> str:
    shown = "; ".join(
        f"row {dataset.records[i].row or i + 1} has "
        + ("nothing" if values[i] is None else repr(values[i]))
        for i in wrong[:_SHOWN]
    )
    more = f" and {len(wrong) - _SHOWN:,} more" if len(wrong) > _SHOWN else ""
    two_ways = any(isinstance(values[i], str) and _TWO_WAYS.match(values[i].strip()) for i in wrong)
    name = dataset.name or "the data"
    return (
        f"{counted(len(wrong), 'row')} of {len(values):,} in {name} cannot be placed in time by "
        f"column {column!r}: {shown}{more}. "
        + (
            "Such a date can mean day/month or month/day; write it as year-month-day"
            if two_ways
            else "Write dates as 2024-05-31 or 2024-05-31T13:45:00+02:00, or use numbers throughout"
        )
        + ", or take those rows out."
    )
