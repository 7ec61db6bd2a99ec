"""Atoms with their neighbours as one pytree, a pure function of positions, cell and moments.

The list of neighbours reaches a skin beyond the cutoff, so that atoms may move, and cells deform,
while energies stay exact functions of them; see `mmtp_jax.structures.images` for how far. Index
conventions are those of `Graph`: C configurations, N atoms one after the other, K neighbours.
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
from mmtp_jax.precision import Precision
from mmtp_jax.structures.batch import rounded_size
from mmtp_jax.structures.images import image_shifts, image_vectors, share_of_skin
from mmtp_jax.structures.neighbours import neighbour_table
from mmtp_jax.structures.structure import Structure

Array = Any

_DATA = (
    "types", "positions", "cell", "magmoms", "configuration", "n_atoms", "solid",
    "index", "shifts", "count",
    "reference_positions", "reference_cell", "inverse_cell", "cutoff", "skin",
)  # fmt: skip


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
    """(N,) mu_B."""
    configuration: Array
    """(N,) int32, the configuration of each atom; C for padding, which is at the end."""
    n_atoms: Array
    """(C,) int32, atoms of each configuration."""
    solid: Array
    """(C,) bool, periodic in three directions: there is a volume, and a stress."""
    index: Array
    """(N, K) int32, the neighbours; the atom itself in free places."""
    shifts: Array
    """(N, 3, K) int32, image of the neighbour in units of the cell vectors."""
    count: Array
    """(N,) int32, places in use."""
    reference_positions: Array
    """(N, 3) where the neighbours were searched, Angstrom."""
    reference_cell: Array
    """(C, 3, 3) Angstrom."""
    inverse_cell: Array
    """(C, 3, 3) pseudo-inverse of the reference cell, 1/Angstrom."""
    cutoff: Array
    """() Angstrom."""
    skin: Array
    """() Angstrom."""
    precision: Precision
    """Types of the two parts of an evaluation; static."""

    def split(self, per_atom: Array) -> list[np.ndarray]:
        """An array (N, ...) cut into one of numpy per configuration, without padding."""
        ends = np.cumsum(np.asarray(self.n_atoms))
        return np.split(np.asarray(per_atom)[: ends[-1]], ends[:-1])

    def with_width(self, width: int) -> AtomGraph:
        """The same with places for ``width`` >= K neighbours."""
        free = width - self.index.shape[1]
        own = np.arange(self.index.shape[0], dtype=np.int32)[:, None]
        index = np.concatenate([self.index, np.tile(own, (1, free))], axis=1)
        return replace(self, index=index, shifts=np.pad(self.shifts, [(0, 0), (0, 0), (0, free)]))


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
    tables = [neighbour_table(structure, cutoff + skin) for structure in structures]
    counts = np.array([len(structure) for structure in structures], np.int32)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    size, n_conf = max(int(offsets[-1]), n_atoms), len(structures)
    width = max(width, rounded_size(max(table.index.shape[1] for table in tables)))
    index = np.tile(np.arange(size, dtype=np.int32)[:, None], (1, width))
    shifts = np.zeros((size, 3, width), np.int32)
    count, types = np.zeros(size, np.int32), np.zeros(size, np.int32)
    positions, magmoms = np.zeros((size, 3)), np.zeros(size)
    configuration = np.full(size, n_conf, np.int32)
    cell = np.stack([structure.cell for structure in structures]).astype(float)
    inverse = np.linalg.pinv(cell)
    for k, (structure, table) in enumerate(zip(structures, tables, strict=True)):
        rows, used = slice(offsets[k], offsets[k + 1]), table.index.shape[1]
        index[rows, :used] = np.where(table.index >= 0, table.index + offsets[k], index[rows, :1])
        shifts[rows, :, :used] = image_shifts(table, structure.positions, inverse[k])
        count[rows], types[rows] = table.count, structure.types
        positions[rows], magmoms[rows] = structure.positions, structure.magmoms
        configuration[rows] = k
    found = AtomGraph(
        types=types,
        positions=positions,
        cell=cell,
        magmoms=magmoms,
        configuration=configuration,
        n_atoms=counts,
        solid=np.array([structure.volume is not None for structure in structures]),
        index=index,
        shifts=shifts,
        count=count,
        reference_positions=positions,
        reference_cell=cell,
        inverse_cell=inverse,
        cutoff=np.float64(cutoff),
        skin=np.float64(skin),
        precision=precision,
    )
    return jax.tree.map(lambda a: a.astype(precision.edges) if a.dtype.kind == "f" else a, found)


def moved(
    graph: AtomGraph,
    positions: Array | None = None,
    cell: Array | None = None,
    magmoms: Array | None = None,
) -> AtomGraph:
    """The graph with other positions (N, 3), cells (C, 3, 3) or moments (N,); same neighbours.

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
    n_conf = graph.cell.shape[0]
    of_atom = jnp.minimum(graph.configuration, n_conf - 1)
    deformation = graph.inverse_cell @ (graph.cell - graph.reference_cell)
    carried = jnp.einsum("na,nab->nb", graph.reference_positions, deformation[of_atom])
    displacement = graph.positions - graph.reference_positions - carried
    # A position that is not finite must not vanish in the maximum.
    square = jnp.sum(displacement**2, axis=1)
    square = jnp.where(jnp.isnan(square), jnp.inf, square)
    largest = jax.ops.segment_max(square, graph.configuration, n_conf)
    # Configurations without atoms are -inf.
    largest = jnp.sqrt(jnp.maximum(largest, 0.0))
    return share_of_skin(largest, deformation, graph.cutoff, graph.skin)


def graph_to_evaluate(graph: AtomGraph, chunk: int | None = None) -> Graph:
    """Vectors to the neighbours, as a function of positions and cell.

    Args:
        graph: the atoms.
        chunk: atoms per block of a loop: padding is added until blocks fit.
    """
    n_conf, size = graph.cell.shape[0], graph.types.shape[0]
    padding = padded_count(size, chunk) - size

    def rows(values: Array, fill: Any = 0) -> Array:
        widths = [(0, padding)] + [(0, 0)] * (values.ndim - 1)
        return jnp.pad(jnp.asarray(values), widths, constant_values=fill) if padding else values

    configuration = rows(graph.configuration, n_conf)
    cell = graph.cell[jnp.minimum(configuration, n_conf - 1)]
    vectors, _ = image_vectors(
        rows(graph.positions),
        cell,
        rows(graph.index),
        rows(graph.shifts),
        rows(graph.count),
        graph.cutoff,
    )
    # The volume of a cell without one is constant, so that its derivative is zero and not NaN.
    safe = jnp.where(graph.solid[:, None, None], graph.cell, jnp.eye(3, dtype=cell.dtype))
    volumes = jnp.where(graph.solid, jnp.abs(jnp.linalg.det(safe)), jnp.inf)
    return Graph(
        types=rows(graph.types),
        magmoms=rows(graph.magmoms),
        vectors=vectors,
        neighbours=rows(graph.index),
        configuration=configuration,
        volumes=volumes,
    )
