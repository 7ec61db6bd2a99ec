"""INCAR, KPOINTS, POSCAR and POTCAR of one calculation (Burov 2026, supplement S2).

One difference from the paper's INCAR: constrained calculations do not set ISPIN, because VASP
from 6.5 on stops at ISPIN = 2 together with LNONCOLLINEAR, and older ones ignore it there.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.io.vasp import write_vasp

from mmtp_jax.oracles.vasp.penalty import directions
from mmtp_jax.oracles.vasp.settings import CONSTRAINED_EDIFF, VaspSettings

LEAST_CONSTRAINT = 1e-4
"""VASP does not constrain atoms whose M_CONSTR is zero; those get this much, mu_B."""

_BASE: dict[str, Any] = {
    "ALGO": "Normal", "EDIFF": 1e-6, "IBRION": 1, "ISMEAR": 1, "ISYM": 0, "LORBIT": 11,
    "LCHARG": True, "LWAVE": True, "NELM": 200, "NELMIN": 4, "NSW": 0, "ISIF": 2,
    "PREC": "Accurate", "SIGMA": 0.1,
}  # fmt: skip
_VECTORS_PER_LINE = 4


def unconstrained_tags(
    settings: VaspSettings, species: Sequence[str], radii: np.ndarray, targets: np.ndarray
) -> dict[str, Any]:
    """INCAR of the calculation without constraint, which starts from the target moments.

    It is collinear for numbers (n,), and noncollinear for vectors (n, 3).
    """
    vectors = np.ndim(targets) > 1
    tags = {
        "SYSTEM": "equilibrium",
        **_BASE,
        "ENCUT": settings.cutoff_ev,
        **({} if vectors else {"ISPIN": 2}),
        "ISTART": 0,
        "ICHARG": 2,
        "LNONCOLLINEAR": vectors,
        "RWIGS": radii,
        "MAGMOM": np.asarray(targets).reshape(len(targets), -1),
    }
    return _by_species(tags | dict(settings.incar), species)


def constrained_tags(
    settings: VaspSettings,
    species: Sequence[str],
    radii: np.ndarray,
    targets: np.ndarray,
    constraint: np.ndarray,
    weight: float,
) -> dict[str, Any]:
    """INCAR of a noncollinear calculation with soft constraints.

    Args:
        settings: of the labeller.
        species: in the order of POSCAR.
        radii: (species,) RWIGS, Angstrom.
        targets: (n,) along the axis or (n, 3), MAGMOM, mu_B.
        constraint: the same of M_CONSTR.
        weight: LAMBDA, eV/mu_B^2.
    """
    tags = {
        "SYSTEM": "soft-constrained",
        **_BASE,
        "EDIFF": CONSTRAINED_EDIFF,
        "ENCUT": settings.cutoff_ev,
        "ISTART": 1,
        "ICHARG": 1,
        "LNONCOLLINEAR": True,
        "I_CONSTRAINED_M": 2,
        "LAMBDA": weight,
        "RWIGS": radii,
        "MAGMOM": along(targets, settings.axis),
        "M_CONSTR": along(constrained(constraint), settings.axis),
    }
    return _by_species(tags | dict(settings.incar) | dict(settings.incar_constrained), species)


def constrained(constraint: np.ndarray) -> np.ndarray:
    """Constraint moments (n,) or (n, 3) as VASP is told: none is zero."""
    if constraint.ndim > 1:
        lengths = np.linalg.norm(constraint, axis=1, keepdims=True)
        least = LEAST_CONSTRAINT * directions(constraint)
        return np.where(lengths < LEAST_CONSTRAINT, least, constraint)
    tiny = np.copysign(LEAST_CONSTRAINT, constraint)
    return np.where(np.abs(constraint) < LEAST_CONSTRAINT, tiny, constraint)


def along(values: np.ndarray, axis: str) -> np.ndarray:
    """Vectors (n, 3): components (n,) along an axis, or vectors as they are."""
    values = np.asarray(values, float)
    return values if values.ndim > 1 else np.outer(values, np.eye(3)["xyz".index(axis)])


def like(vectors: np.ndarray, targets: np.ndarray, axis: str) -> np.ndarray:
    """Vectors (n, 3) in the shape of the targets: as they are, or their components (n,)."""
    return vectors if targets.ndim > 1 else vectors[:, "xyz".index(axis)]


def incar(tags: Mapping[str, Any]) -> str:
    """Text of INCAR; long lists go over several lines."""
    return "".join(f"{tag} = {_value(value)}\n" for tag, value in sorted(tags.items()))


def kpoints(divisions: tuple[int, int, int]) -> str:
    """Text of KPOINTS: a Gamma-centred mesh."""
    return f"Gamma-centred mesh\n0\nGamma\n{' '.join(map(str, divisions))}\n0 0 0\n"


def poscar(atoms: Atoms) -> str:
    """Text of POSCAR, in the order of ``atoms``."""
    text = io.StringIO()
    write_vasp(text, Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True), direct=True)
    return text.getvalue()


def _by_species(tags: dict[str, Any], species: Sequence[str]) -> dict[str, Any]:
    """Tables by species become lists in the order of POSCAR."""
    found = {}
    for tag, value in tags.items():
        if isinstance(value, Mapping):
            missing = [symbol for symbol in species if symbol not in value]
            if missing:
                raise ValueError(f"incar.{tag} has no value for {', '.join(missing)}; add it")
            value = [value[symbol] for symbol in species]
        found[tag] = value
    return found


def _value(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return ".TRUE." if value else ".FALSE."
    if isinstance(value, np.ndarray) and value.ndim == 2:
        rows = [" ".join(f"{v:.6f}" if v else "0" for v in row) for row in value]
        parts = range(0, len(rows), _VECTORS_PER_LINE)
        # A backslash as the last character of a line joins it with the next one.
        return " \\\n".join("  ".join(rows[k : k + _VECTORS_PER_LINE]) for k in parts)
    if isinstance(value, (list, tuple, np.ndarray)):
        return " ".join(_value(v) for v in value)
    if isinstance(value, (float, np.floating)):
        return f"{value:.6g}"
    return str(value)
