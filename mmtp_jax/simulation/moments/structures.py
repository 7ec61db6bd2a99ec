"""Equilibration of lists of structures: batches in few compiled shapes, plain results out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np

from mmtp_jax.interruption import check
from mmtp_jax.potential.observables import Graph
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import double_precision, require_precision
from mmtp_jax.simulation.moments.equilibrate import (
    MAX_CHANGE,
    MAX_STEPS,
    TOLERANCE,
    Equilibrated,
    equilibrate_graph,
)
from mmtp_jax.simulation.moments.lbfgs import Memory, empty_memory
from mmtp_jax.simulation.moments.steps import Status
from mmtp_jax.structures.batch import Batch, default_chunk, make_batches, pack
from mmtp_jax.structures.domain import check_domain
from mmtp_jax.structures.neighbours import neighbour_table
from mmtp_jax.structures.results import Result, results_of
from mmtp_jax.structures.structure import Structure

MAX_ATOMS = 2048
"""Atoms per batch. All configurations of a batch wait for its slowest."""


class EquilibrationWarning(UserWarning):
    """Moments were used that are not equilibrated."""


@dataclass(frozen=True)
class MomentOptions:
    """When and how far moments are equilibrated."""

    tolerance: float = TOLERANCE
    """Largest |T_i| at the end, eV/mu_B."""
    max_steps: int = MAX_STEPS
    """Most evaluations of a configuration."""
    max_change: float = MAX_CHANGE
    """Longest change of a moment in one step, mu_B."""
    allow_flips: bool = False
    """Moments may change their sign."""

    def __post_init__(self) -> None:
        for name in ("tolerance", "max_steps", "max_change"):
            value = getattr(self, name)
            if not 0 < value < np.inf:
                raise ValueError(f"{name} of an equilibration must be positive, got {value}")


@dataclass(frozen=True, eq=False)
class EquilibratedStructure:
    """Equilibrated moments of one structure."""

    magmoms: np.ndarray
    """(n,) mu_B."""
    start_magmoms: np.ndarray
    """(n,) mu_B, as they were given."""
    result: Result
    """What the potential says at the final moments."""
    residual: float
    """Largest |T_i| of the moments that are not held at a bound, eV/mu_B."""
    n_steps: int
    """Evaluations."""
    status: Status
    """How it ended."""

    @property
    def converged(self) -> bool:
        """Whether all magnetic forces are below the tolerance."""
        return self.status == Status.CONVERGED

    @property
    def message(self) -> str:
        """How it ended, in words."""
        return (
            f"{self.status.message} ({self.n_steps} evaluations, largest magnetic force "
            f"{np.abs(self.result.magnetic_forces).max():.2g} eV/mu_B)"
        )


@partial(jax.jit, static_argnames=("allow_flips", "chunk"))
def equilibrate_batch(
    potential: Potential,
    graph: Graph,
    memory: Memory,
    tolerance: float,
    max_steps: int,
    max_change: float,
    allow_flips: bool,
    chunk: int | None,
) -> Equilibrated:
    """`equilibrate_graph`, compiled once per shape."""
    return equilibrate_graph(
        potential,
        graph,
        tolerance=tolerance,
        max_steps=max_steps,
        max_change=max_change,
        allow_flips=allow_flips,
        chunk=chunk,
        memory=memory,
    )[0]


def equilibrate_structures(
    potential: Potential,
    structures: Sequence[Structure],
    options: MomentOptions | None = None,
    dtype: Any = np.float64,
    callback: Callable[[int], None] | None = None,
    max_atoms: int = MAX_ATOMS,
) -> list[EquilibratedStructure]:
    """Moments that minimise the energy of each structure at fixed geometry.

    Args:
        potential: the potential.
        structures: they start at their moments.
        options: tolerance and limits.
        dtype: float64, float32 or ``"mixed"``.
        callback: called with the number of structures done after each batch.
        max_atoms: most atoms of a batch.

    Warns:
        ExtrapolationWarning: if distances are below those that the potential covers.
    """
    structures = list(structures)
    if not structures:
        return []
    equilibrator = StructureEquilibrator(potential, options or MomentOptions(), dtype)
    tables = [neighbour_table(s, equilibrator.cutoff) for s in structures]
    found: list[Any] = [None] * len(structures)
    n_done = 0
    batches = make_batches(structures, equilibrator.cutoff, max_atoms=max_atoms, tables=tables)
    for batch in batches:
        check()
        for member, result in equilibrator.of_batch(batch, structures)[0]:
            found[member] = result
        n_done += len(batch.members)
        if callback is not None:
            callback(n_done)
    final = [replace(s, magmoms=f.magmoms) for s, f in zip(structures, found, strict=True)]
    check_domain(potential, final, tables).warn(stacklevel=3)
    return found


class StructureEquilibrator:
    """A potential on the device, ready to equilibrate one structure after the other.

    Calls with one structure keep the shape of the widest graph so far, and what the last call
    learned of the curvature if the atoms are the same.
    """

    def __init__(
        self, potential: Potential, options: MomentOptions, dtype: Any = np.float64
    ) -> None:
        self.potential, self.options = potential, options
        self.cutoff = float(potential.cutoff)
        self._constants = np.asarray(potential.species_coeffs, float)
        self._width = 0
        self._types = np.empty(0, np.int32)
        self._memory: Memory | None = None
        with double_precision():
            self.precision = require_precision(dtype)
            without = potential.replace(species_coeffs=np.zeros_like(self._constants))
            self._on_device = jax.device_put(without.astype(*self.precision))

    def __call__(self, structure: Structure) -> EquilibratedStructure:
        """Equilibrate one structure."""
        table = neighbour_table(structure, self.cutoff)
        batch = pack([structure], [table], self.cutoff, width=self._width)
        self._width = batch.graph.neighbours.shape[1]
        if not np.array_equal(structure.types, self._types):
            self._types, self._memory = structure.types, None
        found, self._memory = self.of_batch(batch, [structure], self._memory)
        result = found[0][1]
        final = replace(structure, magmoms=result.magmoms)
        check_domain(self.potential, [final], [table]).warn(stacklevel=3)
        return result

    def of_batch(
        self, batch: Batch, structures: Sequence[Structure], memory: Memory | None = None
    ) -> tuple[list[tuple[int, EquilibratedStructure]], Memory]:
        """(index in ``structures``, result) of every configuration of a batch, and the memory."""
        graph = jax.tree.map(
            lambda a: a.astype(self.precision.edges) if a.dtype.kind == "f" else a, batch.graph
        )
        options = self.options
        with double_precision():
            found = equilibrate_batch(
                self._on_device,
                graph,
                empty_memory(graph) if memory is None else memory,
                options.tolerance,
                options.max_steps,
                options.max_change,
                options.allow_flips,
                default_chunk(),
            )
            memory = found.memory
            found = jax.device_get(found._replace(memory=None))
        sites = found.site_energies.astype(np.float64) + self._constants[batch.graph.types]
        magmoms = batch.split(np.asarray(found.magmoms, np.float64))
        results = results_of(batch, structures, sites, found.observables)
        return [
            (
                member,
                EquilibratedStructure(
                    magmoms=magmoms[slot],
                    start_magmoms=np.array(structures[member].magmoms, float),
                    result=result,
                    residual=float(found.residual[slot]),
                    n_steps=int(found.n_steps[slot]),
                    status=Status(int(found.status[slot])),
                ),
            )
            for slot, (member, result) in enumerate(results)
        ], memory
