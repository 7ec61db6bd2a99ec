"""Atoms with their neighbours as one pytree, a pure function of positions, cell and moments.

The list of neighbours reaches a skin beyond the cutoff, so that atoms may move, and cells deform,
while energies stay exact functions of them; see `mmtp_jax.structures.neighbour_list` for how far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.potential.chunks import padded_count
from mmtp_jax.potential.observables import Graph
from mmtp_jax.precision import Precision, with_floats
from mmtp_jax.structures.neighbour_list import NeighbourList, find_neighbours, graph_at
from mmtp_jax.structures.neighbour_list import used_skin as used_skin_of_list
from mmtp_jax.structures.structure import Structure

Array = Any

_DATA = ("types", "positions", "cell", "magmoms", "n_atoms", "solid", "neighbours")


@partial(jax.tree_util.register_dataclass, data_fields=list(_DATA), meta_fields=["precision"])
@dataclass(frozen=True, eq=False)
class AtomGraph:
    """C configurations of N atoms together, with room for K neighbours of each atom.

    Where several such graphs are stacked for `jax.vmap`, every array has one more axis in front.
    """

    types: Array
    """(N,) int32, species index."""
    positions: Array
    """(N, 3) Angstrom."""
    cell: Array
    """(C, 3, 3) Angstrom, rows are the cell vectors; zero rows where not periodic."""
    magmoms: Array
    """(N,) mu_B; (N, 3) where moments are vectors."""
    n_atoms: Array
    """(C,) int32, atoms of each configuration."""
    solid: Array
    """(C,) bool, periodic in three directions: there is a volume, and a stress."""
    neighbours: NeighbourList
    """What was found where the neighbours were searched."""
    precision: Precision
    """Types of the two parts of an evaluation; static."""

    @property
    def configuration(self) -> Array:
        """(N,) int32, the configuration of each atom; C for padding, which is at the end."""
        return self.neighbours.configuration

    def split(self, per_atom: Array) -> list[np.ndarray]:
        """An array (N, ...) cut into one of numpy per configuration, without padding."""
        ends = np.cumsum(np.asarray(self.n_atoms))
        return np.split(np.asarray(per_atom)[: ends[-1]], ends[:-1])


def atom_graph(
    structures: Sequence[Structure],
    cutoff: float,
    skin: float,
    precision: Precision,
    *,
    n_atoms: int = 0,
    width: int = 0,
) -> AtomGraph:
    """Search the neighbours of structures, on the host; numpy arrays.

    Args:
        structures: one or several.
        cutoff: R_cut, Angstrom.
        skin: Angstrom by which the list reaches beyond the cutoff.
        precision: types of the numbers.
        n_atoms: least number N; what is beyond the atoms is padding.
        width: least number K.

    Raises:
        ValueError: if two atoms are at the same place.
    """
    neighbours = find_neighbours(structures, cutoff, skin, n_atoms=n_atoms, width=width)
    padding = neighbours.index.shape[0] - sum(map(len, structures))
    magmoms = [structure.magmoms.astype(float) for structure in structures]
    found = AtomGraph(
        types=np.pad(np.concatenate([s.types for s in structures]), (0, padding)).astype(np.int32),
        positions=neighbours.reference_positions,
        cell=neighbours.reference_cell,
        magmoms=np.concatenate([*magmoms, np.zeros((padding, *magmoms[0].shape[1:]))]),
        n_atoms=np.array([len(structure) for structure in structures], np.int32),
        solid=np.array([structure.volume is not None for structure in structures]),
        neighbours=neighbours,
        precision=precision,
    )
    return with_floats(found, precision.edges)


def atom_graphs(
    structures: Sequence[Structure], *args: Any, n_atoms: int = 0, **options: Any
) -> AtomGraph:
    """One `atom_graph` of each structure, all with the same shapes, stacked; see there."""
    n_atoms = max([n_atoms, *map(len, structures)])
    each = [atom_graph([s], *args, n_atoms=n_atoms, **options) for s in structures]
    options["width"] = max(one.neighbours.width for one in each)
    each = [
        one
        if one.neighbours.width == options["width"]
        else atom_graph([s], *args, n_atoms=n_atoms, **options)
        for s, one in zip(structures, each, strict=True)
    ]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)


def moved(
    graph: AtomGraph,
    positions: Array | None = None,
    cell: Array | None = None,
    magmoms: Array | None = None,
) -> AtomGraph:
    """The graph with other positions (N, 3), cells (C, 3, 3) or moments; same neighbours.

    For one configuration the cell may be (3, 3).

    Raises:
        ValueError: if a shape does not fit.
    """
    given = {"positions": positions, "cell": cell, "magmoms": magmoms}
    changes = {}
    for name, value in given.items():
        if value is None:
            continue
        old = getattr(graph, name)
        value = jnp.asarray(value, old.dtype)
        if name == "cell" and value.shape == (3, 3) and old.shape == (1, 3, 3):
            value = value[None]
        if value.shape != old.shape:
            raise ValueError(f"{name} has shape {value.shape}, the graph has {old.shape}")
        changes[name] = value
    return replace(graph, **changes)


def used_skin(graph: AtomGraph) -> Array:
    """Share (C,) of the skin that is used up since the search; above 1, pairs may be missing."""
    return used_skin_of_list(graph.neighbours, graph.positions, graph.cell)


def graph_to_evaluate(graph: AtomGraph, chunk: int | None = None) -> Graph:
    """Vectors to the neighbours, as a function of positions and cell.

    Args:
        graph: the atoms.
        chunk: atoms per block of a loop: padding is added until blocks fit.
    """
    neighbours, size = graph.neighbours, graph.types.shape[0]
    padding = padded_count(size, chunk) - size

    def rows(values: Array, fill: Any = 0) -> Array:
        widths = [(0, padding)] + [(0, 0)] * (values.ndim - 1)
        return jnp.pad(jnp.asarray(values), widths, constant_values=fill) if padding else values

    # The volume of a cell without one is constant, so that its derivative is zero and not NaN.
    safe = jnp.where(graph.solid[:, None, None], graph.cell, jnp.eye(3, dtype=graph.cell.dtype))
    volumes = jnp.where(graph.solid, jnp.abs(jnp.linalg.det(safe)), jnp.inf)
    padded = neighbours._replace(
        index=rows(neighbours.index),
        shifts=rows(neighbours.shifts),
        count=rows(neighbours.count),
        configuration=rows(neighbours.configuration, graph.cell.shape[0]),
    )
    types, positions, magmoms = (rows(a) for a in (graph.types, graph.positions, graph.magmoms))
    return graph_at(padded, types, positions, graph.cell, magmoms, volumes)[0]
