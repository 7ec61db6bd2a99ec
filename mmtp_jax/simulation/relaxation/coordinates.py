"""Joint coordinates of positions and cells, and the gradient of the enthalpy in them.

As in ase.filters.FrechetCellFilter, positions x are those in the undeformed cell h0, and

    h = h0 F        r = x F        F = exp(L)        L = sum_k q_k B_k / w

with the allowed strains B_k of `cell`. With the enthalpy H = E + p V and its derivative
W = V (sigma + p) by a strain that carries the atoms along,

    dH/dx = -f F        dH/dF = F^-1 W        dH/dq_k = <B_k, (d exp)^T dH/dF> / w

The length w = sqrt(n) (V / n)^(1/3) of a configuration makes the curvature along q that along x:
an elastic constant times the volume of an atom is about a force constant times its squared length.

All coordinates of C configurations with N atoms are one vector (3 N + 6 C,): x, then q.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mmtp_jax.potential.observables import Observables
from mmtp_jax.potential.sums import Sums
from mmtp_jax.simulation.moments.lbfgs import Segments
from mmtp_jax.simulation.relaxation.cell import N_STRAINS

Array = Any

SQUARINGS, ORDER = 4, 8
"""Of the exponential: to round-off for strains of up to one half."""


class Problem(NamedTuple):
    """C independent relaxations, all of one kind. Atoms that pad have the configuration C."""

    types: Array
    """(N,) species index."""
    configuration: Array
    """(N,)"""
    sides: Array
    """(N,) side of zero that each moment starts from; 0 where it may take either, as of vectors."""
    cell: Array
    """(C, 3, 3) at the start, rows are the cell vectors, Angstrom."""
    volume: Array
    """(C,) at the start, Angstrom^3; infinite where not periodic in three directions."""
    weight: Array
    """(C,) w, Angstrom."""
    basis: Array
    """(6, 3, 3) allowed strains."""
    moves: Array
    """() bool: the atoms may move in the cell."""
    pressure: Array
    """() eV/Angstrom^3."""
    periodic: Array
    """(3,) bool, of the first configuration; only a watch, which sees like ones, uses it."""
    sums: Sums | None = None
    """Where the terms of sums over atoms are; None: they are added in their own order."""

    @property
    def n_configurations(self) -> int:
        """C."""
        return self.cell.shape[0]

    @property
    def n_atoms(self) -> int:
        """N, padding included."""
        return self.types.shape[0]


class Geometry(NamedTuple):
    """Where the atoms are."""

    positions: Array
    """(N, 3) Angstrom."""
    cell: Array
    """(C, 3, 3) Angstrom."""
    volume: Array
    """(C,) Angstrom^3; infinite where there is none."""


def start_coordinates(problem: Problem, positions: Array) -> Array:
    """Those of undeformed cells."""
    return jnp.concatenate([positions.ravel(), jnp.zeros(N_STRAINS * problem.n_configurations)])


def parts(problem: Problem, coordinates: Array) -> tuple[Array, Array]:
    """x (N, 3) and L (C, 3, 3); of a step, its changes."""
    split = 3 * problem.n_atoms
    amounts = coordinates[split:].reshape(-1, N_STRAINS) / problem.weight[:, None]
    strain = jnp.tensordot(amounts, problem.basis, axes=1)
    return coordinates[:split].reshape(-1, 3), strain


def geometry_of(problem: Problem, coordinates: Array) -> Geometry:
    """Positions and cells at these coordinates."""
    x, strain = parts(problem, coordinates)
    deformation = exponential(strain)
    return Geometry(
        positions=jnp.einsum("na,nab->nb", x, at_atoms(problem, deformation)),
        cell=problem.cell @ deformation,
        # det exp(L) = exp(tr L), which keeps a volume that must not change exactly.
        volume=problem.volume * jnp.exp(jnp.trace(strain, axis1=1, axis2=2)),
    )


def enthalpy(problem: Problem, energy: Array, volume: Array) -> Array:
    """H = E + p V (C,), eV; E where there is no volume."""
    return energy + problem.pressure * jnp.where(jnp.isfinite(volume), volume, 0.0)


def gradient_of(
    problem: Problem, coordinates: Array, geometry: Geometry, values: Observables
) -> tuple[Array, Array]:
    """dH/d(coordinates) (3 N + 6 C,), and the allowed part of sigma + p (C, 3, 3)."""
    _, strain = parts(problem, coordinates)
    has_volume = jnp.isfinite(geometry.volume)[:, None, None]
    excess = values.stress + problem.pressure * jnp.eye(3)
    volume = jnp.where(has_volume, geometry.volume[:, None, None], 0.0)
    deformation, pull_back = jax.vjp(exponential, strain)
    (of_strain,) = pull_back(exponential(-strain) @ (volume * excess))
    of_amounts = _components(problem, of_strain) / problem.weight[:, None]
    of_x = -jnp.einsum("na,nab->nb", values.forces, at_atoms(problem, deformation))
    of_x = jnp.where(problem.moves, of_x, 0.0)
    allowed = jnp.tensordot(_components(problem, excess), problem.basis, axes=1)
    gradient = jnp.concatenate([of_x.ravel(), of_amounts.ravel()])
    return gradient, jnp.where(has_volume, allowed, 0.0)


def exponential(strain: Array) -> Array:
    """exp(L) (C, 3, 3), by scaling and squaring of the Taylor series."""
    unit = jnp.eye(3, dtype=strain.dtype)
    small = strain / 2**SQUARINGS
    total = jnp.broadcast_to(unit, strain.shape)
    for k in range(ORDER, 0, -1):
        total = unit + small @ total / k
    for _ in range(SQUARINGS):
        total = total @ total
    return total


def at_atoms(problem: Problem, values: Array) -> Array:
    """Rows of configurations (C, ...) at their atoms (N, ...); any row at padding."""
    return values[jnp.minimum(problem.configuration, problem.n_configurations - 1)]


def segments(problem: Problem) -> Segments:
    """Which configuration each of the coordinates belongs to."""
    n_conf = problem.n_configurations
    own = jnp.repeat(jnp.arange(n_conf, dtype=problem.configuration.dtype), N_STRAINS)
    owner = jnp.concatenate([jnp.repeat(problem.configuration, 3), own])
    if problem.sums is None:
        return Segments(owner, n_conf)
    atoms = problem.sums.members[:, :, None]
    of_atoms = jnp.where(atoms >= 0, 3 * atoms + jnp.arange(3), -1).reshape(n_conf, -1)
    of_cell = 3 * problem.n_atoms + jnp.arange(N_STRAINS * n_conf).reshape(n_conf, -1)
    members = jnp.concatenate([of_atoms, of_cell.astype(atoms.dtype)], axis=1)
    return Segments(owner, n_conf, problem.sums._replace(members=members))


def atoms_of(problem: Problem) -> Segments:
    """Which configuration each of the atoms belongs to."""
    return Segments(problem.configuration, problem.n_configurations, problem.sums)


def _components(problem: Problem, tensor: Array) -> Array:
    """<B_k, tensor> (C, 6)."""
    return jnp.tensordot(tensor, problem.basis, axes=[[1, 2], [1, 2]])
