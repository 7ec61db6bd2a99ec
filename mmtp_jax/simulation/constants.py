"""Units of dynamics: Angstrom, eV and atomic mass units, and the time that follows from them.

Velocities are in Angstrom per Angstrom sqrt(amu / eV), which is 10.18 fs, as in ASE; a test
compares. Interfaces take fs, K and GPa.
"""

from __future__ import annotations

FS = 0.09822694788464063
"""One femtosecond, Angstrom sqrt(amu / eV)."""

KB = 8.617330337217213e-05
"""Boltzmann's constant, eV/K."""

GPA = 0.006241509125883258
"""One gigapascal, eV/Angstrom^3."""
