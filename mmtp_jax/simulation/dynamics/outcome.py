"""The result of a run of dynamics, in numbers and in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmtp_jax.potential.confinement import OUTSIDE
from mmtp_jax.simulation.dynamics.integrate import Outcome
from mmtp_jax.simulation.dynamics.series import Series
from mmtp_jax.simulation.spins.counts import Counts
from mmtp_jax.simulation.system import System

_WHY = {
    Outcome.WATCH: "the watch stopped it, e.g. for a grade above the threshold",
    Outcome.TOO_CLOSE: "two atoms are closer than the shortest distance that the potential "
    "covers, {min_dist:.4g} Angstrom",
    Outcome.MOMENT: "{moment}",
    Outcome.BLEW_UP: "it blew up: numbers became infinite, or atoms moved by more than half the "
    "skin in one step; try a shorter time step",
}


@dataclass(frozen=True)
class Simulation:
    """How a run of R replicas went; all arrays are numpy arrays."""

    system: System = field(repr=False)
    """At the end; a replica that stopped is where it stopped, or just before it blew up."""
    forces: np.ndarray = field(repr=False)
    """(R, n, 3) there, eV/Angstrom."""
    steps: np.ndarray = field(repr=False)
    """(t,) steps of the time series."""
    timestep_fs: float
    series: Series = field(repr=False)
    """(t, R) each."""
    outcomes: tuple[Outcome, ...]
    """Of each replica."""
    stopped_at: np.ndarray
    """(R,) steps; -1 where a replica did not stop."""
    n_steps: int
    """That were done, those before a restart included."""
    n_wanted: int
    interrupted: bool
    """The user stopped it with Ctrl-C."""
    n_unconverged: np.ndarray
    """(R,) equilibrations of moments that did not converge."""
    n_outside: np.ndarray
    """(R,) steps with a distance or a moment outside of the potential's intervals."""
    spins: Counts
    """(R,) each: flips or swaps of signs that were tried and accepted."""
    n_searches: int
    """Lists of neighbours that were made."""
    n_widened: int
    """How often they needed more places, each at the cost of a compilation."""
    seconds: float
    """Wall time, compilation included."""
    kept: tuple[Any, ...] = field(repr=False)
    """What the watch kept."""
    min_dist: float = field(repr=False)
    """Distance at which replicas stop, Angstrom."""
    moments: tuple[str, ...] = field(repr=False)
    """Which moment has stopped each replica, in words; empty where none has."""

    @property
    def completed(self) -> bool:
        """Were all steps done, in all replicas?"""
        return self.n_steps >= self.n_wanted and not any(self.outcomes)

    @property
    def acceptance(self) -> np.ndarray:
        """Share (R,) of the flips or swaps that were accepted; NaN where none was tried."""
        tried = np.asarray(self.spins.tried, float)
        return np.asarray(self.spins.accepted) / np.where(tried > 0, tried, np.nan)

    @property
    def time_fs(self) -> np.ndarray:
        """(t,) times of the time series, fs."""
        return self.steps * self.timestep_fs

    @property
    def message(self) -> str:
        """Why the run ended, in words."""
        stopped = [self.message_of(r) for r, o in enumerate(self.outcomes) if o]
        if self.interrupted:
            stopped.append(f"interrupted after step {self.n_steps} of {self.n_wanted}")
        elif self.n_steps >= self.n_wanted:
            stopped.append(f"done: {self.n_steps} steps")
        if np.any(self.spins.tried):
            shares = ", ".join(f"{100 * share:.1f}" for share in self.acceptance)
            lost = int(np.sum(self.spins.inadmissible))
            stopped.append(
                f"{shares} % of the spin changes accepted"
                + (f", {lost} refused without equilibrium" if lost else "")
            )
        missed = int(np.sum(self.n_unconverged))
        if missed:
            stopped.append(f"{missed} equilibrations of the moments did not converge")
        beyond = int(np.sum(self.n_outside))
        if beyond:
            stopped.append(f"{beyond} {OUTSIDE}")
        return "; ".join(stopped)

    def message_of(self, replica: int) -> str:
        """What happened to one replica."""
        outcome = self.outcomes[replica]
        if outcome == Outcome.RUNNING:
            return f"replica {replica} ran to step {self.n_steps}"
        why = _WHY[outcome].format(min_dist=self.min_dist, moment=self.moments[replica])
        return f"replica {replica} stopped at step {self.stopped_at[replica]}: {why}"

    def drift(self) -> np.ndarray:
        """Slope (R,) of the conserved energy in meV/atom/ps, by a straight line through all of it.

        NaN for fewer than two rows.
        """
        if len(self.steps) < 2:
            return np.full(len(self.outcomes), np.nan)
        conserved = self.series.conserved - self.series.conserved.mean(axis=0)
        slope = np.polyfit(self.time_fs * 1e-3, conserved, 1)[0]
        return slope * 1e3 / self.system.n_atoms
