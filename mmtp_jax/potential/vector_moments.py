"""Whether moments are collinear ones or vectors: their shape says so."""

from __future__ import annotations

from typing import Any


def are_vectors(magmoms: Any) -> bool:
    """Whether moments of N atoms are vectors, (N, 3) or (N, 3, K), and not numbers, (N,)."""
    return magmoms.ndim > 1
