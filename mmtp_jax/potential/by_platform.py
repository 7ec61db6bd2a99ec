"""Two ways to compute the same, of which one is chosen where a program is lowered.

Like `jax.lax.platform_dependent`, but only what is chosen is traced, and no conditional is left in
the program. Its derivative is that of the way of CPUs everywhere, so it belongs into functions that
bring their own.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from mmtp_jax.potential.bound import Batched, Bound

Array = Any


def by_platform(
    cpu: Callable[..., Array],
    elsewhere: Callable[..., Array],
    args: tuple[Array, ...],
    like: Array,
    static: tuple[Hashable, ...] = (),
) -> Array:
    """``cpu(*static, *args)`` in programs for CPUs, ``elsewhere(*static, *args)`` in others.

    Args:
        cpu: to one array; a function of a module, since JAX lowers equal ones once.
        elsewhere: to an array of the same shape and type.
        args: arrays.
        like: anything of this shape and type.
        static: first arguments of both functions.
    """
    out = jax.ShapeDtypeStruct(like.shape, like.dtype)
    return _by_platform.bind(
        *args, cpu=Bound(cpu, static), elsewhere=Bound(elsewhere, static), out=out
    )


_by_platform = Primitive("by_platform")


@_by_platform.def_impl
def _(*args: Array, **params: Any) -> Array:
    return jax.jit(lambda *args: _by_platform.bind(*args, **params))(*args)


@_by_platform.def_abstract_eval
def _(*avals: Any, out: Any, **functions: Any) -> Any:
    del avals, functions
    return jax.core.ShapedArray(out.shape, out.dtype)


def _batch(args: Any, axes: Any, *, cpu: Callable, elsewhere: Callable, out: Any) -> Any:
    sizes = [a.shape[k] for a, k in zip(args, axes, strict=True) if k is not batching.not_mapped]
    like = jax.ShapeDtypeStruct((sizes[0], *out.shape), out.dtype)
    return by_platform(Batched(cpu, axes), Batched(elsewhere, axes), args, like), 0


def _jvp(primals: Any, tangents: Any, *, cpu: Callable, **params: Any) -> Any:
    moving = [k for k, dot in enumerate(tangents) if not isinstance(dot, ad.Zero)]

    def of_moving(*values: Array) -> Array:
        changed = dict(zip(moving, values, strict=True))
        return cpu(*(changed.get(k, a) for k, a in enumerate(primals)))

    start, along = ([of[k] for k in moving] for of in (primals, tangents))
    return _by_platform.bind(*primals, cpu=cpu, **params), jax.jvp(of_moving, start, along)[1]


ad.primitive_jvps[_by_platform] = _jvp
batching.primitive_batchers[_by_platform] = _batch


def _lowering(which: str) -> Any:
    def chosen(*args: Array, out: Any, **functions: Any) -> Array:
        del out
        return jnp.asarray(functions[which](*args))

    return mlir.lower_fun(chosen, multiple_results=False)


mlir.register_lowering(_by_platform, _lowering("elsewhere"))
mlir.register_lowering(_by_platform, _lowering("cpu"), platform="cpu")
