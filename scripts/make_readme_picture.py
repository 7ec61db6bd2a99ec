"""The picture of the README: energy and magnetic forces of a quickstart's potential, over DFT.

Left, the energy of bcc iron over its moment at a lattice parameter of 2.83 Angstrom; DFT gives the
points and, as tangents, their slopes -T. Right, the magnetic forces of all shipped configurations.

    mmtp quickstart --output demo
    python scripts/make_readme_picture.py demo/pot.mtp notebooks/images/iron.png
"""

from __future__ import annotations

import argparse
from importlib.resources import files

import numpy as np
from ase import Atoms
from ase.build import bulk
from matplotlib.figure import Figure

import mmtp_jax as mmtp
from mmtp_jax.cli.commands.quickstart import DATA

LATTICE, TANGENT = 2.83, 0.12
STATES = {"ferromagnetic": ((1, 1), "#0072B2"), "antiferromagnetic": ((1, -1), "#D55E00")}
HELD_OUT, SEED = 0.2, 0
"""As in `mmtp quickstart`."""


def iron(magmoms: np.ndarray) -> Atoms:
    """bcc iron with two moments."""
    atoms = bulk("Fe", a=LATTICE, cubic=True)
    atoms.set_initial_magnetic_moments(magmoms)
    return atoms


def main() -> None:
    """Draw it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("potential")
    parser.add_argument("picture")
    args = parser.parse_args()

    pot = mmtp.load(args.potential)
    folder = files("mmtp_jax") / "data"
    data = [atoms for name in DATA for atoms in mmtp.read(str(folder / name))]
    figure = Figure(figsize=(8.4, 3.4), layout="constrained")
    landscape, parity = figure.subplots(1, 2, width_ratios=(1.25, 1))

    moments = np.linspace(1.4, 2.9, 61)
    lowest = min(r.energy for r in mmtp.evaluate(pot, [iron([m, m]) for m in moments])) / 2
    for name, (signs, colour) in STATES.items():
        found = mmtp.evaluate(pot, [iron(m * np.array(signs)) for m in moments])
        landscape.plot(moments, [r.energy / 2 - lowest for r in found], color=colour, label=name)
        for atoms in (a for a in data if np.allclose(a.cell, LATTICE * np.eye(3))):
            m = atoms.get_magnetic_moments() * signs
            if m.min() > 0 and np.ptp(m) < 1e-3:
                energy = atoms.get_potential_energy() / 2 - lowest
                slope = -np.mean(atoms.arrays["magnetic_forces"] * signs)
                x = m.mean() + TANGENT * np.array([-1, 1])
                landscape.plot(x, energy + slope * (x - m.mean()), color="black", lw=1)
                landscape.plot(m.mean(), energy, "o", color=colour, mec="black", ms=6)
    points = {"color": "black", "mfc": "white", "ms": 6, "lw": 1}
    landscape.plot([], [], "o-", label="DFT: E and dE/dm = -T", **points)
    landscape.set(xlabel=r"moment m ($\mu_\mathrm{B}$)", ylabel="energy (eV/atom)")
    landscape.set(title="bcc iron, a = 2.83 Å")
    landscape.legend(frameon=False, fontsize=8)

    forces = [atoms.arrays["magnetic_forces"] for atoms in data]
    found = [r.magnetic_forces for r in mmtp.evaluate(pot, data)]
    for name, which, marker, colour in zip(
        ("fitted", "held out"), mmtp.split(len(data), HELD_OUT, SEED), "o^", ("0.6", "#009E73"),
        strict=True,
    ):  # fmt: skip
        x, y = (np.concatenate([values[k] for k in which]) for values in (forces, found))
        rmse = 1e3 * np.sqrt(np.mean((x - y) ** 2))
        label = rf"{name}, RMSE {rmse:.0f} meV/$\mu_\mathrm{{B}}$"
        parity.plot(x, y, marker, color=colour, ms=4, mew=0, label=label)
    parity.axline((0, 0), slope=1, color="black", lw=0.8, zorder=0)
    unit = r"(eV/$\mu_\mathrm{B}$)"
    parity.set(xlabel=f"T of DFT {unit}", ylabel=f"T of the potential {unit}")
    parity.set(title="magnetic forces T = -dE/dm", aspect="equal")
    parity.legend(frameon=False, fontsize=8)
    for axes in (landscape, parity):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(args.picture, dpi=110)


if __name__ == "__main__":
    main()
