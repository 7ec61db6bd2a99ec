"""Files that a run of dynamics adds to as it goes: frames as extended XYZ, thermodynamics as CSV.

Each addition is written out at once, so that a run that is killed loses at most what came after.
The size of a file says where it ends: a resumed run cuts off what is newer than its checkpoint.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from mmtp_jax.io.atomic import WriteError, writing
from mmtp_jax.io.atoms import with_results
from mmtp_jax.io.extxyz import frame
from mmtp_jax.io.names import LENGTH_SPEEDS, OFF_GRID
from mmtp_jax.simulation.dynamics.integrate import State
from mmtp_jax.simulation.dynamics.observer import Snapshot
from mmtp_jax.simulation.dynamics.series import UNITS, Series
from mmtp_jax.structures.results import VOIGT

SUFFIXES = (".extxyz", ".xyz")

GRADE_COLUMN = "grade"
"""Of a log, where grades were watched."""


def atoms_of_state(state: State, replica: int, symbols: Sequence[str]) -> Atoms:
    """One replica as atoms with velocities, also those of lengths of moments, and results.

    Moments are the initial ones and those of the results. The masses are those of the elements,
    unless the run has others.
    """
    system, known = state.system, state.known
    atoms = Atoms(
        list(symbols),
        positions=system.positions[replica],
        cell=system.cell[replica],
        pbc=system.periodic,
    )
    if not np.allclose(atoms.get_masses(), system.masses):
        atoms.set_masses(system.masses)
    atoms.set_velocities(system.velocities[replica])
    atoms.set_initial_magnetic_moments(np.asarray(system.magmoms[replica]))
    if np.any(speeds := np.asarray(state.precession.speeds[replica])):
        atoms.set_array(LENGTH_SPEEDS, speeds)
    results = {
        "energy": float(known.energy[replica]),
        "forces": np.asarray(known.forces[replica]),
        "magmoms": np.asarray(system.magmoms[replica]),
    }
    if atoms.pbc.all():
        results["stress"] = np.asarray(known.stress[replica])[VOIGT]
    return with_results(atoms, results, np.asarray(known.magnetic_forces[replica]))


class TrajectoryWriter:
    """Adds a frame of each replica to its file at every so many steps, and at no others.

    A replica that stops between two of them gets one more frame, where it is, which has
    ``info["off_grid"] = True``.

    Args:
        paths: one file per replica.
        symbols: chemical symbols of the atoms.
        every: steps between two frames.
        last: step up to which frames are there, where the files are continued; None starts them
            afresh.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        symbols: Sequence[str],
        every: int,
        last: int | None = None,
    ) -> None:
        for path in paths:
            check_name(path)
        self.paths, self.symbols, self.every = [Path(p) for p in paths], list(symbols), every
        self._written = [-1 if last is None else last] * len(self.paths)
        if last is None:
            for path in self.paths:
                path.write_bytes(b"")

    def __call__(self, snapshot: Snapshot) -> None:
        """Add the frames of one state, as far as they are due and not there."""
        state = snapshot.state
        for r, path in enumerate(self.paths):
            stopped = int(state.stopped_at[r])
            step = snapshot.step if stopped < 0 else stopped
            off_grid = step % self.every != 0
            if step <= self._written[r] or (off_grid and stopped < 0):
                continue
            atoms = atoms_of_state(state, r, self.symbols)
            atoms.info.update(step=step, time_fs=step * snapshot.timestep_fs)
            if off_grid:
                atoms.info[OFF_GRID] = True
            append(path, frame(atoms)[0])
            self._written[r] = step


