"""What a format of ASE's does not hold: what was written against what was read from the file."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from mmtp_jax.io.schema import MAGNETIC_FORCES
from mmtp_jax.io.values import same
from mmtp_jax.language import atoms_entry

_ROUNDING = 1e-6
"""Angstrom, eV and so on: beyond it a number is another one."""
_ZERO_BY_DEFAULT = ("momenta", "tags", "initial_charges")


def differences(given: Atoms, found: Atoms) -> list[str]:
    """What does not come back, in words; both in the schema of `mmtp_jax.io.normalised`."""
    if len(given) != len(found):
        return [f"{len(given)} atoms, of which {len(found)} come back"]
    same_atoms = np.array_equal(given.numbers, found.numbers)
    lost = [] if same_atoms else ["elements or order of the atoms"]
    if not _close(given.cell.array, found.cell.array):
        lost.append("cell")
    if not np.array_equal(given.pbc, found.pbc):
        lost.append("pbc")
    apart = _apart(given, found)
    if not apart <= _ROUNDING:
        lost.append(f"positions (up to {apart:.1g} Angstrom apart)")
    before, after = ({} if a.calc is None else a.calc.results for a in (given, found))
    lost += [name for name in before if name not in after or not _close(before[name], after[name])]
    for name, values in given.arrays.items():
        default = name in _ZERO_BY_DEFAULT and not values.any()
        if name in ("numbers", "positions") or (default and name not in found.arrays):
            continue
        if name not in found.arrays or not _close(values, found.arrays[name]):
            label = name == MAGNETIC_FORCES
            lost.append("magnetic forces" if label else atoms_entry("arrays", name))
    if repr(given.constraints) != repr(found.constraints):
        lost.append("constraints")
    lost += [
        atoms_entry("info", key)
        for key, value in given.info.items()
        if key not in found.info or not same(value, found.info[key])
    ]
    if not _close(given.get_celldisp(), found.get_celldisp()):
        lost.append("displacement of the cell")
    return lost


def _apart(given: Atoms, found: Atoms) -> float:
    """The longest way from where an atom is to where it was, through periodic walls."""
    ways = found.positions - given.positions
    if given.pbc.any() and abs(np.linalg.det(complete := given.cell.complete().array)) > 0:
        steps = np.linalg.solve(complete.T, ways.T).T
        ways = ways - np.where(given.pbc, np.round(steps), 0.0) @ complete
    return float(np.max(np.abs(ways), initial=0.0))


def _close(given: object, found: object) -> bool:
    first, second = np.asarray(given), np.asarray(found)
    if first.shape != second.shape:
        return False
    if first.dtype.kind in "fiub" and second.dtype.kind in "fiub":
        return np.allclose(first, second, rtol=0.0, atol=_ROUNDING, equal_nan=True)
    return np.array_equal(first, second)
