"""Two-threshold preselection (Kotykhov 2025, Sec. II.B): which configurations a simulation keeps.

For every configuration that is evaluated, the iterates of an equilibration of moments included:

    grade < grade_select                    the simulation goes on
    grade_select <= grade <= grade_break    a copy is kept, and the simulation goes on
    grade_break < grade                     a copy is kept, and the replica stops

`Preselection` implements the protocol of `mmtp_jax.simulation.watch`: it goes through jit, keeps
copies in a buffer of fixed size, and writes them to a `CandidateStore` whenever that is full.

The grade of an active set of configurations is extensive: a cell that is repeated twice has twice
the energy and twice the grade. So cells of a simulation should be as large as those of the
training set; otherwise use an active set of neighbourhoods, where the largest atom counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.active.active_set import ActiveSet
from mmtp_jax.active.candidates import Block, CandidateStore
from mmtp_jax.active.given import require_same
from mmtp_jax.active.grade import (
    ActiveFactors,
    configuration_grades,
    largest_per_configuration,
    neighborhood_grades,
)
from mmtp_jax.active.options import NEIGHBORHOOD, Keeping, Thresholds
from mmtp_jax.options import renamed
from mmtp_jax.potential import sums
from mmtp_jax.potential.confinement import is_outside
from mmtp_jax.potential.observables import Graph, Observables
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import with_floats
from mmtp_jax.simulation.system import System
from mmtp_jax.structures.batch import default_chunk

Array = Any

_LONG_AGO = -(2**30)


@dataclass
class Tally:
    """What a preselection has seen so far, on the host; up to date after each drain."""

    n_kept: int = 0
    """Configurations that were kept."""
    highest: float = 0.0
    """The highest grade of all configurations, kept or not."""
    n_outside: int = 0
    """Kept ones outside of the potential's intervals."""


