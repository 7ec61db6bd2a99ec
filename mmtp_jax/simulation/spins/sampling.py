"""Spin-flip Monte Carlo at fixed geometry: the host's side."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import require_precision, with_double_precision
from mmtp_jax.simulation.constants import KB
from mmtp_jax.simulation.dynamics.evaluation import Model, Moments
from mmtp_jax.simulation.dynamics.thermostats import keys_of
from mmtp_jax.simulation.moments.lbfgs import empty_memory
from mmtp_jax.simulation.moments.steps import Status
from mmtp_jax.simulation.moments.structures import equilibrate_batch
from mmtp_jax.simulation.neighbours import find_neighbours, graph_of
from mmtp_jax.simulation.spins.counts import Counts, no_counts
from mmtp_jax.simulation.spins.loop import SpinSeries, take_sweeps
from mmtp_jax.simulation.spins.moves import magnetic_atoms
from mmtp_jax.simulation.spins.options import SpinOptions
from mmtp_jax.simulation.spins.trials import Surroundings, Walk, has_failed, start_spins
from mmtp_jax.simulation.system import System
from mmtp_jax.simulation.watch import Watch
from mmtp_jax.structures.batch import default_chunk

ROWS = 256
"""Most sweeps per call of the compiled program."""

SECONDS_PER_CALL = 0.5
"""About how long the host waits, so that Ctrl-C and progress need not wait longer."""


class SpinState(NamedTuple):
    """What a walk goes on from, bit for bit; a pytree of numpy arrays."""

    magmoms: np.ndarray
    """(R, n) mu_B."""
    reference: np.ndarray
    """(R, n) magnitudes from which equilibrations start, mu_B."""
    energy: np.ndarray
    """(R,) less the constants of the species, eV."""
    sites: np.ndarray
    """(N,) site energies, eV."""
    counts: Counts
    trial: np.ndarray
    """() trials done."""


@dataclass(frozen=True)
class SpinWalk:
    """How a walk of R replicas went; all arrays are numpy arrays."""

    temperatures: np.ndarray
    """(R,) K."""
    series: SpinSeries = field(repr=False)
    """(t, R) each, after the burn-in."""
    magmoms: np.ndarray = field(repr=False)
    """(R, n) at the end, mu_B."""
    magnetic: np.ndarray = field(repr=False)
    """(n,) bool, atoms whose signs change."""
    pattern: np.ndarray = field(repr=False)
    """(n,) signs that the order is measured against; 0 at atoms that are not magnetic."""
    acceptance: np.ndarray
    """(R,) share of the trials that were accepted, burn-in included."""
    inadmissible: np.ndarray
    """(R,) share of the trials that were refused because the moments could not be equilibrated."""
    seconds: float
    """Wall time, compilation included."""
    interrupted: bool
    """The user stopped it with Ctrl-C."""
    stopped: np.ndarray
    """(R,) bool: the watch has stopped the replica."""
    kept: tuple[Any, ...] = field(repr=False)
    """What the watch kept."""
    state: SpinState = field(repr=False)
    """To go on from."""

    @property
    def n_magnetic(self) -> int:
        """Number of magnetic atoms of a replica."""
        return int(np.sum(self.magnetic))

    @property
    def n_sweeps(self) -> int:
        """Sweeps that were recorded."""
        return len(self.series.energy)


@with_double_precision
def walk_spins(
    potential: Potential,
    system: System,
    temperatures: np.ndarray,
    options: SpinOptions = SpinOptions(),
    *,
    pattern: np.ndarray | None = None,
    watch: Watch | None = None,
    callback: Callable[[int], None] | None = None,
    resume: SpinState | None = None,
) -> SpinWalk:
    """Sample patterns of signs with the weight exp(-E(s) / k_B T), at fixed geometry.

    All replicas take one trial at a time together. Ctrl-C ends the walk between two calls of the
    compiled program. See `trials` for what E(s) is.

    Args:
        potential: the potential.
        system: the replicas; velocities are not used.
        temperatures: (R,) K.
        options: how to walk.
        pattern: (n,) signs, or weights with signs, for `SpinSeries.order`; by default the signs of
            the first replica at the start, so that the order is that of a ferro-, ferri- or
            antiferromagnet if it starts as one.
        watch: is shown every configuration that is evaluated, and may stop replicas.
        callback: called with the number of sweeps done, burn-in included.
        resume: state to go on from, in place of ``system``'s moments; its sweeps are not counted,
            and the burn-in has been done.

    Raises:
        ValueError: if no atom is magnetic, or the moments of the start cannot be equilibrated.
    """
    started = time.perf_counter()
    start_magmoms = np.asarray(system.magmoms, float)
    magnetic = magnetic_atoms(system.types, start_magmoms, potential.species, options.magnetic)
    if pattern is None:
        pattern = np.sign(start_magmoms[0])
    pattern = np.where(magnetic, np.asarray(pattern, float), 0.0)
    temperatures = np.asarray(temperatures, float)
    chunk = default_chunk()
    moments = Moments(options.moments, 1, options.max_equilibration_steps, False, chunk)
    walk = Walk(options.move, moments, options.warm)
    model, graph = _on_device(potential, system, options, chunk)
    reference = np.abs(start_magmoms)
    if options.moments == "equilibrate" and resume is None:
        start = np.where(magnetic, start_magmoms, 0.0)
        start_magmoms = _equilibrated(model, graph, start, magnetic, options, chunk)
        reference = np.abs(start_magmoms)
    elif resume is not None:
        start_magmoms, reference = resume.magmoms, resume.reference
    around = Surroundings(
        system=jax.tree.map(jnp.asarray, system),
        graph=graph,
        magnetic=jnp.asarray(magnetic),
        reference=jnp.asarray(reference),
        thermal_energy=jnp.asarray(KB * temperatures),
        keys=keys_of(options.seed + r for r in range(system.n_replicas)),
        step=jnp.zeros((), jnp.int32),
        memory=empty_memory(graph),
    )
    watched = None if watch is None else watch.start(around.system)
    counts = no_counts(system.n_replicas) if resume is None else resume.counts
    spins = start_spins(walk, model, around, jnp.asarray(start_magmoms), counts, watched)
    trial = 0
    if resume is not None:
        spins = spins._replace(energy=jnp.asarray(resume.energy), sites=jnp.asarray(resume.sites))
        trial = int(resume.trial)
    per_sweep = int(magnetic.sum())
    burn_in = 0 if resume is not None else options.burn_in
    total, n_done, rows, kept, interrupted = burn_in + options.sweeps, 0, [], [], False
    trial = jnp.asarray(trial, jnp.int64)
    n_next, fruitless = 1, False
    try:
        while n_done < total and not _all_stopped(watch, spins.watched):
            began = time.perf_counter()
            found = take_sweeps(
                walk, ROWS, model, around, jnp.asarray(pattern), spins, trial,
                min(n_next, total - n_done), per_sweep, watch,
            )  # fmt: skip
            done, is_full = int(found.n_done), bool(found.full)
            if is_full:
                if fruitless and int(found.trial) == int(trial):
                    raise ValueError(
                        "the watch has no room for what one single trial shows it; give it a "
                        "larger buffer"
                    )
                snapshots, watched = watch.drain(found.spins.watched)
                kept += snapshots
                found = found._replace(spins=found.spins._replace(watched=watched))
            fruitless = is_full
            spins, trial = found.spins, found.trial
            if done:
                rows.append(jax.tree.map(lambda a, k=done: np.asarray(a)[:k], found.rows))
                n_done += done
                seconds = (time.perf_counter() - began) / done
                n_next = max(1, min(ROWS, int(SECONDS_PER_CALL / seconds)))
                if callback is not None:
                    callback(n_done)
    except KeyboardInterrupt:
        interrupted = True
    stopped = np.zeros(system.n_replicas, bool)
    if watch is not None:
        snapshots, watched = watch.drain(spins.watched)
        kept += snapshots
        stopped |= np.asarray(watch.stops(watched))
    all_rows = _joined(rows, system.n_replicas)
    tried = np.maximum(np.asarray(spins.counts.tried), 1)
    return SpinWalk(
        temperatures=temperatures,
        series=jax.tree.map(lambda a: a[burn_in:], all_rows),
        magmoms=np.asarray(spins.magmoms),
        magnetic=magnetic,
        pattern=pattern,
        acceptance=np.asarray(spins.counts.accepted) / tried,
        inadmissible=np.asarray(spins.counts.inadmissible) / tried,
        seconds=time.perf_counter() - started,
        interrupted=interrupted,
        stopped=stopped,
        kept=tuple(kept),
        state=jax.device_get(
            SpinState(
                spins.magmoms, around.reference, spins.energy, spins.sites, spins.counts, trial
            )
        ),
    )


def _on_device(potential: Potential, system: System, options: SpinOptions, chunk: Any) -> Any:
    """The model and the graph, in the precision of the evaluation."""
    precision = require_precision(options.dtype)
    constants = np.asarray(potential.species_coeffs, float)
    bare = potential.replace(species_coeffs=np.zeros_like(constants)).astype(*precision)
    model = jax.device_put(Model(bare, constants, np.float64(options.tolerance)))
    neighbours = find_neighbours(system, float(potential.cutoff), 0.0, chunk=chunk)
    graph, _ = jax.jit(graph_of)(system, neighbours)
    return model, jax.tree.map(
        lambda a: a.astype(precision.edges) if a.dtype.kind == "f" else a, graph
    )


def _equilibrated(
    model: Model,
    graph: Any,
    magmoms: np.ndarray,
    magnetic: np.ndarray,
    options: SpinOptions,
    chunk: int | None,
) -> np.ndarray:
    """Equilibrated moments (R, n) of the start."""
    flat = np.zeros(graph.types.shape[0], graph.vectors.dtype)
    flat[: magmoms.size] = magmoms.ravel()
    graph = graph._replace(magmoms=jnp.asarray(flat))
    found = equilibrate_batch(
        model.potential, graph, empty_memory(graph), options.tolerance,
        options.max_equilibration_steps, 0.3, False, chunk,
    )  # fmt: skip
    result = np.asarray(found.magmoms, float)[: magmoms.size].reshape(magmoms.shape)
    failed = np.asarray(has_failed(found.status, result, magnetic))
    if failed.any():
        r = int(np.argmax(failed))
        status = Status(int(found.status[r]))
        why = status.message if status != Status.CONVERGED else "a moment has collapsed to zero"
        raise ValueError(
            f"the moments of replica {r} cannot be equilibrated at the start: {why}; start from "
            "other moments, or keep the magnitudes fixed"
        )
    return result


def _all_stopped(watch: Watch | None, watched: Any) -> bool:
    return watch is not None and bool(np.all(np.asarray(watch.stops(watched))))


def _joined(rows: list[SpinSeries], n_replicas: int) -> SpinSeries:
    if not rows:
        return SpinSeries(*(np.zeros((0, n_replicas)) for _ in SpinSeries._fields))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *rows)
