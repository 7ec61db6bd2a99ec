"""Checkpoints of simulations: the arrays of a pytree in ``.npz`` without pickle, a JSON header.

Each array has the name of its place in the tree, and a file is read into a tree of the same names.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmtp_jax.io.atomic import atomic_write


def save_state(path: str | Path, header: dict[str, Any], tree: Any) -> None:
    """Write a tree of arrays, replacing an older file at once."""
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, header=text, **_named(tree))


def load_state(
    path: str | Path,
    kind: str,
    expected: dict[str, Any],
    skeleton: Callable[[dict[str, Any]], Any],
) -> tuple[Any, dict[str, Any]]:
    """The tree of a file, and its header.

    Args:
        path: the file.
        kind: what messages call a checkpoint, e.g. "dynamics".
        expected: entries that the header must have, e.g. format and fingerprint.
        skeleton: makes a tree of the same form from the header.

    Raises:
        ValueError: if the file is no such checkpoint, or belongs to another run.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            header = json.loads(file["header"].tobytes().decode())
            arrays = {name: file[name] for name in file.files if name != "header"}
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is not a readable checkpoint of {kind} ({error}); start afresh"
        ) from error
    if all(header.get(name) == value for name, value in expected.items()):
        form = skeleton(header)
        names = list(_named(form))
        if sorted(names) == sorted(arrays):
            leaves = [arrays[name] for name in names]
            return jax.tree.unflatten(jax.tree.structure(form), leaves), header
    raise ValueError(
        f"{path} belongs to another run (other start, potential, settings or program version);"
        " give the same input as before, or start afresh"
    )


def _named(tree: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path).lstrip("."): np.asarray(leaf) for path, leaf in leaves}


def filled(kind: type, **given: Any) -> Any:
    """A named tuple for a skeleton: with what is given, and leaves elsewhere."""
    return kind(**{name: given.get(name, 0) for name in kind._fields})
