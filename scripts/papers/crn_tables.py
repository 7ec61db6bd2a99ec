"""Tables and figures of `crn.py` beside the paper, of what its commands and our labels say."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers
from common import save, subplots, write_table

import mmtp_jax as mmtp
from mmtp_jax.simulation.constants import GPA

PROPERTIES = "properties.extxyz"
"""Our labels of strained cells and of displaced atoms."""
DISPLACEMENT = 0.03
"""Angstrom, of one atom in the labels of `properties`."""
ORDERS = ("fm", "afm", "double", "third")
"""Ferromagnet, single layers along [001], double layers along [110], and the wave (1 1/2 0)."""
MIXED, LAYERS = "16-mixed-", "4-afm-reference"
"""Labels of `properties`: how those of the disordered state begin, and single layers at rest."""
OF_STRAINS = {"C11": ("xx+", 0), "C12": ("xx+", 1), "C13": ("xx+", 2), "C44": ("yz+", 3)}
"""Of that state: the cell that is strained by 0.01, and the stress that it changes. One side of a
strain has terms of third order in it, of DFT and of the potential alike."""
TO_THZ = 15.633302
"""sqrt(eV/amu)/Angstrom / (2 pi)."""
LUCA_LEITNAKER = (11.10, 1.58e-3)
"""C_p = a + b T of CrN, cal/(mol K): J. Am. Ceram. Soc. 1973, a review of measurements."""
JOULE_PER_CALORIE, GAS_CONSTANT = 4.184, 8.314463
PAPER_ERRORS = {"energy": 1.7, "forces": 108.0, "stress": 0.4, "magnetic_forces": 64.0}
"""Table I: meV/atom for 64 atoms, meV/Angstrom, GPa, meV/mu_B, on training data."""
VOIGT = ("C11", "C22", "C33", "C12", "C13", "C23", "C44", "C55", "C66")
PAPER_ELASTIC = {
    ("FM", "paper, mMTP"): (573, 573, 573, 108, 108, 108, 164, 164, 164),
    ("AFM", "paper, mMTP"): (620, 620, 708, 113, 97, 97, 158, 158, 164),
    ("AFM", "paper, DFT"): (680, 680, 709, 100, 62, 62, 122, 122, 177),
    ("AFM", "Zhou 2014, DFT"): (696, 696, 722, 113, 76, 76, 124, 124, 174),
    ("PM", "paper, mMTP"): (645, 645, 645, 98, 98, 98, 160, 160, 160),
    ("PM", "Zhou 2014, DFT"): (649, 649, 649, 99, 99, 99, 145, 145, 145),
}
"""Table II, GPa."""


def elastic_table(folder: Path) -> None:
    """Table II: ours, our own DFT where there are labels of it, and the paper's columns."""
    rows: list[list[object]] = [["state", "method", *VOIGT]]
    dft = dft_constants(folder / PROPERTIES)
    for state in ("FM", "AFM", "PM"):
        file = folder / f"table2_{state.lower()}.json"
        if file.exists():
            found = json.loads(file.read_text())
            rows.append([state, "ours, mMTP", *components(found["constants_GPa"], state)])
        if state in dft:
            rows.append([state, "ours, DFT", *dft[state]])
        rows += [[s, m, *map(float, c)] for (s, m), c in PAPER_ELASTIC.items() if s == state]
    write_table(folder / "table2.csv", rows)


def components(constants: Sequence[Sequence[float]], state: str) -> list[float]:
    """C11, C22, C33, C12, C13, C23, C44, C55, C66 in the axes of the cubic cell.

    The antiferromagnet is calculated in the cell (a/sqrt2, a/sqrt2, a), turned by 45 degrees.
    """
    c = np.array(constants)
    if state == "AFM":
        c = turned(c)
        found = [*np.diag(c)[:3], c[0, 1], c[0, 2], c[1, 2], *np.diag(c)[3:]]
    else:
        of_cube = np.diag(c)[:3].mean(), c[[0, 0, 1], [1, 2, 2]].mean(), np.diag(c)[3:].mean()
        found = np.repeat(of_cube, 3)
    return [float(x) for x in found]


