"""Atoms of species that have no moments in a potential: their moments are zero, whatever is given.

No energy depends on such a moment, so a magnetic force of such an atom is no label either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mmtp_jax.structures.structure import Structure
from mmtp_jax.warn import warn

if TYPE_CHECKING:
    from mmtp_jax.potential.potential import Potential


class NonMagneticWarning(UserWarning):
    """Moments were given to atoms that have none in the potential; they count as zero."""


def for_potential(potential: Potential, structures: Sequence[Structure]) -> list[Structure]:
    """The structures, without moments of the species that are non-magnetic in a potential.

    Warns:
        NonMagneticWarning: if any of these moments is not zero.
    """
    if not potential.non_magnetic:
        return list(structures)
    found = [_without(potential, structure) for structure in structures]
    changes = [
        np.linalg.norm((before.magmoms - after.magmoms).reshape(len(after), -1), axis=1)
        for before, after in zip(structures, found, strict=True)
    ]
    lost = [lengths[lengths > 0.0] for lengths in changes]
    where = [k for k, lengths in enumerate(lost) if lengths.size]
    if where:
        first = structures[where[0]].name
        place = f" in {len(where)} of {len(found)} configurations (the first is {first})"
        warn_of_moments(potential, np.concatenate(lost), place)
    return found


def warn_of_moments(potential: Potential, lengths: np.ndarray, place: str = "") -> None:
    """Issue a `NonMagneticWarning` of moments of these lengths, mu_B, that were given."""
    warn(
        f"{len(lengths)} moments of {', '.join(potential.non_magnetic)}{place} are not zero, the "
        f"largest {max(lengths):.2g} mu_B; in this potential these species are non-magnetic, and "
        "the moments count as zero",
        NonMagneticWarning,
    )


def _without(potential: Potential, structure: Structure) -> Structure:
    magnetic = np.asarray(potential.magnetic)[structure.types]
    return replace(
        structure,
        magmoms=np.where(magnetic, structure.magmoms.T, 0.0).T,
        magnetic_forces=structure.magnetic_forces if magnetic.any() else None,
        magnetic=magnetic,
        moments_known=structure.moments_known or not magnetic.any(),
    )
