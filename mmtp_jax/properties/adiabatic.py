"""Adiabatic magnon bands at the q of S(q, omega), to compare them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mmtp_jax.properties.bands import default_path, distances_along
from mmtp_jax.properties.lattice_sites import repeats
from mmtp_jax.warn import warn

if TYPE_CHECKING:
    from mmtp_jax.properties.magnon_results import Magnons
    from mmtp_jax.properties.structure_factor_results import SpinStructureFactor

STRAINED = 1e-3
"""Of a length of one lattice, by which that of another differs so that energies do."""


class OtherLatticeWarning(UserWarning):
    """Bands are of the same lattice as S(q, omega), with other lengths or angles."""


class Line(NamedTuple):
    """Bands on one line of the path of `SpinStructureFactor`."""

    distances: np.ndarray
    """(p,) from the start of the path, 1/Angstrom without 2 pi."""
    energies: np.ndarray
    """(p, bands) meV."""


def energies_at(found: SpinStructureFactor, magnons: Magnons, q: Any) -> np.ndarray:
    """Energies (k, bands) of adiabatic magnons at q (k, 3) of S(q, omega), meV.

    Raises:
        ValueError: if the cell of the magnons does not repeat that of S(q, omega).

    Warns:
        OtherLatticeWarning: if the crystals differ by a strain.
    """
    cell = magnons.exchange.model.cell
    matrix = repeats(cell, found.cell)
    if matrix is None:
        raise ValueError(
            "the magnons are of another lattice, or of one in another orientation; their cell is "
            f"{np.round(cell, 3).tolist()}, that of the waves {np.round(found.cell, 3).tolist()}"
        )
    _warn_of_strain(found, cell, matrix)
    return magnons.energies(np.atleast_2d(np.asarray(q, float)) @ matrix.T)


def lines_of(found: SpinStructureFactor, magnons: Magnons) -> list[Line]:
    """Bands along the path of S(q, omega).

    Raises:
        ValueError: if it has no path, or the magnons are of another lattice.
    """
    if found.path is None:
        raise ValueError("bands are drawn along a path; these q were given one by one")
    names = [found.path.labels[0][0]]
    for start, end in found.path.labels:
        names += [end] if start == names[-1] else [",", start, end]
    path = default_path(found.cell, path="".join(names))
    distances = distances_along(path, found.cell)
    return [
        Line(distance, energies_at(found, magnons, segment))
        for distance, segment in zip(distances, path.segments, strict=True)
    ]


def lines_of_table(
    found: SpinStructureFactor,
    cell: np.ndarray,
    names: Sequence[str],
    distances: np.ndarray,
    energies: np.ndarray,
) -> list[Line]:
    """Bands of a table along the path of S(q, omega), as far as it has its lines.

    Args:
        found: S(q, omega).
        cell: (3, 3) primitive cell of the bands, Angstrom.
        names: (p,) of the lines, such as ``"G-H"``.
        distances: (p,) 1/Angstrom.
        energies: (p, bands) meV.

    Raises:
        ValueError: if there is no path, the lattice is another one, or no line is in both.

    Warns:
        OtherLatticeWarning: if the crystals differ by a strain.
    """
    if found.path is None:
        raise ValueError("bands are drawn along a path; these q were given one by one")
    matrix = repeats(cell, found.cell)
    if matrix is None or abs(round(np.linalg.det(matrix))) != 1:
        raise ValueError(
            f"the bands are of a cell of {abs(np.linalg.det(cell)):.4g} Angstrom^3, S(q, omega) of "
            f"one of {abs(np.linalg.det(found.cell)):.4g}, and so along other lines: give the cell "
            "of the bands as that of q"
        )
    _warn_of_strain(found, cell, matrix)
    by_name: dict[str, list[int]] = {}
    for k, name in enumerate(names):
        by_name.setdefault(name, []).append(k)
    lines = []
    ends = [(part[0], part[-1]) for part in distances_along(found.path, found.cell)]
    for (start, end), (low, high) in zip(found.path.labels, ends, strict=True):
        rows = by_name.get(f"{start}-{end}")
        backwards = rows is None
        rows = by_name.get(f"{end}-{start}", []) if backwards else rows
        if len(rows) < 2:
            lines.append(Line(np.empty(0), np.empty((0, energies.shape[1]))))
            continue
        part = (distances[rows] - distances[rows[0]]) / np.ptp(distances[rows])
        part = 1.0 - part if backwards else part
        lines.append(Line(low + part * (high - low), energies[rows]))
    if not any(len(line.distances) for line in lines):
        raise ValueError(f"the bands have no line of the path, but {', '.join(by_name)}")
    return lines


def _warn_of_strain(found: SpinStructureFactor, cell: np.ndarray, matrix: np.ndarray) -> None:
    """Issue an `OtherLatticeWarning` where lengths differ by more than `STRAINED`."""
    stretch = np.linalg.svd(np.linalg.inv(matrix @ found.cell) @ cell, compute_uv=False) - 1.0
    largest = stretch[np.argmax(np.abs(stretch))]
    if abs(largest) > STRAINED:
        volumes = (abs(np.linalg.det(of)) for of in (cell, matrix @ found.cell))
        warn(
            "the bands are of {:.4g} Angstrom^3 where the trajectory has {:.4g}, with lengths that "
            "differ by up to {:.2g} %: energies of magnons differ by that, too, by several times "
            "as much; calculate them in the cell of the trajectory, or simulate in theirs".format(
                *volumes, 100 * abs(largest)
            ),
            OtherLatticeWarning,
        )


def nearest(energies: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """For each of (k,) energies the nearest of (k, bands) candidates; NaN where it is NaN."""
    away = np.abs(candidates - energies[:, None])
    away[np.isnan(away)] = np.inf
    chosen = candidates[np.arange(len(energies)), np.argmin(away, axis=1)]
    return np.where(np.isnan(energies), np.nan, chosen)


def at_waves(found: SpinStructureFactor, lines: Sequence[Line]) -> np.ndarray:
    """Energies (k, bands) of lines at the waves of S(q, omega); NaN where no line goes."""
    energies = np.full((len(found.q), lines[0].energies.shape[1]), np.nan)
    for line in lines:
        if not len(line.distances):
            continue
        order = np.argsort(line.distances)
        x, room = line.distances[order], 1e-6
        inside = (found.distances > x[0] - room) & (found.distances < x[-1] + room)
        for band in range(energies.shape[1]):
            energies[inside, band] = np.interp(
                found.distances[inside], x, line.energies[order, band]
            )
    return energies
