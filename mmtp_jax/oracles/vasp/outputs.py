"""What VASP answers: OUTCAR (energy, forces, stress, moments) and OSZICAR (the constraint)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmtp_jax.io.reading import read

_END = "General timing and accounting informations for this job"
_NUMBER = re.compile(r"[-+]?\d*\.\d+(?:[EeDd][-+]?\d+)?")


@dataclass(frozen=True, eq=False)
class Constraint:
    """What OSZICAR says of the soft constraint."""

    weight: float
    """lambda, eV/mu_B^2."""
    penalty: float
    """E_p of the last step, eV; part of VASP's energy."""
    smoothed: np.ndarray
    """MW_int (n, 3), mu_B."""
    total: np.ndarray
    """M_int (n, 3), mu_B."""
    field: np.ndarray | None
    """lambda (MW - M_CONSTR) (n, 3), eV/mu_B: VASP calls it ``lambda*MW_perp``."""


@dataclass(frozen=True, eq=False)
class Output:
    """One calculation, atoms in the order of POSCAR."""

    energy: float
    """"free energy TOTEN", eV, penalty included."""
    forces: np.ndarray
    """(n, 3), eV/Angstrom."""
    stress: np.ndarray
    """(6,), eV/Angstrom^3, order and sign of ASE."""
    moments: np.ndarray
    """"magnetization (x)", (y), (z), mu_B: (n, 3), of a collinear calculation (n, 1)."""
    converged: bool
    version: str
    constraint: Constraint | None
    charges: np.ndarray | None = None
    """Electrons in the spheres (n,) of the table "total charge", None where there is none."""


def is_complete(folder: Path) -> bool:
    """Whether VASP has come to its end, converged or not."""
    try:
        with open(folder / "OUTCAR", "rb") as file:
            file.seek(max(0, (folder / "OUTCAR").stat().st_size - 20_000))
            return _END.encode() in file.read()
    except OSError:
        return False


def read_output(folder: Path, n_atoms: int, constrained: bool) -> Output:
    """Read a calculation that is complete.

    Raises:
        ValueError: if something is missing or broken in a file.
    """
    path = folder / "OUTCAR"
    text = path.read_text(encoding="utf-8", errors="replace")
    images = read(path, index=slice(-1, None), format="vasp-out")
    if not images:
        raise ValueError(f"{path} holds no whole calculation")
    atoms = images[0]
    results = {} if atoms.calc is None else atoms.calc.results
    for name in ("energy", "forces", "stress"):
        if name not in results:
            raise ValueError(f"{path} has no {name}")
    if len(atoms) != n_atoms:
        raise ValueError(f"{path} has {len(atoms)} atoms, not {n_atoms}")
    version = re.search(r"\bvasp\.(\S+)", text)
    axes = "xyz" if constrained else "x"
    return Output(
        energy=float(results["energy"]),
        forces=np.asarray(results["forces"], float),
        stress=np.asarray(results["stress"], float),
        moments=np.stack([_moments(text, axis, n_atoms, path) for axis in axes], axis=1),
        charges=_charges(text, n_atoms),
        converged=_converged(text),
        version=version[1] if version else "unknown",
        constraint=read_oszicar(folder / "OSZICAR", n_atoms) if constrained else None,
    )


def read_oszicar(path: Path, n_atoms: int) -> Constraint:
    """The last state of the soft constraint.

    The last block of moments is that before the last electronic step; E_p and the field are
    printed once more after it.

    Raises:
        ValueError: if the file has no such block.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    number = r"([-+.\dEeDd]+)"
    penalties = [m for line in lines if (m := re.match(rf"\s*E_p\s*=\s*{number}", line))]
    weights = [m for line in lines if (m := re.search(rf"\blambda\s*=\s*{number}", line))]
    block = _block(lines, "MW_int", n_atoms, 6)
    if not penalties or not weights or block is None:
        raise ValueError(f"{path} has no whole block of E_p, lambda, MW_int and M_int")
    return Constraint(
        weight=_float(weights[-1][1]),
        penalty=_float(penalties[-1][1]),
        smoothed=block[:, :3],
        total=block[:, 3:],
        field=_block(lines, "lambda*MW_perp", n_atoms, 3),
    )


def _block(lines: list[str], heading: str, n_atoms: int, width: int) -> np.ndarray | None:
    """Numbers of the lines under the last such heading, or None."""
    starts = [k for k, line in enumerate(lines) if heading in line]
    if not starts:
        return None
    # Rows begin with the number of the ion, which has no point and may be printed as stars.
    rows = [_NUMBER.findall(line) for line in lines[starts[-1] + 1 : starts[-1] + 1 + n_atoms]]
    if len(rows) != n_atoms or any(len(row) != width for row in rows):
        return None
    return np.array([[_float(v) for v in row] for row in rows])


def _moments(text: str, axis: str, n_atoms: int, path: Path) -> np.ndarray:
    """Last column of the last table of moments along an axis."""
    start = text.rfind(f"magnetization ({axis})")
    if start < 0:
        raise ValueError(f"{path} has no table 'magnetization ({axis})'")
    moments = _last_column(text, start, n_atoms)
    if moments is None:
        raise ValueError(
            f"{path}: the table 'magnetization ({axis})' has no moments of {n_atoms} atoms"
        )
    return moments


def _charges(text: str, n_atoms: int) -> np.ndarray | None:
    """Last column of the last table of charges."""
    headings = list(re.finditer(r"^ total charge\s*$", text, re.MULTILINE))
    return _last_column(text, headings[-1].start(), n_atoms) if headings else None


def _last_column(text: str, start: int, n_atoms: int) -> np.ndarray | None:
    """That of the table whose heading starts there; None if it is not whole."""
    lines = iter(text[start : start + 200 * (n_atoms + 10)].splitlines())
    if not any(line.strip().startswith("-----") for line in lines):
        return None
    try:
        rows = [next(lines).split() for _ in range(n_atoms)]
        return np.array([float(row[-1]) for row in rows])
    except (StopIteration, ValueError, IndexError):
        return None


def _converged(text: str) -> bool:
    """Whether the electrons converged; VASP 5 says so too when it has used up its NELM steps."""
    if "aborting loop because EDIFF is reached" not in text:
        return False
    allowed = re.search(r"\bNELM\s*=\s*(\d+)", text)
    steps = re.findall(r"Iteration\s+\d+\(\s*(\d+)\)", text)
    return allowed is None or not steps or int(steps[-1]) < int(allowed[1])


def _float(text: str) -> float:
    return float(text.replace("D", "E").replace("d", "e"))
