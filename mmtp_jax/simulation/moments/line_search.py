"""Line searches of many configurations in lock-step: is a step taken, and what is tried next?

A configuration takes a step that lowers its energy sufficiently; else the step is shortened, with
one evaluation per iteration. A state of such a search has the fields ``memory`` (of L-BFGS),
``refused`` (C,), refused steps in a row, and ``shorter`` (C,), the factor of a refused step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from mmtp_jax.simulation.moments.lbfgs import Memory, Segments, direction, forget, remember

Array = Any

SUFFICIENT = 1e-4
"""Share of the decrease that the slope promises below which a step is not accepted."""

FORGET_AFTER, GIVE_UP_AFTER = 4, 12
"""Refused steps in a row after which the memory is cleared, and the configuration given up."""


def judged_step(
    state: Any,
    pieces: Segments,
    step: Array,
    change: Array,
    numbers: tuple[Array, Array, Array, Array],
    on: Array,
    first: Array,
    finite: Array | bool = True,
) -> tuple[Array, dict[str, Any]]:
    """Accept the step of each configuration, or refuse it.

    Args:
        state: of the search, before.
        pieces: which coordinate belongs to which configuration.
        step: (N,) of the coordinates.
        change: (N,) of the gradient along it.
        numbers: (C,) each: slope, the gradient along the step at its start; twist, by how much
            that changes to its end; the difference of the energies; its round-off.
        on: (C,) bool, goes on.
        first: bool, there is no step yet, and what is there is accepted.
        finite: (C,) bool, all numbers are.

    Returns:
        What is accepted (C,), and the new fields of the state.
    """
    slope, twist, difference, noise = numbers
    # Where round-off hides the difference of the energies, the slopes at both ends still show it.
    difference = jnp.where(jnp.abs(difference) > noise, difference, slope + twist / 2)
    accepted = on & finite & (first | (difference < SUFFICIENT * slope))
    # To the minimum along the step, by the slopes at both ends.
    factor = -slope / jnp.where(twist > 0, twist, -slope)
    shorter = jnp.clip(jnp.where(jnp.isfinite(factor) & finite, factor, 0.1), 0.1, 0.5)
    return accepted, {
        "refused": jnp.where(accepted, 0, state.refused + on),
        "shorter": shorter.astype(state.shorter.dtype),
        "memory": remember(state.memory, pieces, step, change, on & ~first & jnp.isfinite(twist)),
    }


def next_step(
    state: Any,
    pieces: Segments,
    gradient: Array,
    free: Array,
    refused_step: Array,
    on: Array,
    capped: Callable[[Array], Array],
) -> tuple[Array, Memory]:
    """The step (N,) that is tried next, and the memory.

    Args:
        state: of the search.
        pieces: which coordinate belongs to which configuration.
        gradient: (N,) where the configurations are.
        free: (N,) bool, coordinates that are not held.
        refused_step: (N,) the last one, where it was refused.
        on: (C,) bool, goes on.
        capped: a step of allowed length, in that direction.
    """
    refused = on & (state.refused > 0)
    restarted = refused & (state.refused % FORGET_AFTER == 0)
    memory = forget(state.memory, pieces, restarted)
    step = capped(direction(memory, pieces, gradient, free))
    steepest = capped(-pieces.at_atoms(memory.scale) * jnp.where(free, gradient, 0.0))
    (slope,) = pieces.totals(gradient * step)
    # Cut off at a bound, a direction may point uphill; along the forces it never does.
    step = jnp.where(pieces.at_atoms(slope < 0), step, steepest)
    shortened = pieces.at_atoms(state.shorter) * refused_step
    return jnp.where(pieces.at_atoms(refused & ~restarted), shortened, step), memory
