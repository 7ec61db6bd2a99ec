"""Magnetic states that simulations start in: signs and sizes, or directions of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mmtp_jax.structures.structure import Structure, lengths

STATES = ("given", "fm", "afm", "random")
"""given: the moments as they are. fm: all of one sign. afm: the sign changes from one layer of
atoms to the next along the third cell vector (in a cubic cell of bcc, neighbours are opposite; of
fcc and rock salt, single layers). random: a random sign for each atom, which stands for a
paramagnet. Where moments are given as vectors, signs are those along z, and random directions take
the place of random signs."""

_SAME_LAYER = 0.25
"""Angstrom between planes that belong to one layer."""


def with_state(
    structure: Structure,
    state: str,
    sizes: Sequence[float] | np.ndarray | None,
    rng: np.random.Generator,
) -> Structure:
    """The structure with moments of a state.

    Args:
        structure: its moments give the sizes where there are no others.
        state: one of `STATES`.
        sizes: (S,) of the species, mu_B.
        rng: for random signs or directions.

    Raises:
        ValueError: if there is no such state, or the layers cannot alternate.
    """
    check_states([state])
    vectors = structure.vectors
    given = structure.magmoms if sizes is None else np.asarray(sizes, float)[structure.types]
    structure = replace(structure, moments_known=structure.moments_known or sizes is not None)
    own = lengths(given)
    if state == "given":
        own = np.array(given, float)
    elif state == "afm":
        own = own * _layer_signs(structure)
    elif state == "random" and vectors:
        directions = rng.normal(size=(len(own), 3))
        own = own[:, None] * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    elif state == "random":
        own = own * rng.choice([-1.0, 1.0], len(own))
    if vectors and own.ndim == 1:
        own = own[:, None] * np.array([0.0, 0.0, 1.0])
    return replace(structure, magmoms=own)


def check_states(states: Sequence[str]) -> None:
    """ValueError if there is no such state."""
    for state in states:
        if state not in STATES:
            raise ValueError(f"a magnetic state must be one of {', '.join(STATES)}, got {state!r}")


def _layer_signs(structure: Structure) -> np.ndarray:
    cell = structure.cell
    normal = np.cross(cell[0], cell[1])
    if not np.any(normal) or not np.any(cell[2]):
        raise ValueError(f"{structure.name}: state 'afm' needs a cell that spans space")
    normal = normal / np.linalg.norm(normal)
    period = abs(float(cell[2] @ normal))
    height = (structure.positions @ normal * np.sign(cell[2] @ normal)) % period
    order = np.argsort(height)
    steps = np.diff(height[order]) > _SAME_LAYER
    layer = np.empty(len(height), int)
    layer[order] = np.concatenate([[0], np.cumsum(steps)])
    # The highest atoms may be those of the lowest layer, across the boundary.
    n_layers = layer.max() + 1
    if n_layers > 1 and height[order[0]] + period - height[order[-1]] <= _SAME_LAYER:
        layer[layer == n_layers - 1] = 0
        n_layers -= 1
    if n_layers % 2:
        raise ValueError(
            f"{structure.name}: state 'afm' needs an even number of layers along the third cell "
            f"vector, but there are {n_layers}; repeat the cell, or give the moments"
        )
    return np.where(layer % 2, -1.0, 1.0)
