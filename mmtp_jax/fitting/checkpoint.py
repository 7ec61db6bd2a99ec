"""A fit on disk: arrays in ``.npz`` without pickle, everything else as a JSON header.

A resumed fit takes the same steps, bit for bit, as one that was not interrupted. Where a fit begins
with a part of the data, one file serves both stages, and says which of them it is in.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmtp_jax.fitting import processes
from mmtp_jax.fitting.report import Errors, KindErrors
from mmtp_jax.io.fields import converted
from mmtp_jax.io.store import read_store, write_store

logger = logging.getLogger(__name__)

FORMAT = "mmtp_jax fit 3"

BEST = "best"
"""Name of the parameters with the lowest loss of the validation set; older files have none."""

_WHAT, _ADVICE = "not a readable fit checkpoint", "delete it to start afresh"


def fingerprint(method: str, *trees: Any) -> str:
    """Hash of a method and of the contents of all arrays: what a checkpoint belongs to."""
    digest = hashlib.sha256(method.encode())
    for leaf in jax.tree.leaves(trees):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


@dataclass
class PartRecord:
    """The first stage of a fit, which is to a part of the data."""

    indices: list[int]
    """Configurations of the part."""
    n_atoms: int = 0
    """Of the part, once the stage has ended."""
    message: str = ""
    """Why the stage ended; empty while it has not."""
    history: list[float] = field(default_factory=list)
    """Lowest loss of the part so far, after each step, once the stage has ended."""
    errors: dict[int, Errors] = field(default_factory=dict)
    """Of the part by iteration, likewise."""

    def summary(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "n_configurations": len(self.indices),
            "n_atoms": self.n_atoms,
            "n_iterations": len(self.history) - 1,
            "loss": self.history[-1],
            "message": self.message,
        }


@dataclass
class Validated:
    """What was met of the validation set so far, where it was evaluated."""

    losses: dict[int, float] = field(default_factory=dict)
    """By iteration."""
    best: tuple[int, np.ndarray] | None = None
    """Iteration of the lowest loss, and the parameters (P + m,) there."""


class Checkpoint:
    """The state of an optimisation in one file.

    Args:
        path: the file.
        belongs_to: `fingerprint` of all that the fit depends on.
        like: a state of the optimiser, or its shapes.
        every: steps between two writes.
        n_parameters: P + m, with the constants of the energies; None where no set is validated.
        part: the stage that was first, if there was one.
        in_part: is it the state of that stage?
    """

    def __init__(
        self,
        path: str | Path,
        belongs_to: str,
        like: Any,
        every: int,
        n_parameters: int | None = None,
        part: PartRecord | None = None,
        in_part: bool = False,
    ) -> None:
        self.path, self.belongs_to, self.like, self.every = Path(path), belongs_to, like, every
        self.n_parameters, self.part, self.in_part = n_parameters, part, in_part
        self.errors: dict[int, Errors] = {}
        """Of the training set by iteration, where they were evaluated; kept with the state."""
        self.validated = Validated()
        """Of the validation set, likewise."""

    def for_part(self, part: PartRecord) -> Checkpoint:
        """The state of the first stage, in the same file."""
        return Checkpoint(
            self.path, self.belongs_to, self.like, self.every, part=part, in_part=True
        )

    def found_part(self) -> tuple[PartRecord | None, bool]:
        """The first stage that the file knows of, and whether its state is of that stage.

        Raises:
            ValueError: as `load`.
        """
        if not self.path.exists():
            return None, False
        header, _ = self._read()
        return _part_of(header.get("part"), self.path), header.get("stage") == "part"

    def exists(self) -> bool:
        """Is there something to resume in this stage?"""
        return self.path.exists() and self.found_part()[1] == self.in_part

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
            "errors": _as_json(self.errors),
            "stage": "part" if self.in_part else "all",
            "part": None
            if self.part is None
            else {**vars(self.part), "errors": _as_json(self.part.errors)},
            "validation": {str(k): loss for k, loss in self.validated.losses.items()},
        }
        if self.validated.best is not None:
            header["best"], leaves[BEST] = self.validated.best
        write_store(self.path, header, leaves)

    def load(self) -> tuple[Any, list[float]]:
        """The state and the history.

        Raises:
            ValueError: if the file is no checkpoint, or belongs to other data or settings.
        """
        header, arrays = self._read()
        expected, tree = jax.tree.flatten(self.like)
        best = arrays.pop(BEST, None)
        leaves = [arrays.get(f"leaf{k}") for k in range(len(arrays))]
        if [np.shape(a) for a in expected] != [np.shape(a) for a in leaves]:
            raise ValueError(f"{self.path} holds arrays of other shapes; delete it to start afresh")
        try:
            history = list(converted(header.get("history"), tuple[float, ...], "history"))
            self.errors.update(_errors(header.get("errors", {})))
            losses = converted(header.get("validation", {}), dict[str, float], "validation")
            self.validated.losses.update({int(k): loss for k, loss in losses.items()})
            if best is not None:
                if best.shape != (self.n_parameters,) or best.dtype != np.float64:
                    raise ValueError("its best parameters are not those of the potential")
                self.validated.best = converted(header.get("best"), int, "best"), best
                self.validated.losses[self.validated.best[0]]
        except KeyError as error:
            raise ValueError(
                f"{self.path} is {_WHAT} (it has no loss of its best step); {_ADVICE}"
            ) from error
        except ValueError as error:
            raise ValueError(f"{self.path} is {_WHAT} ({error}); {_ADVICE}") from error
        of = " to a part of the data" if self.in_part else ""
        logger.info("resumed %s after %d steps%s", self.path, len(history) - 1, of)
        return jax.tree.unflatten(tree, leaves), history

    def _read(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        # The line search has infinite errors before its first step.
        places = jax.tree_util.tree_flatten_with_path(self.like)[0]
        infinite = [f"leaf{k}" for k, (at, _) in enumerate(places) if "optimizer_state" in str(at)]
        header, arrays = read_store(self.path, _WHAT, _ADVICE, infinite)
        if header.get("format") != FORMAT or header.get("fingerprint") != self.belongs_to:
            raise ValueError(
                f"{self.path} belongs to another fit (other data, potential, weights, method or "
                "program version); delete it to start afresh, or give the same input as before"
            )
        return header, arrays


def _as_json(errors: dict[int, Errors]) -> dict[str, Any]:
    return {str(k): asdict(of) for k, of in errors.items()}


def _part_of(content: Any, path: Path) -> PartRecord | None:
    """The first stage, from what a header holds."""
    if content is None:
        return None
    try:
        part = PartRecord(**content)
        part.indices = list(converted(part.indices, tuple[int, ...], "indices"))
        part.history = list(converted(part.history, tuple[float, ...], "history"))
        part.n_atoms = converted(part.n_atoms, int, "n_atoms")
        part.message = converted(part.message, str, "message")
        part.errors = _errors(part.errors)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is {_WHAT} ({error}); {_ADVICE}") from error
    return part


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
