"""Many time steps inside jit, until something needs the host.

The loop leaves a step undone when it cannot be taken safely: when a pair could be missing from the
list of neighbours, or when the watch has no room for what it wants to keep. The host then makes a
new list, or drains the watch, and the step is taken again with the same random numbers.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mmtp_jax.potential.confinement import is_outside, lengths_of, reach
from mmtp_jax.simulation.dynamics.evaluation import (
    Evaluated,
    Model,
    Moments,
    at_bound,
    evaluate_system,
    not_converged,
)
from mmtp_jax.simulation.dynamics.integrate import Ensemble, Outcome, State, advanced, completed
from mmtp_jax.simulation.dynamics.precession import at_rest
from mmtp_jax.simulation.dynamics.series import Series, row_of
from mmtp_jax.simulation.dynamics.thermostats import Bath, chain_at_rest
from mmtp_jax.simulation.host_loop import Block, Reason
from mmtp_jax.simulation.moments.bounds import components
from mmtp_jax.simulation.moments.lbfgs import Memory
from mmtp_jax.simulation.neighbours import NeighbourList, used_skin
from mmtp_jax.simulation.spins.counts import no_counts
from mmtp_jax.simulation.spins.dynamics import SpinPlan, SpinSites, with_kept_signs, with_new_signs
from mmtp_jax.simulation.system import System
from mmtp_jax.simulation.watch import GradedWatch

Array = Any


class Plan(NamedTuple):
    """What is static about a simulation: another one is compiled anew."""

    ensemble: Ensemble
    moments: Moments
    n_rows: int
    """Most steps per call."""
    spins: SpinPlan | None = None
    """How signs change; None where they do not."""


class Rules(NamedTuple):
    """When to stop."""

    bounded: Array
    """() bool: replicas that leave the distances and moments that the potential covers stop."""
    together: Array
    """() bool: one replica that stops, stops all."""


@partial(jax.jit, static_argnames=("n_padded", "dtype"))
def before_start(
    system: System,
    keys: Array,
    n_padded: int,
    dtype: Any,
    speeds: Array | None = None,
) -> State:
    """The state before the first evaluation: `take_steps` with a time step of zero makes it.

    Args:
        system: the replicas.
        keys: (R, 2) random keys.
        n_padded: number of atoms of the list of neighbours.
        dtype: of the evaluation.
        speeds: (R, n, 3) of the lengths of moments in spin dynamics; None without it.
    """
    n_replicas = system.n_replicas
    zeros, none = jnp.zeros(n_replicas), jnp.zeros(n_replicas, jnp.int32)
    known = Evaluated(
        energy=zeros,
        forces=jnp.zeros_like(system.positions),
        stress=jnp.zeros_like(system.cell),
        magnetic_forces=jnp.zeros_like(system.magmoms),
        shortest=zeros,
        n_equilibration=none,
        equilibrium=none,
        memory=Memory.empty(n_padded * components(system.magmoms[0]), n_replicas, dtype),
        spin_temperature=zeros,
    )
    precession = at_rest(n_replicas, system.n_atoms, speeds is not None)
    if speeds is not None:
        precession = precession._replace(speeds=jnp.asarray(speeds))
    return State(
        system=jax.tree.map(jnp.asarray, system),
        known=known,
        chain=chain_at_rest(n_replicas),
        given=zeros,
        keys=keys,
        outcome=jnp.full(n_replicas, int(Outcome.RUNNING), jnp.int32),
        stopped_at=jnp.full(n_replicas, -1, jnp.int32),
        n_unconverged=none,
        n_outside=none,
        spins=no_counts(n_replicas),
        precession=precession,
        step=jnp.asarray(-1, jnp.int32),
    )


@partial(jax.jit, static_argnames="plan")
def take_steps(
    plan: Plan,
    model: Model,
    bath: Bath,
    rules: Rules,
    state: State,
    neighbours: NeighbourList,
    n_steps: Array,
    watch: Any = None,
    watched: Any = None,
    spin_sites: SpinSites | None = None,
) -> Block:
    """Take up to ``n_steps`` steps, at most ``plan.n_rows``; the rows of all `Series` are stacked.

    Signs of moments change at ``spin_sites`` if the plan says so.

    A step of `before_start` with ``bath.timestep`` zero moves nothing, and evaluates.
    """

    def goes_on(at: Block) -> Array:
        return (at.n_done < jnp.minimum(n_steps, plan.n_rows)) & (at.reason == Reason.DONE)

    def step(at: Block) -> Block:
        moved = advanced(plan.ensemble, bath, at.state)
        used = used_skin(moved.system, neighbours)
        stale = (used > 1.0) & at.state.system.running
        undone = at._replace(reason=jnp.full_like(at.reason, Reason.NEIGHBOURS), stale=stale)
        return jax.lax.cond(
            jnp.any(stale),
            lambda: undone,
            lambda: complete(at, moved),
        )

    def complete(at: Block, moved: Any) -> Block:
        before = at.state
        system, known, watched = evaluate_system(
            model, moved.system, neighbours, plan.moments, before.step + 1,
            before.known.memory, watch, at.watched, before.known.spin_temperature,
        )  # fmt: skip
        if plan.spins is not None:
            system = with_kept_signs(moved.system.magmoms, system)
        state = completed(plan.ensemble, bath, before, moved, system, known)
        if plan.spins is not None:
            state, watched = with_new_signs(
                plan.spins, plan.moments, model, spin_sites, bath.thermal_energy, state,
                neighbours, watch, watched,
            )  # fmt: skip
        state = _kept_where_stopped(before, state)
        state = _judged(rules, model, state, watch, watched)
        stop = _all_stop(rules, state)
        grade = watch.grade(watched) if isinstance(watch, GradedWatch) else None
        row = jnp.stack(row_of(state, grade, bool(plan.moments.spin_temperature_every)))
        rows = jax.lax.dynamic_update_index_in_dim(at.rows, row, at.n_done, 1)
        reason = jnp.where(stop, Reason.STOPPED, Reason.DONE).astype(at.reason.dtype)
        after = Block(state, watched, rows, at.n_done + 1, reason, at.stale)
        if watch is None:
            return after
        undone = at._replace(reason=jnp.full_like(at.reason, Reason.WATCH_IS_FULL))
        return jax.lax.cond(watch.full(watched), lambda: undone, lambda: after)

    stale = jnp.zeros_like(state.system.running)
    # All numbers of a step in one array, which is one operation of a GPU.
    rows = jnp.zeros((len(Series._fields), plan.n_rows, stale.shape[0]))
    reason = jnp.where(_all_stop(rules, state), Reason.STOPPED, Reason.DONE).astype(jnp.int32)
    start = Block(state, watched, rows, jnp.zeros((), jnp.int32), reason, stale)
    return jax.lax.while_loop(goes_on, step, start)


def _all_stop(rules: Rules, state: State) -> Array:
    halted = state.outcome != Outcome.RUNNING
    return jnp.where(rules.together, jnp.any(halted), jnp.all(halted))


def _kept_where_stopped(before: State, after: State) -> State:
    """The new state, but the old one in replicas that do not run, or whose numbers blew up."""
    finite = _finite(after)
    keep = ~before.system.running | ~finite

    def chosen(old: Array, new: Array) -> Array:
        where = keep.reshape(-1, *[1] * (new.ndim - 1))
        return jnp.where(where, old, new)

    known = Evaluated(
        *(
            # The memory of the equilibration is not by replica, and only a guess.
            _without_nan(new) if name == "memory" else chosen(old, new)
            for name, old, new in zip(Evaluated._fields, before.known, after.known, strict=True)
        )
    )
    old, new = before.system, after.system
    system = new._replace(
        positions=chosen(old.positions, new.positions),
        velocities=chosen(old.velocities, new.velocities),
        cell=chosen(old.cell, new.cell),
        magmoms=chosen(old.magmoms, new.magmoms),
    )
    blew_up = before.system.running & ~finite
    return after._replace(
        system=system,
        known=known,
        chain=jax.tree.map(chosen, before.chain, after.chain),
        given=chosen(before.given, after.given),
        precession=jax.tree.map(chosen, before.precession, after.precession),
        outcome=jnp.where(blew_up, Outcome.BLEW_UP, after.outcome),
    )


def _without_nan(tree: Any) -> Any:
    return jax.tree.map(lambda a: jnp.where(jnp.isfinite(a), a, 0.0), tree)


def _finite(state: State) -> Array:
    """(R,) bool."""
    known, system = state.known, state.system
    of_atoms = sum(
        jnp.sum(a.reshape(*a.shape[:2], -1), axis=2)
        for a in (known.forces, known.magnetic_forces, system.positions, system.velocities)
    )
    return jnp.isfinite(known.energy + jnp.sum(of_atoms, axis=1))


def _judged(rules: Rules, model: Model, state: State, watch: Any, watched: Any) -> State:
    """The state with an outcome for each replica that must not go on; its numbers are finite."""
    known, system, potential = state.known, state.system, model.potential
    outcome = state.outcome
    far = reach(potential)
    close = far.too_close(known.shortest)
    sizes = lengths_of(system.magmoms, system.vectors)
    large = jnp.any(far.too_large(system.types, sizes), axis=1) | at_bound(known)
    outside = is_outside(potential, system.types, system.magmoms, known.shortest)
    found = [(Outcome.TOO_CLOSE, rules.bounded & close), (Outcome.MOMENT, rules.bounded & large)]
    if watch is not None:
        found.append((Outcome.WATCH, watch.stops(watched)))
    for name, true in found:
        outcome = jnp.where((outcome == Outcome.RUNNING) & true, name, outcome)
    new = (outcome != Outcome.RUNNING) & (state.stopped_at < 0)
    return state._replace(
        system=system._replace(running=outcome == Outcome.RUNNING),
        outcome=outcome.astype(state.outcome.dtype),
        stopped_at=jnp.where(new, state.step, state.stopped_at).astype(jnp.int32),
        n_unconverged=state.n_unconverged + (not_converged(known) & system.running),
        n_outside=state.n_outside + (outside & system.running),
    )
