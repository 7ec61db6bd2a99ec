"""Keep XLA on the CPU from computing the same thing twice.

There, a result with several users is recomputed inside the fused loop of each. A call that is
marked as not to be inlined is computed once and stored. On other devices this does nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
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


def pointwise(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function(x, *numbers) of each element of x, of which value and slope are stored.

    Where XLA differentiates what it has fused, it may lose the vectorisation of whole loops.
    """

    @jax.custom_jvp
    def called(x: Any, *numbers: Any) -> Any:
        return materialised(function)(x, *numbers)

    @partial(called.defjvp, symbolic_zeros=True)
    def _(primals: Any, tangents: Any) -> tuple[Any, Any]:
        (x, *numbers), (x_dot, *dots) = primals, tangents
        value = called(x, *numbers)
        tangent = jnp.zeros_like(value)
        if not isinstance(x_dot, SymbolicZero):
            tangent = materialised(partial(_slope, function))(x, *numbers) * x_dot
        moving = [k for k, dot in enumerate(dots) if not isinstance(dot, SymbolicZero)]
        if moving:

            def of_moving(*values: Any) -> Any:
                changed = dict(zip(moving, values, strict=True))
                return function(x, *(changed.get(k, n) for k, n in enumerate(numbers)))

            start, along = [numbers[k] for k in moving], [dots[k] for k in moving]
            tangent = tangent + jax.jvp(of_moving, start, along)[1]
        return value, tangent

    return called


def _slope(function: Callable[..., Any], x: Any, *numbers: Any) -> Any:
    return jax.jvp(lambda x: function(x, *numbers), (x,), (jnp.ones_like(x),))[1]
