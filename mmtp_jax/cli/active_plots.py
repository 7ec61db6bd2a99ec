"""Figures of active learning: grades of configurations, and how many were selected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmtp_jax.cli.plot_style import COLOURS, new_figure, plain

if TYPE_CHECKING:
    from mmtp_jax.active.learning_state import Row


def grade_figure(grades: np.ndarray, thresholds: tuple[float, float]) -> Figure:
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


def selected_figure(rows: Sequence[Row]) -> Figure:
    """Configurations that each iteration of active learning selected, and their sum (Burov 2026,
    Fig. 2)."""
    shown = [row for row in rows if row.selected is not None]
    numbers = np.array([row.iteration for row in shown])
    selected = np.array([row.selected for row in shown])
    figure = new_figure(5.0, 3.4)
    axes = figure.subplots()
    axes.bar(numbers, selected, width=0.7, color=COLOURS[0], label="in this iteration")
    axes.plot(
        numbers, np.cumsum(selected), color=COLOURS[1], marker="o", markersize=4.5, linewidth=1.3,
        label="in total",
    )  # fmt: skip
    axes.set_xlabel("Iteration of active learning")
    axes.set_ylabel("Selected configurations")
    axes.set_ylim(bottom=0.0)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.legend(frameon=False, fontsize=9)
    plain(axes)
    return figure
