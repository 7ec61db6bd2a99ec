"""``band.yaml``: bands along a path, in the layout of phonopy, for the tools that read it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np

MEV_PER_THZ = 4.135667696
"""Planck's constant."""


def write_band_yaml(
    path: str | Path,
    cell: np.ndarray,
    symbols: Sequence[str],
    positions: np.ndarray,
    moments: np.ndarray,
    segments: Sequence[np.ndarray],
    labels: Sequence[tuple[str, str]],
    distances: Sequence[np.ndarray],
    energies: Sequence[np.ndarray],
    note: str = "",
) -> None:
    """Write bands of energies: ``frequency`` is in THz as in phonopy, ``energy`` in meV.

    Args:
        path: of the file.
        cell: (3, 3) of the primitive cell, Angstrom.
        symbols: (n,) chemical symbols.
        positions: (n, 3) Angstrom.
        moments: (n,) mu_B.
        segments: (k, 3) q of each line, in reciprocal vectors.
        labels: names of the ends of each line.
        distances: (k,) of each line from the start of the path, 1/Angstrom without 2 pi.
        energies: (k, bands) of each line, meV.
        note: a comment at the top.
    """
    reciprocal = np.linalg.inv(cell).T
    lines = [
        *([f"# {note}"] if note else []),
        f"nqpoint: {sum(map(len, segments))}",
        f"npath: {len(segments)}",
        "segment_nqpoint:",
        *(f"- {len(segment)}" for segment in segments),
        "labels:",
        *(f"- [ '{start}', '{end}' ]" for start, end in labels),
        "reciprocal_lattice:",
        *(f"- {_row(row)}" for row in reciprocal),
        f"natom: {len(symbols)}",
        "lattice:",
        *(f"- {_row(row)}" for row in cell),
        "points:",
    ]
    for symbol, place, moment in zip(symbols, positions @ reciprocal.T, moments, strict=True):
        lines += [
            f"- symbol: {symbol}",
            f"  coordinates: {_row(place)}",
            f"  magnetic_moment: {moment:.8f}",
        ]
    lines += ["", "phonon:"]
    rows = zip(
        chain.from_iterable(segments),
        chain.from_iterable(distances),
        chain.from_iterable(energies),
        strict=True,
    )
    for q, distance, values in rows:
        lines += [f"- q-position: {_row(q)}", f"  distance: {distance:.7f}", "  band:"]
        for k, value in enumerate(values, 1):
            lines += [
                f"  - # {k}",
                f"    frequency: {value / MEV_PER_THZ:.10f}",
                f"    energy: {value:.10f}",
            ]
        lines.append("")
    Path(path).write_text("\n".join(lines) + "\n")


def _row(values: np.ndarray) -> str:
    return f"[ {', '.join(f'{value:.8f}' for value in values)} ]"
