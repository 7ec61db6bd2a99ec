"""Active sets on disk: what the store holds of one, and what else must be true of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmtp_jax.active.jacobian_rows import check_mode
from mmtp_jax.io.fields import checked_fields
from mmtp_jax.io.store import read_store, write_store

FORMAT = "mmtp_jax active set 1"
ARRAYS = ("submatrix", "scale", "configurations", "atoms")

_EXACT = 1e-3
"""Largest grade less 1 of a row that an active set has: beyond it rounding rules."""


@dataclass(frozen=True)
class Header:
    """What the file says besides the arrays."""

    potential: str
    """Fingerprint."""
    mode: str
    n_seen: int
    missing_scale: float
    tolerance: float

    def __post_init__(self) -> None:
        check_mode(self.mode)
        if self.n_seen < 0 or self.missing_scale <= 0.0 or self.tolerance < 0.0:
            raise ValueError("n_seen, missing_scale or tolerance cannot be negative")


def write(path: str | Path, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write an active set, whole or not at all."""
    write_store(path, {"format": FORMAT, **header}, arrays)


def read(path: str | Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of an active set.

    Raises:
        ValueError: if the file is none, damaged, or its grades would be no numbers.
        FileNotFoundError: if there is no such file.
    """
    what, advice = "not a readable active set", "make it again from the training configurations"
    header, arrays = read_store(path, what, advice)
    try:
        if header.pop("format", None) != FORMAT:
            raise ValueError(f"its format is not '{FORMAT}'")
        header = checked_fields(header, Header, "header")
        _check(Header(**header), arrays)
    except ValueError as error:
        raise ValueError(f"{path} is {what} ({error}); {advice}") from error
    return header, arrays


def _check(header: Header, arrays: dict[str, np.ndarray]) -> None:
    if arrays.keys() != set(ARRAYS):
        raise ValueError(f"it has the arrays {sorted(arrays)}, not {sorted(ARRAYS)}")
    size = arrays["scale"].size
    shapes = {"submatrix": (size, size), **dict.fromkeys(ARRAYS[1:], (size,))}
    kinds = {"submatrix": "f", "scale": "f", "configurations": "i", "atoms": "i"}
    for name, array in arrays.items():
        if array.shape != shapes[name] or array.dtype.kind != kinds[name]:
            raise ValueError(f"its array {name} is {array.dtype} of the shape {array.shape}")
    configurations, atoms = arrays["configurations"], arrays["atoms"]
    if np.any(configurations < -1) or np.any(configurations >= header.n_seen) or np.any(atoms < -1):
        raise ValueError("it has rows of configurations or atoms that there are not")
    if not size or np.any(arrays["scale"] <= 0.0):
        raise ValueError("a column has no scale")
    matrix = arrays["submatrix"]
    try:
        unit = np.linalg.solve(matrix.T, matrix.T)
    except np.linalg.LinAlgError:
        unit = np.full(matrix.shape, np.nan)
    if not np.max(np.abs(unit - np.eye(size))) < _EXACT:
        raise ValueError("its rows are not independent, so that it grades nothing")
