"""Candidates of simulations as one file of configurations, ``.cfg`` or ``.extxyz``."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

from ase import Atoms

from mmtp_jax.active.candidates import Block, Candidate, candidates_of
from mmtp_jax.io.atomic import atomic_write, backup_place
from mmtp_jax.io.atoms import to_atoms
from mmtp_jax.io.cfg_writer import write_cfg_text
from mmtp_jax.io.extxyz import frame
from mmtp_jax.io.names import GRADE

SUFFIXES = (".cfg", ".extxyz", ".xyz")


class CandidateFile:
    """A file of candidates that only grows, and is replaced as a whole each time.

    Nothing is written before there is a candidate. The file of a run that is resumed begins with
    what it had.

    Args:
        path: the file.
        species: chemical symbols of the potential.
        go_on: the file is continued; else one that is there is kept, see `backup_place`.

    Raises:
        ValueError: if the name has another suffix.

    Example:
        >>> file = CandidateFile("met.cfg", pot.species)
        >>> mmtp.md(pot, atoms, 1000, watch=mmtp.Preselection.of(active), keep=file.add)
    """

    def __init__(self, path: str | Path, species: Sequence[str], go_on: bool = False) -> None:
        self.path, self.species = Path(path), tuple(species)
        if self.path.suffix.lower() not in SUFFIXES:
            raise ValueError(
                f"cannot write candidates to {path}: its name must end in {', '.join(SUFFIXES)}"
            )
        self.n = 0
        """Candidates that were added."""
        self._text: list[str] | None = None if go_on else []
        self._waiting: list[Block] = []
        if not go_on and self.path.exists():
            os.replace(self.path, backup_place(self.path))

    def add(self, blocks: Sequence[Block]) -> None:
        """Add the candidates of blocks, and write the file."""
        # First of all, so that Ctrl-C while writing loses nothing: the next call writes them.
        self._waiting += blocks
        self.write()

    def write(self) -> None:
        """Write what has not been written yet."""
        if self._text is None:
            # Read late: a run that is resumed cuts the file first.
            self._text = [self.path.read_text(encoding="utf-8")] if self.path.is_file() else []
        done = len(self._waiting)
        if not done:
            return
        found = [c for block in self._waiting[:done] for c in candidates_of(block)]
        text = [*self._text, _text(self.path, [self._atoms(c) for c in found], self.species)]
        with atomic_write(self.path) as temporary:
            temporary.write_text("".join(text), encoding="utf-8")
        self._text, self._waiting = text, self._waiting[done:]
        self.n += len(found)

    def _atoms(self, candidate: Candidate) -> Atoms:
        atoms = to_atoms(candidate.structure, None, self.species)
        named = {GRADE: candidate.grade, "step": candidate.step, "replica": candidate.replica}
        atoms.info.update(named)
        return atoms


def _text(path: Path, atoms_list: list[Atoms], species: Sequence[str]) -> str:
    if path.suffix.lower() != ".cfg":
        return "".join(frame(atoms)[0] for atoms in atoms_list)
    text = io.StringIO()
    write_cfg_text(text, atoms_list, species, str(path))
    return text.getvalue()
