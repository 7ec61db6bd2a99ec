"""The active set: P rows of large volume, and grades relative to it (Kotykhov 2025, Sec. II.B).

Built from many configurations once (`ActiveSet.from_configurations`), extended by candidates
(`ActiveSet.update`), asked for grades, and kept in a file (`storage.py`).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from mmtp_jax.active import storage
from mmtp_jax.active.grade import ActiveFactors, factorise, grades_of_rows
from mmtp_jax.active.jacobian import (
    CONFIGURATION,
    MEMORY,
    NEIGHBORHOOD,
    Rows,
    check_mode,
    row_blocks,
)
from mmtp_jax.active.maxvol import MISSING_SCALE, TOLERANCE, MaxVol, maxvol
from mmtp_jax.active.scaling import column_scale
from mmtp_jax.potential.potential import Potential
from mmtp_jax.precision import double_precision
from mmtp_jax.structures.batch import rounded_size
from mmtp_jax.structures.structure import Structure

if TYPE_CHECKING:
    from ase import Atoms

    Configurations = Atoms | Structure | Sequence[Atoms | Structure]

logger = logging.getLogger(__name__)

IDENTITY = -1
"""Source of an active row that is a row of the identity."""

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
        potential = potential.astype(np.float64)
        structures = as_structures(configurations, potential, missing_moments)
        if not structures:
            raise ValueError("an active set needs at least one configuration, got none")
        blocks = _kept(row_blocks(potential, structures, mode, memory), memory) or (
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
        return replace(empty._with_blocks(blocks, fresh=True)[0], n_seen=len(structures))

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
            f"identity, from {self.n_seen} configurations"
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
        structures = as_structures(configurations, self.potential, missing_moments, one_each=True)
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
        structures = as_structures(configurations, self.potential, missing_moments, one_each=True)
        grades = [grades for _, grades in self._graded(structures, memory)]
        ends = np.cumsum([len(s) for s in structures])[:-1]
        return np.split(np.concatenate(grades), ends) if structures else []

    def _graded(
        self, structures: Sequence[Structure], memory: int
    ) -> Iterator[tuple[Rows, np.ndarray]]:
        for rows in row_blocks(self.potential, structures, self.mode, memory):
            yield rows, self._grades(rows.values)

    def _grades(self, values: np.ndarray) -> np.ndarray:
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
        kept = _kept(row_blocks(self.potential, structures, self.mode, memory), memory)
        blocks = kept or (lambda: row_blocks(self.potential, structures, self.mode, memory))
        for rows in blocks():
            np.maximum.at(first, rows.configuration, self._grades(rows.values))
        grown, entries = self._with_blocks(blocks, fresh=False, offset=self.n_seen)
        grown = replace(grown, n_seen=self.n_seen + len(structures))
        taken = [c - self.n_seen for c in entries if c in grown.active_configurations]
        grades = [entries[c + self.n_seen] for c in taken]
        return grown, Taken(np.array(taken, int), np.array(grades, float), first)

    def _with_blocks(
        self, blocks: Callable[[], Iterable[Rows]], fresh: bool, offset: int = 0
    ) -> tuple[ActiveSet, dict[int, float]]:
        """The set after all blocks, and the grade of each configuration when it first came in.

        The blocks are seen again until none has anything to add: an exchange can make a row worth
        taking that was not before.
        """
        active, entries, again = self, {}, True
        while again:
            again = False
            for rows in blocks():
                worth = np.arange(len(rows.values))
                if not fresh:
                    worth = np.flatnonzero(active._grades(rows.values) > 1.0 + active.tolerance)
                if len(worth):
                    chosen = Rows(*(part[worth] for part in rows))
                    active, news = active._exchanged(chosen, fresh, offset)
                    # A configuration that left and came back has the grade of its return.
                    entries = {c: g for c, g in entries.items() if c not in news} | news
                    again = again or (bool(news) and not fresh)
                fresh = False
        return active, entries

    def _exchanged(
        self, rows: Rows, fresh: bool, offset: int
    ) -> tuple[ActiveSet, dict[int, float]]:
        own = np.flatnonzero(self.configurations != IDENTITY)
        matrix = np.concatenate([self.submatrix[own], rows.values / self.scale])
        start = None if fresh else self._start(own)
        found = maxvol(
            matrix, missing_scale=self.missing_scale, tolerance=self.tolerance, start=start
        )
        if not found.converged:
            logger.warning("maxvol gave up after %d exchanges", found.n_swaps)
        configuration = np.concatenate([self.configurations[own], rows.configuration + offset])
        atom = np.concatenate([self.atoms[own], rows.atom])
        is_row = found.active >= 0
        row = np.maximum(found.active, 0)
        changed = replace(
            self,
            submatrix=found.submatrix,
            configurations=np.where(is_row, configuration[row], IDENTITY),
            atoms=np.where(is_row, atom[row], IDENTITY),
        )
        return changed, _entries(found, configuration, len(own))

    def _start(self, own: np.ndarray) -> np.ndarray:
        """The present rows as a start of maxvol: own rows come first, others are the identity's."""
        start = np.zeros(len(self.scale), int)
        start[own] = np.arange(len(own))
        missing = np.flatnonzero(self.configurations == IDENTITY)
        start[missing] = -1 - np.argmax(self.submatrix[missing], axis=1)
        return start

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
        potential = potential.astype(np.float64)
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


