"""From the sections of a ``.cfg`` file to ASE atoms; `mmtp_jax.io.cfg` says what they mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers

from mmtp_jax.io.cfg_sections import KNOWN_COLUMNS, VECTORS, Draft
from mmtp_jax.io.schema import (
    MAGNETIC_FORCES,
    TRANSVERSE,
    along_moments,
    collapse,
    stamp_as_read,
)
from mmtp_jax.io.values import MARK, from_json
from mmtp_jax.language import argument

_RESERVED = {MAGNETIC_FORCES, "initial_magmoms", "initial_charges", "momenta", "masses", "tags"}
"""Arrays of ASE, which have shapes and kinds of their own."""

SPECIES_FEATURE = "species"
"""Feature with the symbols of the types, which our writer adds."""

# Leading zeros and underscores make no number: such text is a label.
_WHOLE = r"(0|[1-9]\d{0,300})"
_INTEGER = re.compile(rf"[+-]?{_WHOLE}")
_FLOAT = re.compile(rf"[+-]?({_WHOLE}(\.\d*)?|\.\d+)([eE][+-]?\d+)?|[+-]?inf|nan")


def check_species(species: Sequence[str] | str | None) -> tuple[str, ...] | None:
    """Chemical symbols of the types as a tuple; None stays None.

    Raises:
        ValueError: if one is no chemical symbol, or is there twice.
    """
    if species is None:
        return None
    symbols = (species,) if isinstance(species, str) else tuple(species)
    for symbol in symbols:
        if symbol not in atomic_numbers:
            raise ValueError(
                f"species: {symbol!r} is no chemical symbol; "
                f"give symbols, e.g. {argument('species', ('Fe', 'Al'))}"
            )
    if len(set(symbols)) < len(symbols):
        raise ValueError(
            f"the species {' '.join(symbols)} have a symbol twice; give each type its own"
        )
    return symbols


def parse_feature(text: str) -> Any:
    """The value of a feature: a number where the text is one, marked JSON, or else the text."""
    if text.startswith(MARK):
        try:
            return from_json(text)
        except ValueError:
            return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return {"True": True, "False": False}.get(text, text)


class AtomsMaker:
    """Makes Atoms of drafts, and counts what they cannot hold.

    Args:
        species: symbols of the types, or None to take those that each configuration names.
        magnetic_gradient: ``en_der_m*`` is +dE/dm, not -dE/dm.
        vectors: moments in three columns stay vectors where they lie along one axis.
    """

    def __init__(
        self,
        species: Sequence[str] | str | None,
        magnetic_gradient: bool,
        vectors: bool = False,
    ) -> None:
        self.species = check_species(species)
        self.magnetic_gradient, self.vectors = magnetic_gradient, vectors
        self.lost_stress = 0
        self.lost_transverse = 0

    def __call__(self, draft: Draft) -> Atoms:
        """The atoms of one configuration, with its labels on a ``SinglePointCalculator``.

        Raises:
            ValueError: if a part is missing or parts contradict each other.
        """
        try:
            return self._atoms(draft)
        except ValueError as error:
            raise ValueError(f"{draft.where}: {error}") from error

    def _atoms(self, draft: Draft) -> Atoms:
        if draft.size is None:
            raise ValueError("Size is missing")
        if draft.columns is None:
            raise ValueError("AtomData is missing")
        columns, features = draft.columns, dict(draft.features)
        pbc = draft.cell.any(axis=1)
        species = self._species(features)
        atoms = Atoms(
            numbers=_numbers(columns, species),
            positions=_positions(columns, draft.cell, pbc),
            cell=draft.cell,
            pbc=pbc,
        )
        results: dict[str, Any] = {
            "energy": draft.energy,
            "energies": columns.get("site_en"),
            "forces": _vector(columns, "forces"),
            "stress": self._stress(draft),
        }
        atoms.info = {name: parse_feature(text) for name, text in features.items()}
        self._set_magnetism(atoms, columns, results)
        _set_other_columns(atoms, columns)
        results = {name: value for name, value in results.items() if value is not None}
        if results:
            atoms.calc = SinglePointCalculator(atoms, **results)
        stamp_as_read(atoms)
        return atoms

    def _species(self, features: dict[str, str]) -> tuple[str, ...]:
        named = tuple(features.get(SPECIES_FEATURE, "").split())
        # Another program may use the same name for something else: then it stays a feature.
        if named and all(symbol in atomic_numbers for symbol in named):
            if len(set(named)) < len(named):
                raise ValueError(f"the feature species has a symbol twice: {' '.join(named)}")
            del features[SPECIES_FEATURE]
        else:
            named = ()
        if self.species is None and not named:
            raise ValueError(
                "the file names no species, types are only numbers; say which they are, "
                f"e.g. {argument('species', ('Fe', 'Al'))}"
            )
        if self.species is None:
            return named
        if any(a != b for a, b in zip(self.species, named, strict=False)):
            raise ValueError(
                f"the file names the species {' '.join(named)}, but {' '.join(self.species)} were "
                "given; give the same order, or leave them out"
            )
        return self.species

    def _stress(self, draft: Draft) -> np.ndarray | None:
        if draft.plus_stress is None:
            return None
        volume = abs(np.linalg.det(draft.cell))
        if volume == 0.0:
            self.lost_stress += 1
            return None
        return -draft.plus_stress / volume

    def _set_magnetism(
        self, atoms: Atoms, columns: dict[str, np.ndarray], results: dict[str, Any]
    ) -> None:
        moments = _vector(columns, "moments", partial=True)
        kept = self.vectors and set(VECTORS["moments"]) <= columns.keys()
        if moments is not None:
            results["magmoms"] = moments if kept else collapse(moments)
            atoms.set_initial_magnetic_moments(results["magmoms"])
        gradient = _vector(columns, "gradient", partial=True)
        if gradient is not None:
            forces = gradient
            if not kept and atoms.info.get(TRANSVERSE) is not True:
                forces, across = along_moments(gradient, moments)
                self.lost_transverse += across
            # Subtracting from zero, not negating: zeros keep their sign.
            atoms.set_array(MAGNETIC_FORCES, 0.0 - forces if self.magnetic_gradient else forces)


def _numbers(columns: dict[str, np.ndarray], species: tuple[str, ...]) -> np.ndarray:
    if "type" not in columns:
        raise ValueError("AtomData has no column 'type'")
    column = columns["type"]
    wrong = (column != np.round(column)) | (column < 0)
    if wrong.any():
        raise ValueError(f"type {column[wrong][0]:g} is not the index of a species")
    # Compared before they are cast: 1e19 is no integer.
    if column.max(initial=-1) >= len(species):
        raise ValueError(
            f"type {column.max():g} found, but the species {' '.join(species)} are the types 0 to "
            f"{len(species) - 1}; give one symbol per type"
        )
    return np.array([atomic_numbers[symbol] for symbol in species], int)[column.astype(int)]


def _positions(columns: dict[str, np.ndarray], cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    cartesian, direct = _vector(columns, "cartes"), _vector(columns, "direct")
    if cartesian is not None and direct is not None:
        raise ValueError("AtomData has both cartes_x and direct_x; leave one of them")
    for vectors in (cartesian, direct):
        if vectors is not None and not np.isfinite(vectors).all():
            raise ValueError("a position is not finite, or too large")
    if cartesian is not None:
        return cartesian
    if direct is None:
        raise ValueError("AtomData has no positions; it needs cartes_x cartes_y cartes_z")
    if not pbc.all():
        raise ValueError(
            f"positions direct_x need three Supercell vectors, there are {int(pbc.sum())}; "
            "write cartes_x"
        )
    return direct @ cell


def _vector(columns: dict[str, np.ndarray], kind: str, partial: bool = False) -> np.ndarray | None:
    """(n, 3) from three columns, or None where there are none; partial: missing ones are zero."""
    names = VECTORS[kind]
    present = [name for name in names if name in columns]
    if not present:
        return None
    if len(present) < 3 and not partial:
        missing = next(name for name in names if name not in columns)
        raise ValueError(f"AtomData has a column {present[0]!r} but none {missing!r}")
    vectors = np.zeros((len(columns[present[0]]), 3))
    for name in present:
        vectors[:, names.index(name)] = columns[name]
    return vectors


def _set_other_columns(atoms: Atoms, columns: dict[str, np.ndarray]) -> None:
    for name, values in columns.items():
        if name in KNOWN_COLUMNS:
            continue
        if name in atoms.arrays or name in _RESERVED:
            raise ValueError(f"AtomData has a column {name!r}, a name that has another use in ASE")
        atoms.set_array(name, values)
    ids = columns.get("id")
    if ids is not None and not np.array_equal(ids, np.arange(1, len(atoms) + 1)):
        atoms.set_array("id", ids)
