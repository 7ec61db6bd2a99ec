"""Coordinates of the parameters in which the loss is about equally curved in every direction.

The curvature of a sum of squares is nearly 2 J^T J, whose eigenvalues span ten orders of magnitude
and more: energies per atom, Chebyshev coefficients, and combinations of them that hardly any label
depends on. In theta = origin + metric x with metric^T (2 J^T J + damping) metric = 1, descent
methods take steps that are nearly those of Gauss-Newton, at the cost of a gradient each.
"""

from __future__ import annotations

import numpy as np
from jax.sharding import Mesh
from scipy.linalg import solve_triangular

from mmtp_jax.fitting.dataset import Targets, make_targets
from mmtp_jax.fitting.part import one_of_each, packed_part
from mmtp_jax.fitting.prepared import PreparedSet
from mmtp_jax.fitting.sharding import Shards
from mmtp_jax.fitting.weights import Weights
from mmtp_jax.structures.batch import rounded_size

DAMPING = 1e-3
"""Curvature that every parameter is given beside its own, as a part of that."""

ATOMS_PER_PARAMETER = 1.0
"""Size of the sample that stands for the data set. An atom has four labels."""


SOFTEST = 1e-2
"""Column of a noncollinear term, as a part of the largest of them, below which steps do not grow:
what hardly any label determines would follow errors of the labels."""


def metric(matrix: np.ndarray, terms: slice = slice(0)) -> np.ndarray:
    """The columns (P, P) along which the loss has curvature one, from J^T J (P, P).

    ``terms`` are the places of the linear coefficients of noncollinear terms.
    """
    if not np.isfinite(matrix).all():
        # The loss is not finite either, and the loop around the optimiser says so.
        return np.eye(len(matrix))
    diagonal = np.diag(matrix)
    # Parameters that no label depends on get the scale of the softest that matter.
    floor = max(1e-10 * diagonal.max(initial=0.0), np.finfo(float).tiny)
    least = np.full(len(diagonal), floor)
    largest = diagonal[terms].max(initial=0.0)
    least[terms] = np.maximum(floor, SOFTEST**2 * largest)
    scale = 1.0 / np.sqrt(np.maximum(diagonal, least))
    unit = matrix * np.outer(scale, scale)
    # L L^T = unit + damping, so that L^-T is the inverse root.
    lower = np.linalg.cholesky(unit + DAMPING * np.eye(len(matrix)))
    root = solve_triangular(lower, np.eye(len(matrix)), lower=True, trans="T")
    return scale[:, None] * root / np.sqrt(2.0)


def sample(
    training: PreparedSet,
    targets: list[Targets],
    weights: Weights,
    n_parameters: int,
    mesh: Mesh | None = None,
) -> list[Targets]:
    """A part of the data set that is large enough for the curvature of its loss.

    Args:
        training: the data set.
        targets: all of it.
        weights: of the labels.
        n_parameters: P.
        mesh: the devices that ``targets`` are spread over.

    Returns:
        ``targets`` where the set is not much larger than needed, else a random part in one graph,
        spread like them.
    """
    sizes = np.array([len(s) for s in training.structures])
    room = rounded_size(int(ATOMS_PER_PARAMETER * n_parameters))
    # By the padded size, which all parts of a cross-validation share.
    if sum(len(b.graph.types) for b in training.batches) <= 1.5 * room:
        return targets
    order = list(np.random.default_rng(0).permutation(len(sizes)))
    order = list(dict.fromkeys([*one_of_each(training, order), *order]))
    chosen, n_atoms = [], 0
    for k in order:
        if not chosen or n_atoms + sizes[k] <= room:
            chosen.append(k)
            n_atoms += sizes[k]
    # The same shape for every part of a data set, which cross-validation makes.
    part = packed_part(training, chosen, n_atoms=room, n_configurations=room)
    try:
        if mesh is not None:
            return Shards.of(part, weights, mesh).targets
        return make_targets(part.structures, part.batches, weights)
    except ValueError:
        # Labels that have a weight are rare.
        return targets
