"""How every figure looks, and how it is saved.

Colours are from the Okabe-Ito palette, which readers with any kind of colour vision can tell
apart. Saving is deterministic: the same figure gives the same bytes. This module does not know
what is drawn.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from tunewright.artifacts import atomic_write

INK = "#1f2328"
MUTED = "#6e7781"
LINE = "#d8dee4"
ACCENT = "#0072b2"
SECOND = "#d55e00"
ON_ACCENT = "#fefefe"
"""Text on `ACCENT`; a value of its own, so that a dark page can give it another colour."""

_STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",
    "svg.hashsalt": "tunewright",
    "text.color": INK,
    "xtick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.color": LINE,
    "ytick.labelcolor": MUTED,
}
_PNG_DPI = 160
THOUSANDS = FuncFormatter(lambda value, _: f"{value:,.0f}")

P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in the house style, and leave the global style as it was."""

    @wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return wrapper


def to_png(figure: Figure, path: Path) -> Path:
    """Write the figure as a PNG at 160 dots an inch on white, the same bytes each time."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(
            buffer, format="png", dpi=_PNG_DPI, facecolor="white", metadata={"Software": None}
        )
    atomic_write(path, buffer.getvalue())
    return path


def to_svg(figure: Figure) -> str:
    """The figure as an SVG element with real text and no background, the same each time."""
    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(
            buffer, format="svg", facecolor="none", metadata={"Date": None, "Creator": None}
        )
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def short_name(name: str, longest: int = 38) -> str:
    """The name on one line, cut to `longest` characters, safe to draw."""
    # matplotlib reads a pair of dollar signs as mathematics, and a bad formula raises.
    name = " ".join(name.split()).replace("$", r"\$")
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def name_rows(axes: Any, names: Sequence[str]) -> None:
    """Name the rows of a horizontal chart from the top down, without ticks or a spine."""
    axes.set_yticks(range(len(names)), names, color=INK)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
