"""Figures of vibrations: phonon bands, densities of states, quasi-harmonic thermodynamics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmtp_jax.plot.paths import (
    band_figure,
    draw_species,
    from_mev,
    from_zero,
    parts_of_path,
    special_points,
    to_mev,
)
from mmtp_jax.plot.style import COLOURS, K_B, SMALL_WORDS, VOLUME, new_figure, plain

if TYPE_CHECKING:
    from mmtp_jax.properties.bands import Bands
    from mmtp_jax.properties.dos import VibrationalDOS
    from mmtp_jax.properties.expansion import ThermalExpansion
    from mmtp_jax.properties.phonon_results import DensityOfStates
    from mmtp_jax.properties.quasiharmonic_fit import QuasiHarmonic


def bands(
    bands: Bands, dos: DensityOfStates | None = None, errors: Sequence[np.ndarray] | None = None
) -> Figure:
    """Phonon bands, with the density of states beside them (Kotykhov 2025, Figs. 6-8).

    Args:
        bands: along a path.
        dos: to draw beside.
        errors: standard errors of the frequencies of each line, shaded.
    """
    figure, axes, beside = band_figure(dos is not None)
    parts = parts_of_path(bands.distances)
    for k, (distance, values) in enumerate(zip(parts, bands.frequencies, strict=True)):
        axes.plot(distance, values, color=COLOURS[0], linewidth=1.3)
        if errors is not None:
            for mode in range(values.shape[1]):
                low, high = (values[:, mode] + s * errors[k][:, mode] for s in (-1, 1))
                axes.fill_between(distance, low, high, color=COLOURS[0], alpha=0.2, linewidth=0)
    special_points(axes, bands.path, parts)
    axes.set_ylabel("Frequency (THz)")
    lowest = min(0.0, bands.lowest.frequency)
    from_zero(axes, lowest, 0.05, "imaginary")
    plain(axes)
    last = axes
    if dos is not None:
        draw_species(beside, dos.species, dos.frequencies)
        beside.plot(dos.total, dos.frequencies, color=COLOURS[0], linewidth=1.3, label="total")
        beside.set_xlabel("DOS (1/THz per atom)")
        beside.set_xlim(left=0.0)
        beside.xaxis.set_major_locator(MaxNLocator(4))
        if len(dos.species) > 1:
            beside.legend(frameon=False, fontsize=8.5)
        plain(beside)
        last = beside
    if errors is not None:
        figure.supxlabel("shaded: standard error over magnetic states", **SMALL_WORDS)
    other = last.secondary_yaxis("right", functions=(to_mev, from_mev))
    other.set_ylabel("Energy (meV)")
    other.tick_params(labelsize=9)
    return figure


def dos(found: VibrationalDOS) -> Figure:
    """Vibrational density of states, total and by species (Burov 2026, Figs. 4 and 5)."""
    figure = new_figure(5.4, 3.7)
    axes = figure.subplots()
    if len(found.species) > 1:
        for k, (symbol, part) in enumerate(found.species.items()):
            axes.plot(
                found.frequencies, part, color=COLOURS[(k + 1) % len(COLOURS)], linewidth=1.2,
                label=symbol,
            )  # fmt: skip
    axes.plot(found.frequencies, found.total, color=COLOURS[0], linewidth=1.4, label="total")
    # Most of what frames resolve is above the highest vibration.
    end = found.frequencies[np.flatnonzero(found.total > 0.02 * found.total.max())[-1]]
    axes.set_xlim(0.0, min(1.1 * end, found.frequencies[-1]))
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel("Frequency (THz)")
    axes.set_ylabel("Vibrational DOS (1/THz per atom)")
    axes.set_title(
        f"{found.n_atoms} atoms, {found.temperature:.0f} K, {found.n_frames} frames",
        fontsize=10.5,
    )
    if len(found.species) > 1:
        axes.legend(frameon=False, fontsize=9)
    plain(axes)
    other = axes.secondary_xaxis("top", functions=(to_mev, from_mev))
    other.set_xlabel("Energy (meV)", fontsize=9)
    other.tick_params(labelsize=9)
    return figure


def quasiharmonic(found: QuasiHarmonic) -> Figure:
    """Free energy over volume; expansion, heat capacity and bulk modulus over temperature."""
    figure = new_figure(8.4, 6.0, h_pad=0.08, w_pad=0.08)
    (first, second), (third, fourth) = figure.subplots(2, 2)
    _free_energies(first, found)
    t = found.temperatures
    # The first value of a difference is none.
    second.plot(t[1:], 1e6 * found.expansion[1:], color=COLOURS[0], linewidth=1.4)
    second.set_ylabel(r"Linear expansion $\alpha$ ($10^{-6}$/K)")
    third.plot(t[1:], found.heat_capacity[1:], color=COLOURS[0], linewidth=1.4, label=r"$C_p$")
    third.axhline(3.0, color="0.6", linewidth=0.9, linestyle="--", label="Dulong-Petit")
    third.set_ylabel(f"Heat capacity ({K_B}/atom)")
    third.legend(frameon=False, fontsize=8.5)
    fourth.plot(t, found.bulk_modulus, color=COLOURS[0], linewidth=1.4)
    fourth.set_ylabel("Bulk modulus (GPa)")
    for axes in (second, third, fourth):
        axes.set_xlabel("Temperature (K)")
        axes.set_xlim(t[0], t[-1])
    if found.expansion.min() >= 0.0:
        second.set_ylim(bottom=0.0)
    third.set_ylim(bottom=0.0)
    plain(first, second, third, fourth)
    return figure


def expansion(found: ThermalExpansion) -> Figure:
    """Volume, expansion and heat capacity over the temperatures of runs."""
    figure = new_figure(10.0, 3.3, w_pad=0.08)
    panels = figure.subplots(1, 3)
    t = found.temperatures
    style = {"marker": "o", "markersize": 4.0, "linewidth": 1.2, "capsize": 2.5}
    panels[0].errorbar(t, found.volume, found.volume_error, color=COLOURS[0], **style)
    panels[0].set_ylabel(VOLUME)
    panels[1].errorbar(
        t, 1e6 * found.expansion, 1e6 * found.expansion_error, color=COLOURS[0], **style
    )
    panels[1].set_ylabel(r"Linear expansion $\alpha$ ($10^{-6}$/K)")
    panels[2].errorbar(
        t, found.heat_capacity, found.heat_capacity_error, color=COLOURS[0], **style,
        label=r"$\mathrm{d}H/\mathrm{d}T$",
    )  # fmt: skip
    panels[2].plot(
        t, [run.fluctuation_heat_capacity for run in found.runs], color=COLOURS[1], marker="^",
        markersize=4.5, linestyle="none", label="fluctuations",
    )  # fmt: skip
    panels[2].axhline(3.0, color="0.6", linewidth=0.9, linestyle="--", label="Dulong-Petit")
    panels[2].set_ylabel(f"Heat capacity $C_p$ ({K_B}/atom)")
    panels[2].legend(frameon=False, fontsize=8.5)
    for axes in panels:
        axes.set_xlabel("Temperature (K)")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.ticklabel_format(useOffset=False)
        plain(axes)
    figure.supxlabel("bars: standard error of means by blocks, and of slopes", **SMALL_WORDS)
    return figure


def _free_energies(axes: Any, found: QuasiHarmonic) -> None:
    """Free energy over volume at a few temperatures, and its minimum."""
    grid = found.free_energies
    chosen = np.unique(np.linspace(0, len(found.temperatures) - 1, 5).round().astype(int))
    zero = found.free_energy[0]
    fine = np.linspace(found.volumes[0], found.volumes[-1], 100)
    for k in chosen:
        shade = str(0.75 - 0.6 * k / max(chosen[-1], 1))
        smooth = np.polyfit(found.volumes - fine.mean(), grid[k] - zero, 3)
        axes.plot(found.volumes, 1e3 * (grid[k] - zero), "o", color=shade, markersize=3.0)
        axes.plot(fine, 1e3 * np.polyval(smooth, fine - fine.mean()), color=shade, linewidth=1.0)
        axes.annotate(
            f"{found.temperatures[k]:.0f} K", (fine[-1], 1e3 * (grid[k][-1] - zero)),
            xytext=(4, 0), textcoords="offset points", fontsize=8, va="center",
        )  # fmt: skip
    axes.plot(
        found.volume, 1e3 * (found.free_energy - zero), color=COLOURS[1], linewidth=1.3,
        label="equilibrium",
    )  # fmt: skip
    axes.margins(x=0.14)
    axes.legend(frameon=False, fontsize=8.5, loc="lower right", bbox_to_anchor=(1.0, 1.0))
    axes.set_xlabel(VOLUME)
    axes.set_ylabel("Free energy (meV/atom)")
