"""One time step: velocity Verlet, with a heat bath and a barostat around the motion of the atoms.

    [Nose-Hoover, half]  kick, half   drift, half   [Langevin] [precession] [strain of the cell]
    drift, half   new forces   kick, half   [Nose-Hoover, half] [Bussi]

In spin dynamics, kicks and drifts are also those of the lengths of moments that move.

A step has two parts, `advanced` and `completed`, between which the forces are made: the first
says where the atoms go, so that one can look whether the neighbours are still known there.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

import jax.numpy as jnp

from mmtp_jax.simulation.dynamics import precession as spinning
from mmtp_jax.simulation.dynamics.barostats import strain_of_step, strained
from mmtp_jax.simulation.dynamics.evaluation import Evaluated
from mmtp_jax.simulation.dynamics.precession import Precession
from mmtp_jax.simulation.dynamics.thermostats import (
    Bath,
    Chain,
    bussi,
    chain_energy,
    langevin,
    nose_hoover,
)
from mmtp_jax.simulation.spins.counts import Counts
from mmtp_jax.simulation.system import System, kinetic_energy, volumes

Array = Any


class Ensemble(NamedTuple):
    """What is static about a time step."""

    thermostat: str | None
    """One of those of `DynamicsOptions`, or None for none."""
    barostat: str | None
    """One of those of `DynamicsOptions`, or None for none."""
    lengths: str | None = None
    """Of moments in spin dynamics, one of `options.LENGTHS`; None without it."""
    damped: bool = False
    """Moments have damping and noise."""
    fixed_atoms: bool = False
    """Only moments move."""


class Outcome(IntEnum):
    """Why a replica does not move any more."""

    RUNNING = 0
    WATCH = 1
    TOO_CLOSE = 2
    MOMENT = 3
    BLEW_UP = 4


class State(NamedTuple):
    """All that the next step depends on, besides the list of neighbours."""

    system: System
    known: Evaluated
    """At the positions of the system."""
    chain: Chain
    """Of Nose and Hoover; at rest without them."""
    given: Array
    """(R,) energy that heat bath and barostat have given to the atoms so far, eV."""
    keys: Array
    """(R, 2) random keys."""
    outcome: Array
    """(R,) an `Outcome`."""
    stopped_at: Array
    """(R,) step at which a replica stopped; -1 while it runs."""
    n_unconverged: Array
    """(R,) equilibrations that did not converge."""
    n_outside: Array
    """(R,) steps with a distance or a moment outside of the potential's intervals."""
    spins: Counts
    """Changes of signs that were tried so far."""
    precession: Precession
    """Of spin dynamics."""
    step: Array
    """() number of steps done."""


class Moved(NamedTuple):
    """The first part of a step."""

    system: System
    chain: Chain
    given: Array
    strain: Array
    """(R, 3, 3) of the cell."""
    precession: Precession
    by_bath: Array | None = None
    """(R, n, 3) change of moments by damping and noise, mu_B."""


def conserved_energy(state: State) -> Array:
    """(R,) energy of the atoms less what baths have given to them: constant but for dt, eV."""
    moving = kinetic_energy(state.system) + spinning.energy_of_lengths(state.precession)
    return state.known.energy + moving - state.given


def advanced(ensemble: Ensemble, bath: Bath, state: State) -> Moved:
    """Velocities at mid-step, positions and cell at its end."""
    system, given, chain = state.system, state.given, state.chain
    number = state.step + 1
    if ensemble.thermostat == "nose-hoover":
        system, chain, given = _with_chain(system, chain, given, bath)
    system = _kicked(ensemble, system, state.known.forces, bath)
    system = _drifted(ensemble, system, bath)
    before = kinetic_energy(system)
    if ensemble.thermostat == "langevin":
        system = system._replace(velocities=langevin(system, bath, state.keys, number))
    precession, by_bath = state.precession, None
    if ensemble.lengths is not None:
        system, precession, given, by_bath = _spun(ensemble, system, state, bath, given)
    strain = jnp.zeros_like(system.cell)
    if ensemble.barostat is not None:
        strain = strain_of_step(
            ensemble.barostat, system, state.known.stress, bath, state.keys, number
        )
        # The work on the atoms by the trapezoidal rule; its second half follows in `completed`.
        given = given + _half_work(state.system, state.known, strain)
        system = strained(system, strain)
    given = given + kinetic_energy(system) - before
    return Moved(_drifted(ensemble, system, bath), chain, given, strain, precession, by_bath)


