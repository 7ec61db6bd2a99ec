"""A walk over moments on its way: what `HostLoop` leaves to it, and its start."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.potential.chunks import padded_count
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import require_precision, with_floats
from mmtp_jax.simulation.constants import KB
from mmtp_jax.simulation.dynamics.evaluation import Moments, model_of
from mmtp_jax.simulation.dynamics.thermostats import keys_of
from mmtp_jax.simulation.host_loop import Block, HostLoop, Reason
from mmtp_jax.simulation.moments.lbfgs import empty_memory
from mmtp_jax.simulation.moments.steps import Status
from mmtp_jax.simulation.moments.structures import equilibrate_batch
from mmtp_jax.simulation.neighbours import graph_of, structures_of
from mmtp_jax.simulation.spins.counts import no_counts
from mmtp_jax.simulation.spins.loop import SpinSeries, take_sweeps
from mmtp_jax.simulation.spins.options import SpinOptions, move_of
from mmtp_jax.simulation.spins.outcome import SpinSaved, SpinState
from mmtp_jax.simulation.spins.trial_energies import has_failed, lengths_of
from mmtp_jax.simulation.spins.trials import start_spins
from mmtp_jax.simulation.spins.turning import first_turning
from mmtp_jax.simulation.spins.walk import Spins, Surroundings, Walk
from mmtp_jax.simulation.system import System
from mmtp_jax.structures.batch import default_chunk, device_in_use
from mmtp_jax.structures.list_maker import ListMaker
from mmtp_jax.structures.neighbour_list import warm_width

logger = logging.getLogger(__name__)

HOPELESS = 100
"""Trials of each replica, none accepted, after which a walk is given up."""


def refuse_hopeless(counts: Any, least: int = 1) -> None:
    """Refuse a walk without accepted trials, nine of ten of which could not be equilibrated.

    Raises:
        ValueError: it says what to change.
    """
    tried, refused = np.asarray(counts.tried), np.asarray(counts.inadmissible)
    none = not np.any(counts.accepted) and refused.sum() > 0.9 * tried.sum()
    if none and tried.min() >= least:
        raise ValueError(
            f"of {int(tried.sum())} trials none was accepted, and {int(refused.sum())} were "
            "refused because the moments could not be equilibrated after a change: the "
            "potential has no such states, and there is nothing to average over; keep the "
            "magnitudes fixed, or fit to states with moments of other signs or directions"
        )


@dataclass
class SpinRun(HostLoop):
    """A walk of R replicas on its way; its steps are sweeps, its state is `Spins` unwatched.

    Args:
        potential: the potential.
        system: the replicas at their start.
        temperatures: (R,) K.
        options: how to walk.
        magnetic: (n,) bool, atoms whose moments change.
        pattern: (n,) signs for the order.
    """

    potential: Potential
    system: System
    temperatures: np.ndarray
    options: SpinOptions
    magnetic: np.ndarray
    pattern: np.ndarray

    shown_at_once = "trial"

    def device(self) -> AbstractContextManager:
        """Where the walk is made, as a context.

        Where magnitudes are not equilibrated a trial is a few hundred operations on a few hundred
        numbers, one trial after the other: a core takes microseconds for it, a GPU would launch
        each of them.
        """
        is_cpu = device_in_use().platform == "cpu"
        if is_cpu or self.options.moments == "equilibrate" or self.watch is not None:
            return nullcontext()
        try:
            return jax.default_device(jax.local_devices(backend="cpu")[0])
        except RuntimeError:
            logger.warning("trials without a search are fastest on a CPU; let JAX have it, too")
            return nullcontext()

    def begin(self, resume: SpinState | SpinSaved | None) -> None:
        """Equilibrate the moments of the start, or go on from a state."""
        with self.device():
            self._begin(resume)

    def _begin(self, resume: SpinState | SpinSaved | None) -> None:
        options, chunk = self.options, default_chunk(self.potential)
        steps, vectors = options.max_equilibration_steps, self.system.vectors
        moments = Moments(options.moments, 1, steps, False, chunk, fixed_directions=vectors)
        self.walk = Walk(move_of(options, vectors), moments, options.warm, options.measure)
        self.per_sweep = int(self.magnetic.sum())
        saved = resume if isinstance(resume, SpinSaved) else None
        state = resume.state if saved is not None else resume
        n_replicas = self.system.n_replicas
        self.stopped_before = np.zeros(n_replicas, bool) if saved is None else saved.stopped
        self.system = self.system._replace(
            running=np.asarray(self.system.running) & ~self.stopped_before
        )
        magnitudes = np.asarray(lengths_of(np.asarray(self.system.magmoms)))
        self._set_up(magnitudes if state is None else state.reference)
        if self.watch is not None:
            self.watched = self.watch.start(self.around.system)
        if state is None:
            magmoms = self._start()
            self.around = self.around._replace(reference=lengths_of(magmoms))
            until = options.burn_in * self.per_sweep
            start = start_spins(
                self.walk, self.model, self.around, magmoms, no_counts(n_replicas), self.watched,
                first_turning(n_replicas, until) if vectors else None,
            )  # fmt: skip
            self.state, trial = start._replace(watched=None), 0
        else:
            here = jax.tree.map(jnp.asarray, state)
            self.state = Spins(
                here.magmoms, here.energy, here.sites, here.counts, None, here.turning
            )
            trial = state.trial
            if vectors and saved is None:
                # The burn-in has been done.
                self.state = self.state._replace(
                    turning=self.state.turning._replace(until=jnp.zeros((), jnp.int64))
                )
        self.trial = jnp.asarray(trial, jnp.int64)
        self.rows = [] if saved is None else [saved.rows]
        self.step = 0 if saved is None else len(saved.rows.energy)

    def take(self, n_steps: int) -> Block:
        """Sweeps, and where the watch is full some trials of the next."""
        with self.device():
            found = take_sweeps(
                self.walk, self.most_steps, self.model, self.around, jnp.asarray(self.pattern),
                self.state._replace(watched=self.watched), self.trial, n_steps, self.per_sweep,
                self.watch,
            )  # fmt: skip
        self.has_begun_one = int(found.trial) != int(self.trial)
        self.trial = found.trial
        reason = Reason.WATCH_IS_FULL if found.full else Reason.DONE
        state = found.spins._replace(watched=None)
        return Block(state, found.spins.watched, found.rows, found.n_done, reason)

    def add(self, steps: np.ndarray, rows: SpinSeries) -> None:
        """Record the rows of sweeps."""
        self.rows.append(rows)
        refuse_hopeless(self.state.counts, HOPELESS)

    @property
    def stopped(self) -> np.ndarray:
        """(R,) bool: the watch has stopped the replica."""
        if self.watch is None:
            return self.stopped_before
        return self.stopped_before | np.asarray(self.watch.stops(self.watched))

    @property
    def has_ended(self) -> bool:
        """Does nothing go on?"""
        stopped = self.stopped
        return bool(stopped.any() if self.options.when_stopped == "all" else stopped.all())

    @property
    def saved(self) -> SpinSaved:
        """To go on from."""
        spins, reference = self.state, self.around.reference
        state = SpinState(
            spins.magmoms, reference, spins.energy, spins.sites, spins.counts, self.trial,
            spins.turning,
        )  # fmt: skip
        nothing = jax.device_get(SpinSeries.like(0, spins.magmoms))
        return SpinSaved(
            state=jax.device_get(state),
            rows=jax.tree.map(lambda *parts: np.concatenate(parts), nothing, *self.rows),
            stopped=self.stopped,
        )

    @property
    def adaptive_sweeps(self) -> int:
        """Sweeps during which step sizes adapt: the burn-in that the walk began with."""
        turning = self.state.turning
        return 0 if turning is None else int(turning.until) // self.per_sweep

    def _set_up(self, reference: np.ndarray) -> None:
        """Put potential and surroundings on the device, in the precision of the evaluation."""
        potential, system = self.potential, self.system
        edges = require_precision(self.options.dtype).edges
        self.model = model_of(potential, self.options.dtype, self.options.tolerance)
        maker = ListMaker(float(potential.cutoff), 0.0, warm_width)
        n_atoms = padded_count(system.n_atoms * system.n_replicas, self.walk.moments.chunk)
        neighbours = maker.first(structures_of(system), n_atoms=n_atoms)
        graph, _ = jax.jit(graph_of)(system, neighbours)
        graph = with_floats(graph, edges)
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
            largest=jnp.asarray(potential.max_magmom)[system.types] if system.vectors else None,
            reach=jnp.asarray(float(potential.cutoff)) if system.vectors else None,
        )

    def _start(self) -> Any:
        """Moments (R, n) of the start; equilibrated, if the walk equilibrates.

        Raises:
            ValueError: if they cannot be.
        """
        magmoms, options = np.asarray(self.system.magmoms, float), self.options
        if options.moments != "equilibrate":
            return jnp.asarray(magmoms)
        graph, vectors = self.around.graph, self.system.vectors
        magmoms = np.where(self.magnetic[:, None] if vectors else self.magnetic, magmoms, 0.0)
        n_atoms = magmoms.shape[0] * magmoms.shape[1]
        flat = np.zeros((graph.types.shape[0], *magmoms.shape[2:]), graph.vectors.dtype)
        flat[:n_atoms] = magmoms.reshape(n_atoms, *magmoms.shape[2:])
        found = equilibrate_batch(
            self.model.potential, graph._replace(magmoms=jnp.asarray(flat)), self.around.memory,
            options.tolerance, options.max_equilibration_steps, 0.3, False,
            self.walk.moments.chunk, vectors,
        )  # fmt: skip
        result = np.asarray(found.magmoms, float)[:n_atoms].reshape(magmoms.shape)
        failed = np.asarray(
            has_failed(self.model.potential, self.system.types, found.status, result, self.magnetic)
        )
        if failed.any():
            r = int(np.argmax(failed))
            status = Status(int(found.status[r]))
            why = status.message
            if status == Status.CONVERGED:
                why = "a moment has collapsed to zero, or is beyond what the potential covers"
            raise ValueError(
                f"the moments of replica {r} cannot be equilibrated at the start: {why}; start "
                "from other moments, or keep the magnitudes fixed"
            )
        return jnp.asarray(result)
