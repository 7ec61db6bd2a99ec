"""What ABINIT is told: its input variables for one configuration.

Lengths in bohr, energies in Ha, moments in mu_B: numbers are along z, vectors need spinors.
``constraint_kind`` is given by type and ``spinat``, which holds the targets, by atom; ``iscf 7`` is
the mixing that constraints need.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.neighborlist import neighbor_list

from mmtp_jax.oracles.abinit.datasets import Dataset
from mmtp_jax.oracles.abinit.settings import CUTOFFS, SMEARINGS, AbinitSettings
from mmtp_jax.oracles.abinit.units import BOHR
from mmtp_jax.oracles.sampling import good_size, mesh_of

CONSTRAINED_MOMENT = 1
"""``constraint_kind``: the vector of the moment, which is the number for collinear ones."""


COLLINEAR = {"kptopt": 1, "nsppol": 2, "nspden": 2, "nspinor": 1}
"""Two densities of spin. Of a mesh and its mirror image one half is enough, since both spins have
real Hamiltonians."""
SPINORS = {"kptopt": 4, "nsppol": 1, "nspden": 4, "nspinor": 2, "pawspnorb": 0}
"""Vectors, without spin-orbit coupling. Moments out of one plane make k and -k different states,
and those in one plane only equal up to a turn of the spins, which no halved mesh knows of: all of
the mesh is needed."""
MEMORY = 15
"""Steps that the mixing of spinors remembers. Two atoms of iron with moments 144 degrees apart come
to a residual of 1e-4 in 48 steps with it; with 7 as by default, also with bands converged further
in each step (nline 8), or with 20 they stay between 3e-4 and 5e-3 until the 60th, with energies
that change by 1e-7 Ha."""
SEARCH_STEPS = {False: 0.05, True: 0.01}
"""Of magcon_lambda, of vectors or not. Two atoms of iron with moments 117 degrees apart go from a
residual of 100 to 1e-2 in 20 iterations with 0.01, and stay at 24 for 60 with 0.05."""


@dataclass(frozen=True)
class Attempt:
    """One way to converge."""

    name: str
    more_steps: float = 1.0
    variables: Mapping[str, Any] | None = None
    restart: bool = False
    """Start from the density of a calculation without constraint."""


DAMPED = {"diemix": 0.35, "npulayit": 12}
"""Shorter steps and a longer memory of the mixing."""
LADDER = (
    Attempt("default"),
    Attempt("damped", 1.5, DAMPED),
    Attempt("restart", 1.5, DAMPED, restart=True),
)


def species_of(atoms: Atoms) -> list[str]:
    """The species in the order of ABINIT's types."""
    return list(dict.fromkeys(atoms.get_chemical_symbols()))


def radii_of(settings: AbinitSettings, datasets: Mapping[str, Dataset]) -> dict[str, float]:
    """Radius of the sphere of each species, bohr.

    Raises:
        ValueError: if one is smaller than that of its dataset.
    """
    radii = {}
    for symbol, dataset in datasets.items():
        radius = settings.radii_bohr.get(symbol, dataset.sphere)
        if radius < dataset.radius - 1e-9:
            raise ValueError(
                f"the radius {radius:g} bohr of {symbol} is smaller than that of its PAW dataset, "
                f"{dataset.radius:.4g}"
            )
        radii[symbol] = radius
    return radii


def overlap_of(
    atoms: Atoms, radii: Mapping[str, float], held: Sequence[bool] | np.ndarray
) -> str | None:
    """A sentence about the worst pair of spheres that overlap; None if there is none.

    Pairs with at least one constrained atom count: ABINIT itself does not look.
    """
    symbols = atoms.get_chemical_symbols()
    reach = {
        (a, b): (radii[a] + radii[b]) * BOHR for a in set(symbols) for b in set(symbols)
    }  # fmt: skip
    i, j, distance = neighbor_list("ijd", atoms, reach)
    held = np.asarray(held, bool)
    counts = held[i] | held[j]
    if not counts.any():
        return None
    i, j, distance = i[counts], j[counts], distance[counts]
    short = np.array([d - reach[symbols[a], symbols[b]] for a, b, d in zip(i, j, distance)])  # noqa: B905
    k = int(np.argmin(short))
    a, b = symbols[i[k]], symbols[j[k]]
    return (
        f"the spheres of atoms {i[k]} ({a}) and {j[k]} ({b}) overlap: they are {distance[k]:.3f} "
        f"Angstrom apart, and their radii need {reach[a, b]:.3f}"
    )


def kmesh_of(settings: AbinitSettings, cell: np.ndarray) -> tuple[int, int, int]:
    """Number of k-points along each reciprocal vector, for a cell on its own."""
    return settings.kmesh or mesh_of(np.asarray(cell)[None], settings.kspacing)


