"""Largest moments of species, and which species have none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmtp_jax.language import argument, listed, named

NON_MAGNETIC_MAX = 0.1
"""M_max in mu_B that is written for a species without moments, whose energies it does not enter."""


def one_per_species(value: float | Sequence[float], species: tuple[str, ...]) -> np.ndarray:
    """M_max (S,) from one number or one per species, mu_B; ValueError if it is neither."""
    values = np.asarray(value, float)
    if values.ndim > 1 or values.size not in (1, len(species)):
        raise ValueError(
            f"{named('max_magmom')} has {values.size} numbers for the species "
            f"{' '.join(species)}; give one number, or one per species"
        )
    values = np.broadcast_to(values, (len(species),)).copy()
    if not np.all(values >= 0):
        raise ValueError(f"{named('max_magmom')} must not be negative, got {listed(values)} mu_B")
    return values


def magnetic_of(species: tuple[str, ...], non_magnetic: tuple[str, ...]) -> tuple[bool, ...]:
    """(S,) whether each species has moments."""
    return tuple(symbol not in non_magnetic for symbol in species)


def declared(
    max_magmom: float | Sequence[float], non_magnetic: Sequence[str], species: tuple[str, ...]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """M_max (S,) in mu_B, all positive, and the species without moments.

    Args:
        max_magmom: one number, or one per species; 0 declares a species non-magnetic.
        non_magnetic: species that are declared by name.
        species: of the potential.

    Raises:
        ValueError: if a name is none of the species, none is left with moments, or a species has
            a moment and is non-magnetic.
    """
    values, still = one_per_species(max_magmom, species), _among(non_magnetic, species)
    if np.size(max_magmom) > 1:
        torn = [s for s, m in zip(species, values, strict=True) if s in still and m > 0.0]
        if torn:
            raise ValueError(
                f"{', '.join(torn)} cannot be {named('non_magnetic')} and have a "
                f"{named('max_magmom')} of {values[species.index(torn[0])]:g} mu_B; give 0 for it"
            )
    zero = np.array([s in still or m == 0.0 for s, m in zip(species, values, strict=True)])
    if zero.all():
        raise ValueError(
            f"all species ({', '.join(species)}) would be non-magnetic by "
            f"{named('non_magnetic')} or a {named('max_magmom')} of 0, so that no energy depends "
            f"on moments; declare none, and give {argument('magnetic_size', 1)} instead"
        )
    found = tuple(symbol for symbol, of in zip(species, zero, strict=True) if of)
    return np.where(zero, NON_MAGNETIC_MAX, values), found


def _among(non_magnetic: Sequence[str], species: tuple[str, ...]) -> tuple[str, ...]:
    names = (non_magnetic,) if isinstance(non_magnetic, str) else tuple(non_magnetic)
    unknown = [symbol for symbol in names if symbol not in species]
    if unknown:
        raise ValueError(
            f"{named('non_magnetic')} names {', '.join(map(str, unknown))}, but the species are "
            f"{', '.join(species)}"
        )
    return names
