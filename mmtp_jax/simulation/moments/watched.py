"""Equilibration of moments of which a watch is shown every iterate (Kotykhov 2025, Sec. II.A-B)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from mmtp_jax.potential.observables import Graph
from mmtp_jax.potential.potential import Potential
from mmtp_jax.simulation.moments.equilibrate import Equilibrated, equilibrate_graph
from mmtp_jax.simulation.moments.steps import Status
from mmtp_jax.simulation.system import System, system_of
from mmtp_jax.simulation.watch import Watch, drained
from mmtp_jax.structures.structure import Structure

Array = Any


def search_watched(
    potential: Potential,
    constants: np.ndarray,
    graph: Graph,
    structures: Sequence[Structure],
    limits: tuple[float, int, float],
    allow_flips: bool,
    fixed_directions: bool,
    chunk: int | None,
    watch: Watch,
    numbers: Sequence[int],
    keep: Callable[[list[Any]], None] | None,
) -> Equilibrated:
    """Equilibrate the structures of a graph, which must be of the same atoms.

    Args:
        potential: with e0 = 0, in the precision of the evaluation.
        constants: (S,) e0 of each species, eV, for the watch.
        graph: of the structures.
        structures: they start at their moments.
        limits: tolerance, evaluations and longest change of `equilibrate_graph`.
        allow_flips: moments may change their sign.
        fixed_directions: vectors keep their directions.
        chunk: most atoms per block of an evaluation.
        watch: what looks.
        numbers: what it calls the structures.
        keep: called with what the watch has kept.

    Returns:
        The result, with `Status.STOPPED` where the watch has stopped a structure.

    Raises:
        ValueError: if the watch has no room for the iterates of one equilibration.
    """
    system = jax.tree.map(np.asarray, system_of(structures, np.ones(len(structures[0]))))
    found, watched = equilibrate_watched(
        potential,
        constants,
        graph,
        system,
        watch,
        watch.start(system),
        limits,
        allow_flips,
        fixed_directions,
        chunk,
    )
    if bool(watch.full(watched)):
        raise ValueError(
            "the watch has no room for the iterates of one equilibration; give it a larger buffer"
        )
    stopped = np.zeros(graph.n_configurations, bool)
    stopped[: len(structures)] = np.asarray(watch.stops(watched))
    blocks, _ = drained(watch, watched, numbers)
    if blocks and keep is not None:
        keep(blocks)
    return found._replace(status=np.where(stopped, Status.STOPPED, found.status))


@partial(jax.jit, static_argnames=("allow_flips", "fixed_directions", "chunk"))
def equilibrate_watched(
    potential: Potential,
    constants: Array,
    graph: Graph,
    system: System,
    watch: Watch,
    watched: Any,
    limits: tuple[float, int, float],
    allow_flips: bool,
    fixed_directions: bool,
    chunk: int | None,
) -> tuple[Equilibrated, Any]:
    """`equilibrate_graph` for replicas, until all are done or stopped, compiled once per shape."""
    n_replicas, n_atoms = system.n_replicas, system.n_atoms
    of_replica = constants[system.types].sum()

    def observe(state: Any, at: Graph, values: Any) -> Any:
        magmoms = at.magmoms[: n_replicas * n_atoms].reshape(system.magmoms.shape).astype(float)
        values = values._replace(energy=values.energy + of_replica)
        return watch.look(state, system._replace(magmoms=magmoms), at, values, 0)

    def halt(state: Any) -> Any:
        return watch.full(state) | (watch.stops(state) | ~system.running).all()

    tolerance, max_steps, max_change = limits
    return equilibrate_graph(
        potential, graph, tolerance=tolerance, max_steps=max_steps, max_change=max_change,
        allow_flips=allow_flips, fixed_directions=fixed_directions, chunk=chunk, observe=observe,
        halt=halt, carry=watched,
    )  # fmt: skip
