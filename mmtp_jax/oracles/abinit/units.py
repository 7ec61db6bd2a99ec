"""Atomic units (CODATA 2018), with which the shipped labels of iron were made."""

HARTREE = 27.211386245988
"""eV"""
BOHR = 0.529177210903
"""Angstrom"""
