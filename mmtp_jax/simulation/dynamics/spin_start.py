"""The start of spin dynamics: how long a step may be, the gauge of its forces, and those before it.

Small changes d of the moments precess by dd/dt = gamma (T(m + d) - T(m)) x m + gamma T x d. Power
iteration finds the highest of its frequencies, magnetic forces at m + d being those of the program
that takes steps, so that nothing more is compiled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from mmtp_jax.language import named
from mmtp_jax.potential.confinement import lengths_of
from mmtp_jax.simulation.constants import FS, GYROMAGNETIC
from mmtp_jax.simulation.dynamics.precession import EXTRAPOLATION, directions, gauged
from mmtp_jax.warn import warn

if TYPE_CHECKING:
    from mmtp_jax.simulation.dynamics.integrate import State
    from mmtp_jax.simulation.dynamics.run import Run

Array = Any

N_TRIALS = 12
"""Evaluations of the fastest precession."""

N_DRAWS = 6
"""Those of the gauge."""

CHANGE = 1e-3
"""Root of the mean square of the changes, mu_B."""

LONG = 0.35
"""Angle of the fastest precession in a step from which the energy may drift, rad; see
`precession`."""

TOO_LONG = 0.7
"""Angle in a step beyond which it grows at once, rad."""


class TimestepWarning(UserWarning):
    """A time step is long for the precession of the moments."""


def check_timestep(run: Run) -> None:
    """Refuse, or warn of, a time step that is too long for the start of a run.

    Raises:
        ValueError: if the fastest precession turns by more than `TOO_LONG` in a step.

    Warns:
        TimestepWarning: if it turns by more than `LONG`.
    """
    rate = float(np.max(fastest(run)))
    timestep = run.options.timestep_fs
    angle = rate * timestep * FS
    if not angle > LONG:
        return
    text = (
        f"{timestep:g} fs is {'too ' if angle > TOO_LONG else ''}long for the precession of the "
        f"moments: the largest field, {rate / GYROMAGNETIC:.3g} eV/mu_B, turns them by "
        f"{angle:.2g} rad in a step; give {named('timestep_fs')} {LONG / rate / FS:.2g} at most"
    )
    if angle > TOO_LONG:
        raise ValueError(text)
    warn(f"{text}, and look at the drift of the conserved energy", TimestepWarning)


def fastest(run: Run) -> np.ndarray:
    """Highest frequencies (R,) of precession about the moments of a run, rad per unit of time."""
    moments, forces = _start(run)
    change, rates = _drawn(moments, 0), []
    for _ in range(N_TRIALS):
        turning = _turning(moments, forces, change, _changed(run, change))
        rates.append(GYROMAGNETIC * _size(turning) / CHANGE)
        change = _scaled(turning)
    # Real changes of a pair of frequencies +-w swing between two directions.
    return np.sqrt(np.asarray(rates[-1]) * np.asarray(rates[-2]))


def with_gauge(run: Run) -> State:
    """The state before the first step, with the gauge of `precession`.

    Random changes d across the moments have d.(T(m) - T(m + d)) = d.d2E/dm^2.d, to which what
    couples different atoms adds nothing in the mean.
    """
    moments, forces = _start(run)
    pull, square = 0.0, 0.0
    for k in range(N_DRAWS):
        change = _drawn(moments, k)
        more = _pull(change, forces, _changed(run, change))
        pull, square = pull + more[0], square + more[1]
    types = np.asarray(run.system.types)
    gauge = np.zeros(moments.shape[:2])
    for of in np.unique(types):
        of_species, total = (np.asarray(a)[:, types == of].sum() for a in (pull, square))
        gauge[:, types == of] = of_species / total if total > 0 else 0.0
    precession = run.state.precession._replace(gauge=jnp.asarray(gauge))
    return run.state._replace(precession=precession)


def with_past(run: Run) -> State:
    """The state at the start with the magnetic forces of the steps that would have led to it.

    With those of the start in their places the first steps would be wrong in second order of the
    time step, by some meV/atom. Moments go back by the method of Runge and Kutta of fourth order,
    positions and lengths with their speeds; of damping and noise nothing is undone.
    """
    state, system = run.state, run.state.system
    magmoms, sizes = np.asarray(system.magmoms), np.asarray(lengths_of(system.magmoms, True))
    turns = -GYROMAGNETIC * float(run.bath.timestep)
    motion = 0.0 if run.plan.ensemble.fixed_atoms else float(run.bath.timestep) * system.velocities
    stretch = float(run.bath.timestep) * float(run.bath.stretch) * state.precession.speeds[..., 0]

    def looked_at(e: np.ndarray, steps: float) -> tuple[np.ndarray, np.ndarray]:
        """Moments with these directions so many steps before the start, and their forces."""
        magmoms = np.maximum(sizes - steps * np.asarray(stretch), 0.0)[..., None] * e
        for back in (motion, 0.0):
            moved = system._replace(
                magmoms=jnp.asarray(magmoms), positions=system.positions - steps * back
            )
            found = run.take(1, bath=run.at_rest, state=state._replace(system=moved))
            # Where the list of neighbours does not reach there, atoms stay.
            if found.n_done:
                break
        return np.asarray(found.state.system.magmoms), np.asarray(found.state.known.magnetic_forces)

    e, forces = np.asarray(directions(magmoms)), np.asarray(state.known.magnetic_forces)
    past = [gauged(state.precession, magmoms, forces)]
    for k in range(len(EXTRAPOLATION) - 1):
        first = turns * np.cross(forces, e)
        slopes, slope = [first], first
        for share in (0.5, 0.5, 1.0):
            there = e + share * slope
            slope = turns * np.cross(looked_at(there, k + share)[1], there)
            slopes.append(slope)
        e = np.asarray(directions(e + np.tensordot((1, 2, 2, 1), slopes, 1) / 6))
        magmoms, forces = looked_at(e, k + 1)
        past.append(gauged(state.precession, magmoms, forces))
    precession = state.precession._replace(forces=jnp.stack(past, axis=1))
    return state._replace(precession=precession)


def _start(run: Run) -> tuple[Array, Array]:
    """Moments and magnetic forces (R, n, 3) of the state, whatever it has been shown of them."""
    state = run.take(1, bath=run.at_rest).state
    return state.system.magmoms, state.known.magnetic_forces


def _changed(run: Run, change: Array) -> Array:
    """Magnetic forces at other moments."""
    system = run.state.system
    moved = run.state._replace(system=system._replace(magmoms=system.magmoms + change))
    return run.take(1, bath=run.at_rest, state=moved).state.known.magnetic_forces


def _drawn(moments: Array, seed: int) -> Array:
    """Random changes (R, n, 3) across moments."""
    drawn = np.random.default_rng(seed).normal(size=moments.shape)
    return _across(moments, drawn)


@jax.jit
def _across(moments: Array, drawn: Array) -> Array:
    return _scaled(jnp.cross(directions(moments), drawn))


@jax.jit
def _turning(moments: Array, forces: Array, change: Array, there: Array) -> Array:
    """Change of m x T, of which forces are ``there`` what they are where moments have changed."""
    return jnp.cross(there - forces, moments) + jnp.cross(forces, change)


@jax.jit
def _pull(change: Array, forces: Array, there: Array) -> tuple[Array, Array]:
    """d.(T(m) - T(m + d)) and d.d (R, n)."""
    return jnp.sum(change * (forces - there), axis=-1), jnp.sum(change**2, axis=-1)


@jax.jit
def _size(change: Array) -> Array:
    """Root of the mean square (R,) over the atoms of a replica."""
    return jnp.sqrt(jnp.mean(jnp.sum(change**2, axis=-1), axis=1))


@jax.jit
def _scaled(change: Array) -> Array:
    size = _size(change)
    return CHANGE * change / jnp.where(size > 0, size, 1.0)[:, None, None]
