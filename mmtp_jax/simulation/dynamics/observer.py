"""What a run tells of itself on the way: states at chosen steps, from which it can go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mmtp_jax.simulation.dynamics.integrate import State


class Saved(NamedTuple):
    """What a run goes on from, bit for bit; a pytree of numpy arrays."""

    state: State
    reference_positions: np.ndarray
    """(R, n, 3) where the neighbours were searched: another list would sum in another order."""
    reference_cell: np.ndarray
    """(R, 3, 3)"""
    width: np.ndarray
    """() places of the list of neighbours."""


@dataclass(frozen=True)
class Snapshot:
    """What an observer is told."""

    step: int
    n_steps: int
    """At which the run is to end."""
    timestep_fs: float
    saved: Saved
    final: bool
    """The run has ended."""

    @property
    def state(self) -> State:
        """As numpy arrays."""
        return self.saved.state


@dataclass(frozen=True)
class Observer:
    """Calls a function every so many steps, at the start and at the end."""

    every: int
    tell: Callable[[Snapshot], None]
    drains: bool = False
    """What the watch has kept is handed over before."""
