"""Labels under the names of other programs: which are read, and how the user maps others.

- Moments: columns ``magmom(s)``, ``mag(s)``, ``spin(s)``, ``magnetic_moment(s)``, whatever the case
  and with a prefix REF_, DFT_, VASP_ or ABINIT_; those of MACE_, which are predictions, only where
  there are no others. In the comment line ``magmoms="2.2 -2.2"`` and the like where there is one
  number per atom, ``magmoms=2.2`` of one atom.
- ``virial``, six or nine numbers in eV: the stress is the virial divided by minus the volume.
- ``stress``, six numbers in the order of ASE (xx yy zz yz xz xy) or the nine of a symmetric matrix.
- Two that contradict each other are an error. Whatever else looks like a label is named by
  `mmtp_jax.io.labels.unread_labels`.
- ``keys={"magmoms": "m_of_atoms"}`` says which name a label has; then no other is looked at.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_properties
from ase.calculators.singlepoint import SinglePointCalculator

from mmtp_jax.io.label_keys import LABELS, NOT_READ, Keys, checked_keys
from mmtp_jax.io.schema import (
    MAGNETIC_FORCES,
    TRANSVERSE,
    collapse,
    is_total,
    remove_magnetic_forces,
)
from mmtp_jax.language import argument, counted, numbers

_PREFIX = r"(?:(?:ref|dft|vasp|abinit|mace)_)?"
_COLUMN = re.compile(rf"{_PREFIX}(?:mag_?moms?|magnetic_moments?|mags?|spins?)", re.IGNORECASE)
_ENTRY = re.compile(rf"{_PREFIX}(?:mag_?moms?|magnetic_moments?|mags|spins)", re.IGNORECASE)
_ENTRY_OF_ONE = re.compile(rf"{_PREFIX}(?:mag_?moms|magnetic_moments)", re.IGNORECASE)
_SAME_MOMENT = 1e-3
"""mu_B; the last digit of OUTCAR."""
_SAME_STRESS = 1e-2
"""Of the largest component: between a stress and a virial, and across the diagonal."""


def reads(name: object, value: object, n_atoms: int, per_atom: bool) -> bool:
    """Whether an array or an entry of ``info`` would be taken for a label, and not stay itself."""
    if per_atom:
        return _is_column(name, value, n_atoms)
    if isinstance(value, (list, tuple)):
        # Extended XYZ gives numbers back as an array.
        with suppress(ValueError):
            value = np.array(value)
    return name == "virial" or _is_entry(name, value, n_atoms)


class Names:
    """Finds the labels of the configurations of one file, and counts what it has found where.

    Args:
        keys: names that are given to labels.
        vectors: moments along one axis stay vectors.
    """

    def __init__(self, keys: Keys | None = None, vectors: bool = False) -> None:
        self.keys, self.vectors = checked_keys(keys), vectors
        self._said: Counter[str] = Counter()
        self._found: set[str] = set()

    def settle(self, atoms: Atoms) -> bool:
        """Give the labels of a configuration, fresh from a reader, the names of the schema.

        Returns:
            Whether anything was changed.

        Raises:
            ValueError: if names contradict each other, or a label has a wrong shape.
        """
        results = dict(getattr(atoms.calc, "results", None) or {})
        before = dict(results)
        entries = len(atoms.info) + len(atoms.arrays)
        virial = self._mapped(atoms, results)
        if "magmoms" not in self.keys:
            self._moments(atoms, results)
        self._stress(atoms, results, virial)
        same = before.keys() == results.keys() and all(before[k] is results[k] for k in before)
        if same and entries == len(atoms.info) + len(atoms.arrays):
            return False
        results = {name: value for name, value in results.items() if name in all_properties}
        if atoms.calc is not None and results:
            atoms.calc.results = results
        else:
            atoms.calc = SinglePointCalculator(atoms, **results) if results else None
        return True

    def sentences(self, name: str) -> list[str]:
        """What was read under other names, one sentence each.

        Raises:
            ValueError: if no configuration has a name that was mapped.
        """
        for label, key in self.keys.items():
            if label not in self._found and key != NOT_READ:
                raise ValueError(
                    f"{name}: no configuration has {key!r}, which the mapping {label}={key} names"
                )
        return [
            f"{name}: {what} ({counted(count, 'configuration')})"
            for what, count in self._said.items()
        ]

    # --- what the user says ---

    def _mapped(self, atoms: Atoms, results: dict[str, Any]) -> Any:
        """Take what is mapped; returns the virial."""
        taken = {}
        for label, key in self.keys.items():
            values = None if key == NOT_READ else _entry(atoms, results, key)
            if values is not None:
                self._found.add(label)
                taken[label] = np.asarray(values)
        if {MAGNETIC_FORCES, TRANSVERSE} <= taken.keys():
            raise ValueError(
                f"{MAGNETIC_FORCES} and {TRANSVERSE} are two labels of one kind; map one"
            )
        for label in self.keys:
            _forget(atoms, results, label)
            if label == "energy":
                results.pop("free_energy", None)
            if label in (MAGNETIC_FORCES, TRANSVERSE):
                remove_magnetic_forces(atoms)
        for label, values in taken.items():
            if values.dtype.kind not in "iuf":
                raise ValueError(f"{self.keys[label]!r}, mapped to {label}, is no number")
            if self.keys[label] not in LABELS:
                _forget(atoms, results, self.keys[label])
        virial = taken.pop("virial", None)
        size = len(atoms)
        for label, values in taken.items():
            if label == "energy":
                results[label] = float(_shaped(label, values, (), [(1,)]))
            elif label == "forces":
                results[label] = _shaped(label, values, (size, 3), [(3 * size,)])
            elif label == "stress":
                results[label] = np.array(values, float)
            else:
                of_atoms = [(size, 3), (size, 1)] + ([()] if size == 1 else [])
                if values.shape not in [(size, 3), (size, 1)]:
                    values = _shaped(label, values, (size,), of_atoms)
                if label == "magmoms":
                    results[label] = values.astype(float)
                elif label == TRANSVERSE:
                    atoms.set_array(MAGNETIC_FORCES, values.astype(float))
                    atoms.info[TRANSVERSE] = True
                else:
                    atoms.set_array(label, values.astype(float))
        return virial

    # --- what is found ---

    def _moments(self, atoms: Atoms, results: dict[str, Any]) -> None:
        size = len(atoms)
        found: list[tuple[str, dict[Any, Any], np.ndarray]] = []
        for home, is_one in ((results, _is_column), (atoms.arrays, _is_column),
                             (atoms.info, _is_entry)):  # fmt: skip
            for name, values in home.items():
                # The total of three vectors looks like three moments.
                total = home is results and is_total(values, results.get("magmoms"))
                if not total and is_one(name, values, size):
                    moments = np.reshape(values, (size, -1)).astype(float)
                    kept = self.vectors and moments.shape == (size, 3)
                    found.append((name, home, moments if kept else collapse(moments)))
        labels = [one for one in found if not one[0].lower().startswith("mace_")]
        found = sorted(labels or found, key=lambda one: one[0] != "magmoms")
        if not found or (len(found) == 1 and found[0][1] is results and "magmoms" in results):
            return
        (first, home, moments), *others = found
        for name, of, values in others:
            names = f"{first!r}{_where(home, atoms)} and {name!r}{_where(of, atoms)}"
            _check_same_moments(names, moments, values, first)
        if first != "magmoms" or home is atoms.info:
            self._said[f"moments are read from {first!r}{_where(home, atoms)}"] += 1
        for name, of, _ in found:
            del of[name]
        results["magmoms"] = moments

    def _stress(self, atoms: Atoms, results: dict[str, Any], mapped: Any) -> None:
        stress = results.get("stress")
        if stress is not None and np.shape(stress) != (6,):
            results["stress"] = _voigt(self.keys.get("stress", "stress"), stress)
        name = self.keys.get("virial", "virial")
        virial = mapped
        if virial is None and "virial" not in self.keys and "stress" not in self.keys:
            virial = atoms.info.get("virial")
        if virial is None or np.asarray(virial).dtype.kind not in "iuf":
            return
        virial = _voigt(name, virial)
        if not atoms.pbc.all() or atoms.cell.volume == 0.0:
            self._said[f"{name!r} is not read where the cell is not periodic in 3 directions"] += 1
            return
        atoms.info.pop("virial", None)
        of_virial = -virial / atoms.cell.volume
        if "stress" in results and "stress" not in self.keys:
            stress = np.asarray(results["stress"], float)
            largest = max(np.abs(stress).max(), np.abs(of_virial).max())
            if not np.abs(stress - of_virial).max() <= _SAME_STRESS * largest + 1e-6:
                raise ValueError(
                    f"'stress' is {_words(stress)} and {name!r} divided by minus the volume "
                    f"{_words(of_virial)} eV/Angstrom^3 (xx yy zz yz xz xy); remove one, or say "
                    f"which to read, e.g. {argument('keys', {'virial': NOT_READ})}"
                )
            return
        results["stress"] = of_virial
        self._said["stress is the virial divided by minus the volume"] += 1


def _entry(atoms: Atoms, results: dict[str, Any], name: str) -> Any:
    for home in (atoms.arrays, atoms.info, results):
        if name in home:
            return home[name]
    return None


def _forget(atoms: Atoms, results: dict[str, Any], name: str) -> None:
    for home in (atoms.arrays, atoms.info, results):
        home.pop(name, None)


def _is_moments(pattern: re.Pattern, name: Any, values: Any, size: int) -> bool:
    if not isinstance(name, str) or not pattern.fullmatch(name):
        return False
    array = np.asarray(values)
    return array.dtype.kind in "iuf" and array.shape in {(size,), (size, 1), (size, 3)}


def _is_column(name: Any, values: Any, size: int) -> bool:
    return _is_moments(_COLUMN, name, values, size)


def _is_entry(name: Any, values: Any, size: int) -> bool:
    if isinstance(values, (list, tuple)):
        return False
    if np.ndim(values) == 0:
        return size == 1 and _is_moments(_ENTRY_OF_ONE, name, np.ravel(values), 1)
    return _is_moments(_ENTRY, name, values, size)


def _shaped(
    label: str, values: np.ndarray, shape: tuple[int, ...], others: Iterable[tuple[int, ...]]
) -> np.ndarray:
    if values.shape != shape and values.shape not in others:
        raise ValueError(
            f"the label {label} has {numbers(values.shape)}, expected {numbers(shape)}"
        )
    return np.array(values, float).reshape(shape)


def _voigt(name: str, values: Any) -> np.ndarray:
    """(6,) in the order of ASE, from six numbers or a symmetric matrix of nine.

    Raises:
        ValueError: if it is neither.
    """
    array = np.array(values, float)
    if array.shape == (6,):
        return array
    if array.size != 9:
        raise ValueError(f"{name!r} has {numbers(array.shape)}, expected 6 or the 9 of a matrix")
    matrix = array.reshape(3, 3)
    apart = np.abs(matrix - matrix.T).max()
    if not apart <= _SAME_STRESS * np.abs(matrix).max():
        raise ValueError(
            f"the nine numbers of {name!r} are no symmetric matrix: {_words(array.ravel())}"
        )
    matrix = 0.5 * (matrix + matrix.T)
    return matrix[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]


def _check_same_moments(names: str, moments: np.ndarray, others: np.ndarray, first: str) -> None:
    if moments.shape == others.shape:
        apart = np.abs(moments - others)
        if not np.any(apart > _SAME_MOMENT):
            return
        atom = int(apart.reshape(len(apart), -1).max(axis=1).argmax())
        what = f"of atom {atom + 1} is {_words(moments[atom])} and {_words(others[atom])} mu_B"
    else:
        what = "has one component in one and several in the other"
    raise ValueError(
        f"{names} both look like moments, and that {what}; remove one, or say which to read, e.g. "
        f"{argument('keys', {'magmoms': first})}"
    )


def _where(home: dict[Any, Any], atoms: Atoms) -> str:
    return " of the comment line" if home is atoms.info else ""


def _words(values: np.ndarray) -> str:
    return " ".join(f"{value:.6g}" for value in np.ravel(values))
