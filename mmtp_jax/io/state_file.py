"""Checkpoints of simulations: the arrays of a pytree in ``.npz`` without pickle, a JSON header.

Each array has the name of its place in the tree, and a file is read into a tree of the same names.
The leaves of that tree say what the arrays are: the kind of their type, as numpy has it, and the
lengths along their axes, letters for those that are the same wherever the letter stands. "f R n 3"
are real numbers, three for each of n atoms of R replicas; "f R n 3?" one, or three where moments
are vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmtp_jax.io.fields import checked_fields
from mmtp_jax.io.store import read_store, write_store


def save_state(path: str | Path, header: dict[str, Any], tree: Any) -> None:
    """Write a tree of arrays, replacing an older file at once."""
    write_store(path, header, {k: np.asarray(leaf) for k, leaf in _named(tree).items()})


def load_state(
    path: str | Path,
    kind: str,
    expected: dict[str, Any],
    header_class: type,
    skeleton: Callable[[Any], Any],
    infinite: Container[str] = (),
) -> tuple[Any, Any]:
    """The tree of a file, and its header.

    Args:
        path: the file.
        kind: what messages call a checkpoint, e.g. "dynamics".
        expected: entries that the header must have, e.g. format and fingerprint.
        header_class: dataclass of all entries of the header.
        skeleton: makes a tree of the same form from the header; its leaves are texts as above.
        infinite: names of the arrays that may hold infinity.

    Raises:
        ValueError: if the file is no such checkpoint, or belongs to another run.
    """
    what, advice = f"not a readable checkpoint of {kind}", "start afresh"
    content, arrays = read_store(path, what, advice, infinite)
    if all(content.get(name) == value for name, value in expected.items()):
        try:
            header = header_class(**checked_fields(content, header_class, "header"))
            form = skeleton(header)
        except ValueError as error:
            raise ValueError(f"{path} is {what} ({error}); {advice}") from error
        forms = _named(form)
        if sorted(forms) == sorted(arrays):
            try:
                _check(arrays, forms)
            except ValueError as error:
                raise ValueError(f"{path} is {what} ({error}); {advice}") from error
            leaves = [arrays[name] for name in forms]
            return jax.tree.unflatten(jax.tree.structure(form), leaves), header
    raise ValueError(
        f"{path} belongs to another run (other start, potential, settings or program version);"
        " give the same input as before, or start afresh"
    )


def _named(tree: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path).lstrip("."): leaf for path, leaf in leaves}


def _check(arrays: dict[str, np.ndarray], forms: dict[str, str]) -> None:
    lengths: dict[str, int] = {}
    for name, form in forms.items():
        kinds, *axes = form.split()
        array = arrays[name]
        if axes and axes[-1].endswith("?"):
            axes = [*axes[:-1], axes[-1][:-1]][: max(array.ndim, len(axes) - 1)]
        wanted = [
            int(axis) if axis.isdigit() else lengths.setdefault(axis, length)
            for axis, length in zip(axes, array.shape, strict=False)
        ]
        if len(axes) != array.ndim or list(array.shape) != wanted or array.dtype.kind not in kinds:
            raise ValueError(f"its array {name} is {array.dtype} of the shape {array.shape}")


def filled(kind: type, default: str = "f R", **given: Any) -> Any:
    """A named tuple for a skeleton: with what is given, and ``default`` elsewhere."""
    return kind(**{name: given.get(name, default) for name in kind._fields})
