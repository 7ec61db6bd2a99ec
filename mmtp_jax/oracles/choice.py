"""A few configurations of many that differ, to try settings on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

from mmtp_jax.oracles.mesh_groups import formula_of, stoichiometry


def different(atoms_list: Sequence[Atoms], number: int) -> list[int]:
    """Places of so many configurations that differ most, in their order.

    They are of the most frequent stoichiometry, so that energy differences mean something, and
    not larger than half of its configurations are. From the one in the middle on, the next is
    always the one that is farthest from those that were taken, in units of the spread of volume
    per atom, shortest distance, net moment and size of the moments.
    """
    kinds = [stoichiometry(formula_of(atoms)) for atoms in atoms_list]
    (kind, _), *_ = Counter(kinds).most_common(1)
    members = [k for k, one in enumerate(kinds) if one == kind]
    middle = np.median([len(atoms_list[k]) for k in members])
    members = [k for k in members if len(atoms_list[k]) <= middle]
    features = np.array([_features(atoms_list[k]) for k in members])
    spread = features.std(axis=0)
    # What does not vary tells nothing.
    features = (features - np.median(features, axis=0)) / np.where(spread > 1e-9, spread, np.inf)
    taken = [int(np.argmin(np.linalg.norm(features, axis=1)))]
    while len(taken) < min(number, len(members)):
        away = np.linalg.norm(features[:, None] - features[taken], axis=2).min(axis=1)
        away[taken] = -1.0
        taken.append(int(np.argmax(away)))
    return sorted(members[k] for k in taken)


def _features(atoms: Atoms) -> list[float]:
    """Volume per atom, shortest distance, net and root mean square moment."""
    moments = np.asarray(atoms.get_initial_magnetic_moments(), float).reshape(len(atoms), -1)
    volume = abs(np.linalg.det(atoms.cell.array)) / len(atoms)
    # A pair is never farther apart than a few times the distance of uniform ones.
    distances = neighbor_list("d", atoms, 2.0 * max(volume, 1.0) ** (1.0 / 3.0))
    shortest = distances.min() if len(distances) else 0.0
    net = float(np.linalg.norm(moments.mean(axis=0)))
    return [volume, shortest, net, float(np.sqrt((moments**2).sum(axis=1).mean()))]
