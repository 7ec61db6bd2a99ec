"""Keep XLA on the CPU from computing the same thing twice.

There, a result with several users is recomputed inside the fused loop of each. A call that is
marked as not to be inlined is computed once and stored. On other devices this does nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax.experimental.xla_metadata import set_xla_metadata


def materialised(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, computed once and stored where XLA would rather recompute."""

    def called(*args: Any) -> Any:
        if jax.default_backend() != "cpu":
            return function(*args)
        with set_xla_metadata(inlineable="false"):
            return jax.jit(partial(_inlined, function))(*args)

    return called


def _inlined(function: Callable[..., Any], *args: Any) -> Any:
    # The mark is inherited by everything traced inside the call; only the call itself needs it.
    with set_xla_metadata(inlineable="true"):
        return function(*args)


def stored(values: Any) -> Any:
    """The values, and their cotangents, computed once and stored where XLA would recompute."""
    return materialised(lambda values: values)(values)
