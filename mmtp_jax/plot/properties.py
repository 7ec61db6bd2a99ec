"""Figures of elastic constants, equations of state, magnetisation, formation energies, settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmtp_jax.oracles.convergence_results import QUANTITIES
from mmtp_jax.plot.style import COLOURS, MU_B, SMALL_WORDS, VOLUME, new_figure, plain

if TYPE_CHECKING:
    from mmtp_jax.oracles.convergence_results import Convergence
    from mmtp_jax.properties.elastic_results import ElasticConstants
    from mmtp_jax.properties.eos import EquationOfState
    from mmtp_jax.properties.formation import FormationEnergies

_GREY = "0.6"


def elastic(found: ElasticConstants) -> Figure:
    """Bars of the constants that are not zero: all relaxed, clamped moments, clamped ions.

    Constants that are equal to 0.5 GPa share a bar, which is named by all of them.
    """
    groups = _groups(found.constants)
    figure = new_figure(max(5.2, 1.5 + 0.95 * len(groups)), 3.6)
    axes = figure.subplots()
    place, width = np.arange(len(groups)), 0.27
    kinds = (
        (found.constants, "moments and ions relaxed", COLOURS[0], ""),
        (found.clamped_moments, "moments clamped", COLOURS[1], "//"),
        (found.clamped_ions, "ions clamped", COLOURS[2], ".."),
    )
    for k, (constants, label, colour, hatch) in enumerate(kinds):
        values = np.array([constants[group[0]] for group in groups])
        errors = None
        if k == 0 and found.error is not None:
            errors = [found.error[group[0]] for group in groups]
        bars = axes.bar(
            place + (k - 1) * width, values, width, label=label, color=colour, hatch=hatch,
            edgecolor="white", linewidth=0.5, yerr=errors, capsize=2.0,
        )  # fmt: skip
        if k == 0:
            axes.bar_label(bars, fmt="%.0f", fontsize=8, padding=2)
    axes.set_xticks(place, [_named(group) for group in groups], fontsize=9)
    if found.error is not None:
        figure.supxlabel("bars: standard error over magnetic states", **SMALL_WORDS)
    axes.set_ylabel("Elastic constant (GPa)")
    axes.margins(y=0.12)
    axes.axhline(0.0, color="0.4", linewidth=0.8)
    axes.legend(frameon=False, fontsize=8.5)
    plain(axes)
    return figure


def eos(found: EquationOfState, atoms_per_cell: float | None = None) -> Figure:
    """Energy (at 0 K) or pressure over volume with the Birch-Murnaghan fit, and the moments."""
    figure = new_figure(8.4, 3.5)
    left, right = figure.subplots(1, 2)
    good = found.counts
    smooth = np.linspace(found.volumes[good].min(), found.volumes[good].max(), 200)
    fit, at_rest = found.fit, found.temperature_K is None
    if at_rest:
        lowest = found.energies[good].min() if fit is None else fit.energy
        values, errors = 1e3 * (found.energies - lowest), None
        unit = f"Energy minus {'lowest' if fit is None else 'minimum'} (meV/atom)"
    else:
        values, errors, unit = found.pressures, found.pressure_errors, "Pressure (GPa)"
    if fit is None:
        words = "no fit"
    else:
        curve = 1e3 * (fit.energies(smooth) - fit.energy) if at_rest else fit.pressures(smooth)
        left.plot(smooth, curve, color=COLOURS[0], linewidth=1.3, label="Birch-Murnaghan")
        for axes in (left, right):
            axes.axvline(fit.volume, color="0.7", linewidth=0.9, zorder=0)
        size = (
            rf"$V_0$ = {fit.volume:.3f} Å$^3$/atom"
            if atoms_per_cell is None
            else rf"$a_0$ = {found.lattice_parameter(atoms_per_cell):.4f} Å"
        )
        words = (
            rf"$B_0$ = {fit.bulk_modulus:.1f} GPa,  $B_0'$ = {fit.bulk_derivative:.2f},  {size} "
            "(vertical lines)"
        )
    figure.suptitle(words, fontsize=10.5)
    _points(left, found.volumes, values, errors, good)
    left.set_ylabel(unit)
    _points(right, found.volumes, found.moments, found.moment_errors, good)
    right.set_ylabel(f"Mean moment |m| ({MU_B}/atom)")
    for axes in (left, right):
        axes.set_xlabel(VOLUME)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        _legend(axes, loc="upper right" if axes is left else "lower right")
        plain(axes)
    _name_bars(figure, found)
    return figure


def magnetisation(found: EquationOfState, atoms_per_cell: float = 2.0) -> Figure:
    """Magnetisation and pressure over the lattice parameter (Burov 2026, Fig. 3).

    Vertical lines are at the lattice parameter without pressure, if that is between the others.
    """
    figure = new_figure(8.4, 3.5)
    left, right = figure.subplots(1, 2)
    lattice, good = found.lattice_parameters(atoms_per_cell), found.counts
    net = np.abs(found.magnetisations)
    _points(left, lattice, net, found.moment_errors, good, "|sum of moments|")
    both = not np.allclose(net[good], found.moments[good], atol=5e-3)
    if both:
        left.plot(
            lattice[good], found.moments[good], color=COLOURS[2], marker="s", markersize=4,
            linestyle="none", markerfacecolor="none", label="mean of |moment|",
        )  # fmt: skip
    left.set_ylabel(f"{'Moment' if both else '|Sum of moments|'} ({MU_B}/atom)")
    if found.fit is not None:
        volumes = np.linspace(found.volumes[good].min(), found.volumes[good].max(), 200)
        right.plot(
            np.cbrt(atoms_per_cell * volumes), found.fit.pressures(volumes), color=COLOURS[0],
            linewidth=1.3, label="Birch-Murnaghan",
        )  # fmt: skip
        for axes in (left, right):
            at = found.lattice_parameter(atoms_per_cell)
            axes.axvline(at, color="0.7", linewidth=0.9, zorder=0)
    _points(right, lattice, found.pressures, found.pressure_errors, good)
    right.axhline(0.0, color="0.7", linewidth=0.9, zorder=0)
    right.set_ylabel("Pressure (GPa)")
    kelvin = 0.0 if found.temperature_K is None else found.temperature_K
    for axes in (left, right):
        axes.set_xlabel("Lattice parameter (Å)")
        axes.xaxis.set_major_locator(MaxNLocator(6))
        _legend(axes, loc="best")
        plain(axes)
    lines = "no fit" if found.fit is None else "vertical lines: without pressure"
    figure.suptitle(f"{kelvin:g} K; {lines}", fontsize=10.5)
    _name_bars(figure, found)
    return figure


def formation(found: FormationEnergies, symbol: str, atoms_per_cell: float | None = None) -> Figure:
    """Formation energy, moment and lattice parameter over composition (Kotykhov 2024, Figs. 5, 6).

    Without magnetic atoms there is no panel of moments.

    Energies are of all configurations; the line and the other panels, of the lowest of each
    composition. Bars are two standard deviations over the potentials.
    """
    percent, lowest = 100 * found.fraction(symbol), found.lowest()
    if atoms_per_cell is None:
        sizes, size_label = found.volumes, VOLUME
    else:
        sizes, size_label = found.lattice_parameters(atoms_per_cell), "Lattice parameter (Å)"
    several = len(found.energies) > 1
    name = rf"mean and $2\sigma$ over {len(found.energies)} potentials" if several else "relaxed"
    quantities = [
        (1e3 * found.energies, "Formation energy (meV/atom)"),
        (found.moments, f"Net moment per magnetic atom ({MU_B})"),
        (sizes, size_label),
    ]
    if np.isnan(found.moments).all():
        del quantities[1]
    figure = new_figure(3.53 * len(quantities), 3.7)
    panels = figure.subplots(1, len(quantities), sharex=True)
    for k, (axes, (values, label)) in enumerate(zip(panels, quantities, strict=True)):
        mean, bars = found.mean(values), found.two_sigma(values)
        shown = np.arange(len(percent)) if k == 0 else lowest
        axes.errorbar(
            percent[shown], mean[shown], yerr=bars[shown] if several else None, linestyle="none",
            marker="o", markersize=4, color=COLOURS[0], capsize=2.5, label=name,
        )  # fmt: skip
        axes.plot(
            percent[lowest], mean[lowest], color=COLOURS[1], linewidth=1.1, zorder=0,
            label="lowest of each composition",
        )  # fmt: skip
        axes.set_xlabel(f"{symbol} (atomic %)")
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        plain(axes)
    panels[0].axhline(0.0, color="0.7", linewidth=0.9, zorder=0)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    return figure


def _name_bars(figure: Figure, found: EquationOfState) -> None:
    if found.pressure_errors is not None:
        figure.supxlabel("bars: standard error of means over time", **SMALL_WORDS)


def _legend(axes: Any, loc: str) -> None:
    """One kind of points needs none: the axis says what they are."""
    if len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend(frameon=False, fontsize=8.5, loc=loc)


def _points(
    axes: Any, x: np.ndarray, y: np.ndarray, errors: np.ndarray | None, good: np.ndarray,
    label: str = "calculated",
) -> None:  # fmt: skip
    axes.errorbar(
        x[good], y[good], yerr=None if errors is None else errors[good], linestyle="none",
        marker="o", markersize=4.5, color=COLOURS[1], capsize=2.5, label=label,
    )  # fmt: skip
    if not good.all():
        axes.plot(
            x[~good], y[~good], linestyle="none", marker="x", markersize=5, color=_GREY,
            label="state lost: not in the fit",
        )  # fmt: skip


def _groups(constants: np.ndarray) -> list[list[tuple[int, int]]]:
    """Places of the constants that are not zero, those that are equal together."""
    found: list[list[tuple[int, int]]] = []
    order = [(k, k) for k in range(6)] + [(i, j) for i in range(6) for j in range(i + 1, 6)]
    for place in order:
        value = constants[place]
        if abs(value) < 0.5:
            continue
        for group in found:
            if abs(constants[group[0]] - value) < 0.5 and _kind(group[0]) == _kind(place):
                group.append(place)
                break
        else:
            found.append([place])
    return found


def _kind(place: tuple[int, int]) -> tuple[bool, bool, bool]:
    i, j = place
    return i == j, i < 3, j < 3


def _named(group: list[tuple[int, int]]) -> str:
    names = [rf"$C_{{{i + 1}{j + 1}}}$" for i, j in group]
    return "\n".join(names[:3]) + ("\n..." if len(names) > 3 else "")


def settings(found: Convergence) -> Figure:
    """Changes of labels by settings of a DFT code, in parts of their bounds; right of 1 is beyond.

    Changes below a thousandth of a bound are drawn there.
    """
    whole = [found.together] if found.together is not None else []
    changes = [*found.changes, *whole]
    figure = new_figure(7.2, 1.3 + 0.4 * len(changes))
    axes = figure.subplots()
    least = 1e-3
    for k, (name, unit) in enumerate(QUANTITIES.items()):
        bound = getattr(found.bounds, name)
        values = [getattr(change, name) for change in changes]
        told = [place for place, value in enumerate(values) if value is not None]
        if told:
            axes.plot(
                [max(values[place] / bound, least) for place in told],
                [place + 0.1 * (k - 2) for place in told], "os^Dv"[k], color=COLOURS[k],
                markersize=5.5, label=f"{name.replace('_', ' ')}, bound {bound:g} {unit}",
            )  # fmt: skip
    axes.axvline(1.0, color="0.4", linewidth=0.8)
    axes.set_xscale("log")
    left, right = axes.get_xlim()
    axes.set_xlim(min(left, 0.5), max(right, 2.0))
    axes.set_yticks(range(len(changes)), [change.text for change in changes], fontsize=8.5)
    axes.set_ylim(len(changes) - 0.5, -0.5)
    axes.set_xlabel("Change / bound")
    axes.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    plain(axes, grid=True)
    return figure
