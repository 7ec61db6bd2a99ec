"""The atoms of one MPI rank, and the neighbours of its own ones among them and their ghosts.

A ghost is a copy of an atom, at the place of one of its periodic images. Positions are those of
ghosts; types, moments and forces are those of atoms. So an atom with several ghosts is there once,
and none has to be communicated where all atoms belong to one rank.

Own atoms come first, then padding, then atoms of other ranks, then padding. Sizes grow with a
margin, because every shape costs a compilation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from vesin import NeighborList

from mmtp_jax.potential.chunks import padded_count
from mmtp_jax.potential.sums import Sums, incoming_pairs, members_of
from mmtp_jax.structures.batch import adds_by_gathering, rounded_size
from mmtp_jax.structures.neighbour_list import RATTLE
from mmtp_jax.structures.neighbours import SAME_PLACE
from mmtp_jax.structures.sanity import search_radius

Array = Any

MARGIN = 0.05
"""Share of more atoms for which there is room from the start; at least a layer of them."""


class RankAtoms(NamedTuple):
    """What LAMMPS has on a rank: own atoms, then ghosts."""

    positions: np.ndarray
    """(n + g, 3) Angstrom."""
    types: np.ndarray
    """(n + g,) species index in the potential."""
    ids: np.ndarray
    """(n + g,) from 1."""
    n_own: int
    """n."""


class Rows(NamedTuple):
    """What is constant on the device between two searches; N rows, M atoms, K neighbours."""

    types: Array
    """(M,) species index."""
    neighbours: Array
    """(N, K) index of the neighbour among the M atoms."""
    ghosts: Array
    """(N, K) index of its position; that of the atom itself in free places."""
    count: Array
    """(N,) neighbours."""
    configuration: Array
    """(N,) 0; 1 for padding."""
    sums: Sums | None = None
    """Where the terms of sums are; on devices that add up by gathering."""


@dataclass(frozen=True)
class Sizes:
    """Padded sizes, and whether they may change from search to search."""

    shared: bool
    """Are there other ranks, so that atoms come and go?"""
    chunk: int | None
    """Most atoms per block of an evaluation."""
    own: int = 0
    """N."""
    others: int = 0
    """M - N."""
    positions: int = 0
    """At least N."""
    width: int = 0
    """K."""
    incoming: int = 0
    """J of `Sums`, where there are some."""

    def with_room(self, n_own: int, n_others: int, n_positions: int, width: int) -> Sizes:
        """The same sizes, or larger ones where they do not suffice."""
        own = self.own
        if n_own > own or not own:
            own = padded_count(_with_margin(n_own) if self.shared else max(n_own, 1), self.chunk)
        others = _grown(self.others, n_others) if self.shared else 0
        positions = max(_grown(self.positions, n_positions), own)
        width = max(self.width, width)
        return Sizes(self.shared, self.chunk, own, others, positions, width, self.incoming)


@dataclass(frozen=True, eq=False)
class RankList:
    """Rows of a rank, valid until LAMMPS exchanges atoms or they moved by half the skin."""

    rows: Rows
    ids: np.ndarray
    """(M,) of the atoms; 0 for padding."""
    atoms: RankAtoms
    """Where the list was made."""
    sizes: Sizes

    @property
    def own_ids(self) -> np.ndarray:
        """(n,)."""
        return self.atoms.ids[: self.atoms.n_own]

    def padded(self, positions: np.ndarray) -> np.ndarray:
        """Positions (n + g, 3) as the evaluation takes them."""
        found = np.zeros((self.sizes.positions, 3))
        found[: len(positions)] = positions
        return found

    def is_valid(self, atoms: RankAtoms, skin: float) -> bool:
        """Whether no pair within the cutoff can be missing."""
        before = self.atoms
        if atoms.n_own != before.n_own or not np.array_equal(atoms.ids, before.ids):
            return False
        if not atoms.n_own:
            return True
        moved = np.sqrt(np.max(_squares(atoms.positions - before.positions)))
        # Ghosts of a cell that changes move more than atoms do. NaN is not valid.
        own = np.sqrt(np.max(_squares(atoms.positions - before.positions)[: atoms.n_own]))
        return bool(moved + own < skin)


def find_rows(atoms: RankAtoms, n_atoms: int, radius: float, sizes: Sizes) -> RankList:
    """Search the neighbours of own atoms within ``radius``, in Angstrom.

    Args:
        atoms: of the rank.
        n_atoms: of all ranks together.
        radius: R_cut + skin.
        sizes: of the list before; `Sizes` of a first list are all zero.

    Raises:
        ValueError: if two atoms are at the same place, a position is not finite, or lengths
            cannot be in Angstrom (see `mmtp_jax.structures.sanity`).
    """
    n = atoms.n_own
    i, j = _pairs(atoms, radius)
    count = np.bincount(i, minlength=n)[:n] if n else np.zeros(0, int)
    width = int(count.max(initial=0))
    if width > sizes.width:
        width = rounded_size(max(width, warm_width(atoms, radius)))

    place = np.full(n_atoms + 1, -1, np.int32)
    place[atoms.ids[:n]] = np.arange(n, dtype=np.int32)
    others = np.unique(atoms.ids[n:][place[atoms.ids[n:]] < 0])
    sizes = sizes.with_room(n, len(others), len(atoms.ids), width)
    place[others] = sizes.own + np.arange(len(others), dtype=np.int32)

    ids = np.zeros(sizes.own + sizes.others, np.int64)
    ids[:n], ids[sizes.own : sizes.own + len(others)] = atoms.ids[:n], others
    types = np.zeros(len(ids), np.int32)
    types[place[atoms.ids]] = atoms.types
    itself = np.arange(sizes.own, dtype=np.int32)[:, None]
    neighbours = np.tile(itself, (1, sizes.width))
    ghosts = neighbours.copy()
    column = np.arange(len(i)) - np.repeat(np.cumsum(count) - count, count)
    neighbours[i, column] = place[atoms.ids[j]]
    ghosts[i, column] = j
    padding = np.arange(sizes.own) >= n
    count = np.pad(count, (0, sizes.own - n)).astype(np.int32)
    configuration, sums = padding.astype(np.int32), None
    if adds_by_gathering():
        most = int(np.bincount(place[atoms.ids[j]], minlength=1).max())
        if most > sizes.incoming:
            sizes = replace(sizes, incoming=rounded_size(most))
        incoming = incoming_pairs(neighbours, count, len(ids), sizes.incoming)
        sums = Sums(incoming, members_of(configuration, 1))
    return RankList(Rows(types, neighbours, ghosts, count, configuration, sums), ids, atoms, sizes)


def _pairs(atoms: RankAtoms, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (i, j) of own atoms i in ascending order: own and ghost atoms are an open system."""
    if not np.isfinite(atoms.positions).all():
        raise ValueError("a position in LAMMPS is not finite; try a shorter time step")
    if not atoms.n_own:
        return np.zeros(0, int), np.zeros(0, int)
    positions, box = np.ascontiguousarray(atoms.positions, float), np.zeros((3, 3))
    wide = search_radius(box, np.zeros(3, bool), positions, float(radius))
    search = NeighborList(cutoff=wide, full_list=True, sorted=True)
    i, j, distance = search.compute(points=positions, box=box, periodic=False, quantities="ijd")
    own = (i < atoms.n_own) & (distance < radius)
    i, j, distance = i[own].astype(np.int64), j[own].astype(np.int64), distance[own]
    if len(distance) and distance.min() < SAME_PLACE:
        k = int(distance.argmin())
        raise ValueError(
            f"the atoms with the ids {atoms.ids[i[k]]} and {atoms.ids[j[k]]} are at the same "
            "place; remove one of them"
        )
    return i, j


def warm_width(atoms: RankAtoms, radius: float) -> int:
    """Most neighbours of an own atom within ``radius`` after displacements of `RATTLE`."""
    moved = np.random.default_rng(0).normal(0.0, RATTLE, atoms.positions.shape)
    i, _ = _pairs(atoms._replace(positions=atoms.positions + moved), radius)
    return int(np.bincount(i, minlength=1).max(initial=0))


def _grown(size: int, needed: int) -> int:
    return size if needed <= size else rounded_size(_with_margin(needed))


def _with_margin(n: int) -> int:
    n = max(n, 1)
    return n + int(np.ceil(max(n ** (2 / 3), MARGIN * n)))


def _squares(vectors: np.ndarray) -> np.ndarray:
    return np.einsum("ka,ka->k", vectors, vectors)
