"""Figures of fits: parity of labels and predictions, loss over the steps, scan of a weight."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from mmtp_jax.api import Given, evaluate
from mmtp_jax.fitting.report import EV_PER_CUBIC_ANGSTROM_IN_GPA, UNITS, Comparison, comparison
from mmtp_jax.io.convert import given_configurations, structures_for
from mmtp_jax.plot.style import COLOURS, MARKERS, MU_B, new_figure, plain
from mmtp_jax.progress import OF_STAGE

if TYPE_CHECKING:
    from mmtp_jax.fitting.cross_validation import WeightScan
    from mmtp_jax.fitting.fit import Fit
    from mmtp_jax.potential.potential import Potential

_MANY_POINTS = 5000
"""From so many points on, markers are smaller and drawn as an image."""


@dataclass(frozen=True)
class _Panel:
    title: str
    unit: str
    factor: float
    rmse_unit: str


_PANELS = {
    "energy": _Panel("Energy minus mean", "meV/atom", 1e3, "meV/atom"),
    "forces": _Panel("Force", "eV/Å", 1.0, "meV/Å"),
    "stress": _Panel("Stress", "GPa", EV_PER_CUBIC_ANGSTROM_IN_GPA, "GPa"),
    "magnetic_forces": _Panel("Magnetic force", f"eV/{MU_B}", 1.0, f"meV/{MU_B}"),
}


_SCAN_TITLES = {
    "energy": "Energy",
    "forces": "Force",
    "stress": "Stress",
    "magnetic_forces": "Magnetic force",
}
_SCAN_WEIGHTS = {
    "energy": "energies",
    "forces": "forces (Å²)",
    "stress": "stresses",
    "magnetic_forces": r"magnetic forces ($\mu_\mathrm{B}^2$)",
    "magnetic_forces_along": r"magnetic forces along moments ($\mu_\mathrm{B}^2$)",
    "magnetic_forces_across": r"magnetic forces across moments ($\mu_\mathrm{B}^2$)",
}


def parity(
    potential: Potential | Mapping[str, Potential],
    atoms_list: Given | Mapping[str, Given],
) -> Figure:
    """Predictions over labels, one panel for each kind of label.

    Args:
        potential: one, or several by their names, which are laid over each other.
        atoms_list: labelled configurations or files; of one potential also several sets of them
            by their names.

    Raises:
        ValueError: if there are no labels, or several potentials and several sets.

    Example:
        >>> mmtp.plot.parity(pot, {"training": kept, "validation": held_out})
    """
    if isinstance(potential, Mapping):
        if isinstance(atoms_list, Mapping):
            raise ValueError("give several potentials or several sets, not both")
        pairs = {name: (of, atoms_list) for name, of in potential.items()}
    else:
        sets = atoms_list if isinstance(atoms_list, Mapping) else {"all data": atoms_list}
        pairs = {name: (potential, of) for name, of in sets.items()}
    compared = {}
    for name, (of, given) in pairs.items():
        configurations = given_configurations(given, of.species)
        structures = structures_for(of, configurations, vectors=True)
        compared[name] = comparison(structures, evaluate(of, configurations))
    return parity_of(compared)


def loss(fit: Fit | str | Path) -> Figure:
    """Loss over the steps of a fit, or of the CSV that ``mmtp fit --history`` wrote."""
    if isinstance(fit, (str, Path)):
        return loss_of(*read_history(fit))
    stages = {} if fit.part is None else {"part": fit.part.history}
    stages["all"] = fit.history
    return loss_of(
        {OF_STAGE[name]: np.array(loss) for name, loss in stages.items()}, fit.validation_losses
    )


def parity_of(sets: dict[str, Comparison]) -> Figure:
    """Predictions over labels, one panel for each kind of label that any set has.

    Args:
        sets: labels and predictions by the name of the set, e.g. training and validation.

    Raises:
        ValueError: if there are no labels.
    """
    kinds = [kind for kind in _PANELS if any(kind in of for of in sets.values())]
    if not kinds:
        raise ValueError("there are no labels to compare with, so there is nothing to plot")
    columns = min(2, len(kinds))
    rows = (len(kinds) + 1) // 2
    figure = new_figure(3.7 * columns, 3.6 * rows + 0.4, h_pad=0.08, w_pad=0.08)
    grid = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for axes, kind in zip(grid, kinds, strict=False):
        _parity_panel(axes, _PANELS[kind], UNITS[kind][1], _of_kind(sets, kind))
    for axes in grid[len(kinds) :]:
        axes.remove()
    handles = {}
    for axes in grid[: len(kinds)]:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if len(handles) > 1:
        figure.legend(
            handles.values(),
            handles.keys(),
            loc="outside upper center",
            ncols=len(handles),
            frameon=False,
            markerscale=1.5,
        )
    return figure


def loss_of(stages: dict[str, np.ndarray], validation: Mapping[int, float] | None = None) -> Figure:
    """Loss over the steps of a fit, on a logarithmic scale, the stages one after the other.

    Args:
        stages: losses by the name of the stage.
        validation: loss of the validation set by step of the last stage.
    """
    figure = new_figure(5.0, 3.4)
    axes = figure.subplots()
    first = start = 0
    for k, (name, loss) in enumerate(stages.items()):
        # All data begin at the parameters of the last step before.
        steps = first + np.arange(len(loss))
        label = "training" if validation and len(stages) == 1 else name
        axes.plot(steps, loss, color=COLOURS[k], linewidth=1.4, label=label)
        start, first = first, steps[-1]
    if validation:
        steps, values = np.array(sorted(validation.items())).T
        colour = COLOURS[len(stages)]
        axes.plot(
            start + steps, values, color=colour, linewidth=1.2, marker=MARKERS[0], markersize=3.0,
            label="validation",
        )  # fmt: skip
        best = int(np.argmin(values))
        axes.plot(
            start + steps[best], values[best], linestyle="none", marker="*", markersize=11.0,
            color=colour, label=f"lowest, step {steps[best]:.0f}",
        )  # fmt: skip
    if all(np.all(loss > 0.0) for loss in stages.values()):
        axes.set_yscale("log")
    axes.set_xlabel("Step")
    axes.set_ylabel("Loss")
    axes.margins(x=0.02)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    plain(axes, grid=True)
    if len(stages) > 1 or validation:
        axes.legend(frameon=False)
    return figure


def scan(scan: WeightScan) -> Figure:
    """Errors of held-out configurations over a weight (Kotykhov 2024, Fig. 2).

    One panel for each kind of label; bars are one standard deviation over the folds, 68 %. Grey
    dots are the folds, for one that is far off makes a long bar.
    """
    kinds = [kind for kind in _PANELS if any(kind in of for of in scan.validation)]
    columns = min(2, len(kinds))
    rows = (len(kinds) + 1) // 2
    figure = new_figure(3.7 * columns, 2.6 * rows + 0.3, h_pad=0.06, w_pad=0.08)
    grid = np.ravel(figure.subplots(rows, columns, squeeze=False, sharex=True))
    for axes, kind in zip(grid, kinds, strict=False):
        found = [
            (value, of[kind].rmse)
            for value, of in zip(scan.values, scan.validation, strict=True)
            if kind in of
        ]
        # Beside the bars: a fixed shift in points, whatever the scale.
        beside = axes.transData + ScaledTranslation(5 / 72, 0, figure.dpi_scale_trans)
        for value, rmse in found:
            axes.plot(
                [value] * len(rmse.values),
                rmse.values,
                linestyle="none",
                marker="o",
                markersize=3.5,
                markerfacecolor="0.65",
                markeredgewidth=0.0,
                transform=beside,
                zorder=1,
            )
        axes.errorbar(
            [value for value, _ in found],
            [rmse.mean for _, rmse in found],
            yerr=[rmse.sigma for _, rmse in found],
            color=COLOURS[0],
            marker="o",
            markersize=4.5,
            linewidth=1.3,
            elinewidth=1.1,
            capsize=3.0,
        )
        axes.set_xscale("log")
        # The shift keeps matplotlib from making room for the folds; no error is negative.
        of_folds = [value for _, rmse in found for value in rmse.values]
        low, high = axes.get_ylim()
        margin = 0.05 * (high - low)
        low, high = min(low, min(of_folds) - margin), max(high, max(of_folds) + margin)
        axes.set_ylim(max(0.0, low), high)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_title(_SCAN_TITLES[kind], fontsize=10.5)
        axes.set_ylabel(f"RMSE ({_PANELS[kind].rmse_unit})")
        axes.yaxis.set_major_locator(MaxNLocator(5))
        plain(axes, grid=True)
    for axes in grid[len(kinds) :]:
        axes.remove()
    figure.supxlabel(f"Weight of {_SCAN_WEIGHTS[scan.kind]}", fontsize=10)
    n = scan.results[0].n_folds
    title = rf"Held-out configurations: mean ± $\sigma$ (68 %) over {n} folds, each fold in grey"
    figure.suptitle(title, fontsize=10.5)
    return figure


def read_history(path: str | Path) -> tuple[dict[str, np.ndarray], dict[int, float]]:
    """Losses by stage, and validation losses by step of the last, of ``mmtp fit --history``.

    A file of earlier versions has one stage.

    Raises:
        ValueError: if the file has no such columns, or no rows.
    """
    stages: dict[str, list[float]] = {}
    validation: dict[int, float] = {}
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if not {"iteration", "loss"} <= set(reader.fieldnames or ()):
            raise ValueError(f"{path}: no columns 'iteration' and 'loss'; is it a loss history?")
        for row in reader:
            stage = row.get("stage") or "all"
            stages.setdefault(OF_STAGE.get(stage, stage), []).append(float(row["loss"]))
            if row.get("validation loss"):
                validation[int(row["iteration"])] = float(row["validation loss"])
    if not stages:
        raise ValueError(f"{path}: no rows")
    return {name: np.array(loss) for name, loss in stages.items()}, validation


def _of_kind(sets: dict[str, Comparison], kind: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    found = {name: of[kind][:2] for name, of in sets.items() if kind in of}
    if kind == "energy":
        # Energies of all-electron calculations are thousands of eV per atom: show differences.
        mean = np.mean(np.concatenate([labels for labels, _ in found.values()]))
        found = {name: (a - mean, b - mean) for name, (a, b) in found.items()}
    return found


def _parity_panel(
    axes: Any, panel: _Panel, rmse_factor: float, sets: dict[str, tuple[np.ndarray, np.ndarray]]
) -> None:
    shown = np.concatenate([np.concatenate(pair) for pair in sets.values()]) * panel.factor
    low, high = float(shown.min()), float(shown.max())
    margin = 0.06 * (high - low) or 1.0
    limits = (low - margin, high + margin)
    axes.plot(limits, limits, color="0.6", linewidth=0.9, zorder=1)
    lines = []
    for k, (name, (labels, predicted)) in enumerate(sets.items()):
        many = labels.size > _MANY_POINTS
        axes.plot(
            labels * panel.factor,
            predicted * panel.factor,
            linestyle="none",
            marker=MARKERS[k % len(MARKERS)],
            markersize=2.0 if many else 3.6,
            markerfacecolor=COLOURS[k % len(COLOURS)],
            markeredgewidth=0.0,
            alpha=0.35 if many else 0.7,
            rasterized=many,
            label=name,
            zorder=2 + k,
        )
        rmse = float(np.sqrt(np.mean((predicted - labels) ** 2))) * rmse_factor
        lines.append((f"{name} {rmse:.3g} {panel.rmse_unit}", COLOURS[k % len(COLOURS)]))
    axes.text(0.04, 0.95, "RMSE", transform=axes.transAxes, va="top", fontsize=8.5, color="0.25")
    for k, (text, colour) in enumerate(lines):
        axes.text(
            0.04, 0.885 - 0.065 * k, text, transform=axes.transAxes, va="top", fontsize=8.5,
            color=colour,
        )  # fmt: skip
    axes.set_xlim(limits)
    axes.set_ylim(limits)
    axes.set_aspect("equal")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel(f"Label ({panel.unit})")
    axes.set_ylabel(f"Potential ({panel.unit})")
    axes.set_title(panel.title, fontsize=10.5)
    plain(axes)
