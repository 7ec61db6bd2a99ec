"""The energy after a trial: of neighbours alone, of all atoms, or at equilibrated magnitudes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from mmtp_jax.potential.confinement import intervals
from mmtp_jax.potential.energy import Neighborhoods, site_energies
from mmtp_jax.potential.observables import Graph, Observables, evaluate
from mmtp_jax.potential.potential import Potential
from mmtp_jax.simulation.dynamics.evaluation import Model
from mmtp_jax.simulation.moments.collapse import COLLAPSED
from mmtp_jax.simulation.moments.equilibrate import equilibrate_graph
from mmtp_jax.simulation.moments.lbfgs import Segments
from mmtp_jax.simulation.moments.steps import Status
from mmtp_jax.simulation.spins.walk import Spins, Surroundings, Walk

Array = Any


def equilibrated(
    walk: Walk, model: Model, around: Surroundings, spins: Spins, signs: Array, watch: Any
) -> tuple[Array, Array, Array, Any]:
    """Moments that minimise the energy, it (R,), whether they are a state (R,), and the watch's.

    Args:
        walk: what is static.
        model: the potential.
        around: geometry and magnitudes of the start of the search.
        spins: the present state.
        signs: (R, n) of the moments, or their directions (R, n, 3).
        watch: is shown all iterates, or None.
    """
    magnitudes = lengths_of(spins.magmoms) if walk.warm else around.reference
    magnetic = around.magnetic
    if signs.ndim > magnitudes.ndim:
        magnitudes, magnetic = magnitudes[..., None], magnetic[:, None]
    start = jnp.where(magnetic, signs * magnitudes, 0.0)
    found, watched = equilibrate_graph(
        model.potential,
        around.graph._replace(magmoms=at_atoms(around.graph, start)),
        tolerance=model.tolerance,
        max_steps=walk.moments.max_steps,
        fixed_directions=walk.moments.fixed_directions,
        chunk=walk.moments.chunk,
        memory=around.memory,
        observe=None if watch is None else _looking(watch, model, around),
        carry=spins.watched,
    )
    magmoms = _of_replicas(spins, found.magmoms)
    failed = has_failed(
        model.potential, around.system.types, found.status, magmoms, around.magnetic
    )
    return magmoms, found.energy.astype(float), ~failed, watched


def has_failed(
    potential: Potential, types: Array, status: Array, magmoms: Array, magnetic: Array
) -> Array:
    """(R,) bool: equilibrated moments (R, n) or (R, n, 3) that do not make a state of the walk.

    They have not converged, are beyond what the potential covers, or have collapsed.
    """
    sizes = lengths_of(magmoms)
    collapsed = magnetic & (sizes < COLLAPSED)
    beyond = intervals(potential).too_large(types, sizes)
    return (status != Status.CONVERGED) | jnp.any(collapsed | beyond, axis=1)


def lengths_of(magmoms: Array) -> Array:
    """(R, n) absolute values of numbers, or lengths of vectors (R, n, 3)."""
    if magmoms.ndim == 2:
        return jnp.abs(magmoms)
    return jnp.sqrt(jnp.sum(magmoms * magmoms, axis=-1))


def evaluated(
    walk: Walk, model: Model, around: Surroundings, spins: Spins, magmoms: Array, watch: Any
) -> tuple[Array, Array, Any]:
    """Energies (R,), site energies (N,), and the state of the watch, which is shown all atoms."""
    graph = around.graph._replace(magmoms=at_atoms(around.graph, magmoms))
    sites, values = evaluate(model.potential, graph, walk.moments.chunk)
    watched = _looking(watch, model, around)(spins.watched, graph, values)
    return values.energy.astype(float), sites, watched


def neighbours_evaluated(
    model: Model, around: Surroundings, spins: Spins, changed: Array, new: Array
) -> tuple[Array, Array, Array]:
    """Energies (R,), the atoms (R, a) whose site energies change, and what they are then (R, a).

    Args:
        model: the potential.
        around: geometry.
        spins: the state before.
        changed: (R, A) atoms whose moments change.
        new: (R, A) or (R, A, 3) what they are then, mu_B.
    """
    graph = around.graph
    n_replicas, n_atoms = spins.magmoms.shape[:2]
    first = n_atoms * jnp.arange(n_replicas)[:, None]
    centres = changed + first
    near = graph.neighbours[centres].reshape(n_replicas, -1)
    if near.shape[1] < n_atoms:
        # Each once: an atom may be a neighbour through several images, and of both of a swap.
        which = jnp.sort(jnp.concatenate([centres, near], axis=1), axis=1)
        again = jnp.pad(which[:, 1:] == which[:, :-1], ((0, 0), (1, 0)))
    else:
        which, again = first + jnp.arange(n_atoms), False
    vectors = spins.magmoms.ndim > 2
    old = spins.magmoms.reshape(-1, *spins.magmoms.shape[2:])

    @jax.vmap
    def moments_of(atoms: Array, centres: Array, new: Array) -> Array:
        """After the change, of any atoms of a replica."""
        found = old[atoms]
        for centre, moment in zip(centres, new, strict=True):
            is_it = atoms == centre
            found = jnp.where(is_it[..., None] if vectors else is_it, moment, found)
        return found.astype(graph.vectors.dtype)

    neighbours = graph.neighbours[which]
    of_neighbours = moments_of(neighbours, centres, new)
    rows = Neighborhoods(
        graph.types[which],
        moments_of(which, centres, new),
        graph.vectors[which],
        graph.types[neighbours],
        jnp.moveaxis(of_neighbours, 2, 3) if vectors else of_neighbours,
    )
    rows = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), rows)
    sites = site_energies(model.potential, rows).reshape(which.shape)
    rise = jnp.where(again, 0.0, sites - spins.sites[which])
    return spins.energy + jnp.sum(rise, axis=1), which, sites


def accepted_sites(
    graph: Graph, old: Array, accepted: Array, atoms: Array | None, new: Array | None
) -> Array:
    """Site energies (N,): the new ones of some atoms (R, a) or of all (N,), where accepted."""
    if new is None:
        return old
    if atoms is not None:
        return old.at[atoms].set(jnp.where(accepted[:, None], new, old[atoms]))
    return jnp.where(Segments.of(graph).at_atoms(accepted), new, old)


def _looking(watch: Any, model: Model, around: Surroundings) -> Any:
    """``look(watched, graph, observables)``: shows a graph with the constants of the species."""
    system = around.system
    constants = jnp.sum(model.constants[system.types])

    def look(watched: Any, graph: Graph, values: Observables) -> Any:
        size = system.n_replicas * system.n_atoms
        magmoms = graph.magmoms[:size].reshape(system.magmoms.shape).astype(float)
        shown = values._replace(energy=values.energy + constants)
        return watch.look(
            watched, system._replace(magmoms=magmoms), graph, shown, around.shown_step
        )

    return look


def at_atoms(graph: Graph, values: Array) -> Array:
    """(R, n) or (R, n, 3) as (N,) or (N, 3) of the graph."""
    flat = values.reshape(-1, *values.shape[2:])
    flat = flat.astype(graph.vectors.dtype) if flat.dtype.kind == "f" else flat
    padding = [(0, graph.types.shape[0] - flat.shape[0])] + [(0, 0)] * (flat.ndim - 1)
    return jnp.pad(flat, padding)


def _of_replicas(spins: Spins, values: Array) -> Array:
    """Moments of the atoms of a graph as those of replicas."""
    n_replicas, n_atoms = spins.magmoms.shape[:2]
    return values[: n_replicas * n_atoms].reshape(spins.magmoms.shape).astype(float)
