"""Metropolis' walk over the signs of moments at fixed geometry.

The state is the pattern of signs s. Its energy is either that at fixed magnitudes, or

    E(s) = min over |m_i| of E(m),    s_i |m_i| = m_i

with the magnitudes found by the local search of `equilibrate`. That is a function of s alone, as
detailed balance demands, only where the search starts from the same magnitudes for each s. So it
starts from given ones, the *reference*; or, where ``warm``, from those of the present state, which
is shorter but lets the energy of a pattern depend on its history where there are several minima.

A pattern for which the search fails does not belong to the states: it is refused, and counted.
It fails when a moment that wants to change its sign is held at zero, or has collapsed to it, when
a moment reaches the end of its interval, and when the limit of steps is reached. Atoms that are
not magnetic start at zero and take either sign.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mmtp_jax.potential.energy import Neighborhoods, site_energies
from mmtp_jax.potential.observables import Graph, Observables, evaluate
from mmtp_jax.simulation.dynamics.evaluation import Model, Moments
from mmtp_jax.simulation.moments.collapse import COLLAPSED
from mmtp_jax.simulation.moments.equilibrate import equilibrate_graph
from mmtp_jax.simulation.moments.lbfgs import Memory, Segments
from mmtp_jax.simulation.moments.steps import Status
from mmtp_jax.simulation.spins.counts import Counts
from mmtp_jax.simulation.spins.moves import Proposal, changed, propose
from mmtp_jax.simulation.system import System

Array = Any


class Walk(NamedTuple):
    """What is static about the trials."""

    move: str
    """One of `options.MOVES`."""
    moments: Moments
    """Whether magnitudes are fixed or equilibrated, and how."""
    warm: bool
    """Equilibrations start from the magnitudes of the present state."""


class Surroundings(NamedTuple):
    """What does not change during the trials."""

    system: System
    graph: Graph
    """Of the system; its moments are not used."""
    magnetic: Array
    """(n,) bool, atoms whose signs may change."""
    reference: Array
    """(R, n) magnitudes from which equilibrations start, mu_B."""
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


class Spins(NamedTuple):
    """Where the walk is."""

    magmoms: Array
    """(R, n) mu_B."""
    energy: Array
    """(R,) less the constants of the species, eV."""
    sites: Array
    """(N,) site energies at fixed magnitudes, eV; not kept otherwise."""
    counts: Counts
    watched: Any


@partial(jax.jit, static_argnames="walk")
def start_spins(
    walk: Walk, model: Model, around: Surroundings, magmoms: Array, counts: Counts, watched: Any
) -> Spins:
    """The state at given moments; they must be equilibrated if the walk equilibrates."""
    graph = around.graph._replace(magmoms=_at_atoms(around.graph, magmoms))
    sites, values = evaluate(model.potential, graph, walk.moments.chunk)
    return Spins(magmoms, values.energy.astype(float), sites, counts, watched)


def try_change(
    walk: Walk, model: Model, around: Surroundings, spins: Spins, trial: Array, watch: Any = None
) -> Spins:
    """Propose one change to each replica, and accept or refuse it.

    Replicas that are not ``running``, or that the watch stops, keep their moments. Without a watch
    and at fixed magnitudes, only the energies of the neighbours are evaluated.
    """
    system = around.system
    proposal = propose(
        walk.move, around.keys, around.step, trial, spins.magmoms, system.types, around.magnetic
    )
    active = system.running & proposal.possible
    watched, atoms, sites = spins.watched, None, None
    if walk.moments.kind == "equilibrate":
        magmoms, energy, admissible, watched = _equilibrated(
            walk, model, around, spins, proposal, watch
        )
    elif watch is None:
        magmoms = changed(walk.move, spins.magmoms, proposal)
        energy, atoms, sites = _neighbours_evaluated(model, around, spins, magmoms, proposal)
        admissible = True
    else:
        magmoms = changed(walk.move, spins.magmoms, proposal)
        energy, sites, watched = _evaluated(walk, model, around, spins, magmoms, watch)
        admissible = True
    if watch is not None:
        active = active & ~watch.stops(watched)
    rise = energy - spins.energy
    admissible = admissible & jnp.isfinite(rise)
    # Without temperature only what does not raise the energy is accepted.
    lucky = (rise <= 0) | (proposal.log_uniform * around.thermal_energy < -rise)
    accepted = active & admissible & lucky
    counts = Counts(
        tried=spins.counts.tried + system.running,
        accepted=spins.counts.accepted + accepted,
        inadmissible=spins.counts.inadmissible + (active & ~admissible),
    )
    return Spins(
        magmoms=jnp.where(accepted[:, None], magmoms, spins.magmoms),
        energy=jnp.where(accepted, energy, spins.energy),
        sites=_accepted_sites(around.graph, spins.sites, accepted, atoms, sites),
        counts=counts,
        watched=watched,
    )


def has_failed(status: Array, magmoms: Array, magnetic: Array) -> Array:
    """(R,) bool: equilibrated moments (R, n) that do not make a state of the walk."""
    collapsed = jnp.any(magnetic & (jnp.abs(magmoms) < COLLAPSED), axis=1)
    return (status != Status.CONVERGED) | collapsed


def _equilibrated(
    walk: Walk,
    model: Model,
    around: Surroundings,
    spins: Spins,
    proposal: Proposal,
    watch: Any,
) -> tuple[Array, Array, Array, Any]:
    signs = changed(walk.move, jnp.sign(spins.magmoms), proposal)
    magnitudes = jnp.abs(spins.magmoms) if walk.warm else around.reference
    start = jnp.where(around.magnetic, signs * magnitudes, 0.0)
    found, watched = equilibrate_graph(
        model.potential,
        around.graph._replace(magmoms=_at_atoms(around.graph, start)),
        tolerance=model.tolerance,
        max_steps=walk.moments.max_steps,
        chunk=walk.moments.chunk,
        memory=around.memory,
        observe=None if watch is None else _looking(watch, model, around),
        carry=spins.watched,
    )
    magmoms = _of_replicas(spins, found.magmoms)
    failed = has_failed(found.status, magmoms, around.magnetic)
    return magmoms, found.energy.astype(float), ~failed, watched


def _evaluated(
    walk: Walk, model: Model, around: Surroundings, spins: Spins, magmoms: Array, watch: Any
) -> tuple[Array, Array, Any]:
    graph = around.graph._replace(magmoms=_at_atoms(around.graph, magmoms))
    sites, values = evaluate(model.potential, graph, walk.moments.chunk)
    watched = _looking(watch, model, around)(spins.watched, graph, values)
    return values.energy.astype(float), sites, watched


def _neighbours_evaluated(
    model: Model, around: Surroundings, spins: Spins, magmoms: Array, proposal: Proposal
) -> tuple[Array, Array, Array]:
    """Energies (R,), the atoms (R, a) whose site energies change, and what they are then (R, a)."""
    graph = around.graph
    n_replicas, n_atoms = magmoms.shape
    first = n_atoms * jnp.arange(n_replicas)[:, None]
    centres = proposal.atoms + first
    near = graph.neighbours[centres].reshape(n_replicas, -1)
    if near.shape[1] < n_atoms:
        # Each once: an atom may be a neighbour through several images, and of both of a swap.
        which = jnp.sort(jnp.concatenate([centres, near], axis=1), axis=1)
        again = jnp.pad(which[:, 1:] == which[:, :-1], ((0, 0), (1, 0)))
    else:
        which, again = first + jnp.arange(n_atoms), False
    atoms = which.ravel()
    all_magmoms = _at_atoms(graph, magmoms)
    neighbours = graph.neighbours[atoms]
    rows = Neighborhoods(
        graph.types[atoms],
        all_magmoms[atoms],
        graph.vectors[atoms],
        graph.types[neighbours],
        all_magmoms[neighbours],
    )
    new = site_energies(model.potential, rows).reshape(which.shape)
    rise = jnp.where(again, 0.0, new - spins.sites[which])
    return spins.energy + jnp.sum(rise, axis=1), which, new


def _accepted_sites(
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


def _at_atoms(graph: Graph, values: Array) -> Array:
    """(R, n) as (N,) of the graph."""
    flat = values.reshape(-1)
    flat = flat.astype(graph.vectors.dtype) if flat.dtype.kind == "f" else flat
    return jnp.pad(flat, (0, graph.types.shape[0] - flat.shape[0]))


def _of_replicas(spins: Spins, values: Array) -> Array:
    """(N,) of the graph as (R, n)."""
    return values[: spins.magmoms.size].reshape(spins.magmoms.shape).astype(float)