def completed(
    ensemble: Ensemble, bath: Bath, state: State, moved: Moved, system: System, known: Evaluated
) -> State:
    """The state after a step.

    Args:
        ensemble: thermostat and barostat.
        bath: their numbers.
        state: before the step.
        moved: its first part.
        system: of ``moved``, with the moments that belong to ``known``.
        known: the evaluation there.
    """
    given, chain = moved.given, moved.chain
    number = state.step + 1
    system = _kicked(ensemble, system, known.forces, bath)
    precession = moved.precession
    if ensemble.lengths is not None:
        speeds, forces = precession.speeds, known.magnetic_forces
        if ensemble.lengths == "dynamic":
            speeds = spinning.kicked(system, speeds, forces, bath)
        if ensemble.damped:
            given = given + spinning.heat(moved.by_bath, forces)
        last = spinning.remembered(precession, system.magmoms, forces, state.step < 0)
        precession = precession._replace(forces=last, speeds=speeds)
    if ensemble.barostat is not None:
        given = given + _half_work(system, known, moved.strain)
    if ensemble.thermostat == "nose-hoover":
        system, chain, given = _with_chain(system, chain, given, bath)
    if ensemble.thermostat == "bussi":
        before = kinetic_energy(system)
        system = system._replace(velocities=bussi(system, bath, state.keys, number))
        given = given + kinetic_energy(system) - before
    return state._replace(
        system=system, known=known, chain=chain, given=given, precession=precession, step=number
    )


def _spun(
    ensemble: Ensemble, system: System, state: State, bath: Bath, given: Array
) -> tuple[System, Precession, Array, Array]:
    """Moments at the end of a step, their speeds in its middle, and what baths have given."""
    forces, number = state.known.magnetic_forces, state.step + 1
    magmoms, speeds = system.magmoms, state.precession.speeds
    moves = ensemble.lengths == "dynamic"
    if moves:
        speeds = spinning.kicked(system, speeds, forces, bath)
        magmoms, speeds = spinning.stretched(magmoms, speeds, bath)
        if ensemble.damped:
            before = jnp.sum(speeds**2, axis=(1, 2))
            speeds = spinning.with_noise(speeds, magmoms, bath, state.keys, number)
            given = given + 0.5 * (jnp.sum(speeds**2, axis=(1, 2)) - before)
    magmoms, by_bath = spinning.precessed(
        magmoms, state.precession, bath, state.keys, number, ensemble.damped
    )
    if moves:
        magmoms, speeds = spinning.stretched(magmoms, speeds, bath)
    if ensemble.damped:
        given = given + spinning.heat(by_bath, forces)
    precession = state.precession._replace(speeds=speeds)
    return system._replace(magmoms=magmoms), precession, given, by_bath


def _kicked(ensemble: Ensemble, system: System, forces: Array, bath: Bath) -> System:
    if ensemble.fixed_atoms:
        return system
    change = 0.5 * bath.timestep * forces / system.masses[:, None]
    return system._replace(velocities=system.velocities + change)


def _drifted(ensemble: Ensemble, system: System, bath: Bath) -> System:
    if ensemble.fixed_atoms:
        return system
    return system._replace(positions=system.positions + 0.5 * bath.timestep * system.velocities)


def _with_chain(
    system: System, chain: Chain, given: Array, bath: Bath
) -> tuple[System, Chain, Array]:
    before = chain_energy(system.n_atoms, chain, bath)
    velocities, chain = nose_hoover(system, chain, bath)
    given = given + before - chain_energy(system.n_atoms, chain, bath)
    return system._replace(velocities=velocities), chain, given


def _half_work(system: System, known: Evaluated, strain: Array) -> Array:
    return 0.5 * volumes(system) * jnp.sum(known.stress * strain, axis=(1, 2))
