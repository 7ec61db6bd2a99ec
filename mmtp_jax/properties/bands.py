"""Bands: lines between special points of a lattice, and the frequencies along them.

Frequencies are in THz; imaginary ones are negative, as in phonopy.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from ase.cell import Cell
from ase.dft.kpoints import parse_path_string

POINTS = 201
"""Of a path of bands, about."""
_CLOSE = 0.1
"""Share of lengths, and of cosines, that a relaxation may change."""


class Mode(NamedTuple):
    """One phonon."""

    q: tuple[float, float, float]
    """In reciprocal vectors of the primitive cell."""
    frequency: float
    """THz, negative where imaginary."""

    def __str__(self) -> str:
        """E.g. ``1.23i THz at q = (0.5, 0, 0)``."""
        size = f"{abs(self.frequency):.3g}{'i' if self.frequency < 0 else ''} THz"
        return f"{size} at q = ({', '.join(f'{x:.4g}' for x in self.q)})"


class Path(NamedTuple):
    """Straight lines between special points."""

    segments: list[np.ndarray]
    """(k, 3) q of each line, its ends included, in reciprocal vectors of the primitive cell."""
    labels: list[tuple[str, str]]
    """Names of the ends of each line."""


class Bands(NamedTuple):
    """Frequencies along a path."""

    path: Path
    distances: list[np.ndarray]
    """(k,) of each line, 1/Angstrom without 2 pi, from the start of the path."""
    frequencies: list[np.ndarray]
    """(k, modes) THz."""

    @property
    def lowest(self) -> Mode:
        """The mode of the lowest frequency."""
        return lowest_mode(np.concatenate(self.path.segments), np.concatenate(self.frequencies))


def _parsed(path: str) -> list[list[str]]:
    """Names of the points of each line."""
    try:
        return parse_path_string(path)
    except (ValueError, IndexError, KeyError) as error:
        raise ValueError(
            f"the path {path!r} is none; give names of special points, e.g. GXWKGL,UX"
        ) from error


def checked_q(q: Any) -> np.ndarray:
    """One or several q as an array (k, 3).

    Raises:
        ValueError: if they are not three finite numbers each.
    """
    try:
        found = np.atleast_2d(np.asarray(q, float))
    except (TypeError, ValueError) as error:
        raise ValueError(f"q are three numbers each, (k, 3), got {q!r}") from error
    if found.ndim != 2 or found.shape[1] != 3 or not len(found):
        raise ValueError(f"q are three numbers each, (k, 3), got shape {found.shape}")
    if not np.all(np.isfinite(found)):
        raise ValueError(f"q must be finite, got {found[~np.isfinite(found).all(axis=1)][0]}")
    return found


def distances_along(path: Path, cell: np.ndarray) -> list[np.ndarray]:
    """Distances of `Bands` of a primitive cell (3, 3)."""
    reciprocal, found, start = np.linalg.inv(cell), [], 0.0
    for segment in path.segments:
        steps = np.linalg.norm(np.diff(segment, axis=0) @ reciprocal.T, axis=1)
        found.append(start + np.concatenate([[0.0], np.cumsum(steps)]))
        start = found[-1][-1]
    return found


def lowest_mode(q: np.ndarray, frequencies: np.ndarray) -> Mode:
    """The mode of the lowest frequency among (k, modes) at q (k, 3)."""
    k = int(np.argmin(frequencies.min(axis=1)))
    return Mode(tuple(float(x) for x in q[k]), float(frequencies[k].min()))


def check_path(cell: np.ndarray, path: str, relaxes: bool = False) -> None:
    """Refuse a path as `default_path` does, before a long calculation.

    Args:
        cell: (3, 3) of the primitive cell, Angstrom.
        path: names of special points.
        relaxes: the cell may become that of a lattice of higher symmetry that is close.

    Raises:
        ValueError: see `default_path`.
    """
    try:
        default_path(cell, path=path)
    except ValueError:
        close = Cell(cell).bandpath(npoints=0, eps=_CLOSE).special_points
        names = {name for line in _parsed(path) for name in line}
        if not relaxes or not names <= set(close):
            raise


def default_path(cell: np.ndarray, points: int = POINTS, path: str | None = None) -> Path:
    """Lines between the special points of the lattice of a primitive cell.

    Args:
        cell: (3, 3) Angstrom.
        points: of all lines together, about.
        path: names of special points, e.g. ``"GXWKGL,UX"``; by default ASE's choice.

    Raises:
        ValueError: if the lattice has no such points, or the path is no line.
    """
    found = Cell(cell).bandpath(npoints=0, eps=1e-3)
    if path is not None:
        lines = _parsed(path)
        unknown = {name for names in lines for name in names} - set(found.special_points)
        if unknown or not any(len(names) > 1 for names in lines):
            raise ValueError(
                f"the path {path!r} names {', '.join(sorted(unknown)) or 'no line'}; special "
                f"points of this lattice ({found.cell.get_bravais_lattice(eps=1e-3).longname}) "
                f"are {', '.join(found.special_points)}, and its usual path is {found.path}"
            )
        found = Cell(cell).bandpath(path, npoints=0, eps=1e-3)
    reciprocal = np.linalg.inv(cell)
    lines = [
        (names[k], names[k + 1])
        for names in parse_path_string(found.path)
        for k in range(len(names) - 1)
    ]
    ends = [(found.special_points[a], found.special_points[b]) for a, b in lines]
    lengths = np.array([np.linalg.norm(reciprocal @ (b - a)) for a, b in ends])
    counts = np.maximum(np.rint(points * lengths / lengths.sum()).astype(int), 2)
    segments = [np.linspace(a, b, k) for (a, b), k in zip(ends, counts, strict=True)]
    return Path(segments, lines)
