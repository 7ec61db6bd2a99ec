"""Figures of dynamics and relaxations: a line for each replica or configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmtp_jax.io.thermo import read_series
from mmtp_jax.plot.style import COLOURS, EACH, MU_B, VOLUME, new_figure, plain

if TYPE_CHECKING:
    from mmtp_jax.interfaces.dynamics import MDResult
    from mmtp_jax.simulation.relaxation.structures import Frame


FLOOR = 1e-7
"""Smaller numbers of a relaxation, in the units of its panels, are round-off and are not drawn."""

LISTED = 8
"""Most replicas that the legend and the title name."""


@dataclass(frozen=True)
class Thermo:
    """Time series of R replicas, (t, R) each, but ``time_ps`` (t,)."""

    time_ps: np.ndarray
    n_atoms: int
    temperature: np.ndarray
    """K."""
    energy: np.ndarray
    """Potential energy, eV."""
    conserved: np.ndarray
    """eV."""
    pressure: np.ndarray
    """GPa."""
    volume: np.ndarray
    """Angstrom^3; infinite without one."""
    magnetisation: np.ndarray
    """Sum of the moments, mu_B."""
    mean_moment: np.ndarray
    """Mean of |m|, mu_B."""
    grade: np.ndarray
    """NaN where it was not watched."""
    spin_temperature: np.ndarray
    """K; NaN without spin dynamics."""

    @property
    def drift(self) -> np.ndarray:
        """Slope (R,) of the conserved energy, meV/atom/ps; NaN for fewer than two rows."""
        if len(self.time_ps) < 2:
            return np.full(self.energy.shape[1], np.nan)
        values = self.conserved - self.conserved.mean(axis=0)
        return np.polyfit(self.time_ps, values, 1)[0] * 1e3 / self.n_atoms


_SERIES = tuple(name for name in Thermo.__dataclass_fields__ if name not in ("time_ps", "n_atoms"))

_OPTIONAL = ("grade", "spin_temperature")


def thermo_of(result: MDResult) -> Thermo:
    """The time series of a run."""
    series = {name: np.asarray(getattr(result.series, name)) for name in _SERIES}
    return Thermo(result.time_fs * 1e-3, result.system.n_atoms, **series)


def read_thermo(path: str | Path) -> Thermo:
    """The time series of a CSV that ``mmtp md --log`` wrote.

    Raises:
        ValueError: if the file has no such columns, or no rows.
    """
    always = tuple(name for name in _SERIES if name not in _OPTIONAL)
    columns = read_series(path, ("time", "atoms", *always), optional=_OPTIONAL)
    return Thermo(
        time_ps=columns["time"][:, 0] * 1e-3,
        n_atoms=int(columns["atoms"][0, 0]),
        **{name: columns[name] for name in _SERIES},
    )


def dynamics(run: MDResult | str | Path) -> Figure:
    """Numbers of a run over time: of a result of `mmtp_jax.md`, or a CSV of ``mmtp md --log``."""
    return thermo_of_series(read_thermo(run) if isinstance(run, (str, Path)) else thermo_of(run))


def thermo_of_series(thermo: Thermo) -> Figure:
    """Temperature, energies, pressure, volume and moments over time, one line for each replica.

    Energies are per atom, from their first value on; the slope of the conserved one, which is the
    total energy at constant energy, is in the title.
    """
    n = thermo.n_atoms
    panels: list[tuple[str, np.ndarray, str]] = [
        ("Temperature (K)", thermo.temperature, ""),
        ("Potential energy\n(meV/atom)", _from_start(thermo.energy, n), ""),
        ("Conserved energy\n(meV/atom)", _from_start(thermo.conserved, n), _drift(thermo.drift)),
    ]
    if np.all(np.isfinite(thermo.volume)):
        panels.append(("Pressure (GPa)", thermo.pressure, ""))
        if np.any(np.ptp(thermo.volume, axis=0) > 1e-9 * thermo.volume[0]):
            panels.append((VOLUME, thermo.volume / n, ""))
    panels += [
        (f"Mean |m| ({MU_B})", thermo.mean_moment, ""),
        (f"Magnetisation\n({MU_B}/atom)", thermo.magnetisation / n, ""),
    ]
    if np.any(np.isfinite(thermo.spin_temperature)):
        panels.append(("Temperature of the\nspins (K)", thermo.spin_temperature, ""))
    if np.any(np.isfinite(thermo.grade)):
        panels.append((r"Extrapolation grade $\gamma$", thermo.grade, ""))
    lines = [(thermo.time_ps, f"replica {r}") for r in range(thermo.energy.shape[1])]
    return _panels(panels, lines, "Time (ps)", integer=False)


def relaxation(traces: Sequence[Sequence[Frame]], names: Sequence[str]) -> Figure:
    """Enthalpy, forces, stress and magnetic forces over the steps, a line for each configuration.

    Args:
        traces: the start and the accepted steps of each configuration.
        names: of the configurations.

    Raises:
        ValueError: if there is nothing to plot.
    """
    shown = [(trace, name) for trace, name in zip(traces, names, strict=True) if len(trace) > 1]
    if not shown:
        raise ValueError("no configuration has taken a step, so there is nothing to plot")

    def column(kind: str) -> list[np.ndarray]:
        return [np.array([getattr(frame, kind) for frame in trace]) for trace, _ in shown]

    sizes = [len(trace[0].structure) for trace, _ in shown]
    enthalpies = [1e3 * (h - h[-1]) / n for h, n in zip(column("enthalpy"), sizes, strict=True)]
    panels = [
        ("Enthalpy above its end\n(meV/atom)", enthalpies, ""),
        ("Largest force (eV/Å)", column("force"), ""),
        ("Largest stress + p (GPa)", column("stress_GPa"), ""),
        (f"Largest magnetic\nforce (eV/{MU_B})", column("magnetic_force"), ""),
    ]
    # Without those that symmetry keeps at zero.
    panels = [panel for panel in panels if any(np.any(of > FLOOR) for of in panel[1])]
    steps = column("step")
    lines = [(x, name) for x, (_, name) in zip(steps, shown, strict=True)]
    return _panels(panels, lines, "Step", integer=True, logarithmic=True)


def _panels(
    panels: Sequence[tuple[str, Any, str]],
    lines: Sequence[tuple[np.ndarray, str]],
    xlabel: str,
    integer: bool,
    logarithmic: bool = False,
) -> Figure:
    """Panels in two columns; values are (t, R), or one array for each line."""
    rows = (len(panels) + 1) // 2
    figure = new_figure(8.2, 1.9 * rows + 0.7, h_pad=0.06, w_pad=0.08)
    grid = np.ravel(figure.subplots(rows, 2, squeeze=False, sharex=True))
    for axes, (label, values, title) in zip(grid, panels, strict=False):
        of_lines = values if isinstance(values, list) else list(values.T)
        for k, ((x, name), y) in enumerate(zip(lines, of_lines, strict=True)):
            # A logarithmic axis has no place for zero, nor should one be wide for round-off.
            y = np.where(y > FLOOR, y, np.nan) if logarithmic else y
            axes.plot(
                x, y, color=COLOURS[k % len(COLOURS)], linewidth=1.1, label=name,
                marker="o" if len(x) < 40 and logarithmic else None, markersize=2.5,
                alpha=0.9 if len(lines) <= 3 else 0.75, gid=EACH,
            )  # fmt: skip
        if logarithmic:
            axes.set_yscale("log")
        else:
            axes.yaxis.set_major_locator(MaxNLocator(5))
            axes.ticklabel_format(axis="y", useOffset=False)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=integer))
        axes.set_ylabel(label, fontsize=9)
        axes.set_title(title, fontsize=9)
        axes.margins(x=0.02)
        plain(axes, grid=True, labelsize=8.5)
    for axes in grid[len(panels) :]:
        axes.remove()
    for axes in grid[max(0, len(panels) - 2) : len(panels)]:
        axes.set_xlabel(xlabel, fontsize=9)
        axes.tick_params(labelbottom=True)
    figure.align_ylabels()
    if 1 < len(lines) <= LISTED:
        handles, labels = grid[0].get_legend_handles_labels()
        # As many beside each other as their names leave room for.
        columns = min(4, len(lines), max(1, 95 // (max(map(len, labels)) + 8)))
        figure.legend(
            handles, labels, loc="outside upper center", ncols=columns, frameon=False, fontsize=9
        )
    return figure


def _from_start(energy: np.ndarray, n_atoms: int) -> np.ndarray:
    return 1e3 * (energy - energy[0]) / n_atoms


def _drift(drift: np.ndarray) -> str:
    if not np.all(np.isfinite(drift)):
        return ""
    if len(drift) <= 3:
        numbers = ", ".join(f"{value:.2g}" for value in drift)
    else:
        numbers = f"{drift.min():.2g} to {drift.max():.2g}"
    return f"drift {numbers} meV/atom/ps"
