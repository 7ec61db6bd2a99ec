"""Frames of trajectories as spectra need them: at equal distances in time, named in errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms

from mmtp_jax.io.names import OFF_GRID
from mmtp_jax.io.schema import SOURCE
from mmtp_jax.warn import warn

TIME = "time_fs"

_SAME = 1e-6


class StoppedRunWarning(UserWarning):
    """A run of dynamics has ended early."""


def runs_of(frames: Sequence[Any]) -> list[list[Atoms]]:
    """One trajectory or several as a list of them, without frames that are off the grid.

    Raises:
        ValueError: if there are no frames.

    Warns:
        StoppedRunWarning: if the last frame of a run that has stopped early is left out.
    """
    several = len(frames) > 0 and not isinstance(frames[0], Atoms)
    runs = [list(run) for run in frames] if several else [list(frames)]
    runs = [_on_grid(run, number) for number, run in enumerate(runs, 1)]
    for number, run in enumerate(runs, 1):
        if not run:
            raise ValueError(f"trajectory {number} has no frames")
    return runs


def check_skip(skip: float) -> None:
    """Refuse what is no share of a trajectory."""
    if not 0.0 <= skip < 1.0:
        raise ValueError(f"skip is a share of the trajectory between 0 and 1, got {skip}")


def check_same_atoms(atoms: Atoms, first: Atoms, name: str) -> None:
    """Refuse a frame of other atoms than the first."""
    if len(atoms) != len(first) or np.any(atoms.numbers != first.numbers):
        raise ValueError(f"{name} is of other atoms than the first")


def name_of(atoms: Atoms, number: int, k: int) -> str:
    """What messages call frame ``k`` of trajectory ``number``."""
    return getattr(atoms, SOURCE, f"trajectory {number}, frame {k}")


def interval_of(runs: Sequence[Sequence[Atoms]], interval_fs: float | None) -> float:
    """Time between the frames of all trajectories, fs; ``interval_fs`` where it is given.

    Raises:
        ValueError: if frames do not say their times, or the times are not equally far apart.
    """
    if interval_fs is not None:
        return float(interval_fs)
    intervals = [_interval(run, number) for number, run in enumerate(runs, 1)]
    if np.ptp(intervals) > _SAME * max(intervals):
        raise ValueError(f"the times between frames differ: {sorted(set(intervals))} fs")
    return intervals[0]


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


def _interval(run: Sequence[Atoms], number: int) -> float:
    if len(run) < 2:
        raise ValueError(f"{name_of(run[0], number, 1)} is the only frame; a spectrum needs many")
    for k, atoms in enumerate(run, 1):
        if TIME not in atoms.info:
            raise ValueError(
                f"{name_of(atoms, number, k)} does not say its time (info['{TIME}']); give the "
                "time between frames"
            )
    times = np.array([float(atoms.info[TIME]) for atoms in run])
    steps = np.diff(times)
    if steps[0] <= 0.0 or np.abs(steps - steps[0]).max() > 1e-4 * abs(steps[0]):
        k = int(np.argmax(np.abs(steps - steps[0])))
        raise ValueError(
            f"{name_of(run[k], number, k + 1)}: frames are not equally far apart in time (this one "
            f"at {times[k]:g} fs, the next at {times[k + 1]:g} fs); leave out those that are not"
        )
    return float(steps.mean())
