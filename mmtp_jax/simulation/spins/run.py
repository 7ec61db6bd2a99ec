"""A walk over the signs of moments on its way: the host's side of `loop`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import require_precision
from mmtp_jax.simulation.constants import KB
from mmtp_jax.simulation.dynamics.evaluation import Model, Moments
from mmtp_jax.simulation.dynamics.thermostats import keys_of
from mmtp_jax.simulation.moments.lbfgs import empty_memory
from mmtp_jax.simulation.moments.steps import Status
from mmtp_jax.simulation.moments.structures import equilibrate_batch
from mmtp_jax.simulation.neighbours import find_neighbours, graph_of
from mmtp_jax.simulation.spins.counts import no_counts
from mmtp_jax.simulation.spins.loop import SpinSeries, take_sweeps
from mmtp_jax.simulation.spins.options import SpinOptions
from mmtp_jax.simulation.spins.outcome import SpinSaved, SpinState
from mmtp_jax.simulation.spins.trials import Spins, Surroundings, Walk, has_failed, start_spins
from mmtp_jax.simulation.system import System
from mmtp_jax.simulation.watch import Watch
from mmtp_jax.structures.batch import default_chunk

ROWS = 256
"""Most sweeps per call of the compiled program."""

SECONDS_PER_CALL = 0.5
"""About how long the host waits, so that Ctrl-C and progress need not wait longer."""


class _At(NamedTuple):
    """Where the walk is."""

    spins: Spins
    trial: Any
    rows: tuple[SpinSeries, ...]
    n_done: int
    """Rows."""


@dataclass
class SpinRun:
    """A walk of R replicas on its way.

    Args:
        potential: the potential.
        system: the replicas at their start.
        temperatures: (R,) K.
        options: how to walk.
        magnetic: (n,) bool, atoms whose signs change.
        pattern: (n,) signs for the order.
        watch: see `mmtp_jax.simulation.watch`.
        keep: called with what the watch has kept, as it is drained.
    """

    potential: Potential
    system: System
    temperatures: np.ndarray
    options: SpinOptions
    magnetic: np.ndarray
    pattern: np.ndarray
    watch: Watch | None = None
    keep: Callable[[list[Any]], None] | None = None
    kept: list[Any] = field(default_factory=list)

    def begin(self, resume: SpinState | SpinSaved | None) -> None:
        """Equilibrate the moments of the start, or go on from a state."""
        options, chunk = self.options, default_chunk()
        moments = Moments(options.moments, 1, options.max_equilibration_steps, False, chunk)
        self.walk = Walk(options.move, moments, options.warm)
        self.per_sweep = int(self.magnetic.sum())
        self.seconds_per_sweep = SECONDS_PER_CALL
        self.fruitless = False
        saved = resume if isinstance(resume, SpinSaved) else None
        state = resume.state if saved is not None else resume
        n_replicas = self.system.n_replicas
        self.stopped_before = np.zeros(n_replicas, bool) if saved is None else saved.stopped
        self.system = self.system._replace(
            running=np.asarray(self.system.running) & ~self.stopped_before
        )
        self._set_up(np.abs(self.system.magmoms) if state is None else state.reference)
        watched = None if self.watch is None else self.watch.start(self.around.system)
        if state is None:
            magmoms = self._start()
            self.around = self.around._replace(reference=jnp.abs(magmoms))
            counts = no_counts(n_replicas)
            spins = start_spins(self.walk, self.model, self.around, magmoms, counts, watched)
            trial = 0
        else:
            here = jax.tree.map(jnp.asarray, state)
            spins = Spins(here.magmoms, here.energy, here.sites, here.counts, watched)
            trial = state.trial
        rows = () if saved is None else (saved.rows,)
        n_done = 0 if saved is None else len(saved.rows.energy)
        self.at = _At(spins, jnp.asarray(trial, jnp.int64), rows, n_done)

    def advance(self, n_sweeps: int) -> None:
        """Take some of so many sweeps: those of one call of the compiled program."""
        at, began = self.at, time.perf_counter()
        todo = max(1, min(ROWS, int(SECONDS_PER_CALL / self.seconds_per_sweep), n_sweeps))
        found = take_sweeps(
            self.walk, ROWS, self.model, self.around, jnp.asarray(self.pattern), at.spins,
            at.trial, min(todo, n_sweeps), self.per_sweep, self.watch,
        )  # fmt: skip
        done, is_full = int(found.n_done), bool(found.full)
        if is_full and self.fruitless and int(found.trial) == int(at.trial):
            raise ValueError(
                "the watch has no room for what one single trial shows it; give it a larger buffer"
            )
        self.fruitless = is_full
        new = () if not done else (jax.tree.map(lambda a: np.asarray(a)[:done], found.rows),)
        self.at = _At(found.spins, found.trial, at.rows + new, at.n_done + done)
        if done:
            self.seconds_per_sweep = (time.perf_counter() - began) / done
        if is_full:
            self.drain()

    def drain(self) -> None:
        """Take what the watch has kept."""
        if self.watch is None:
            return
        snapshots, watched = self.watch.drain(self.at.spins.watched)
        self.kept += snapshots
        self.at = self.at._replace(spins=self.at.spins._replace(watched=watched))
        if snapshots and self.keep is not None:
            self.keep(snapshots)

    @property
    def stopped(self) -> np.ndarray:
        """(R,) bool: the watch has stopped the replica."""
        if self.watch is None:
            return self.stopped_before
        return self.stopped_before | np.asarray(self.watch.stops(self.at.spins.watched))

    @property
    def has_stopped(self) -> bool:
        """Does nothing go on?"""
        stopped = self.stopped
        return bool(stopped.any() if self.options.when_stopped == "all" else stopped.all())

    @property
    def saved(self) -> SpinSaved:
        """To go on from."""
        spins, trial, rows, _ = self.at
        state = SpinState(
            spins.magmoms, self.around.reference, spins.energy, spins.sites, spins.counts, trial
        )
        nothing = SpinSeries(*(np.zeros((0, self.system.n_replicas)) for _ in SpinSeries._fields))
        return SpinSaved(
            state=jax.device_get(state),
            rows=jax.tree.map(lambda *parts: np.concatenate(parts), nothing, *rows),
            stopped=self.stopped,
        )

    def _set_up(self, reference: np.ndarray) -> None:
        """Put potential and surroundings on the device, in the precision of the evaluation."""
        potential, system = self.potential, self.system
        precision = require_precision(self.options.dtype)
        constants = np.asarray(potential.species_coeffs, float)
        bare = potential.replace(species_coeffs=np.zeros_like(constants)).astype(*precision)
        self.model = jax.device_put(Model(bare, constants, np.float64(self.options.tolerance)))
        chunk = self.walk.moments.chunk
        neighbours = find_neighbours(system, float(potential.cutoff), 0.0, chunk=chunk)
        graph, _ = jax.jit(graph_of)(system, neighbours)
        graph = jax.tree.map(
            lambda a: a.astype(precision.edges) if a.dtype.kind == "f" else a, graph
        )
        zero = jnp.zeros((), jnp.int32)
        self.around = Surroundings(
            system=jax.tree.map(jnp.asarray, system),
            graph=graph,
            magnetic=jnp.asarray(self.magnetic),
            reference=jnp.asarray(reference),
            thermal_energy=jnp.asarray(KB * self.temperatures),
            keys=keys_of(self.options.seed + r for r in range(system.n_replicas)),
            step=zero,
            shown_step=zero,
            memory=empty_memory(graph),
        )

    def _start(self) -> Any:
        """Moments (R, n) of the start; equilibrated, if the walk equilibrates.

        Raises:
            ValueError: if they cannot be.
        """
        magmoms, options = np.asarray(self.system.magmoms, float), self.options
        if options.moments != "equilibrate":
            return jnp.asarray(magmoms)
        magmoms, graph = np.where(self.magnetic, magmoms, 0.0), self.around.graph
        flat = np.zeros(graph.types.shape[0], graph.vectors.dtype)
        flat[: magmoms.size] = magmoms.ravel()
        found = equilibrate_batch(
            self.model.potential, graph._replace(magmoms=jnp.asarray(flat)), empty_memory(graph),
            options.tolerance, options.max_equilibration_steps, 0.3, False,
            self.walk.moments.chunk,
        )  # fmt: skip
        result = np.asarray(found.magmoms, float)[: magmoms.size].reshape(magmoms.shape)
        failed = np.asarray(has_failed(found.status, result, self.magnetic))
        if failed.any():
            r = int(np.argmax(failed))
            status = Status(int(found.status[r]))
            why = status.message
            if status == Status.CONVERGED:
                why = "a moment has collapsed to zero"
            raise ValueError(
                f"the moments of replica {r} cannot be equilibrated at the start: {why}; start "
                "from other moments, or keep the magnitudes fixed"
            )
        return jnp.asarray(result)