def turned(c: np.ndarray) -> np.ndarray:
    """Constants (6, 6) of a tetragonal crystal in axes turned by 45 degrees about z, GPa."""
    sum_, mean = c[0, 0] + c[0, 1], 0.5 * (c[0, 0] + c[0, 1])
    found = c.copy()
    found[0, 0] = found[1, 1] = mean + c[5, 5]
    found[0, 1] = found[1, 0] = sum_ - found[0, 0]
    found[5, 5] = 0.5 * (c[0, 0] - c[0, 1])
    return found


def dft_constants(labels: Path) -> dict[str, list[float]]:
    """Of the strained cells among our labels, by differences of stresses, GPa; atoms at rest.

    At the lattice parameter of the labels, whose reference is under a stress of its own.
    """
    stress = {a.info["label"]: a.get_stress() / GPA for a in mmtp.read(labels)}
    found = {}
    for state, short in (("FM", "4-fm-"), ("AFM", "4-afm-")):
        rest = stress.get(f"{short}reference")
        needed = ["xx+", "xx-", "yz+"] + (["zz+", "zz-", "xy+"] if state == "AFM" else [])
        if rest is None or any(short + name not in stress for name in needed):
            continue
        at = {name: stress[short + name] for name in needed}
        xx = (at["xx+"] - at["xx-"]) / 0.02
        c44 = (at["yz+"] - rest)[3] / 0.01
        if state == "FM":
            c12 = 0.5 * (xx[1] + xx[2])
            found[state] = [xx[0]] * 3 + [c12] * 3 + [c44] * 3
        else:
            zz = (at["zz+"] - at["zz-"]) / 0.02
            c13, c66 = (zz[0] + zz[1] + xx[2]) / 3, (at["xy+"] - rest)[5] / 0.01
            found[state] = [xx[0], xx[0], zz[2], xx[1], c13, c13, c44, c44, c66]
    return {state: [float(x) for x in c] for state, c in found.items()}


def both_cells(folder: Path) -> list[dict[str, Atoms]]:
    """By label the cells of `PROPERTIES`, of our DFT and of the potential."""
    paths = (folder / PROPERTIES, folder / "frozen.extxyz")
    return [{a.info["label"]: a for a in mmtp.read(path)} for path in paths]


def frozen_table(folder: Path) -> None:
    """Frequencies from the same displaced cells, of our DFT and of the potential."""
    rows = [["state", "mode", "ours, DFT (THz)", "ours, mMTP (THz)"]]
    both = [{name: a.get_forces() for name, a in cells.items()} for cells in both_cells(folder)]
    for state, short in (("FM", "4-fm-"), ("AFM", "4-afm-")):
        names = [short + name for name in ("reference", "Cr-x", "Cr-z", "N-x", "N-z")]
        if all(name in both[0] for name in names):
            dft, ours = (frequencies(*(found[name] for name in names)) for found in both)
            rows += [[state, mode, dft[mode], ours[mode]] for mode in dft]
    write_table(folder / "frozen.csv", rows)


def mixed_table(folder: Path) -> None:
    """A disordered state of sixteen atoms and its strained cells, of our DFT and of the potential.

    Atoms are held where they are, and moments are free. The moments of the potential start from
    those of DFT.
    """
    both = both_cells(folder)
    rest, layers = ([found[name] for found in both] for name in (f"{MIXED}reference", LAYERS))
    moments = [np.abs(a.get_magnetic_moments()[a.symbols == "Cr"]) for a in rest]
    above = [
        1e3 * (a.get_potential_energy() / len(a) - b.get_potential_energy() / len(b))
        for a, b in zip(rest, layers, strict=True)
    ]
    forces = [a.get_forces() for a in rest]
    rows: list[list[object]] = [
        ["quantity", "ours, DFT", "ours, mMTP"],
        ["smallest moment of Cr (mu_B)", *(float(m.min()) for m in moments)],
        ["largest moment of Cr (mu_B)", *(float(m.max()) for m in moments)],
        ["energy above single layers (meV/atom)", *above],
        ["forces (meV/Angstrom, rms)", *(1e3 * float(np.sqrt(np.mean(f**2))) for f in forces)],
        ["pressure (GPa)", *(-float(a.get_stress()[:3].mean()) / GPA for a in rest)],
    ]
    for name, (strain, place) in OF_STRAINS.items():
        if all(MIXED + strain in found for found in both):
            cells = [found[MIXED + strain] for found in both]
            pairs = zip(cells, rest, strict=True)
            slopes = [(a.get_stress() - b.get_stress())[place] / 0.01 / GPA for a, b in pairs]
            rows.append([f"{name} (GPa)", *map(float, slopes)])
    write_table(folder / "mixed.csv", rows)


