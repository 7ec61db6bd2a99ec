"""Changes of labels by settings: what is beyond the bounds, and what it would cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from mmtp_jax.io.schema import labels_of
from mmtp_jax.language import named
from mmtp_jax.oracles.derivatives import Derivative
from mmtp_jax.oracles.mesh_groups import stoichiometry
from mmtp_jax.oracles.oracle import Labelled
from mmtp_jax.readable import readable
from mmtp_jax.simulation.constants import GPA
from mmtp_jax.tables import aligned

_SAME_POSITION = 0.02
_SAME_MOMENT = 0.05
"""Scaled coordinates and mu_B in which strains of one state may differ."""

QUANTITIES = {
    "energy": "meV/atom",
    "forces": "meV/Angstrom",
    "stress": "GPa",
    "stress_difference": "GPa",
    "magnetic_forces": "meV/mu_B",
}
"""What has a bound, in the order of `Bounds`, and the units of all that is told here."""


@dataclass(frozen=True)
class Bounds:
    """What a change may be; see `QUANTITIES` for the units."""

    energy: float
    forces: float
    stress: float
    stress_difference: float
    magnetic_forces: float


@dataclass(frozen=True, eq=False)
class Cell:
    """A configuration that is computed."""

    name: str
    formula: str
    numbers: np.ndarray
    scaled: np.ndarray
    """(n, 3) scaled positions."""
    moments: np.ndarray
    """Targets, mu_B."""

    def is_strain_of(self, other: Cell) -> bool:
        """Are both one state but for the strain of the cell?"""
        if not np.array_equal(self.numbers, other.numbers) or (
            self.moments.shape != other.moments.shape
        ):
            return False
        away = self.scaled - other.scaled
        away -= np.rint(away)
        same = np.abs(self.moments - other.moments).max() <= _SAME_MOMENT
        return bool(same and np.abs(away).max() <= _SAME_POSITION)


@dataclass(frozen=True, eq=False)
class Run:
    """Labels of one configuration, or their change, in the units of `QUANTITIES`; and the cost."""

    energy: float
    """Per atom."""
    forces: np.ndarray
    """(n, 3)."""
    stress: np.ndarray | None
    """(6,); None where the cell is not periodic."""
    magnetic_forces: np.ndarray | None
    """(held atoms,) or (held atoms, 3); None where there are none."""
    magmoms: np.ndarray
    """(held atoms,) achieved moments, mu_B."""
    seconds: float
    """Of the processors, where the code tells it, else as it took."""
    steps: int | None
    """Of the self-consistency, where the code tells it."""
    folder: str = ""

    @classmethod
    def of(cls, answer: Labelled, folder: str) -> Run:
        """From labels in eV and Angstrom."""
        labels, about = labels_of(answer.atoms), answer.provenance
        n = len(answer.atoms)
        held = np.setdiff1d(np.arange(n), answer.free)
        stress, magnetic = labels.results.get("stress"), labels.magnetic_forces
        cpu = float(about.settings.get("cpu_s", math.nan))
        magmoms = np.asarray(labels.achieved_moments, float).reshape(n, -1)
        return cls(
            1e3 * float(labels.results["energy"]) / n,
            1e3 * np.asarray(labels.results["forces"], float),
            None if stress is None else np.asarray(stress, float) / GPA,
            None if magnetic is None or not len(held) else 1e3 * np.asarray(magnetic, float)[held],
            magmoms[held],
            about.seconds if math.isnan(cpu) else cpu,
            about.settings.get("n_steps"),
            folder,
        )

    def as_dict(self) -> dict[str, Any]:
        """Lists and numbers, for JSON."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {n: v.tolist() if isinstance(v, np.ndarray) else v for n, v in values.items()}

    def minus(self, other: Run) -> Run:
        """The change; the cost stays that of this one."""
        return replace(
            self,
            energy=self.energy - other.energy,
            forces=self.forces - other.forces,
            stress=_difference(self.stress, other.stress),
            magnetic_forces=_difference(self.magnetic_forces, other.magnetic_forces),
            magmoms=self.magmoms - other.magmoms,
        )


