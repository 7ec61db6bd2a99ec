"""Tables and figures of `fe_al.py` beside the paper, of what its commands and our labels say."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from common import UNITS, curve_errors, draw_curve, save, style_curve, subplots, write_table

import mmtp_jax as mmtp
from mmtp_jax.io.schema import labels_of
from mmtp_jax.properties.birch_murnaghan import fit_energies
from mmtp_jax.simulation.moments.reliability import REFERENCE_FORCE
from mmtp_jax.tables import with_error

SIZES = (2, 3, 4)
"""N_psi of the paper, the magnetic size of ours."""
WEIGHTS = {"without": 0.0, "with": 0.1}
"""Of magnetic forces, mu_B^2."""
EQUILIBRIUM = "equilibrium.extxyz"
"""Our labels of ordered cells at several volumes with free moments, and of fcc aluminium."""
ORDERED = "ordered.extxyz"
"""Of each of these cells of the bcc lattice the one that is lowest in energy."""
AT_300_K = ("A2", "Fe15Al", "Fe7Al", "D03", "Fe5Al3", "B2")
"""Cells of the dynamics, one of each content of aluminium."""
BEST = 4
"""N_psi of the dynamics."""
COLORS = {"with": "C0", "without": "C1"}
EDGE = 4
"""Of their supercells, lattice parameters: 128 atoms."""

PAPER_PARAMETERS = {2: 415, 3: 895, 4: 1567}
"""Table 1."""
PAPER_ERRORS = {"energy": 2.25, "forces": 66.89, "stress": 0.479, "magnetic_forces": 17.3}
"""Table 2 for N_psi = 3 with magnetic forces, in the units of `UNITS`, on training data."""
PAPER_TABLE2 = {
    (2, "without"): ((4.70, 0.01), (70.48, 0.05), (0.484, 0.001), (239.4, 3.5)),
    (2, "with"): ((3.85, 0.19), (83.07, 0.91), (0.617, 0.006), (30.2, 0.7)),
    (3, "without"): ((1.98, 0.14), (59.67, 0.86), (0.407, 0.012), (173.0, 25.8)),
    (3, "with"): ((2.25, 0.07), (66.89, 0.36), (0.479, 0.004), (17.3, 0.3)),
    (4, "without"): ((1.51, 0.06), (54.74, 1.12), (0.363, 0.004), (210.1, 44.8)),
    (4, "with"): ((1.61, 0.16), (63.01, 2.61), (0.450, 0.035), (15.4, 0.5)),
}
"""Means and two standard deviations over five potentials, of the kinds of `PAPER_ERRORS`."""
PAPER_TABLE3 = {
    (2, "without"): ((0.158, 0.001), (96.7, 0.2)),
    (2, "with"): ((0.157, 0.003), (100.0, 0.0)),
    (3, "without"): ((0.175, 0.148), (98.6, 2.3)),
    (3, "with"): ((0.111, 0.049), (100.0, 0.0)),
    (4, "without"): ((0.209, 0.156), (98.4, 2.3)),
    (4, "with"): ((0.059, 0.077), (100.0, 0.0)),
}
"""Error of moments, mu_B, and reliability of the equilibration, %."""
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


def ensemble(size: int, kind: str) -> str:
    """Name of the potentials of one N_psi, fitted with or without magnetic forces."""
    return f"psi{size}_{kind}"


def all_ensembles() -> Iterator[tuple[int, str, str]]:
    """N_psi, with or without magnetic forces, and the name, in the order of the paper."""
    for size in SIZES:
        for kind in WEIGHTS:
            yield size, kind, ensemble(size, kind)


def members_of(folder: Path, stem: str, members: int) -> list[dict[str, Any]]:
    """What was found with each member of an ensemble; one that failed has no file."""
    paths = [folder / f"{stem}.{k}.json" for k in range(members)]
    return [json.loads(path.read_text()) for path in paths if path.exists()]


def mean_and_width(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and two standard deviations, over the numbers that are known."""
    known = np.array([value for value in values if np.isfinite(value)])
    mean = float(known.mean()) if len(known) else math.nan
    return mean, 2 * float(known.std(ddof=1)) if len(known) > 1 else math.nan


def spread(values: Sequence[float], most: int) -> str:
    """`mean_and_width` in words, with so many decimals at most."""
    return with_error(*mean_and_width(values), most)


