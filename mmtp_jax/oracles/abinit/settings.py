"""How ABINIT computes: one frozen dataclass, checked when it is made.

Names end in their unit where ABINIT's own unit is used: Ha (27.2114 eV) and bohr
(0.529177 Angstrom).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from mmtp_jax.language import listed

SMEARINGS = {"fermi-dirac": 3, "cold": 4, "methfessel-paxton": 6, "gaussian": 7}
"""ABINIT's ``occopt``."""
_GIVEN = """
    natom ntypat typat znucl acell rprim angdeg xred xcart xangst pp_dirpath pseudos spinat nsppol
    nspden nspinor pawspnorb nsym chksymbreak constraint_kind ratsph magconon iscf optforces
    optstress ndtset optcell ionmov
    ecut pawecutdg ecutsm ngkpt kptrlatt kptopt nshiftk shiftk occopt tsmear nband nstep tolvrs
    toldfe tolwfr toldff tolrff magcon_lambda ratsm usepawu lpawu upawu jpawu getden irdden
    getden_filepath prtden indata_prefix outdata_prefix output_file
"""
GIVEN = frozenset(_GIVEN.split())
"""Variables that come from the other settings or the configuration, and cannot be extra ones."""

STARTS = ("atoms", "free")
"""Densities from which the self-consistency starts."""

CUTOFFS = {"ecut_Ha": "ngfft", "pawecutdg_Ha": "ngfftdg"}
"""Cutoffs, and the extra variables for their FFT grids, which depend on the cell."""


