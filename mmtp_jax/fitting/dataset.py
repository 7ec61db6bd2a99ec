"""Labelled configurations as arrays: graphs, target values, and the weight of each target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mmtp_jax.fitting.weights import SCALINGS, Weights
from mmtp_jax.potential.observables import Graph, Observables
from mmtp_jax.structures.batch import Batch
from mmtp_jax.structures.structure import LABELS, Structure


class Targets(NamedTuple):
    """One graph of a data set, with everything that the loss needs."""

    graph: Graph
    values: Observables
    """Labels; 0 where there is none."""
    weights: Observables
    """Factor of each squared error; 0 where there is no label, and for padding."""
    shift_counts: np.ndarray | None = None
    """(C, m) what each constant of `mmtp_jax.fitting.shifts` counts for; None without any."""


def make_targets(
    structures: Sequence[Structure], batches: Sequence[Batch], weights: Weights
) -> list[Targets]:
    """Labels and weights of batched structures.

    A kind of label that a configuration lacks has weight 0 for it, and the sum over a kind is
    divided by the (weighted) number of configurations that have it.

    Raises:
        ValueError: if no configuration has any label with a positive weight.
    """
    totals = {
        kind: sum(s.weight for s in structures if getattr(s, kind) is not None) for kind in LABELS
    }
    if not any(totals[kind] > 0 and getattr(weights, kind) > 0 for kind in LABELS):
        raise ValueError(
            f"none of the {len(structures)} configurations has a label with a positive weight; "
            f"labels found: {[kind for kind in LABELS if totals[kind] > 0] or 'none'}"
        )
    return [_targets(structures, batch, weights, totals) for batch in batches]


def _targets(
    structures: Sequence[Structure], batch: Batch, weights: Weights, totals: dict[str, float]
) -> Targets:
    n_conf, n_atoms = batch.graph.n_configurations, len(batch.graph.types)
    values = Observables(
        np.zeros(n_conf), np.zeros((n_atoms, 3)), np.zeros((n_conf, 3, 3)), np.zeros(n_atoms)
    )
    factors = Observables(
        np.zeros(n_conf), np.zeros((n_atoms, 1)), np.zeros((n_conf, 1, 1)), np.zeros(n_atoms)
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
            getattr(factors, kind)[place] = (
                getattr(weights, kind)
                * structure.weight
                * factor
                / (totals[kind] * len(structure) ** power)
            )
        if structure.magnetic is not None:
            factors.magnetic_forces[atoms] *= structure.magnetic
    return Targets(batch.graph, values, factors, shift_counts)
