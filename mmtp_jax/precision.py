"""Float64 where it is promised: switched on for a block, never behind the user's back.

Whatever computes passes here first, so this is also where a forked process is told that it cannot.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, NamedTuple

import jax
import numpy as np


@contextmanager
def double_precision() -> Iterator[None]:
    """A block in which JAX keeps float64; the setting outside of it is left as it was.

    Raises:
        RuntimeError: in a process that was forked after JAX had started.
    """
    _refuse_in_fork()
    with jax.enable_x64(True):
        yield


def with_double_precision(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, run in a `double_precision` block."""

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with double_precision():
            return function(*args, **kwargs)

    return wrapped


class Precision(NamedTuple):
    """Types of the two parts of an evaluation."""

    edges: np.dtype
    """Of distances, radial functions and the basic moments of neighbours."""
    contraction: np.dtype
    """Of the products of moments and of energies."""


def require_precision(dtype: Any) -> Precision:
    """What ``"float32"``, ``"float64"`` or ``"mixed"`` mean, if JAX would keep it.

    Mixed precision has edges in float32 and the contraction in float64.

    Raises:
        ValueError: for anything else; and for float64 while JAX is limited to 32 bits, where it
            would be truncated silently.
        RuntimeError: in a process that was forked after JAX had started.
    """
    _refuse_in_fork()
    if isinstance(dtype, str) and dtype == "mixed":
        precision = Precision(np.dtype(np.float32), np.dtype(np.float64))
    else:
        try:
            precision = Precision(np.dtype(dtype), np.dtype(dtype))
        except TypeError:
            precision = None
    if precision is None or precision.contraction not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32, float64 or 'mixed', got {dtype!r}")
    if jax.dtypes.canonicalize_dtype(precision.contraction) != precision.contraction:
        raise ValueError(
            "float64 was asked for, but JAX is limited to 32 bits here; use "
            "'with mmtp_jax.double_precision():' or jax.config.update('jax_enable_x64', True)"
        )
    return precision


def with_floats(tree: Any, dtype: Any) -> Any:
    """A pytree of arrays with its floating-point numbers in another type."""
    return jax.tree.map(
        lambda a: a.astype(dtype) if a.dtype.kind == "f" and a.dtype != dtype else a, tree
    )


class _Fork:
    """Whether this process was forked from one in which JAX had started its threads."""

    had_started = False
    cannot_compute = False

    @classmethod
    def before(cls) -> None:
        """In the parent."""
        bridge = sys.modules.get("jax._src.xla_bridge")
        started = getattr(bridge, "backends_are_initialized", None)
        cls.had_started = started is None or started()

    @classmethod
    def in_child(cls) -> None:
        """In the child: threads are not forked, and what waits for them waits for ever."""
        cls.cannot_compute = cls.cannot_compute or cls.had_started


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_Fork.before, after_in_child=_Fork.in_child)


def is_fork() -> bool:
    """Whether this process was forked after JAX had started, so that it cannot compute."""
    return _Fork.cannot_compute


def _refuse_in_fork() -> None:
    if _Fork.cannot_compute:
        raise RuntimeError(
            "this process was forked after JAX had started, and JAX would hang in it; start "
            'processes with the method "spawn", e.g. multiprocessing.get_context("spawn").Pool()'
        )
