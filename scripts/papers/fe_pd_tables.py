"""Crystals, tables and figures of `fe_pd.py`: Figs. 2 to 5."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list
from common import in_figures, save, subplots, write_table

import mmtp_jax as mmtp
from mmtp_jax.io.band_yaml import MEV_PER_THZ
from mmtp_jax.io.schema import labels_of
from mmtp_jax.properties.birch_murnaghan import fit_energies
from mmtp_jax.simulation.constants import GPA

EQUILIBRIUM = "equilibrium.extxyz"
"""Our labels of ordered crystals with free moments."""
LATTICE = (3.60, 3.64, 3.68, 3.72, 3.76, 3.80, 3.84, 3.88)
"""Angstrom, those of the paper."""
OF_DOS = (3.64, 3.72, 3.80)
"""Angstrom, of the densities of states."""
ROUNDS = 5
"""Of dynamics and selections."""
PALLADIUM = 0.32
MOMENTS = {"Fe": 2.6, "Pd": 0.33}
"""mu_B, at the start."""
TRIALS = 2000


def alloy(edge: int, a: float) -> Atoms:
    """A cube of so many lattice parameters, Angstrom, with Pd by chance.

    Of many distributions it is the one in whose first three shells unlike pairs are most nearly as
    many as chance makes them.
    """
    atoms = bulk("Fe", "fcc", a=a, cubic=True).repeat(edge)
    n = len(atoms)
    n_pd = round(PALLADIUM * n)
    i, j, distance = neighbor_list("ijd", atoms, 1.3 * a)
    shell = np.searchsorted([0.8 * a, 1.1 * a], distance)
    chance = 2 * n_pd * (n - n_pd) / (n * (n - 1))

    def order(palladium: np.ndarray) -> float:
        unlike = np.bincount(shell, palladium[i] != palladium[j]) / np.bincount(shell)
        return float(np.abs(1.0 - unlike / chance).max())

    rng = np.random.default_rng(0)
    palladium = min((rng.permutation(n) < n_pd for _ in range(TRIALS)), key=order)
    atoms.symbols[palladium] = "Pd"
    atoms.set_initial_magnetic_moments([MOMENTS[symbol] for symbol in atoms.symbols])
    return atoms


def selected(folder: Path) -> None:
    """Fig. 2: how many configurations each round adds to the active set."""
    numbers = [
        len(json.loads((folder / f"fig2_{k}.json").read_text())["selected"]) for k in range(ROUNDS)
    ]
    rounds = np.arange(1, ROUNDS + 1)
    totals = np.cumsum(numbers)
    rows = [["round", "selected", "in all"], *zip(rounds, numbers, totals, strict=True)]
    write_table(folder / "fig2.csv", rows)
    figure, axis = subplots(figsize=(4.2, 3.2), layout="constrained")
    axis.bar(rounds, numbers, color="C0", label="of this round")
    axis.plot(rounds, totals, "o-", color="C3", label="in all")
    axis.set(xlabel="round", ylabel="configurations selected", xticks=rounds)
    axis.legend(frameon=False, fontsize=8)
    save(figure, folder / "fig2")


def crystals_of(path: Path) -> dict[str, np.ndarray]:
    """Of each crystal, columns (k, 4) by volume: lattice parameter, energy, moment, pressure.

    In Angstrom, and per atom eV, mu_B; GPa.
    """
    found: dict[str, list[tuple[float, ...]]] = {}
    for atoms in mmtp.read(path):
        n = len(atoms)
        a = np.cbrt(4 * atoms.get_volume() / n)
        pressure = -np.trace(atoms.get_stress(voigt=False)) / 3 / GPA
        moment = abs(labels_of(atoms).moments.sum()) / n
        row = (float(a), atoms.get_potential_energy() / n, float(moment), float(pressure))
        found.setdefault(atoms.info["label"], []).append(row)
    return {kind: np.array(sorted(rows)) for kind, rows in found.items()}


def invar(folder: Path) -> None:
    """Fig. 3: the alloy at 0 and 300 K, and ordered crystals of the potential and of our DFT."""
    runs = {
        kelvin: json.loads((folder / f"fig3_{kelvin}K.json").read_text()) for kelvin in (0, 300)
    }
    names = {"magnetisations": "mu_B/atom", "pressures_GPa": "GPa"}
    head = ["lattice parameter (Angstrom)"]
    columns = [runs[0]["lattice_parameters"]]
    for kelvin, run in runs.items():
        for name, unit in names.items():
            head.append(f"{kelvin} K ({unit})")
            columns.append(run[name])
    write_table(folder / "fig3.csv", [head, *map(list, zip(*columns, strict=True))])

    dft, ours = crystals_of(folder / EQUILIBRIUM), crystals_of(folder / "fig3_ordered.extxyz")
    rows: list[list[object]] = [
        ["crystal", "lattice parameter (Angstrom)", "DFT (mu_B/atom)", "ours (mu_B/atom)",
         "DFT (GPa)", "ours (GPa)"]
    ]  # fmt: skip
    for kind, of_dft in dft.items():
        for (a, _, moment, pressure), (*_, our_moment, ours_gpa) in zip(
            of_dft.tolist(), ours[kind].tolist(), strict=True
        ):
            rows.append([kind, a, moment, our_moment, pressure, ours_gpa])
    write_table(folder / "ordered.csv", rows)
    rest_table(folder, runs, dft, ours)
    draw_invar(folder, runs, dft, ours)


def rest_table(
    folder: Path, runs: dict[int, dict], dft: dict[str, np.ndarray], ours: dict[str, np.ndarray]
) -> None:
    """What there is without pressure, and the expansion of the alloy up to 300 K."""
    rows: list[list[object]] = [
        ["state", "lattice parameter (Angstrom)", "bulk modulus (GPa)", "moment (mu_B/atom)"]
    ]
    for kelvin, run in runs.items():
        a = run["lattice_parameter"]
        if a is None:
            print(f"alloy, {kelvin} K, is left out: {run['no_fit']}")
            continue
        moment = float(np.interp(a, run["lattice_parameters"], run["magnetisations"]))
        rows.append([f"alloy, {kelvin} K", a, run["bulk_modulus_GPa"], moment])
    cold, warm = (run["lattice_parameter"] for run in runs.values())
    for kind in dft:
        for name, of in (("DFT", dft[kind]), ("ours", ours[kind])):
            a, energy, moment, _ = of.T
            try:
                fit = fit_energies(a**3 / 4, energy)
            except ValueError as error:
                print(f"{kind}, {name}, is left out: {error}")
                continue
            at_rest = float(np.cbrt(4 * fit.volume))
            rows.append(
                [f"{kind}, {name}", at_rest, fit.bulk_modulus, float(np.interp(at_rest, a, moment))]
            )
    write_table(folder / "rest.csv", rows)
    if None not in (cold, warm):
        print(f"linear expansion to 300 K: {1e6 * (warm / cold - 1) / 300:.3g}e-6/K")


def draw_invar(
    folder: Path, runs: dict[int, dict], dft: dict[str, np.ndarray], ours: dict[str, np.ndarray]
) -> None:
    """Fig. 3."""
    figure, axes = subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for (kelvin, run), color in zip(runs.items(), ("k", "0.5"), strict=True):
        for axis, name in zip(axes, ("magnetisations", "pressures_GPa"), strict=True):
            axis.plot(run["lattice_parameters"], run[name], "o-", color=color, ms=4,
                      label=f"alloy, {kelvin} K")  # fmt: skip
    for place, kind in enumerate(dft):
        for axis, column in zip(axes, (2, 3), strict=True):
            axis.plot(dft[kind][:, 0], dft[kind][:, column], f"C{place}s", ms=6, mfc="none",
                      label=f"{kind}, DFT")  # fmt: skip
            axis.plot(ours[kind][:, 0], ours[kind][:, column], f"C{place}.--", lw=1, ms=4,
                      label=f"{kind}, potential")  # fmt: skip
    for axis, quantity in zip(axes, ("magnetisation (mu_B/atom)", "pressure (GPa)"), strict=True):
        axis.set(xlabel=in_figures("lattice parameter (Angstrom)"), ylabel=in_figures(quantity))
    axes[1].axhline(0.0, color="0.8", lw=0.8, zorder=0)
    axes[1].legend(frameon=False, fontsize=7, ncols=2)
    save(figure, folder / "fig3")


def density_of_states(folder: Path) -> None:
    """Figs. 4 and 5: total, and of each species, at three pressures."""
    rows: list[list[object]] = [
        ["lattice parameter (Angstrom)", "pressure (GPa)", "moment (mu_B/atom)",
         "mean (meV)", "mean of Fe (meV)", "mean of Pd (meV)"]
    ]  # fmt: skip
    figure4, axis = subplots(figsize=(4.5, 3.4), layout="constrained")
    figure5, axes = subplots(1, 2, figsize=(9, 3.4), layout="constrained", sharey=True)
    for a in OF_DOS:
        run = json.loads((folder / f"fig4_{a:.2f}_md.json").read_text())
        dos = json.loads((folder / f"fig4_{a:.2f}.json").read_text())
        mean = run["averages"][0]
        pressure = mean["pressure (GPa)"]
        energies = MEV_PER_THZ * np.array(dos["frequencies_THz"])
        of_species = dos["species_per_THz"]
        parts = [np.array(dos["total_per_THz"]), *(np.array(of_species[s]) for s in MOMENTS)]
        means = [float(np.average(energies, weights=part)) for part in parts]
        moment = abs(mean["magnetisation (mu_B)"]) / run["n_atoms"]
        rows.append([a, pressure, moment, *means])
        label = f"{a:.2f} Å, {pressure:.0f} GPa"
        for panel, part in zip((axis, *axes), parts, strict=True):
            # Of one atom of the species: integrals are 3.
            panel.plot(energies, 3 * part / np.trapezoid(part, energies), label=label)
    write_table(folder / "fig4.csv", rows)
    for panel, of in zip((axis, *axes), ("all atoms", *MOMENTS), strict=True):
        panel.set(xlabel="energy (meV)", ylabel="density of states (1/meV/atom)", title=of)
        panel.legend(frameon=False, fontsize=7)
    save(figure4, folder / "fig4")
    save(figure5, folder / "fig5")
