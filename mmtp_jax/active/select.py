"""Selection: which candidates are worth a label (Kotykhov 2025, Sec. II.B)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmtp_jax.active.active_set import ActiveSet
from mmtp_jax.active.given import as_structures
from mmtp_jax.structures.structure import Structure

if TYPE_CHECKING:
    from mmtp_jax.active.given import Configurations

SAME = 1e-4
"""Configurations are duplicates where no cell vector or position (Angstrom) and no moment (mu_B)
differs by more."""


@dataclass(frozen=True, eq=False)
class Selection:
    """The candidates that maxvol takes into the active set."""

    indices: np.ndarray
    """(t,) which candidates to label, in the order in which they were taken."""
    grades: np.ndarray
    """(t,) the grade of each when it was taken: those before it were already in."""
    candidate_grades: np.ndarray
    """(n,) the grade of every candidate before anything was taken."""
    duplicates: np.ndarray
    """(d,) candidates that were left out because an earlier one is the same."""
    active: ActiveSet
    """The active set with the selected candidates in it."""

    @classmethod
    def of(
        cls,
        active: ActiveSet,
        candidates: Configurations,
        limit: int | None = None,
        *,
        missing_moments: str = "error",
    ) -> Selection:
        """Select among candidates.

        Args:
            active: the active set of the training configurations.
            candidates: ASE atoms or `Structure`s; they need no labels.
            limit: most candidates to select: the first that are taken.
            missing_moments: of atoms: ``"error"``, or ``"zero"`` to take them at zero.

        Raises:
            ValueError: if a candidate is not usable; it is named.
        """
        if limit is not None and limit < 1:
            raise ValueError(f"limit must be at least 1, got {limit}")
        structures = as_structures(candidates, active.potential, missing_moments, one_each=True)
        first = first_of_its_kind(structures)
        unique = np.flatnonzero(first == np.arange(len(structures)))
        grown, taken = active.update([structures[k] for k in unique])
        grades = np.zeros(len(structures))
        grades[unique] = taken.candidate_grades
        chosen = unique[taken.indices]
        if limit is not None and len(chosen) > limit:
            chosen = chosen[:limit]
            grown, taken = active.update([structures[k] for k in chosen])
            chosen = chosen[taken.indices]
        return cls(
            indices=chosen,
            grades=taken.grades,
            candidate_grades=grades[first],
            duplicates=np.setdiff1d(np.arange(len(structures)), unique),
            active=grown,
        )


def select(
    active: ActiveSet,
    candidates: Configurations,
    limit: int | None = None,
    *,
    missing_moments: str = "error",
) -> np.ndarray:
    """Indices of the candidates to label next, in the order in which maxvol takes them.

    `Selection.of` gives the grades and the new active set as well.

    Args:
        active: the active set of the training configurations.
        candidates: ASE atoms; they need no labels. Duplicates are left out.
        limit: most candidates to select.
        missing_moments: of atoms: ``"error"``, or ``"zero"`` to take them at zero.

    Raises:
        ValueError: if a candidate is not usable; it is named.

    Example:
        >>> active = mmtp.ActiveSet.from_configurations(potential, training)
        >>> to_label = [candidates[k] for k in mmtp.select(active, candidates)]
    """
    return Selection.of(active, candidates, limit, missing_moments=missing_moments).indices


def first_of_its_kind(structures: Sequence[Structure], tolerance: float = SAME) -> np.ndarray:
    """(n,) for each structure the first one that is the same; itself where there is none before.

    The same are those with equal species in equal order, equal cells and moments, and positions
    that are equal up to periodic images and one common shift.
    """
    first = np.arange(len(structures))
    groups: dict[tuple, list[int]] = {}
    for k, structure in enumerate(structures):
        periodic = np.asarray(structure.periodic, bool).tobytes()
        key = (structure.types.tobytes(), periodic, structure.vectors)
        groups.setdefault(key, []).append(k)
    for members in groups.values():
        first[members] = np.array(members)[_firsts([structures[k] for k in members], tolerance)]
    return first


def _firsts(structures: Sequence[Structure], tolerance: float) -> np.ndarray:
    """`first_of_its_kind` of structures with the same species and periodic directions."""
    cells = np.stack([s.cell for s in structures])
    moments = np.stack([s.magmoms for s in structures])
    # From the first atom on, the last one first: it tells most structures apart.
    positions = np.stack([(s.positions - s.positions[0])[::-1] for s in structures])
    first = np.arange(len(structures))
    for k in range(1, len(first)):
        near = np.flatnonzero(first[:k] == np.arange(k))
        per_cell = np.linalg.pinv(cells[k])
        for values in (cells, moments):
            near = near[_largest(values[near] - values[k]) <= tolerance]
        for values in (positions[:, :1], positions):
            change = values[near] - values[k]
            change = change - np.round(change @ per_cell) @ cells[k]
            near = near[_largest(change) <= tolerance]
        if len(near):
            first[k] = near[0]
    return first


def _largest(change: np.ndarray) -> np.ndarray:
    return np.abs(change).max(axis=tuple(range(1, change.ndim)), initial=0.0)
