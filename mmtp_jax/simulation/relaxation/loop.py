"""Steps of a relaxation inside jit, until something needs the host.

Every step has the two stages of Kotykhov 2025, Sec. II.A: the moments are equilibrated at the new
geometry, from those of the last accepted one, and then the atoms and the cell move by forces and
stress at fixed moments, which at equilibrated moments are the adiabatic ones. As in `loop`, a step
is undone where a pair could be missing from the list of neighbours or the watch has no room.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mmtp_jax.potential.observables import Observables, evaluate
from mmtp_jax.potential.potential import Potential
from mmtp_jax.potential.vector_moments import are_vectors
from mmtp_jax.precision import with_floats
from mmtp_jax.simulation.host_loop import Block, Reason
from mmtp_jax.simulation.moments.bounds import NEXT_TO_ZERO
from mmtp_jax.simulation.moments.equilibrate import equilibrate_graph
from mmtp_jax.simulation.relaxation.coordinates import Geometry, Problem, atoms_of, geometry_of
from mmtp_jax.simulation.relaxation.status import RelaxStatus
from mmtp_jax.simulation.relaxation.steps import (
    Limits,
    RelaxState,
    Trial,
    judged,
    running,
    with_next_trial,
)
from mmtp_jax.simulation.system import System
from mmtp_jax.structures.neighbour_list import NeighbourList, graph_at, used_skin

Array = Any


class RelaxPlan(NamedTuple):
    """What is static about a relaxation: another one is compiled anew."""

    equilibrate: bool
    """The moments follow the atoms; else they are fixed."""
    allow_flips: bool
    fixed_directions: bool
    chunk: int | None
    """Most atoms per block of an evaluation."""
    n_shown: int
    """Atoms of each configuration, for a watch; 0 without one."""


@partial(jax.jit, static_argnames="plan")
def relax_steps(
    plan: RelaxPlan,
    potential: Potential,
    constants: Array,
    problem: Problem,
    limits: Limits,
    state: RelaxState,
    neighbours: NeighbourList,
    n_steps: Array,
    watch: Any = None,
    watched: Any = None,
    first_step: Array = 0,
) -> Block:
    """Take up to ``n_steps`` steps.

    Args:
        plan: static choices.
        potential: with e0 = 0, in the precision of the evaluation.
        constants: (S,) e0 of each species, eV, for the watch.
        problem: the configurations.
        limits: tolerances and caps.
        state: where it is.
        neighbours: of the last accepted geometries, or of some close to them.
        n_steps: most steps of this call.
        watch: see `mmtp_jax.simulation.watch`.
        watched: its state.
        first_step: number of the first step, which the watch is told.
    """

    def goes_on(at: Block) -> Array:
        return (at.n_done < n_steps) & (at.reason == Reason.DONE) & jnp.any(running(at.state))

    def step(at: Block) -> Block:
        geometry = geometry_of(problem, at.state.trial)
        stale = (used_skin(neighbours, geometry.positions, geometry.cell) > 1.0) & running(at.state)
        undone = at._replace(reason=jnp.full_like(at.reason, Reason.NEIGHBOURS), stale=stale)
        return jax.lax.cond(jnp.any(stale), lambda: undone, lambda: complete(at, geometry))

    def complete(at: Block, geometry: Geometry) -> Block:
        shown = first_step + at.n_done
        tried, memory, watched = tried_geometry(
            plan, potential, constants, problem, limits, at.state, neighbours, geometry,
            watch, at.watched, shown,
        )  # fmt: skip
        state = judged(at.state, problem, tried, limits, potential)
        state = state._replace(moment_memory=memory)
        if watch is not None:
            stopped = running(state) & watch.stops(watched)
            status = jnp.where(stopped, int(RelaxStatus.WATCH), state.status)
            state = state._replace(status=status.astype(state.status.dtype))
        state = with_next_trial(state, problem, limits)
        after = Block(state, watched, None, at.n_done + 1, at.reason, at.stale)
        if watch is None:
            return after
        undone = at._replace(reason=jnp.full_like(at.reason, Reason.WATCH_IS_FULL))
        return jax.lax.cond(watch.full(watched), lambda: undone, lambda: after)

    zero = jnp.zeros((), jnp.int32)
    start = Block(state, watched, None, zero, zero, jnp.zeros(problem.n_configurations, bool))
    return jax.lax.while_loop(goes_on, step, start)


def tried_geometry(
    plan: RelaxPlan,
    potential: Potential,
    constants: Array,
    problem: Problem,
    limits: Limits,
    state: RelaxState,
    neighbours: NeighbourList,
    geometry: Geometry,
    watch: Any,
    watched: Any,
    step: Array,
) -> tuple[Trial, Any, Any]:
    """Equilibrate at a geometry; what was found, the memory, and the state of the watch."""
    start = state.at.magmoms
    if plan.equilibrate and not plan.allow_flips and not are_vectors(start):
        # At zero itself the equilibration would let a moment take either sign.
        start = jnp.where(start == 0.0, NEXT_TO_ZERO * problem.sides, start)
    graph, shortest = graph_at(
        neighbours, problem.types, geometry.positions, geometry.cell, start, geometry.volume
    )
    # To the equilibration, atoms of configurations that have ended are padding.
    on = jnp.append(running(state), False)[graph.configuration]
    graph = graph._replace(
        configuration=jnp.where(on, graph.configuration, problem.n_configurations)
    )
    dtype = potential.radial_coeffs.dtype
    graph = with_floats(graph, dtype)

    def look(carry: Any, at: Any, values: Observables) -> Any:
        if watch is None:
            return carry
        of_atoms = constants[problem.types] * on
        totals = atoms_of(problem).total(of_atoms)
        values = values._replace(energy=values.energy + totals)
        return watch.look(
            carry,
            shown_system(plan, problem, geometry, at.magmoms, running(state)),
            at,
            values,
            step,
        )

    if plan.equilibrate:
        found, watched = equilibrate_graph(
            potential,
            graph,
            tolerance=limits.equilibration,
            max_steps=limits.max_equilibration_steps,
            allow_flips=plan.allow_flips,
            fixed_directions=plan.fixed_directions,
            chunk=plan.chunk,
            memory=state.moment_memory,
            observe=None if watch is None else look,
            carry=watched,
        )
        values, sites, magmoms = found.observables, found.site_energies, found.magmoms
        residual, status, count = found.residual, found.status, found.n_steps
        memory = found.memory
    else:
        sites, values = evaluate(potential, graph, plan.chunk)
        magmoms, memory = graph.magmoms, state.moment_memory
        residual = jnp.zeros(problem.n_configurations)
        status = jnp.zeros(problem.n_configurations, jnp.int32)
        count, watched = jnp.ones_like(status), look(watched, graph, values)
    # In mixed precision, moments that do not change must not change by rounding either.
    magmoms = jnp.where(magmoms == graph.magmoms, state.at.magmoms, magmoms.astype(float))
    tried = Trial(
        geometry=geometry,
        magmoms=magmoms,
        sites=sites.astype(float),
        values=jax.tree.map(lambda a: a.astype(float), values),
        residual=residual.astype(float),
        equilibrium=status.astype(jnp.int32),
        n_evaluations=count.astype(jnp.int32),
        shortest=shortest,
    )
    return tried, memory, watched


def shown_system(
    plan: RelaxPlan, problem: Problem, geometry: Geometry, magmoms: Array, on: Array
) -> System:
    """What a watch sees: C replicas of the same atoms, which these must be, without padding."""
    n_conf, n_atoms = problem.n_configurations, plan.n_shown

    def per_replica(values: Array) -> Array:
        return values[: n_conf * n_atoms].reshape(n_conf, n_atoms, *values.shape[1:]).astype(float)

    positions = per_replica(geometry.positions)
    return System(
        positions=positions,
        velocities=jnp.zeros_like(positions),
        cell=geometry.cell,
        magmoms=per_replica(magmoms),
        masses=jnp.ones(n_atoms),
        types=problem.types[:n_atoms],
        periodic=problem.periodic,
        running=on,
    )
