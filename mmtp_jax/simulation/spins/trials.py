"""Metropolis' walk over the signs of moments, or their directions and lengths, at fixed geometry.

Where moments are numbers, the state is the pattern of signs s. Its energy is either that at fixed
magnitudes, or

    E(s) = min over |m_i| of E(m),    s_i |m_i| = m_i

with the magnitudes found by the local search of `equilibrate`. That is a function of s alone, as
detailed balance demands, only where the search starts from the same magnitudes for each s. So it
starts from given ones, the *reference*; or, where ``warm``, from those of the present state, which
is shorter but lets the energy of a pattern depend on its history where there are several minima.

Where they are vectors, directions e are in the place of s, with lengths that are fixed,
equilibrated in the same way, or sampled; then the state is all of m.

A pattern for which the search fails does not belong to the states: it is refused, and counted.
It fails when a moment that wants to change its sign is held at zero, or has collapsed to it, when
a moment reaches the end of its interval, and when the limit of steps is reached. Atoms that are
not magnetic start at zero and take either sign, or as vectors any direction.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from mmtp_jax.potential.observables import evaluate
from mmtp_jax.simulation.dynamics.evaluation import Model
from mmtp_jax.simulation.spins.counts import Counts
from mmtp_jax.simulation.spins.moves import Proposal, changed, of_atoms, propose, replaced
from mmtp_jax.simulation.spins.trial_energies import (
    accepted_sites,
    at_atoms,
    equilibrated,
    evaluated,
    neighbours_evaluated,
)
from mmtp_jax.simulation.spins.turning import Turning, adapted, counted
from mmtp_jax.simulation.spins.turns import Turn, directions_of, propose_turn
from mmtp_jax.simulation.spins.walk import Spins, Surroundings, Walk

Array = Any


@partial(jax.jit, static_argnames="walk")
def start_spins(
    walk: Walk,
    model: Model,
    around: Surroundings,
    magmoms: Array,
    counts: Counts,
    watched: Any,
    turning: Turning | None = None,
) -> Spins:
    """The state at given moments; they must be equilibrated if the walk equilibrates."""
    graph = around.graph._replace(magmoms=at_atoms(around.graph, magmoms))
    sites, values = evaluate(model.potential, graph, walk.moments.chunk)
    return Spins(magmoms, values.energy.astype(float), sites, counts, watched, turning)


def try_change(
    walk: Walk, model: Model, around: Surroundings, spins: Spins, trial: Array, watch: Any = None
) -> Spins:
    """Propose one change to each replica, and accept or refuse it.

    Replicas that are not ``running``, or that the watch stops, keep their moments. Without a watch
    and where magnitudes are not equilibrated, only the energies of the neighbours are evaluated.
    """
    system = around.system
    proposal = _proposed(walk, around, spins, trial)
    active = system.running & proposal.possible
    watched, atoms, sites = spins.watched, None, None
    admissible = True
    old = of_atoms(spins.magmoms, proposal.atoms)
    new, magmoms = _after(walk, old, proposal), None
    if walk.moments.kind == "equilibrate":
        signs = _signs(spins.magmoms)
        there = _after(walk, of_atoms(signs, proposal.atoms), proposal, unit=True)
        magmoms, energy, admissible, watched = equilibrated(
            walk, model, around, spins, replaced(signs, proposal.atoms, there), watch
        )
    elif watch is None:
        energy, atoms, sites = neighbours_evaluated(model, around, spins, proposal.atoms, new)
    else:
        magmoms = replaced(spins.magmoms, proposal.atoms, new)
        energy, sites, watched = evaluated(walk, model, around, spins, magmoms, watch)
    if watch is not None:
        active = active & ~watch.stops(watched)
    rise = energy - spins.energy
    admissible = admissible & jnp.isfinite(rise)
    accepted = active & admissible & _lucky(proposal, rise, around.thermal_energy)
    counts = Counts(
        tried=spins.counts.tried + system.running,
        accepted=spins.counts.accepted + accepted,
        inadmissible=spins.counts.inadmissible + (active & ~admissible),
    )
    turning = spins.turning
    if turning is not None:
        turning = counted(turning, proposal.kind, system.running, accepted)
        turning = adapted(turning, proposal.kind, system.running, accepted, trial)
    taken = accepted.reshape(-1, *[1] * (spins.magmoms.ndim - 1))
    if magmoms is None:
        magmoms = replaced(spins.magmoms, proposal.atoms, jnp.where(taken, new, old))
    else:
        magmoms = jnp.where(taken, magmoms, spins.magmoms)
    return Spins(
        magmoms=magmoms,
        energy=jnp.where(accepted, energy, spins.energy),
        sites=accepted_sites(around.graph, spins.sites, accepted, atoms, sites),
        counts=counts,
        watched=watched,
        turning=turning,
    )


def _proposed(walk: Walk, around: Surroundings, spins: Spins, trial: Array) -> Proposal | Turn:
    if spins.turning is not None:
        return propose_turn(walk, around, spins, trial)
    types, magnetic = around.system.types, around.magnetic
    return propose(walk.move, around.keys, around.step, trial, spins.magmoms, types, magnetic)


def _signs(magmoms: Array) -> Array:
    return jnp.sign(magmoms) if magmoms.ndim == 2 else directions_of(magmoms)


def _after(walk: Walk, old: Array, proposal: Proposal | Turn, unit: bool = False) -> Array:
    """Moments (R, A) or (R, A, 3) that change, after it; of ``unit``, their signs or directions."""
    if isinstance(proposal, Proposal):
        return changed(walk.move, old)
    length = 1.0 if unit else proposal.length[:, None]
    return (length * proposal.direction)[:, None]


def _lucky(proposal: Proposal | Turn, rise: Array, thermal: Array) -> Array:
    """(R,) bool, by Metropolis' rule."""
    # Without temperature only what does not raise the energy is accepted.
    if isinstance(proposal, Proposal):
        return (rise <= 0) | (proposal.log_uniform * thermal < -rise)
    chance = proposal.log_uniform - proposal.log_weight
    return jnp.where(thermal > 0, chance * thermal < -rise, rise <= 0)
