"""Candidates: what a simulation met that the potential extrapolates to, in memory and on disk."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmtp_jax.io.store import read_store, write_store
from mmtp_jax.structures.structure import Structure

FORMAT = "mmtp_jax candidates 1"
_NAME = "candidates-{:06d}.npz"
_PATTERN = re.compile(r"candidates-(\d{6,})\.npz")


class Block(NamedTuple):
    """k configurations of the same n atoms, as they leave the buffer of a `Preselection`."""

    positions: np.ndarray
    """(k, n, 3) Angstrom."""
    cell: np.ndarray
    """(k, 3, 3) Angstrom, rows are the cell vectors."""
    magmoms: np.ndarray
    """(k, n) or (k, n, 3) mu_B."""
    grade: np.ndarray
    """(k,) gamma."""
    outside: np.ndarray
    """(k,) bool: a distance or a moment was outside of the potential's intervals."""
    step: np.ndarray
    """(k,) of the simulation."""
    replica: np.ndarray
    """(k,) of the simulation."""
    types: np.ndarray
    """(n,) species index."""
    periodic: np.ndarray
    """(3,) bool."""


class Candidate(NamedTuple):
    """One configuration that may be worth a label."""

    structure: Structure
    """Without labels."""
    grade: float
    """gamma when it was met."""
    outside: bool
    """A distance or a moment was outside of the potential's intervals."""
    step: int
    """Of the simulation."""
    replica: int
    """Of the simulation."""


def candidates_of(block: Block, name: str = "") -> list[Candidate]:
    """The candidates of a block; ``name`` of the simulation goes into messages."""
    before = f"{name}, " if name else ""
    return [
        Candidate(
            structure=Structure(
                cell=block.cell[k],
                periodic=block.periodic,
                positions=block.positions[k],
                types=block.types,
                magmoms=block.magmoms[k],
                name=f"{before}step {block.step[k]}, replica {block.replica[k]}",
            ),
            grade=float(block.grade[k]),
            outside=bool(block.outside[k]),
            step=int(block.step[k]),
            replica=int(block.replica[k]),
        )
        for k in range(len(block.grade))
    ]


class CandidateStore:
    """A folder of candidates that is only added to: one file for each block, whole or not at all.

    Args:
        folder: is made if it is not there.
        name: of the simulation, for messages; the name of the folder if not given.

    Example:
        >>> store = CandidateStore("candidates/md")
        >>> mmtp.md(pot, atoms, 1000, watch=Preselection.of(active, store=store))
        >>> [c.structure for c in store.read()]
    """

    def __init__(self, folder: str | Path, name: str = "") -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.name = name or self.folder.name

    @property
    def files(self) -> list[Path]:
        """In the order in which they were written."""
        found = [(_PATTERN.fullmatch(p.name), p) for p in self.folder.iterdir()]
        return [path for _, path in sorted((int(m[1]), path) for m, path in found if m)]

    def append(self, block: Block) -> None:
        """Write a block to the disk, unless it is empty."""
        if not len(block.grade):
            return
        files = self.files
        number = int(_PATTERN.fullmatch(files[-1].name)[1]) + 1 if files else 1
        path = self.folder / _NAME.format(number)
        write_store(path, {"format": FORMAT}, block._asdict())

    def read(self) -> list[Candidate]:
        """All candidates.

        Raises:
            ValueError: if a file is no block of candidates; it is named.
        """
        return [c for path in self.files for c in candidates_of(_block(path), self.name)]

    def clear(self) -> None:
        """Remove what is there: of a simulation that is run again from its start."""
        for path in self.files:
            path.unlink()


def _block(path: Path) -> Block:
    what = "no file of candidates"
    header, arrays = read_store(path, what, "remove it", infinite=("grade",), needs_header=False)
    try:
        block = Block(**arrays)
        k, n, *vector = np.shape(block.magmoms)
        moments = (k, n, *[3] * len(vector))
        shapes = ((k, n, 3), (k, 3, 3), moments, (k,), (k,), (k,), (k,), (n,), (3,))
        kinds = ("f", "f", "f", "f", "b", "iu", "iu", "iu", "b")
        for name, array, shape, kind in zip(Block._fields, block, shapes, kinds, strict=True):
            if array.shape != shape or array.dtype.kind not in kind:
                raise ValueError(f"its array {name} is {array.dtype} of the shape {array.shape}")
        if header.get("format", FORMAT) != FORMAT or np.any(block.types < 0):
            raise ValueError(f"its format is not '{FORMAT}', or a type is negative")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is {what} ({error}); remove it") from error
    return block


def last_outside(candidates: Sequence[Candidate]) -> list[int]:
    """Of each replica the last candidate outside of the potential's intervals: where it stopped."""
    found = {c.replica: k for k, c in enumerate(candidates) if c.outside}
    return sorted(found.values())
