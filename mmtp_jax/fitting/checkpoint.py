"""A fit on disk: arrays in ``.npz`` without pickle, everything else as a JSON header.

A resumed fit takes the same steps, bit for bit, as one that was not interrupted.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmtp_jax.io.atomic import atomic_write

FORMAT = "mmtp_jax fit 1"


def fingerprint(*trees: Any) -> str:
    """Hash of the contents of all arrays: which data and which settings a checkpoint belongs to."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(trees):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def save_checkpoint(path: str | Path, header: dict[str, Any], arrays: Any) -> None:
    """Write the leaves of ``arrays`` and the header, replacing an older checkpoint at once."""
    leaves = {f"leaf{k}": np.asarray(leaf) for k, leaf in enumerate(jax.tree.leaves(arrays))}
    text = json.dumps(header | {"format": FORMAT})
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, header=np.frombuffer(text.encode(), np.uint8), **leaves)


def load_checkpoint(path: str | Path, like: Any, belongs_to: str) -> tuple[dict[str, Any], Any]:
    """The header, and the arrays in the structure of ``like``.

    Raises:
        ValueError: if the file is not a checkpoint, or belongs to other data or settings.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            header = json.loads(file["header"].tobytes().decode())
            count = len(file.files) - 1
            leaves = [file[f"leaf{k}"] for k in range(count)]
    except (KeyError, ValueError, OSError, EOFError) as error:
        raise ValueError(
            f"{path} is not a readable fit checkpoint ({error}); delete it to start afresh"
        ) from error
    if header.get("format") != FORMAT or header.get("fingerprint") != belongs_to:
        raise ValueError(
            f"{path} belongs to another fit (other data, potential, weights or program version); "
            "delete it to start afresh, or give the same input as before"
        )
    expected, tree = jax.tree.flatten(like)
    if [np.shape(a) for a in expected] != [a.shape for a in leaves]:
        raise ValueError(f"{path} holds arrays of other shapes; delete it to start afresh")
    return header, jax.tree.unflatten(tree, leaves)