def fingerprint(potential: Potential) -> str:
    """Hash of all that the energy depends on; the same after a round trip through a file."""
    potential = potential.astype(np.float64)
    tables = potential.tables
    digest = hashlib.sha256(repr((potential.species, potential.symmetrised)).encode())
    for array in (tables.basic, tables.products, tables.scalars, *jax.tree.leaves(potential)):
        array = np.ascontiguousarray(array)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def require_same(own: Potential, other: Potential, message: str) -> None:
    """ValueError unless both potentials are the same function of atoms, species, form and all."""
    if own is not other and fingerprint(own) != fingerprint(other):
        raise ValueError(
            f"{message}; make one with ActiveSet.from_configurations(potential, "
            "training_configurations)"
        )


def as_structures(
    configurations: Configurations,
    potential: Potential,
    missing_moments: str = "error",
    *,
    one_each: bool = False,
) -> list[Structure]:
    """Structures from ASE atoms or structures, one or several.

    Args:
        configurations: atoms, or structures, which are taken as they are.
        potential: whose species count.
        missing_moments: what to do about atoms without moments.
        one_each: there has to be a structure for each of them, so that none can be left out.

    Raises:
        ValueError: if a configuration is not usable, see `mmtp_jax.io.convert.to_structure`.
    """
    if isinstance(configurations, Structure):
        return [configurations]
    if hasattr(configurations, "get_chemical_symbols"):
        configurations = [configurations]
    configurations = list(configurations)
    if all(isinstance(c, Structure) for c in configurations):
        return configurations
    from mmtp_jax.io.convert import to_structures
    from mmtp_jax.io.missing_moments import with_moments

    if potential.magnetic_size > 1:
        configurations = with_moments(configurations, missing_moments, may_skip=not one_each)
    return to_structures(configurations, potential.species)


def _kept(blocks: Iterator[Rows], memory: int) -> Callable[[], Iterable[Rows]] | None:
    """The blocks in memory, or None where they are too large for that."""
    found, used = [], 0
    for rows in blocks:
        found.append(rows)
        used += rows.values.nbytes
        if used > memory:
            return None
    return lambda: found


def _entries(found: MaxVol, configuration: np.ndarray, n_own: int) -> dict[int, float]:
    """Grades of the configurations that came in with new rows, in the order in which they did."""
    entered = np.flatnonzero(found.entry[n_own:] >= 0) + n_own
    inside = np.intersect1d(entered, found.active)
    order = inside[np.argsort(found.entry[inside])]
    entries: dict[int, float] = {}
    for row in order:
        entries.setdefault(int(configuration[row]), float(found.entry_grade[row]))
    return entries
