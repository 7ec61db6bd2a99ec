"""The graph of one structure after the other: neighbours stay on the device while they hold.

Of atoms that have moved by less than the skin allows only positions, cell, moments and species go
to the device. Anything else, other atoms, periodic directions or a jump, is searched anew.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.potential.observables import Graph
from mmtp_jax.precision import double_precision, with_floats
from mmtp_jax.structures.batch import Batch, rounded_size
from mmtp_jax.structures.list_maker import ListMaker
from mmtp_jax.structures.neighbour_list import NeighbourList, graph_at, used_skin
from mmtp_jax.structures.structure import Structure

Array = Any

SKIN = 0.3
"""Angstrom. A thicker one costs more in each evaluation than it saves in searches."""


class Distances(NamedTuple):
    """What the graph says of distances, Angstrom."""

    shortest: float
    """Of all pairs; infinite without any."""
    loneliest: float
    """From an atom to its nearest neighbour, the largest."""


class KeptGraph:
    """Makes graphs of single structures.

    Args:
        cutoff: R_cut, Angstrom.
        dtype: of the graph's numbers.
    """

    def __init__(self, cutoff: float, dtype: Any) -> None:
        self.dtype = np.dtype(dtype)
        self._maker = ListMaker(cutoff, SKIN)
        self._list: NeighbourList | None = None
        self._key: tuple[Any, ...] = ()
        self._n_neighbours = 0
        # The widest list so far sets the shape of the next ones.
        self._width = 0

    def of(self, structure: Structure) -> tuple[Batch, Distances]:
        """The structure as a batch of its own, whose graph is on the device.

        Raises:
            ValueError: as `mmtp_jax.structures.neighbours.neighbour_table`.
        """
        n = len(structure)
        key = (n, *np.asarray(structure.periodic, bool).tolist())
        with double_precision():
            found = self._at(structure) if key == self._key else None
            if found is None:
                self._list = self._maker.first(
                    [structure], n_atoms=rounded_size(n), width=self._width
                )
                self._key, self._width = key, self._list.width
                self._n_neighbours = int(np.sum(self._list.count))
                found = self._at(structure)
        graph, distances = found
        return Batch(graph, np.arange(1), np.array([0, n]), self._n_neighbours), distances

    def _at(self, structure: Structure) -> tuple[Graph, Distances] | None:
        """The graph with the neighbours that there are, or None where some may be missing."""
        volume = structure.volume
        graph, known = _graph_at(
            self._list, structure.types, np.asarray(structure.positions, float),
            np.asarray(structure.cell, float)[None], structure.magmoms,
            np.array([np.inf if volume is None else volume]), self.dtype,
        )  # fmt: skip
        used, shortest, loneliest = np.asarray(known)
        if not used <= 1.0:
            return None
        return graph, Distances(float(shortest), float(loneliest))


@partial(jax.jit, static_argnames="dtype")
def _graph_at(
    neighbours: NeighbourList,
    types: Array,
    positions: Array,
    cell: Array,
    magmoms: Array,
    volume: Array,
    dtype: Any,
) -> tuple[Graph, Array]:
    """The graph; the share of the skin that is used up, and what `Distances` says, in one array."""
    n = positions.shape[0]
    padding = neighbours.index.shape[0] - n
    # Moments may be vectors; only atoms are padded.
    types, placed, magmoms = (
        jnp.pad(a, [(0, padding)] + [(0, 0)] * (a.ndim - 1)) for a in (types, positions, magmoms)
    )
    graph, _ = graph_at(neighbours, types, placed, cell, magmoms, volume)
    square = jnp.min(jnp.sum(graph.vectors**2, axis=1), axis=1, initial=jnp.inf)[:n]
    used = jnp.max(used_skin(neighbours, positions, cell))
    known = jnp.stack([used, jnp.sqrt(jnp.min(square)), jnp.sqrt(jnp.max(square))])
    return with_floats(graph, dtype), known
