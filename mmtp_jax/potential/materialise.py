"""Keep XLA on the CPU from computing the same thing twice.

There, a result with several users is recomputed inside the fused loop of each. A call that is
marked as not to be inlined is computed once and stored. The mark is set where a program is lowered
for a CPU; elsewhere the call is an ordinary one, which XLA inlines.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.experimental.xla_metadata import set_xla_metadata
from jax.extend.core import ClosedJaxpr, Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir
from jax.interpreters.partial_eval import JaxprTracer


def materialised(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, computed once and stored where XLA would rather recompute."""

    def called(*args: Any) -> Any:
        # What is inside of a stored result is not stored once more.
        with set_xla_metadata(inlineable="true"):
            jaxpr, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
        results = _stage.bind(*jax.tree.leaves(args), jaxpr=jaxpr)
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    return called


def stored(values: Any) -> Any:
    """The values, and their cotangents, computed once and stored where XLA would recompute."""
    return materialised(lambda values: values)(values)


_stage = Primitive("stage")
_stage.multiple_results = True


@_stage.def_impl
def _(*args: Any, jaxpr: ClosedJaxpr) -> Any:
    return _compiled(*args, jaxpr=jaxpr)


@partial(jax.jit, static_argnames="jaxpr")
def _compiled(*args: Any, jaxpr: ClosedJaxpr) -> Any:
    return _stage.bind(*args, jaxpr=jaxpr)


@_stage.def_abstract_eval
def _(*avals: Any, jaxpr: ClosedJaxpr) -> Any:
    del avals
    return jaxpr.out_avals


def _jvp(primals: Any, tangents: Any, *, jaxpr: ClosedJaxpr) -> Any:
    if _is_identity(jaxpr):
        # What a gradient needs of the values is kept for it anyway; stored as well it would be
        # copied, which costs a tenth at low levels.
        for_gradient = any(isinstance(dot, JaxprTracer) for dot in tangents)
        values = list(primals) if for_gradient else _stage.bind(*primals, jaxpr=jaxpr)
        return values, _store(tangents)
    values = _stage.bind(*primals, jaxpr=jaxpr)
    dots = [ad.instantiate_zeros(dot) for dot in tangents]
    return values, jax.jvp(jaxpr_as_fun(jaxpr), tuple(primals), tuple(dots))[1]


def _transpose(cotangents: Any, *args: Any, jaxpr: ClosedJaxpr) -> Any:
    # Of others, it is the derivative that is transposed.
    assert _is_identity(jaxpr)
    return _store(cotangents)


def _batch(args: Any, axes: Any, *, jaxpr: ClosedJaxpr) -> Any:
    batched = materialised(jax.vmap(jaxpr_as_fun(jaxpr), axes))(*args)
    return batched, [0] * len(batched)


def _is_identity(jaxpr: ClosedJaxpr) -> bool:
    return jaxpr.jaxpr.outvars == jaxpr.jaxpr.invars


def _store(values: Any) -> list[Any]:
    """All that are not symbolic zeros, stored together."""
    moving = [not isinstance(value, ad.Zero) for value in values]
    kept = iter(stored([v for v, moves in zip(values, moving, strict=True) if moves]))
    return [next(kept) if moves else v for v, moves in zip(values, moving, strict=True)]


def _lowered(ctx: Any, *args: Any, jaxpr: ClosedJaxpr) -> Any:
    return mlir.core_call_lowering(ctx, *args, name="stage", call_jaxpr=jaxpr)


def _lowered_for_cpu(ctx: Any, *args: Any, jaxpr: ClosedJaxpr) -> Any:
    results = _lowered(ctx, *args, jaxpr=jaxpr)
    if results:
        mark = mlir.ir.DictAttr.get({"inlineable": mlir.ir.StringAttr.get("false")})
        results[0].owner.attributes["mhlo.frontend_attributes"] = mark
    return results


ad.primitive_jvps[_stage] = _jvp
ad.primitive_transposes[_stage] = _transpose
batching.primitive_batchers[_stage] = _batch
mlir.register_lowering(_stage, _lowered)
mlir.register_lowering(_stage, _lowered_for_cpu, platform="cpu")


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
