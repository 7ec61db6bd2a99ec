"""Figures of spin-flip Monte Carlo and of averages over disordered states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmtp_jax.plot.style import COLOURS, MARKERS, SMALL_WORDS, new_figure, plain
from mmtp_jax.simulation.spins.binder import OrderCurve, order_curve
from mmtp_jax.simulation.spins.outcome import SpinWalk

if TYPE_CHECKING:
    from mmtp_jax.simulation.spins.crossing import Crossing
    from mmtp_jax.simulation.spins.disorder_sampling import DisorderedStates


def order(
    curves: SpinWalk | Sequence[OrderCurve | SpinWalk], crossing: Crossing | None = None
) -> Figure:
    """Order, susceptibility and Binder cumulant over temperature, a line for each size.

    Args:
        curves: results of `mmtp_jax.montecarlo`, or what was made of them by `order_curve`.
        crossing: of the cumulants, to be marked.
    """
    curves = [
        order_curve(of.temperatures, of.series.order, of.n_magnetic, of.series.energy)
        if isinstance(of, SpinWalk)
        else of
        for of in ([curves] if isinstance(curves, SpinWalk) else curves)
    ]
    figure = new_figure(9.6, 3.4)
    panels = figure.subplots(1, 3)
    names = (
        ("order", r"Order $\langle |m| \rangle$"),
        ("susceptibility", "Susceptibility per atom (1/eV)"),
        ("binder", r"Binder cumulant $U_4$"),
    )
    for axes, (name, label) in zip(panels, names, strict=True):
        for k, curve in enumerate(curves):
            axes.errorbar(
                curve.temperatures, getattr(curve, name), yerr=getattr(curve, f"{name}_error"),
                color=COLOURS[k % len(COLOURS)], marker=MARKERS[k % len(MARKERS)], markersize=3.5,
                linewidth=1.2, capsize=2.0, label=f"{curve.n_magnetic} magnetic atoms",
            )  # fmt: skip
        if crossing is not None and np.isfinite(crossing.temperature):
            low, high = (crossing.temperature + s * crossing.error for s in (-1, 1))
            axes.axvspan(low, high, color="0.85", linewidth=0, zorder=0)
            axes.axvline(crossing.temperature, color="0.5", linewidth=0.9, zorder=0)
        axes.set_xlabel("Temperature (K)")
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        plain(axes)
    # Beside the panels, which bars and the crossing fill.
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    if crossing is not None and np.isfinite(crossing.temperature):
        panels[2].set_title(
            f"cross at {crossing.temperature:.4g} ± {crossing.error:.2g} K", fontsize=9.5
        )
    short = "; none where the walk is too short for it" * any(of.too_short for of in curves)
    figure.supxlabel(f"bars: standard error{short}", **SMALL_WORDS)
    return figure


def convergence(states: DisorderedStates, atom: int = 0) -> Figure:
    """Averages over the first states as their number grows (Kotykhov 2025, Fig. 5).

    Left the energy, right the force on one atom: crosses are the single states, lines the mean of
    the first of them, and shaded is its standard error.
    """
    figure = new_figure(8.4, 3.4)
    left, right = figure.subplots(1, 2)
    n_atoms = states.magmoms.shape[1]
    energies = 1e3 * (states.energies - states.energy) / n_atoms
    _running(left, energies, COLOURS[0], "energy")
    left.set_ylabel("Energy minus final mean (meV/atom)")
    for k, axis in enumerate("xyz"):
        _running(right, states.all_forces[:, atom, k], COLOURS[k], f"$F_{axis}$")
    right.set_ylabel(f"Force on atom {atom} (eV/Å)")
    for axes in (left, right):
        axes.set_xlabel("Number of magnetic states")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        plain(axes)
    right.legend(frameon=False, fontsize=8.5)
    figure.supxlabel(
        "crosses: single states; lines: mean of the first states; shaded: its standard error",
        **SMALL_WORDS,
    )
    return figure


def _running(axes: Any, values: np.ndarray, colour: str, label: str) -> None:
    count = np.arange(1, len(values) + 1)
    mean = np.cumsum(values) / count
    variance = np.maximum(np.cumsum(values**2) / count - mean**2, 0.0)
    error = np.sqrt(variance / np.maximum(count - 1, 1))
    axes.plot(
        count,
        values,
        linestyle="none",
        marker="x",
        markersize=3.0,
        color=colour,
        alpha=0.5,
        zorder=1,
    )
    axes.fill_between(
        count[1:], (mean - error)[1:], (mean + error)[1:], color=colour, alpha=0.2, linewidth=0
    )
    axes.plot(count, mean, color=colour, linewidth=1.4, label=label)
