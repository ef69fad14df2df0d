"""Whether a row passes, by a function that the user wrote.

This module knows functions and answers. It does not know models.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tunewright.data.records import Record
from tunewright.errors import ConfigError, DataError, did_you_mean

Passes = Callable[[dict[str, Any], Any], bool]
"""Called with a row as JSON-like values and the model's answer to it (a text, a label, a number, or
a tuple of labels); says whether the answer passes."""
PASS_RATE = "pass_rate"


def load_passes(place: str) -> Passes:
    """The function at `FILE.py:NAME`. The file is run, as Python would import it.

    Raises:
        ConfigError: there is no such file or function.
    """
    file, colon, name = place.rpartition(":")
    path = Path(file)
    if not colon or not name or path.suffix != ".py":
        raise ConfigError(f"--pass {place!r} is not of the form FILE.py:FUNCTION.")
    if not path.is_file():
        raise ConfigError(f"--pass names the file {path}, which is not there.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(f"{path} could not be run: {type(error).__name__}: {error}.") from error
    function = getattr(module, name, None)
    if not callable(function):
        known = sorted(k for k, v in vars(module).items() if callable(v) and not k.startswith("_"))
        raise ConfigError(
            f"{path} has no function {name!r}.{did_you_mean(name, known)} It has "
            f"{', '.join(known) or 'none'}."
        )
    return function  # type: ignore[no-any-return]


def passed(function: Passes, records: Sequence[Record], answers: Sequence[Any]) -> list[bool]:
    """What the function says of each row.

    Raises:
        DataError: it fails on a row, or says neither True nor False.
    """
    found = []
    for record, answer in zip(records, answers, strict=True):
        try:
            verdict = function(record.to_row(), answer)
        except Exception as error:
            raise DataError(
                f"The pass function failed on row {record.row}: {type(error).__name__}: {error}."
            ) from error
        if verdict not in (True, False):
            raise DataError(
                f"The pass function said {verdict!r} of row {record.row}; True or False is needed."
            )
        found.append(bool(verdict))
    return found
