"""Changes of signs within dynamics, every so many steps, at the positions of that step.

- ``"flip"`` and ``"swap"``: trials of Metropolis' walk at the temperature of the bath. Positions
  are sampled at fixed signs, and signs at fixed positions: both keep exp(-E / k_B T), and so does
  their alternation. Magnitudes are fixed or equilibrated as the dynamics has them; equilibrations
  of trials start from the magnitudes at the very start of the run.
- ``"disorder"``: signs are drawn at random without net moment, whatever the energy: dynamics of
  disordered local moments (Steneteg, Alling and Abrikosov, Phys. Rev. B 85, 144404, 2012). The
  interval is the time for which a magnetic state lasts. Magnitudes start from those of the very
  start of the run, so that a moment that has collapsed in one state comes back in the next.

Velocities stay. The jump of the energy counts as given by the heat bath, whose thermostat takes it
away again; so there must be one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mmtp_jax.precision import with_floats
from mmtp_jax.simulation.dynamics.evaluation import Model, Moments, evaluate_system
from mmtp_jax.simulation.dynamics.integrate import State
from mmtp_jax.simulation.moments.lbfgs import empty_memory
from mmtp_jax.simulation.neighbours import NeighbourList, graph_of
from mmtp_jax.simulation.spins.disorder import random_signs
from mmtp_jax.simulation.spins.trials import start_spins, try_change
from mmtp_jax.simulation.spins.walk import Surroundings, Walk
from mmtp_jax.simulation.system import System

Array = Any

TINY = 1e-9
"""Magnitude in mu_B that keeps the sign of a moment that is held at zero: from zero itself the
next equilibration could take it to either side, and disorder would not last."""


class SpinPlan(NamedTuple):
    """What is static about the changes of signs."""

    kind: str
    """Those of `DynamicsOptions`, but "none"."""
    every: int
    """Steps between two blocks."""
    trials: int
    """Trials of each block and replica."""


class SpinSites(NamedTuple):
    """Whose signs change."""

    magnetic: Array
    """(n,) bool."""
    reference: Array
    """(R, n) magnitudes from which equilibrations start, mu_B."""


def with_kept_signs(before: Array, system: System) -> System:
    """The system with `TINY` in place of zero where a moment was not zero ``before`` (R, n)."""
    lost = (system.magmoms == 0.0) & (before != 0.0)
    return system._replace(magmoms=jnp.where(lost, TINY * jnp.sign(before), system.magmoms))


def with_new_signs(
    plan: SpinPlan,
    moments: Moments,
    model: Model,
    sites: SpinSites,
    thermal_energy: Array,
    state: State,
    neighbours: NeighbourList,
    watch: Any = None,
    watched: Any = None,
) -> tuple[State, Any]:
    """The state after the changes that are due at its step, and that of the watch."""

    def unchanged() -> tuple[State, Any]:
        return state, watched

    def changed() -> tuple[State, Any]:
        return _changed(
            plan, moments, model, sites, thermal_energy, state, neighbours, watch, watched
        )

    # Trials begin after the first steps; disorder is there from the start.
    due = (state.step % plan.every == 0) & ((state.step > 0) | (plan.kind == "disorder"))
    return jax.lax.cond(due, changed, unchanged)


def _changed(
    plan: SpinPlan,
    moments: Moments,
    model: Model,
    sites: SpinSites,
    thermal_energy: Array,
    state: State,
    neighbours: NeighbourList,
    watch: Any,
    watched: Any,
) -> tuple[State, Any]:
    system, step, magnetic = state.system, state.step, sites.magnetic
    if plan.kind == "disorder":
        # Moments that atoms have from their neighbours must be free to follow them.
        others = jnp.zeros_like(system.magmoms) if moments.kind == "equilibrate" else system.magmoms
        signs = random_signs(state.keys, step, system.types, magnetic)
        magmoms = jnp.where(magnetic, signs * sites.reference, others)
        counts = state.spins
    else:
        graph, _ = graph_of(system, neighbours)
        dtype = model.potential.radial_coeffs.dtype
        graph = with_floats(graph, dtype)
        around = Surroundings(
            system=system,
            graph=graph,
            magnetic=magnetic,
            reference=sites.reference,
            thermal_energy=thermal_energy,
            keys=state.keys,
            step=step,
            shown_step=step,
            memory=empty_memory(graph),
        )
        walk = Walk(plan.kind, moments, False)
        spins = start_spins(walk, model, around, system.magmoms, state.spins, watched)
        spins = jax.lax.fori_loop(
            0,
            plan.trials,
            lambda trial, spins: try_change(walk, model, around, spins, trial, watch),
            spins,
        )
        magmoms, counts, watched = spins.magmoms, spins.counts, spins.watched
    magmoms = jnp.where(system.running[:, None], magmoms, system.magmoms)
    system, known, watched = evaluate_system(
        model,
        system._replace(magmoms=magmoms),
        neighbours,
        moments._replace(every=1),
        step,
        state.known.memory,
        watch,
        watched,
    )
    system = with_kept_signs(magmoms, system)
    known = known._replace(n_equilibration=known.n_equilibration + state.known.n_equilibration)
    jump = jnp.where(system.running, known.energy - state.known.energy, 0.0)
    return state._replace(
        system=system, known=known, given=state.given + jump, spins=counts
    ), watched
