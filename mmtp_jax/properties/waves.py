"""Waves that a supercell holds: along paths, as given, and those that symmetry makes equal.

q are in reciprocal vectors of a primitive cell. A supercell ``matrix @ cell`` holds those for which
``matrix @ q`` are whole numbers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mmtp_jax.properties.bands import Path, checked_q, default_path
from mmtp_jax.properties.crystal import by_spglib
from mmtp_jax.properties.lattice_sites import Sites

_WHOLE = 1e-4
"""By which whole numbers may be none."""
_SYMPREC = 0.05


class Waves(NamedTuple):
    """q, and where they are on a path."""

    q: np.ndarray
    """(k, 3) in reciprocal vectors of the primitive cell."""
    distances: np.ndarray
    """(k,) from the start of the path, 1/Angstrom without 2 pi; 0, 1, ... without a path."""
    path: Path | None
    """Lines that they are on; None where they were given."""


class Member(NamedTuple):
    """A wave of a star."""

    q: np.ndarray
    """(3,)."""
    flipped: bool
    """The operation that leads to it reverses the moments, and so the sense of precession."""


def given_waves(q: Any, matrix: np.ndarray) -> Waves:
    """The q that were asked for.

    Raises:
        ValueError: if they are no q, or none of the supercell.
    """
    q = checked_q(q)
    away = q @ matrix.T
    off = np.abs(away - np.rint(away)).max(axis=1)
    if np.any(off > _WHOLE):
        k = int(np.argmax(off > _WHOLE))
        near = np.rint(away[k]) @ np.linalg.inv(matrix).T
        raise ValueError(
            f"q = {_shown(q[k])} is no wave of the supercell, which is too small or has another "
            f"length; the nearest that it holds is {_shown(near)}"
        )
    return Waves(_clean(np.rint(away) @ np.linalg.inv(matrix).T), np.arange(float(len(q))), None)


def waves_along(cell: np.ndarray, matrix: np.ndarray, path: str | None) -> Waves:
    """The q of a supercell on the lines between special points.

    Args:
        cell: (3, 3) of the primitive cell, Angstrom.
        matrix: (3, 3) the supercell in primitive cells.
        path: names of special points; by default ASE's choice.

    Raises:
        ValueError: if there are not two of them, or the path has points that are not known.
    """
    lines = default_path(cell, 2, path)
    inverse, reciprocal = np.linalg.inv(matrix).T, np.linalg.inv(cell)
    q, distances, start = [], [], 0.0
    for segment in lines.segments:
        a, b = segment[0], segment[-1]
        length = float(np.linalg.norm(reciprocal @ (b - a)))
        for t in _whole_between(matrix @ a, matrix @ b):
            point = np.rint(matrix @ (a + t * (b - a))) @ inverse
            place = start + t * length
            if not q or abs(place - distances[-1]) > 1e-9 or np.abs(point - q[-1]).max() > 1e-9:
                q.append(point)
                distances.append(place)
        start += length
    if len(q) < 2:
        raise ValueError(
            "the supercell holds no two waves along the path; repeat the cell more often, or give "
            "q or another path"
        )
    return Waves(_clean(np.array(q)), np.array(distances), lines)


def stars(q: np.ndarray, sites: Sites, signs: np.ndarray) -> list[list[Member]]:
    """For each q those that symmetry makes equal, itself first.

    Operations are those of the crystal that map the supercell to itself and its moments, signs
    alone, to themselves or to their reverse.

    Args:
        q: (k, 3).
        sites: of the atoms.
        signs: (n,) of their moments along a common axis, 0 for atoms without.
    """
    found: list[dict[tuple, Member]] = [
        {(*_key(point), False): Member(point, False)} for point in q
    ]
    for rotation, flipped in _operations(sites, signs):
        turned = q @ np.linalg.inv(rotation)
        for star, point in zip(found, turned, strict=True):
            star.setdefault((*_key(point), flipped), Member(point, flipped))
    return [list(star.values()) for star in found]


def _operations(sites: Sites, signs: np.ndarray) -> list[tuple[np.ndarray, bool]]:
    """Rotations (3, 3) of scaled positions, and whether moments are reversed by them."""
    symmetry = by_spglib("get_symmetry", (sites.cell, sites.basis, sites.numbers), _SYMPREC)
    if symmetry is None:
        return []
    inverse = np.linalg.inv(sites.matrix.T)
    order = np.argsort(own := sites.key(sites.site, sites.lattice))
    found: list[tuple[np.ndarray, bool]] = []
    for rotation, shift in zip(symmetry["rotations"], symmetry["translations"], strict=True):
        whole = inverse @ rotation @ sites.matrix.T
        if np.abs(whole - np.rint(whole)).max() > _WHOLE:
            continue
        moved = sites.basis @ rotation.T + shift
        away = moved[:, None] - sites.basis
        site = np.argmin(np.linalg.norm((away - np.rint(away)) @ sites.cell, axis=-1), axis=1)
        jump = np.rint(moved - sites.basis[site]).astype(int)
        lattice = sites.lattice @ rotation.T + jump[sites.site]
        place = np.searchsorted(own, sites.key(site[sites.site], lattice), sorter=order)
        image = signs[order[place]]
        for sense in (1, -1):
            if np.array_equal(image, sense * signs):
                found.append((rotation, sense < 0))
                break
    return found


def _whole_between(a: np.ndarray, b: np.ndarray) -> list[float]:
    """t in [0, 1] at which ``a + t (b - a)`` are whole numbers."""
    along = b - a
    j = int(np.argmax(np.abs(along)))
    if abs(along[j]) < _WHOLE:
        return [0.0] if np.abs(a - np.rint(a)).max() < _WHOLE else []
    low, high = sorted((a[j], b[j]))
    steps = np.arange(np.ceil(low - _WHOLE), np.floor(high + _WHOLE) + 1)
    t = np.sort(np.clip((steps - a[j]) / along[j], 0.0, 1.0))
    points = a + t[:, None] * along
    return [float(x) for x in t[np.abs(points - np.rint(points)).max(axis=1) < 10 * _WHOLE]]


def _clean(q: np.ndarray) -> np.ndarray:
    """Without what rounding makes of zeros."""
    return np.round(q, 12) + 0.0


def _key(q: np.ndarray) -> tuple[int, ...]:
    return tuple(np.rint(1e6 * q).astype(int).tolist())


def _shown(q: np.ndarray) -> str:
    return f"({', '.join(f'{x + 0.0:.4g}' for x in q)})"
