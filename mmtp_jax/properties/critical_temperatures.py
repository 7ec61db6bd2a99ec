"""Critical temperatures of classical spins, E = -sum_{a != b} J_ab e_a.e_b, both orders.

- Mean field: k_B T = 2/3 of the largest eigenvalue of J_ab(q = 0), summed over cells. Its vector is
  the order that it makes; a state has that temperature if its moments have the signs of the vector.
- Random phases (Tyablikov): with the averages x_a of the spins, close to where they vanish,

      x_a = 2 / (3 k_B T <[N^-1(q)]_aa>_q),     N_ab(q) = delta_ab sum_c J_ac(0) x_c - x_a J_ab(q)

  (Rusz, Turek and Divis, Phys. Rev. B 71, 214412 (2005)), which for one sublattice is
  1 / k_B T = (3/2) <1 / (J(0) - J(q))>_q (Pajda et al., Phys. Rev. B 64, 174402 (2001)).

Lengths of moments stay, and spins are classical.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from mmtp_jax.properties.spin_model import FLAT, SpinModel
from mmtp_jax.simulation.constants import KB

MESH = 40.0
"""Angstrom; the larger, the denser the mesh of q where other states are looked for."""
SOFT = 1e-2
"""meV below zero from which an eigenvalue of K counts as negative, not as noise."""

NO_MINIMUM = "the state is no minimum"
OTHER_ORDER = "another order has a higher one"

INTEGRATION = 30.0
"""Angstrom; the finer of two meshes has twice as many q."""

_SAME = 1e-6
"""Share of the largest within which eigenvalues are the same, and components are zero."""
_MOST_STEPS = 500


def exchange_matrix(curvature: np.ndarray, on_site: np.ndarray) -> np.ndarray:
    """J_ab(q) (k, n, n) of K(q), eV, without what a spin does to itself (n,)."""
    return -(curvature - np.diag(on_site)) / 2


def on_site_of(model: SpinModel) -> np.ndarray:
    """(n_spins,) K_aa of an atom alone, eV."""
    if model.n_spins == len(model.moments):
        own = model.on_site
        return np.bincount(model.first[own], model.values[own], model.n_spins)
    # Atoms that follow make couplings of their own, of any range.
    found = model.curvature(mesh_of(model.cell, INTEGRATION)).real
    return np.einsum("kaa->a", found) / len(found)


def soft_places(curvature: np.ndarray) -> np.ndarray:
    """Which K(q) (k, n, n), eV, have turns that lower the energy."""
    return np.flatnonzero(np.linalg.eigvalsh(curvature)[:, 0] < -1e-3 * SOFT)


def mean_field(model: SpinModel) -> float | None:
    """Critical temperature by mean field, K, of the order of the state among those of its cell.

    Zero where none of them orders; None where another one has a higher temperature.
    """
    couplings = exchange_matrix(model.curvature(np.zeros((1, 3))), on_site_of(model))[0].real
    values, vectors = np.linalg.eigh(couplings)
    if values[-1] <= 0.0:
        return 0.0
    # Of orders that have the same temperature the one that is closest to the state.
    highest = vectors[:, values > (1.0 - _SAME) * values[-1]]
    order = model.signs * (highest @ (highest.T @ model.signs))
    # A sublattice that is coupled to no other has no part, or a sign of its own.
    if order.max() < _SAME or order.min() < -_SAME * order.max():
        return None
    return 2.0 / 3.0 * float(values[-1]) / KB


def why_no_order(model: SpinModel) -> str:
    """Why mean field gives the state no temperature, in words; empty where it gives one."""
    curvature = model.curvature(mesh_of(model.cell, MESH))
    if soft_places(curvature).size:
        return NO_MINIMUM
    highest = np.linalg.eigvalsh(exchange_matrix(curvature, on_site_of(model)))[:, -1]
    # The first q is zero.
    elsewhere = highest.max() > highest[0] + _SAME * abs(highest[0])
    return OTHER_ORDER if elsewhere or mean_field(model) is None else ""


def random_phase(model: SpinModel, length: float = INTEGRATION) -> float | None:
    """Critical temperature with random phases, K.

    None where the state is no minimum; zero where turns along a direction cost nothing, as in
    chains and layers (Mermin and Wagner).

    Args:
        model: the couplings.
        length: of the coarser of two meshes, Angstrom.
    """
    rigid = np.linalg.eigvalsh(model.rigidity())
    if rigid[-1] <= 0.0 or rigid[0] < -FLAT * rigid[-1]:
        return None
    if rigid[0] < FLAT * rigid[-1]:
        return 0.0
    on_site = on_site_of(model)
    zero = exchange_matrix(model.curvature(np.zeros((1, 3))), on_site)[0].real
    counts = np.array(counts_of(model.cell, length))
    found = []
    for factor in (1, 2):
        curvature = model.curvature(mesh(factor * counts, 0.5))
        if np.linalg.eigvalsh(curvature).min() <= 0.0:
            return None
        couplings = exchange_matrix(curvature, on_site)
        found.append(_inverse_temperature(zero, couplings, model.signs))
    # On a shifted mesh the integral of 1/q^2 is off by a term linear in the spacing, then cubic.
    inverse = 2.0 * found[1] - found[0]
    return 1.0 / (inverse * KB) if np.isfinite(inverse) and inverse > 0.0 else None


def _inverse_temperature(zero: np.ndarray, couplings: np.ndarray, signs: np.ndarray) -> float:
    """1 / k_B T, 1/eV."""
    x, last = signs.copy(), np.inf
    for _ in range(_MOST_STEPS):
        matrices = np.diag(zero @ x) - x[:, None] * couplings
        inverse = np.linalg.inv(matrices)
        y = 2.0 / 3.0 / np.einsum("kaa->a", inverse.real) * len(couplings)
        temperature = float(np.abs(y).max())
        if np.any(y * signs <= 0.0):
            return np.nan
        # Halfway, for sublattices of very different fields go to and fro.
        x = (x + y / temperature) / 2
        x /= np.abs(x).max()
        if abs(temperature - last) < 1e-10 * temperature:
            return 1.0 / temperature
        last = temperature
    return np.nan


def counts_of(cell: np.ndarray, length: Any) -> tuple[int, ...]:
    """Points along each reciprocal vector, of a length in Angstrom, or as they are."""
    if np.size(length) == 3:
        return tuple(int(n) for n in length)
    reciprocal = np.linalg.norm(np.linalg.inv(cell), axis=0)
    return tuple(max(1, int(np.rint(float(length) * size))) for size in reciprocal)


def mesh(counts: np.ndarray | tuple[int, ...], shift: float = 0.0) -> np.ndarray:
    """(k, 3) q in reciprocal vectors, shifted by a part of their distances."""
    grids = [(np.arange(n) + shift) / n for n in counts]
    return np.array(list(product(*grids)))


def mesh_of(cell: np.ndarray, length: Any) -> np.ndarray:
    """`mesh` of `counts_of`."""
    return mesh(counts_of(cell, length))
