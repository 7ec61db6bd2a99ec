"""Equilibration of moments: the energy is minimised over all moments at fixed geometry.

This is the first of the two stages of every simulation (Kotykhov 2025, Sec. II.A). Many
configurations go together in one graph, in lock-step: each iteration of one loop evaluates the
graph once and either accepts or shortens the step of each configuration. The method is projected
L-BFGS; moments at a bound that push outwards are held there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mmtp_jax.potential.observables import Graph, Observables, evaluate, per_configuration
from mmtp_jax.potential.potential import Potential
from mmtp_jax.simulation.moments.bounds import bounds_of
from mmtp_jax.simulation.moments.lbfgs import Memory, empty_memory
from mmtp_jax.simulation.moments.options import MAX_CHANGE, MAX_STEPS, TOLERANCE
from mmtp_jax.simulation.moments.steps import (
    State,
    Status,
    judged,
    start_state,
    with_next_trial,
)

Array = Any


class Equilibrated(NamedTuple):
    """Moments that minimise the energy, and what the potential says there."""

    magmoms: Array
    """(N,) or (N, 3) mu_B."""
    energy: Array
    """(C,) eV."""
    residual: Array
    """(C,) largest |T_i| of the atoms that are not held at a bound, eV/mu_B; with fixed directions
    of the component along these."""
    n_steps: Array
    """(C,) evaluations that were needed; 1 where the start was converged."""
    status: Array
    """(C,) a `Status`."""
    observables: Observables
    """At these moments."""
    site_energies: Array
    """(N,) eV."""
    memory: Memory
    """Curvature of the energy in the moments; makes the next equilibration shorter."""


Observe = Callable[[Any, Graph, Observables], Any]


def equilibrate_graph(
    potential: Potential,
    graph: Graph,
    *,
    tolerance: float | Array = TOLERANCE,
    max_steps: int | Array = MAX_STEPS,
    max_change: float | Array = MAX_CHANGE,
    allow_flips: bool = False,
    fixed_directions: bool = False,
    chunk: int | None = None,
    memory: Memory | None = None,
    observe: Observe | None = None,
    halt: Callable[[Any], Array] | None = None,
    carry: Any = None,
) -> tuple[Equilibrated, Any]:
    """Minimise the energy of every configuration over its moments, from those of the graph.

    The energy never rises, moments stay inside the potential's intervals (a start outside is moved
    to the end), and none changes its sign unless ``allow_flips``; one that starts at zero may take
    either. All moments at zero are a stationary point of a symmetrised potential, and stay there.
    Moments that are vectors (N, 3) change their lengths and directions, or only their lengths.
    A converged start costs one evaluation. Works inside jit, scan and while loops.

    Args:
        potential: the potential.
        graph: atoms and neighbours; its moments are the start.
        tolerance: largest |T_i| at the end, eV/mu_B. In float64 1e-6 and below is reached; in
            float32 about 1e-3 is.
        max_steps: most evaluations.
        max_change: longest change of a moment in one step, mu_B.
        allow_flips: moments may change their sign; of vectors only those with fixed directions
            have one.
        fixed_directions: vectors keep their directions; one that starts at zero takes any.
        chunk: see `mmtp_jax.potential.observables.evaluate`.
        memory: of an earlier equilibration of the same atoms, at other positions say.
        observe: ``observe(carry, graph, observables) -> carry``, called after each evaluation with
            the accepted moments of all configurations.
        halt: ``halt(carry) -> bool ()`` ends the loop.
        carry: for ``observe``.

    Returns:
        The result, and the last carry.
    """
    graph = jax.tree.map(jnp.asarray, graph)
    constants = jnp.asarray(potential.species_coeffs)[graph.types]
    total_constants = per_configuration(graph, constants)
    # Energies of thousands of eV per atom would drown the decrease of the last steps.
    potential = potential.replace(species_coeffs=jnp.zeros_like(potential.species_coeffs))
    bounds = bounds_of(potential, graph, allow_flips, fixed_directions)

    def at(x: Array) -> Graph:
        return graph._replace(magmoms=bounds.moments(x))

    def with_constants(values: Observables) -> Observables:
        return values._replace(energy=values.energy + total_constants)

    def goes_on(state: State) -> Array:
        more = jnp.any(state.status == Status.STEP_LIMIT) & (state.iteration < max_steps)
        return more if halt is None else more & ~halt(state.carry)

    def body(state: State) -> State:
        sites, values = evaluate(potential, at(state.trial), chunk)
        state = judged(state, graph, sites, values, bounds, tolerance)
        if observe is not None:
            carry = observe(state.carry, at(state.magmoms), with_constants(state.values))
            state = state._replace(carry=carry)
        return with_next_trial(state, graph, bounds, max_change)

    evaluated = jax.eval_shape(lambda: evaluate(potential, graph, chunk))
    memory = empty_memory(graph) if memory is None else memory
    state = jax.lax.while_loop(goes_on, body, start_state(graph, bounds, evaluated, memory, carry))
    status = state.status
    if halt is not None:
        unfinished = (status == Status.STEP_LIMIT) & halt(state.carry)
        status = jnp.where(unfinished, Status.STOPPED, status)
    values = with_constants(state.values)
    result = Equilibrated(
        magmoms=bounds.moments(state.magmoms),
        energy=values.energy,
        residual=state.residual,
        n_steps=state.n_steps,
        status=status,
        observables=values,
        site_energies=state.sites + constants,
        memory=state.memory,
    )
    return result, state.carry
