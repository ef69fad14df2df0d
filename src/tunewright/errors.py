"""Every error Tunewright raises on purpose.

TunewrightError
├── UserError                the call was wrong: exit code 2, nothing was written
│   ├── ConfigError          a recipe or option is wrong; carries every fault found
│   ├── DataError            data is missing, unreadable or does not fit the task
│   ├── ModelError           a model is missing or does not fit the task
│   ├── ArtifactError        a folder is not what the call needs, or is in use
│   └── SpaceError           the disk has too little room
└── WorkError                the call was right, the work failed: exit code 1
    ├── TrainingError        training cannot go on
    └── Interrupted          stopped on request; the message says how to resume

Each message is one paragraph: what was found, what was expected, how to fix it.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable, Sequence


class TunewrightError(Exception):
    """Base of every error raised on purpose. `exit_code` is what the command line returns."""

    exit_code = 1


class UserError(TunewrightError):
    """The call was wrong: bad input, bad options, a thing that is not there."""

    exit_code = 2


class ConfigError(UserError):
    """A recipe or an option is wrong.

    Args:
        faults: every fault found, one sentence each. They are reported together.
        where: the file or object that was checked, for the message.
    """

    def __init__(self, faults: str | Sequence[str], where: str = "") -> None:
        self.faults = [faults] if isinstance(faults, str) else list(faults)
        place = f" in {where}" if where else ""
        if len(self.faults) == 1:
            message = f"{self.faults[0]}{f' ({where})' if where else ''}"
        else:
            listed = "\n".join(f"  - {fault}" for fault in self.faults)
            message = f"{len(self.faults)} faults{place}:\n{listed}"
        super().__init__(message)


class DataError(UserError):
    """Data is missing, unreadable, or does not fit the task."""


class ModelError(UserError):
    """A model is missing, or does not fit the task."""


class ArtifactError(UserError):
    """A folder is not what the call needs, or another process is using it."""


class SpaceError(UserError):
    """The disk has too little room for what the call would write."""


class WorkError(TunewrightError):
    """The call was right, but the work failed."""


class TrainingError(WorkError):
    """Training cannot go on; the message carries the diagnosis."""


class Interrupted(WorkError):  # noqa: N818 - an interruption is not an error
    """Stopped on request. What was done is saved; the message says how to go on."""


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the closest option, or an empty string.

    Closeness is `difflib`'s ratio with a cutoff of 0.6, ignoring case.
    """
    by_lower = {option.lower(): option for option in options}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return f" Did you mean {by_lower[close[0]]!r}?" if close else ""


def unknown_name(kind: str, name: str, options: Iterable[str]) -> str:
    """One sentence for a name that is not among `options`, with the close match."""
    known = sorted(options)
    return f"Unknown {kind} {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}."


def in_shell(word: object) -> str:
    """A path or name as it is typed in a command that a message proposes."""
    return shlex.quote(str(word))
