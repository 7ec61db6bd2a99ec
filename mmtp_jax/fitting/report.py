"""Errors of a potential against labels, as in Kotykhov 2024, Table 2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mmtp_jax.fitting.shifts import Shift
from mmtp_jax.readable import readable
from mmtp_jax.structures.magnetic_parts import across, along, torques
from mmtp_jax.structures.results import VOIGT, Result
from mmtp_jax.structures.structure import LABELS, Structure
from mmtp_jax.tables import aligned

EV_PER_CUBIC_ANGSTROM_IN_GPA = 160.21766208
UNITS = {
    "energy": ("meV/atom", 1e3),
    "forces": ("meV/Angstrom", 1e3),
    "stress": ("GPa", EV_PER_CUBIC_ANGSTROM_IN_GPA),
    "magnetic_forces": ("meV/mu_B", 1e3),
    "magnetic_forces_along": ("meV/mu_B", 1e3),
    "magnetic_forces_across": ("meV/mu_B", 1e3),
    "torques": ("meV", 1e3),
}
"""Unit of each kind in reports, and its factor from eV, Angstrom and mu_B.

After the kinds of label, of moments that are vectors: magnetic forces along the moments, those
across them, and the torques m x (-dE/dm)."""


@dataclass(frozen=True)
class KindErrors:
    """Errors of one kind of observable, in ``unit``."""

    kind: str
    unit: str
    rmse: float
    mae: float
    largest: float
    n_configurations: int
    n_values: int


@readable
@dataclass(frozen=True)
class Errors:
    """Errors of all kinds that have labels, for one set of configurations."""

    n_configurations: int
    kinds: tuple[KindErrors, ...]

    def __getitem__(self, kind: str) -> KindErrors:
        for errors in self.kinds:
            if errors.kind == kind:
                return errors
        raise KeyError(f"no labels of kind {kind!r}; there are {[k.kind for k in self.kinds]}")

    def __contains__(self, kind: str) -> bool:
        return any(errors.kind == kind for errors in self.kinds)

    def __str__(self) -> str:
        """A table."""
        return error_table({f"{self.n_configurations} configurations": self})

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "n_configurations": self.n_configurations,
            **{
                k.kind: {
                    "unit": k.unit,
                    "rmse": k.rmse,
                    "mae": k.mae,
                    "max": k.largest,
                    "n_configurations": k.n_configurations,
                    "n_values": k.n_values,
                }
                for k in self.kinds
            },
        }


@readable
@dataclass(frozen=True)
class Report:
    """Errors on the training set and, where there is one, on the validation set."""

    training: Errors
    validation: Errors | None = None
    shifts: tuple[Shift, ...] = ()
    """Constants of the energies that were fitted to labels of different making."""

    def __str__(self) -> str:
        table = error_table(
            {"training": self.training}
            | ({} if self.validation is None else {"validation": self.validation})
        )
        if not self.shifts:
            return table
        return "\n".join([table, "constants of the energies by making:", *map(str, self.shifts)])

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        sets = {"training": self.training, "validation": self.validation}
        shifts = {"shifts": [asdict(shift) for shift in self.shifts]} if self.shifts else {}
        return shifts | {
            name: errors.as_dict() for name, errors in sets.items() if errors is not None
        }


Comparison = dict[str, tuple[np.ndarray, np.ndarray, int]]
"""For each kind that has labels: labels and predictions, flat, and how many configurations."""


def comparison(structures: Sequence[Structure], results: Sequence[Result]) -> Comparison:
    """Labels and predictions of each kind that has labels, in the order of `UNITS`.

    Energies are per atom; stresses are the six independent components. Vectors have three, also
    the parts of magnetic forces across the moments. Units are eV, Angstrom and mu_B.
    """
    pairs: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {kind: [] for kind in UNITS}
    for structure, result in zip(structures, results, strict=True):
        predictions = {
            "energy": np.array([result.energy / len(structure)]),
            "forces": result.forces.ravel(),
            "stress": result.stress,
            "magnetic_forces": result.magnetic_forces,
        }
        for kind, predicted in predictions.items():
            label = getattr(structure, kind)
            if label is None or predicted is None:
                continue
            if kind == "energy":
                label = np.array([label / len(structure)])
            elif kind == "stress":
                label = label[VOIGT]
            elif kind == "magnetic_forces":
                magnetic = slice(None) if structure.magnetic is None else structure.magnetic
                label, predicted = structure.magnetic_labels, predicted[magnetic]
                if structure.vectors:
                    of = _parts(label, predicted, structure.magmoms[magnetic], structure.transverse)
                    for part, pair in of.items():
                        pairs[part].append(pair)
                    continue
            pairs[kind].append((np.ravel(label), predicted))
    return {
        kind: (np.concatenate([a for a, _ in of]), np.concatenate([b for _, b in of]), len(of))
        for kind, of in pairs.items()
        if of
    }


def _parts(
    label: np.ndarray, predicted: np.ndarray, magmoms: np.ndarray, transverse: bool
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Labels and predictions of magnetic forces that are vectors, and of their parts."""
    both = (label, predicted)
    there = magmoms.any(axis=1)
    if transverse:
        # Nothing is known along a moment, nor where there is none.
        both, magmoms = tuple(across(of[there], magmoms[there]) for of in both), magmoms[there]
        there = there[there]
    found = {
        "magnetic_forces": both,
        "magnetic_forces_along": tuple(along(of[there], magmoms[there]) for of in both),
        "magnetic_forces_across": tuple(across(of, magmoms) for of in both),
        "torques": tuple(torques(of, magmoms) for of in both),
    }
    if transverse:
        del found["magnetic_forces_along"]
    return {kind: tuple(map(np.ravel, pair)) for kind, pair in found.items() if pair[0].size}