def grids_of(settings: AbinitSettings, lengths: np.ndarray) -> dict[str, list[int]]:
    """FFT grids of a cell of these lengths (3,), Angstrom, that are not among the extra variables.

    They hold a sphere of twice the radius of that of the plane waves, as ABINIT's own do.
    """
    grids = {}
    for cutoff, name in CUTOFFS.items():
        if name not in settings.extra:
            wave = math.sqrt(2.0 * getattr(settings, cutoff))
            radii = 2.0 * wave * np.asarray(lengths) / BOHR / (2.0 * math.pi)
            grids[name] = [good_size(2 * math.floor(radius) + 1) for radius in radii]
    return grids


def bands_of(settings: AbinitSettings, datasets: Mapping[str, Dataset], symbols: list[str]) -> int:
    """Number of bands of one spin."""
    if settings.bands is not None:
        return settings.bands
    electrons = sum(datasets[s].valence for s in symbols)
    return math.ceil(electrons / 2 + settings.empty_bands_per_atom * len(symbols))


def variables_of(
    settings: AbinitSettings,
    datasets: Mapping[str, Dataset],
    atoms: Atoms,
    attempt: Attempt = LADDER[0],
    *,
    constrain: bool = True,
    density: str | None = None,
) -> dict[str, Any]:
    """All input variables.

    Args:
        settings: of ABINIT.
        datasets: of each species.
        atoms: the configuration; its initial moments are the targets, (n,) along z or (n, 3).
        attempt: how to converge.
        constrain: hold the moments of the constrained species; else keep the density.
        density: file with the density to start from.
    """
    symbols, species = atoms.get_chemical_symbols(), species_of(atoms)
    radii = radii_of(settings, datasets)
    moments = np.asarray(atoms.get_initial_magnetic_moments(), float)
    spinors = moments.ndim > 1
    held = [constrain and settings.holds(s) for s in species]
    found: dict[str, Any] = {
        "natom": len(atoms),
        "ntypat": len(species),
        "typat": [species.index(s) + 1 for s in symbols],
        "znucl": [atomic_numbers[s] for s in species],
        "pp_dirpath": '"."',
        "pseudos": f'"{", ".join(f"{s}.xml" for s in species)}"',
        "acell": [1.0, 1.0, 1.0],
        "rprim": atoms.cell.array / BOHR,
        "xred": atoms.positions @ np.linalg.inv(atoms.cell.array),
        "ecut": settings.ecut_Ha,
        "pawecutdg": settings.pawecutdg_Ha,
        "ecutsm": settings.ecutsm_Ha,
        "ngkpt": list(kmesh_of(settings, atoms.cell.array)),
        "nshiftk": 1,
        "shiftk": list(settings.kshift),
        # 0 looks for symmetries, of the targets as well. Of spinors there is none: it would have to
        # turn spins.
        "nsym": 0 if settings.symmetry and not spinors else 1,
        "chkprim": 0,
        "chksymtnons": 0,
        # A mesh without the symmetry of the crystal would be halved all the same.
        "chksymbreak": int(settings.symmetry),
        "occopt": SMEARINGS[settings.smearing],
        "tsmear": settings.smearing_Ha,
        # A spinor band holds one electron.
        "nband": (1 + spinors) * bands_of(settings, datasets, symbols),
        **(SPINORS if spinors else COLLINEAR),
        "spinat": moments if spinors else np.outer(moments, [0.0, 0.0, 1.0]),
        "ratsph": [radii[s] for s in species],
        "ratsm": settings.sphere_smearing_bohr,
        "iscf": 7,
        "nstep": math.ceil(settings.steps * attempt.more_steps),
        "tolvrs": settings.tolerance,
        "optforces": 1,
        "optstress": 1,
        "prtwf": 0,
        "prteig": 0,
        # Another run may start from it.
        "prtden": 1,
    }
    if any(held):
        found["constraint_kind"] = [CONSTRAINED_MOMENT if h else 0 for h in held]
        step = settings.magcon_lambda
        found["magcon_lambda"] = step if step is not None else SEARCH_STEPS[spinors]
    if settings.hubbard:
        none = (-1, 0.0, 0.0)
        orbital, u, j = zip(*(settings.hubbard.get(s, none) for s in species), strict=True)
        found["usepawu"] = settings.hubbard_kind
        found["lpawu"] = [int(x) for x in orbital]
        found["upawu"] = f"{value_text(list(u))} eV"
        found["jpawu"] = f"{value_text(list(j))} eV"
    if density is not None:
        found["getden_filepath"] = f'"{density}"'
    found.update(attempt.variables or {})
    if spinors:
        found["npulayit"] = MEMORY
    found.update(settings.extra)
    return found


def input_text(variables: Mapping[str, Any]) -> str:
    """The file that ABINIT reads."""
    lines = []
    for name, value in variables.items():
        if isinstance(value, np.ndarray) and value.ndim == 2:
            lines.append(name)
            lines += ["  " + " ".join(f"{x:.14f}" for x in row) for row in value]
        else:
            lines.append(f"{name} {value_text(value)}")
    return "\n".join(lines) + "\n"


def value_text(value: Any) -> str:
    """Numbers as ABINIT reads them."""
    if isinstance(value, (list, tuple)):
        return " ".join(value_text(v) for v in value)
    if isinstance(value, float):
        return f"{value:.12g}"
    return str(value)
