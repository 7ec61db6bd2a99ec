"""What figures of bands along a path share: axes, special points, and what is below zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from mmtp_jax.plot.style import COLOURS, new_figure

if TYPE_CHECKING:
    from mmtp_jax.properties.bands import Path

_MEV_PER_THZ = 4.135667696


def band_figure(with_dos: bool) -> tuple[Figure, Any, Any]:
    """A figure, the axes of its bands, and those of a density of states beside them or None."""
    figure = new_figure(7.6 if with_dos else 5.8, 3.9)
    if not with_dos:
        return figure, figure.subplots(), None
    axes, beside = figure.subplots(1, 2, width_ratios=(3.2, 1.0), sharey=True)
    return figure, axes, beside


def draw_species(axes: Any, species: dict[str, np.ndarray], values: np.ndarray) -> None:
    """Draw the parts of a density of states beside bands, where there are several species."""
    for k, (symbol, part) in enumerate(species.items()):
        if len(species) > 1:
            colour = COLOURS[(k + 1) % len(COLOURS)]
            axes.plot(part, values, color=colour, linewidth=1.2, label=symbol)


def from_zero(axes: Any, lowest: float, least: float, words: str) -> None:
    """Begin at zero, or below, shaded and named, where the lowest value is that far below."""
    below = lowest < -least
    if below:
        axes.axhspan(1.2 * lowest, 0.0, color=COLOURS[1], alpha=0.08, linewidth=0)
        axes.text(0.02, 0.02, words, transform=axes.transAxes, color=COLOURS[1], fontsize=8.5)
    axes.axhline(0.0, color="0.5", linewidth=0.8)
    axes.set_ylim(bottom=1.1 * lowest if below else 0.0)


def parts_of_path(distances: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Distances of lines as parts of the whole path.

    Lattices of other sizes have their special points in one place then.
    """
    return [distance / distances[-1][-1] for distance in distances]


def special_points(axes: Any, path: Path, parts: Sequence[np.ndarray]) -> None:
    """Name and mark the ends of the lines of a path."""
    ticks: list[tuple[float, str]] = []
    for part, names in zip(parts, path.labels, strict=True):
        for place, name in zip(part[[0, -1]], names, strict=True):
            _add_tick(ticks, float(place), _special(name))
    for place, _ in ticks:
        axes.axvline(place, color="0.8", linewidth=0.8, zorder=0)
    axes.set_xticks([place for place, _ in ticks], [name for _, name in ticks])
    axes.set_xlim(ticks[0][0], ticks[-1][0])


def _add_tick(ticks: list[tuple[float, str]], place: float, name: str) -> None:
    """Ends of lines that meet are one tick; two names where the path jumps."""
    if ticks and abs(ticks[-1][0] - place) < 1e-9:
        old = ticks[-1][1]
        ticks[-1] = (place, old if old == name else f"{old}|{name}")
    else:
        ticks.append((place, name))


def _special(name: str) -> str:
    return r"$\Gamma$" if name == "G" else name


def to_mev(thz: Any) -> Any:
    """Energy of a frequency."""
    return np.asarray(thz) * _MEV_PER_THZ


def from_mev(mev: Any) -> Any:
    """THz of an energy."""
    return np.asarray(mev) / _MEV_PER_THZ