def joined(parts: Sequence[Comparison]) -> Comparison:
    """Comparisons of several sets as that of one."""
    kinds = [kind for kind in UNITS if any(kind in part for part in parts)]
    return {
        kind: (
            np.concatenate([part[kind][0] for part in parts if kind in part]),
            np.concatenate([part[kind][1] for part in parts if kind in part]),
            sum(part[kind][2] for part in parts if kind in part),
        )
        for kind in kinds
    }


def worst_table(names: Sequence[str], each: Sequence[Comparison], n: int) -> str:
    """The n configurations with the largest errors, each in units of the RMSE of all.

    Args:
        names: of the configurations.
        each: the `comparison` of each of them alone.
        n: how many.
    """
    whole = errors_of(joined(each), len(each))
    own = [errors_of(of, 1) for of in each]
    # Parts of magnetic forces say nothing that these do not.
    kinds = [e.kind for e in whole.kinds if e.kind in LABELS]

    def size(k: int) -> float:
        # Where all labels are hit exactly, no error is larger than another.
        ratios = (own[k][kind].rmse / whole[kind].rmse for kind in kinds
                  if kind in own[k] and whole[kind].rmse > 0.0)  # fmt: skip
        return max(ratios, default=0.0)

    worst = sorted(range(len(each)), key=size, reverse=True)[:n]
    rows = [("largest errors (RMSE)", *(f"{k.replace('_', ' ')} ({UNITS[k][0]})" for k in kinds),
             "times all")]  # fmt: skip
    for k in worst:
        cells = (f"{own[k][kind].rmse:.3f}" if kind in own[k] else "-" for kind in kinds)
        rows.append((names[k], *cells, f"{size(k):.1f}"))
    return aligned(rows)


def errors_of(compared: Comparison, n_configurations: int) -> Errors:
    """Root mean square, mean absolute and largest errors of `comparison`."""
    kinds = []
    for kind, (labels, predicted, count) in compared.items():
        unit, factor = UNITS[kind]
        error = (predicted - labels) * factor
        kinds.append(
            KindErrors(
                kind,
                unit,
                rmse=float(np.sqrt(np.mean(error**2))),
                mae=float(np.mean(np.abs(error))),
                largest=float(np.max(np.abs(error))),
                n_configurations=count,
                n_values=error.size,
            )
        )
    return Errors(n_configurations, tuple(kinds))


def error_table(sets: dict[str, Errors]) -> str:
    """Aligned text table of the errors of named sets."""
    rows = [("set", "quantity", "RMSE", "MAE", "max", "unit", "configurations", "values")]
    for name, errors in sets.items():
        for k in errors.kinds:
            rows.append(
                (
                    name,
                    k.kind.replace("_", " "),
                    f"{k.rmse:.3f}",
                    f"{k.mae:.3f}",
                    f"{k.largest:.3f}",
                    k.unit,
                    f"{k.n_configurations}/{errors.n_configurations}",
                    str(k.n_values),
                )
            )
    return aligned(rows, left=(0, 1, 5))
