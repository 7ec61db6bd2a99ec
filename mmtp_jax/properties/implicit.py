"""Properties at the relaxed state, differentiable by the potential's parameters theta.

The relaxed state x*(theta) solves g(theta, x) = dE/dx = 0 in the free coordinates, so

    dx*/dtheta = -H^-1 dg/dtheta        H = dg/dx

by the implicit function theorem: nothing is differentiated through the steps of a relaxation, but
only through one more of Newton's with H as it is at its end. So first derivatives by theta are
exact, in forward and in reverse mode, and higher ones are not there. Everything here is pure, for
one configuration without padding, and in the units of the package.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.potential.observables import Graph, energies
from mmtp_jax.potential.potential import Potential
from mmtp_jax.properties.coordinates import (
    N_STRAINS,
    changed,
    energy_at,
    parts,
    strain_tensor,
)
from mmtp_jax.properties.hessian import hessian
from mmtp_jax.properties.response import without_translations
from mmtp_jax.simulation.constants import FS, GPA, HBAR, KB

Array = Any

TOLERANCE = 1e-8
"""Largest derivative by a free coordinate at the end, eV/Angstrom, eV and eV/mu_B."""

MAX_ITERATIONS = 30

MAX_CHANGE = 0.1
"""Largest change of a coordinate in one step of Newton's."""


class RelaxedState(NamedTuple):
    """A configuration where the energy is stationary, as a function of theta."""

    potential: Potential
    graph: Graph
    """At the stationary point; NaN where none was found."""
    deformation: Array
    """(3, 3) 1 + eps from the start; a cell is what it was times this."""
    displacements: Array
    """(n, 3) Angstrom, after the deformation."""

    @property
    def magmoms(self) -> Array:
        """(n,) mu_B."""
        return self.graph.magmoms

    @property
    def volume(self) -> Array:
        """() Angstrom^3 of the cell."""
        return self.graph.volumes[0]


def free_coordinates(
    n_atoms: int,
    strains: np.ndarray,
    positions: bool = True,
    moments: bool | np.ndarray = True,
) -> np.ndarray:
    """Orthonormal directions (4 n + 6, d) of x that a state is stationary in.

    Args:
        n_atoms: n.
        strains: (k, 6) orthonormal strains that the cell may take, k from 0 to 6.
        positions: atoms move, all but translations.
        moments: they are equilibrated; or (n,) bool which of them are.
    """
    size, low = 4 * n_atoms + N_STRAINS, 3 * n_atoms
    columns = []
    if positions and n_atoms > 1:
        inner = without_translations(n_atoms)
        columns.append(np.pad(inner, ((0, size - low), (0, 0))))
    if len(strains):
        columns.append(np.pad(np.transpose(strains), ((low, n_atoms), (0, 0))))
    chosen = np.eye(n_atoms)[:, np.broadcast_to(moments, n_atoms)]
    columns.append(np.pad(chosen, ((low + N_STRAINS, 0), (0, 0))))
    return np.concatenate(columns, axis=1)


@jax.jit
def stationary(potential: Potential, graph: Graph, free: Array) -> RelaxedState:
    """The stationary state near a graph, by Newton's method, with implicit derivatives.

    Args:
        potential: the potential; derivatives by its parameters pass through.
        graph: one configuration without padding near the minimum; its neighbours must cover the
            cutoff at the end as well.
        free: (4 n + 6, d) directions, see `free_coordinates`.

    Returns:
        The state. All of its numbers are NaN if Newton's method does not get to a minimum.
    """
    free = jnp.asarray(free, graph.vectors.dtype)

    def gradient(potential: Potential, q: Array) -> Array:
        return free.T @ jax.grad(energy_at, argnums=2)(potential, graph, free @ q)

    start = jnp.zeros(free.shape[1], free.dtype)
    q, second = _newton(partial(gradient, jax.lax.stop_gradient(potential)), start)
    # One more step, the only one with derivatives: those of the implicit function theorem.
    q = q - jnp.linalg.solve(second, gradient(potential, q))
    x = free @ q
    change = parts(x, graph.types.shape[0])
    deformation = jnp.eye(3, dtype=x.dtype) + strain_tensor(change.strain)
    return RelaxedState(potential, changed(graph, x), deformation, change.displacements)


class _Newton(NamedTuple):
    """Where Newton's method is: the derivatives are those at q."""

    q: Array
    change: Array
    gradient: Array
    second: Array
    count: Array
    fine: Array


def _newton(gradient: Any, start: Array) -> tuple[Array, Array]:
    """Root of a gradient and its Jacobian there, positive definite; NaN if there is none."""

    def go_on(at: _Newton) -> Array:
        far = jnp.max(jnp.abs(at.gradient), initial=0.0) > TOLERANCE
        return (at.count == 0) | (at.fine & far & (at.count < MAX_ITERATIONS))

    def both(q: Array) -> tuple[Array, Array]:
        value = gradient(q)
        return value, value

    def step(at: _Newton) -> _Newton:
        q = at.q + at.change
        second, value = jax.jacfwd(both, has_aux=True)(q)
        second = (second + second.T) / 2
        curvatures, vectors = jnp.linalg.eigh(second)
        change = -vectors @ ((vectors.T @ value) / curvatures)
        change *= jnp.minimum(1.0, MAX_CHANGE / jnp.max(jnp.abs(change), initial=0.0))
        fine = jnp.all(curvatures > 0)
        return _Newton(q, change, value, second, at.count + 1, fine)

    size = start.shape[0]
    at = jax.lax.while_loop(
        go_on,
        step,
        _Newton(
            start, start, start, jnp.zeros((size, size), start.dtype), jnp.int32(0), jnp.bool_(True)
        ),
    )
    fine = at.fine & (jnp.max(jnp.abs(at.gradient), initial=0.0) <= TOLERANCE)
    return jnp.where(fine, at.q, jnp.nan), at.second


