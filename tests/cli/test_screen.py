"""What a person sees before training begins."""

from __future__ import annotations

import io

from rich.console import Console

from tunewright.cli.screen import TrainingScreen, said_in


def test_rows_that_are_tokenised_have_a_bar_until_they_are_done() -> None:
    said = io.StringIO()
    screen = TrainingScreen(Console(file=said, force_terminal=True, width=120))
    with screen:
        screen.rows_prepared("Tokenising the training rows", 1000, 4000)
        screen.progress.refresh()
        assert "Tokenising the training rows" in said.getvalue()
        assert "1000/4000" in said.getvalue()
        screen.rows_prepared("Tokenising the training rows", 4000, 4000)
        said.truncate(0)
        screen.progress.refresh()
        assert "Tokenising" not in said.getvalue()


def test_a_spinner_says_how_far_the_rows_are() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with console.status("Reading") as status:
        said_in(status)("Tokenising the training rows", 1024, 10_000)
        assert status.status == "Tokenising the training rows: 1,024 of 10,000"
