"""Vibrations and thermal expansion from the files and frames of molecular dynamics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from mmtp_jax.io.thermo import read_series
from mmtp_jax.properties.dos import RESOLUTION_THZ, VibrationalDOS, vibrational_dos_of
from mmtp_jax.properties.expansion import (
    ThermalExpansion,
    constant_pressure_run,
    thermal_expansion_of,
)
from mmtp_jax.properties.frames import (
    StoppedRunWarning,
    check_same_atoms,
    check_skip,
    interval_of,
    name_of,
    runs_of,
)
from mmtp_jax.warn import warn


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
    check_skip(skip)
    runs = runs_of(frames)
    first = runs[0][0]
    for number, run in enumerate(runs, 1):
        for k, atoms in enumerate(run, 1):
            if not atoms.has("momenta"):
                raise ValueError(
                    f"{name_of(atoms, number, k)} has no velocities; the trajectories that 'mmtp "
                    "md -o' writes have them"
                )
            check_same_atoms(atoms, first, name_of(atoms, number, k))
    interval = interval_of(runs, interval_fs)
    return vibrational_dos_of(
        [np.array([a.get_velocities() for a in run[int(skip * len(run)) :]]) for run in runs],
        first.get_masses(),
        list(first.symbols),
        interval,
        resolution_THz=resolution_THz,
        max_THz=max_THz,
    )


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