class Curvature(NamedTuple):
    """Second derivatives of a state with moments that follow, or clamped ones."""

    uu: Array
    """(3 n, 3 n) eV/Angstrom^2."""
    ue: Array
    """(3 n, 6) eV/Angstrom."""
    ee: Array
    """(6, 6) eV."""
    energy: Array
    """() eV."""
    volume: Array
    """() Angstrom^3."""


@partial(jax.jit, static_argnames="moments")
def curvature(state: RelaxedState, moments: bool = True) -> Curvature:
    """Second derivatives by displacements and strain at a state, by the exact Schur complement.

    It is what elastic constants, moduli and frequencies are made of; take it once for all of them.

    Args:
        state: where all magnetic forces are zero.
        moments: they follow; else they are clamped.
    """
    n = state.graph.types.shape[0]
    split, end = 3 * n, 3 * n + N_STRAINS
    whole = hessian(state.potential, state.graph)
    kept, mixed = whole[:end, :end], whole[:end, end:]
    if moments:
        # Of a species without moments all of it is zero: it follows nothing.
        still = ~jnp.asarray(state.potential.magnetic)[state.graph.types]
        own = whole[end:, end:] + jnp.diag(still.astype(whole.dtype))
        kept = kept - mixed @ jnp.linalg.solve(own, mixed.T)
    kept = (kept + kept.T) / 2
    return Curvature(
        kept[:split, :split],
        kept[:split, split:],
        kept[split:, split:],
        energies(state.potential, state.graph)[0],
        state.volume,
    )


def elastic_tensor(second: Curvature, positions: bool = True) -> Array:
    """Elastic constants (6, 6) in GPa; see `mmtp_jax.elastic_constants`.

    Args:
        second: of a state without stress.
        positions: atoms relax in the strained cell; else they only follow it.
    """
    found, n = second.ee, second.uu.shape[0] // 3
    if positions and n > 1:
        inner = jnp.asarray(without_translations(n))
        mixed = inner.T @ second.ue
        found = found - mixed.T @ jnp.linalg.solve(inner.T @ second.uu @ inner, mixed)
    return found / (second.volume * GPA)


def bulk_modulus(second: Curvature) -> Array:
    """-V dP/dV () in GPa where the shape of the cell relaxes: Reuss' modulus."""
    pressure = jnp.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    return 1.0 / (pressure @ jnp.linalg.solve(elastic_tensor(second), pressure))


def lattice_parameter(state: RelaxedState, atoms_per_cell: float = 2.0) -> Array:
    """(V per cell)^(1/3) () in Angstrom, for cells of so many atoms."""
    return jnp.cbrt(atoms_per_cell * state.volume / state.graph.types.shape[0])


def frequencies(second: Curvature, masses: Array) -> Array:
    """(3 n - 3,) frequencies at Gamma in THz without translations; imaginary ones are negative.

    First derivatives only. Those of frequencies that are equal are defined for their sum alone.

    Args:
        second: of a state without forces.
        masses: (n,) amu.
    """
    square = squared_frequencies(second, masses)
    return jnp.sign(square) * jnp.sqrt(jnp.abs(square)) * FS * 1e3 / (2 * np.pi)


def harmonic_free_energy(second: Curvature, masses: Array, temperature_K: float) -> Array:
    """Energy of the state and free energy of its vibrations at Gamma (), eV.

    The larger the supercell, the more wave vectors that is. NaN for imaginary frequencies.
    """
    squared = squared_frequencies(second, masses)
    return second.energy + vibrational_free_energy(squared, temperature_K)


def vibrational_free_energy(squared: Array, temperature_K: float | Array) -> Array:
    """Free energy (...) of harmonic modes, eV, their zero-point energy included.

    Args:
        squared: (..., modes) omega^2, eV/(Angstrom^2 amu); NaN comes of negative ones.
        temperature_K: () above zero.
    """
    quanta, thermal = HBAR * jnp.sqrt(squared), KB * temperature_K
    return jnp.sum(quanta / 2 + thermal * jnp.log1p(-jnp.exp(-quanta / thermal)), axis=-1)


def squared_frequencies(second: Curvature, masses: Array) -> Array:
    """omega^2 (3 n - 3,) in eV/(Angstrom^2 amu), ascending, without translations."""
    root = np.repeat(np.sqrt(np.asarray(masses, float)), 3)
    # Translations have these components after the scaling with masses; the rest is orthogonal.
    still = np.kron(np.sqrt(np.asarray(masses, float))[:, None], np.eye(3))
    basis = np.linalg.svd(still)[0][:, 3:]
    matrix = basis.T @ (second.uu / np.outer(root, root)) @ basis
    # Hellmann and Feynman: the derivative of an eigenvalue needs no derivative of its vector,
    # which is not defined where eigenvalues are equal.
    vectors = jax.lax.stop_gradient(jnp.linalg.eigh(jax.lax.stop_gradient(matrix))[1])
    return jnp.einsum("ia,ij,ja->a", vectors, matrix, vectors)
