"""The live view of a run: curves, numbers and diagnoses. All on rich.

It is told what the journal is told, so it shows a run of this process and one of another alike.
"""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tunewright.cli.curves import curve
from tunewright.cli.screen import describe_event

_HEIGHT = 5
"""Lines of a curve."""
_EVENTS = 8
"""Newest events that are shown."""


class WatchScreen:
    """Shows a run as curves of loss, validation loss, rate, gradient norm and tokens a second.

    Args:
        console: where to draw. One that is no terminal gets the last view only.
        title: above the curves.
    """

    def __init__(self, console: Console, title: str = "Training") -> None:
        self.console, self.title = console, title
        self.series: dict[str, list[float]] = {
            name: [] for name in ("loss", "learning_rate", "grad_norm", "tokens_per_second")
        }
        self.validation: list[float] = []
        self.events: list[str] = []
        self.step, self.total = 0, 0
        self._steps: list[int] = []
        self._began: tuple[float, int] | None = None
        self._live = Live(self, console=console, refresh_per_second=4)

    def __enter__(self) -> WatchScreen:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()
        if not self.console.is_terminal:
            self.console.print()  # rich ends no line there

    def training_started(self, state: Any, total_steps: int) -> None:
        """Begin at the step the run begins at."""
        self.step = state.step
        self._began = (time.monotonic(), state.step)

    def line_written(self, line: dict[str, Any]) -> None:
        """Take a step into the curves, and the words of any other event into the list."""
        self.step = line["step"]
        self.total = line.get("total_steps", self.total)
        if line["event"] == "step":
            self._drop_from(line["step"])
            self._steps.append(line["step"])
            for name, values in self.series.items():
                values.append(float(line[name]))
            return
        if line["event"] == "evaluation":
            self.validation.append(float(line["metrics"]["loss"]))
        if text := describe_event(line):
            self.events.append(text)

    def _drop_from(self, step: int) -> None:
        """A resumed run takes steps again that were taken before."""
        while self._steps and self._steps[-1] >= step:
            self._steps.pop()
            for values in self.series.values():
                values.pop()

    def __rich__(self) -> Panel:
        width = max(12, (min(self.console.width, 120) - 8) // 2)
        grid = Table.grid(padding=(0, 2))
        grid.add_row(
            self._plot("training loss", self.series["loss"], width, "cyan"),
            self._plot("validation loss", self.validation, width, "green"),
        )
        grid.add_row(
            self._plot("gradient norm", self.series["grad_norm"], width, "magenta"),
            self._plot("learning rate", self.series["learning_rate"], width, "blue"),
        )
        lines = [Text.from_markup(f"[dim]·[/] {text}") for text in self.events[-_EVENTS:]]
        return Panel(
            Group(grid, self._numbers(), *lines), title=escape(self.title), title_align="left"
        )

    def _plot(self, name: str, values: list[float], width: int, colour: str) -> Group:
        last = f"{values[-1]:.4g}" if values else "none yet"
        heading = Text.assemble((name, "bold"), "  ", last)
        if values:
            heading.append(f"  (from {values[0]:.4g})", style="dim")
        return Group(heading, Text("\n".join(curve(values, width, _HEIGHT)), style=colour))

    def _numbers(self) -> Text:
        speeds = self.series["tokens_per_second"][-20:]
        parts = [f"step {self.step:,}" + (f" of {self.total:,}" if self.total else "")]
        if speeds:
            parts.append(f"{sum(speeds) / len(speeds):,.0f} tokens/s")
        if self._began is not None:
            parts.append(f"{_memory_here() / 1e9:.1f} GB at most")
            seconds, steps = time.monotonic() - self._began[0], self.step - self._began[1]
            if steps:
                left = seconds / steps * (self.total - self.step)
                parts.append(f"{left / 60:.1f} min left")
        return Text("  ".join(parts), style="bold")


def _memory_here() -> int:
    """Bytes that this process has used at most, of the accelerator where it uses one."""
    import torch

    from tunewright.models.memory import peak_memory

    on_accelerator = peak_memory("cuda") if torch.cuda.is_available() else 0
    return on_accelerator or peak_memory()
