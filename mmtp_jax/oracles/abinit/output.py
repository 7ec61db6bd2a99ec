"""What ABINIT answers: energy, forces, stress, moments and magnetic forces of its main output.

In the output energies are in Ha and lengths in bohr. The last ``ETOT`` line has the free energy
F = E - TS, of which forces and stress are derivatives, with more digits than ``etotal``. After the
calculation ``fcart`` (Ha/bohr), ``strten`` (Ha/bohr^3, order xx yy zz yz xz xy, sign of
(1/V) dE/d(strain)) and ``grspin`` (+dE/dm, Ha/mu_B, three components, z is the collinear one) are
written, and before it charges and moments in the spheres, three numbers for spinors. A state may
converge and be unphysical: charges, the double-counting energy and negative densities, which only
the log has, betray it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from mmtp_jax.oracles.abinit.units import BOHR, HARTREE

_NUMBER = r"[-+]?\d+\.\d*(?:[EeDd]?[-+]\d+)?"
_AFTER = "-outvars: echo values of variables after computation"


@dataclass(frozen=True, eq=False)
class Output:
    """One calculation; units of this program."""

    version: str
    energy: float
    """eV, the free energy."""
    forces: np.ndarray
    """(n, 3), eV/Angstrom."""
    stress: np.ndarray
    """(6,), eV/Angstrom^3, order and sign of ASE."""
    magmoms: np.ndarray
    """(n,), of spinors (n, 3), mu_B."""
    magnetic_forces: np.ndarray | None
    """(n,) or (n, 3), -dE/dm, eV/mu_B; None without constraint."""
    converged: bool
    n_steps: int
    """Of the self-consistency."""
    residual: float
    """Of the potential."""
    last_changes: tuple[float, ...]
    """Of the energy in the last two steps, Ha."""
    charges: np.ndarray
    """(n,) electrons in the spheres."""
    energy_gap: float | None
    """Double-counting energy minus the direct one, eV, less the term sum m dE/dm by which they
    differ under constraint; None where the former is not printed."""
    fine_grid: int | None
    """Points of the fine FFT grid."""
    cpu_s: float
    wall_s: float


def parse_output(text: str) -> Output:
    """Read ABINIT's main output.

    Raises:
        ValueError: if it is cut off or something is missing; one sentence that says what.
    """
    version = re.search(r"^\.Version\s+(\S+)\s+of ABINIT", text, re.MULTILINE)
    if version is None:
        raise ValueError("it is no output of ABINIT")
    steps = re.findall(rf"^ ETOT\s*(\d+)\s*({_NUMBER})(.*)$", text, re.MULTILINE)
    if not steps:
        raise ValueError("the output ends before the first step of the self-consistency")
    if "Calculation completed" not in text or _AFTER not in text:
        raise ValueError(f"the output ends after {len(steps)} steps of the self-consistency")
    after = text[text.index(_AFTER) :]
    natom = re.search(r"^[P-]?\s+natom\s+(\d+)", after, re.MULTILINE)
    n = 1 if natom is None else int(natom[1])
    number, energy, rest = steps[-1]
    columns = re.findall(_NUMBER, rest)
    charges, magmoms = _in_spheres(text, n)
    gradient = _variable(after, "grspin", 3 * n)
    if gradient is not None:
        gradient = gradient.reshape(n, 3)
        gradient = gradient[:, 2] if magmoms.ndim == 1 else gradient
    grid = re.search(r"^[P-]?\s+ngfftdg\s+(\d+)\s+(\d+)\s+(\d+)", after, re.MULTILINE)
    cpu, wall = _times(text)
    return Output(
        version=version[1],
        energy=_float(energy) * HARTREE,
        forces=_needed(after, "fcart", 3 * n).reshape(n, 3) * HARTREE / BOHR,
        stress=_needed(after, "strten", 6) * HARTREE / BOHR**3,
        magmoms=magmoms,
        magnetic_forces=None if gradient is None else -gradient * HARTREE,
        converged="=>converged" in text,
        n_steps=int(number),
        residual=_float(columns[2]) if len(columns) > 2 else float("nan"),
        last_changes=tuple(_float(re.findall(_NUMBER, s[2])[0]) for s in steps[-2:]),
        charges=charges,
        energy_gap=_energy_gap(text, 0.0 if gradient is None else np.sum(gradient * magmoms)),
        fine_grid=None if grid is None else int(np.prod([int(x) for x in grid.groups()])),
        cpu_s=cpu,
        wall_s=wall,
    )


def messages_of(log: str, kind: str) -> list[str]:
    """Texts of the messages of a kind (ERROR, BUG, WARNING) in ABINIT's log, each once."""
    blocks = re.findall(rf"^--- !{kind}\s*$(.*?)^\.\.\.", log, re.MULTILINE | re.DOTALL)
    texts = [block.split("message: |", 1)[-1] for block in blocks]
    return list(dict.fromkeys(" ".join(t.split()) for t in texts))


def _variable(after: str, name: str, size: int) -> np.ndarray | None:
    found = re.search(rf"^[P-]?\s+{name}\s+((?:{_NUMBER}\s+){{{size}}})", after, re.MULTILINE)
    return None if found is None else np.array([_float(x) for x in found[1].split()])


def _needed(after: str, name: str, size: int) -> np.ndarray:
    found = _variable(after, name, size)
    if found is None:
        raise ValueError(f"there is no {name} in the output")
    return found


def negative_points(log: str) -> int:
    """Points at which ABINIT's log says that the density was negative; the most of all messages."""
    found = re.findall(r"Density went too small\D*\sat\s+(\d+)\s+points", log)
    return max(map(int, found), default=0)


def _in_spheres(text: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Charges (n,) and moments (n,), of spinors (n, 3)."""
    tables = re.findall(
        r"^ Atom\s+Radius\s+(up_density|Total density).*\n((?:\s+\d+\s+.*\n)+)", text, re.MULTILINE
    )
    kind, rows = tables[-1] if tables else ("", "")
    columns = np.array([[_float(x) for x in row.split()[2:6]] for row in rows.splitlines()])
    if columns.shape != (n, 4):
        raise ValueError("there are no moments in spheres for all atoms in the output")
    # Up, down, total, moment; or total, mx, my, mz.
    return (
        (columns[:, 2], columns[:, 3]) if kind == "up_density" else (columns[:, 0], columns[:, 1:])
    )


def _energy_gap(text: str, constraint: float) -> float | None:
    """eV, from energies and sum m dE/dm in Ha."""
    found = [
        re.findall(rf"^{name}\s+:\s+({_NUMBER})", text, re.MULTILINE)
        for name in ("total_energy", "total_energy_dc")
    ]
    if not all(found):
        return None
    direct, double_counting = (_float(values[-1]) for values in found)
    return (double_counting - direct + constraint) * HARTREE


def _times(text: str) -> tuple[float, float]:
    found = re.search(r"Overall time at end \(sec\) : cpu=\s*([\d.]+)\s+wall=\s*([\d.]+)", text)
    return (float("nan"), float("nan")) if found is None else (float(found[1]), float(found[2]))


def _float(text: str) -> float:
    text = text.replace("D", "E").replace("d", "e")
    # Fortran drops the letter of exponents with three digits.
    return float(re.sub(r"(?<=\d)([-+]\d+)$", r"E\1", text) if "e" not in text.lower() else text)
