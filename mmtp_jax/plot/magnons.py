"""Figures of spins that turn: exchange constants over distance, magnon bands and densities."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
from mmtp_jax.plot.style import COLOURS, MARKERS, new_figure, plain

if TYPE_CHECKING:
    from mmtp_jax.properties.exchange_results import Exchange
    from mmtp_jax.properties.magnon_results import MagnonBands, MagnonDOS

_MOST = 40
"""Distances at which sums over pairs are drawn."""
EXTRAPOLATED = "fitted to collinear moments alone: extrapolated by the form"


def exchange(found: Exchange) -> Figure:
    """Exchange constants over distance, and the mean-field T_C of all pairs up to there."""
    figure = new_figure(8.4, 3.5, w_pad=0.08)
    left, right = figure.subplots(1, 2)
    by_pair: dict[tuple[str, str], list] = {}
    shown = found.shells_until_zero or found.shells[:1]
    for shell in shown:
        by_pair.setdefault(shell.pair, []).append(shell)
    left.axhline(0.0, color="0.5", linewidth=0.8)
    for k, (pair, shells) in enumerate(by_pair.items()):
        distances, values = ([getattr(s, name) for s in shells] for name in ("distance", "J"))
        left.plot(
            distances, values, color=COLOURS[k % len(COLOURS)], marker=MARKERS[k % len(MARKERS)],
            markersize=4.5, linewidth=0.8, alpha=0.9, label="-".join(pair),
        )  # fmt: skip
    left.set_ylabel(r"$J_{ij}$ (meV), each pair in both orders")
    if len(by_pair) > 1:
        left.legend(frameon=False, fontsize=8.5)
    ends = np.unique(np.round([s.distance for s in shown], 2))[:_MOST] + 0.01
    if found.no_mean_field:
        right.text(
            0.5, 0.5, f"none, {found.no_mean_field}", transform=right.transAxes, ha="center",
            color=COLOURS[1], fontsize=8.5,
        )  # fmt: skip
    else:
        # Of pairs that alone make another order there is none: a gap.
        right.plot(
            ends, np.array([found.mean_field_of(end) for end in ends], float), color=COLOURS[0],
            marker=MARKERS[0], markersize=3.5, linewidth=1.2,
        )  # fmt: skip
    right.set_ylabel(r"Mean-field $T_\mathrm{C}$ of pairs up to there (K)")
    right.set_ylim(0.0, None)
    for axes in (left, right):
        axes.set_xlabel("Distance (Å)")
        axes.set_xlim(0.0, min(found.range, 1.1 * shown[-1].distance))
    plain(left, right)
    if found.by_form:
        figure.suptitle(EXTRAPOLATED, fontsize=10.5)
    return figure


def magnons(bands: MagnonBands, dos: MagnonDOS | None = None, by_form: bool = False) -> Figure:
    """Magnon bands, with the density of states beside them.

    Args:
        bands: along a path.
        dos: to draw beside.
        by_form: say that they are extrapolated by the form, see `Exchange.by_form`.
    """
    figure, axes, beside = band_figure(dos is not None)
    parts = parts_of_path(bands.distances)
    for distance, values in zip(parts, bands.energies, strict=True):
        axes.plot(distance, values, color=COLOURS[0], linewidth=1.3)
    special_points(axes, bands.path, parts)
    axes.set_ylabel("Energy (meV)")
    values = np.concatenate(bands.energies)
    lowest, high = min(0.0, float(values.min())), float(values.max())
    from_zero(axes, lowest, 1e-3 * high, "no minimum")
    plain(axes)
    last = axes
    if dos is not None:
        draw_species(beside, {s: 1e3 * of for s, of in dos.species.items()}, dos.energies)
        beside.plot(1e3 * dos.total, dos.energies, color=COLOURS[0], linewidth=1.3, label="total")
        beside.set_xlabel("DOS (1/eV per atom)")
        beside.set_xlim(left=0.0)
        beside.xaxis.set_major_locator(MaxNLocator(3))
        if len(dos.species) > 1:
            beside.legend(frameon=False, fontsize=8.5)
        plain(beside)
        last = beside
    other = last.secondary_yaxis("right", functions=(from_mev, to_mev))
    other.set_ylabel("Frequency (THz)")
    other.tick_params(labelsize=9)
    if by_form:
        figure.suptitle(EXTRAPOLATED, fontsize=10.5)
    return figure
