"""Times sort as they should, and a date that could mean two days is refused."""

from __future__ import annotations

from datetime import date, datetime

import pytest

from tunewright.config.task import Task
from tunewright.data.records import Dataset, Record
from tunewright.data.times import row_times
from tunewright.errors import DataError


def rows(*values) -> Dataset:
    records = (
        Record(text=f"row {i}", label="a", row=i + 1, meta={} if v is None else {"when": v})
        for i, v in enumerate(values)
    )
    return Dataset(Task.CLASSIFICATION, tuple(records), "posts.csv")


def test_one_moment_in_every_form_is_one_number():
    noon = 1538215200.0  # 2018-09-29 10:00:00 UTC
    forms = (
        "2018-09-29T10:00:00Z",
        "2018-09-29 10:00:00 UTC",
        "2018-09-29 10:00:00",
        "2018-09-29T12:00:00+02:00",
        "2018/9/29 10:00",
        "Sat Sep 29 10:00:00 +0000 2018",
        "Sat, 29 Sep 2018 10:00:00 GMT",
        "  2018-09-29T10:00:00.000Z ",
        datetime(2018, 9, 29, 10),
    )
    assert row_times(rows(*forms), "when") == [noon] * len(forms)
    assert row_times(rows(date(2018, 9, 29), "2018-09-30"), "when") == [1538179200.0, 1538265600.0]


def test_numbers_of_any_unit_are_taken_as_they_are():
    assert row_times(rows(3, "2", 1.5), "when") == [3.0, 2.0, 1.5]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (("2018-09-29", "03/04/2018"), "row 2 has '03/04/2018'.*day/month or month/day"),
        (("2018-09-29", "soon"), "1 row of 2 .*row 2 has 'soon'.*2024-05-31"),
        (("2018-09-29", None), "row 2 has nothing"),
        (("2018-09-29", " "), "row 2 has nothing"),
        (("2018-09-29", 1538179200), "row 2 has 1538179200.*or use numbers throughout"),
        ((1.0, float("nan")), "cannot be placed in time"),
        (("x", "x", "x", "x", "x"), "5 rows of 5 .* and 2 more"),
    ],
)
def test_a_time_that_cannot_be_read_is_refused_with_its_row(values, said):
    with pytest.raises(DataError, match=said):
        row_times(rows(*values), "when")


def test_a_column_that_is_not_there_is_named_with_the_close_one():
    with pytest.raises(DataError, match=r"column 'whem'.* Did you mean 'when'\?"):
        row_times(rows("2018-09-29"), "whem")
    with pytest.raises(DataError, match="The task uses every column"):
        row_times(rows(None), "when")
