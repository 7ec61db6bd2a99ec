"""Differentiable properties of ASE atoms: from the parameters of a potential to a relaxed state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from ase import Atoms

from mmtp_jax.interfaces.elastic import relaxed_states
from mmtp_jax.interfaces.equilibration import start_structures
from mmtp_jax.potential.observables import Graph
from mmtp_jax.potential.potential import Potential
from mmtp_jax.properties.implicit import RelaxedState, free_coordinates, stationary
from mmtp_jax.properties.response import AT_BOUND
from mmtp_jax.simulation.relaxation.cell import basis_of
from mmtp_jax.structures.batch import pack
from mmtp_jax.structures.neighbours import neighbour_table
from mmtp_jax.structures.structure import Structure

SKIN = 0.5
"""Angstrom by which atoms may come closer until their neighbours are searched anew."""


class DifferentiableState:
    """theta -> relaxed state, differentiable by implicit differentiation.

    Calls are pure, so that they go into ``jax.jit``, ``jax.grad`` and ``jax.vmap``, in float64.
    The functions of `mmtp_jax.properties.implicit` turn the state into properties.

    Args:
        potential: gives the form, and the parameters of the start.
        atoms: the configuration with the moments of the magnetic state. It is relaxed here once;
            later calls go on from there by Newton's method, and give NaN if the state is lost.
        cell: what the cell may do, as for `mmtp_jax.relax`.
        positions: atoms move.
        moments: they are equilibrated.
        relax: relax the start; else it must be near a minimum.

    Raises:
        UnstableStateError: if moments flip or vanish.
        ValueError: if the start does not relax, or a moment is at the end of its interval.

    Example:
        >>> from mmtp_jax.properties.implicit import curvature, elastic_tensor
        >>> relaxed = mmtp.DifferentiableState(pot, atoms)
        >>> def c44(theta):
        ...     return elastic_tensor(curvature(relaxed(theta)))[3, 3]
        >>> with mmtp.double_precision():
        ...     slope = jax.jit(jax.grad(c44))(pot.flatten())
    """

    def __init__(
        self,
        potential: Potential,
        atoms: Atoms,
        *,
        cell: bool | str | Sequence[Any] = True,
        positions: bool = True,
        moments: bool = True,
        relax: bool = True,
    ) -> None:
        options = {"cell": cell, "positions": positions}
        options["moments"] = "equilibrate" if moments else "fixed"
        if relax:
            (self.start,) = relaxed_states(potential, [atoms], options)
        else:
            (self.start,) = start_structures(potential, [atoms])
        self.potential = potential.astype(np.float64)
        self.masses = atoms.get_masses()
        _require_inside(potential, self.start)
        self.graph = _graph_of(self.start, float(potential.cutoff))
        self.free = free_coordinates(
            len(self.start), _strain_rows(basis_of(cell)), positions, moments
        )

    def __call__(self, theta: Any) -> RelaxedState:
        """The relaxed state of the potential with the parameters theta (P,)."""
        return stationary(self.potential.unflatten(theta), self.graph, self.free)


def _graph_of(structure: Structure, cutoff: float) -> Graph:
    """The graph of one structure with neighbours beyond the cutoff, atoms not padded."""
    reach = cutoff + SKIN
    table = neighbour_table(structure, reach)
    graph, n = pack([structure], [table], reach).graph, len(structure)
    return jax.tree.map(lambda a: a if a.shape[0] != graph.types.shape[0] else a[:n], graph)


def _strain_rows(basis: np.ndarray) -> np.ndarray:
    """Orthonormal rows (k, 6) of strains with shear angles, from tensors (6, 3, 3)."""
    rows = np.array(
        [
            [b[0, 0], b[1, 1], b[2, 2], 2 * b[1, 2], 2 * b[0, 2], 2 * b[0, 1]]
            for b in basis
            if b.any()
        ]
    ).reshape(-1, 6)
    return np.linalg.qr(rows.T)[0].T if len(rows) else rows


def _require_inside(potential: Potential, structure: Structure) -> None:
    low = np.asarray(potential.min_magmom)[structure.types] + AT_BOUND
    high = np.asarray(potential.max_magmom)[structure.types] - AT_BOUND
    beyond = np.flatnonzero((structure.magmoms <= low) | (structure.magmoms >= high))
    if beyond.size:
        raise ValueError(
            f"{structure.name}: the moment of atom {beyond[0]} is at the end of the interval that "
            "the potential covers, where it does not change smoothly; a fit with a larger "
            "max_magmom would hold it inside"
        )
