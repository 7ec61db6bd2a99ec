"""Second derivatives: how energies and forces change when atoms, moments and cells do.

A graph holds vectors between atoms, so moving atoms is a change of these vectors. Everything here
is differentiable to any order; `observables_along` is the Hessian-vector product that relaxation,
phonons and elastic constants are made of, at about three evaluations and without a Hessian.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from mmtp_jax.potential.einsum import einsum
from mmtp_jax.potential.observables import Graph, Observables, evaluate
from mmtp_jax.potential.potential import Potential
from mmtp_jax.potential.sums import at_atoms, at_neighbours

Array = Any


def displaced(
    graph: Graph,
    displacements: Array | None = None,
    magmom_changes: Array | None = None,
    strain: Array | None = None,
) -> Graph:
    """The graph with the same neighbours after a homogeneous strain, and then displacements.

    Args:
        graph: the start. Its neighbours must cover the cutoff after the change as well.
        displacements: (N, 3) Angstrom.
        magmom_changes: (N,) mu_B, or (N, 3).
        strain: (C, 3, 3); vectors and cells become (1 + strain) times what they were.
    """
    vectors, magmoms, volumes = graph.vectors, graph.magmoms, graph.volumes
    if strain is not None:
        of_atoms = at_atoms(strain, graph.configuration, graph.sums)
        vectors = vectors + einsum("nab,nbk->nak", of_atoms, vectors)
        scale = jnp.linalg.det(jnp.eye(3, dtype=strain.dtype) + strain)
        # Without a volume there is none to change; inf * 0 would be NaN in its derivative.
        finite = jnp.isfinite(volumes)
        volumes = jnp.where(finite, jnp.where(finite, volumes, 1.0) * scale, volumes)
    if displacements is not None:
        of_neighbours = at_neighbours(displacements, graph.neighbours, graph.sums)
        change = of_neighbours - displacements[:, None]
        vectors = vectors + jnp.swapaxes(change, 1, 2)
    if magmom_changes is not None:
        magmoms = magmoms + magmom_changes
    return graph._replace(vectors=vectors, magmoms=magmoms, volumes=volumes)


def observables_along(
    potential: Potential,
    graph: Graph,
    displacements: Array | None = None,
    magmom_changes: Array | None = None,
    strain: Array | None = None,
    chunk: int | None = None,
) -> tuple[Observables, Observables]:
    """All observables, and their derivatives along a direction of atoms, moments and strain.

    For displacements u alone, the derivative of the forces is -H u with the Hessian H of the
    energy at fixed moments; for moment changes, that of the magnetic forces is -H_mm dm.

    Args:
        potential: the potential.
        graph: where to evaluate.
        displacements: (N, 3) direction of the atoms, Angstrom.
        magmom_changes: (N,) direction of the moments, mu_B.
        strain: (C, 3, 3) direction of the strain.
        chunk: see `evaluate`.
    """
    direction = {
        name: value
        for name, value in (
            ("displacements", displacements),
            ("magmom_changes", magmom_changes),
            ("strain", strain),
        )
        if value is not None
    }
    origin = jax.tree.map(jnp.zeros_like, direction)
    return jax.jvp(
        lambda change: evaluate(potential, displaced(graph, **change), chunk)[1],
        (origin,),
        (direction,),
    )
