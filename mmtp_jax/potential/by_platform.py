"""Two ways to compute the same, of which one is chosen where a program is lowered.

Like `jax.lax.platform_dependent`, but only what is chosen is traced, and no conditional is left in
the program. Its derivative is that of the way of CPUs everywhere, so it belongs into functions that
bring their own.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from mmtp_jax.potential.bound import Batched, Bound

Array = Any


def by_platform(
    cpu: Callable[..., Any],
    elsewhere: Callable[..., Any],
    args: tuple[Array, ...],
    like: Any,
    static: tuple[Hashable, ...] = (),
) -> Any:
    """``cpu(*static, *args)`` in programs for CPUs, ``elsewhere(*static, *args)`` in others.

    Args:
        cpu: to a pytree of arrays; a function of a module, since JAX lowers equal ones once.
        elsewhere: to the same pytree, of the same shapes and types.
        args: arrays.
        like: a pytree of anything of these shapes and types.
        static: first arguments of both functions.
    """
    leaves, tree = jax.tree.flatten(like)
    out = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)
    found = _by_platform.bind(
        *args, cpu=Bound(cpu, static), elsewhere=Bound(elsewhere, static), out=out
    )
    return jax.tree.unflatten(tree, found)


_by_platform = Primitive("by_platform")
_by_platform.multiple_results = True


@_by_platform.def_impl
def _(*args: Array, **params: Any) -> list[Array]:
    return jax.jit(lambda *args: _by_platform.bind(*args, **params))(*args)


@_by_platform.def_abstract_eval
def _(*avals: Any, out: Any, **functions: Any) -> Any:
    del avals, functions
    return [jax.core.ShapedArray(of.shape, of.dtype) for of in out]


def _batch(args: Any, axes: Any, *, cpu: Callable, elsewhere: Callable, out: Any) -> Any:
    sizes = [a.shape[k] for a, k in zip(args, axes, strict=True) if k is not batching.not_mapped]
    like = [jax.ShapeDtypeStruct((sizes[0], *of.shape), of.dtype) for of in out]
    found = by_platform(Batched(cpu, axes), Batched(elsewhere, axes), args, like)
    return found, [0] * len(found)


def _jvp(primals: Any, tangents: Any, *, cpu: Callable, **params: Any) -> Any:
    moving = [k for k, dot in enumerate(tangents) if not isinstance(dot, ad.Zero)]

    def of_moving(*values: Array) -> list[Array]:
        changed = dict(zip(moving, values, strict=True))
        return jax.tree.leaves(cpu(*(changed.get(k, a) for k, a in enumerate(primals))))

    start, along = ([of[k] for k in moving] for of in (primals, tangents))
    return _by_platform.bind(*primals, cpu=cpu, **params), jax.jvp(of_moving, start, along)[1]


ad.primitive_jvps[_by_platform] = _jvp
batching.primitive_batchers[_by_platform] = _batch


def _lowering(which: str) -> Any:
    def chosen(*args: Array, out: Any, **functions: Any) -> list[Array]:
        del out
        return [jnp.asarray(leaf) for leaf in jax.tree.leaves(functions[which](*args))]

    return mlir.lower_fun(chosen, multiple_results=True)


mlir.register_lowering(_by_platform, _lowering("elsewhere"))
mlir.register_lowering(_by_platform, _lowering("cpu"), platform="cpu")


def in_two_ways(function: Callable[..., Any], args: tuple[Any, ...], like: Any) -> Any:
    """``function(*args)`` in programs for CPUs, ``function(*args, direct=True)`` in others.

    The derivative is that of ``function(*args)`` everywhere, so what it calls must suit each
    platform by itself.

    Args:
        function: of pytrees, to a pytree; a function of a module.
        args: pytrees.
        like: a pytree of anything of the shapes and types of the result.
    """
    leaves, tree = jax.tree.flatten(args)
    shapes, out = jax.tree.flatten(like)
    shapes = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in shapes)
    return jax.tree.unflatten(out, _in_two_ways(function, tree, shapes, *leaves))


@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _in_two_ways(function: Callable, tree: Any, shapes: tuple, *leaves: Array) -> list[Array]:
    return by_platform(_one_way, _other_way, leaves, list(shapes), static=(function, tree))


@partial(_in_two_ways.defjvp, symbolic_zeros=True)
def _(function: Callable, tree: Any, shapes: tuple, leaves: Any, dots: Any) -> Any:
    del shapes
    moving = [k for k, dot in enumerate(dots) if not isinstance(dot, SymbolicZero)]

    def of_moving(values: list[Array]) -> list[Array]:
        changed = dict(zip(moving, values, strict=True))
        return _one_way(function, tree, *(changed.get(k, a) for k, a in enumerate(leaves)))

    return jax.jvp(of_moving, ([leaves[k] for k in moving],), ([dots[k] for k in moving],))


def _one_way(function: Callable, tree: Any, *leaves: Array) -> list[Array]:
    return jax.tree.leaves(function(*jax.tree.unflatten(tree, leaves)))


def _other_way(function: Callable, tree: Any, *leaves: Array) -> list[Array]:
    return jax.tree.leaves(function(*jax.tree.unflatten(tree, leaves), direct=True))
