"""Labelled configurations as arrays: graphs, target values, and the weight of each target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from mmtp_jax.fitting.weights import SCALINGS, Weights
from mmtp_jax.language import counted, named
from mmtp_jax.potential.einsum import einsum
from mmtp_jax.potential.observables import Graph, Observables
from mmtp_jax.potential.vector_moments import are_vectors
from mmtp_jax.structures.batch import Batch
from mmtp_jax.structures.magnetic_parts import directions
from mmtp_jax.structures.structure import LABELS, Structure

Array = Any


class Targets(NamedTuple):
    """One graph of a data set, with everything that the loss needs."""

    graph: Graph
    values: Observables
    """Labels; 0 where there is none."""
    weights: Observables
    """Factor of each squared error; 0 where there is no label, and for padding. Of magnetic forces
    that are vectors matrices (N, 3, 3), by which their errors are multiplied before they are
    squared (`scaled`)."""
    shift_counts: np.ndarray | None = None
    """(C, m) what each constant of `mmtp_jax.fitting.shifts` counts for; None without any."""


def scaled(weight: Array, errors: Array) -> Array:
    """Errors whose plain squares are the terms of the loss: sqrt(weight) times them."""
    if weight.ndim > errors.ndim:
        return einsum("nab,nb->na", weight, errors)
    return jnp.sqrt(weight) * errors


def make_targets(
    structures: Sequence[Structure], batches: Sequence[Batch], weights: Weights
) -> list[Targets]:
    """Labels and weights of batched structures.

    A kind of label that a configuration lacks has weight 0 for it, and the sum over a kind is
    divided by the (weighted) number of configurations that have it. Of magnetic forces that are
    vectors the parts along and across the moment have weights of their own; where only that across
    is known, it is all that counts, and atoms without a moment have none.

    Raises:
        ValueError: if no configuration has any label with a positive weight.
    """
    totals = require_labels(structures, weights)
    return [_targets(structures, batch, weights, totals) for batch in batches]


def require_labels(structures: Sequence[Structure], weights: Weights) -> dict[str, float]:
    """The sum of the weights of the configurations that have each kind of label.

    Raises:
        ValueError: if there is nothing to fit to.
    """
    totals = {
        kind: sum(s.weight for s in structures if getattr(s, kind) is not None) for kind in LABELS
    }
    vectors = any(structure.vectors for structure in structures)
    if any(totals[kind] > 0 and weights.has(kind, vectors) for kind in LABELS):
        return totals
    there = [kind for kind in LABELS if any(getattr(s, kind) is not None for s in structures)]
    of = counted(len(structures), "configuration")
    if there:
        words = ", ".join(kind.replace("_", " ") for kind in there)
        raise ValueError(
            f"there is nothing to fit to: the labels of {of} are {words}, and their weights, or "
            "those of the configurations, are 0"
        )
    raise ValueError(
        f"there is nothing to fit to: {of} without energy, forces, stress and magnetic forces; "
        f"label them, or say which columns hold the labels with {named('keys')}"
    )


def _targets(
    structures: Sequence[Structure], batch: Batch, weights: Weights, totals: dict[str, float]
) -> Targets:
    n_conf, n_atoms = batch.graph.n_configurations, len(batch.graph.types)
    values = Observables(
        np.zeros(n_conf),
        np.zeros((n_atoms, 3)),
        np.zeros((n_conf, 3, 3)),
        np.zeros(batch.graph.magmoms.shape),
    )
    of_moments = (n_atoms, 3, 3) if are_vectors(batch.graph.magmoms) else n_atoms
    factors = Observables(
        np.zeros(n_conf), np.zeros((n_atoms, 1)), np.zeros((n_conf, 1, 1)), np.zeros(of_moments)
    )
    power_energy, power_forces = SCALINGS[weights.scaling]
    shift_counts = None
    if structures[0].shift_counts is not None:
        shift_counts = np.zeros((n_conf, len(structures[0].shift_counts)))
        for slot, member in enumerate(batch.members):
            shift_counts[slot] = structures[member].shift_counts
    for slot, member in enumerate(batch.members):
        structure = structures[member]
        atoms = slice(batch.offsets[slot], batch.offsets[slot + 1])
        places = {
            "energy": (slot, 1.0, power_energy),
            "forces": (atoms, 1.0, power_forces),
            "stress": (slot, (structure.volume or 0.0) ** 2, power_energy),
            "magnetic_forces": (atoms, 1.0, power_forces),
        }
        for kind, (place, factor, power) in places.items():
            label = getattr(structure, kind)
            if label is None or totals[kind] == 0.0:
                continue
            getattr(values, kind)[place] = label
            each = totals[kind] * len(structure) ** power
            if kind == "magnetic_forces" and structure.vectors:
                factors.magnetic_forces[place] = _roots(structure, weights, each)
                continue
            getattr(factors, kind)[place] = (
                getattr(weights, kind) * structure.weight * factor / each
            )
        if structure.magnetic is not None:
            factors.magnetic_forces[atoms][~structure.magnetic] = 0.0
    return Targets(batch.graph, values, factors, shift_counts)


def _roots(structure: Structure, weights: Weights, each: float) -> np.ndarray:
    """(n, 3, 3) sqrt(w_along) n n + sqrt(w_across) (1 - n n), n the direction of each moment."""
    w_along, w_across = np.multiply(weights.parts, structure.weight / each)
    axis = directions(structure.magmoms)
    outer = axis[:, :, None] * axis[:, None, :]
    if structure.transverse:
        # Without a moment there is nothing across it.
        there = axis.any(axis=1)[:, None, None]
        return np.sqrt(w_across) * np.where(there, np.eye(3) - outer, 0.0)
    return np.sqrt(w_along) * outer + np.sqrt(w_across) * (np.eye(3) - outer)