def check_name(path: str | Path) -> None:
    """Refuse the name of a trajectory that is of another format.

    Raises:
        ValueError: with the names that can be.
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        raise ValueError(
            f"cannot write a trajectory to {path}: its name must end in .extxyz or .xyz"
        )


def check_grid(path: Path, every: int, last: int) -> None:
    """Refuse to continue frames at every so many steps with frames at others.

    Args:
        path: a trajectory of a replica that runs on.
        every: steps between two frames from now on.
        last: step up to which frames are there.

    Raises:
        ValueError: if those that are there are on another grid.
    """
    steps = _first_steps(path)
    if len(steps) == 2 and None not in steps:
        found = steps[1] - steps[0]
        if found != every:
            raise ValueError(
                f"{path} has frames {found} steps apart, and would go on with {every}; to resume, "
                f"take {found} again, or start afresh"
            )
    elif len(steps) == 1 and last >= every:
        raise ValueError(
            f"{path} has one frame up to step {last}, and would go on with frames {every} steps "
            "apart; to resume, take as many as before, or start afresh"
        )


def _first_steps(path: Path) -> list[int | None]:
    """Steps of the first two frames, as far as they are there; None off the grid."""
    steps: list[int | None] = []
    if not path.is_file():
        return steps
    with open(path, encoding="utf-8") as file:
        while len(steps) < 2 and (count := file.readline().strip()).isdigit():
            line = file.readline()
            step = re.search(r"(?<!\S)step=(\d+)", line)
            off_grid = step is None or f"{OFF_GRID}=T" in line
            steps.append(None if off_grid else int(step.group(1)))
            for _ in range(int(count)):
                file.readline()
    return steps


class ThermoLog:
    """Adds rows of the time series to a CSV file, one line per step and replica.

    Args:
        path: the file.
        timestep_fs: time step.
        n_atoms: atoms of a replica.
        go_on: the file is continued, with the columns that it has.
        without: names of numbers that are not known, and have no column.
    """

    def __init__(
        self,
        path: str | Path,
        timestep_fs: float,
        n_atoms: int,
        go_on: bool = False,
        without: Collection[str] = (),
    ) -> None:
        self.path, self.timestep_fs, self.n_atoms = Path(path), timestep_fs, n_atoms
        if go_on:
            with open(self.path, encoding="utf-8") as file:
                there = {name.split(" (")[0] for name in file.readline().strip().split(",")}
            without = set(Series._fields) - there
        self.names = [name for name in Series._fields if name not in without]
        if not go_on:
            self.path.write_text(",".join(self.header()) + "\n", encoding="utf-8")

    def header(self) -> list[str]:
        """Names of the columns, with units."""
        of_series = [(name, getattr(UNITS, name)) for name in self.names]
        names = [f"{name} ({unit})" if unit else name for name, unit in of_series]
        return ["step", "time (fs)", "replica", "atoms", *names]

    def __call__(self, steps: np.ndarray, rows: Series) -> None:
        """Add rows (t, R); cells of numbers that are not known are empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        columns = [np.asarray(getattr(rows, name)) for name in self.names]
        for k, step in enumerate(steps):
            for r in range(columns[0].shape[1]):
                values = [
                    "" if np.isnan(column[k, r]) else f"{column[k, r]:.12g}" for column in columns
                ]
                start = [int(step), f"{step * self.timestep_fs:g}", r, self.n_atoms]
                writer.writerow([*start, *values])
        append(self.path, text.getvalue())


def append(path: Path, text: str) -> None:
    """Add text to the end of a file, and have it written out; all of it, or nothing.

    Raises:
        WriteError: if the disk is full.
    """
    size = size_of(path)
    try:
        with writing(path), open(path, "a", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except WriteError:
        os.truncate(path, size)
        raise


def cut_to(path: str | Path, size: int) -> None:
    """Cut a file to a size that it had before.

    Raises:
        ValueError: if it is not there, or shorter than that.
    """
    path = Path(path)
    found = size_of(path)
    if size == 0 and not path.is_file():
        return
    if not path.is_file() or found < size:
        has = f"has {found} bytes" if path.is_file() else "is not there"
        raise ValueError(
            f"{path} {has}, but had {size} when the checkpoint was written; to resume, "
            "put it back, or start afresh"
        )
    os.truncate(path, size)


def size_of(path: str | Path) -> int:
    """Bytes of a file; 0 where it is not there."""
    path = Path(path)
    return path.stat().st_size if path.is_file() else 0
