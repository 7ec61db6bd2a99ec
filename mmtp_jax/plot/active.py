"""Figures of active learning: grades of configurations, how many were selected, and errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from mmtp_jax.plot.style import COLOURS, MU_B, new_figure, plain

if TYPE_CHECKING:
    from mmtp_jax.active.learning import Learned
    from mmtp_jax.active.learning_state import Row


def grades(grades: np.ndarray, thresholds: tuple[float, float]) -> Figure:
    """Histogram of extrapolation grades on a logarithmic axis, with the two thresholds."""
    figure = new_figure(5.0, 3.4)
    axes = figure.subplots()
    shown = np.maximum(grades, 1e-3)
    low, high = min(shown.min(), 0.5), max(shown.max(), 2.0 * thresholds[1])
    axes.hist(shown, np.geomspace(0.9 * low, 1.1 * high, 41), color=COLOURS[0])
    for threshold, style in zip(thresholds, ("--", "-"), strict=True):
        axes.axvline(threshold, color=COLOURS[1], linestyle=style, linewidth=1.2)
    axes.set_xscale("log")
    axes.set_xlabel(r"Extrapolation grade $\gamma$")
    axes.set_ylabel("Configurations")
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_title(f"Lines: the thresholds {thresholds[0]:g} and {thresholds[1]:g}", fontsize=10.5)
    plain(axes)
    return figure


_ERRORS = {"energy": "Energy (meV/atom)", "forces": "Forces (meV/Å)",
           "magnetic_forces": f"Magnetic forces (meV/{MU_B})"}  # fmt: skip

_DECADE = 10.0
"""A logarithmic axis that spans less has too few ticks."""


def learning(found: Learned | Sequence[Row]) -> Figure:
    """What each iteration of active learning selected (Burov 2026, Fig. 2), and errors of its fit.

    Errors are root mean squares over the training set, with what was just added: open symbols of
    the potential before the fit, which had not seen the new configurations, filled ones after it.
    """
    rows = getattr(found, "rows", found)
    kinds = [kind for kind in _ERRORS if any(getattr(r, f"{kind}_after") is not None for r in rows)]
    figure = new_figure(3.4 * (1 + len(kinds)) + 1.0, 3.4, w_pad=0.08)
    panels = figure.subplots(1, 1 + len(kinds), squeeze=False)[0]
    _selected(panels[0], [row for row in rows if row.selected is not None])
    for k, (axes, kind) in enumerate(zip(panels[1:], kinds, strict=True)):
        for when, filled in (("before", False), ("after", True)):
            values = [(r.iteration, v) for r in rows
                      if (v := getattr(r, f"{kind}_{when}")) is not None and v > 0.0]  # fmt: skip
            axes.plot(
                *np.reshape(values, (-1, 2)).T, color=COLOURS[k], marker="o", markersize=5.0,
                markerfacecolor=COLOURS[k] if filled else "white", linewidth=1.2,
                linestyle="-" if filled else "--", label=f"{when} the fit",
            )  # fmt: skip
        shown = np.concatenate([line.get_ydata() for line in axes.lines])
        if shown.size and shown.max() > _DECADE * shown.min():
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_title(_ERRORS[kind], fontsize=10)
        axes.margins(y=0.15)
    if kinds:
        panels[1].set_ylabel("RMSE of the training set")
        panels[1].legend(frameon=False, fontsize=9)
    for axes in panels:
        axes.set_xlabel("Iteration of active learning")
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        plain(axes)
    return figure


def _selected(axes: Any, rows: Sequence[Row]) -> None:
    numbers = np.array([row.iteration for row in rows])
    selected = np.array([row.selected for row in rows])
    axes.bar(numbers, selected, width=0.7, color=COLOURS[0], label="in this iteration")
    axes.plot(
        numbers, np.cumsum(selected), color=COLOURS[1], marker="o", markersize=4.5, linewidth=1.3,
        label="in total",
    )  # fmt: skip
    axes.set_ylabel("Selected configurations")
    # Room for the legend above what is drawn.
    axes.set_ylim(0.0, 1.35 * max(selected.sum(), 1))
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.legend(frameon=False, fontsize=9, loc="upper left")
