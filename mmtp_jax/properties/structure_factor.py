"""Spin waves from dynamics: the dynamical structure factor S(q, omega) of a trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms

from mmtp_jax.io.schema import labels_of
from mmtp_jax.language import argument, named
from mmtp_jax.properties.dos import ALIASED, AliasingWarning
from mmtp_jax.properties.frames import (
    check_same_atoms,
    check_skip,
    interval_of,
    name_of,
    runs_of,
)
from mmtp_jax.properties.lattice_sites import find_sites
from mmtp_jax.properties.ordered import Order
from mmtp_jax.properties.spin_peaks import peaks_of
from mmtp_jax.properties.spin_spectra import (
    HANN,
    MEV_FS,
    Run,
    block_length,
    first_order,
    kinds_of,
    spectra_of,
)
from mmtp_jax.properties.structure_factor_results import SpinStructureFactor
from mmtp_jax.properties.waves import given_waves, stars, waves_along
from mmtp_jax.warn import warn

POSITIONS = ("ideal", "instantaneous")

_FRAMES_OF_MEAN = 200
_NO_ORDER, _NOT_COLLINEAR = 0.1, 0.3


class NoAxisWarning(UserWarning):
    """Moments have no common axis, so that transverse and longitudinal mean nothing."""


def spin_structure_factor(
    trajectory: Sequence[Any] | np.ndarray,
    *,
    atoms: Atoms | None = None,
    cell: Atoms | None = None,
    q: Any = None,
    path: str | None = None,
    positions: str = "ideal",
    interval_fs: float | None = None,
    skip: float = 0.1,
    resolution_meV: float | None = None,
    max_meV: float | None = None,
) -> SpinStructureFactor:
    """Dynamical spin structure factor S(q, omega): magnons from spin dynamics.

    Waves are those that the supercell holds. Those that the symmetry of the crystal and of its
    magnetic order makes equal are averaged. See `mmtp_jax.properties.spin_spectra` for the
    equations; intensities are classical, k_B T per mode.

    Args:
        trajectory: frames with moments (n, 3), as ``mmtp.read("run.extxyz", vectors=True)`` of a
            run of ``mmtp md --spins dynamics``; or moments (t, n, 3) in mu_B; or several of either,
            of the same atoms, which are averaged.
        atoms: the supercell, where moments are given.
        cell: the cell whose reciprocal vectors q are in, in the orientation of the supercell. Its
            species are not compared, for alloys. By default the primitive cell that the mean
            positions repeat, moments not looked at, with the vectors that spglib chooses.
        q: (k, 3) in its reciprocal vectors; by default those on the path.
        path: names of special points of its lattice, e.g. ``"GHNGPH"``; by default ASE's choice.
        positions: of the atoms in ``exp(-i q.R)``: ``"ideal"`` lattice sites, or
            ``"instantaneous"``, which adds scattering by vibrations.
        interval_fs: time between frames; by default that of their ``info["time_fs"]``.
        skip: share of each trajectory to leave out at its start.
        resolution_meV: width of a line, from which the length of blocks follows; by default that
            of a quarter of the shortest trajectory, which gives seven blocks.
        max_meV: highest energy, of either sign, that is kept.

    Raises:
        ValueError: if frames have no vectors as moments, no times or times that differ, or are too
            few; if the supercell does not repeat the cell, or does not hold a q.

    Warns:
        AliasingWarning: if the frames are too rare for the fastest spin waves.
        NoAxisWarning: if the moments have no common axis; ``total`` is still what it says.
        StoppedRunWarning: if the last frame of a run that has stopped early is left out.

    Example:
        >>> found = mmtp.spin_structure_factor(mmtp.read("run.extxyz", vectors=True), path="GH")
        >>> found.q, found.peaks.energy, found.peaks.error
    """
    check_skip(skip)
    if positions not in POSITIONS:
        raise ValueError(f"{named('positions')} is 'ideal' or 'instantaneous', got {positions!r}")
    for name, value in (("resolution_meV", resolution_meV), ("max_meV", max_meV)):
        if value is not None and not value > 0.0:
            raise ValueError(f"{named(name)} must be positive, got {value}")
    if q is not None and path is not None:
        raise ValueError(f"give {named('q')} or {named('path')}, not both")
    moving = positions == "instantaneous"
    if _is_arrays(trajectory):
        first, mean, runs, interval = _of_arrays(trajectory, atoms, interval_fs, skip, moving)
    else:
        first, mean, runs, interval = _of_frames(trajectory, interval_fs, skip, moving)
    length = block_length(min(len(run.moments) for run in runs), interval, resolution_meV)
    sites = find_sites(first, mean, cell)
    waves = (
        waves_along(sites.cell, sites.matrix, path)
        if q is None
        else given_waves(q, sites.matrix)
    )  # fmt: skip
    order = first_order(runs, length)
    _check_axis(order)
    starred = stars(waves.q, sites, order.signs)
    still = sites.scaled
    runs = [Run(run.moments, _about(run.places, still) if moving else still) for run in runs]
    kinds = kinds_of(sites.site, first.numbers, order.signs)
    found = spectra_of(runs, kinds, sites.matrix, starred, length, interval, order)
    resolution = HANN * MEV_FS / (length * interval)
    transverse = found.transverse.mean(axis=0)
    _check_aliasing(found.energies, transverse, interval)
    if max_meV is not None and max_meV < resolution:
        raise ValueError(
            f"{argument('max_meV', max_meV)} is below the resolution of {resolution:.3g} meV; give "
            "a larger one, or a longer run"
        )
    shown = np.abs(found.energies) <= (np.inf if max_meV is None else max_meV)
    return SpinStructureFactor(
        q=waves.q,
        distances=waves.distances,
        path=waves.path,
        energies=found.energies[shown],
        transverse=transverse[:, shown],
        longitudinal=found.longitudinal.mean(axis=0)[:, shown],
        static_transverse=found.static[0],
        static_longitudinal=found.static[1],
        peaks=peaks_of(found.energies[shown], found.transverse[..., shown], resolution),
        star=np.array([len(star) for star in starred]),
        resolution_meV=resolution,
        moment=order.moment,
        share=order.share,
        axis=order.axis,
        cell=sites.cell,
        supercell=sites.matrix,
        n_atoms=len(first),
        n_frames=sum(len(run.moments) for run in runs),
        n_blocks=len(found.transverse),
        interval_fs=interval,
    )


def _is_arrays(trajectory: Any) -> bool:
    return isinstance(trajectory, np.ndarray) or (
        len(trajectory) > 0 and isinstance(trajectory[0], np.ndarray)
    )


Input = tuple[Atoms, np.ndarray, list[Run], float]
"""The supercell, mean positions in its vectors, moments with positions, time between frames."""


def _of_arrays(
    trajectory: Any, atoms: Atoms | None, interval_fs: float | None, skip: float, moving: bool
) -> Input:
    """Of moments (t, n, 3)."""
    if atoms is None or interval_fs is None:
        raise ValueError("moments without frames need their supercell, atoms=, and interval_fs=")
    if moving:
        raise ValueError("instantaneous positions need frames, not moments alone")
    runs = [trajectory] if np.ndim(trajectory[0]) == 2 else list(trajectory)
    for run in runs:
        if np.shape(run)[1:] != (len(atoms), 3) or not np.all(np.isfinite(run)):
            raise ValueError(
                f"moments must be finite and (frames, {len(atoms)}, 3), got {np.shape(run)}"
            )
    mean = atoms.get_scaled_positions(wrap=False)
    kept = [np.asarray(run[int(skip * len(run)) :], float) for run in runs]
    return atoms, mean, [Run(run, mean) for run in kept], _positive(interval_fs)


def _of_frames(
    trajectory: Sequence[Any], interval_fs: float | None, skip: float, moving: bool
) -> Input:
    """Of frames."""
    runs = runs_of(trajectory)
    first = runs[0][0]
    interval = _positive(interval_of(runs, interval_fs))
    found, means, cells = [], [], []
    start = first.get_scaled_positions(wrap=False)
    for number, run in enumerate(runs, 1):
        low = int(skip * len(run))
        moments = np.empty((len(run) - low, len(first), 3))
        places = np.empty_like(moments) if moving else start
        every = max((len(run) - low) // _FRAMES_OF_MEAN, 1)
        for k, frame in enumerate(run[low:]):
            name = name_of(frame, number, low + k + 1)
            check_same_atoms(frame, first, name)
            moments[k] = _vectors(frame, name)
            if moving or k % every == 0:
                scaled = frame.get_scaled_positions(wrap=False)
                scaled -= np.rint(scaled - start)
                if moving:
                    places[k] = scaled
                means.append(scaled)
                cells.append(frame.cell.array)
        found.append(Run(moments, places))
    supercell = first.copy()
    supercell.set_cell(np.mean(cells, axis=0))
    return supercell, np.mean(means, axis=0), found, interval


def _vectors(atoms: Atoms, name: str) -> np.ndarray:
    """Moments (n, 3) of a frame."""
    moments = labels_of(atoms, fresh=True).moments
    if moments is None:
        raise ValueError(f"{name} has no magnetic moments")
    if np.ndim(moments) != 2:
        raise ValueError(
            f"{name} has moments that are numbers, along one axis; spin waves need vectors, as "
            "'mmtp md --spins dynamics' writes and mmtp.read(..., vectors=True) keeps them"
        )
    if not np.all(np.isfinite(moments)):
        raise ValueError(f"{name} has moments that are not finite")
    return moments


def _about(places: np.ndarray, sites: np.ndarray) -> np.ndarray:
    """Positions (t, n, 3) about sites, in vectors of the supercell, without a common drift."""
    away = places - sites
    away -= np.rint(away - away[:1, :1])
    return sites + away - away.mean(axis=1, keepdims=True)


def _positive(interval_fs: float) -> float:
    if not interval_fs > 0.0:
        raise ValueError(f"the time between frames must be positive, got {interval_fs} fs")
    return float(interval_fs)


def _check_axis(order: Order) -> None:
    if order.share < _NO_ORDER or order.across > _NOT_COLLINEAR:
        warn(
            f"the moments have no common axis: on average {100 * order.share:.0f} % of their size "
            f"is along one, and {100 * order.across:.0f} % of the mean moments across it; "
            "transverse and longitudinal parts say nothing, only their sum does",
            NoAxisWarning,
        )


def _check_aliasing(energies: np.ndarray, transverse: np.ndarray, interval_fs: float) -> None:
    highest = -energies[0]
    whole = transverse.sum()
    share = transverse[:, np.abs(energies) > 0.9 * highest].sum() / whole if whole > 0.0 else 0.0
    if share > ALIASED:
        warn(
            f"{100 * share:.0f} % of the spin waves are close to {highest:.3g} meV, the highest "
            f"energy that frames {interval_fs:g} fs apart show: faster ones appear at wrong "
            "energies, or with the wrong sense; keep more frames",
            AliasingWarning,
        )
