"""The energy of replicas and its derivatives, with moments that are fixed or equilibrated.

At moments that minimise the energy, forces and stress at fixed moments are the adiabatic ones.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.potential.observables import Observables, evaluate
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import require_precision, with_floats
from mmtp_jax.simulation.dynamics.spin_temperature import spin_temperatures
from mmtp_jax.simulation.moments.equilibrate import equilibrate_graph
from mmtp_jax.simulation.moments.lbfgs import Memory, empty_memory
from mmtp_jax.simulation.moments.steps import Status
from mmtp_jax.simulation.neighbours import NeighbourList, graph_of
from mmtp_jax.simulation.system import System
from mmtp_jax.structures.device import without_constants

Array = Any


class Model(NamedTuple):
    """A potential on the device, and the constants that are added in float64."""

    potential: Potential
    """With e0 = 0, in the precision of the evaluation."""
    constants: Array
    """(S,) e0 of each species, eV."""
    tolerance: Array
    """() largest |T_i| of equilibrated moments, eV/mu_B."""


def model_of(potential: Potential, dtype: Any, tolerance: float) -> Model:
    """A potential for evaluations in ``dtype``, with magnetic forces up to ``tolerance``."""
    bare, constants = without_constants(potential, require_precision(dtype))
    return Model(bare, *jax.device_put((constants, np.float64(tolerance))))


class Moments(NamedTuple):
    """What is static about the treatment of the moments."""

    kind: str
    """"equilibrate" or "fixed"."""
    every: int
    """Steps between two equilibrations."""
    max_steps: int
    """Most evaluations of one equilibration."""
    allow_flips: bool
    """Moments may change their sign."""
    chunk: int | None
    """Most atoms per block of an evaluation."""
    fixed_directions: bool = False
    """Vectors keep their directions."""
    spin_temperature_every: int = 0
    """Steps between two that compute it; 0 for none."""


class Evaluated(NamedTuple):
    """What is known of R replicas at their positions and moments."""

    energy: Array
    """(R,) eV."""
    forces: Array
    """(R, n, 3) eV/Angstrom."""
    stress: Array
    """(R, 3, 3) eV/Angstrom^3."""
    magnetic_forces: Array
    """(R, n) or (R, n, 3) eV/mu_B."""
    shortest: Array
    """(R,) shortest distance, Angstrom."""
    n_equilibration: Array
    """(R,) evaluations of the equilibration; 0 where there was none."""
    equilibrium: Array
    """(R,) `Status` of the equilibration; 0 where there was none."""
    memory: Memory
    """Of the equilibration, for the next one."""
    spin_temperature: Array
    """(R,) K, of the last step that computed it; 0 without any."""


def evaluate_system(
    model: Model,
    system: System,
    neighbours: NeighbourList,
    moments: Moments,
    step: Array,
    memory: Memory | None = None,
    watch: Any = None,
    watched: Any = None,
    spin_temperature: Array | None = None,
) -> tuple[System, Evaluated, Any]:
    """Equilibrate if it is time to, evaluate, and show it all to the watch.

    The ``spin_temperature`` of the last step is kept between two that compute it.

    Returns:
        The system with its new moments, what is known of it, and the state of the watch.
    """
    graph, shortest = graph_of(system, neighbours)
    dtype = model.potential.radial_coeffs.dtype
    graph = with_floats(graph, dtype)
    memory = empty_memory(graph) if memory is None else memory
    constants = jnp.sum(model.constants[system.types])

    def look(state: Any, graph: Any, values: Observables) -> Any:
        if watch is None:
            return state
        shown = system._replace(magmoms=per_replica(graph.magmoms))
        values = values._replace(energy=values.energy + constants)
        return watch.look(state, shown, graph, values, step)

    def per_replica(values: Array) -> Array:
        size = system.n_replicas * system.n_atoms
        shape = system.positions.shape[:2]
        return values[:size].reshape(*shape, *values.shape[1:]).astype(float)

    def fixed() -> tuple[Any, ...]:
        _, values = evaluate(model.potential, graph, moments.chunk)
        none = jnp.zeros(system.n_replicas, jnp.int32)
        return values, graph.magmoms, none, none, memory, look(watched, graph, values)

    def equilibrated() -> tuple[Any, ...]:
        found, state = equilibrate_graph(
            model.potential,
            graph,
            tolerance=model.tolerance,
            max_steps=moments.max_steps,
            allow_flips=moments.allow_flips,
            fixed_directions=moments.fixed_directions,
            chunk=moments.chunk,
            memory=memory,
            observe=None if watch is None else look,
            carry=watched,
        )
        counts = (found.n_steps.astype(jnp.int32), found.status.astype(jnp.int32))
        return found.observables, found.magmoms, *counts, found.memory, state

    if moments.kind == "fixed":
        result = fixed()
    elif moments.every == 1:
        result = equilibrated()
    else:
        result = jax.lax.cond(step % moments.every == 0, equilibrated, fixed)
    values, magmoms, n_steps, status, memory, watched = result
    if moments.kind == "equilibrate":
        # In mixed precision, moments that do not change must not change by rounding either.
        changed = per_replica(magmoms != graph.magmoms) > 0
        magmoms = jnp.where(changed, per_replica(magmoms), system.magmoms)
        system = system._replace(magmoms=magmoms)
    if spin_temperature is None:
        spin_temperature = jnp.zeros(system.n_replicas)
    if moments.spin_temperature_every:
        spin_temperature = jax.lax.cond(
            step % moments.spin_temperature_every == 0,
            lambda: spin_temperatures(
                graph._replace(magmoms=result[1]), values.magnetic_forces,
                model.potential.min_dist, model.potential.cutoff,
            ),
            lambda: spin_temperature,
        )  # fmt: skip
    known = Evaluated(
        energy=values.energy.astype(float) + constants,
        forces=per_replica(values.forces),
        stress=values.stress.astype(float),
        magnetic_forces=per_replica(values.magnetic_forces),
        shortest=shortest,
        n_equilibration=n_steps,
        equilibrium=status,
        memory=memory,
        spin_temperature=spin_temperature,
    )
    return system, known, watched


def not_converged(known: Evaluated) -> Array:
    """(R,) bool: the moments of this step are not those of a minimum."""
    return (known.equilibrium == Status.STEP_LIMIT) | (known.equilibrium == Status.NO_DESCENT)


def at_bound(known: Evaluated) -> Array:
    """(R,) bool: moments want to leave the interval that the potential covers."""
    return known.equilibrium == Status.HELD_AT_BOUND