def rms(values: np.ndarray) -> float:
    """Over the numbers that are known."""
    known = values[np.isfinite(values)]
    return float(np.sqrt(np.mean(known**2))) if known.size else math.nan


# Tables 2 and 3: errors, and moments that are equilibrated.


def errors_of_fits(folder: Path) -> None:
    """Table 2 and Fig. 3: of ensembles as in the paper, of folds, and of the test set."""
    rows: list[list[object]] = [
        ["N_psi", "w_t", "parameters", "method", *(f"{k} ({UNITS[k]})" for k in PAPER_ERRORS)]
    ]
    drawn: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    for size, kind, name in all_ensembles():
        head = [size, WEIGHTS[kind]]
        for stem, what, of, method in (
            (name, "ensemble", "training", "training set"),
            (f"folds_{name}", "cross_validation", "validation", "five folds"),
            (name, "ensemble", "validation", "test set"),
        ):
            path = folder / f"{stem}.json"
            if not path.exists():
                continue
            report = json.loads(path.read_text())
            errors = report[what]["errors"][of]
            spreads = [mean_and_width(errors[k]["rmse"]["values"]) for k in PAPER_ERRORS]
            parameters = report["potential"]["n_parameters"]
            rows.append([*head, parameters, f"ours, {method}", *(with_error(*x) for x in spreads)])
            if method != "five folds":
                drawn[kind, method].append([size, *(mean for mean, _ in spreads)])
        paper = [f"{mean} +- {width}" for mean, width in PAPER_TABLE2[size, kind]]
        rows.append([*head, PAPER_PARAMETERS[size], "paper, training set", *paper])
        drawn[kind, "paper"].append([size, *(mean for mean, _ in PAPER_TABLE2[size, kind])])
    write_table(folder / "table2.csv", rows)

    figure, axes = subplots(1, len(PAPER_ERRORS), figsize=(11, 2.8), layout="constrained")
    styles = {"training set": "o-", "test set": "s--", "paper": "x:"}
    for axis, (place, quantity) in zip(axes, enumerate(PAPER_ERRORS), strict=True):
        for (kind, method), values in drawn.items():
            sizes, *columns = zip(*values, strict=True)
            axis.plot(sizes, columns[place], styles[method], color=COLORS[kind],
                      label=f"{kind}, {method}")  # fmt: skip
        name = f"{quantity.replace('_', ' ')} ({UNITS[quantity]})"
        axis.set(xlabel="N_psi", ylabel=name, yscale="log", xticks=SIZES)
    axes[-1].legend(frameon=False, fontsize=6)
    save(figure, folder / "fig3")


def moments_table(folder: Path, members: int) -> None:
    """Table 3 and Fig. 4: moments after equilibration against those of our DFT."""
    rows: list[list[object]] = [
        ["N_psi", "w_t", "method", "RMSE of moments of Fe (mu_B)",
         "reliability, free moments of DFT (%)", "reliability, all configurations (%)"]
    ]  # fmt: skip
    figure, ((*axes,),) = subplots(
        1, len(SIZES), figsize=(9, 3.2), layout="constrained", squeeze=False
    )
    for size, kind, name in all_ensembles():
        found = members_of(folder, f"moments_{name}", members)
        if not found:
            continue
        labelled = [atoms for path in found[0]["data"] for atoms in mmtp.read(path)]
        dft = free_moments(labelled)
        ended = [equilibrated(one, labelled, dft) for one in found]
        # Of all members the same atoms.
        of_dft = ended[0].dft
        columns = (
            [rms(of.moments - of_dft) for of in ended],
            [of.free for of in ended],
            [of.all for of in ended],
        )
        texts = [spread(of, most) for of, most in zip(columns, (4, 1, 1), strict=True)]
        rows.append([size, WEIGHTS[kind], "ours", *texts])
        paper = [f"{mean} +- {width}" for mean, width in PAPER_TABLE3[size, kind]]
        rows.append([size, WEIGHTS[kind], "paper", *paper, "-"])
        axis = axes[SIZES.index(size)]
        if len(of_dft):
            of_atoms = np.array([of.moments for of in ended]).T
            mean, width = np.array([mean_and_width(of) for of in of_atoms]).T
            axis.errorbar(of_dft, mean, np.nan_to_num(width), fmt=".", ms=4, lw=0.6,
                          color=COLORS[kind], label=f"{kind} magnetic forces")  # fmt: skip
            axis.legend(frameon=False, fontsize=7, loc="upper left")
        axis.axline((0, 0), slope=1, color="0.6", lw=0.8)
        axis.set(title=f"N_psi = {size}", xlabel="DFT, moment of Fe (mu_B)")
    axes[0].set_ylabel("potentials, mean +- 2 sigma (mu_B)")
    write_table(folder / "table3.csv", rows)
    save(figure, folder / "fig4")


