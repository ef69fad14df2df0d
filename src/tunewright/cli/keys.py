"""Single keys from a terminal, or characters from a pipe."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import Any, Self

import typer

END = ""
"""What is read when there is nothing more to read."""
_END_OF_INPUT = "\x04"


class Keys:
    """Reads keys from standard input, while it is entered.

    Attributes:
        is_terminal: keys come from a person, each as it is pressed; otherwise they are read from
            a pipe or a file, where line ends between keys do not count.
    """

    def __init__(self) -> None:
        self.is_terminal = sys.stdin.isatty()
        self._before: list[Any] = []

    def __enter__(self) -> Self:
        if self.is_terminal:
            import termios

            self._before = termios.tcgetattr(0)
            self._one_by_one()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._line_by_line()

    def _one_by_one(self) -> None:
        import termios
        import tty

        # TCSADRAIN keeps what was typed ahead.
        tty.setcbreak(0, termios.TCSADRAIN)

    def _line_by_line(self) -> None:
        if self.is_terminal:
            import termios

            termios.tcsetattr(0, termios.TCSADRAIN, self._before)

    def read(self) -> str:
        """The next key as one character, or `END`. Arrow keys and the like come as several."""
        if not self.is_terminal:
            key = sys.stdin.read(1)
            while key in ("\n", "\r"):
                key = sys.stdin.read(1)
            return key
        pressed = os.read(0, 1)
        if pressed == b"\x1b" or pressed >= b"\xc0":
            pressed += os.read(0, 8) if _more_waits() else b""
        key = pressed.decode("utf-8", "replace")
        return END if key in ("", _END_OF_INPUT) else key

    def read_line(self, question: str) -> str:
        """A line of text, which a person may correct before Enter."""
        if not self.is_terminal:
            return sys.stdin.readline().strip()
        typer.echo(question, err=True, nl=False)
        self._line_by_line()
        try:
            return sys.stdin.readline().strip()
        finally:
            self._one_by_one()


def _more_waits() -> bool:
    import select

    return bool(select.select([0], [], [], 0.02)[0])
