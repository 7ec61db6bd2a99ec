"""Parts of a training set, packed into shapes that depend on their purpose and not on the choice.

A D-optimal part makes det(sum of r r^T) of the rows r = dE/dtheta large (Fedorov 1972; the active
set of Kotykhov 2025, Eq. 7, is the same with as many rows as parameters): few configurations then
determine all parameters that the whole set determines.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from mmtp_jax.fitting.prepared import PreparedSet
from mmtp_jax.potential.jacobian import energy_jacobian
from mmtp_jax.potential.observables import Graph
from mmtp_jax.potential.potential import Potential
from mmtp_jax.structures.batch import default_chunk, pack
from mmtp_jax.structures.structure import LABELS

Array = Any

MOST_CANDIDATES = 3000
"""Configurations that a part is chosen among; of more, so many at random. Each one chosen costs
2 P flops for each of them."""

PRIOR = 1e-6
"""Of the sum of r r^T, whose rows have columns of size one: while there are fewer rows than
parameters, the one with the largest residual is the best (QR with pivoting)."""


def d_optimal(rows: np.ndarray, costs: np.ndarray, room: float) -> np.ndarray:
    """Rows that make log det(PRIOR + sum of r r^T) large, the best first, one after the other.

    Args:
        rows: (K, P) of any scale; columns are brought to the size one.
        costs: (K,) of each row.
        room: sum of the costs that is not exceeded, but by a first row.

    Returns:
        Indices, in the order taken.
    """
    scale = np.sqrt(np.mean(rows**2, axis=0))
    positive = scale > 1e-10 * scale.max(initial=0.0)
    rows = np.divide(rows, scale, out=np.zeros_like(rows), where=positive)
    # R M^-1 and r M^-1 r of each row, for M = PRIOR + sum of what is taken.
    projected = rows / PRIOR
    gains = np.sum(projected * rows, axis=1)
    chosen: list[int] = []
    left, free = float(room), np.ones(len(rows), bool)
    while True:
        fits = free & (costs <= left) if chosen else free
        if not fits.any():
            return np.array(chosen, int)
        best = int(np.argmax(np.where(fits, gains, -np.inf)))
        chosen.append(best)
        free[best] = False
        left -= float(costs[best])
        overlap = rows @ projected[best]
        weight = 1.0 + gains[best]
        projected -= np.outer(overlap, projected[best] / weight)
        gains = gains - overlap**2 / weight


def d_optimal_part(
    training: PreparedSet, potential: Potential, room: int, seed: int = 0
) -> np.ndarray:
    """Indices, ascending, of configurations of at most ``room`` atoms that are D-optimal together.

    Rows are those of energies per atom, as the loss has them. One configuration of each kind of
    label, and of each constant of the energies, is among them whatever its row.

    Args:
        training: the data set.
        potential: whose dE/dtheta.
        room: atoms.
        seed: of the candidates, where there are more than `MOST_CANDIDATES`.
    """
    n = len(training.structures)
    order = np.arange(n)
    if n > MOST_CANDIDATES:
        order = np.random.default_rng(seed).permutation(n)
        needed = one_of_each(training, order)
        order = np.sort(list(dict.fromkeys([*needed, *order]))[:MOST_CANDIDATES])
    sizes = np.array([len(s) for s in training.structures])
    rows = np.zeros((len(order), potential.n_parameters))
    for batch in training.batches:
        found = np.asarray(_energy_rows(potential, batch.graph, default_chunk(potential)))
        _, into, of = np.intersect1d(order, batch.members, return_indices=True)
        rows[into] = found[of]
    rows /= sizes[order, None]
    # Parameters that are no numbers give rows that are none; the fit itself says so.
    rows = np.where(np.isfinite(rows), rows, 0.0)
    chosen = order[d_optimal(rows, sizes[order], room)]
    return np.unique([*chosen, *one_of_each(training, [*chosen, *order])])


@partial(jax.jit, static_argnames="chunk")
def _energy_rows(potential: Potential, graph: Graph, chunk: int | None) -> Array:
    return energy_jacobian(potential, graph, chunk)


def one_of_each(training: PreparedSet, order: Iterable[int]) -> list[int]:
    """The first configuration with each kind of label, and with each constant of the energies."""
    order = list(order)
    of = [training.structures[k] for k in order]
    has = [[getattr(s, kind) is not None for s in of] for kind in LABELS]
    if training.n_shifts:
        has += np.stack([s.shift_counts > 0 for s in of]).T.tolist()
    return list(dict.fromkeys(order[there.index(True)] for there in has if any(there)))


def packed_part(
    training: PreparedSet, chosen: Sequence[int], n_atoms: int, n_configurations: int
) -> PreparedSet:
    """Some configurations in one graph, whose shape is the same for all parts of a data set."""
    structures = [training.structures[k] for k in chosen]
    tables = [training.tables[k] for k in chosen]
    batch = pack(
        structures,
        tables,
        training.cutoff,
        n_atoms=n_atoms,
        n_configurations=n_configurations,
        width=max(b.graph.neighbours.shape[1] for b in training.batches),
        most=max(map(len, training.structures)),
    )
    return PreparedSet(structures, tables, [batch], training.cutoff, training.shifts)
