"""Functions of the last release that others have taken the place of; they go with the next one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ase import Atoms

from mmtp_jax.potential.potential import Potential
from mmtp_jax.properties.elastic import elastic_constants
from mmtp_jax.properties.elastic_results import ElasticConstants
from mmtp_jax.properties.phonon_results import Phonons
from mmtp_jax.properties.phonons import phonons


def paramagnetic_elastic_constants(
    potential: Potential, atoms: Atoms, n: int = 20, **options: Any
) -> ElasticConstants:
    """`mmtp_jax.elastic_constants` with ``states=n``."""
    _check_number(n)
    return elastic_constants(potential, atoms, states=n, **options)


def paramagnetic_phonons(
    potential: Potential,
    atoms: Atoms,
    supercell: int | Sequence[Any] | None = None,
    n: int = 20,
    **options: Any,
) -> Phonons:
    """`mmtp_jax.phonons` with ``states=n``."""
    _check_number(n)
    return phonons(potential, atoms, supercell, states=n, **options)


def _check_number(n: int) -> None:
    # As ``states`` it would stand for the one state that is given.
    if not n:
        raise ValueError(f"an average with its error needs at least two states, got n = {n}")