@dataclass(frozen=True)
class AbinitSettings:
    """Settings of ABINIT, the same for all configurations.

    Raises:
        ValueError: if a value cannot be.
    """

    datasets: Mapping[str, str]
    """PAW dataset of each species: a path, or a name in Debian's folders, e.g.
    ``{"Fe": "Fe.xml"}`` (abinit-data) or ``{"Fe": "Fe.PBE.gz"}`` (gpaw-data)."""
    ecut_Ha: float = 20.0
    """Cutoff of the plane waves."""
    pawecutdg_Ha: float = 40.0
    """Cutoff of the fine grid of PAW."""
    ecutsm_Ha: float = 0.5
    """Width in which plane waves fade out below the cutoff. Without it the stress is wrong by
    several GPa."""
    kspacing: float = 0.3
    """Largest distance of k-points, 1/Angstrom, with the factor 2 pi: N = |b| / kspacing. The mean
    cell of all that are alike decides, see `mmtp_jax.oracles.meshes`."""
    kmesh: tuple[int, int, int] | None = None
    """So many k-points along the reciprocal vectors, in place of ``kspacing``."""
    kshift: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Shift of the mesh, in its steps."""
    smearing: str = "gaussian"
    """Of the occupations: fermi-dirac, cold, methfessel-paxton or gaussian."""
    smearing_Ha: float = 0.01
    """Its width."""
    empty_bands_per_atom: float = 5.0
    """Bands above those that half the electrons fill; the majority spin needs some of them."""
    bands: int | None = None
    """Number of bands, in place of the rule; twice as many spinors for vectors."""
    tolerance: float = 1e-6
    """Largest residual of the potential (ABINIT's tolvrs). It leaves energies at 1e-9 Ha and forces
    at 1e-3 eV/Angstrom; a smaller one loses labels, which never get there."""
    steps: int = 60
    """Steps of the self-consistency; half as many more in attempts after the first."""
    attempts: int = 3
    """How many ways to converge are tried: as it is, damped, from the unconstrained density. One
    that nearly converged goes on from its density."""
    start: str = "atoms"
    """From which density: "atoms", or "free", that of a calculation without constraint. DFT+U may
    have several minima: labels from both should agree."""
    constrained: tuple[str, ...] | None = None
    """Species whose moments are held; all if not given. An empty list holds none: moments are
    then at equilibrium, and magnetic forces are zero."""
    radii_bohr: Mapping[str, float] = field(default_factory=dict)
    """Radii of the spheres that define moments, at least those of the datasets, which are
    taken where a species is not named. Spheres must not overlap."""
    sphere_smearing_bohr: float = 0.05
    """Width of the edge of the spheres."""
    magcon_lambda: float | None = None
    """Step of the search for the constraint, by default 0.05, and 0.01 for vectors, which do not
    converge with larger ones; the converged result does not depend on it."""
    hubbard: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    """DFT+U by species: angular momentum l, U in eV, J in eV; e.g. ``{"Cr": (2, 3.0, 0.0)}``."""
    hubbard_kind: int = 1
    """ABINIT's usepawu: 1 is the fully localised limit, 2 around mean field."""
    symmetry: bool = False
    """Use the symmetry of cell, atoms and collinear targets, which spares most k-points of ideal
    cells (six of seven for four atoms of CrN). The mesh must have it as well, else ABINIT stops;
    moments that are free keep it. The labels are the same."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """More variables of ABINIT, e.g. ``{"ngfft": [20, 20, 20]}``."""
    executable: str = "abinit"
    """Name or path."""
    mpi: str = ""
    """What starts it in parallel, e.g. ``"mpirun -np 4"``."""
    threads: int = 1
    """Of OpenMP and BLAS, in each process."""

    def __post_init__(self) -> None:
        for one in fields(self):
            # 20 and 20.0 are the same settings.
            if one.type == "float":
                object.__setattr__(self, one.name, float(getattr(self, one.name)))
        for name in ("datasets", "radii_bohr", "hubbard", "extra"):
            object.__setattr__(self, name, dict(getattr(self, name)))
        for name in ("kmesh", "kshift", "constrained"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else tuple(value))
        self._check_numbers()
        if not self.datasets:
            raise ValueError('there is no PAW dataset; give one by species, e.g. Fe = "Fe.xml"')
        for name in ("radii_bohr", "hubbard", "constrained"):
            for symbol in getattr(self, name) or ():
                if symbol not in self.datasets:
                    raise ValueError(f"{name} names {symbol}, which has no PAW dataset")
        for symbol, numbers in self.hubbard.items():
            if len(numbers) != 3 or numbers[0] not in (0, 1, 2, 3):
                raise ValueError(
                    f"hubbard of {symbol} must be l (0 to 3), U in eV and J in eV, got "
                    f"{listed(numbers)}"
                )
        for name in self.extra:
            if name.lower() in GIVEN or not re.fullmatch(r"[a-zA-Z]\w*", name):
                raise ValueError(
                    f"the variable {name!r} cannot be an extra one: it comes from other settings "
                    "or from the configuration"
                )

    def _check_numbers(self) -> None:
        if self.smearing not in SMEARINGS:
            known = ", ".join(SMEARINGS)
            raise ValueError(f"smearing must be one of {known}, got {self.smearing!r}")
        if self.start not in STARTS:
            raise ValueError(f"start must be one of {', '.join(STARTS)}, got {self.start!r}")
        positive = (
            "ecut_Ha", "pawecutdg_Ha", "kspacing", "smearing_Ha", "tolerance", "steps", "threads",
            "sphere_smearing_bohr", "magcon_lambda", "attempts",
        )  # fmt: skip
        for name in positive:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")
        for name in ("ecutsm_Ha", "empty_bands_per_atom"):
            if not getattr(self, name) >= 0.0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.pawecutdg_Ha < self.ecut_Ha:
            raise ValueError(
                f"pawecutdg_Ha must not be below ecut_Ha, got {self.pawecutdg_Ha:g} and "
                f"{self.ecut_Ha:g}"
            )
        if self.kmesh is not None and (len(self.kmesh) != 3 or min(self.kmesh) < 1):
            raise ValueError(f"kmesh must be three positive numbers, got {list(self.kmesh)}")
        if len(self.kshift) != 3:
            raise ValueError(f"kshift must be three numbers, got {list(self.kshift)}")
        if self.bands is not None and self.bands < 1:
            raise ValueError(f"bands must be at least 1, got {self.bands}")
        if self.hubbard_kind not in (1, 2):
            raise ValueError(f"hubbard_kind must be 1 or 2, got {self.hubbard_kind}")

    def holds(self, symbol: str) -> bool:
        """Are the moments of this species constrained?"""
        return self.constrained is None or symbol in self.constrained
