"""Monte Carlo of moments at fixed geometry: one function.

The sweeps are taken inside jit (`loop`), in pieces that the host asks for (`run`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from mmtp_jax.interruption import deferred
from mmtp_jax.potential.potential import Potential
from mmtp_jax.potential.vectors import check_vectors
from mmtp_jax.precision import with_double_precision
from mmtp_jax.simulation.spins.moves import (
    check_lengths,
    magnetic_atoms,
    pattern_of,
)
from mmtp_jax.simulation.spins.options import SpinOptions, move_of
from mmtp_jax.simulation.spins.outcome import SpinObserver, SpinSaved, SpinState, SpinWalk
from mmtp_jax.simulation.spins.run import SpinRun, refuse_hopeless
from mmtp_jax.simulation.system import System
from mmtp_jax.simulation.watch import Watch


@with_double_precision
def walk_spins(
    potential: Potential,
    system: System,
    temperatures: np.ndarray,
    options: SpinOptions = SpinOptions(),
    *,
    pattern: np.ndarray | None = None,
    watch: Watch | None = None,
    keep: Callable[[list[Any]], None] | None = None,
    callback: Callable[[int], None] | None = None,
    observer: SpinObserver | None = None,
    resume: SpinState | SpinSaved | None = None,
) -> SpinWalk:
    """Sample signs of moments, or vectors, with the weight exp(-E / k_B T), at fixed geometry.

    All replicas take one trial at a time together. Ctrl-C ends the walk between two calls of the
    compiled program; the observer is then called a last time. See `trials` for what E is, and
    `turns` for what is done to vectors.

    Args:
        potential: the potential.
        system: the replicas, with moments (R, n), or vectors (R, n, 3); velocities are not used.
        temperatures: (R,) K.
        options: how to walk.
        pattern: (n,) signs, or weights with signs, for `SpinSeries.order`; by default the signs of
            the first replica at the start, of vectors along their main axis, so that the order is
            that of a ferro-, ferri- or antiferromagnet if it starts as one.
        watch: is shown every configuration that is evaluated, with the number of the sweep, and
            may stop replicas.
        keep: called with what the watch has kept, as it is drained.
        callback: called with the number of sweeps done, burn-in included.
        observer: told of what the walk can go on from.
        resume: to go on from, in place of ``system``'s moments. The sweeps of a `SpinSaved` count,
            and are part of the result; step sizes of vectors go on as they were. Those of a
            `SpinState` are not counted, and the burn-in has been done.

    Raises:
        ValueError: if no atom is magnetic, the moments of the start, or of all trials, cannot be
            equilibrated, vectors are longer than M_max, or the potential has no energy of them.
    """
    started = time.perf_counter()
    start = np.asarray(system.magmoms, float)
    move_of(options, system.vectors)
    if system.vectors:
        check_vectors(potential)
    magnetic = magnetic_atoms(system.types, start, potential, options.magnetic)
    if system.vectors:
        check_lengths(system.types, start, potential)
    signs = pattern_of(start[0], magnetic) if pattern is None else np.asarray(pattern, float)
    signs = np.where(magnetic, signs, 0.0)
    temperatures = np.asarray(temperatures, float)
    run = SpinRun(potential, system, temperatures, options, magnetic, signs, watch=watch, keep=keep)
    burn_in = 0 if isinstance(resume, SpinState) else options.burn_in
    told = time.monotonic()

    def tell() -> None:
        nonlocal told
        if callback is not None:
            callback(run.step)
        if observer is not None and time.monotonic() - told >= observer.seconds:
            run.drain()
            observer.tell(run.saved)
            told = time.monotonic()

    with deferred():
        run.begin(resume)
        burn_in = max(burn_in, run.adaptive_sweeps)
        run.go(burn_in + options.sweeps, due=lambda: run.patience, after=tell)
        run.drain()
        saved = run.saved
        if observer is not None:
            observer.tell(saved)
    refuse_hopeless(saved.state.counts)
    tried = np.maximum(saved.state.counts.tried, 1)
    return SpinWalk(
        temperatures=temperatures,
        series=jax.tree.map(lambda a: a[burn_in:], saved.rows),
        magmoms=saved.state.magmoms,
        magnetic=magnetic,
        pattern=signs,
        acceptance=saved.state.counts.accepted / tried,
        inadmissible=saved.state.counts.inadmissible / tried,
        seconds=time.perf_counter() - started,
        interrupted=run.interrupted,
        stopped=saved.stopped,
        kept=tuple(run.kept),
        state=saved.state,
    )
