"""The list of neighbours of replicas: `mmtp_jax.structures.neighbour_list` for a `System`."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from mmtp_jax.potential.observables import Graph
from mmtp_jax.simulation.system import System, volumes
from mmtp_jax.structures import neighbour_list
from mmtp_jax.structures.neighbour_list import NeighbourList
from mmtp_jax.structures.structure import Structure

Array = Any


def structures_of(system: System) -> list[Structure]:
    """Replicas as structures, without moments."""
    return [
        Structure(
            cell=cell,
            periodic=np.asarray(system.periodic),
            positions=positions,
            types=np.asarray(system.types),
            magmoms=np.zeros(system.n_atoms),
            name=f"replica {r}",
        )
        for r, (positions, cell) in enumerate(
            zip(np.array(system.positions, float), np.array(system.cell, float), strict=True)
        )
    ]


def graph_of(system: System, neighbours: NeighbourList) -> tuple[Graph, Array]:
    """The graph that a potential is evaluated on, and the shortest distance (R,) in Angstrom.

    Atoms come in the order of `System`, padding after them.
    """
    padding = neighbours.index.shape[0] - system.n_replicas * system.n_atoms

    def rows(values: Array) -> Array:
        flat = values.reshape(-1, *values.shape[2:])
        return jnp.pad(flat, [(0, padding)] + [(0, 0)] * (flat.ndim - 1))

    return neighbour_list.graph_at(
        neighbours,
        rows(jnp.broadcast_to(system.types, system.positions.shape[:2])),
        rows(system.positions),
        system.cell,
        rows(system.magmoms),
        volumes(system),
    )


def used_skin(system: System, neighbours: NeighbourList) -> Array:
    """Share (R,) of the skin that the motion since the search has used; above 1, pairs may miss."""
    return neighbour_list.used_skin(neighbours, system.positions.reshape(-1, 3), system.cell)
