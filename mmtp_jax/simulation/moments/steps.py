"""One iteration of the equilibration: judge the moments that were tried, and choose the next.

A configuration accepts a step that lowers its energy sufficiently, else the step is shortened
(projected line search, one evaluation per iteration and configuration). Moments at a bound whose
force points outwards are held: they take no part in the direction.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mmtp_jax.potential.confinement import reach
from mmtp_jax.potential.observables import Graph, Observables
from mmtp_jax.potential.potential import Potential
from mmtp_jax.simulation.moments.lbfgs import Memory, Segments
from mmtp_jax.simulation.moments.line_search import GIVE_UP_AFTER, judged_step, next_step

Array = Any


class Status(IntEnum):
    """How the equilibration of a configuration ended."""

    CONVERGED = 0
    HELD_AT_BOUND = 1
    HELD_AT_ZERO = 2
    STEP_LIMIT = 3
    NO_DESCENT = 4
    STOPPED = 5

    @property
    def message(self) -> str:
        """One sentence."""
        return _MESSAGES[self]


_MESSAGES = {
    Status.CONVERGED: "all magnetic forces are below the tolerance",
    Status.HELD_AT_BOUND: "moments are held at the end of the interval that the potential covers; "
    "their magnetic forces point outwards",
    Status.HELD_AT_ZERO: "moments are held at zero because they would change their sign; allow "
    "flips to let them",
    Status.STEP_LIMIT: "not converged within the allowed number of steps",
    Status.NO_DESCENT: "no step lowers the energy any more; the tolerance is below what the "
    "precision allows",
    Status.STOPPED: "stopped from outside before it was converged",
}


class Bounds(NamedTuple):
    """Where each moment may go, mu_B; all (N,)."""

    low: Array
    high: Array
    outer_low: Array
    """End of the interval that the potential covers, whatever the signs."""
    outer_high: Array


class State(NamedTuple):
    """The loop's state; per atom or per configuration."""

    iteration: Array
    trial: Array
    """(N,) moments that are evaluated next."""
    magmoms: Array
    """(N,) the last accepted ones, to which all of the following belongs."""
    sites: Array
    """(N,) site energies without the constants of the species."""
    values: Observables
    residual: Array
    refused: Array
    """(C,) refused steps in a row."""
    shorter: Array
    """(C,) factor of a refused step."""
    n_steps: Array
    status: Array
    """(C,) `Status.STEP_LIMIT` where it goes on."""
    memory: Memory
    carry: Any


def bounds_of(potential: Potential, graph: Graph, allow_flips: bool) -> Bounds:
    """The intervals of the species; without flips, only the side of zero of the start."""
    start = graph.magmoms
    far = reach(potential)
    outer_low = jnp.asarray(far.low, start.dtype)[graph.types]
    outer_high = jnp.asarray(far.high, start.dtype)[graph.types]
    low, high = outer_low, outer_high
    if not allow_flips:
        low = jnp.where(start > 0, jnp.maximum(low, 0.0), low)
        high = jnp.where(start < 0, jnp.minimum(high, 0.0), high)
    return Bounds(low, high, outer_low, outer_high)


def start_state(graph: Graph, bounds: Bounds, evaluated: Any, memory: Memory, carry: Any) -> State:
    """Before the first evaluation, whose results have the shapes of ``evaluated``."""
    real = graph.configuration < graph.n_configurations
    trial = jnp.where(real, jnp.clip(graph.magmoms, bounds.low, bounds.high), graph.magmoms)
    sites, values = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), evaluated)
    (n_atoms,) = Segments.of(graph).totals(jnp.ones_like(trial))
    none = jnp.zeros(graph.n_configurations, jnp.int32)
    return State(
        iteration=jnp.int32(0),
        trial=trial,
        magmoms=trial,
        sites=sites,
        values=values,
        residual=jnp.zeros_like(n_atoms),
        refused=none,
        shorter=jnp.ones_like(n_atoms),
        n_steps=none,
        status=jnp.where(n_atoms > 0, Status.STEP_LIMIT, Status.CONVERGED).astype(jnp.int32),
        memory=memory,
        carry=carry,
    )


def judged(
    state: State, graph: Graph, sites: Array, values: Observables, bounds: Bounds, tolerance: Any
) -> State:
    """Accept the trial moments of each configuration, or refuse them."""
    first, pieces = state.iteration == 0, Segments.of(graph)
    running = state.status == Status.STEP_LIMIT
    step = state.trial - state.magmoms
    change = state.values.magnetic_forces - values.magnetic_forces
    slope, twist, difference, size = pieces.totals(
        -state.values.magnetic_forces * step,
        change * step,
        sites - state.sites,
        jnp.abs(sites),
    )
    noise = 4 * jnp.finfo(sites.dtype).eps * size
    numbers = (slope, twist, difference, noise)
    accepted, search = judged_step(state, pieces, step, change, numbers, running, first)
    at_atoms = pieces.at_atoms(accepted)
    magmoms = jnp.where(at_atoms, state.trial, state.magmoms)
    values = Observables(
        energy=jnp.where(accepted, values.energy, state.values.energy),
        forces=jnp.where(at_atoms[:, None], values.forces, state.values.forces),
        stress=jnp.where(accepted[:, None, None], values.stress, state.values.stress),
        magnetic_forces=jnp.where(at_atoms, values.magnetic_forces, state.values.magnetic_forces),
    )
    held = _held(magmoms, values.magnetic_forces, bounds.low, bounds.high)
    residual = pieces.largest(jnp.where(held, 0.0, jnp.abs(values.magnetic_forces)))
    status = jnp.where(search["refused"] > GIVE_UP_AFTER, Status.NO_DESCENT, state.status)
    outside = _held(magmoms, values.magnetic_forces, bounds.outer_low, bounds.outer_high)
    at_zero, at_bound = pieces.any(held), pieces.any(held & outside)
    converged = jnp.where(at_zero, Status.HELD_AT_ZERO, Status.CONVERGED)
    converged = jnp.where(at_bound, Status.HELD_AT_BOUND, converged)
    status = jnp.where(accepted & (residual < tolerance), converged, status)
    return state._replace(
        magmoms=magmoms,
        sites=jnp.where(at_atoms, sites, state.sites),
        values=values,
        residual=residual,
        n_steps=state.n_steps + running,
        status=status.astype(jnp.int32),
        **search,
    )


def with_next_trial(state: State, graph: Graph, bounds: Bounds, max_change: Any) -> State:
    """Choose the moments that are evaluated next."""
    pieces, running = Segments.of(graph), state.status == Status.STEP_LIMIT
    forces = state.values.magnetic_forces
    held = _held(state.magmoms, forces, bounds.low, bounds.high)

    def capped(change: Array) -> Array:
        # The longest change of a configuration counts, so that its direction stays.
        longest = pieces.largest(jnp.abs(change))
        factor = jnp.where(longest > max_change, max_change / longest, 1.0)
        moved = state.magmoms + pieces.at_atoms(factor) * change
        return jnp.clip(moved, bounds.low, bounds.high) - state.magmoms

    refused = state.trial - state.magmoms
    step, memory = next_step(state, pieces, -forces, ~held, refused, running, capped)
    trial = jnp.where(pieces.at_atoms(running), state.magmoms + step, state.magmoms)
    return state._replace(iteration=state.iteration + 1, trial=trial, memory=memory)


def _held(magmoms: Array, forces: Array, low: Array, high: Array) -> Array:
    """Moments at a bound that push outwards."""
    return ((magmoms <= low) & (forces < 0)) | ((magmoms >= high) & (forces > 0))
