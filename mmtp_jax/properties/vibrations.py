"""Vibrations and thermal expansion from the files and frames of molecular dynamics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from mmtp_jax.io.names import OFF_GRID
from mmtp_jax.io.schema import SOURCE
from mmtp_jax.io.thermo import read_series
from mmtp_jax.properties.dos import RESOLUTION_THZ, VibrationalDOS, vibrational_dos_of
from mmtp_jax.properties.expansion import (
    ThermalExpansion,
    constant_pressure_run,
    thermal_expansion_of,
)
from mmtp_jax.warn import warn

TIME = "time_fs"

_SAME = 1e-6


class StoppedRunWarning(UserWarning):
    """A run of dynamics has ended early."""


def vibrational_dos(
    frames: Sequence[Atoms] | Sequence[Sequence[Atoms]],
    *,
    interval_fs: float | None = None,
    skip: float = 0.1,
    resolution_THz: float = RESOLUTION_THZ,
    max_THz: float | None = None,
) -> VibrationalDOS:
    """Vibrational density of states from the velocities of dynamics (Burov 2026, Figs. 4 and 5).

    Best of a run at constant energy or with the ``bussi`` thermostat: Langevin's broadens lines.

    Args:
        frames: of one trajectory, e.g. ``mmtp.read("run.extxyz")``; or several trajectories of the
            same atoms, whose correlations are averaged.
        interval_fs: time between frames; by default that of their ``info["time_fs"]``, which
            ``mmtp md`` writes.
        skip: share of each trajectory to leave out at its start.
        resolution_THz: full width at half maximum to which lines are smeared.
        max_THz: highest frequency.

    Returns:
        `VibrationalDOS`, total and by species, per atom; its integral is 3.

    Raises:
        ValueError: if frames have no velocities, no times or times that differ, or are too few.

    Warns:
        AliasingWarning: if the frames are too rare for the fastest vibrations.
        ResolutionWarning: if there are too few frames for the resolution: a coarser one is taken.
        StoppedRunWarning: if the last frame of a run that has stopped early is left out.

    Example:
        >>> found = mmtp.vibrational_dos(mmtp.read("run.extxyz"))
        >>> found.frequencies, found.total, found.species["Fe"]
    """
    runs = [list(frames)] if isinstance(frames[0], Atoms) else [list(run) for run in frames]
    runs = [_on_grid(run, number) for number, run in enumerate(runs, 1)]
    if not 0.0 <= skip < 1.0:
        raise ValueError(f"skip is a share of the trajectory between 0 and 1, got {skip}")
    for number, run in enumerate(runs, 1):
        if not run:
            raise ValueError(f"trajectory {number} has no frames")
    first = runs[0][0]
    intervals = []
    for number, run in enumerate(runs, 1):
        for k, atoms in enumerate(run, 1):
            if not atoms.has("momenta"):
                raise ValueError(
                    f"{_name(atoms, number, k)} has no velocities; the trajectories that 'mmtp md "
                    "-o' writes have them"
                )
            if len(atoms) != len(first) or np.any(atoms.numbers != first.numbers):
                raise ValueError(f"{_name(atoms, number, k)} is of other atoms than the first")
        intervals.append(_interval(run, number) if interval_fs is None else interval_fs)
    if np.ptp(intervals) > _SAME * max(intervals):
        raise ValueError(f"the times between frames differ: {sorted(set(intervals))} fs")
    return vibrational_dos_of(
        [np.array([a.get_velocities() for a in run[int(skip * len(run)) :]]) for run in runs],
        first.get_masses(),
        list(first.symbols),
        float(intervals[0]),
        resolution_THz=resolution_THz,
        max_THz=max_THz,
    )


def _on_grid(run: list[Atoms], number: int) -> list[Atoms]:
    """Without the frame where a replica stopped, which is at no equal distance in time."""
    kept = [atoms for atoms in run if not atoms.info.get(OFF_GRID)]
    if len(kept) < len(run):
        warn(
            f"trajectory {number}: {len(run) - len(kept)} of {len(run)} frames lies between two "
            f"others in time (info['{OFF_GRID}']: the run stopped there) and is left out",
            StoppedRunWarning,
        )
    return kept


def _name(atoms: Atoms, number: int, k: int) -> str:
    """What messages call frame ``k`` of trajectory ``number``."""
    return getattr(atoms, SOURCE, f"trajectory {number}, frame {k}")


def _interval(run: Sequence[Atoms], number: int) -> float:
    """Time between the frames of a trajectory, fs."""
    if len(run) < 2:
        raise ValueError(f"{_name(run[0], number, 1)} is the only frame; a spectrum needs many")
    for k, atoms in enumerate(run, 1):
        if TIME not in atoms.info:
            raise ValueError(
                f"{_name(atoms, number, k)} does not say its time (info['{TIME}']); give the time "
                "between frames"
            )
    times = np.array([float(atoms.info[TIME]) for atoms in run])
    steps = np.diff(times)
    if steps[0] <= 0.0 or np.abs(steps - steps[0]).max() > 1e-4 * abs(steps[0]):
        k = int(np.argmax(np.abs(steps - steps[0])))
        raise ValueError(
            f"{_name(run[k], number, k + 1)}: frames are not equally far apart in time (this one "
            f"at {times[k]:g} fs, the next at {times[k + 1]:g} fs); leave out those that are not"
        )
    return float(steps.mean())


def thermal_expansion(
    logs: Sequence[str | Path], *, pressure_GPa: float = 0.0, skip: float = 0.2, degree: int = 2
) -> ThermalExpansion:
    """Thermal expansion and heat capacity of runs at constant pressure and several temperatures.

    Args:
        logs: CSV files that ``mmtp md --log`` has written; replicas of one are runs by themselves.
        pressure_GPa: that the barostat holds.
        skip: share of each run to leave out at its start.
        degree: of the polynomials in temperature.

    Raises:
        ValueError: if a log has too few rows or no volume that changes, or all have one
            temperature.

    Warns:
        StoppedRunWarning: if a replica has stopped before the others of its log, and does not
            count; or a log is shorter than others.

    Example:
        >>> print(mmtp.thermal_expansion(["300.csv", "600.csv", "900.csv"]))
    """
    runs, ends = [], {}
    for path in [logs] if isinstance(logs, (str, Path)) else logs:
        names = ("temperature", "volume", "energy", "kinetic", "mean_moment", "atoms", "time")
        columns = read_series(path, names)
        ends[path] = 1e-3 * float(columns["time"][-1, 0])
        for replica in range(columns["volume"].shape[1]):
            values = [columns[name][:, replica] for name in names[:-2]]
            if len(values[1]) > 1 and values[1][-1] == values[1][-2] and np.ptp(values[1]) > 0.0:
                # Rows of a replica that has stopped repeat its last one.
                warn(
                    f"{path}, replica {replica}: the run has stopped before its end; it does not "
                    "count",
                    StoppedRunWarning,
                )
                continue
            try:
                runs.append(
                    constant_pressure_run(
                        *values, int(columns["atoms"][0, replica]), pressure_GPa, skip
                    )
                )
            except ValueError as error:
                raise ValueError(f"{path}, replica {replica}: {error}") from error
    for path, end in ends.items():
        if end < 0.9 * max(ends.values()):
            warn(
                f"{path} ends at {end:.4g} ps, other runs go to {max(ends.values()):.4g} ps: if it "
                "has stopped early, for what it met, its averages are no equilibrium",
                StoppedRunWarning,
            )
    return thermal_expansion_of(runs, degree)
