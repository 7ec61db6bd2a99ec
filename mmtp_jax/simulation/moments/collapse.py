"""Moments that vanish: equilibrium says so itself, but what comes next would start from zero.

Where the energy is even in the moments, all of them at zero are a stationary point, minimum or not,
that no search leaves. So a search that ends there is told of, whatever its magnetic forces.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from mmtp_jax.structures.structure import lengths
from mmtp_jax.warn import warn

COLLAPSED = 1e-2
"""Magnitude of an equilibrated moment below which its sign means nothing, mu_B."""

SHARE = 0.02
"""Part of a moment that may be left where it has vanished: forces are zero to a tolerance."""

LEAST_START = 0.1
"""Magnitude, mu_B, from which on a moment among others is missed; those of atoms that others
polarise come and go."""


class EquilibrationWarning(UserWarning):
    """Moments were used that are not equilibrated, or that have vanished."""


def vanished(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(n,) bool: moments that were there at the start and are zero at the end."""
    start, end = lengths(start), lengths(end)
    gone = (start > 0.0) & (end < np.maximum(COLLAPSED, SHARE * start)) & (end < start)
    return gone if is_zero(end) else gone & (start >= LEAST_START)


def is_zero(magmoms: np.ndarray) -> bool:
    """Whether no moment is left."""
    return bool(np.all(lengths(magmoms) < COLLAPSED))


def collapse_message(start: np.ndarray, end: np.ndarray) -> str:
    """One sentence, or an empty text where no moment has vanished."""
    gone = vanished(start, end)
    if not gone.any():
        return ""
    largest = lengths(start)[gone].max()
    zero = "; from zero they cannot come back by themselves" if is_zero(end) else ""
    return (
        f"the moments of {gone.sum()} of {len(gone)} atoms, up to {largest:.3g} mu_B at the start, "
        f"have vanished{zero}"
    )


def warn_of_collapse(messages: Iterable[str], names: Sequence[str]) -> None:
    """One `EquilibrationWarning` for all configurations with a message."""
    told = [(name, message) for name, message in zip(names, messages, strict=True) if message]
    if not told:
        return
    (name, message), more = told[0], len(told) - 1
    others = f" (and {more} other{'s' * (more > 1)} of {len(names)} likewise)" if more else ""
    warn(f"{name}: {message}{others}", EquilibrationWarning)
