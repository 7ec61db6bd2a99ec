"""How far vectors turn and stretch in a trial: it adapts in the burn-in, and then stays.

While step sizes change with what was accepted, a walk has no detailed balance; so they follow the
acceptance, towards a half, in the burn-in alone, by ever smaller factors (Robbins and Monro, Ann.
Math. Stat. 22, 400, 1951).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

Array = Any

KINDS = ("cone", "random", "reversal", "reflection", "stretch")
"""What happens to a vector in a trial, see `turns`."""

CONE, RANDOM, REVERSAL, REFLECTION, STRETCH = range(len(KINDS))

FIRST_CAP, LEAST_CAP, WHOLE_SPHERE = 0.6, 1e-8, 2.0
"""1 - cos of the half angle of the cone: at the start, and its bounds."""

FIRST_STRETCH, LEAST_STRETCH = 0.1, 1e-6
"""Largest stretch as a share of M_max: at the start, and the least; the most is 1."""

ACCEPTANCE = 0.5
"""That step sizes are adapted to."""

_FIRST, _DECAY = 5, 0.6
"""Of the factors: the logarithm of the n-th is of the order (n + 5)^-0.6."""


class Turning(NamedTuple):
    """Step sizes and counts of R replicas."""

    tried: Array
    """(R, K) of each of `KINDS`."""
    accepted: Array
    """(R, K)."""
    cap: Array
    """(R,) 1 - cos of the half angle of the cone."""
    stretch: Array
    """(R,) largest change of a length, as a share of M_max."""
    until: Array
    """() trials during which step sizes adapt."""


def first_turning(n_replicas: int, until: int) -> Turning:
    """Before the first trial."""
    nothing = jnp.zeros((n_replicas, len(KINDS)), jnp.int32)
    ones = jnp.ones(n_replicas)
    return Turning(
        nothing, nothing, FIRST_CAP * ones, FIRST_STRETCH * ones, jnp.asarray(until, jnp.int64)
    )


def counted(turning: Turning, kind: Array, running: Array, accepted: Array) -> Turning:
    """With one more trial (R,) of a kind in the replicas that run."""
    of_kind = running[:, None] & (kind[:, None] == jnp.arange(len(KINDS)))
    return turning._replace(
        tried=turning.tried + of_kind,
        accepted=turning.accepted + (of_kind & accepted[:, None]),
    )


def adapted(turning: Turning, kind: Array, running: Array, accepted: Array, trial: Array) -> Any:
    """With other step sizes after a trial, if it is one of the burn-in."""
    adapts = running & (trial < turning.until)

    def next_size(size: Array, of: int, least: float, most: float) -> Array:
        n = (_FIRST + turning.tried[:, of]).astype(size.dtype)
        factor = jnp.exp((accepted - ACCEPTANCE) * n**-_DECAY)
        changed = jnp.clip(size * factor, least, most)
        return jnp.where(adapts & (kind == of), changed, size)

    return turning._replace(
        cap=next_size(turning.cap, CONE, LEAST_CAP, WHOLE_SPHERE),
        stretch=next_size(turning.stretch, STRETCH, LEAST_STRETCH, 1.0),
    )


def degrees(cap: np.ndarray) -> np.ndarray:
    """Half angle of the cone."""
    return np.degrees(np.arccos(1.0 - np.asarray(cap)))
