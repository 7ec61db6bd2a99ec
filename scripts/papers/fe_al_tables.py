"""Errors, moments and learning curves of `fe_al.py` beside the paper (Tables 2, 3, Figs. 3, 4)."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from common import (
    UNITS,
    curve_errors,
    draw_curve,
    in_figures,
    save,
    style_curve,
    style_errors,
    subplots,
    write_table,
)

import mmtp_jax as mmtp
from mmtp_jax.io.schema import labels_of
from mmtp_jax.simulation.moments.reliability import REFERENCE_FORCE
from mmtp_jax.tables import with_error

SIZES = (2, 3, 4)
"""N_psi of the paper, the magnetic size of ours."""
WEIGHTS = {"without": 0.0, "with": 0.1}
"""Of magnetic forces, mu_B^2."""
COLORS = {"with": "C0", "without": "C1"}

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

    figure, axes = subplots(1, len(PAPER_ERRORS), figsize=(11, 3.2), layout="constrained")
    styles = {"training set": "o-", "test set": "s--", "paper": "x:"}
    for axis, (place, quantity) in zip(axes, enumerate(PAPER_ERRORS), strict=True):
        for (kind, method), values in drawn.items():
            sizes, *columns = zip(*values, strict=True)
            axis.plot(sizes, columns[place], styles[method], color=COLORS[kind],
                      label=f"{kind} magnetic forces, {method}")  # fmt: skip
        axis.set(xlabel="N_psi", xticks=SIZES)
        style_errors(axis, quantity)
    figure.legend(*axes[0].get_legend_handles_labels(), ncols=3, fontsize=7, frameon=False,
                  loc="outside upper center")  # fmt: skip
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
        axis.set(title=f"N_psi = {size}", xlabel=in_figures("DFT, moment of Fe (mu_B)"))
    axes[0].set_ylabel(in_figures("potentials, mean +- 2 sigma (mu_B)"))
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
