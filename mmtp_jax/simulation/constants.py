"""Units of dynamics: Angstrom, eV and atomic mass units, and the time that follows from them.

Velocities are in Angstrom per Angstrom sqrt(amu / eV), which is 10.18 fs, as in ASE; a test
compares. Interfaces take fs, K and GPa.
"""

from __future__ import annotations

FS = 0.09822694788464063
"""One femtosecond, Angstrom sqrt(amu / eV)."""

KB = 8.617330337217213e-05
"""Boltzmann's constant, eV/K."""

HBAR = 0.6582119569 * FS
"""Planck's constant over 2 pi, eV Angstrom sqrt(amu / eV)."""

GYROMAGNETIC = 2.0 / HBAR
"""g / hbar with g = 2 and moments in mu_B: a force of 1 eV/mu_B turns a moment by this angle in the
unit of time; 3.04 rad in a femtosecond."""

GPA = 0.006241509125883258
"""One gigapascal, eV/Angstrom^3."""
