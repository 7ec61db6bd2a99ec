"""Equilibration of lists of structures: batches in few compiled shapes, plain results out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np

from mmtp_jax.interruption import check
from mmtp_jax.potential.confinement import Reach, intervals
from mmtp_jax.potential.observables import Graph
from mmtp_jax.potential.potential import Potential
from mmtp_jax.potential.vector_moments import are_vectors
from mmtp_jax.precision import double_precision, with_floats
from mmtp_jax.simulation.moments.collapse import collapse_message, is_zero, warn_of_collapse
from mmtp_jax.simulation.moments.equilibrate import Equilibrated, equilibrate_graph
from mmtp_jax.simulation.moments.lbfgs import Memory, empty_memory
from mmtp_jax.simulation.moments.options import MomentOptions
from mmtp_jax.simulation.moments.steps import Status
from mmtp_jax.simulation.moments.watched import search_watched
from mmtp_jax.simulation.watch import BoundWatch, Watch, alike
from mmtp_jax.structures.batch import Batch, default_chunk, lockstep_atoms, make_batches, pack
from mmtp_jax.structures.device import OnDevice
from mmtp_jax.structures.domain import DomainReport, check_domain, moment_at_end
from mmtp_jax.structures.neighbours import NeighbourTable, neighbour_table
from mmtp_jax.structures.results import Result, results_of
from mmtp_jax.structures.structure import Structure, lengths

MAX_ATOMS = 2048
"""Atoms per batch on a CPU. All configurations of a batch wait for its slowest."""

PROBE = 0.05
"""Moments, mu_B, that tell whether the energy falls from where all are zero."""


@dataclass(frozen=True, eq=False)
class EquilibratedStructure:
    """Equilibrated moments of one structure."""

    start: Structure
    """With its moments as they were given."""
    magmoms: np.ndarray
    """(n,) or (n, 3) mu_B."""
    result: Result
    """What the potential says at the final moments."""
    residual: float
    """Largest |T_i| of the moments that are not held at a bound, eV/mu_B; at fixed directions, of
    the components along these."""
    n_steps: int
    """Evaluations."""
    status: Status
    """How it ended."""
    unstable: bool = False
    """All moments are zero, and the energy falls as soon as they grow."""
    moment: str = ""
    """Which moment is furthest beyond its interval, in words; empty where none is."""

    @property
    def structure(self) -> Structure:
        """The start with the final moments."""
        return replace(self.start, magmoms=self.magmoms)

    @property
    def start_magmoms(self) -> np.ndarray:
        """(n,) or (n, 3) mu_B."""
        return self.start.magmoms

    @property
    def converged(self) -> bool:
        """Whether all magnetic forces are below the tolerance, at moments that are covered."""
        return self.status == Status.CONVERGED

    @property
    def stopped(self) -> bool:
        """The watch stopped it; its moments are those of some later iterate."""
        return self.status == Status.STOPPED

    @property
    def message(self) -> str:
        """How it ended, in words."""
        text = (
            f"{self.status.message} ({self.n_steps} evaluations, largest magnetic force "
            f"{lengths(self.result.magnetic_forces).max():.2g} eV/mu_B)"
        )
        return "; ".join(part for part in (text, self.moment, self.collapse) if part)

    @property
    def collapse(self) -> str:
        """What there is to say of moments that are zero, or an empty text."""
        gone = collapse_message(self.start_magmoms, self.magmoms)
        if not self.unstable:
            return gone
        unstable = (
            "all moments at zero are a stationary point, but no minimum: the energy falls as soon "
            "as they grow; start from others"
        )
        return f"{gone}; {unstable}" if gone else unstable


@partial(jax.jit, static_argnames=("allow_flips", "chunk", "fixed_directions"))
def equilibrate_batch(
    potential: Potential,
    graph: Graph,
    memory: Memory,
    tolerance: float,
    max_steps: int,
    max_change: float,
    allow_flips: bool,
    chunk: int | None,
    fixed_directions: bool = False,
) -> Equilibrated:
    """`equilibrate_graph`, compiled once per shape."""
    return equilibrate_graph(
        potential,
        graph,
        tolerance=tolerance,
        max_steps=max_steps,
        max_change=max_change,
        allow_flips=allow_flips,
        fixed_directions=fixed_directions,
        chunk=chunk,
        memory=memory,
    )[0]


def equilibrate_structures(
    potential: Potential,
    structures: Sequence[Structure],
    options: MomentOptions | None = None,
    dtype: Any = np.float64,
    callback: Callable[[int], None] | None = None,
    max_atoms: int | None = None,
    *,
    watch: Watch | None = None,
    keep: Callable[[list[Any]], None] | None = None,
) -> list[EquilibratedStructure]:
    """Moments that minimise the energy of each structure at fixed geometry.

    Args:
        potential: the potential.
        structures: they start at their moments.
        options: tolerance and limits.
        dtype: float64, float32 or ``"mixed"``.
        callback: called with the number of structures done after each batch.
        max_atoms: most atoms of a batch; of `MAX_ATOMS`, or what a GPU has room for, if not given.
        watch: is shown every iterate, at step 0, and may stop structures. The place of one in the
            list is the replica that it is to the watch. After it is stopped nothing of it is kept
            any more, though it moves on while others of its batch do.
        keep: called with what the watch has kept, as it is drained.

    Raises:
        ValueError: if the watch has no room for the iterates of one equilibration, or belongs to
            another potential.

    Warns:
        ExtrapolationWarning: if distances are below those that the potential covers.
        EquilibrationWarning: if moments have vanished, or are zero where that is no minimum.
    """
    structures = list(structures)
    if isinstance(watch, BoundWatch):
        watch.check(potential)
    if not structures:
        return []
    equilibrator = StructureEquilibrator(potential, options or MomentOptions(), dtype)
    max_atoms = max_atoms or lockstep_atoms(equilibrator.on_device, on_cpu=MAX_ATOMS)
    tables = [neighbour_table(s, equilibrator.cutoff) for s in structures]
    found: list[Any] = [None] * len(structures)
    n_done = 0
    if watch is None:
        batches = make_batches(structures, equilibrator.cutoff, max_atoms=max_atoms, tables=tables)
    else:
        batches = _batches_alike(structures, tables, equilibrator.cutoff, max_atoms)
    for batch in batches:
        check()
        for member, result in equilibrator.of_batch(batch, structures, watch=watch, keep=keep)[0]:
            found[member] = result
        n_done += len(batch.members)
        if callback is not None:
            callback(n_done)
    check_domain(potential, [f.structure for f in found], tables).warn()
    warn_of_collapse([f.collapse for f in found], [s.name for s in structures])
    return found


def _batches_alike(
    structures: Sequence[Structure],
    tables: Sequence[NeighbourTable],
    cutoff: float,
    max_atoms: int,
) -> Iterator[Batch]:
    """Batches of the same atoms, for a watch."""
    for group in alike(structures):
        n = max(1, max_atoms // max(1, len(structures[group[0]])))
        for k in range(0, len(group), n):
            part = group[k : k + n]
            chosen = [structures[m] for m in part], [tables[m] for m in part]
            yield pack(*chosen, cutoff, members=np.array(part))


class StructureEquilibrator(OnDevice):
    """A potential on the device, ready to equilibrate one structure after the other.

    Calls with one structure keep the shape of the widest graph so far, and what the last call
    learned of the curvature if the atoms are the same.
    """

    def __init__(
        self, potential: Potential, options: MomentOptions, dtype: Any = np.float64
    ) -> None:
        super().__init__(potential, dtype)
        self.options = options
        self._inside = Reach(*map(np.asarray, intervals(potential)))
        self._kind: tuple[bytes, bool] | None = None
        self._memory: Memory | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without what is on the device, as `OnDevice`."""
        return {**super().__getstate__(), "_memory": jax.device_get(self._memory)}

    def forget(self) -> None:
        """Start the next search without what the last one has learned."""
        self._memory = None

    def __call__(
        self, structure: Structure, tell: Callable[[DomainReport], None] = DomainReport.warn
    ) -> EquilibratedStructure:
        """Equilibrate one structure; ``tell`` is told what is outside of the intervals."""
        batch, table = self.graph_of(structure)
        kind = (structure.types.tobytes(), structure.vectors)
        if kind != self._kind:
            self._kind, self._memory = kind, None
        found, self._memory = self.of_batch(batch, [structure], self._memory)
        result = found[0][1]
        tell(check_domain(self.potential, [result.structure], [table]))
        return result

    def of_batch(
        self,
        batch: Batch,
        structures: Sequence[Structure],
        memory: Memory | None = None,
        watch: Watch | None = None,
        keep: Callable[[list[Any]], None] | None = None,
    ) -> tuple[list[tuple[int, EquilibratedStructure]], Memory]:
        """(index in ``structures``, result) of every configuration of a batch, and the memory."""
        graph = with_floats(batch.graph, self.precision.edges)
        if watch is None:
            found = self._search(graph, memory, self.options.max_steps)
        else:
            found = self._search_watched(graph, batch, structures, watch, keep)
        memory = found.memory
        found = jax.device_get(found._replace(memory=None))
        sites = found.site_energies.astype(np.float64) + self._constants[batch.graph.types]
        magmoms = batch.split(np.asarray(found.magmoms, np.float64))
        results = results_of(batch, structures, sites, found.observables)
        unstable = self._unstable(graph, found, magmoms)
        ended = []
        for slot, (member, result) in enumerate(results):
            start, at_end = structures[member], magmoms[slot]
            status = self._judged(Status(int(found.status[slot])), start.types, at_end)
            equilibrated = EquilibratedStructure(
                start=start,
                magmoms=at_end,
                result=result,
                residual=float(found.residual[slot]),
                n_steps=int(found.n_steps[slot]),
                status=status,
                unstable=bool(unstable[slot]),
                moment=moment_at_end(self.potential, start.types, at_end)
                if status == Status.OUTSIDE
                else "",
            )
            ended.append((member, equilibrated))
        return ended, memory

    def _judged(self, status: Status, types: np.ndarray, magmoms: np.ndarray) -> Status:
        """How a search ended: a minimum where confinement holds moments does not count."""
        sizes = lengths(magmoms) if are_vectors(magmoms) else magmoms
        outside = status == Status.CONVERGED and self._inside.too_large(types, sizes).any()
        return Status.OUTSIDE if outside else status

    def _search(self, graph: Graph, memory: Memory | None, max_steps: int) -> Equilibrated:
        options = self.options
        with double_precision():
            return equilibrate_batch(
                self.on_device,
                graph,
                empty_memory(graph) if memory is None else memory,
                options.tolerance,
                max_steps,
                options.max_change,
                options.allow_flips,
                default_chunk(self.on_device),
                options.fixed_directions,
            )

    def _search_watched(
        self,
        graph: Graph,
        batch: Batch,
        structures: Sequence[Structure],
        watch: Watch,
        keep: Callable[[list[Any]], None] | None,
    ) -> Equilibrated:
        options, members = self.options, batch.members.tolist()
        with double_precision():
            return search_watched(
                self.on_device, self._constants, graph, [structures[k] for k in members],
                (options.tolerance, options.max_steps, options.max_change), options.allow_flips,
                options.fixed_directions, default_chunk(self.on_device), watch, members, keep,
            )  # fmt: skip

    def _unstable(self, graph: Graph, found: Equilibrated, magmoms: list[np.ndarray]) -> np.ndarray:
        """(C,) bool: all moments are zero, and the energy falls from there.

        It is asked for all moments alike and for random signs, or directions, each with its
        reverse, so that what is left of the magnetic forces does not count.
        """
        zero = np.zeros(graph.n_configurations, bool)
        zero[: len(magmoms)] = [is_zero(of_one) for of_one in magmoms]
        if not zero.any():
            return zero
        rng, ones = np.random.default_rng(0), np.zeros_like(graph.magmoms)
        if are_vectors(ones):
            ones[:, 2] = 1.0
            signs = rng.normal(size=ones.shape)
            signs /= np.linalg.norm(signs, axis=1, keepdims=True)
        else:
            ones += 1.0
            signs = rng.choice([-1.0, 1.0], ones.shape)
        signs = signs.astype(ones.dtype)
        noise = 64 * np.finfo(ones.dtype).eps * np.abs(found.energy)
        falls = np.zeros_like(zero)
        for pattern in (ones, signs):
            energies = [
                # One evaluation: the same program, which stops after its first.
                np.asarray(self._search(graph._replace(magmoms=m), None, 1).energy)
                for m in (PROBE * pattern, -PROBE * pattern)
            ]
            falls |= np.mean(energies, axis=0) < found.energy - noise
        return zero & falls
