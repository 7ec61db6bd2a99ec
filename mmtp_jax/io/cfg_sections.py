"""The sections of a ``.cfg`` file, as they stand in it; `mmtp_jax.io.cfg` says what they mean.

A section that is there twice in one configuration, a number that the format does not have
(``1_5``), and a configuration that is cut are refused, with file, configuration and line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np

from mmtp_jax.io.compressed import read_text

STRESS_ORDER = ("xx", "yy", "zz", "yz", "xz", "xy")
VECTORS = {
    "cartes": ("cartes_x", "cartes_y", "cartes_z"),
    "direct": ("direct_x", "direct_y", "direct_z"),
    "forces": ("fx", "fy", "fz"),
    "moments": ("magmom_x", "magmom_y", "magmom_z"),
    "gradient": ("en_der_mx", "en_der_my", "en_der_mz"),
}
"""Columns of AtomData that belong together."""
KNOWN_COLUMNS = {"id", "type", "site_en", *(name for names in VECTORS.values() for name in names)}
"""Columns of AtomData that hold numbers and do not go to ``atoms.arrays``."""
_SECTIONS = (
    "Size", "Supercell", "SuperCell", "AtomData:", "Energy", "PlusStress:", "Feature", "Features:",
)  # fmt: skip
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_ESCAPES = {"\\_": " ", "\\t": "\t", "\\n": "\n", "\\r": "\r"}


@dataclass
class Draft:
    """One configuration as the file has it; None where it has not."""

    where: str
    """File, number of the configuration and its first line, for messages."""
    size: int | None = None
    cell: np.ndarray = field(default_factory=lambda: np.zeros((3, 3)))
    columns: dict[str, np.ndarray] | None = None
    """(size,) each; numbers, or text in columns that the format does not know."""
    energy: float | None = None
    plus_stress: np.ndarray | None = None
    """(6,) in the order of STRESS_ORDER."""
    features: dict[str, str] = field(default_factory=dict)


def read_drafts(path: str | os.PathLike) -> Iterator[Draft]:
    """The configurations of a file, one after the other.

    Raises:
        ValueError: if the file is broken, with configuration (from 1) and line.
    """
    return _Sections(os.fspath(path), read_text(path)).drafts()


class _Sections:
    """The words of each line that is not blank, and the position among them."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.lines = text.split("\n")
        split = [line.split() for line in self.lines]
        self.numbers = [k for k, words in enumerate(split, 1) if words]
        self.rows = [words for words in split if words]
        self.here = 0
        self.configuration = 0

    def drafts(self) -> Iterator[Draft]:
        while self.here < len(self.rows):
            self.configuration += 1
            if self.rows[self.here] != ["BEGIN_CFG"]:
                found = " ".join(self.rows[self.here])[:60]
                if found.startswith("Number of particles"):
                    self.fail(
                        "this .cfg is AtomEye's, not MLIP's; turn it into extended XYZ, "
                        "e.g. with: ase convert -i cfg IN.cfg OUT.extxyz"
                    )
                self.fail(f"found {found!r} where a configuration has to start with BEGIN_CFG")
            self.here += 1
            yield self._draft()

    def where(self) -> str:
        row = min(self.here, len(self.rows) - 1)
        return f"{self.path}, configuration {self.configuration}, line {self.numbers[row]}"

    def fail(self, message: str) -> NoReturn:
        raise ValueError(f"{self.where()}: {message}")

    def words(self) -> list[str]:
        return self.rows[self.here] if self.here < len(self.rows) else []

    # Sections: each method starts at the words of its header and leaves `here` behind its data.

    def _draft(self) -> Draft:
        draft = Draft(self.where())
        seen: set[str] = set()
        last_feature: str | None = None
        while True:
            if self.here >= len(self.rows):
                self.fail("the file ends inside this configuration, END_CFG is missing; it is cut")
            words = self.rows[self.here]
            section = words[0]
            if section == "END_CFG":
                if len(words) > 1:
                    self.fail(f"found {_short(' '.join(words))}, END_CFG has a line of its own")
                self.here += 1
                return draft
            name = section.lower().rstrip(":")
            if section in _SECTIONS and name not in ("feature", "features"):
                if name in seen:
                    self.fail(f"a second {section.rstrip(':')} section in one configuration")
                seen.add(name)
            if section == "Size":
                draft.size = self._size()
            elif section in ("Supercell", "SuperCell"):
                draft.cell = self._cell()
            elif section == "AtomData:":
                draft.columns = self._atom_data(draft)
            elif section == "Energy":
                draft.energy = self._numbers_after_header(1, "Energy")[0]
            elif section == "PlusStress:":
                draft.plus_stress = self._plus_stress()
            elif section == "Feature":
                last_feature = self._feature(draft, last_feature)
                continue
            elif section == "Features:":
                self._features(draft)
            elif section == "BEGIN_CFG":
                self.fail("BEGIN_CFG before the END_CFG of this configuration, which is cut")
            elif _NUMBER.fullmatch(section) and draft.columns is not None:
                self.fail(
                    f"found a row of numbers outside of a section; Size is {draft.size}, "
                    "does AtomData have more rows than that?"
                )
            else:
                self.fail(
                    f"unknown section {_short(section)}; the reader knows {', '.join(_SECTIONS)}"
                )
            last_feature = None

    def _number(self, word: str, what: str) -> float:
        try:
            return _floats([word])[0]
        except ValueError:
            self.fail(f"{what}: {_short(word)} is not a number")

    def _numbers_after_header(self, count: int, what: str) -> list[float]:
        """Numbers that follow on the header's own line or, as usual, on the next."""
        words = self.rows[self.here][1:]
        if not words:
            self.here += 1
            words = self.words()
        if len(words) != count:
            self.fail(f"{what}: expected {count} number(s), found {_short(' '.join(words))}")
        values = [self._number(word, what) for word in words]
        self.here += 1
        return values

    def _size(self) -> int:
        (value,) = self._numbers_after_header(1, "Size")
        if value < 0 or not float(value).is_integer():
            self.here -= 1
            self.fail(f"Size is {value:g}, it has to be the number of atoms")
        return int(value)

    def _cell(self) -> np.ndarray:
        if len(self.rows[self.here]) > 1:
            self.fail("Supercell: the vectors go on the next lines, one on each")
        self.here += 1
        cell = np.zeros((3, 3))
        count = 0
        while self.here < len(self.rows) and not self.rows[self.here][0][0].isalpha():
            words = self.rows[self.here]
            if count == 3 or len(words) != 3:
                self.fail(
                    "Supercell: expected up to 3 rows of 3 numbers, "
                    f"found {_short(' '.join(words))} as row {count + 1}"
                )
            cell[count] = [self._number(word, "Supercell") for word in words]
            if not np.isfinite(cell[count]).all():
                self.fail("Supercell: a number is not finite, or too large")
            count += 1
            self.here += 1
        return cell

    def _atom_data(self, draft: Draft) -> dict[str, np.ndarray]:
        names = self.rows[self.here][1:]
        if draft.size is None:
            self.fail("Size is missing; it has to stand before AtomData")
        if len(set(names)) < len(names):
            twice = next(name for k, name in enumerate(names) if name in names[:k])
            self.fail(f"AtomData names the column {_short(twice)} twice")
        self.here += 1
        rows = self.rows[self.here : self.here + draft.size]
        width = len(names)
        if len(rows) < draft.size or any(len(row) != width for row in rows):
            self._fail_rows(rows, draft.size, width)
        text = "".join(self.lines[k - 1] for k in self.numbers[self.here : self.here + draft.size])
        try:
            if "_" in text or not text.isascii():
                raise ValueError("numbers that only Python takes, or text")
            table = np.array(rows, float).reshape(draft.size, width)
            columns = dict(zip(names, table.T, strict=True))
        except ValueError:
            columns = self._mixed_columns(names, rows)
        self.here += draft.size
        return columns

    def _fail_rows(self, rows: list[list[str]], size: int, width: int) -> NoReturn:
        for k, row in enumerate(rows):
            if len(row) == width:
                continue
            self.here += k
            if row[0] == "END_CFG" or row[0] in _SECTIONS:
                self.fail(f"Size is {size}, but AtomData has only {k} rows")
            self.fail(f"AtomData names {width} columns, but row {k + 1} has {len(row)} values")
        self.here += len(rows)
        self.fail(f"the file ends after {len(rows)} of {size} rows of AtomData; it is cut")

    def _mixed_columns(self, names: list[str], rows: list[list[str]]) -> dict[str, np.ndarray]:
        """Columns where not all is a number: allowed in columns that the format does not know."""
        columns: dict[str, np.ndarray] = {}
        for j, name in enumerate(names):
            words = [row[j] for row in rows]
            try:
                columns[name] = _floats(words)
            except ValueError:
                if name in KNOWN_COLUMNS:
                    for word in words:
                        self._number(word, f"AtomData, column {name!r}")
                        self.here += 1
                columns[name] = np.array(words)
        return columns

    def _plus_stress(self) -> np.ndarray:
        order = self.rows[self.here][1:]
        if sorted(order) != sorted(STRESS_ORDER):
            self.fail(
                f"PlusStress: the header names {_short(' '.join(order))}, "
                f"it has to name each of {' '.join(STRESS_ORDER)} once"
            )
        self.here += 1
        words = self.words()
        if len(words) != 6:
            self.fail(f"PlusStress: expected 6 numbers, found {_short(' '.join(words))}")
        values = {o: self._number(w, "PlusStress") for o, w in zip(order, words, strict=True)}
        self.here += 1
        return np.array([values[component] for component in STRESS_ORDER])

    def _feature(self, draft: Draft, last: str | None) -> str:
        """Reads a line of a feature; the name, which goes on in the next if it is the same."""
        parts = self.lines[self.numbers[self.here] - 1].split(maxsplit=2)
        if len(parts) < 2:
            self.fail("Feature without a name")
        name = re.sub(r"\\[_tnr]", lambda match: _ESCAPES[match[0]], parts[1])
        text = parts[2].strip() if len(parts) == 3 else ""
        known = draft.features
        if name in known and name != last:
            self.fail(f"a second feature {_short(name)} in one configuration")
        known[name] = f"{known[name]}\n{text}" if name in known else text
        self.here += 1
        return name

    def _features(self, draft: Draft) -> None:
        names = self.rows[self.here][1:]
        for k, name in enumerate(names):
            if name in draft.features or name in names[:k]:
                self.fail(f"a second feature {_short(name)} in one configuration")
        self.here += 1
        words = self.words()
        if len(words) != len(names):
            self.fail(f"Features: names {len(names)} values, but {len(words)} follow")
        draft.features.update(zip(names, words, strict=True))
        self.here += 1


def _floats(words: list[str]) -> np.ndarray:
    """Numbers of words; a ValueError where one is none, or one to Python only (``1_5``)."""
    text = "".join(words)
    if "_" in text or not text.isascii():
        raise ValueError(text)
    return np.array(words, float)


def _short(text: str) -> str:
    """A text of a file as messages quote it."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
