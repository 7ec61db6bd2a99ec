"""A potential on the device, without its constant energies, which are added in float64."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import jax
import numpy as np

from mmtp_jax.potential.observables import Observables
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import Precision, double_precision, require_precision
from mmtp_jax.structures.batch import Batch, default_chunk
from mmtp_jax.structures.kept_graph import Distances, KeptGraph
from mmtp_jax.structures.list_maker import CLOSE
from mmtp_jax.structures.neighbours import NeighbourTable, neighbour_table
from mmtp_jax.structures.structure import Structure

Array = Any


def without_constants(
    potential: Potential, precision: Precision, device: Any = None
) -> tuple[Potential, np.ndarray]:
    """The potential with e0 = 0, on the device and in a precision; and its e0 (S,) on the host."""
    constants = np.asarray(potential.species_coeffs, float)
    # A tag is part of the static description: potentials of one form shall share their programs.
    without = potential.replace(species_coeffs=np.zeros_like(constants), tag="")
    return jax.device_put(without.astype(*precision), device), constants


class OnDevice:
    """For those who evaluate one structure after the other.

    Raises:
        ValueError: for an unknown ``dtype``.
    """

    def __init__(self, potential: Potential, dtype: Any = np.float64) -> None:
        self.potential = potential
        self.cutoff = float(potential.cutoff)
        self._constants = np.asarray(potential.species_coeffs, float)
        # Closer ones are looked at one by one.
        self._least = max(float(potential.min_dist), CLOSE)
        with double_precision():
            self.precision = require_precision(dtype)

    @cached_property
    def on_device(self) -> Potential:
        """The potential without constant energies, in its precision."""
        with double_precision():
            return without_constants(self.potential, self.precision)[0]

    @cached_property
    def _kept(self) -> KeptGraph:
        return KeptGraph(self.cutoff, self.precision.edges)

    def graph_of(self, structure: Structure) -> tuple[Batch, NeighbourTable | None]:
        """The structure as a batch, its graph on the device, and its neighbours for `check_domain`.

        The latter are None where all distances are inside of what the potential covers.

        Raises:
            ValueError: if two atoms are at the same place.
        """
        batch, distances = self._kept.of(structure)
        return batch, self._table(structure, distances)

    def evaluated(
        self, structure: Structure
    ) -> tuple[tuple[Array, Observables], NeighbourTable | None]:
        """What `evaluate` says of the structure, padding atoms included, and its neighbours.

        These and errors are those of `graph_of`.
        """
        chunk = default_chunk(self.on_device)
        values, distances = self._kept.evaluated(self.on_device, structure, chunk)
        return values, self._table(structure, distances)

    def _table(self, structure: Structure, distances: Distances) -> NeighbourTable | None:
        if self._least <= distances.shortest and distances.loneliest < self.cutoff:
            return None
        return neighbour_table(structure, self.cutoff)

    def __getstate__(self) -> dict[str, Any]:
        """Without what is on the device: it is put there anew where a copy is used."""
        return {k: value for k, value in vars(self).items() if k not in ("on_device", "_kept")}
