"""Live curves of a run: in its own process, in another one, and when it has ended."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tunewright.artifacts import Artifact, locked
from tunewright.cli.app import run
from tunewright.cli.curves import curve, thinned
from tunewright.cli.watch import JournalTail
from tunewright.cli.watch_screen import WatchScreen
from tunewright.train.journal import Journal


def step(number: int, loss: float) -> dict[str, Any]:
    return {
        "step": number,
        "loss": loss,
        "learning_rate": 1e-4,
        "grad_norm": 2.5,
        "tokens_per_second": 1000.0,
    }


def written_run(folder: Path, status: str) -> None:
    """A folder as a run of ten steps leaves it."""
    artifact = Artifact.create(folder, "run", {})
    journal = Journal(folder)
    journal.write("start", 0, total_steps=10)
    for number in range(1, 11):
        journal.write("step", **step(number, 2.0 / number))
    journal.write("evaluation", 10, metrics={"loss": 0.4321}, best=True)
    journal.write("diagnosis", 10, name="plateau", message="It is flat.", action="Stop.")
    journal.close()
    artifact.finish(status)  # type: ignore[arg-type]


def test_a_falling_curve_goes_from_the_top_left_to_the_bottom_right() -> None:
    assert curve([3.0, 2.0, 1.0, 0.0], 2, 1) == ["⠙⢦"]
    top, bottom = curve([1.0, 1.0, 0.0, 0.0], 2, 2)
    assert top == "⠉⡇" and bottom == "⠀⣇"


def test_long_curves_are_thinned_to_means_and_gaps_stay_gaps() -> None:
    assert thinned([1, 3, 5, 7], 2) == [2, 6]
    assert thinned([1.0], 9) == [1.0]
    assert thinned([1.0, math.nan], 1) == [1.0]
    assert math.isnan(thinned([math.nan, math.nan, 1.0, 1.0], 2)[0])
    assert curve([], 3, 2) == ["⠀⠀⠀", "⠀⠀⠀"]


def test_the_view_has_curves_numbers_and_diagnoses() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    screen = WatchScreen(console, "a run")
    for number in (1, 2, 3, 2, 3):  # a resumed run takes steps again
        screen.line_written({"event": "step", **step(number, 1 / number)})
    screen.line_written({"event": "start", "step": 0, "total_steps": 7})
    screen.line_written({"event": "step", **step(4, math.nan)})
    screen.line_written(
        {"event": "diagnosis", "step": 4, "message": "The loss [is] nan.", "action": "Skipped."}
    )
    assert len(screen.series["loss"]) == 4
    console.print(screen)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for expected in ("a run", "training loss", "step 4 of 7", "1,000 tokens/s", "The loss [is]"):
        assert expected in shown


@pytest.mark.parametrize(
    ("status", "said"),
    [("done", "The run is done."), ("failed", "has failed"), ("interrupted", "tunewright resume")],
)
def test_a_run_that_has_ended_is_shown_once(
    status: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written_run(tmp_path / "run", status)
    assert run(["watch", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr().err
    assert "step 10 of 10" in shown and "loss 0.4321" in shown and "It is flat." in shown
    assert said in shown
    assert run(["watch", str(tmp_path / "run"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["status"], found["step"], found["total_steps"]) == (status, 10, 10)
    assert [d["name"] for d in found["diagnoses"]] == ["plateau"]


def test_a_run_whose_process_is_gone_is_not_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunewright.cli.watch._QUIET", 0.0)
    monkeypatch.setattr("tunewright.cli.watch._PAUSE", 0.01)
    written_run(tmp_path / "run", "running")
    looks: list[int] = []

    def done_after_three(folder: Path) -> bool:
        looks.append(1)
        return len(looks) < 3

    monkeypatch.setattr("tunewright.cli.watch._in_use", done_after_three)
    assert run(["watch", str(tmp_path / "run")]) == 0
    assert len(looks) == 3 and "was killed or crashed" in capsys.readouterr().err


def test_a_held_run_is_in_use(tmp_path: Path) -> None:
    from tunewright.cli.watch import _in_use

    assert not _in_use(tmp_path)
    with locked(tmp_path):
        assert _in_use(tmp_path)


def test_the_tail_gives_whole_lines_and_begins_again_when_a_resumed_run_writes_anew(
    tmp_path: Path,
) -> None:
    tail = JournalTail(tmp_path)
    assert tail.new_lines() == []
    journal = Journal(tmp_path)
    journal.write("step", **step(1, 1.0))
    assert [line["step"] for line in tail.new_lines()] == [1]
    with journal.path.open("a", encoding="utf-8") as handle:
        handle.write('{"event": "st')
        handle.flush()
        assert tail.new_lines() == []
    journal.close()
    again = Journal(tmp_path, resume_step=1)
    again.write("step", **step(2, 0.5))
    again.close()
    assert [line["step"] for line in tail.new_lines()] == [1, 2]


def test_a_folder_that_is_no_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["watch", str(tmp_path)]) == 2
    assert "not a folder that Tunewright wrote" in capsys.readouterr().err
