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

from mmtp_jax.potential.observables import Graph, Observables
from mmtp_jax.simulation.moments.bounds import Bounds
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
    OUTSIDE = 6

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
    Status.OUTSIDE: "the energy is lowest at moments beyond the interval that the potential "
    "covers, where its confinement holds them",
}


class State(NamedTuple):
    """The loop's state; per coordinate x of `Bounds`, per atom or per configuration."""

    iteration: Array
    trial: Array
    """x that is evaluated next; of collinear moments, these themselves."""
    magmoms: Array
    """The last accepted x, to which all of the following belongs."""
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


def start_state(graph: Graph, bounds: Bounds, evaluated: Any, memory: Memory, carry: Any) -> State:
    """Before the first evaluation, whose results have the shapes of ``evaluated``."""
    real = graph.configuration < graph.n_configurations
    start = bounds.coordinates(graph.magmoms)
    of_coordinates = jnp.repeat(real, start.shape[0] // real.shape[0])
    trial = jnp.where(of_coordinates, bounds.inside(start), start)
    sites, values = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), evaluated)
    (n_atoms,) = Segments.of(graph).totals(jnp.ones(real.shape, trial.dtype))
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
    first, atoms = state.iteration == 0, Segments.of(graph)
    pieces = _pieces(state, graph)
    running = state.status == Status.STEP_LIMIT
    step = state.trial - state.magmoms
    forces, new_forces = bounds.both_free(
        (state.magmoms, bounds.coordinates(state.values.magnetic_forces)),
        (state.trial, bounds.coordinates(values.magnetic_forces)),
    )
    change = forces - new_forces
    dtype = jnp.result_type(sites, step)
    slope, twist = pieces.totals(*((of * step).astype(dtype) for of in (-forces, change)))
    difference, size = atoms.totals(sites - state.sites, jnp.abs(sites))
    noise = 4 * jnp.finfo(sites.dtype).eps * size
    numbers = (slope, twist, difference, noise)
    accepted, search = judged_step(state, pieces, step, change, numbers, running, first)
    at_atoms = atoms.at_atoms(accepted)
    magmoms = jnp.where(pieces.at_atoms(accepted), state.trial, state.magmoms)

    def chosen(where: Array, new: Array, old: Array) -> Array:
        return jnp.where(where.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    values = Observables(
        energy=chosen(accepted, values.energy, state.values.energy),
        forces=chosen(at_atoms, values.forces, state.values.forces),
        stress=chosen(accepted, values.stress, state.values.stress),
        magnetic_forces=chosen(at_atoms, values.magnetic_forces, state.values.magnetic_forces),
    )
    forces = bounds.coordinates(values.magnetic_forces)
    held, outside = bounds.held(magmoms, forces), bounds.outside(magmoms, forces)
    residual = atoms.largest(bounds.sizes(bounds.free(magmoms, forces)[0]))
    status = jnp.where(search["refused"] > GIVE_UP_AFTER, Status.NO_DESCENT, state.status)
    how = atoms.largest(held.astype(jnp.int32) + (held & outside))
    converged = jnp.where(how > 0, Status.HELD_AT_ZERO, Status.CONVERGED)
    converged = jnp.where(how > 1, Status.HELD_AT_BOUND, converged)
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
    atoms, pieces = Segments.of(graph), _pieces(state, graph)
    running = state.status == Status.STEP_LIMIT
    forces = bounds.coordinates(state.values.magnetic_forces)
    driving, free = bounds.free(state.magmoms, forces)
    held = bounds.held(state.magmoms, forces)

    def capped(change: Array) -> Array:
        # The longest change of a configuration counts, so that its direction stays.
        longest = atoms.largest(bounds.sizes(change))
        factor = jnp.where(longest > max_change, max_change / longest, 1.0)
        moved = state.magmoms + pieces.at_atoms(factor) * change
        return bounds.inside(moved, held) - state.magmoms

    refused = state.trial - state.magmoms
    step, memory = next_step(state, pieces, -driving, free, refused, running, capped)
    trial = state.magmoms + step
    if bounds.has_vectors(trial):
        # A step that was shortened is a chord of the sphere that it leads along.
        trial = bounds.inside(trial, held)
    trial = jnp.where(pieces.at_atoms(running), trial, state.magmoms)
    return state._replace(iteration=state.iteration + 1, trial=trial, memory=memory)


def _pieces(state: State, graph: Graph) -> Segments:
    """Which configuration each coordinate belongs to."""
    return Segments.of(graph, state.trial.shape[0] // graph.configuration.shape[0])