def frequencies(rest: np.ndarray, *displaced: np.ndarray) -> dict[str, float]:
    """THz at Gamma and X of the cubic crystal; imaginary ones are negative.

    Args:
        rest: (4, 3) forces of the cell (a/sqrt2, a/sqrt2, a) of Cr, Cr, N, N, eV/Angstrom.
        displaced: those with the first Cr, then the first N displaced by `DISPLACEMENT`, each
            along x and along z.
    """
    masses = atomic_masses[atomic_numbers["Cr"]], atomic_masses[atomic_numbers["N"]]
    weights = 1.0 / np.sqrt(np.outer(masses, masses))
    columns = [-(forces - rest) / DISPLACEMENT for forces in displaced]
    found = {}
    for axis, of_cr, of_n, kind in ((0, 0, 2, "T"), (2, 1, 3, "L")):
        for sign, point in ((1.0, "Gamma"), (-1.0, "X")):
            # Cr and N of one formula unit come to those of the other by (1/2, 1/2, 1/2).
            both = [columns[k][:, axis] for k in (of_cr, of_n)]
            d = np.array([[c[0] + sign * c[1], c[2] + sign * c[3]] for c in both])
            values = np.linalg.eigvalsh(weights * (d + d.T) / 2)
            low, high = np.sign(values) * np.sqrt(np.abs(values)) * TO_THZ
            if point == "Gamma":
                # Without its field a longitudinal mode is a transverse one.
                found[f"Gamma TO, along {'xz'[axis == 2]}"] = float(high)
            else:
                found[f"X {kind}A"], found[f"X {kind}O"] = float(low), float(high)
    return found


def orders_table(folder: Path) -> None:
    """Energies of the magnetic orders, each relaxed with and without its cell."""
    rows: list[list[object]] = [["order", "cell", "energy (meV/atom above the lowest)", "volume"]]
    found = []
    for name in ORDERS:
        for cell in ("full", "none"):
            (atoms,) = mmtp.read(folder / f"orders_{name}_{cell}.extxyz")
            found.append((name, cell, atoms.get_potential_energy() / len(atoms), atoms))
    lowest = min(energy for _, _, energy, _ in found)
    rows += [
        [name, cell, 1e3 * (energy - lowest), atoms.get_volume() / len(atoms)]
        for name, cell, energy, atoms in found
    ]
    write_table(folder / "orders.csv", rows)


def heat_capacity(folder: Path) -> None:
    """Fig. 10: C_p of a formula unit beside measurements, J/(mol K)."""
    with open(folder / "fig9.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    temperature = np.array([float(row["temperature (K)"]) for row in rows])
    ours = np.array([float(row["heat capacity C_p (k_B/atom)"]) for row in rows])
    figure, axis = subplots(figsize=(4.2, 3.2), layout="constrained")
    above = temperature >= 280.0
    for part, style in ((above, "-"), (~above, "--")):
        axis.plot(temperature[part], 2 * GAS_CONSTANT * ours[part], f"C0{style}",
                  label="potential, paramagnetic" if style == "-" else "below 280 K")  # fmt: skip
    a, b = LUCA_LEITNAKER
    axis.plot(temperature[above], JOULE_PER_CALORIE * (a + b * temperature[above]), "k:",
              label="measured (De Luca 1973)")  # fmt: skip
    axis.set(xlabel="temperature (K)", ylabel=r"$C_p$ (J/(mol K))", ylim=(0, None))
    axis.legend(frameon=False, fontsize=8)
    save(figure, folder / "fig10")
