"""Sweeps of trials inside jit, until something needs the host."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mmtp_jax.potential.observables import per_configuration
from mmtp_jax.simulation.dynamics.evaluation import Model
from mmtp_jax.simulation.spins.trial_energies import lengths_of
from mmtp_jax.simulation.spins.trials import try_change
from mmtp_jax.simulation.spins.turns import directions_of
from mmtp_jax.simulation.spins.walk import Spins, Surroundings, Walk

Array = Any


class SpinSeries(NamedTuple):
    """Numbers of t sweeps of R replicas, (t, R) each."""

    energy: Array
    """eV."""
    magnetisation: Array
    """Sum of the moments, mu_B; of vectors its length."""
    order: Array
    """Mean over the magnetic atoms of their sign times that of the pattern, -1 to 1; of vectors the
    length of the mean of their direction times the sign of the pattern, 0 to 1."""
    length: Array | None = None
    """Mean over the magnetic atoms of the lengths of vectors, mu_B; None where moments are numbers.
    """

    @classmethod
    def like(cls, n_rows: int, magmoms: Any) -> SpinSeries:
        """Zeros (n_rows, R) for the moments of a walk."""
        rows = [jnp.zeros((n_rows, magmoms.shape[0])) for _ in cls._fields]
        return cls(*rows) if magmoms.ndim > 2 else cls(*rows[:3])


class Sweeps(NamedTuple):
    """Where the loop is, and what it returns."""

    spins: Spins
    trial: Array
    """() trials done, from the very start."""
    rows: SpinSeries
    """(n_rows, R), the first ``n_done`` of them."""
    n_done: Array
    full: Array
    """() bool: the watch has no room; the trial was undone."""


@partial(jax.jit, static_argnames=("walk", "n_rows"))
def take_sweeps(
    walk: Walk,
    n_rows: int,
    model: Model,
    around: Surroundings,
    pattern: Array,
    spins: Spins,
    trial: Array,
    n_sweeps: Array,
    per_sweep: Array,
    watch: Any = None,
) -> Sweeps:
    """Take up to ``n_sweeps`` sweeps, at most ``n_rows``.

    Args:
        walk: what is static about a trial.
        n_rows: most sweeps per call.
        model: the potential.
        around: geometry and temperatures.
        pattern: (n,) signs that the order is measured against; 0 at other atoms.
        spins: the state.
        trial: number of trials done so far; a sweep may have begun.
        n_sweeps: sweeps to take.
        per_sweep: trials of a sweep.
        watch: is shown each configuration, see `simulation.watch`.
    """
    constants = jnp.sum(model.constants[around.system.types])
    weight = pattern / jnp.sum(jnp.abs(pattern))

    def goes_on(at: Sweeps) -> Array:
        return (at.n_done < jnp.minimum(n_sweeps, n_rows)) & ~at.full

    def one(at: Sweeps) -> Sweeps:
        sweep = (at.trial // per_sweep).astype(around.shown_step.dtype)
        here = around._replace(shown_step=sweep)
        spins = try_change(walk, model, here, at.spins, at.trial, watch)
        after = at._replace(spins=spins, trial=at.trial + 1)
        if watch is None:
            return after
        undone = at._replace(full=jnp.ones_like(at.full))
        return jax.lax.cond(watch.full(spins.watched), lambda: undone, lambda: after)

    def sweep(at: Sweeps) -> Sweeps:
        end = (at.trial // per_sweep + 1) * per_sweep
        at = jax.lax.while_loop(lambda at: (at.trial < end) & ~at.full, one, at)
        spins = at.spins
        if walk.moments.kind != "equilibrate":
            # The differences that were added up leave no trace.
            total = per_configuration(around.graph, spins.sites)
            spins = spins._replace(energy=total.astype(float))
        row = _row(spins.magmoms, spins.energy + constants, weight, around.magnetic)
        # Of a sweep that is not at its end the row is written again.
        rows = jax.tree.map(
            lambda all, new: jax.lax.dynamic_update_index_in_dim(all, new, at.n_done, 0),
            at.rows,
            row,
        )
        return at._replace(spins=spins, rows=rows, n_done=at.n_done + ~at.full)

    rows = SpinSeries.like(n_rows, spins.magmoms)
    nothing = jnp.zeros((), jnp.int32)
    start = Sweeps(spins, jnp.asarray(trial), rows, nothing, jnp.zeros((), bool))
    return jax.lax.while_loop(goes_on, sweep, start)


def _row(magmoms: Array, energy: Array, weight: Array, magnetic: Array) -> SpinSeries:
    if magmoms.ndim == 2:
        return SpinSeries(energy, jnp.sum(magmoms, axis=1), jnp.sign(magmoms) @ weight)
    order = jnp.einsum("rnx,n->rx", directions_of(magmoms), weight)
    return SpinSeries(
        energy,
        jnp.linalg.norm(jnp.sum(magmoms, axis=1), axis=1),
        jnp.linalg.norm(order, axis=1),
        jnp.sum(lengths_of(magmoms) * magnetic, axis=1) / jnp.sum(magnetic),
    )
