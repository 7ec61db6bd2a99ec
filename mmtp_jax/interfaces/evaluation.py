"""Evaluate a potential on a list of structures: batches in, plain numpy results out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from mmtp_jax.interruption import check
from mmtp_jax.potential.observables import evaluate_graph
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import double_precision, with_floats
from mmtp_jax.structures.batch import Batch, default_chunk, make_batches, pack
from mmtp_jax.structures.device import OnDevice
from mmtp_jax.structures.domain import check_domain
from mmtp_jax.structures.neighbours import neighbour_table
from mmtp_jax.structures.results import Result, results_of
from mmtp_jax.structures.structure import Structure

MAX_ATOMS = 16384
"""Atoms per batch: bounds the memory, about 100 kB per atom at most."""


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
    check_domain(potential, structures, tables).warn()
    results: list[Result | None] = [None] * len(structures)
    for batch in make_batches(structures, evaluator.cutoff, max_atoms=max_atoms, tables=tables):
        check()
        for member, result in evaluator.of_batch(batch, structures):
            results[member] = result
    return results  # type: ignore[return-value]


class StructureEvaluator(OnDevice):
    """A potential on the device, ready for one structure after the other.

    The widest graph so far sets the shape of the next ones: during dynamics a neighbour more or
    less must not compile anything again.
    """

    def __call__(self, structure: Structure) -> Result:
        """All observables of one structure."""
        table = neighbour_table(structure, self.cutoff)
        check_domain(self.potential, [structure], [table]).warn()
        batch = pack([structure], [table], self.cutoff, width=self._width)
        self._width = batch.graph.neighbours.shape[1]
        return self.of_batch(batch, [structure])[0][1]

    def of_batch(self, batch: Batch, structures: Sequence[Structure]) -> list[tuple[int, Result]]:
        """(index in ``structures``, result) of every configuration of a batch."""
        graph = with_floats(batch.graph, self.precision.edges)
        with double_precision():
            sites, values = jax.device_get(evaluate_graph(self._on_device, graph, default_chunk()))
        sites = sites.astype(np.float64) + self._constants[batch.graph.types]
        for member, energies in zip(batch.members, batch.split(sites), strict=True):
            if not np.isfinite(energies).all():
                raise ValueError(
                    f"{structures[member].name}: its energy is not a finite number; distances or "
                    "moments are far outside of what the potential covers, or its coefficients "
                    "are damaged"
                )
        return results_of(batch, structures, sites, values)