@dataclass(frozen=True, eq=False)
class Change:
    """What one variation does. A number is None where nothing tells it."""

    text: str
    """What is different."""
    better: bool
    """The labeller knows it to be better than the settings."""
    cells: tuple[Cell, ...]
    before: tuple[Run | None, ...]
    after: tuple[Run | None, ...]

    @property
    def of_cells(self) -> dict[int, Run]:
        """The change of each configuration that has labels in both."""
        pairs = enumerate(zip(self.before, self.after, strict=True))
        return {k: b.minus(a) for k, (a, b) in pairs if a is not None and b is not None}

    @property
    def energy(self) -> float | None:
        """Largest change of the energy difference of two configurations of one stoichiometry."""
        kinds: dict[str, list[float]] = {}
        for k, run in self.of_cells.items():
            kinds.setdefault(stoichiometry(self.cells[k].formula), []).append(run.energy)
        return _largest([max(e) - min(e) for e in kinds.values() if len(e) > 1])

    @property
    def forces(self) -> float | None:
        """Root mean square in the configuration where it is largest."""
        return _largest([_rms(run.forces) for run in self.of_cells.values()])

    @property
    def largest_force(self) -> float | None:
        """Largest change of a component."""
        return _largest([float(np.abs(run.forces).max()) for run in self.of_cells.values()])

    @property
    def stress(self) -> float | None:
        """Largest change of a component."""
        runs = self.of_cells.values()
        return _largest([float(np.abs(r.stress).max()) for r in runs if r.stress is not None])

    @property
    def stress_difference(self) -> float | None:
        """Largest change of the difference of a component between strains of one state."""
        found = [(k, run.stress) for k, run in self.of_cells.items() if run.stress is not None]
        return _largest([
            float(np.abs(a - b).max())
            for place, (k, a) in enumerate(found)
            for j, b in found[:place]
            if self.cells[k].is_strain_of(self.cells[j])
        ])  # fmt: skip

    @property
    def magnetic_forces(self) -> float | None:
        """Root mean square in the configuration where it is largest."""
        runs = self.of_cells.values()
        return _largest([_rms(r.magnetic_forces) for r in runs if r.magnetic_forces is not None])

    @property
    def largest_magnetic_force(self) -> float | None:
        """Largest change of a component."""
        runs = self.of_cells.values()
        return _largest(
            [float(np.abs(r.magnetic_forces).max()) for r in runs if r.magnetic_forces is not None]
        )

    @property
    def moments(self) -> float | None:
        """Largest change of an achieved moment that is held, mu_B: constraints may be soft."""
        runs = self.of_cells.values()
        return _largest([float(np.abs(r.magmoms).max()) for r in runs if r.magmoms.size])

    def beyond(self, bounds: Bounds) -> list[str]:
        """The quantities that change by more than their bounds."""
        found = []
        for name in QUANTITIES:
            value = getattr(self, name)
            # A bound itself, give or take the last digit, is kept.
            if value is not None and value > getattr(bounds, name) * (1.0 + 1e-9):
                found.append(name)
        return found

    def as_dict(self, bounds: Bounds) -> dict[str, Any]:
        """Numbers and names, for JSON; units are those of `QUANTITIES`."""
        numbers = (*QUANTITIES, "largest_force", "largest_magnetic_force", "moments")
        return {
            "settings": self.text,
            "better": self.better,
            **{name: getattr(self, name) for name in numbers},
            "beyond": self.beyond(bounds),
            "cells": {self.cells[k].name: run.as_dict() for k, run in self.of_cells.items()},
        }


