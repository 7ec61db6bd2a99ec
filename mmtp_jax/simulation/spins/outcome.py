"""What a walk over moments can go on from, and how it went."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from mmtp_jax.readable import readable
from mmtp_jax.simulation.spins.binder import means
from mmtp_jax.simulation.spins.counts import Counts
from mmtp_jax.simulation.spins.loop import SpinSeries
from mmtp_jax.simulation.spins.turning import KINDS, Turning, degrees
from mmtp_jax.tables import aligned, with_error


class SpinState(NamedTuple):
    """Where a walk is, bit for bit; a pytree of numpy arrays."""

    magmoms: np.ndarray
    """(R, n), or (R, n, 3) where they are vectors, mu_B."""
    reference: np.ndarray
    """(R, n) magnitudes from which equilibrations start, and those that are fixed, mu_B."""
    energy: np.ndarray
    """(R,) less the constants of the species, eV."""
    sites: np.ndarray
    """(N,) site energies, eV."""
    counts: Counts
    trial: np.ndarray
    """() trials done."""
    turning: Turning | None = None
    """Step sizes and counts of vectors; None where moments are numbers."""


class SpinSaved(NamedTuple):
    """All that a walk goes on from; a pytree of numpy arrays."""

    state: SpinState
    rows: SpinSeries
    """(t, R) of all sweeps so far, those of the burn-in included."""
    stopped: np.ndarray
    """(R,) bool: the watch has stopped the replica."""


@dataclass(frozen=True)
class SpinObserver:
    """Calls a function with what a walk can go on from: now and then, and at the end."""

    seconds: float
    """Least time between two calls."""
    tell: Callable[[SpinSaved], None]


@readable
@dataclass(frozen=True)
class SpinWalk:
    """How a walk of R replicas went; all arrays are numpy arrays."""

    temperatures: np.ndarray
    """(R,) K."""
    series: SpinSeries = field(repr=False)
    """(t, R) each, after the burn-in."""
    magmoms: np.ndarray = field(repr=False)
    """(R, n) or (R, n, 3) at the end, mu_B."""
    magnetic: np.ndarray = field(repr=False)
    """(n,) bool, atoms whose moments change."""
    pattern: np.ndarray = field(repr=False)
    """(n,) signs that the order is measured against; 0 at atoms that are not magnetic."""
    acceptance: np.ndarray
    """(R,) share of the trials that were accepted, burn-in included."""
    inadmissible: np.ndarray
    """(R,) share of the trials that were refused because the moments could not be equilibrated."""
    seconds: float
    """Wall time, compilation included."""
    interrupted: bool
    """The user stopped it with Ctrl-C."""
    stopped: np.ndarray
    """(R,) bool: the watch has stopped the replica."""
    kept: tuple[Any, ...] = field(repr=False)
    """What the watch kept."""
    state: SpinState = field(repr=False)
    """To go on from."""

    def __str__(self) -> str:
        """Means at each temperature, and how many trials of each kind were accepted."""
        kinds = self.moves or {"accepted": self.acceptance}
        head = f"Monte Carlo of {self.n_magnetic} magnetic atoms: {self.n_sweeps} sweeps"
        if self.moves:
            head += "; shares of the trials that were accepted"
        if not self.n_sweeps:
            return f"{head}, nothing after the burn-in"
        n_atoms = len(self.magnetic)
        columns = {"E (eV/atom)": self.series.energy / n_atoms, "order": np.abs(self.series.order)}
        if self.series.length is not None:
            columns["length (mu_B)"] = self.series.length
        of_all = [means(self.temperatures, series) for series in columns.values()]
        rows = [("T (K)", *columns, *kinds)]
        for k, temperature in enumerate(np.unique(self.temperatures)):
            replicas = self.temperatures == temperature
            rows.append(
                (f"{temperature:g}", *(with_error(mean[k], error[k]) for mean, error in of_all),
                 *(f"{100 * share[replicas].mean():.3g} %" for share in kinds.values()))
            )  # fmt: skip
        return f"{head}\n{aligned(rows)}"

    @property
    def n_magnetic(self) -> int:
        """Number of magnetic atoms of a replica."""
        return int(np.sum(self.magnetic))

    @property
    def n_sweeps(self) -> int:
        """Sweeps that were recorded."""
        return len(self.series.energy)

    @property
    def moves(self) -> dict[str, np.ndarray]:
        """(R,) accepted share of each kind of change of vectors, of those that were tried."""
        turning = self.state.turning
        if turning is None:
            return {}
        tried, accepted = np.asarray(turning.tried), np.asarray(turning.accepted)
        return {
            name: accepted[:, k] / np.maximum(tried[:, k], 1)
            for k, name in enumerate(KINDS)
            if tried[:, k].any()
        }

    @property
    def largest_turn(self) -> np.ndarray | None:
        """(R,) half angle of the cone of turns, degrees; None where moments are numbers."""
        return None if self.state.turning is None else degrees(self.state.turning.cap)

    @property
    def largest_stretch(self) -> np.ndarray | None:
        """(R,) largest change of a length, as a share of M_max; None where moments are numbers."""
        return None if self.state.turning is None else np.asarray(self.state.turning.stretch)
