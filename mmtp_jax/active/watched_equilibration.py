"""Equilibration of moments with preselection of the iterates (Kotykhov 2025, Sec. II.A-B)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np

from mmtp_jax.active.candidates import Block
from mmtp_jax.active.preselection import Preselection
from mmtp_jax.interruption import check
from mmtp_jax.potential.observables import Graph
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import double_precision
from mmtp_jax.simulation.moments.collapse import warn_of_collapse
from mmtp_jax.simulation.moments.equilibrate import equilibrate_graph
from mmtp_jax.simulation.moments.steps import Status
from mmtp_jax.simulation.moments.structures import (
    MAX_ATOMS,
    EquilibratedStructure,
    MomentOptions,
)
from mmtp_jax.simulation.system import System, system_of
from mmtp_jax.structures.batch import default_chunk, pack
from mmtp_jax.structures.domain import check_domain
from mmtp_jax.structures.neighbours import NeighbourTable, neighbour_table
from mmtp_jax.structures.results import results_of
from mmtp_jax.structures.structure import Structure


@dataclass(frozen=True, eq=False)
class WatchedEquilibration(EquilibratedStructure):
    """How the equilibration of one structure ended."""

    stopped: bool = False
    """The watch stopped it; its moments are those of some later iterate."""


@partial(jax.jit, static_argnames=("allow_flips", "chunk"))
def _equilibrate(
    potential: Potential,
    graph: Graph,
    system: System,
    watch: Preselection,
    watched: Any,
    options: tuple[float, int, float],
    allow_flips: bool,
    chunk: int | None,
) -> tuple[Any, ...]:
    n_replicas, n_atoms = system.n_replicas, system.n_atoms

    def observe(state: Any, at: Graph, values: Any) -> Any:
        magmoms = at.magmoms[: n_replicas * n_atoms].reshape(n_replicas, n_atoms)
        return watch.look(state, system._replace(magmoms=magmoms), at, values, 0)

    def halt(state: Any) -> Any:
        return watch.full(state) | (watch.stops(state) | ~system.running).all()

    tolerance, max_steps, max_change = options
    found, watched = equilibrate_graph(
        potential, graph, tolerance=tolerance, max_steps=max_steps, max_change=max_change,
        allow_flips=allow_flips, chunk=chunk, observe=observe, halt=halt, carry=watched,
    )  # fmt: skip
    return found._replace(memory=None), watched


def watch_equilibration(
    potential: Potential,
    structures: Sequence[Structure],
    watch: Preselection,
    options: MomentOptions | None = None,
    keep: Callable[[list[Block]], None] | None = None,
    max_atoms: int = MAX_ATOMS,
    callback: Callable[[int], None] | None = None,
) -> list[WatchedEquilibration]:
    """Equilibrate the moments of structures, every iterate of which the watch is shown.

    The number of a structure in the list is the replica that its candidates have. After one is
    stopped nothing of it is kept any more, though it moves on while others of its batch do.

    Args:
        potential: the potential.
        structures: they start at their moments.
        watch: what is kept.
        options: tolerance and limits.
        keep: called with what was kept, where the watch has no store.
        max_atoms: most atoms of a batch.
        callback: called with the number of structures done after each batch.

    Raises:
        ValueError: if the watch has no room for the iterates of one equilibration, or belongs to
            another potential.

    Warns:
        ExtrapolationWarning: if distances are below those that the potential covers.
        EquilibrationWarning: if moments have vanished.
    """
    watch.check(potential)
    options = options or MomentOptions()
    tables = [neighbour_table(s, float(potential.cutoff)) for s in structures]
    found: list[Any] = [None] * len(structures)
    n_done = 0
    for members in _alike(structures, max_atoms):
        check()
        results = _of_batch(
            potential,
            [structures[k] for k in members],
            [tables[k] for k in members],
            watch,
            options,
            members,
            keep,
        )
        for k, result in zip(members, results, strict=True):
            found[k] = result
        n_done += len(members)
        if callback is not None:
            callback(n_done)
    final = [replace(s, magmoms=f.magmoms) for s, f in zip(structures, found, strict=True)]
    check_domain(potential, final, tables).warn()
    warn_of_collapse([f.collapse for f in found], [s.name for s in structures])
    return found


def _of_batch(
    potential: Potential,
    structures: list[Structure],
    tables: list[NeighbourTable],
    watch: Preselection,
    options: MomentOptions,
    numbers: list[int],
    keep: Callable[[list[Block]], None] | None,
) -> list[WatchedEquilibration]:
    system = system_of(structures, np.ones(len(structures[0])))
    batch = pack(structures, tables, float(potential.cutoff))
    limits = (options.tolerance, options.max_steps, options.max_change)
    with double_precision():
        found, watched = _equilibrate(
            potential.astype(np.float64), batch.graph, jax.tree.map(np.asarray, system), watch,
            watch.start(system), limits, options.allow_flips, default_chunk(),
        )  # fmt: skip
        if bool(watch.full(watched)):
            raise ValueError(
                "the watch has no room for the iterates of one equilibration; give it a larger "
                "buffer"
            )
        stopped = np.broadcast_to(np.asarray(watch.stops(watched)), len(structures))
        blocks, _ = watch.drain(watch.renumbered(watched, numbers))
        if blocks and keep is not None:
            keep(blocks)
    found = jax.device_get(found)
    magmoms = batch.split(np.asarray(found.magmoms))
    results = results_of(batch, structures, found.site_energies, found.observables)
    return [
        WatchedEquilibration(
            magmoms=magmoms[slot],
            start_magmoms=np.array(structures[member].magmoms, float),
            result=result,
            residual=float(found.residual[slot]),
            n_steps=int(found.n_steps[slot]),
            status=Status.STOPPED if stopped[slot] else Status(int(found.status[slot])),
            stopped=bool(stopped[slot]),
        )
        for slot, (member, result) in enumerate(results)
    ]


def _alike(structures: Sequence[Structure], max_atoms: int) -> list[list[int]]:
    """Indices of structures with the same atoms, in batches of at most so many atoms."""
    groups: dict[tuple, list[int]] = {}
    for k, structure in enumerate(structures):
        key = (structure.types.tobytes(), np.asarray(structure.periodic, bool).tobytes())
        groups.setdefault(key, []).append(k)
    batches = []
    for members in groups.values():
        n = max(1, max_atoms // max(1, len(structures[members[0]])))
        batches += [members[k : k + n] for k in range(0, len(members), n)]
    return batches
