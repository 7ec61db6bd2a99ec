"""Who makes the lists of neighbours of moving atoms: the host, or the device that they are on.

Both make the same `NeighbourList`. On a CPU the host searches (`find_neighbours`), which compiles
nothing; on any other device the device does (`cell_list`), so that positions never leave it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.potential.sums import Sums, members_of
from mmtp_jax.structures import neighbour_list
from mmtp_jax.structures.batch import default_chunk, device_in_use
from mmtp_jax.structures.cell_list import Found, Places, expected_places, pseudo_inverse, search
from mmtp_jax.structures.neighbour_list import (
    NeighbourList,
    Room,
    closest,
    find_neighbours,
    just_enough,
    placed,
    reverse_places,
)
from mmtp_jax.structures.neighbours import checked_radius, neighbour_table
from mmtp_jax.structures.sanity import MOST_NEIGHBOURS
from mmtp_jax.structures.structure import Structure

Array = Any

logger = logging.getLogger(__name__)

ON_DEVICE: bool | None = None
"""Whether the device searches; None: unless it is a CPU."""

MOST_CANDIDATES = 2**15
"""Of an atom. Where more share a few bins, as dense clusters far apart do, the host searches."""
CLOSE = 0.1
"""Angstrom; where atoms are closer, the search of the host says what is wrong with them."""


class ListMaker:
    """Makes the lists of one set of atoms, as they move.

    Args:
        cutoff: R_cut, Angstrom.
        skin: Angstrom.
        room: see `find_neighbours`.
    """

    def __init__(self, cutoff: float, skin: float, room: Room = just_enough) -> None:
        self.cutoff, self.skin, self.room = float(cutoff), float(skin), room
        self.radius = self.cutoff + self.skin
        self.on_device = device_in_use().platform != "cpu" if ON_DEVICE is None else ON_DEVICE
        self._places: Places | None = None
        self._names: list[str] = []

    def first(
        self,
        structures: Sequence[Structure],
        *,
        n_atoms: int = 0,
        n_configurations: int = 0,
        width: int = 0,
        most: int = 0,
    ) -> NeighbourList:
        """The list of structures, on the device; arguments and errors as of `find_neighbours`."""
        self._names = [s.name for s in structures]
        shape = {"n_atoms": n_atoms, "n_configurations": n_configurations}
        if self.on_device:
            for structure in structures:
                checked_radius(structure, self.radius)
            at = placed(structures, self.cutoff, self.skin, **shape)
            if neighbour_list.adds_by_gathering():
                members = members_of(at.configuration, at.reference_cell.shape[0], most)
                at = at._replace(sums=Sums(np.zeros_like(at.index), members))
            at = jax.device_put(at)
            made = self._made(at, at, width)
            if made is not None:
                if float(_shortest(made)) < CLOSE or made.width > MOST_NEIGHBOURS:
                    for structure in structures:
                        neighbour_table(structure, self.radius)
                return made
        found = find_neighbours(
            structures, self.cutoff, self.skin, width=width, most=most, room=self.room, **shape
        )
        return jax.device_put(found)

    def again(
        self, neighbours: NeighbourList, positions: Array, cell: Array, which: Array | None = None
    ) -> NeighbourList:
        """The list of the same atoms elsewhere; it is wider where its places do not suffice.

        Args:
            neighbours: an older list.
            positions: (N, 3) Angstrom, or without the padding at the end.
            cell: (C, 3, 3) Angstrom.
            which: (C,) bool: search again; the others keep what they have.
        """
        if self.on_device:
            at = neighbours._replace(
                reference_positions=_padded(neighbours, positions), reference_cell=cell
            )
            made = self._made(neighbours, at, neighbours.width, which)
            if made is not None:
                return made
        old = jax.device_get(neighbours)
        structures = self._structures(old, positions, cell)
        if which is not None:
            which = np.asarray(which)[: len(structures)]
        found = find_neighbours(
            structures, self.cutoff, self.skin, room=self.room, previous=old, which=which,
            n_atoms=old.index.shape[0], n_configurations=old.reference_cell.shape[0],
            most=0 if old.sums is None else old.sums.members.shape[1],
        )  # fmt: skip
        return jax.device_put(found)

    def _made(
        self, old: NeighbourList, at: NeighbourList, width: int, which: Array | None = None
    ) -> NeighbourList | None:
        """What the device finds at the places of ``at``; None where the host must search."""
        found = self._search(at, self.radius, width)
        if found is not None and found.needed.width > width:
            here = self._structures(at, at.reference_positions, at.reference_cell)
            width = self.room(found.needed.width, here, self.radius, partial(self._widest, at))
            found = self._search(at, self.radius, width)
        if found is None:
            return None
        if which is None:
            which = jnp.ones(at.reference_cell.shape[0], bool)
        return _taken(old, at, found._replace(needed=None), which, default_chunk())

    def _search(self, at: NeighbourList, radius: float, width: int) -> Found | None:
        """A search with enough columns and candidates, and ``width`` neighbours of each atom."""
        where = (at.configuration, at.reference_positions, at.reference_cell)
        if self._places is None:
            expected = jax.device_get(expected_places(at.configuration, at.reference_cell, radius))
            self._places = _rounded(expected)
        while self._places.n_candidates <= MOST_CANDIDATES:
            places = self._places._replace(width=max(width, 1))
            found = search(places, *where, radius, default_chunk())
            # The one thing that comes back.
            needed = jax.device_get(found.needed)
            if places.hold(needed._replace(width=0)):
                return found._replace(needed=needed._replace(width=int(needed.width)))
            self._places = _rounded(needed, self._places)
        logger.info("many atoms share few bins; their neighbours are searched on the host")
        self.on_device = False
        return None

    def _widest(self, at: NeighbourList, structures: Sequence[Structure], radius: float) -> int:
        positions = np.concatenate([s.positions for s in structures])
        at = at._replace(reference_positions=_padded(at, positions))
        found = self._search(at, radius, 1)
        return 0 if found is None else found.needed.width

    def _structures(self, at: NeighbourList, positions: Array, cell: Array) -> list[Structure]:
        """What a list is of, on the host; species and moments are not known here."""
        ends = np.searchsorted(np.asarray(at.configuration), np.arange(len(self._names) + 1))
        positions, cell = np.asarray(positions, float), np.asarray(cell, float)
        return [
            Structure(
                cell=cell[k],
                periodic=cell[k].any(axis=1),
                positions=positions[ends[k] : ends[k + 1]],
                types=np.zeros(ends[k + 1] - ends[k], np.int32),
                magmoms=np.zeros(ends[k + 1] - ends[k]),
                name=name,
            )
            for k, name in enumerate(self._names)
        ]


def _rounded(needed: Places, before: Places | None = None) -> Places:
    """Sizes with some room, of few values, and none smaller than before."""
    reach, run = tuple(int(r) for r in needed.reach), int(needed.run)
    run = -(-(run + run // 8) // 8) * 8
    if before is not None:
        reach = tuple(max(pair) for pair in zip(reach, before.reach, strict=True))
        run = max(run, before.run)
    return Places(reach, run, 0)


_shortest = jax.jit(lambda made: jnp.min(closest(made), initial=jnp.inf))


def _padded(neighbours: NeighbourList, positions: Array) -> Array:
    padding = neighbours.index.shape[0] - positions.shape[0]
    return jnp.pad(positions, [(0, padding), (0, 0)]) if padding else positions


@partial(jax.jit, static_argnames="chunk")
def _taken(
    old: NeighbourList, at: NeighbourList, found: Found, which: Array, chunk: int | None
) -> NeighbourList:
    """The new list of some configurations, and the old one of the others."""
    width = found.index.shape[1]
    of_atoms = jnp.append(which, True)[at.configuration]

    def rows(new: Array, before: Array) -> Array:
        return jnp.where(of_atoms.reshape(-1, *[1] * (new.ndim - 1)), new, before)

    own = jnp.arange(len(of_atoms), dtype=jnp.int32)[:, None]
    beyond = jnp.broadcast_to(own, (len(own), width - old.width))
    matrices = which[:, None, None]
    made = old._replace(
        index=rows(found.index, jnp.concatenate([old.index, beyond], axis=1)),
        shifts=rows(found.shifts, jnp.pad(old.shifts, [(0, 0), (0, 0), (0, beyond.shape[1])])),
        count=rows(found.count, old.count),
        reference_positions=rows(at.reference_positions, old.reference_positions),
        reference_cell=jnp.where(matrices, at.reference_cell, old.reference_cell),
        inverse_cell=jnp.where(matrices, pseudo_inverse(at.reference_cell), old.inverse_cell),
    )
    if old.sums is None:
        return made
    return made._replace(sums=old.sums._replace(incoming=reverse_places(made, chunk)))
