"""Evaluate a potential on a list of structures: batches in, plain numpy results out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from mmtp_jax.potential import observables
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import double_precision, require_dtype
from mmtp_jax.structures.batch import Batch, default_chunk, make_batches, pack
from mmtp_jax.structures.domain import check_domain
from mmtp_jax.structures.neighbours import neighbour_table
from mmtp_jax.structures.structure import Structure

MAX_ATOMS = 16384
"""Atoms per batch: bounds the memory, about 100 kB per atom at most."""

_VOIGT = (np.array([0, 1, 2, 1, 0, 0]), np.array([0, 1, 2, 2, 2, 1]))


@dataclass(frozen=True)
class Result:
    """What a potential says about one configuration, as numpy arrays."""

    energy: float
    """eV."""
    forces: np.ndarray
    """(n, 3) -dE/dr at fixed moments, eV/Angstrom."""
    stress: np.ndarray | None
    """(6,) ASE order and sign, eV/Angstrom^3; None where the cell is not periodic in 3D."""
    magnetic_forces: np.ndarray
    """(n,) -dE/dm, eV/mu_B."""
    energies: np.ndarray
    """(n,) energy of each atom, eV."""


@partial(jax.jit, static_argnames="chunk")
def evaluate_graph(
    potential: Potential, graph: observables.Graph, chunk: int | None = None
) -> tuple[Any, observables.Observables]:
    """Site energies (N,) and observables of a graph, compiled once per shape."""
    return observables.evaluate(potential, graph, chunk)


def evaluate_structures(
    potential: Potential,
    structures: Sequence[Structure],
    dtype: Any = np.float64,
    max_atoms: int = MAX_ATOMS,
) -> list[Result]:
    """Energies, forces, stresses and magnetic forces of all structures.

    In float32 the constant e0 of each species is added in float64 afterwards, so that energies
    of thousands of eV per atom keep their digits.

    Warns:
        ExtrapolationWarning: if distances or moments lie outside of the potential's intervals.
    """
    structures = list(structures)
    if not structures:
        return []
    evaluator = StructureEvaluator(potential, dtype)
    tables = [neighbour_table(s, evaluator.cutoff) for s in structures]
    check_domain(potential, structures, tables).warn(stacklevel=3)
    results: list[Result | None] = [None] * len(structures)
    for batch in make_batches(structures, evaluator.cutoff, max_atoms=max_atoms, tables=tables):
        for member, result in evaluator.of_batch(batch, structures):
            results[member] = result
    return results  # type: ignore[return-value]


class StructureEvaluator:
    """A potential on the device, ready for one structure after the other.

    The widest graph so far sets the shape of the next ones: during dynamics a neighbour more or
    less must not compile anything again.
    """

    def __init__(self, potential: Potential, dtype: Any = np.float64) -> None:
        self.potential = potential
        self.cutoff = float(potential.cutoff)
        self._constants = np.asarray(potential.species_coeffs, float)
        self._width = 0
        with double_precision():
            self.dtype = require_dtype(dtype)
            without = potential.replace(species_coeffs=np.zeros_like(self._constants))
            self._on_device = jax.device_put(without.astype(self.dtype))

    def __call__(self, structure: Structure) -> Result:
        """All observables of one structure."""
        table = neighbour_table(structure, self.cutoff)
        check_domain(self.potential, [structure], [table]).warn(stacklevel=3)
        batch = pack([structure], [table], self.cutoff, width=self._width)
        self._width = batch.graph.neighbours.shape[1]
        return self.of_batch(batch, [structure])[0][1]

    def of_batch(self, batch: Batch, structures: Sequence[Structure]) -> list[tuple[int, Result]]:
        """(index in ``structures``, result) of every configuration of a batch."""
        graph = jax.tree.map(
            lambda a: a.astype(self.dtype) if a.dtype.kind == "f" else a, batch.graph
        )
        with double_precision():
            sites, values = jax.device_get(evaluate_graph(self._on_device, graph, default_chunk()))
        return _unpack(batch, sites, values, self._constants, structures)


def _unpack(
    batch: Batch,
    sites: np.ndarray,
    values: observables.Observables,
    constants: np.ndarray,
    structures: Sequence[Structure],
) -> list[tuple[int, Result]]:
    energies = batch.split(sites.astype(np.float64) + constants[batch.graph.types])
    forces = batch.split(values.forces.astype(np.float64))
    magnetic = batch.split(values.magnetic_forces.astype(np.float64))
    found = []
    for slot, member in enumerate(batch.members):
        periodic = structures[member].volume is not None
        found.append(
            (
                int(member),
                Result(
                    energy=float(energies[slot].sum()),
                    forces=forces[slot],
                    stress=values.stress[slot][_VOIGT].astype(np.float64) if periodic else None,
                    magnetic_forces=magnetic[slot],
                    energies=energies[slot],
                ),
            )
        )
    return found