@readable
@dataclass(frozen=True, eq=False)
class Convergence:
    """What settings do to labels; prints as tables."""

    cells: tuple[Cell, ...]
    runs: tuple[Run | None, ...]
    """With the settings as they are; None where there are no labels."""
    changes: tuple[Change, ...]
    derivatives: tuple[Derivative, ...]
    failures: tuple[str, ...]
    """Folder and reason."""
    bounds: Bounds

    @property
    def together(self) -> Change | None:
        """All that is better at once, if changes add up; None for fewer than two.

        Only configurations count that have all labels.
        """
        better = [change for change in self.changes if change.better]
        if len(better) < 2:
            return None
        after = tuple(
            None if run is None or any(c.after[k] is None for c in better)
            else _moved(run, [c.of_cells[k] for c in better])
            for k, run in enumerate(self.runs)
        )  # fmt: skip
        return Change("all of these, if they add up", True, self.cells, self.runs, after)

    @property
    def converged(self) -> bool:
        """Is nothing beyond its bound, neither on its own, together nor in derivatives?"""
        whole = [self.together] if self.together is not None else []
        return not any(c.beyond(self.bounds) for c in (*self.changes, *whole)) and not any(
            self._is_off(derivative) for derivative in self.derivatives
        )

    def _is_off(self, derivative: Derivative) -> bool:
        names = {"force": "forces", "stress": "stress", "dE/dm": "magnetic_forces"}
        return abs(derivative.difference) > getattr(self.bounds, names[derivative.kind])

    def rows(self) -> list[list[Any]]:
        """A row for each variation; the header is `HEADER`."""
        whole = [self.together] if self.together is not None else []
        return [
            ["as they are", *[None] * 7, *_cost(self.runs)],
            *(
                [c.text, c.energy, c.forces, c.largest_force, c.stress, c.stress_difference,
                 c.magnetic_forces, c.largest_magnetic_force,
                 *((None, None) if c in whole else _cost(c.after))]
                for c in (*self.changes, *whole)
            ),
        ]  # fmt: skip

    def cell_rows(self) -> list[list[Any]]:
        """A row for each variation and configuration; the header is `CELL_HEADER`."""
        return [
            [change.text, self.cells[k].name, run.energy, _rms(run.forces),
             float(np.abs(run.forces).max()),
             *([None] * 6 if run.stress is None else run.stress.tolist()),
             *([None] * 2 if run.magnetic_forces is None else
               [_rms(run.magnetic_forces), float(np.abs(run.magnetic_forces).max())]),
             run.seconds, run.steps, run.folder]
            for change in self.changes
            for k, run in change.of_cells.items()
        ]  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """All numbers, for JSON; units are those of `QUANTITIES`."""
        names = [cell.name for cell in self.cells]
        whole = self.together
        return {
            "units": QUANTITIES,
            "bounds": asdict(self.bounds),
            "converged": self.converged,
            "labels": {
                name: None if run is None else run.as_dict()
                for name, run in zip(names, self.runs, strict=True)
            },
            "changes": [change.as_dict(self.bounds) for change in self.changes],
            "together": None if whole is None else whole.as_dict(self.bounds),
            "derivatives": [{**asdict(d), "apart_by": d.difference} for d in self.derivatives],
            "failures": list(self.failures),
        }

    def __str__(self) -> str:
        head = [
            ("settings", "energies", "forces", "", "stress", "of strains", "dE/dm", "", "time",
             "steps"),
            ("", "meV/atom", "meV/A rms", "largest", "GPa", "GPa", "meV/mu_B", "largest", "s", ""),
        ]  # fmt: skip
        bounded = {1: "energy", 2: "forces", 4: "stress", 5: "stress_difference",
                   6: "magnetic_forces"}  # fmt: skip
        table = []
        for row in self.rows():
            cells = [row[0]]
            for place, value in enumerate(row[1:], 1):
                name = bounded.get(place)
                beyond = name and value is not None and value > getattr(self.bounds, name)
                cells.append(_number(value, place) + ("*" if beyond else " " if name else ""))
            table.append(tuple(cells))
        limits = ["bounds", *[""] * 9]
        for place, name in bounded.items():
            limits[place] = f"{getattr(self.bounds, name):g} "
        lines = [aligned([*head, tuple(limits), *table], rule=False), *self._notes()]
        if self.derivatives:
            lines += ["", self._derivative_table()]
        return "\n".join(lines)

    def _notes(self) -> list[str]:
        notes = []
        if any(change.beyond(self.bounds) for change in self.changes):
            notes.append("* beyond its bound")
        for change in self.changes:
            if (n := len(change.of_cells)) < len(self.cells):
                notes.append(f"{change.text}: {n} of {len(self.cells)} configurations have labels")
            if (change.moments or 0.0) > 0.005:
                notes.append(
                    f"{change.text}: moments differ by up to {change.moments:.3f} mu_B, and "
                    "energies by what that costs"
                )
        if all(change.energy is None for change in self.changes):
            notes.append("energy differences need two configurations of one stoichiometry")
        if all(change.stress_difference is None for change in self.changes):
            notes.append(f"'of strains' needs strains of one state; {named('strain')} makes one")
        return notes

    def _derivative_table(self) -> str:
        """Labels in the middle, and means over the interval of differences and of labels."""
        rows = [("", "", "label", "its mean", "from energies", "apart by", "")]
        for d in self.derivatives:
            unit = d.unit if d.unit == "GPa" else f"m{d.unit}"
            mark = "*" if self._is_off(d) else ""
            numbers = [f"{x:.5f}" for x in (d.label, d.mean_label, d.from_energies)]
            rows.append((d.kind, d.where, *numbers, f"{d.difference:.3f}{mark}", unit))
        return aligned(rows, (0, 1, 6), rule=False)


HEADER = (
    "settings", "energy differences (meV/atom)", "forces rms (meV/Angstrom)",
    "forces largest (meV/Angstrom)", "stress (GPa)", "stress differences of strains (GPa)",
    "dE/dm rms (meV/mu_B)", "dE/dm largest (meV/mu_B)", "time (s)", "steps",
)  # fmt: skip
"""Of `Convergence.rows`; time and steps are means over the configurations."""
CELL_HEADER = (
    "settings", "configuration", "energy (meV/atom)", *HEADER[2:4],
    *(f"stress {axes} (GPa)" for axes in ("xx", "yy", "zz", "yz", "xz", "xy")),
    *HEADER[6:], "folder",
)  # fmt: skip
"""Of `Convergence.cell_rows`; changes of one configuration."""


def _moved(run: Run, changes: Sequence[Run]) -> Run:
    """Labels after all changes at once."""

    def total(name: str) -> Any:
        values = [getattr(one, name) for one in (run, *changes)]
        return None if any(value is None for value in values) else sum(values)

    names = ("energy", "forces", "stress", "magnetic_forces", "magmoms")
    return replace(run, **{name: total(name) for name in names})


def _cost(runs: Sequence[Run | None]) -> tuple[float | None, float | None]:
    """Mean seconds and steps of a configuration."""
    found = [run for run in runs if run is not None]
    steps = [run.steps for run in found if run.steps is not None]
    return (
        float(np.mean([run.seconds for run in found])) if found else None,
        float(np.mean(steps)) if steps else None,
    )


def _difference(a: np.ndarray | None, b: np.ndarray | None) -> np.ndarray | None:
    return None if a is None or b is None else a - b


def _largest(values: Sequence[float]) -> float | None:
    return max(values) if values else None


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _number(value: float | None, place: int) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if place >= 8 else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
