"""Equilibration of moments on several MPI ranks: the same minimiser, with all moments, on each.

The iterations are those of `simulation.moments`: a rank knows the moments, energies and magnetic
forces of all atoms by their ids, and chooses the next trial. Between two iterations stands one
evaluation, whose parts are summed over the ranks.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.interfaces.lammps.options import BridgeOptions
from mmtp_jax.potential.observables import Graph, Observables
from mmtp_jax.potential.potential import Potential
from mmtp_jax.potential.sums import Sums
from mmtp_jax.precision import Precision, double_precision
from mmtp_jax.simulation.moments.bounds import Bounds, bounds_of
from mmtp_jax.simulation.moments.lbfgs import Memory, empty_memory
from mmtp_jax.simulation.moments.steps import (
    State,
    Status,
    judged,
    start_state,
    with_next_trial,
)
from mmtp_jax.structures.batch import adds_by_gathering

Array = Any


class Totals(NamedTuple):
    """Sums over ranks; n atoms of the whole simulation in the order of their ids."""

    energy: float
    """eV, without e0."""
    strain_derivative: np.ndarray
    """(3, 3) dE/d(strain), eV."""
    forces: np.ndarray
    """(n, 3) eV/Angstrom."""
    magnetic_forces: np.ndarray
    """(n,) eV/mu_B."""
    sites: np.ndarray
    """(n,) eV, without e0."""


class _Said(NamedTuple):
    """Numbers of the only configuration that decide what comes next, fetched together."""

    status: Any
    residual: Any
    n_steps: Any
    refused: Any
    energy: Any

    @classmethod
    def of(cls, state: State) -> _Said:
        """Those of a state."""
        names = (state.status, state.residual, state.n_steps, state.refused, state.values.energy)
        return cls(*(value[0] for value in jax.device_get(names)))


class SharedMoments:
    """The moments of all atoms, and what was learned of their curvature.

    Args:
        potential: on the device.
        types: (n,) species index, in the order of the ids.
        options: tolerance and limits.
        precision: of the evaluation.
    """

    def __init__(
        self,
        potential: Potential,
        types: np.ndarray,
        options: BridgeOptions,
        precision: Precision,
    ) -> None:
        n = len(types)
        self.options = options
        self._potential = potential
        # Round-off of energies is judged by their type.
        self._sites_dtype = precision.contraction
        self._graph = Graph(
            types=types,
            magmoms=np.zeros(n),
            vectors=np.zeros((n, 3, 0)),
            neighbours=np.zeros((n, 0), np.int32),
            configuration=np.zeros(n, np.int32),
            volumes=np.ones(1),
            sums=Sums(None, np.arange(n, dtype=np.int32)[None]) if adds_by_gathering() else None,
        )
        # Where it will be later, too, so that nothing is compiled twice.
        (device,) = jax.tree.leaves(potential)[0].devices()
        with double_precision():
            self._memory = jax.device_put(empty_memory(self._graph), device)
        self._state: State | None = None
        self._said: _Said | None = None
        self._bounds: Bounds | None = None
        self._is_judged = False

    def start(self, magmoms: np.ndarray) -> None:
        """Begin a search at moments (n,)."""
        graph = self._graph._replace(magmoms=magmoms)
        self._is_judged = False
        self._state, self._bounds = _start(
            self._potential, graph, self._memory, self.options.allow_flips, self._sites_dtype
        )
        self._said = _Said.of(self._state)

    @property
    def trial(self) -> np.ndarray:
        """(n,) moments to be evaluated next, mu_B."""
        if self._is_judged:
            self._state = _proceed(self._state, self._graph, self._bounds, self.options.max_change)
            self._memory = self._state.memory
            self._is_judged = False
        return np.asarray(self._state.trial)

    @property
    def magmoms(self) -> np.ndarray:
        """(n,) the accepted moments, mu_B."""
        return np.asarray(self._state.magmoms)

    @property
    def energy(self) -> float:
        """At the accepted moments, eV, without e0."""
        return float(self._said.energy)

    @property
    def status(self) -> Status:
        """`Status.STEP_LIMIT` where the search is not at its end."""
        return Status(int(self._said.status))

    @property
    def residual(self) -> float:
        """Largest |T_i| of the moments that are not held, eV/mu_B."""
        return float(self._said.residual)

    @property
    def n_steps(self) -> int:
        """Evaluations."""
        return int(self._said.n_steps)

    @property
    def goes_on(self) -> bool:
        """Whether there is a trial to evaluate."""
        return self.status == Status.STEP_LIMIT and self.n_steps < (
            self.options.max_equilibration_steps
        )

    def advance(self, totals: Totals) -> bool:
        """Judge the trial by what was evaluated there; whether it was accepted."""
        values = Observables(
            energy=np.array([totals.energy]),
            forces=totals.forces,
            stress=totals.strain_derivative[None],
            magnetic_forces=totals.magnetic_forces,
        )
        sites = totals.sites.astype(self._sites_dtype)
        # A search that ends here does not need the next direction, which costs as much.
        self._state = _judge(
            self._state, self._graph, self._bounds, sites, values, self.options.tolerance
        )
        self._is_judged = True
        self._memory = self._state.memory
        self._said = _Said.of(self._state)
        return int(self._said.refused) == 0

    def accepted(self) -> Totals:
        """What was evaluated at the accepted moments."""
        sites, values = jax.device_get((self._state.sites, self._state.values))
        return Totals(
            energy=float(values.energy[0]),
            strain_derivative=values.stress[0],
            forces=values.forces,
            magnetic_forces=values.magnetic_forces,
            sites=sites.astype(float),
        )


@partial(jax.jit, static_argnames=("allow_flips", "sites_dtype"))
def _start(
    potential: Potential, graph: Graph, memory: Memory, allow_flips: bool, sites_dtype: Any
) -> tuple[State, Bounds]:
    n = graph.magmoms.shape[0]
    nothing = Observables(
        energy=jnp.zeros(1),
        forces=jnp.zeros((n, 3)),
        stress=jnp.zeros((1, 3, 3)),
        magnetic_forces=jnp.zeros(n),
    )
    bounds = bounds_of(potential, graph, allow_flips)
    return start_state(graph, bounds, (jnp.zeros(n, sites_dtype), nothing), memory, None), bounds


@jax.jit
def _judge(
    state: State,
    graph: Graph,
    bounds: Bounds,
    sites: Array,
    values: Observables,
    tolerance: Array,
) -> State:
    return judged(state, graph, sites, values, bounds, tolerance)


@jax.jit
def _proceed(state: State, graph: Graph, bounds: Bounds, max_change: Array) -> State:
    return with_next_trial(state, graph, bounds, max_change)
