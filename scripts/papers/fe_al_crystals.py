"""Crystals of `fe_al.py` beside the paper: Table 4, Figs. 5 to 7."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from common import in_figures, save, subplots, write_table
from fe_al_tables import (
    SIZES,
    WEIGHTS,
    all_ensembles,
    ensemble,
    mean_and_width,
    members_of,
    rms,
    spread,
)

import mmtp_jax as mmtp
from mmtp_jax.io.schema import labels_of
from mmtp_jax.properties.birch_murnaghan import fit_energies
from mmtp_jax.tables import with_error

EQUILIBRIUM = "equilibrium.extxyz"
"""Our labels of ordered cells at several volumes with free moments, and of fcc aluminium."""
ORDERED = "ordered.extxyz"
"""Of each of these cells of the bcc lattice the one that is lowest in energy."""
AT_300_K = ("A2", "Fe7Al", "D03", "Fe5Al3", "B2")
"""Cells of the dynamics, one of each content of aluminium that has labels at rest."""
BEST = 4
"""N_psi of the dynamics and the learning curves."""
EDGE = 4
"""Of their supercells, lattice parameters: 128 atoms."""
PAPER_TABLE4 = {
    (2, "without"): ((3.20, 0.03), (0.0089, 0.0001), (0.176, 0.001), (95.2, 0.0)),
    (2, "with"): ((2.9, 0.4), (0.0093, 0.0003), (0.177, 0.001), (100.0, 0.0)),
    (3, "without"): ((1.8, 0.8), (0.0081, 0.0019), (0.133, 0.071), (97.1, 4.7)),
    (3, "with"): ((1.5, 0.1), (0.0061, 0.0002), (0.079, 0.027), (100.0, 0.0)),
    (4, "without"): ((2.0, 0.5), (0.0063, 0.0011), (0.110, 0.051), (90.5, 8.5)),
    (4, "with"): ((1.1, 0.3), (0.0049, 0.0006), (0.032, 0.003), (100.0, 0.0)),
}
"""Errors of the formation energy, meV/atom, lattice parameter, Angstrom, and moment, mu_B for each
Fe, and reliability of the relaxation, %."""


@dataclass(frozen=True)
class Crystal:
    """A cell of the bcc lattice at rest; what is not known of it is NaN."""

    kind: str
    n_iron: int
    n_aluminium: int
    energy: float
    """eV"""
    volume: float
    """Angstrom^3"""
    moment: float
    """|sum of the moments|, mu_B"""

    @property
    def n(self) -> int:
        """Atoms."""
        return self.n_iron + self.n_aluminium

    @property
    def share(self) -> float:
        """Of aluminium, %."""
        return 100 * self.n_aluminium / self.n

    @property
    def lattice(self) -> float:
        """Parameter of the cube of two atoms, Angstrom."""
        return float(np.cbrt(2 * self.volume / self.n))

    @property
    def moment_per_iron(self) -> float:
        """mu_B"""
        return self.moment / self.n_iron if self.n_iron else math.nan

    def formation(self, iron: float, aluminium: float) -> float:
        """Energy, meV/atom, of elements of so many eV/atom."""
        elements = self.n_iron * iron + self.n_aluminium * aluminium
        return 1e3 * (self.energy - elements) / self.n


def kind_of(atoms: Atoms) -> str:
    """The name of a crystal."""
    return atoms.info.get("label", atoms.get_chemical_formula())


def by_kind(labels: Sequence[Atoms]) -> dict[str, list[Atoms]]:
    """The configurations of each crystal."""
    found: dict[str, list[Atoms]] = defaultdict(list)
    for atoms in labels:
        found[kind_of(atoms)].append(atoms)
    return dict(found)


def dft_crystals(labels: Sequence[Atoms]) -> dict[str, Crystal]:
    """By kind, at the volume that is lowest in energy: between those of the labels."""
    found = {}
    for kind, cells in by_kind(labels).items():
        volumes = np.array([atoms.get_volume() for atoms in cells])
        energies = np.array([atoms.get_potential_energy() for atoms in cells])
        try:
            curve = fit_energies(volumes, energies)
        except ValueError as error:
            print(f"{kind} is left out: {error}")
            continue
        known = [labels_of(atoms).moments for atoms in cells]
        moments = np.array([math.nan if m is None else abs(m.sum()) for m in known])
        order = np.argsort(volumes)
        moment = np.interp(np.cbrt(curve.volume), np.cbrt(volumes)[order], moments[order])
        found[kind] = Crystal(kind, *atoms_of(cells[0]), curve.energy, curve.volume, float(moment))
    return found


def atoms_of(atoms: Atoms) -> tuple[int, int]:
    """Numbers of Fe and Al."""
    return int((atoms.symbols == "Fe").sum()), int((atoms.symbols == "Al").sum())


def starts(labels: Sequence[Atoms]) -> list[Atoms]:
    """Of each crystal with Fe the configuration that is lowest in energy, with its moments."""
    found = []
    for kind, cells in by_kind(labels).items():
        lowest = min(cells, key=lambda atoms: atoms.get_potential_energy())
        if "Fe" in lowest.symbols:
            moments = labels_of(lowest).moments
            found.append(Atoms(lowest.symbols, lowest.positions, cell=lowest.cell, pbc=True,
                               magmoms=moments, info={"label": kind}))  # fmt: skip
    return found


def supercell(atoms: Atoms) -> Atoms:
    """About `EDGE` lattice parameters along each edge."""
    parameter = np.cbrt(2 * atoms.get_volume() / len(atoms))
    repeats = np.rint(EDGE * parameter / atoms.cell.lengths()).astype(int)
    return atoms.repeat(np.maximum(repeats, 1))


def relaxed_crystals(folder: Path, name: str, members: int) -> list[dict[str, Crystal]]:
    """What each member makes of `ORDERED` where only volumes and moments change, by kind."""
    cells = mmtp.read(folder / ORDERED)
    found = []
    for content in members_of(folder, f"ideal_{name}", members):
        of_member = {}
        for atoms, one in zip(cells, content["configurations"], strict=True):
            numbers = one["energy"], one["volume"], abs(one["magmom"])
            if not one["counts"]:
                numbers = (math.nan,) * 3
            of_member[kind_of(atoms)] = Crystal(kind_of(atoms), *atoms_of(atoms), *numbers)
        found.append(of_member)
    return found


PROPERTIES: dict[str, Callable[[Crystal, tuple[float, float]], float]] = {
    "formation energy (meV/atom)": lambda crystal, elements: crystal.formation(*elements),
    "lattice parameter (Angstrom)": lambda crystal, _: crystal.lattice,
    "moment (mu_B/Fe)": lambda crystal, _: crystal.moment_per_iron,
}
"""Of Table 4; energies of Fe and Al, eV/atom, come with the crystal."""


def crystals_table(folder: Path, members: int) -> None:
    """Table 4, Figs. 5 and 6: crystals of the potentials beside those of our DFT.

    Formation energies refer to bcc Fe of the same method, and all to fcc Al of DFT, which no
    potential knows.
    """
    dft = dft_crystals(mmtp.read(folder / EQUILIBRIUM))
    iron, aluminium = (dft[k].energy / dft[k].n if k in dft else math.nan for k in ("A2", "fcc"))
    if not {"A2", "fcc"} <= set(dft):
        print(f"no formation energies: {EQUILIBRIUM} has not both bcc Fe and fcc Al")
    kinds = sorted((k for k in dft if dft[k].n_iron), key=lambda k: dft[k].share)
    ours = {}
    reference = {
        name: np.array([of(dft[k], (iron, aluminium)) for k in kinds])
        for name, of in PROPERTIES.items()
    }
    energy, *others = PROPERTIES
    is_alloy = np.array([dft[k].n_aluminium > 0 for k in kinds])
    counted = {energy: is_alloy, **dict.fromkeys(others, np.ones(len(kinds), bool))}
    rows: list[list[object]] = [
        ["N_psi", "w_t", "method", *(f"RMSE of {name}" for name in PROPERTIES),
         "relaxation reliability (%)"]
    ]  # fmt: skip
    for size, kind, name in all_ensembles():
        found = relaxed_crystals(folder, name, members)
        full = members_of(folder, f"full_{name}", members)
        if not found or not full:
            continue
        own = [one["A2"].energy / one["A2"].n if "A2" in one else math.nan for one in found]
        values = {
            quantity: np.array(
                [[of(one[k], (mu, aluminium)) for k in kinds]
                 for one, mu in zip(found, own, strict=True)]
            )
            for quantity, of in PROPERTIES.items()
        }  # fmt: skip
        ours[name] = {q: [mean_and_width(v) for v in of.T] for q, of in values.items()}
        # That of Fe is zero by definition.
        errors = [[rms((v - reference[q])[counted[q]]) for v in of] for q, of in values.items()]
        shares = [100 * np.mean([c["counts"] for c in of["configurations"]]) for of in full]
        columns = zip((*errors, shares), (2, 5, 4, 1), strict=True)
        texts = [spread(of, most) for of, most in columns]
        rows.append([size, WEIGHTS[kind], "ours", *texts])
        paper = [f"{mean} +- {width}" for mean, width in PAPER_TABLE4[size, kind]]
        rows.append([size, WEIGHTS[kind], "paper", *paper])
    write_table(folder / "table4.csv", rows)
    shares = np.array([dft[k].share for k in kinds])
    write_composition(folder, kinds, shares, reference, ours)
    draw_composition(folder, lowest_of([dft[k] for k in kinds]), shares, reference, ours)


def lowest_of(crystals: Sequence[Crystal]) -> np.ndarray:
    """Places of those that are lowest in energy of each content of aluminium."""
    energies = np.array([of.energy / of.n for of in crystals])
    shares = np.array([of.share for of in crystals])
    return np.array(
        [min(np.flatnonzero(shares == x), key=energies.__getitem__) for x in np.unique(shares)]
    )


def write_composition(
    folder: Path,
    kinds: Sequence[str],
    shares: np.ndarray,
    reference: dict[str, np.ndarray],
    ours: dict[str, dict[str, list[tuple[float, float]]]],
) -> None:
    """The numbers of Figs. 5 and 6."""
    header: list[object] = ["crystal", "Al (%)"]
    columns: list[Sequence[object]] = [kinds, [float(share) for share in shares]]
    for quantity, of_dft in reference.items():
        header.append(f"{quantity}, DFT")
        columns.append([with_error(float(x)) for x in of_dft])
        for size in SIZES:
            name = ensemble(size, "with")
            if name in ours:
                header.append(f"{quantity}, N_psi = {size}")
                columns.append([with_error(*of) for of in ours[name][quantity]])
    write_table(folder / "composition.csv", [header, *map(list, zip(*columns, strict=True))])


def draw_composition(
    folder: Path,
    lowest: np.ndarray,
    shares: np.ndarray,
    reference: dict[str, np.ndarray],
    ours: dict[str, dict[str, list[tuple[float, float]]]],
) -> None:
    """Fig. 5 of all crystals, and Fig. 6 of the lowest of each content of aluminium."""
    energy, *others = PROPERTIES
    for path, quantities, places in (
        ("fig5", [energy], np.arange(len(shares))),
        ("fig6", others[::-1], lowest),
    ):
        figure, axes = subplots(
            1, len(quantities), figsize=(4.5 * len(quantities), 3.4), layout="constrained",
            squeeze=False,
        )  # fmt: skip
        line = "-" if path == "fig6" else ""
        for axis, quantity in zip(axes[0], quantities, strict=True):
            axis.plot(shares[places], reference[quantity][places], f"k_{line}", ms=12, label="DFT")
            for place, size in enumerate(SIZES):
                found = ours.get(ensemble(size, "with"))
                if found is None:
                    continue
                mean, width = np.array(found[quantity])[places].T
                # Beside one another, so that the bars can be told apart.
                axis.errorbar(shares[places] + 0.5 * (place - 1), mean, np.nan_to_num(width),
                              fmt=f"o{line}", color=f"C{place}", ms=4, capsize=2,
                              label=f"N_psi = {size}, +- 2 sigma")  # fmt: skip
            axis.set(xlabel="Al (%)", ylabel=in_figures(quantity))
        axes[0, 0].legend(frameon=False, fontsize=7)
        save(figure, folder / path)


def expansion(folder: Path, members: int) -> None:
    """Fig. 7: lattice parameters and moments at 300 K beside those at rest and of DFT."""
    dft = dft_crystals(mmtp.read(folder / EQUILIBRIUM))
    at_rest = relaxed_crystals(folder, ensemble(BEST, "with"), members)
    rows: list[list[object]] = [
        ["crystal", "Al (%)", "DFT, 0 K (Angstrom)", "ours, 0 K (Angstrom)",
         "ours, 300 K (Angstrom)", "error of one run", "DFT, 0 K (mu_B/Fe)",
         "ours, 0 K (mu_B/Fe)", "ours, 300 K (mu_B/Fe)", "potentials"]
    ]  # fmt: skip
    drawn: dict[str, list[list[tuple[float, float]]]] = defaultdict(list)
    shares = []
    for kind in AT_300_K:
        runs = [
            run
            for found in members_of(folder, f"fig7_{kind}", members)
            for run in [{"n": found["n_atoms"], **found["averages"][0]}]
            if run["counts"]
        ]
        if kind not in dft or not runs:
            continue
        crystal = dft[kind]
        n_iron = np.array([run["n"] for run in runs]) * crystal.n_iron / crystal.n
        lattice = np.cbrt([2 * run["volume (Angstrom^3)"] / run["n"] for run in runs])
        relative = np.array(
            [run["volume (Angstrom^3) error"] / run["volume (Angstrom^3)"] for run in runs]
        )
        totals = np.array([abs(run["magnetisation (mu_B)"]) for run in runs])
        cold = [one[kind] for one in at_rest if kind in one]
        columns = {
            "DFT, 0 K": [(crystal.lattice, math.nan), (crystal.moment_per_iron, math.nan)],
            "potentials, 0 K": [
                mean_and_width([one.lattice for one in cold]),
                mean_and_width([one.moment_per_iron for one in cold]),
            ],
            "potentials, 300 K": [mean_and_width(lattice), mean_and_width(totals / n_iron)],
        }
        for name, of in columns.items():
            drawn[name].append(of)
        shares.append(crystal.share)
        of_run = float(np.nanmean(lattice * relative / 3))
        texts = [[with_error(*of[k]) for of in columns.values()] for k in (0, 1)]
        rows.append([kind, crystal.share, *texts[0], with_error(of_run), *texts[1], len(runs)])
    write_table(folder / "fig7.csv", rows)
    figure, axes = subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    names = "lattice parameter (Angstrom)", "moment (mu_B/Fe)"
    for k, (axis, quantity) in enumerate(zip(axes, names, strict=True)):
        for color, (name, of) in zip(("k", "C0", "C3"), drawn.items(), strict=True):
            mean, width = np.array([each[k] for each in of]).T
            axis.errorbar(shares, mean, np.nan_to_num(width), fmt="o-", color=color, ms=4,
                          capsize=2, label=name)  # fmt: skip
        axis.set(xlabel="Al (%)", ylabel=in_figures(quantity))
    axes[0].legend(frameon=False, fontsize=7)
    save(figure, folder / "fig7")
