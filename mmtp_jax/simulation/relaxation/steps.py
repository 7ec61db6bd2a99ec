"""One iteration of a relaxation: judge the geometry that was tried, and choose the next.

L-BFGS in the joint coordinates of `coordinates`, many configurations in lock-step. A step
that lowers the enthalpy sufficiently is accepted, else it is shortened; so the enthalpy never
rises. A configuration that converged, or left what the potential covers, stays where it is.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mmtp_jax.potential.confinement import Reach, intervals, lengths_of, reach
from mmtp_jax.potential.observables import Observables
from mmtp_jax.potential.vector_moments import are_vectors
from mmtp_jax.simulation.moments.bounds import components
from mmtp_jax.simulation.moments.lbfgs import Memory
from mmtp_jax.simulation.moments.line_search import GIVE_UP_AFTER, judged_step, next_step
from mmtp_jax.simulation.moments.steps import Status
from mmtp_jax.simulation.relaxation.coordinates import (
    Geometry,
    Problem,
    atoms_of,
    enthalpy,
    gradient_of,
    parts,
    segments,
    start_coordinates,
)
from mmtp_jax.simulation.relaxation.status import RelaxStatus

Array = Any

FORCE_CONSTANT = 15.0
"""d2H/dx2 in eV/Angstrom^2 that is assumed before the first step."""


class Limits(NamedTuple):
    """When to stop, and how far to go; all of them traced."""

    forces: Array
    """() largest |f_i| at the end, eV/Angstrom."""
    stress: Array
    """() largest allowed component of sigma + p at the end, eV/Angstrom^3."""
    magnetic_forces: Array
    """() largest |T_i| at the end, eV/mu_B."""
    equilibration: Array
    """() largest |T_i| that each equilibration ends with, eV/mu_B."""
    max_step: Array
    """() longest step of an atom, Angstrom."""
    max_strain: Array
    """() largest norm of a change of the logarithmic strain."""
    log_volume: Array
    """() largest |ln (V / V_start)|."""
    bounded: Array
    """() bool: stop at distances and moments that the potential does not cover."""
    max_equilibration_steps: Array
    """() evaluations of one equilibration."""


class Trial(NamedTuple):
    """What was found at the geometry that was tried, at equilibrated moments."""

    geometry: Geometry
    magmoms: Array
    """(N,) or (N, 3) mu_B."""
    sites: Array
    """(N,) site energies without the constants of the species, eV."""
    values: Observables
    residual: Array
    """(C,) largest |T_i| of the moments that are not held."""
    equilibrium: Array
    """(C,) a `Status`."""
    n_evaluations: Array
    """(C,)"""
    shortest: Array
    """(C,) Angstrom."""


class RelaxState(NamedTuple):
    """The loop's state; per coordinate, atom or configuration."""

    trial: Array
    """(3 N + 6 C,) coordinates that are evaluated next."""
    coordinates: Array
    """The last accepted ones, to which all of ``at`` belongs."""
    at: Trial
    enthalpy: Array
    """(C,) eV."""
    gradient: Array
    """(3 N + 6 C,)"""
    largest_force: Array
    """(C,) eV/Angstrom."""
    largest_stress: Array
    """(C,) of the allowed part of sigma + p, eV/Angstrom^3."""
    refused: Array
    """(C,) refused steps in a row."""
    shorter: Array
    """(C,) factor of a refused step."""
    n_steps: Array
    """(C,) geometries that were evaluated."""
    n_evaluations: Array
    """(C,) evaluations of the potential."""
    status: Array
    """(C,) `RelaxStatus.STEP_LIMIT` where it goes on."""
    memory: Memory
    """Of the coordinates."""
    moment_memory: Memory
    """Of the equilibrations."""


