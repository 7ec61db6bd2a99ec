"""How strongly a fitted potential keeps atoms and moments inside of its intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase.data import atomic_numbers

from mmtp_jax.potential.potential import Confinement, Potential

COULOMB = 14.399645
"""e^2 / (4 pi eps_0), eV Angstrom."""
SCREENING_LENGTH = 0.46850
"""Angstrom, over Z_i^0.23 + Z_j^0.23."""
SCREENING = ((0.18175, 3.19980), (0.50986, 0.94229), (0.28022, 0.40290), (0.02817, 0.20162))
"""phi(x) = sum a exp(-b x) (Ziegler, Biersack, Littmark 1985)."""
STIFFNESS = 100.0
"""k of k M u^3, eV/mu_B: 0.75 eV/mu_B pull a moment back that is 5 % too large."""


def zbl(species: Sequence[str], distance: float) -> np.ndarray:
    """Universal repulsion (S, S) of bare atoms (Ziegler, Biersack, Littmark 1985), eV."""
    numbers = np.array([atomic_numbers[symbol] for symbol in species], float)
    length = SCREENING_LENGTH / np.add.outer(numbers**0.23, numbers**0.23)
    screened = sum(a * np.exp(-b * distance / length) for a, b in SCREENING)
    return COULOMB * np.multiply.outer(numbers, numbers) / distance * screened


def with_confinement(potential: Potential) -> Potential:
    """The same potential, confined to its intervals (`mmtp_jax.potential.confinement`).

    Moments of non-magnetic species cost nothing.
    The repulsion is the exponential through the universal one of bare atoms at R_min / 2 and R_min.
    """
    r = float(potential.min_dist)
    far, near = zbl(potential.species, r), zbl(potential.species, r / 2)
    decay = r / 2 / np.log(near / far)
    stiffness = np.where(potential.magnetic, STIFFNESS, 0.0)
    return potential.replace(confinement=Confinement(far * np.exp(r / decay), decay, stiffness))


def without_confinement(potential: Potential) -> Potential:
    """The same potential inside of its intervals, and its polynomials alone outside."""
    return potential.replace(confinement=None)
