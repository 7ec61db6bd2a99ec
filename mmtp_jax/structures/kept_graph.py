"""The graph of one structure after the other: neighbours stay on the device while they hold.

Of atoms that have moved by less than the skin allows only positions, cell, moments and species go
to the device. Anything else, other atoms, periodic directions or a jump, is searched anew.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.potential.observables import Graph, Observables, evaluate
from mmtp_jax.potential.potential import Potential
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
        graph, distances = self._found(structure, _graph_at, self.dtype)
        offsets = np.array([0, len(structure)])
        return Batch(graph, np.arange(1), offsets, self._n_neighbours), distances

    def evaluated(
        self, potential: Potential, structure: Structure, chunk: int | None
    ) -> tuple[tuple[Array, Observables], Distances]:
        """What `evaluate` says of the structure, padding atoms included.

        One program makes the graph and evaluates it, which is faster than one after the other.

        Raises:
            ValueError: as `of`.
        """
        return self._found(structure, evaluated_at, self.dtype, chunk, potential)

    def _found(
        self, structure: Structure, function: Callable[..., Any], *options: Any
    ) -> tuple[Any, Distances]:
        """What a function says of the list and the atoms, after a search where the list is old."""
        n = len(structure)
        key = (n, *np.asarray(structure.periodic, bool).tolist())
        with double_precision():
            found = self._at(structure, function, *options) if key == self._key else None
            if found is None:
                self._list = self._maker.first(
                    [structure], n_atoms=rounded_size(n), width=self._width
                )
                self._key, self._width = key, self._list.width
                self._n_neighbours = int(np.sum(self._list.count))
                found = self._at(structure, function, *options)
        return found

    def _at(
        self, structure: Structure, function: Callable[..., Any], *options: Any
    ) -> tuple[Any, Distances] | None:
        """The same with the neighbours that there are, or None where some may be missing."""
        volume = structure.volume
        volume = np.array([np.inf if volume is None else volume])
        place = _Place(
            structure.types, np.asarray(structure.positions, float),
            np.asarray(structure.cell, float)[None], structure.magmoms, volume,
        )  # fmt: skip
        found, known = function(self._list, place, *options)
        used, shortest, loneliest = np.asarray(known)
        if not used <= 1.0:
            return None
        return found, Distances(float(shortest), float(loneliest))


class _Place(NamedTuple):
    """One structure of n atoms."""

    types: Array
    positions: Array
    cell: Array
    """(1, 3, 3)"""
    magmoms: Array
    volume: Array
    """(1,)"""


@partial(jax.jit, static_argnums=2)
def _graph_at(neighbours: NeighbourList, place: _Place, dtype: Any) -> tuple[Graph, Array]:
    """The graph; the share of the skin that is used up, and what `Distances` says, in one array."""
    used = jnp.max(used_skin(neighbours, place.positions, place.cell))
    graph, distances = _made(neighbours, place)
    return with_floats(graph, dtype), jnp.stack([used, *distances])


@partial(jax.jit, static_argnums=(2, 3))
def evaluated_at(
    neighbours: NeighbourList, place: _Place, dtype: Any, chunk: int | None, potential: Potential
) -> tuple[tuple[Array, Observables], Array]:
    """Site energies and observables in place of the graph; zeros where the skin is used up."""

    def found() -> Any:
        graph, distances = _made(neighbours, place)
        return evaluate(potential, with_floats(graph, dtype), chunk), distances

    used = jnp.max(used_skin(neighbours, place.positions, place.cell))
    nothing = jax.tree.map(lambda of: jnp.zeros(of.shape, of.dtype), jax.eval_shape(found))
    values, distances = jax.lax.cond(used <= 1.0, found, lambda: nothing)
    return values, jnp.stack([used, *distances])


def _made(neighbours: NeighbourList, place: _Place) -> tuple[Graph, tuple[Array, Array]]:
    """The graph, and `Distances`."""
    n = place.positions.shape[0]
    padding = neighbours.index.shape[0] - n
    # Moments may be vectors; only atoms are padded.
    types, positions, magmoms = (
        jnp.pad(a, [(0, padding)] + [(0, 0)] * (a.ndim - 1))
        for a in (place.types, place.positions, place.magmoms)
    )
    graph, _ = graph_at(neighbours, types, positions, place.cell, magmoms, place.volume)
    square = jnp.min(jnp.sum(graph.vectors**2, axis=1), axis=1, initial=jnp.inf)[:n]
    return graph, (jnp.sqrt(jnp.min(square)), jnp.sqrt(jnp.max(square)))
