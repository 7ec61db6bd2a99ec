"""The training set of a fit on its devices: as few graphs as possible, whole or in shards."""

from __future__ import annotations

from dataclasses import dataclass, replace

import jax
import numpy as np
from jax.sharding import Mesh

from mmtp_jax.fitting.checkpoint import fingerprint
from mmtp_jax.fitting.dataset import Targets, make_targets
from mmtp_jax.fitting.prepared import PreparedSet
from mmtp_jax.fitting.report import Errors
from mmtp_jax.fitting.sharding import Shards, mesh_of
from mmtp_jax.fitting.weights import Weights
from mmtp_jax.potential.potential import Potential
from mmtp_jax.structures.batch import Batch, make_batches

JACOBIAN_BYTES = 2**30
"""Rows of the Jacobian that Gauss-Newton keeps at a time."""


@dataclass(frozen=True)
class TrainingData:
    """The training set on one device, or divided over several."""

    training: PreparedSet
    weights: Weights
    method: str
    targets: list[Targets]
    """On the device, or spread over those of the shards."""
    shards: Shards | None = None

    @classmethod
    def of(
        cls,
        training: PreparedSet,
        weights: Weights,
        method: str,
        devices: int | str | None,
        n_parameters: int,
    ) -> TrainingData:
        """Put the set on its devices, see `mesh_of`."""
        mesh = mesh_of(devices)
        if mesh is None:
            batches = _batches(training, method, n_parameters)
            targets = jax.device_put(make_targets(training.structures, batches, weights))
            return cls(training, weights, method, targets)
        batches = _batches(training, method, n_parameters, mesh.size)
        shards = Shards.of(replace(training, batches=batches), weights, mesh)
        return cls(training, weights, method, shards.targets, shards)

    @property
    def mesh(self) -> Mesh | None:
        """The devices; None for one."""
        return None if self.shards is None else self.shards.mesh

    @property
    def fill(self) -> float:
        """Share of the padded rows that hold real neighbours."""
        return self.training.fill if self.shards is None else self.shards.fill

    def errors(self, potential: Potential, shifts: np.ndarray) -> Errors:
        """Errors of a potential, and constants (m,) of the energies, against the labels."""
        training = self.training.shifted(shifts)
        if self.shards is None:
            return training.errors(potential)
        own = replace(self.shards.prepared, structures=training.structures)
        return replace(self.shards, prepared=own).errors(potential)

    def fingerprint(self, potential: Potential) -> str:
        """What a checkpoint belongs to: one on a single device and one on several are the same."""
        targets = self.targets
        if self.shards is not None:
            batches = _batches(self.training, self.method, potential.n_parameters)
            targets = make_targets(self.training.structures, batches, self.weights)
        return fingerprint(self.method, potential, targets)


def _batches(
    training: PreparedSet, method: str, n_parameters: int, n_devices: int = 1
) -> list[Batch]:
    """The graphs of a fit: as few as possible, and small enough for the rows of the Jacobian."""
    if method != "gauss-newton":
        return training.batches
    # Each atom has four observables; those of the configurations are few beside them.
    max_atoms = max(1, int(n_devices * JACOBIAN_BYTES / (8 * 6 * n_parameters)))
    return make_batches(
        training.structures, training.cutoff, max_atoms=max_atoms, tables=training.tables
    )
