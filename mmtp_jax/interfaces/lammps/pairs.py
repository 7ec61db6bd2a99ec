"""Pairs as LAMMPS's own neighbour list has them, and energies and derivatives of each of them.

``pair_style mliap unified`` gives, for this step, the vectors of all pairs (i, j) within the
cutoff, and adds what it is told of each pair to both of its atoms. So there is no search and no
skin here, and no sum over the neighbours; what a site energy does to the moments of its neighbours
is summed by their atom ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.interfaces.lammps.rows import Sizes
from mmtp_jax.potential.chunks import in_chunks
from mmtp_jax.potential.energy import Neighborhoods
from mmtp_jax.potential.materialise import stored
from mmtp_jax.potential.observables import edge_terms
from mmtp_jax.potential.potential import Potential
from mmtp_jax.structures.neighbours import PADDING

Array = Any

ALIGNMENT = 64
"""Bytes."""


class PairRows(NamedTuple):
    """Pairs of a rank on the device; N rows with K places; n atoms in all, whose ids are from 1."""

    types: Array
    """(n + 1,) species index by id, where this rank knows it; 0 has no atom."""
    ids: Array
    """(N,) of the atom of a row; 0 for padding."""
    neighbours: Array
    """(N, K) id of the neighbour; 0 in free places."""
    vectors: Array
    """(N, K, 3) to the neighbour, Angstrom; anything in free places."""


class PairValues(NamedTuple):
    """Site energies of rows, and their derivatives; sums over all rows would cost more here."""

    sites: Array
    """(N,) E_i, eV."""
    magmoms: Array
    """(N,) dE_i/dm_i, eV/mu_B."""
    vectors: Array
    """(N, K, 3) dE_i/d(r_ij), eV/Angstrom."""
    neighbour_magmoms: Array
    """(N, K) dE_i/dm_j, eV/mu_B."""
    squares: Array
    """(N,) smallest squared distance, Angstrom^2."""


@dataclass(frozen=True, eq=False)
class RankPairs:
    """The pairs of one step of one rank; the next step changes its arrays."""

    rows: PairRows
    own_ids: np.ndarray
    """(n_own,) of the rows that are no padding."""
    types: np.ndarray
    """(n_own,) their species index."""
    targets: np.ndarray
    """(N K,) id of the neighbour in each place; 0 in free ones."""
    places: np.ndarray
    """(P,) the place of each pair of LAMMPS among them."""


class PairBuffers:
    """Arrays for the pairs of every step, always the same ones.

    New memory for each step would cost as much as half of an evaluation, in page faults. A device
    that is this machine uses these arrays as they are, without copies; so they must be written only
    when all evaluations of the step before are over.

    Args:
        sizes: N and K.
        n_atoms: n, of all ranks together.
    """

    def __init__(self, sizes: Sizes, n_atoms: int) -> None:
        self.sizes = sizes
        shape = sizes.own, sizes.width
        self._types = aligned((n_atoms + 1,), np.int64)
        self._ids = aligned((sizes.own,), np.int64)
        self._neighbours = aligned(shape, np.int64)
        self._vectors = aligned((*shape, 3), float)
        self._counts = np.zeros(sizes.own, np.int64)
        self._pair = np.zeros(shape, np.int64)
        self._free = np.ones(shape, bool)
        self._partners = np.zeros(sizes.own * sizes.width + 1, np.int64)
        self._forces = np.zeros((sizes.own * sizes.width, 3))

    def fill(self, data: Any, ids: np.ndarray) -> RankPairs:
        """Rows of the pairs that LAMMPS has now, for which there is room.

        Args:
            data: of ``pair_style mliap unified``.
            ids: (own and ghosts,) of the atoms.

        Raises:
            ValueError: if LAMMPS leaves out some of its atoms.
        """
        n_own, n_pairs = data.nlistatoms, data.npairs
        if n_own != data.nlocal:
            raise ValueError(
                f"pair_style mliap has {n_own} of {data.nlocal} atoms; the potential must have all "
                "of them, so leave out pair_style hybrid and neigh_modify exclude"
            )
        # LAMMPS makes no arrays of length zero.
        if len(ids):
            self._types[ids] = data.elems
        own_ids = ids[data.iatoms[:n_own]] if n_own else ids[:0]
        self._ids[:n_own], self._ids[n_own:] = own_ids, 0
        self._counts[:n_own], self._counts[n_own:] = data.numneighs[:n_own] if n_own else 0, 0
        first = np.cumsum(self._counts) - self._counts
        slots = np.arange(self.sizes.width)
        # Pairs in the order of LAMMPS, then one that stands in all free places.
        np.add(first[:, None], slots, out=self._pair)
        np.greater_equal(slots, self._counts[:, None], out=self._free)
        np.putmask(self._pair, self._free, n_pairs)
        self._partners[n_pairs] = 0
        # With "clip", numpy needs no copies; no index has to be clipped but those of free places.
        if n_pairs:
            np.take(ids, data.jatoms, out=self._partners[:n_pairs], mode="clip")
            np.take(data.rij, self._pair, axis=0, out=self._vectors, mode="clip")
        np.take(self._partners, self._pair, out=self._neighbours, mode="clip")
        shift = np.arange(self.sizes.own) * self.sizes.width - first
        return RankPairs(
            rows=PairRows(self._types, self._ids, self._neighbours, self._vectors),
            own_ids=own_ids,
            types=self._types[own_ids],
            targets=self._neighbours.ravel(),
            places=np.arange(n_pairs) + np.repeat(shift, self._counts),
        )

    def forces_of(self, pairs: RankPairs, vectors: np.ndarray) -> np.ndarray:
        """Derivatives (N, K, 3) in the order of the pairs of LAMMPS, (P, 3) in float64."""
        found = self._forces[: len(pairs.places)]
        flat = np.asarray(vectors, float).reshape(-1, 3)
        return np.take(flat, pairs.places, axis=0, out=found, mode="clip")


def aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array of zeros that starts where JAX wants its arrays to start."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


@partial(jax.jit, static_argnames="chunk")
def evaluate_pairs(
    potential: Potential, rows: PairRows, magmoms: Array, chunk: int | None
) -> PairValues:
    """Evaluate the own atoms of a rank; compiled once per shape.

    Args:
        potential: in the precision of the evaluation.
        rows: of the rank.
        magmoms: (n + 1,) by id, mu_B; 0 has no atom.
        chunk: most atoms per block.
    """
    dtype = potential.radial_coeffs.dtype
    moments = magmoms.astype(dtype)

    def block(rows_: tuple[Array, Array, Array]) -> PairValues:
        ids, neighbours, vectors = rows_
        real = neighbours[:, None] > 0
        vectors = jnp.where(real, jnp.swapaxes(vectors, 1, 2), PADDING * potential.cutoff)
        vectors = vectors.astype(dtype)
        neighborhoods = stored(
            Neighborhoods(
                rows.types[ids], moments[ids], vectors, rows.types[neighbours], moments[neighbours]
            )
        )
        terms = edge_terms(potential, neighborhoods)
        return PairValues(
            sites=terms.energies,
            magmoms=terms.magmoms,
            vectors=jnp.swapaxes(terms.vectors, 1, 2),
            neighbour_magmoms=terms.neighbour_magmoms,
            squares=jnp.min(jnp.sum(vectors**2, axis=1), axis=1),
        )

    return in_chunks(block, (rows.ids, rows.neighbours, rows.vectors), chunk)
