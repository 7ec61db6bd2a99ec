"""Derivatives that a labeller gives, held against central differences of its energies.

The difference quotient of the energy over +-h is the mean of the derivative over this interval,
so it is compared with the mean of the labels there, by Simpson's rule from both ends and the
middle: they differ by O(h^4) where the derivatives are right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from mmtp_jax.io.schema import labels_of
from mmtp_jax.oracles.oracle import Labelled
from mmtp_jax.simulation.constants import GPA

STEPS = {"force": 0.01, "stress": 0.005, "dE/dm": 0.05}
"""Angstrom, strain, mu_B."""
_AXES = "xyz"


@dataclass(frozen=True)
class Derivative:
    """One derivative: a force, a component of the stress, or dE/dm."""

    kind: str
    where: str
    unit: str
    label: float
    """In the middle."""
    from_energies: float
    """The difference quotient, which is a mean over the interval."""
    mean_label: float
    """The same mean, of the labels."""

    @property
    def difference(self) -> float:
        """How far labels and energies are apart, meV/Angstrom, GPa or meV/mu_B."""
        return (self.mean_label - self.from_energies) * (1.0 if self.unit == "GPa" else 1e3)


@dataclass(frozen=True)
class Ends:
    """Two configurations, on both sides of one, along one coordinate."""

    kind: str
    where: str
    unit: str
    low: Atoms
    high: Atoms
    label: Callable[[Labelled], float]
    """The derivative among the labels."""
    of_energy: float
    """Factor of the difference of the energies."""

    def derivative(self, low: Labelled, middle: Labelled, high: Labelled) -> Derivative:
        """What the labels of the three say."""
        energies = [one.atoms.get_potential_energy() for one in (low, high)]
        a, b, c = (self.label(one) for one in (low, middle, high))
        quotient = self.of_energy * (energies[1] - energies[0])
        return Derivative(self.kind, self.where, self.unit, b, quotient, (a + 4.0 * b + c) / 6.0)


def ends_of(target: Atoms, middle: Labelled) -> list[Ends]:
    """Both sides of a configuration: along its largest force, normal stress and dE/dm."""
    labels = labels_of(middle.atoms)
    forces = np.asarray(labels.results["forces"], float)
    atom, axis = np.unravel_index(np.argmax(np.abs(forces)), forces.shape)
    found = [_force(target, int(atom), int(axis))]
    if target.pbc.all() and labels.results.get("stress") is not None:
        stress = np.asarray(labels.results["stress"], float)
        found.append(_stress(target, int(np.argmax(np.abs(stress[:3])))))
    if labels.magnetic_forces is not None and len(middle.free) < len(target):
        held = np.abs(np.asarray(labels.magnetic_forces, float).reshape(len(target), -1))
        held[list(middle.free)] = -1.0
        atom, axis = np.unravel_index(np.argmax(held), held.shape)
        found.append(_moment(target, int(atom), int(axis)))
    return found


def _force(target: Atoms, atom: int, axis: int) -> Ends:
    step = STEPS["force"]
    ends = []
    for change in (-step, step):
        moved = target.copy()
        moved.positions[atom, axis] += change
        ends.append(moved)
    where = f"atom {atom} ({target.symbols[atom]}) along {_AXES[axis]}"
    return Ends(
        "force", where, "eV/Angstrom", *ends,
        lambda one: float(one.atoms.get_forces(apply_constraint=False)[atom, axis]),
        -0.5 / step,
    )  # fmt: skip


def _stress(target: Atoms, axis: int) -> Ends:
    """Along a strain e of one Cartesian axis V(e) = V(0) (1 + e), so that dE/de = V(0) stress."""
    step = STEPS["stress"]
    ends = []
    for change in (-step, step):
        strained = target.copy()
        cell = target.cell.array.copy()
        cell[:, axis] *= 1.0 + change
        strained.set_cell(cell, scale_atoms=True)
        ends.append(strained)
    return Ends(
        "stress", 2 * _AXES[axis], "GPa", *ends,
        lambda one: float(one.atoms.get_stress()[axis]) / GPA,
        0.5 / step / abs(target.get_volume()) / GPA,
    )  # fmt: skip


def _moment(target: Atoms, atom: int, axis: int) -> Ends:
    """Along a component of a moment; of collinear ones there is one."""
    step = STEPS["dE/dm"]
    start = np.array(target.get_initial_magnetic_moments(), float)
    vectors = start.shape == (len(target), 3)
    place = (atom, axis) if vectors else (atom,)
    ends = []
    for change in (-step, step):
        moved = target.copy()
        moments = moved.arrays["initial_magmoms"] = start.copy()
        moments[place] += change
        ends.append(moved)
    where = f"atom {atom} ({target.symbols[atom]})" + (f" along {_AXES[axis]}" if vectors else "")
    return Ends(
        "dE/dm", where, "eV/mu_B", *ends,
        lambda one: -float(labels_of(one.atoms).magnetic_forces[place]), 0.5 / step,
    )  # fmt: skip
