"""The temperature of the directions of moments, from one configuration.

For any fields S_i that do not depend on m_i, partial integration over its directions gives

    k_B T = < sum_i (m_i x T_i).(m_i x S_i) > / < 2 sum_i m_i.S_i >

in the canonical ensemble, at any lengths. With S_i = T_i, which is such a field where the energy is
bilinear in the moments, it is the formula of Nurdin and Schotte, Phys. Rev. E 61, 3579 (2000; Ma et
al., Phys. Rev. B 82, 031111). Energies of moments that equilibrate their lengths are not: there
T_i.m_i = 0, and that formula would need the second derivatives d2E/dm_i^2. So S_i is here the sum
over the moments of a shell of neighbours, and the shells a are fitted together,
k_B T = sum_a N_a D_a / sum_a D_a^2 with numerators N and denominators D. That is the temperature up
to terms of the order of one over the number of atoms, and noisy where neighbours are uncorrelated.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from mmtp_jax.potential import sums
from mmtp_jax.potential.observables import Graph
from mmtp_jax.simulation.constants import KB

Array = Any

SHELLS = 8
"""Overlapping ones, of equal widths, between the shortest distance and the cutoff."""


def spin_temperatures(
    graph: Graph, magnetic_forces: Array, min_dist: Array, cutoff: Array
) -> Array:
    """Temperatures (C,) of the directions of moments (N, 3), K; zero where none is canted.

    Args:
        graph: atoms, neighbours and moments.
        magnetic_forces: (N, 3) T, eV/mu_B.
        min_dist: shortest distance, Angstrom.
        cutoff: Angstrom.
    """
    moments = graph.magmoms
    across = jnp.cross(jnp.cross(moments, magnetic_forces), moments)
    others = sums.at_neighbours(moments, graph.neighbours, graph.sums)
    pulls = jnp.sum(across[:, None] * others, axis=2)
    products = 2 * jnp.sum(moments[:, None] * others, axis=2)
    distances = jnp.sqrt(sum(graph.vectors[:, k] ** 2 for k in range(3)))
    width = (cutoff - min_dist) / SHELLS
    found = []
    for centre in np.arange(SHELLS):
        away = jnp.abs((distances - min_dist) / width - centre)
        weights = jnp.maximum(1 - away, 0.0)
        found += [jnp.sum(weights * of, axis=1) for of in (pulls, products)]
    totals = sums.per_configuration(
        jnp.stack(found, axis=1).astype(float), graph.configuration, graph.n_configurations,
        graph.sums,
    ).reshape(-1, SHELLS, 2)  # fmt: skip
    pulls, products = totals[..., 0], totals[..., 1]
    square = jnp.sum(products**2, axis=1)
    found = jnp.sum(pulls * products, axis=1) / jnp.where(square > 0, square, 1.0)
    return jnp.where(square > 0, found, 0.0) / KB
