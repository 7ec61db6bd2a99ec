"""How many changes of signs were tried, and what became of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

Array = Any


class Counts(NamedTuple):
    """(R,) each."""

    tried: Array
    accepted: Array
    inadmissible: Array
    """Refused because the moments of the new pattern could not be equilibrated."""


def no_counts(n_replicas: int) -> Counts:
    """Before the first trial."""
    return Counts(*(jnp.zeros(n_replicas, jnp.int32) for _ in Counts._fields))
