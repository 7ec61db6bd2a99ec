"""Figure of S(q, omega): a map along a path, its maxima, and adiabatic bands over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from mmtp_jax.plot.magnons import EXTRAPOLATED
from mmtp_jax.plot.paths import parts_of_path, special_points
from mmtp_jax.plot.style import COLOURS, SMALL_WORDS, new_figure, plain
from mmtp_jax.properties.adiabatic import Line, lines_of
from mmtp_jax.properties.bands import distances_along

if TYPE_CHECKING:
    from mmtp_jax.properties.magnon_results import Magnons
    from mmtp_jax.properties.structure_factor_results import SpinStructureFactor

_ABOVE = 1.1
"""Of the highest maximum or band: where the energy axis ends."""


def spin_structure_factor(
    found: SpinStructureFactor,
    bands: Magnons | Sequence[Line] | None = None,
    max_meV: float | None = None,
    by_form: bool = False,
) -> Figure:
    """Transverse S(q, omega), both senses together, each wave divided by its maximum.

    Args:
        found: along a path, or at given q.
        bands: adiabatic magnons to draw over it, where there is a path.
        max_meV: where the energy axis ends.
        by_form: say that all is extrapolated by the form; magnons know it themselves.
    """
    figure = new_figure(5.8, 4.2)
    axes = figure.subplots()
    lines = [] if bands is None else bands
    if not isinstance(lines, Sequence):
        by_form = by_form or lines.exchange.by_form
        lines = lines_of(found, lines)
    x, length = _abscissae(axes, found)
    zero = int(np.argmin(np.abs(found.energies)))
    energies = found.energies[zero:]
    below = found.transverse[:, zero::-1][:, : len(energies)]
    both = found.transverse[:, zero:] + np.pad(below, [(0, 0), (0, len(energies) - below.shape[1])])
    density = both / np.maximum(both[:, 1:].max(axis=1, initial=0.0), 1e-300)[:, None]
    density[np.isnan(found.peaks.energy)] = 0.0
    seen = np.nan_to_num(found.peaks.energy).max(initial=0.0)
    seen = max([seen, *(line.energies.max(initial=0.0) for line in lines)])
    top = max_meV or (min(_ABOVE * seen, energies[-1]) if seen > 0.0 else energies[-1])
    kept = energies <= 1.02 * top
    axes.pcolormesh(
        _edges(x), _edges(energies[kept]), density[:, kept].T, cmap="Greys", zorder=-1,
        rasterized=True, vmin=0.0, vmax=1.0,
    )  # fmt: skip
    for line in lines:
        axes.plot(line.distances / length, line.energies, color=COLOURS[0], linewidth=1.2)
    if lines:
        axes.plot([], [], color=COLOURS[0], linewidth=1.2, label="adiabatic bands")
    axes.errorbar(
        x, found.peaks.energy, np.nan_to_num(found.peaks.error), color=COLOURS[1], marker="o",
        markersize=3.5, linestyle="none", linewidth=1.0, label="maxima of the dynamics",
    )  # fmt: skip
    axes.set_ylim(0.0, top)
    axes.set_ylabel("Energy (meV)")
    axes.legend(frameon=False, fontsize=8.5, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
    plain(axes)
    words = (
        rf"grey: $S_\perp(q, E)$, each wave by its maximum; {found.n_atoms} atoms, resolution "
        f"{found.resolution_meV:.3g} meV"
    )
    figure.supxlabel(words, **SMALL_WORDS)
    if by_form:
        figure.suptitle(EXTRAPOLATED, fontsize=10.5)
    return figure


def _abscissae(axes: Any, found: SpinStructureFactor) -> tuple[np.ndarray, float]:
    """Places of the waves, and what they are divided by; the axis is set up."""
    if found.path is None:
        axes.set_xticks(
            found.distances,
            [f"({', '.join(f'{value + 0.0:.3g}' for value in q)})" for q in found.q],
            rotation=30, ha="right", fontsize=8,
        )  # fmt: skip
        return found.distances, 1.0
    distances = distances_along(found.path, found.cell)
    special_points(axes, found.path, parts_of_path(distances))
    length = distances[-1][-1]
    return found.distances / length, length


def _edges(x: np.ndarray) -> np.ndarray:
    """Edges of cells about ascending places, half way between them."""
    if len(x) == 1:
        return np.array([x[0] - 0.5, x[0] + 0.5])
    middle = (x[1:] + x[:-1]) / 2
    return np.concatenate([[x[0]], middle, [x[-1]]])
