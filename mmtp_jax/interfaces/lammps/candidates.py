"""Two-threshold preselection in LAMMPS (Kotykhov 2025, Sec. II.B), over all ranks.

The rules are those of `active.preselection`; but here no process has the whole graph. Rows of
neighbourhoods are graded where the atoms are; the row of a configuration is summed over ranks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mmtp_jax.active.candidates import Block
from mmtp_jax.active.preselection import Preselection

_LONG_AGO = -(2**60)


class Looked(NamedTuple):
    """What a configuration is, by its grade."""

    keep: bool
    stop: bool


class Candidates:
    """What a run keeps, decided by the same numbers on every rank; rank 0 writes.

    Args:
        preselection: thresholds, and where candidates go.
        writes: does this rank write?
    """

    def __init__(self, preselection: Preselection, writes: bool) -> None:
        self.preselection, self.writes = preselection, writes
        self.blocks: list[Block] = []
        """Kept ones, one to a block, where there is no store."""
        self._kept_at = _LONG_AGO

    def look(self, grade: float, outside: bool, step: int) -> Looked:
        """Is a configuration to be kept, is the run to be stopped?

        Args:
            grade: of the configuration, or of its worst atom.
            outside: it has a distance below R_min, or a moment at the end of its interval.
            step: of LAMMPS.
        """
        rules = self.preselection
        tally = rules.tally
        finite = bool(np.isfinite(grade))
        above = not grade <= float(rules.grade_break)
        due = not int(rules.grade_every) or step - self._kept_at >= int(rules.grade_every)
        wanted = grade >= float(rules.grade_select) or (outside and bool(rules.keep_outside))
        if finite:
            tally.highest = max(tally.highest, grade)
        return Looked(keep=finite and ((wanted and due) or above), stop=above)

    def keep(
        self,
        positions: np.ndarray,
        cell: np.ndarray,
        periodic: np.ndarray,
        types: np.ndarray,
        magmoms: np.ndarray,
        grade: float,
        outside: bool,
        step: int,
    ) -> None:
        """Keep a configuration of n atoms in the order of their ids."""
        self._kept_at = step
        self.preselection.tally.n_kept += 1
        self.preselection.tally.n_outside += outside
        if not self.writes:
            return
        block = Block(
            positions=positions[None],
            cell=cell[None],
            magmoms=magmoms[None].copy(),
            grade=np.array([grade]),
            outside=np.array([outside]),
            step=np.array([step], np.int32),
            replica=np.zeros(1, np.int32),
            types=types,
            periodic=periodic,
        )
        if self.preselection.store is None:
            self.blocks.append(block)
        else:
            self.preselection.store.append(block)
