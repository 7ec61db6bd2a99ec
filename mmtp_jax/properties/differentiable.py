"""Differentiable properties of ASE atoms: from the parameters of a potential to a relaxed state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from ase import Atoms

from mmtp_jax.interfaces.equilibration import start_structures
from mmtp_jax.potential.confinement import reach
from mmtp_jax.potential.observables import Graph
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import require_precision
from mmtp_jax.properties.implicit import (
    RelaxedState,
    curvature,
    free_coordinates,
    squared_frequencies,
    stationary,
)
from mmtp_jax.properties.implicit_thermal import HarmonicVolumes
from mmtp_jax.properties.quasiharmonic import STRAINS, states_at_volumes, volume_strains
from mmtp_jax.properties.response import AT_BOUND
from mmtp_jax.properties.states import relaxed_states
from mmtp_jax.simulation.relaxation.cell import basis_of
from mmtp_jax.structures.atom_graph import AtomGraph, atom_graph, moved
from mmtp_jax.structures.batch import pack, rounded_size
from mmtp_jax.structures.neighbours import neighbour_table
from mmtp_jax.structures.structure import Structure, repeated

SKIN = 0.5
"""Angstrom by which atoms may come closer until their neighbours are searched anew."""


class DifferentiableState:
    """theta -> relaxed state, differentiable by implicit differentiation.

    Calls are pure, so that they go into ``jax.jit``, ``jax.grad`` and ``jax.vmap``, in float64.
    The functions of `mmtp_jax.implicit` turn the state into properties.

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
        >>> from mmtp_jax.implicit import curvature, elastic_tensor
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
        (self.graph,) = _graphs_of([self.start], float(potential.cutoff))
        follow = moments & np.asarray(potential.magnetic)[self.start.types]
        self.free = free_coordinates(
            len(self.start), _strain_rows(basis_of(cell)), positions, follow
        )

    def __call__(self, theta: Any) -> RelaxedState:
        """The relaxed state of the potential with the parameters theta (P,)."""
        return stationary(self.potential.unflatten(theta), self.graph, self.free)

    def graph_at(self, state: RelaxedState) -> AtomGraph:
        """The atoms at a state, for `mmtp_jax.energy`, `mmtp_jax.observables`, `mmtp_jax.move`.

        What one makes of it is differentiated through the relaxation, too; first derivatives by
        the parameters only.

        Example:
            >>> def stiffness(theta):
            ...     pot, graph = potential.unflatten(theta), relaxed.graph_at(relaxed(theta))
            ...     of_moments = lambda m: mmtp.energy(pot, mmtp.move(graph, magmoms=m)[0])[0]
            ...     return jax.hessian(of_moments)(graph.magmoms)
        """
        cutoff, start = float(self.potential.cutoff), self.start
        graph = atom_graph([start], cutoff, SKIN, require_precision(np.float64))
        positions = start.positions @ state.deformation + state.displacements
        return moved(graph, positions, start.cell @ state.deformation, state.magmoms)


class DifferentiableQuasiHarmonic:
    """theta -> states at several volumes, of which `thermal_state` makes thermodynamics.

    The vibrations are those at Gamma of the supercell: all q that it holds. Calls are pure, as
    those of `DifferentiableState`; memory is that of one volume. At each volume atoms, moments and
    the shape of the cell follow the parameters; where the shape has changed by a strain eps, the
    free energy is off by the order of eps^2.

    Args:
        potential: gives the form, and the parameters of the start.
        atoms: a unit cell with the moments of the magnetic state, which is relaxed here once.
        supercell: how often it is repeated, a number or three.
        strains: of lengths, five or more, against the relaxed crystal.
        moments: they follow the atoms; else they are clamped at those of each volume.
        pressure_GPa: of the relaxed crystal.

    Raises:
        UnstableStateError: if moments flip or vanish.
        ValueError: if a start does not relax, or a moment is at the end of its interval.

    Example:
        >>> from mmtp_jax.implicit import thermal_state
        >>> volumes = mmtp.DifferentiableQuasiHarmonic(pot, atoms, supercell=2)
        >>> def expansion(theta):
        ...     return thermal_state(volumes(theta), 300.0).expansion
        >>> with mmtp.double_precision():
        ...     slope = jax.jit(jax.grad(expansion))(pot.flatten())
    """

    def __init__(
        self,
        potential: Potential,
        atoms: Atoms,
        supercell: int | Sequence[int] = 1,
        strains: Sequence[float] = STRAINS,
        *,
        moments: bool = True,
        pressure_GPa: float = 0.0,
    ) -> None:
        chosen = volume_strains(strains)
        found = states_at_volumes(potential, atoms, chosen, {"pressure_GPa": pressure_GPa}, {})
        repeat = np.broadcast_to(supercell, 3).tolist()
        self.starts = tuple(repeated(structure, repeat) for structure in found)
        self.potential = potential.astype(np.float64)
        self.masses = np.tile(atoms.get_masses(), np.prod(repeat))
        self.moments = moments
        for structure in self.starts:
            _require_inside(potential, structure)
        graphs = _graphs_of(self.starts, float(potential.cutoff))
        self.graphs = jax.tree.map(lambda *of: np.stack(of), *graphs)
        shape = _strain_rows(basis_of("shape"))
        follow = np.asarray(potential.magnetic)[self.starts[0].types]
        self.free = free_coordinates(len(self.starts[0]), shape, moments=follow)

    def __call__(self, theta: Any) -> HarmonicVolumes:
        """The states of the potential with the parameters theta (P,)."""
        potential = self.potential.unflatten(theta)

        def at_volume(graph: Graph) -> tuple[Any, Any, Any]:
            second = curvature(stationary(potential, graph, self.free), self.moments)
            return second.volume, second.energy, squared_frequencies(second, self.masses)

        return HarmonicVolumes(*jax.lax.map(jax.checkpoint(at_volume), self.graphs))


def _graphs_of(structures: Sequence[Structure], cutoff: float) -> list[Graph]:
    """Graphs of one width with neighbours beyond the cutoff, atoms not padded."""
    reach = cutoff + SKIN
    tables = [neighbour_table(structure, reach) for structure in structures]
    width = rounded_size(max(table.index.shape[1] for table in tables))
    found = []
    for structure, table in zip(structures, tables, strict=True):
        graph, n = pack([structure], [table], reach, width=width).graph, len(structure)
        padded = graph.types.shape[0]
        found.append(jax.tree.map(lambda a, p=padded, n=n: a if a.shape[0] != p else a[:n], graph))
    return found


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
    far = reach(potential)
    low = np.asarray(far.low)[structure.types] + AT_BOUND
    high = np.asarray(far.high)[structure.types] - AT_BOUND
    beyond = np.flatnonzero((structure.magmoms <= low) | (structure.magmoms >= high))
    if beyond.size:
        raise ValueError(
            f"{structure.name}: the moment of atom {beyond[0]} is at the end of the interval that "
            "the potential covers, where it does not change smoothly; a fit with a larger "
            "max_magmom would hold it inside"
        )
