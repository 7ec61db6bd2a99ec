"""Molecular dynamics of replicas: one function.

The steps are taken inside jit (`loop`), with lists of neighbours that the host makes (`run`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mmtp_jax.interruption import deferred
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import with_double_precision
from mmtp_jax.simulation.dynamics.observer import Observer, Saved
from mmtp_jax.simulation.dynamics.options import DynamicsOptions
from mmtp_jax.simulation.dynamics.outcome import Simulation
from mmtp_jax.simulation.dynamics.run import Run
from mmtp_jax.simulation.dynamics.series import Series
from mmtp_jax.simulation.system import System
from mmtp_jax.simulation.watch import Watch


@with_double_precision
def simulate(
    potential: Potential,
    system: System,
    n_steps: int,
    options: DynamicsOptions = DynamicsOptions(),
    *,
    watch: Watch | None = None,
    observers: Sequence[Observer] = (),
    record: Callable[[np.ndarray, Series], None] | None = None,
    keep: Callable[[list[Any]], None] | None = None,
    resume: Saved | None = None,
    begins: Callable[[], None] | None = None,
    speeds: np.ndarray | None = None,
) -> Simulation:
    """Run dynamics up to step ``n_steps``, or until all replicas have stopped.

    Ctrl-C ends the run between two returns to the host; observers are then called a last time.

    Args:
        potential: the potential.
        system: positions, velocities, cells and moments of the replicas.
        n_steps: steps from the very start, those before ``resume`` included.
        options: how to run.
        watch: looks at every configuration, and may stop replicas.
        observers: called in this order at the steps that they ask for.
        record: called with (t,) steps and their rows (t, R), as they come.
        keep: called with what the watch has kept, as it is drained.
        resume: state to go on from, in place of ``system``.
        begins: called once nothing will be refused any more, before anything is told or recorded.
        speeds: (R, n, 3) of lengths of moments that move, see `precession.Precession`; thermal ones
            are drawn if not given.

    Raises:
        ValueError: if there are not one or R temperatures or pressures, the ensemble is npt and
            the cell is not periodic in three directions, two atoms are at the same place, or the
            time step is too long for the precession of the moments.
    """
    run = Run(potential, system, options, record, watch=watch, keep=keep, own_speeds=speeds)
    with deferred():
        run.begin(resume, begins)
        if resume is None:
            run.tell(observers, n_steps, lambda every: True)
        run.go(
            n_steps,
            due=lambda: min([n_steps, *(o.every - run.step % o.every for o in observers)]),
            after=lambda: run.tell(observers, n_steps, lambda every: run.step % every == 0),
        )
        run.drain()
        run.tell(observers, n_steps, lambda every: True, final=True)
    return run.result(n_steps)
