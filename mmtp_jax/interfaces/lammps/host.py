"""What is read from LAMMPS and written to it, on one rank. LAMMPS is used through its own module.

Units are those of ``units metal``, which are eV, Angstrom and bar. Per-atom numbers belong to
``fix property/atom``, so they move with their atoms, and dumps and restart files may have them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mmtp_jax.interfaces.lammps.rows import RankAtoms

MAGMOM = "d_magmom"
"""Property of an atom: its moment, mu_B."""
MAGNETIC_FORCE = "d_magnetic_force"
"""Property of an atom: T_i, eV/mu_B."""
GRADE = "d_grade"
"""Property of an atom: its extrapolation grade, or that of the cell."""

FIX = "mmtp"
"""ID of the fix external; its vector is `Thermo`."""
PROPERTIES_FIX = "mmtp_atoms"


class Thermo(NamedTuple):
    """The global vector ``f_mmtp[1]`` to ``f_mmtp[6]`` of the fix, for thermo output."""

    magmom: float
    """Total moment, mu_B."""
    mean_size: float
    """Mean of |m_i|, mu_B."""
    largest_force: float
    """Largest |T_i|, eV/mu_B."""
    n_evaluations: int
    """Of this step."""
    grade: float
    """The highest one of this step."""
    n_unconverged: int
    """Equilibrations so far that did not converge."""


class LammpsHost:
    """One LAMMPS with its atoms, seen from one rank.

    Args:
        lmp: a ``lammps.lammps`` that has a box and atoms.
        species: chemical symbols of the LAMMPS types 1, 2, ...
        known: those of the potential.

    Raises:
        ValueError: if units, types or ids are not as they must be.
    """

    def __init__(self, lmp: Any, species: Sequence[str], known: Sequence[str]) -> None:
        self.lmp = lmp
        units = lmp.extract_global("units")
        if units != "metal":
            raise ValueError(
                f"LAMMPS runs in units {units}; the potential is in eV and Angstrom, so write "
                "'units metal' at the top of the input"
            )
        if lmp.extract_global("atom_style") == "spin":
            raise ValueError(
                "atom_style spin gives atoms vectors as moments, and in LAMMPS the potential takes "
                "collinear ones; write 'atom_style atomic': moments are in d_magmom"
            )
        if not lmp.extract_setting("box_exist"):
            raise ValueError("LAMMPS has no box yet; attach the potential after read_data")
        self._type_of = _map_of_types(int(lmp.extract_setting("ntypes")), species, known)
        self.elements = tuple(known[t] for t in self._type_of[1:])
        """Symbols of the LAMMPS types."""
        self.n_atoms = int(lmp.get_natoms())
        if not self.n_atoms:
            raise ValueError("LAMMPS has no atoms yet; attach the potential after they are made")

    def prepare(self, cutoff: float, skin: float) -> bool:
        """Define pair style, neighbours, properties and fix; whether there were moments before."""
        names = (MAGMOM, MAGNETIC_FORCE, GRADE)
        missing = [name for name in names if self.lmp.extract_atom_datatype(name) < 0]
        if missing:
            self.lmp.command(f"fix {PROPERTIES_FIX} all property/atom {' '.join(missing)}")
        self._define(cutoff)
        self.lmp.commands_string(f"neighbor {skin!r} bin\nneigh_modify every 1 delay 0 check yes")
        self.lmp.fix_external_set_vector_length(FIX, len(Thermo._fields))
        return MAGMOM not in missing

    def _define(self, cutoff: float) -> None:
        # The pair style only makes ghosts to where the potential needs them.
        self.lmp.commands_string(
            f"pair_style zero {cutoff!r} nocoeff\n"
            "pair_coeff * *\n"
            f"fix {FIX} all external pf/callback 1 1\n"
            f"fix_modify {FIX} energy yes virial yes"
        )

    def atoms(self) -> RankAtoms:
        """Own atoms and ghosts; copies."""
        n_own = self.lmp.extract_setting("nlocal")
        n_all = self.lmp.extract_setting("nall")
        get = self.lmp.numpy.extract_atom
        if not n_all:
            return RankAtoms(np.zeros((0, 3)), np.zeros(0, np.int32), np.zeros(0, np.int64), 0)
        return RankAtoms(
            positions=np.array(get("x", nelem=n_all, dim=3), float),
            types=self._type_of[np.ravel(get("type", nelem=n_all))],
            ids=self.ids(n_all),
            n_own=n_own,
        )

    def ids(self, n_all: int) -> np.ndarray:
        """(n_all,) of own atoms, then ghosts."""
        if not n_all:
            return np.zeros(0, np.int64)
        return np.array(self.lmp.numpy.extract_atom("id", nelem=n_all), np.int64).ravel()

    def own_ids(self) -> np.ndarray:
        """(n,)."""
        return np.array(self.own("id"), np.int64)

    def own(self, name: str) -> np.ndarray:
        """(n,) of a property of own atoms, mu_B say; a view that may be written to."""
        n_own = self.lmp.extract_setting("nlocal")
        return np.ravel(self.lmp.numpy.extract_atom(name, nelem=n_own)) if n_own else np.zeros(0)

    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """Cell vectors (3, 3) as rows, Angstrom, and periodic directions (3,)."""
        low, high, xy, yz, xz, periodic, _ = self.lmp.extract_box()
        x, y, z = np.subtract(high, low)
        return np.array([[x, 0, 0], [xy, y, 0], [xz, yz, z]]), np.array(periodic, bool)

    def give(self, energy: float, strain_derivative: np.ndarray, thermo: Thermo) -> None:
        """Energy and virial of all ranks together."""
        virial = -strain_derivative
        self.lmp.fix_external_set_energy_global(FIX, float(energy))
        voigt = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
        self.lmp.fix_external_set_virial_global(FIX, [float(virial[ab]) for ab in voigt])
        self.give_thermo(thermo)

    def give_thermo(self, thermo: Thermo) -> None:
        """The vector of the fix."""
        for k, value in enumerate(thermo, 1):
            self.lmp.fix_external_set_vector(FIX, k, float(value))


def _map_of_types(n_types: int, species: Sequence[str], known: Sequence[str]) -> np.ndarray:
    species = [species] if isinstance(species, str) else list(species)
    if len(species) != n_types:
        raise ValueError(
            f"LAMMPS has {n_types} atom types, but {len(species)} species are given "
            f"({' '.join(species)}); name one chemical symbol for each type"
        )
    unknown = [symbol for symbol in species if symbol not in known]
    if unknown:
        raise ValueError(f"the potential is for {', '.join(known)}, not for {', '.join(unknown)}")
    return np.array([-1, *(list(known).index(symbol) for symbol in species)], np.int32)
