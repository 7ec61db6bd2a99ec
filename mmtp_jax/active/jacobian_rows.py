"""Rows dE/dtheta of many configurations: the matrix B of Kotykhov 2025, Eq. 7.

In configuration mode a row is the derivative of a configuration's energy, in neighbourhood mode
that of one atom's energy. Rows come in blocks of bounded size, as numpy arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from mmtp_jax.active.options import CONFIGURATION, MODES, NEIGHBORHOOD
from mmtp_jax.interruption import check
from mmtp_jax.potential.jacobian import energy_jacobian, site_jacobian
from mmtp_jax.potential.observables import Graph
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import double_precision
from mmtp_jax.structures.batch import default_chunk, make_batches
from mmtp_jax.structures.structure import Structure

Array = Any

MEMORY = 2**30
"""Bytes that the rows of one block, and what is computed from them, may take together."""

_COPIES = 4
"""Arrays of the size of a block that exist at one time, in the Jacobian as in maxvol."""

_GRAPH_BYTES = 50_000
"""Memory of one atom's neighbours and moments, about."""


class Rows(NamedTuple):
    """Some rows of B and where they come from."""

    values: np.ndarray
    """(n, P) dE/dtheta in the order of `Potential.flatten`."""
    configuration: np.ndarray
    """(n,) index of the configuration."""
    atom: np.ndarray
    """(n,) index of the atom in it; -1 where the row is that of the configuration."""


@partial(jax.jit, static_argnames=("per_atom", "chunk"))
def _graph_rows(potential: Potential, graph: Graph, per_atom: bool, chunk: int | None) -> Array:
    return (site_jacobian if per_atom else energy_jacobian)(potential, graph, chunk)


def energy_rows(
    potential: Potential, structures: Sequence[Structure], memory: int = MEMORY
) -> np.ndarray:
    """dE/dtheta (K, P) of each configuration.

    Args:
        potential: the potential.
        structures: the configurations.
        memory: bytes that the computation may take besides the result.

    Raises:
        ValueError: if a derivative of a configuration is not finite; it is named.
    """
    found = list(row_blocks(potential, structures, CONFIGURATION, memory))
    return _joined([rows.values for rows in found], potential)


def site_rows(
    potential: Potential, structures: Sequence[Structure], memory: int = MEMORY
) -> np.ndarray:
    """dE_i/dtheta (N, P) of each atom, one configuration after the other; see `energy_rows`."""
    found = list(row_blocks(potential, structures, NEIGHBORHOOD, memory))
    return _joined([rows.values for rows in found], potential)


def row_blocks(
    potential: Potential,
    structures: Sequence[Structure],
    mode: str = CONFIGURATION,
    memory: int = MEMORY,
) -> Iterator[Rows]:
    """All rows in the order of the configurations (and atoms), in blocks that fit the memory.

    A configuration is never cut, so one with more atoms than fit is a block of its own.

    Raises:
        ValueError: if a derivative of a configuration is not finite; it is named.
    """
    potential = potential.astype(np.float64)
    sizes = np.array([len(s) for s in structures], int)
    counts = sizes if mode == NEIGHBORHOOD else np.ones_like(sizes)
    most = rows_in(memory, potential.n_parameters)
    start = 0
    while start < len(structures):
        reach = np.searchsorted(np.cumsum(counts[start:]), most, side="right")
        stop = start + max(1, int(reach))
        values = _rows(potential, structures[start:stop], mode, memory)
        configuration = np.repeat(np.arange(start, stop), counts[start:stop])
        atom = np.full(len(configuration), -1)
        if mode == NEIGHBORHOOD:
            atom = np.concatenate([np.arange(n) for n in sizes[start:stop]])
        _check_finite(values, configuration, structures)
        yield Rows(values, configuration, atom)
        start = stop


def rows_in(memory: int, n_parameters: int) -> int:
    """Number of rows of P numbers in a block."""
    return max(1, memory // (8 * n_parameters * _COPIES))


def check_mode(mode: str) -> None:
    """ValueError if there is no such mode."""
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")


def _rows(
    potential: Potential, structures: Sequence[Structure], mode: str, memory: int
) -> np.ndarray:
    per_atom = mode == NEIGHBORHOOD
    # Energies need a Jacobian only of a chunk of atoms at a time, but all their neighbours.
    n_values = _COPIES * potential.n_parameters if per_atom else 0
    max_atoms = max(1, memory // (8 * n_values + _GRAPH_BYTES))
    found: list[np.ndarray | None] = [None] * len(structures)
    with double_precision():
        on_device = jax.device_put(potential)
        for batch in make_batches(structures, float(potential.cutoff), max_atoms=max_atoms):
            check()
            graph_rows = _graph_rows(on_device, batch.graph, per_atom, default_chunk(potential))
            values = np.asarray(jax.device_get(graph_rows))
            parts = batch.split(values) if per_atom else list(values[: len(batch.members), None])
            for member, part in zip(batch.members, parts, strict=True):
                found[member] = part
    return np.concatenate(found)


def _check_finite(
    values: np.ndarray, configuration: np.ndarray, structures: Sequence[Structure]
) -> None:
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        first = structures[int(configuration[np.argmax(bad)])]
        raise ValueError(
            f"{first.name}: the derivatives of its energy with respect to the parameters are not "
            "finite; look for moments or positions far outside of the potential's range, and for "
            "parameters that are not finite"
        )


def _joined(parts: list[np.ndarray], potential: Potential) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros((0, potential.n_parameters))
