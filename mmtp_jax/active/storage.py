"""Active sets on disk: arrays in ``.npz`` without pickle, everything else as a JSON header."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from mmtp_jax.io.atomic import atomic_write

FORMAT = "mmtp_jax active set 1"
ARRAYS = ("submatrix", "scale", "configurations", "atoms")


def write(path: str | Path, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write an active set, whole or not at all."""
    text = np.frombuffer(json.dumps({"format": FORMAT, **header}).encode(), np.uint8)
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, header=text, **arrays)


def read(path: str | Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of an active set.

    Raises:
        ValueError: if the file is not one.
        FileNotFoundError: if there is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            header = json.loads(file["header"].tobytes().decode())
            if header.pop("format", None) != FORMAT:
                raise ValueError(f"its format is not '{FORMAT}'")
            return header, {name: file[name] for name in ARRAYS}
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a readable active set ({error})") from error
