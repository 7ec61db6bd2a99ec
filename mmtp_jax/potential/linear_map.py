"""A linear function that brings its own transpose.

Reverse mode transposes the tangent of a function. For gathers that gives scatters, which are slow
on every device, although the transpose of a *static* gather-and-sum is one as well. `linear_map`
lets a derivative rule say what its transpose is, and unlike a custom vector-Jacobian product it
keeps forward mode, `vmap` and higher derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from mmtp_jax.potential.bound import Batched, Bound
from mmtp_jax.potential.materialise import materialised

Array = Any


def linear_map(
    function: Callable[..., Array],
    transpose: Callable[..., Array],
    residuals: tuple[Array, ...],
    x: Array,
    like: Array | None = None,
    static: tuple[Hashable, ...] = (),
    inline: bool = False,
) -> Array:
    """``function(*residuals, x)``, linear in x, whose transpose is ``transpose(*residuals, y)``.

    JAX lowers equal maps of equal shapes once, and maps are equal if their functions are: give
    functions of a module and what they depend on as ``static``, rather than closures.

    Args:
        function: from (*residuals, x) to an array y.
        transpose: from (*residuals, y) to an array of the shape of x.
        residuals: arrays in which neither function needs to be linear.
        x: one array.
        like: anything of the shape and type of y. Without it the function is traced for them,
            again at every level of a nest of such maps.
        static: first arguments of both functions, before the residuals.
        inline: XLA may merge the map with what is around it, rather than store its result.
    """
    if static:
        function, transpose = Bound(function, static), Bound(transpose, static)
    if like is None:
        like = jax.eval_shape(function, *residuals, x)
    out = jax.ShapeDtypeStruct(like.shape, like.dtype)
    return _linear_map.bind(
        *residuals, x, function=function, transpose=transpose, out=out, inline=inline
    )


_linear_map = Primitive("linear_map")


@_linear_map.def_impl
def _evaluate(
    *args: Array, function: Callable, transpose: Callable, out: Any, inline: bool
) -> Array:
    del transpose, out
    return function(*args) if inline else materialised(function)(*args)


@_linear_map.def_abstract_eval
def _shape(*avals: Any, out: Any, **params: Any) -> Any:
    del avals, params
    return jax.core.ShapedArray(out.shape, out.dtype)


def _jvp(primals: Any, tangents: Any, *, function: Callable, **params: Any) -> Any:
    *residuals, x = primals
    *residual_dots, x_dot = tangents
    value = _linear_map.bind(*residuals, x, function=function, **params)
    terms = []
    if not isinstance(x_dot, ad.Zero):
        terms.append(_linear_map.bind(*residuals, x_dot, function=function, **params))
    moving = [k for k, dot in enumerate(residual_dots) if not isinstance(dot, ad.Zero)]
    if moving:

        def of_moving(*values: Array) -> Array:
            full = list(residuals)
            for k, new in zip(moving, values, strict=True):
                full[k] = new
            return function(*full, x)

        primal, dots = [residuals[k] for k in moving], [residual_dots[k] for k in moving]
        terms.append(jax.jvp(of_moving, primal, dots)[1])
    if not terms:
        return value, ad.Zero.from_primal_value(value)
    return value, terms[0] if len(terms) == 1 else terms[0] + terms[1]


def _transpose(
    ct: Any, *args: Any, function: Callable, transpose: Callable, out: Any, inline: bool
) -> Any:
    del out
    *residuals, x = args
    if isinstance(ct, ad.Zero):
        return [None] * len(residuals) + [ad.Zero(x.aval)]
    back = linear_map(transpose, function, tuple(residuals), ct, x.aval, inline=inline)
    return [None] * len(residuals) + [back]


def _batch(
    args: Any, axes: Any, *, function: Callable, transpose: Callable, out: Any, inline: bool
) -> Any:
    size = next(
        a.shape[axis] for a, axis in zip(args, axes, strict=True) if axis is not batching.not_mapped
    )
    moved = [
        a if axis is batching.not_mapped else jnp.moveaxis(a, axis, 0)
        for a, axis in zip(args, axes, strict=True)
    ]
    if axes[-1] is batching.not_mapped:
        # The transpose returns one cotangent per lane, so x must have one value per lane.
        moved[-1] = jnp.broadcast_to(moved[-1], (size, *moved[-1].shape))
    in_axes = (*(None if axis is batching.not_mapped else 0 for axis in axes[:-1]), 0)
    batched = linear_map(
        Batched(function, in_axes),
        Batched(transpose, in_axes),
        tuple(moved[:-1]),
        moved[-1],
        jax.ShapeDtypeStruct((size, *out.shape), out.dtype),
        inline=inline,
    )
    return batched, 0


ad.primitive_jvps[_linear_map] = _jvp
ad.primitive_transposes[_linear_map] = _transpose
batching.primitive_batchers[_linear_map] = _batch
mlir.register_lowering(_linear_map, mlir.lower_fun(_evaluate, multiple_results=False))