@jax.tree_util.register_pytree_node_class
@dataclass(frozen=True, eq=False)
class Preselection:
    """A watch that keeps what the potential extrapolates to; make it with `of`.

    ``store`` and ``tally`` belong to the host; copies inside jit do not have them.
    """

    factors: ActiveFactors
    potential: Potential
    grade_select: Array
    grade_break: Array
    grade_every: Array
    keep_outside: Array
    """() bool."""
    grade_capacity: int
    """Places of the buffer per replica."""
    mode: str
    chunk: int | None
    store: CandidateStore | None = None
    tally: Tally = field(default_factory=Tally)

    @classmethod
    @renamed(every="grade_every", capacity="grade_capacity")
    def of(
        cls,
        active: ActiveSet,
        thresholds: Thresholds = Thresholds(),
        *,
        store: CandidateStore | None = None,
        grade_every: int | None = None,
        keep_outside: bool = False,
        grade_capacity: int = Keeping.grade_capacity,
    ) -> Preselection:
        """Preselection by an active set; its mode says whether cells or atoms are graded.

        Args:
            active: the active set of the potential that the simulation runs with.
            thresholds: when to keep and when to stop.
            store: where candidates go; without one they are handed to the simulation's result.
            grade_every: keep at most one configuration of a replica in so many steps, except where
                it stops; by default all.
            keep_outside: keep also what is outside of the potential's intervals of distances and
                moments, or at the end of them, whatever its grade: there a simulation stops, and
                a training set without such a configuration will not let it go on.
            grade_capacity: configurations in memory per replica; there must be room for all
                evaluations of one step.

        Raises:
            ValueError: if ``grade_every`` or ``grade_capacity`` is less than one.
        """
        Keeping(grade_every=grade_every, grade_capacity=grade_capacity)
        return cls(
            factors=active.factors,
            potential=active.potential,
            grade_select=np.float64(thresholds.grade_select),
            grade_break=np.float64(thresholds.grade_break),
            grade_every=np.int32(grade_every or 0),
            keep_outside=np.bool_(keep_outside),
            grade_capacity=grade_capacity,
            mode=active.mode,
            chunk=default_chunk(active.potential),
            store=store,
        )

    # --- pytree ---

    def tree_flatten(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Arrays, and what is static."""
        arrays = (
            self.factors, self.potential, self.grade_select, self.grade_break, self.grade_every,
            self.keep_outside,
        )  # fmt: skip
        return arrays, (self.grade_capacity, self.mode, self.chunk)

    @classmethod
    def tree_unflatten(cls, static: tuple[Any, ...], arrays: tuple[Any, ...]) -> Preselection:
        """A copy without the host's part."""
        return cls(*arrays, *static)

    # --- protocol of a watch ---

    def start(self, system: System) -> dict[str, Array]:
        """An empty buffer."""
        n_replicas, n_atoms = system.n_replicas, system.n_atoms
        size = self.grade_capacity * n_replicas
        return {
            "positions": jnp.zeros((size, n_atoms, 3)),
            "cell": jnp.zeros((size, 3, 3)),
            "magmoms": jnp.zeros((size, *system.magmoms.shape[1:])),
            "grade": jnp.zeros(size),
            "outside": jnp.zeros(size, bool),
            "step": jnp.zeros(size, jnp.int32),
            "replica": jnp.zeros(size, jnp.int32),
            "types": jnp.asarray(system.types),
            "periodic": jnp.asarray(system.periodic),
            "n": jnp.zeros((), jnp.int32),
            "stop": jnp.zeros(n_replicas, bool),
            "highest": jnp.zeros(n_replicas),
            "of_step": jnp.zeros(n_replicas),
            "seen_step": jnp.full((), _LONG_AGO, jnp.int32),
            "seen_magmoms": jnp.zeros(system.magmoms.shape),
            "kept_step": jnp.full(n_replicas, _LONG_AGO, jnp.int32),
        }

    def look(
        self,
        state: dict[str, Array],
        system: System,
        graph: Graph,
        observables: Observables,
        step: Array,
    ) -> dict[str, Array]:
        """Grade the configuration of each replica; keep and stop."""
        grade = self.grades(graph)[: system.n_replicas]
        # An equilibration shows a configuration again while it waits for others.
        same = (system.magmoms == state["seen_magmoms"]).reshape(system.n_replicas, -1).all(axis=1)
        new = system.running & ~state["stop"] & ((step != state["seen_step"]) | ~same)
        finite = jnp.isfinite(grade)
        above = new & ~(grade <= self.grade_break)
        outside = graph_is_outside(self.potential, graph, system)
        due = (self.grade_every == 0) | (step - state["kept_step"] >= self.grade_every)
        wanted = (grade >= self.grade_select) | (outside & self.keep_outside)
        keep = new & finite & ((wanted & due) | above)
        size = state["grade"].shape[0]
        # Out of range, a copy is dropped: full() undoes the step, so it is not lost. No two have
        # one place, so that a GPU need not put them there one after the other.
        own = 2 * size + jnp.arange(system.n_replicas)
        place = jnp.where(keep, state["n"] + jnp.cumsum(keep) - 1, own)
        values = {
            "positions": system.positions,
            "cell": system.cell,
            "magmoms": system.magmoms,
            "grade": grade,
            "outside": outside,
            "step": jnp.broadcast_to(step, grade.shape),
            "replica": jnp.arange(system.n_replicas),
        }
        buffers = {
            name: state[name]
            .at[place]
            .set(value.astype(state[name].dtype), mode="drop", unique_indices=True)
            for name, value in values.items()
        }
        seen = jnp.where(new & finite, grade, 0.0)
        of_step = jnp.where(step == state["seen_step"], state["of_step"], 0.0)
        return {
            **state,
            **buffers,
            "n": state["n"] + jnp.sum(keep, dtype=jnp.int32),
            "stop": state["stop"] | above,
            "highest": jnp.maximum(state["highest"], seen),
            "of_step": jnp.where(
                system.running, jnp.maximum(of_step, grade), state["of_step"]
            ).astype(float),
            "seen_step": jnp.asarray(step, jnp.int32),
            "seen_magmoms": system.magmoms.astype(state["seen_magmoms"].dtype),
            "kept_step": jnp.where(keep, step, state["kept_step"]).astype(jnp.int32),
        }

    def stops(self, state: dict[str, Array]) -> Array:
        """(R,) bool: replicas that met a grade above the upper threshold."""
        return state["stop"]

    def grade(self, state: dict[str, Array]) -> Array:
        """(R,) the largest grade that each replica had in its last step."""
        return state["of_step"]

    def full(self, state: dict[str, Array]) -> Array:
        """() bool."""
        return state["n"] > state["grade"].shape[0]

    def drain(self, state: dict[str, Array]) -> tuple[list[Block], dict[str, Array]]:
        """Write the buffer to the store, or return it as a block; and the state without it."""
        n = int(state["n"])
        host = {name: np.asarray(state[name]) for name in Block._fields}
        shared = {"types", "periodic"}
        block = Block(**{k: v if k in shared else v[:n].copy() for k, v in host.items()})
        tally = self.tally
        tally.n_kept += n
        tally.n_outside += int(block.outside.sum())
        tally.highest = max(tally.highest, float(np.max(state["highest"], initial=0.0)))
        emptied = {**state, "n": jnp.zeros((), jnp.int32)}
        if self.store is not None:
            self.store.append(block)
            return [], emptied
        return [block] if n else [], emptied

    def renumbered(self, state: dict[str, Array], numbers: Sequence[int]) -> dict[str, Array]:
        """The state with other numbers for the replicas, where those of a run are not unique."""
        n, old = int(state["n"]), np.asarray(state["replica"])
        # Free places may hold the numbers that earlier copies were drained with.
        replica = np.zeros_like(old)
        replica[:n] = np.asarray(numbers)[old[:n]]
        return {**state, "replica": replica}

    def check(self, potential: Potential) -> None:
        """ValueError if the active set belongs to another potential than that of a simulation."""
        require_same(
            self.potential,
            potential,
            "the preselection has the active set of another potential than the simulation",
        )

    # --- grades ---

    def grades(self, graph: Graph) -> Array:
        """gamma (C,) of each configuration; by neighbourhood, of its worst atom."""
        dtype = jnp.asarray(self.factors.lu).dtype
        # Grades in float32 would be those of round-off where A is ill-conditioned.
        graph = with_floats(graph, dtype)
        if self.mode != NEIGHBORHOOD:
            return configuration_grades(self.factors, self.potential, graph, self.chunk)
        atoms = neighborhood_grades(self.factors, self.potential, graph, self.chunk)
        return largest_per_configuration(graph, atoms)


def graph_is_outside(potential: Potential, graph: Graph, system: System) -> Array:
    """(R,) bool: a distance below R_min, or a moment beyond its interval or at the end of it."""
    squared = jnp.min(jnp.sum(graph.vectors**2, axis=1), axis=1, initial=jnp.inf)
    nearest = sums.largest(-squared, graph.configuration, graph.n_configurations, graph.sums)
    shortest = jnp.sqrt(-nearest[: system.n_replicas])
    return is_outside(potential, system.types, system.magmoms, shortest)
