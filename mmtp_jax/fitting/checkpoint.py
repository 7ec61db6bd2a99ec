"""A fit on disk: arrays in ``.npz`` without pickle, everything else as a JSON header.

A resumed fit takes the same steps, bit for bit, as one that was not interrupted.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmtp_jax.fitting import processes
from mmtp_jax.fitting.report import Errors, KindErrors
from mmtp_jax.io.fields import converted
from mmtp_jax.io.store import read_store, write_store

logger = logging.getLogger(__name__)

FORMAT = "mmtp_jax fit 2"


def fingerprint(method: str, *trees: Any) -> str:
    """Hash of a method and of the contents of all arrays: what a checkpoint belongs to."""
    digest = hashlib.sha256(method.encode())
    for leaf in jax.tree.leaves(trees):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


class Checkpoint:
    """The state of an optimisation in one file.

    Args:
        path: the file.
        belongs_to: `fingerprint` of all that the fit depends on.
        like: a state of the optimiser, or its shapes.
        every: steps between two writes.
    """

    def __init__(self, path: str | Path, belongs_to: str, like: Any, every: int) -> None:
        self.path, self.belongs_to, self.like, self.every = Path(path), belongs_to, like, every
        self.errors: dict[int, Errors] = {}
        """Of the training set by iteration, where they were evaluated; kept with the state."""

    def exists(self) -> bool:
        """Is there something to resume?"""
        return self.path.exists()

    def is_due(self, step: int) -> bool:
        """Is the state after this step to be written?"""
        return step % self.every == 0

    def save(self, history: list[float], state: Any) -> None:
        """Write history and state, replacing an older checkpoint at once.

        Of several processes the first writes; a fit of all is resumed by all.
        """
        if not processes.is_first():
            return
        leaves = {f"leaf{k}": np.asarray(leaf) for k, leaf in enumerate(jax.tree.leaves(state))}
        header = {
            "format": FORMAT,
            "fingerprint": self.belongs_to,
            "history": history,
            "errors": {str(k): asdict(errors) for k, errors in self.errors.items()},
        }
        write_store(self.path, header, leaves)

    def load(self) -> tuple[Any, list[float]]:
        """The state and the history.

        Raises:
            ValueError: if the file is no checkpoint, or belongs to other data or settings.
        """
        what, advice = "not a readable fit checkpoint", "delete it to start afresh"
        # The line search has infinite errors before its first step.
        places = jax.tree_util.tree_flatten_with_path(self.like)[0]
        infinite = [f"leaf{k}" for k, (at, _) in enumerate(places) if "optimizer_state" in str(at)]
        header, arrays = read_store(self.path, what, advice, infinite)
        if header.get("format") != FORMAT or header.get("fingerprint") != self.belongs_to:
            raise ValueError(
                f"{self.path} belongs to another fit (other data, potential, weights, method or "
                "program version); delete it to start afresh, or give the same input as before"
            )
        expected, tree = jax.tree.flatten(self.like)
        leaves = [arrays.get(f"leaf{k}") for k in range(len(arrays))]
        if [np.shape(a) for a in expected] != [np.shape(a) for a in leaves]:
            raise ValueError(f"{self.path} holds arrays of other shapes; delete it to start afresh")
        try:
            history = list(converted(header.get("history"), tuple[float, ...], "history"))
            self.errors.update(_errors(header.get("errors", {})))
        except ValueError as error:
            raise ValueError(f"{self.path} is {what} ({error}); {advice}") from error
        logger.info("resumed %s after %d steps", self.path, len(history) - 1)
        return jax.tree.unflatten(tree, leaves), history


def _errors(content: Any) -> dict[int, Errors]:
    """Errors by iteration, from what a header holds; ValueError if that is something else."""
    try:
        return {
            int(k): Errors(
                of["n_configurations"], tuple(KindErrors(**kind) for kind in of["kinds"])
            )
            for k, of in content.items()
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("its errors are not those of iterations") from error
