"""Which order a magnetic state has: the wave that its moments are most of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from mmtp_jax.io.schema import labels_of
from mmtp_jax.properties.crystal import by_spglib
from mmtp_jax.properties.lattice_sites import Sites, find_sites

_SYMPREC = 0.05
_ROUND = 1e-6


@dataclass(frozen=True)
class MagneticWave:
    """The wave of a magnetic state with the largest share of its moments."""

    q: np.ndarray
    """(3,) in reciprocal vectors of the conventional cell; (0, 0, 0) is that of a ferromagnet."""
    share: float
    """Of the sum of squared moments, q and -q together: 1 for a state of one wave."""
    n_waves: int
    """Waves that the supercell holds, q and -q counted once; a state without order has a share of
    the order of 1 / n_waves of each."""

    def __str__(self) -> str:
        """As in (0.5 0.5 0) 97 %."""
        return f"({' '.join(f'{x:.4g}' for x in self.q)}) {100 * self.share:.0f} %"


def strongest_wave(atoms: Atoms) -> MagneticWave | None:
    """The wave that a magnetic state is most of.

    |sum_j m_j exp(-2 pi i q.R_j)|^2 / (N sum_j m_j^2), with the sites R_j of the lattice that the
    supercell repeats, added up over the N sites of each kind in the primitive cell; the sum over
    all waves of the supercell is 1.

    Args:
        atoms: the supercell with moments, (n,) or (n, 3).

    Returns:
        The wave; None where the supercell repeats no smaller cell, or has no moments.

    Raises:
        ValueError: if it is not periodic in three directions, or the atoms are on no sites that
            repeat.
    """
    moments = labels_of(atoms).moments
    if moments is None or not np.any(moments):
        return None
    moments = np.asarray(moments, float).reshape(len(atoms), -1)
    sites = find_sites(atoms, atoms.get_scaled_positions(wrap=False))
    if sites.n_cells == 1:
        return None
    q = _waves(sites.matrix)
    kinds = np.arange(len(sites.basis))[:, None] == sites.site
    of_kinds = np.einsum("bj,jx->jbx", kinds.astype(float), moments).reshape(len(atoms), -1)
    sums = [np.exp(-2j * np.pi * (sites.lattice @ one)) @ of_kinds for one in q]
    shares = np.sum(np.abs(sums) ** 2, axis=1) / (sites.n_cells * np.sum(moments**2))
    # Of real moments q and -q have equal shares; one of them is listed.
    shares = np.where(_is_own_mirror(q), shares, 2.0 * shares)
    k = int(np.argmax(shares > shares.max() - _ROUND))
    return MagneticWave(_shown(q[k], sites), float(shares[k]), len(q))


def _waves(matrix: np.ndarray) -> np.ndarray:
    """(k, 3) all waves of a supercell, one of q and -q, in the cube from -1/2 to 1/2."""
    steps = np.abs(matrix).sum(axis=1)
    whole = np.stack(np.meshgrid(*(np.arange(-s, s + 1) for s in steps), indexing="ij"), axis=-1)
    q = whole.reshape(-1, 3) @ np.linalg.inv(matrix).T
    q = q[((q > -0.5 + _ROUND) & (q < 0.5 + _ROUND)).all(axis=1)]
    mirrored = np.where(q > 0.5 - _ROUND, q, -q)
    q = np.array([a for a, b in zip(_whole(q), _whole(mirrored), strict=True) if a >= b]) * _ROUND
    return q[np.argsort(np.linalg.norm(q, axis=1), kind="stable")]


def _whole(q: np.ndarray) -> list[list[int]]:
    """In units that numbers can be compared in."""
    return np.rint(q / _ROUND).astype(int).tolist()


def _is_own_mirror(q: np.ndarray) -> np.ndarray:
    """(k,) bool: q and -q differ by whole numbers."""
    return (np.abs(2.0 * q - np.rint(2.0 * q)) < _ROUND).all(axis=1)


def _shown(q: np.ndarray, sites: Sites) -> np.ndarray:
    """The shortest of the equal q, in reciprocal vectors of the conventional cell."""
    reciprocal = np.linalg.inv(sites.cell)
    near = q + np.array(list(np.ndindex(5, 5, 5))) - 2
    lengths = np.linalg.norm(near @ reciprocal.T, axis=1)
    found = by_spglib(
        "standardize_cell", (sites.cell, sites.basis, sites.numbers), to_primitive=False,
        no_idealize=True, symprec=_SYMPREC,
    )  # fmt: skip
    cell = sites.cell if found is None else found[0]
    shortest = near[lengths < lengths.min() + 1e-6] @ reciprocal.T @ cell.T
    # Of equal ones, and of both signs, the one that reads best.
    shortest = np.round(np.concatenate([shortest, -shortest]), 6) + 0.0
    return max(shortest.tolist(), key=lambda x: (min(x) >= 0.0, *x)) * np.ones(3)
