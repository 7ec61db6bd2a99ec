"""Configurations as extended XYZ: the one writer; ASE reads it.

- Every number is written so that it reads back as the same bits.
- An entry of ``info`` goes into the comment line only after ASE's parser has read the same value
  from its text. One that does not come back from plain text is written as JSON, which ASE reads
  too (``key="_JSON ..."``), and what JSON cannot say is left out. So no text can break a line.
- Left out and named is also what would be read as something else: entries and arrays by names of
  results ("energy", "forces"), of labels in other programs ("spin", "virial"), of the cell
  ("Lattice") or of columns ("pos"); arrays that are no
  columns of numbers, words or truth values; constraints other than fixed atoms and directions.
- A label that cannot be written is an error.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_properties
from ase.constraints import FixAtoms, FixCartesian
from ase.io.extxyz import key_val_str_to_dict, per_atom_properties

from mmtp_jax.io.comment_line import CASE
from mmtp_jax.io.other_names import reads
from mmtp_jax.io.schema import MAGNETIC_FORCES, check_periodic, voigt
from mmtp_jax.io.values import same, to_json
from mmtp_jax.language import atoms_entry, numbers, reason

_RESERVED_INFO = set(all_properties)
_RESERVED_ARRAYS = {
    *all_properties, "pos", "positions", "Z", "numbers", "species", "symbols", "charge",
    "move_mask",
}  # fmt: skip
_COLUMN_OF = {"charges": "charge"}
"""Names in files of results, where they are others."""
_LABELS = ("forces", "magmoms")
"""Results of each atom that are an error where they cannot be written."""
_PLAIN = re.compile(r"[A-Za-z0-9_.:+-]+")
_BEFORE, _AFTER = 'pbc="F F F"', 'pbc="T T T"'
"""Neighbours of an entry in a line, which it must leave alone."""
_INT32 = np.iinfo(np.int32)


def frame(atoms: Atoms) -> tuple[str, list[str]]:
    """The text of one configuration, and what is left out of it.

    Args:
        atoms: in the schema, see `mmtp_jax.io.normalised.normalised`; they are not changed.

    Raises:
        ValueError: if a label has a wrong shape or is no number, or a periodic direction has no
            cell vector.
    """
    check_periodic(atoms)
    made = _Frame(atoms)
    made.add_arrays()
    made.add_entries()
    if np.any(atoms.get_celldisp()):
        made.left_out.append("displacement of the cell")
    return made.text(), made.left_out


class _Frame:
    """Columns, entries of the comment line, and what was left out."""

    def __init__(self, atoms: Atoms) -> None:
        self.atoms = atoms
        self.results: dict[str, Any] = {} if atoms.calc is None else atoms.calc.results
        self.columns: list[str] = []
        """Descriptions, ``name:type:number``."""
        self.table: list[list[str]] = []
        """The texts of each column."""
        self.fields: set[str] = set()
        """Names that ASE gives to the columns when it reads them; none may be there twice."""
        self.entries: list[str] = []
        self.left_out: list[str] = []

    def text(self) -> str:
        cell, pbc = self.atoms.cell.array, self.atoms.pbc
        head = [f'Lattice="{_row(cell.ravel())}"'] if cell.any() else []
        head.append(f"Properties={_quoted(':'.join(self.columns))}")
        head += self.entries
        head.append(f'pbc="{_row(np.array(pbc, bool))}"')
        rows = map(" ".join, zip(*self.table, strict=True))
        return "\n".join([str(len(self.atoms)), " ".join(head), *rows]) + "\n"

    # Columns.

    def add_arrays(self) -> None:
        atoms = self.atoms
        self._add("species", np.array(list(atoms.symbols), object))
        self._add("pos", np.asarray(atoms.positions, float))
        self._add_constraints()
        for name in per_atom_properties:
            if name in self.results:
                values = self.results[name]
                if name in _LABELS:
                    values = self._label(name, values)
                if not self._add(_COLUMN_OF.get(name, name), values):
                    self.left_out.append(atoms_entry("results", name))
        if MAGNETIC_FORCES in atoms.arrays:
            self._add(MAGNETIC_FORCES, self._label(MAGNETIC_FORCES, atoms.arrays[MAGNETIC_FORCES]))
        for name in sorted(atoms.arrays, key=str):
            if name in ("numbers", "positions", MAGNETIC_FORCES):
                continue
            values = atoms.arrays[name]
            # ASE makes charges of this one, whatever it is.
            odd = name == "initial_charges" and (values.ndim != 1 or values.dtype.kind not in "iuf")
            taken = name in _RESERVED_ARRAYS or reads(name, values, len(atoms), per_atom=True)
            if odd or taken or not self._add(name, values):
                self.left_out.append(atoms_entry("arrays", name))

    def _add(self, name: Any, values: Any) -> bool:
        """Whether the values can be columns under that name; if so, they are."""
        if not isinstance(name, str) or not name or ":" in name or not name.isprintable():
            return False
        values = np.asarray(values)
        # ASE reads one column as (n,), so (n, 1) would come back as something else.
        if values.shape[:1] != (len(self.atoms),) or values.ndim > 2 or values.shape[1:] in {
            (0,), (1,)
        }:  # fmt: skip
            return False
        width = 1 if values.ndim == 1 else values.shape[1]
        fields = {name} if values.ndim == 1 else {f"{name}{k}" for k in range(width)}
        kind, texts = _texts(values)
        if texts is None or fields & self.fields:
            return False
        self.fields |= fields
        self.columns.append(f"{name}:{kind}:{width}")
        self.table += [texts] if values.ndim == 1 else [texts[k::width] for k in range(width)]
        return True

    def _add_constraints(self) -> None:
        free = np.ones((len(self.atoms), 3), bool)
        for constraint in self.atoms.constraints:
            if type(constraint) is FixAtoms:
                free[constraint.index] = False
            elif type(constraint) is FixCartesian:
                free[constraint.index] &= ~np.asarray(constraint.mask, bool)
            else:
                self.left_out.append(f"constraint {type(constraint).__name__}")
        if not free.all():
            whole = (free == free[:, :1]).all()
            self._add("move_mask", free[:, 0] if whole else free)

    def _label(self, name: str, values: Any) -> np.ndarray:
        """A label of each atom as numbers.

        Raises:
            ValueError: if it has a wrong shape or is no number.
        """
        size = len(self.atoms)
        shapes = [(size, 3)] if name == "forces" else [(size,), (size, 3)]
        return _numbers(name, values, shapes)

    # The comment line.

    def add_entries(self) -> None:
        for key, value in self.atoms.info.items():
            taken = key in _RESERVED_INFO or str(key).lower() in CASE
            taken = taken or reads(key, value, len(self.atoms), per_atom=False)
            entry = None if taken else _entry(key, value)
            if entry is None:
                self.left_out.append(atoms_entry("info", key))
            else:
                self.entries.append(entry)
        for name, value in self.results.items():
            if name in per_atom_properties:
                continue
            if name == "energy":
                value = float(_numbers(name, value, [()]))
            elif name == "stress":
                xx, yy, zz, yz, xz, xy = voigt(value).tolist()
                value = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
            entry = _entry(name, value) if name in all_properties else None
            if entry is None:
                self.left_out.append(atoms_entry("results", name))
            else:
                self.entries.append(entry)


def _numbers(name: str, values: Any, shapes: Sequence[tuple[int, ...]]) -> np.ndarray:
    try:
        array = np.array(values, float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} cannot be read as numbers ({reason(error)})") from error
    if array.shape not in shapes:
        raise ValueError(
            f"{name} has {numbers(array.shape)}, expected {' or '.join(map(numbers, shapes))}"
        )
    return array


def _texts(values: np.ndarray) -> tuple[str, list[str] | None]:
    """The type of columns, and each value as a word; None where ASE would read something else."""
    flat = values.ravel().tolist()
    kind = values.dtype.kind
    if kind == "b":
        return "L", ["FT"[value] for value in flat]
    if kind in "iu":
        # ASE reads integers into 32 bits.
        fits = all(_INT32.min <= value <= _INT32.max for value in flat)
        return "I", list(map(str, flat)) if fits else None
    if kind == "f" and values.dtype.itemsize <= 8:
        return "R", list(map(repr, flat))
    words = all(isinstance(v, str) and v.split() == [v] and v.isprintable() for v in flat)
    return "S", list(map(str, flat)) if words else None


def _entry(key: Any, value: Any) -> str | None:
    """``key=value`` as ASE reads it back, or None where no text does."""
    if not isinstance(key, str) or not key.isprintable():
        return None
    for text in (_plain_text(key, value), to_json(value)):
        if text is None:
            continue
        entry = f"{_quoted(key)}={_quoted(text)}"
        try:
            found = key_val_str_to_dict(f"{_BEFORE} {entry} {_AFTER}")
        # Whatever a parser of others raises on odd text: then it does not read it.
        except Exception:
            continue
        alone = list(found) == ["pbc", key] and found["pbc"] == [True, True, True]
        if alone and same(value, found[key]):
            return entry
    return None


def _plain_text(key: str, value: Any) -> str | None:
    """A value as ASE writes it, None where that is no one line of ASCII."""
    if isinstance(value, str):
        return value if value.isascii() and value.isprintable() and value else None
    try:
        array = np.asarray(value)
    except ValueError:
        return None
    if key in ("stress", "virial") and array.shape == (3, 3):
        array = array.ravel(order="F")
    if array.dtype.kind not in "bif" or array.ndim > 1 or not array.size:
        return None
    return _row(array)


def _row(values: np.ndarray) -> str:
    words = {"b": lambda value: "FT"[value]}.get(values.dtype.kind, repr)
    return " ".join(map(words, values.ravel().tolist()))


def _quoted(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
