"""Functions that are equal where what they do is, so that JAX lowers equal ones once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import jax

Array = Any


@dataclass(frozen=True)
class Bound:
    """``partial(function, *static)``."""

    function: Callable[..., Array]
    static: tuple[Hashable, ...]

    def __call__(self, *args: Array) -> Array:
        return self.function(*self.static, *args)


@dataclass(frozen=True)
class Batched:
    """``jax.vmap(function, in_axes)``."""

    function: Callable[..., Array]
    in_axes: tuple[int | None, ...]

    def __call__(self, *args: Array) -> Array:
        return jax.vmap(self.function, self.in_axes)(*args)
