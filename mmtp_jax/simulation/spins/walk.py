"""What a walk over moments is made of: what is static, what surrounds it, and where it is."""

from __future__ import annotations

from typing import Any, NamedTuple

from mmtp_jax.potential.observables import Graph
from mmtp_jax.simulation.dynamics.evaluation import Moments
from mmtp_jax.simulation.moments.lbfgs import Memory
from mmtp_jax.simulation.spins.counts import Counts
from mmtp_jax.simulation.spins.turning import Turning
from mmtp_jax.simulation.system import System

Array = Any


class Walk(NamedTuple):
    """What is static about the trials."""

    move: str
    """One of `options.MOVES`, or `options.BOTH`."""
    moments: Moments
    """Whether magnitudes are fixed, sampled or equilibrated, and how."""
    warm: bool
    """Equilibrations start from the magnitudes of the present state."""
    measure: str = "d3m"
    """Of sampled lengths, one of `options.MEASURES`."""


class Surroundings(NamedTuple):
    """What does not change during the trials."""

    system: System
    graph: Graph
    """Of the system; its moments are not used."""
    magnetic: Array
    """(n,) bool, atoms whose moments may change."""
    reference: Array
    """(R, n) magnitudes from which equilibrations start, and those that are fixed, mu_B."""
    thermal_energy: Array
    """(R,) k_B T, eV."""
    keys: Array
    """(R, 2) random keys."""
    step: Array
    """() of the dynamics; 0 at fixed geometry."""
    shown_step: Array
    """() that a watch is told: the step of the dynamics; the sweep at fixed geometry."""
    memory: Memory
    """With which each equilibration starts."""
    largest: Array | None = None
    """(n,) M_max of each atom, mu_B; None where moments are numbers."""
    reach: Array | None = None
    """() cutoff, Angstrom; None where moments are numbers."""


class Spins(NamedTuple):
    """Where the walk is."""

    magmoms: Array
    """(R, n), or (R, n, 3) where they are vectors, mu_B."""
    energy: Array
    """(R,) less the constants of the species, eV."""
    sites: Array
    """(N,) site energies at fixed or sampled magnitudes, eV; not kept otherwise."""
    counts: Counts
    watched: Any
    turning: Turning | None = None
    """How far vectors turn and stretch; None where moments are numbers."""
