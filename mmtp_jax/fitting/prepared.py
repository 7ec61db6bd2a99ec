"""Structures with their neighbours, packed once and evaluated as often as needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import numpy as np

from mmtp_jax.fitting.dataset import make_targets
from mmtp_jax.fitting.report import Errors, comparison, errors_of
from mmtp_jax.fitting.shifts import Shifts, shifted
from mmtp_jax.fitting.weights import Weights
from mmtp_jax.potential.observables import Observables, evaluate_graph
from mmtp_jax.potential.potential import Potential
from mmtp_jax.structures.batch import Batch, default_chunk, make_batches, pack, rounded_size
from mmtp_jax.structures.neighbours import NeighbourTable, neighbour_table
from mmtp_jax.structures.results import Result, results_of
from mmtp_jax.structures.structure import Structure, of_one_kind


@dataclass(frozen=True)
class PreparedSet:
    """Structures with their neighbours, packed."""

    structures: Sequence[Structure]
    tables: Sequence[NeighbourTable]
    batches: list[Batch]
    cutoff: float
    """Of the neighbours, Angstrom."""
    shifts: Shifts | None = None
    """Constants of the energies, where labels of different making are fitted together."""

    @classmethod
    def of(
        cls, structures: Sequence[Structure], cutoff: float, shifts: Shifts | None = None
    ) -> PreparedSet:
        """Find the neighbours and pack; collinear moments among vectors are along z."""
        structures, _ = of_one_kind(structures)
        tables = [neighbour_table(s, cutoff) for s in structures]
        batches = make_batches(structures, cutoff, tables=tables)
        return cls(structures, tables, batches, cutoff, shifts)

    @property
    def n_shifts(self) -> int:
        """Number of these constants."""
        return 0 if self.shifts is None else len(self.shifts)

    def shifted(self, values: np.ndarray, known: np.ndarray | None = None) -> PreparedSet:
        """The same with energies of one making, see `mmtp_jax.fitting.shifts.shifted`."""
        if self.shifts is None:
            return self
        return replace(self, structures=shifted(self.structures, values, known), shifts=None)

    @property
    def fill(self) -> float:
        """Share of the padded rows that hold real neighbours."""
        rows = sum(batch.graph.neighbours.size for batch in self.batches)
        return sum(batch.n_neighbours for batch in self.batches) / rows

    def parts(self, parts: Sequence[np.ndarray]) -> list[PreparedSet]:
        """Subsets by their indices, all packed into the same shapes.

        A graph of one width for each of the whole set, as large as the largest part needs it, so
        that whatever is compiled for one part serves all.
        """
        packed: list[list[Batch]] = [[] for _ in parts]
        for batch in self.batches:
            # Places in the part of the structures that belong to this graph.
            places = [np.flatnonzero(np.isin(part, batch.members)) for part in parts]
            members = [part[inside] for part, inside in zip(parts, places, strict=True)]
            sizes = [sum(len(self.structures[k]) for k in of) for of in members]
            shape = {
                "n_atoms": rounded_size(max(sizes)),
                "n_configurations": rounded_size(max(map(len, members))),
                "width": batch.graph.neighbours.shape[1],
                "most": max(map(len, self.structures)),
            }
            for into, inside, of in zip(packed, places, members, strict=True):
                into.append(
                    pack(
                        [self.structures[k] for k in of],
                        [self.tables[k] for k in of],
                        self.cutoff,
                        members=inside,
                        **shape,
                    )
                )
        return [
            PreparedSet(
                [self.structures[k] for k in part],
                [self.tables[k] for k in part],
                batches,
                self.cutoff,
                self.shifts,
            )
            for part, batches in zip(parts, packed, strict=True)
        ]

    def predictions(self, potential: Potential) -> list[Observables]:
        """Observables of each graph."""
        return [values for _, values in self._evaluated(potential)]

    def results(self, potential: Potential) -> list[Result]:
        """Observables of each structure."""
        results = {}
        for batch, (sites, values) in zip(self.batches, self._evaluated(potential), strict=True):
            results.update(results_of(batch, self.structures, sites, values))
        return [results[k] for k in range(len(self.structures))]

    def errors(self, potential: Potential) -> Errors:
        """Errors of a potential against the labels."""
        compared = comparison(self.structures, self.results(potential))
        return errors_of(compared, len(self.structures))

    def loss(self, potential: Potential, weights: Weights) -> float | None:
        """Kotykhov 2024, Eq. 8; None where no label has a positive weight."""
        try:
            targets = make_targets(self.structures, self.batches, weights)
        except ValueError:
            return None
        total = 0.0
        for part, predicted in zip(targets, self.predictions(potential), strict=True):
            for p, label, w in zip(predicted, part.values, part.weights, strict=True):
                if w.ndim > p.ndim:
                    total += float(np.sum(np.einsum("nab,nb->na", w, p - label) ** 2))
                else:
                    total += float(np.sum(w * (p - label) ** 2))
        return total

    def _evaluated(self, potential: Potential) -> list[tuple[np.ndarray, Observables]]:
        chunk = default_chunk(potential)
        return jax.device_get([evaluate_graph(potential, b.graph, chunk) for b in self.batches])