@partial(jax.jit, static_argnames="dtype")
def before_start(problem: Problem, positions: Array, magmoms: Array, dtype: Any) -> RelaxState:
    """Before the first evaluation.

    Args:
        problem: the configurations.
        positions: (N, 3) Angstrom.
        magmoms: (N,) or (N, 3) mu_B.
        dtype: of the evaluation.
    """
    coordinates = start_coordinates(problem, positions)
    n_conf = problem.n_configurations
    memory = Memory.empty(coordinates.shape[0], n_conf, problem.cell.dtype)
    zeros, of_atoms = jnp.zeros_like(problem.volume), jnp.zeros(problem.n_atoms)
    none = jnp.zeros(zeros.shape, jnp.int32)
    blank = Trial(
        geometry=Geometry(jnp.zeros_like(positions), problem.cell, problem.volume),
        magmoms=magmoms,
        sites=of_atoms,
        values=Observables(
            zeros, jnp.zeros_like(positions), 0.0 * problem.cell, jnp.zeros_like(magmoms)
        ),
        residual=zeros,
        equilibrium=none,
        n_evaluations=none,
        shortest=zeros,
    )
    (atoms,) = atoms_of(problem).totals(jnp.ones_like(of_atoms))
    status = jnp.where(atoms > 0, RelaxStatus.STEP_LIMIT, RelaxStatus.CONVERGED)
    return RelaxState(
        trial=coordinates,
        coordinates=coordinates,
        at=blank,
        enthalpy=zeros,
        gradient=jnp.zeros_like(coordinates),
        largest_force=zeros,
        largest_stress=zeros,
        refused=none,
        shorter=jnp.ones_like(zeros),
        n_steps=none,
        n_evaluations=none,
        status=status.astype(jnp.int32),
        memory=memory._replace(scale=jnp.full_like(memory.scale, 1.0 / FORCE_CONSTANT)),
        moment_memory=Memory.empty(problem.n_atoms * components(magmoms), n_conf, dtype),
    )


def running(state: RelaxState) -> Array:
    """(C,) bool: the configurations that go on."""
    return state.status == RelaxStatus.STEP_LIMIT


def judged(
    state: RelaxState, problem: Problem, tried: Trial, limits: Limits, potential: Any
) -> RelaxState:
    """Accept the geometry that was tried in each configuration, or refuse it."""
    pieces, atoms, on = segments(problem), atoms_of(problem), running(state)
    first = state.n_steps == 0
    new_enthalpy = enthalpy(problem, tried.values.energy, tried.geometry.volume)
    gradient, excess = gradient_of(problem, state.trial, tried.geometry, tried.values)
    step, change = state.trial - state.coordinates, gradient - state.gradient
    slope, twist = pieces.totals(state.gradient * step, change * step)
    of_sites, size, n_atoms = atoms.totals(
        tried.sites - state.at.sites, jnp.abs(tried.sites), jnp.ones_like(tried.sites)
    )
    difference = new_enthalpy - state.enthalpy
    # Summed atom by atom, the difference keeps digits that the total energies lack.
    difference = difference - (tried.values.energy - state.at.values.energy) + of_sites
    # Neither round-off nor what is left of the magnetic forces may decide: there, the slopes do.
    noise = (
        4 * jnp.finfo(potential.radial_coeffs.dtype).eps * size + n_atoms * limits.equilibration**2
    )
    finite = jnp.isfinite(new_enthalpy + pieces.totals(gradient)[0])
    numbers = (slope, twist, difference, noise)
    accepted, search = judged_step(state, pieces, step, change, numbers, on, first, finite)

    at = _chosen(accepted, atoms.at_atoms(accepted), tried, state.at)
    forces = jnp.sqrt(jnp.sum(tried.values.forces**2, axis=1))
    forces = jnp.where(problem.moves, forces, 0.0)
    components = jnp.abs(excess).reshape(excess.shape[0], -1)
    at_coordinates = pieces.at_atoms(accepted)
    state = state._replace(
        coordinates=jnp.where(at_coordinates, state.trial, state.coordinates),
        at=at,
        enthalpy=jnp.where(accepted, new_enthalpy, state.enthalpy),
        gradient=jnp.where(at_coordinates, gradient, state.gradient),
        largest_force=jnp.where(accepted, atoms.largest(forces), state.largest_force),
        largest_stress=jnp.where(accepted, jnp.max(components, axis=1), state.largest_stress),
        n_steps=state.n_steps + on,
        n_evaluations=state.n_evaluations + jnp.where(on, tried.n_evaluations, 0),
        **search,
    )
    status = _status(state, problem, limits, potential)
    status = jnp.where(accepted, status, state.status)
    status = jnp.where(on & (state.refused > GIVE_UP_AFTER), RelaxStatus.NO_DESCENT, status)
    status = jnp.where(on & first & ~finite, RelaxStatus.NOT_FINITE, status)
    return state._replace(status=status.astype(state.status.dtype))