@dataclass(frozen=True)
class Equilibrated:
    """What one potential makes of moments."""

    free: float
    """%, of configurations with free moments of DFT, that were equilibrated."""
    all: float
    """%, of all with Fe."""
    moments: np.ndarray
    """Of the Fe of those with free moments, mu_B; NaN where they were not equilibrated."""
    dft: np.ndarray
    """Theirs of DFT."""


def equilibrated(
    content: dict[str, Any], labelled: Sequence[Atoms], free: Sequence[np.ndarray | None]
) -> Equilibrated:
    """Of the JSON file of `mmtp equilibrate`, its configurations, and their `free_moments`."""
    of_free, of_all, moments, dft = [], [], [np.empty(0)], [np.empty(0)]
    for one, atoms, known in zip(content["configurations"], labelled, free, strict=True):
        iron = atoms.symbols == "Fe"
        if iron.any():
            of_all.append(one["counts"])
        if known is not None:
            of_free.append(one["counts"])
            moments.append(np.where(one["counts"], one["magmoms"], np.nan)[iron])
            dft.append(known[iron])
    shares = [100 * float(np.mean(of)) if of else math.nan for of in (of_free, of_all)]
    return Equilibrated(*shares, np.concatenate(moments), np.concatenate(dft))


def free_moments(labelled: Sequence[Atoms]) -> list[np.ndarray | None]:
    """Moments (n,) of those with Fe that nothing has held: those without magnetic forces."""
    found: list[np.ndarray | None] = []
    for atoms in labelled:
        labels = labels_of(atoms)
        forces, moments = labels.magnetic_forces, labels.moments
        free = forces is not None and np.abs(forces).max() <= REFERENCE_FORCE
        found.append(moments if free and "Fe" in atoms.symbols else None)
    return found


# Table 4, Figs. 5 to 7: crystals.


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
            axis.set(xlabel="Al (%)", ylabel=quantity)
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
        axis.set(xlabel="Al (%)", ylabel=quantity)
    axes[0].legend(frameon=False, fontsize=7)
    save(figure, folder / "fig7")


# Learning curves: what magnetic forces save.


def labels_saved(folder: Path, n: int) -> None:
    """Errors of fits with and without magnetic forces, and labels that the latter need more."""
    kinds = list(PAPER_ERRORS)
    of = {kind: curve_errors(folder, kinds, n, f"curve_{kind}") for kind in WEIGHTS}
    sizes = of["with"][0]
    header, columns = ["labels"], [sizes]
    figure, axes = subplots(1, len(kinds), figsize=(11, 2.8), layout="constrained")
    for axis, kind in zip(axes, kinds, strict=True):
        means = {w: [float(np.mean(x)) for x in rmse[kind]] for w, (_, rmse) in of.items()}
        for w, values in means.items():
            header.append(f"{kind} ({UNITS[kind]}), {w}")
            columns.append(values)
            draw_curve(axis, sizes, of[w][1][kind], f"{w} magnetic forces", COLORS[w])
        header.append("labels without for the same")
        columns.append([labels_needed(sizes, means["without"], e) for e in means["with"]])
        style_curve(axis, sizes, kind)
    axes[0].legend(frameon=False, fontsize=7)
    write_table(folder / "curve.csv", [header, *map(list, zip(*columns, strict=True))])
    save(figure, folder / "curve")


def labels_needed(sizes: Sequence[int], errors: Sequence[float], wanted: float) -> str:
    """Where a curve first falls to an error; it is straight in logarithms between its points."""
    if errors[0] <= wanted:
        return f"<= {sizes[0]}"
    for k in range(1, len(sizes)):
        if errors[k] <= wanted:
            x, y = np.log(sizes[k - 1 : k + 1]), np.log(errors[k - 1 : k + 1])
            return f"{np.exp(np.interp(-np.log(wanted), -y, x)):.0f}"
    return f"> {sizes[-1]}"
