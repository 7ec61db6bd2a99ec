"""Float64 where it is promised: switched on for a block, never behind the user's back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@contextmanager
def double_precision() -> Iterator[None]:
    """A block in which JAX keeps float64; the setting outside of it is left as it was."""
    with jax.enable_x64(True):
        yield


def with_double_precision(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, run in a `double_precision` block."""

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with double_precision():
            return function(*args, **kwargs)

    return wrapped


def require_dtype(dtype: Any) -> np.dtype:
    """The dtype, if JAX would keep it.

    Raises:
        ValueError: for float64 while JAX is limited to 32 bits, where it would be truncated
            silently; and for anything that is not float32 or float64.
    """
    dtype = np.dtype(dtype)
    if dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"dtype must be float32 or float64, got {dtype}")
    if jnp.zeros((), dtype).dtype != dtype:
        raise ValueError(
            "float64 was asked for, but JAX is limited to 32 bits here; use "
            "'with mmtp_jax.double_precision():' or jax.config.update('jax_enable_x64', True)"
        )
    return dtype
