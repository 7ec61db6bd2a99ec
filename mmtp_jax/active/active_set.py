"""The active set: P rows of large volume, and grades relative to it (Kotykhov 2025, Sec. II.B).

Built from many configurations once (`ActiveSet.from_configurations`), extended by candidates
(`ActiveSet.update`), asked for grades, and kept in a file (`storage.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from mmtp_jax.active import storage
from mmtp_jax.active.given import as_structures, fingerprint, polynomials, require_same
from mmtp_jax.active.grade import ActiveFactors, factorise, grades_of_rows
from mmtp_jax.active.growth import IDENTITY, kept_blocks, with_blocks
from mmtp_jax.active.jacobian_rows import (
    CONFIGURATION,
    MEMORY,
    NEIGHBORHOOD,
    Rows,
    check_mode,
    row_blocks,
)
from mmtp_jax.active.maxvol import MISSING_SCALE, TOLERANCE
from mmtp_jax.active.scaling import column_scale
from mmtp_jax.language import counted
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import double_precision
from mmtp_jax.structures.batch import rounded_size
from mmtp_jax.structures.domain import warn_of_canted
from mmtp_jax.structures.structure import Structure

if TYPE_CHECKING:
    from mmtp_jax.active.given import Configurations

_grades = jax.jit(grades_of_rows)


class Taken(NamedTuple):
    """Configurations that an update took into the active set."""

    indices: np.ndarray
    """(t,) which candidates, in the order in which they were taken."""
    grades: np.ndarray
    """(t,) the grade of each when it was taken, relative to the set of that moment."""
    candidate_grades: np.ndarray
    """(n,) grade of each candidate relative to the set before the update."""


@dataclass(frozen=True, eq=False)
class ActiveSet:
    """P rows dE/dtheta, as linearly independent as they were to be had, for one potential.

    Where configurations reach fewer than P directions, rows of the identity fill up the rest:
    ``missing_scale * scale[p]`` times unit vector p. Some always stay, because a magnetic moment
    tensor potential has directions in theta along which its energy does not change at all (radial
    functions can be mixed and the linear coefficients undo it).
    """

    potential: Potential
    """The potential whose derivatives the rows are. After a refit: a new active set."""
    mode: str
    """``"configuration"`` or ``"neighborhood"``: what one row stands for."""
    submatrix: np.ndarray
    """(P, P) A D^-1, the active rows with each column divided by its scale."""
    scale: np.ndarray
    """(P,) D, the size of each column among the rows that the set was made from."""
    configurations: np.ndarray
    """(P,) which configuration each active row is of, counted over all that the set has seen;
    -1 for a row of the identity."""
    atoms: np.ndarray
    """(P,) which atom of it; -1 in configuration mode and for rows of the identity."""
    n_seen: int
    """Configurations that the set was made and updated from."""
    missing_scale: float = MISSING_SCALE
    """Size of the identity's rows, relative to that of the columns."""
    tolerance: float = TOLERANCE
    """Least relative gain of volume of an exchange."""

    @classmethod
    def from_configurations(
        cls,
        potential: Potential,
        configurations: Configurations,
        *,
        mode: str = CONFIGURATION,
        missing_scale: float = MISSING_SCALE,
        tolerance: float = TOLERANCE,
        memory: int = MEMORY,
        missing_moments: str = "error",
    ) -> ActiveSet:
        """Choose the active rows among those of all configurations with maxvol.

        Args:
            potential: the potential.
            configurations: ASE atoms (the moments are the achieved ones where there are any) or
                `Structure`s; labels are not needed.
            mode: ``"configuration"``, one row for each configuration, or ``"neighborhood"``, one
                for each atom.
            missing_scale: size of the rows of the identity, relative to typical rows.
            tolerance: least relative gain of volume of an exchange.
            memory: bytes to compute with; rows beyond it are taken in block by block.
            missing_moments: what to do about atoms without moments: ``"error"``, ``"zero"`` or
                ``"skip"``, see `mmtp_jax.io.missing_moments`.

        Raises:
            ValueError: if there are no configurations, one has an unknown element, no moments or
                derivatives that are not finite, or an argument is out of range.

        Example:
            >>> active = ActiveSet.from_configurations(potential, atoms_list)
            >>> active.grade(other_atoms)
        """
        check_mode(mode)
        potential = polynomials(potential)
        structures = as_structures(configurations, potential, missing_moments)
        if not structures:
            raise ValueError("an active set needs at least one configuration, got none")
        blocks = kept_blocks(row_blocks(potential, structures, mode, memory), memory) or (
            lambda: row_blocks(potential, structures, mode, memory)
        )
        scale = column_scale(rows.values for rows in blocks())
        size = potential.n_parameters
        empty = cls(
            potential=potential,
            mode=mode,
            submatrix=missing_scale * np.eye(size),
            scale=scale,
            configurations=np.full(size, IDENTITY),
            atoms=np.full(size, IDENTITY),
            n_seen=0,
            missing_scale=missing_scale,
            tolerance=tolerance,
        )
        return replace(with_blocks(empty, blocks, fresh=True)[0], n_seen=len(structures))

    # --- what it is ---

    @cached_property
    def factors(self) -> ActiveFactors:
        """A factored, for `configuration_grades` and `neighborhood_grades` inside jit."""
        with double_precision():
            return jax.device_get(factorise(self.submatrix, self.scale))

    def check(self, potential: Potential, user: str) -> None:
        """ValueError if the set belongs to another potential than ``user``, in words, has."""
        message = f"the active set belongs to another potential than {user}"
        require_same(self.potential, potential, message)

    @property
    def n_identity(self) -> int:
        """Number of active rows that are of the identity."""
        return int(np.sum(self.configurations == IDENTITY))

    @property
    def log_volume(self) -> float:
        """log |det A D^-1|."""
        return float(np.linalg.slogdet(self.submatrix)[1])

    @property
    def active_configurations(self) -> np.ndarray:
        """Which configurations have at least one active row, in ascending order."""
        return np.unique(self.configurations[self.configurations != IDENTITY])

    def __str__(self) -> str:
        """One line for reports."""
        size = len(self.scale)
        rows = "configurations" if self.mode == CONFIGURATION else "atoms"
        return (
            f"active set of {size - self.n_identity} {rows} and {self.n_identity} rows of the "
            f"identity, from {counted(self.n_seen, 'configuration')}"
        )

    # --- grades ---

    def grade(
        self,
        configurations: Configurations,
        memory: int = MEMORY,
        *,
        missing_moments: str = "error",
    ) -> np.ndarray:
        """gamma (n,) of each configuration (Kotykhov 2025, Eq. 8); or its worst atom.

        Raises:
            ValueError: if a configuration has an unknown element, no moments (unless
                ``missing_moments`` is ``"zero"``), or derivatives that are not finite; it is named.
        """
        structures = self._to_grade(configurations, missing_moments)
        largest = np.zeros(len(structures))
        for rows, grades in self._graded(structures, memory):
            np.maximum.at(largest, rows.configuration, grades)
        return largest

    def atom_grades(
        self,
        configurations: Configurations,
        memory: int = MEMORY,
        *,
        missing_moments: str = "error",
    ) -> list[np.ndarray]:
        """gamma of every atom, one array (n_atoms,) for each configuration.

        Raises:
            ValueError: as `grade`, or if the rows of this set are not those of atoms.
        """
        if self.mode != NEIGHBORHOOD:
            raise ValueError(
                "this active set has rows of whole configurations, which say nothing about atoms; "
                "make one in the mode neighborhood"
            )
        structures = self._to_grade(configurations, missing_moments)
        grades = [grades for _, grades in self._graded(structures, memory)]
        ends = np.cumsum([len(s) for s in structures])[:-1]
        return np.split(np.concatenate(grades), ends) if structures else []

    def _to_grade(self, configurations: Configurations, missing_moments: str) -> list[Structure]:
        structures = as_structures(configurations, self.potential, missing_moments, one_each=True)
        # A low grade says nothing of it: rows of canted moments are made of collinear parameters.
        warn_of_canted(self.potential, structures)
        return structures

    def _graded(
        self, structures: Sequence[Structure], memory: int
    ) -> Iterator[tuple[Rows, np.ndarray]]:
        for rows in row_blocks(self.potential, structures, self.mode, memory):
            yield rows, self.grades_of(rows.values)

    def grades_of(self, values: np.ndarray) -> np.ndarray:
        """gamma (k,) of rows (k, P)."""
        # Padded to few lengths, because each is compiled anew.
        padded = np.zeros((rounded_size(len(values)), values.shape[1]))
        padded[: len(values)] = values
        with double_precision():
            return np.asarray(_grades(self.factors, padded))[: len(values)]

    # --- growth ---

    def update(
        self,
        candidates: Configurations,
        memory: int = MEMORY,
        *,
        missing_moments: str = "error",
    ) -> tuple[ActiveSet, Taken]:
        """The active set with candidates exchanged for rows that add less, and which they are.

        Starts from the present rows; the volume never decreases. The scale of the columns stays,
        and rows that were seen before without being taken are not looked at again.

        Raises:
            ValueError: as `grade`.
        """
        structures = as_structures(candidates, self.potential, missing_moments, one_each=True)
        if not structures:
            none = np.zeros(0)
            return self, Taken(none.astype(int), none, none)
        first = np.zeros(len(structures))
        kept = kept_blocks(row_blocks(self.potential, structures, self.mode, memory), memory)
        blocks = kept or (lambda: row_blocks(self.potential, structures, self.mode, memory))
        for rows in blocks():
            np.maximum.at(first, rows.configuration, self.grades_of(rows.values))
        grown, entries = with_blocks(self, blocks, fresh=False, offset=self.n_seen)
        grown = replace(grown, n_seen=self.n_seen + len(structures))
        taken = [c - self.n_seen for c in entries if c in grown.active_configurations]
        grades = [entries[c + self.n_seen] for c in taken]
        return grown, Taken(np.array(taken, int), np.array(grades, float), first)

    # --- files ---

    def save(self, path: str | Path) -> None:
        """Write the set as ``.npz`` without pickle; the potential itself is not in it."""
        header = {
            "potential": fingerprint(self.potential),
            "mode": self.mode,
            "n_seen": self.n_seen,
            "missing_scale": self.missing_scale,
            "tolerance": self.tolerance,
        }
        storage.write(path, header, {name: getattr(self, name) for name in storage.ARRAYS})

    @classmethod
    def load(cls, path: str | Path, potential: Potential) -> ActiveSet:
        """Read a set that `save` wrote.

        Raises:
            ValueError: if the file is none, or belongs to another potential.
        """
        header, arrays = storage.read(path)
        potential = polynomials(potential)
        if header.pop("potential") != fingerprint(potential):
            raise ValueError(
                f"{path} is the active set of another potential; make one for this potential from "
                "its training configurations (a refit needs a new active set)"
            )
        if len(arrays["scale"]) != potential.n_parameters:
            raise ValueError(
                f"{path} has {len(arrays['scale'])} rows, and the potential "
                f"{potential.n_parameters} parameters; make the active set again"
            )
        return cls(potential=potential, **header, **arrays)
