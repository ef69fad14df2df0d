"""The picture of a range test of the learning rate. Does not know how the test is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from tunewright.evaluate.figure_style import ACCENT, INK, LINE, MUTED, SECOND, styled


@styled
def rate_chart(test: Mapping[str, Any]) -> Figure:
    """Loss over the rate, with the suggestion and the recipe's own rate.

    Args:
        test: from `RateTest.to_dict`.
    """
    figure = Figure(figsize=(7.2, 4.0))
    axes = figure.subplots()
    axes.plot(test["rates"], test["losses"], color=LINE, linewidth=1.0, label="loss of the step")
    axes.plot(test["rates"], test["means"], color=ACCENT, linewidth=1.8, label="moving mean")
    # What explodes at the end would leave no room for the rest.
    lowest, highest = min(test["means"]), max(test["means"][0], min(test["means"]))
    room = max(highest - lowest, 0.05 * abs(highest))
    axes.set_ylim(lowest - 0.3 * room, highest + 0.8 * room)
    axes.set_xscale("log")
    axes.axvline(test["configured"], color=MUTED, linewidth=1.0, linestyle=":",
                 label=f"recipe {test['configured']:.2g}")  # fmt: skip
    if test["suggestion"] is not None:
        axes.axvline(test["suggestion"], color=SECOND, linewidth=1.4,
                     label=f"suggestion {test['suggestion']:.2g}")  # fmt: skip
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss")
    axes.set_title("Range test of the learning rate", color=INK)
    axes.legend(loc="upper left")
    return figure