def _chosen(accepted: Array, at_atoms: Array, new: Trial, old: Trial) -> Trial:
    """The new numbers where accepted, by configuration (C,) or by atom (N,)."""

    def by(where: Array, tried: Array, kept: Array) -> Array:
        return jnp.where(where.reshape(-1, *[1] * (tried.ndim - 1)), tried, kept)

    def fields(where: Array, of: Any, names: tuple[str, ...], kept: Any) -> dict[str, Array]:
        return {name: by(where, getattr(of, name), getattr(kept, name)) for name in names}

    geometry = Geometry(
        **fields(at_atoms, new.geometry, ("positions",), old.geometry),
        **fields(accepted, new.geometry, ("cell", "volume"), old.geometry),
    )
    values = Observables(
        **fields(accepted, new.values, ("energy", "stress"), old.values),
        **fields(at_atoms, new.values, ("forces", "magnetic_forces"), old.values),
    )
    of_configurations = ("residual", "equilibrium", "n_evaluations", "shortest")
    return Trial(
        geometry=geometry,
        values=values,
        **fields(at_atoms, new, ("magmoms", "sites"), old),
        **fields(accepted, new, of_configurations, old),
    )


def _status(state: RelaxState, problem: Problem, limits: Limits, potential: Any) -> Array:
    """(C,) what to say of accepted geometries; the first of these that holds."""
    at = state.at
    sizes = lengths_of(at.magmoms, are_vectors(at.magmoms))
    has_volume = jnp.isfinite(problem.volume)
    ratio = jnp.where(has_volume, at.geometry.volume, 1.0) / jnp.where(
        has_volume, problem.volume, 1.0
    )
    done = (state.largest_force < limits.forces) & (state.largest_stress < limits.stress)

    def beyond(ends: Reach) -> tuple[Array, Array]:
        return ends.too_close(at.shortest), atoms_of(problem).any(
            ends.too_large(problem.types, sizes)
        )

    # On the way a confined potential may be left by a little, but a minimum there is its
    # confinement's.
    (far_close, far_large), (close, large) = beyond(reach(potential)), beyond(intervals(potential))
    close, large = far_close | (done & close), far_large | (done & large)
    at_bound = large | (at.equilibrium == Status.HELD_AT_BOUND)
    found = (
        (RelaxStatus.TOO_CLOSE, limits.bounded & close),
        (RelaxStatus.MOMENT_AT_BOUND, limits.bounded & at_bound),
        (RelaxStatus.VOLUME, jnp.abs(jnp.log(ratio)) > limits.log_volume),
        (RelaxStatus.MOMENTS, at.residual >= limits.magnetic_forces),
        # On the way, a moment that is held at zero may still come back.
        (RelaxStatus.MOMENT_AT_ZERO, done & (at.equilibrium == Status.HELD_AT_ZERO)),
        (RelaxStatus.CONVERGED, done),
    )
    status = jnp.full_like(state.status, RelaxStatus.STEP_LIMIT)
    for name, holds in reversed(found):
        status = jnp.where(holds, int(name), status)
    return status


def with_next_trial(state: RelaxState, problem: Problem, limits: Limits) -> RelaxState:
    """Choose the coordinates that are evaluated next."""
    pieces, on = segments(problem), running(state)

    def capped(step: Array) -> Array:
        # The longest change of a configuration counts, so that its direction stays.
        moved, strain = parts(problem, step)
        moved = atoms_of(problem).largest(jnp.sqrt(jnp.sum(moved**2, axis=1)))
        strained = jnp.sqrt(jnp.sum(strain**2, axis=(1, 2)))
        share = jnp.maximum(moved / limits.max_step, strained / limits.max_strain)
        return step / pieces.at_atoms(jnp.maximum(share, 1.0)).clip(1.0)

    everywhere = jnp.ones(state.gradient.shape, bool)
    refused = state.trial - state.coordinates
    step, memory = next_step(state, pieces, state.gradient, everywhere, refused, on, capped)
    trial = jnp.where(pieces.at_atoms(on), state.coordinates + step, state.coordinates)
    return state._replace(trial=trial, memory=memory)
