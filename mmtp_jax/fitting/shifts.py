"""Constants of the energies, one for each making of the labels and species.

Two codes, cutoffs or datasets give energies that differ, above all, by a constant for each atom of
a species. Where labels of different making are fitted together, these constants are parameters of
the data beside those of the potential: energy label = E(theta) + sum over species of (number of
atoms) * (constant). The loss is linear in them, and all optimisers treat them as any other
parameter. For each species the making with most configurations has the constant zero, and gives the
potential its e0.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mmtp_jax.structures.making import Makings, makings_of
from mmtp_jax.structures.structure import Structure, of_one_kind

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shift:
    """A constant of the energies of one making, relative to the usual one of its species."""

    making: str
    reference: str
    species: str
    energy: float
    """eV for each atom."""

    def __str__(self) -> str:
        return (
            f"{self.species} by {self.making}: {self.energy:+.6f} eV/atom against {self.reference}"
        )


@dataclass(frozen=True)
class Shifts:
    """Which constants there are."""

    names: tuple[str, ...]
    """Of the makings."""
    columns: tuple[tuple[int, int, int], ...]
    """Making, reference and species of each constant."""

    def __len__(self) -> int:
        return len(self.columns)

    def described(self, values: np.ndarray, species: Sequence[str]) -> tuple[Shift, ...]:
        """The constants (m,) in words."""
        return tuple(
            Shift(self.names[a], self.names[b], species[s], float(value))
            for (a, b, s), value in zip(self.columns, values, strict=True)
        )


def with_shifts(
    structures: Sequence[Structure], makings: Makings
) -> tuple[list[Structure], Shifts | None]:
    """Structures that know which constants count for them; None where one making made all."""
    n_makings = len(makings.names)
    if n_makings < 2:
        return list(structures), None
    n_species = 1 + max(int(s.types.max()) for s in structures)
    counts = np.stack([np.bincount(s.types, minlength=n_species) for s in structures])
    columns = []
    for species in range(n_species):
        have = [int(np.sum(counts[makings.of == k, species] > 0)) for k in range(n_makings)]
        reference = int(np.argmax(have))
        columns += [(k, reference, species) for k in range(n_makings) if have[k] and k != reference]
    rows = np.stack(
        [np.where(makings.of == k, counts[:, species], 0) for k, _, species in columns], axis=1
    ).astype(float)
    marked = [replace(s, shift_counts=row) for s, row in zip(structures, rows, strict=True)]
    return marked, Shifts(makings.names, tuple(columns))


def prepared_makings(
    structures: Sequence[Structure], rule: str, species: Sequence[str] = ()
) -> tuple[list[Structure], Shifts | None]:
    """Structures that may be fitted together: of one making, with moments of one kind.

    Raises:
        ValueError: if they are of different making and the rule is "refuse".
    """
    structures, n_collinear = of_one_kind(structures)
    if n_collinear:
        logger.warning(
            "moments of %d of %d configurations are collinear and count as vectors along z, as "
            "those of the others are vectors",
            n_collinear,
            len(structures),
        )
    makings = makings_of(structures, species)
    makings.check(rule)
    return with_shifts(structures, makings) if rule == "shift" else (list(structures), None)


def shifted(
    structures: Sequence[Structure], values: np.ndarray, known: np.ndarray | None = None
) -> list[Structure]:
    """Structures whose energies are those of the usual making, without constants of their own.

    Args:
        structures: that `with_shifts` has marked, or others, which stay as they are.
        values: (m,) constants, eV.
        known: (m,) which of them are known; the energy of a structure that needs another one is
            left out.
    """
    found = []
    for s in structures:
        counts = s.shift_counts
        if counts is None or s.energy is None:
            found.append(s)
            continue
        possible = known is None or not np.any((counts > 0) & ~known)
        energy = s.energy - float(counts @ values) if possible else None
        found.append(replace(s, energy=energy, shift_counts=None))
    return found


def known_shifts(structures: Sequence[Structure], n: int) -> np.ndarray:
    """(m,) which constants these structures have energies for."""
    rows = [s.shift_counts for s in structures if s.energy is not None]
    if n == 0 or not rows:
        return np.zeros(n, bool)
    return np.any(np.stack(rows) > 0, axis=0)
