"""The frames of an extended XYZ file, before ASE reads them.

ASE stops without a word at an empty line between two frames, drops words that ``Properties`` does
not name, takes ``1_5`` for a number, any word for "false" and a number that is cut for a whole one.
Here all of that is refused, with file, configuration and line, in one pass over the lines.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice
from typing import NoReturn

import numpy as np
from ase.io.extxyz import key_val_str_to_dict

from mmtp_jax.io.compressed import read_text, suffixes
from mmtp_jax.language import reason

_COUNT = re.compile(r"\s*\d{1,12}\s*", re.ASCII)
_PROPERTIES = re.compile(r"(?:^|(?<=\s))Properties=(\"?)([\w:.+-]+)\1(?=\s|$)")
_PLAIN_PBC = re.compile(r"(?:^|\s)pbc=\"[TF] [TF] [TF]\"")
_CELL = re.compile(
    r"(?:^|(?<=\s))((unit_?)?cell|(lattice|cell)_?vectors|box|lattice)\s?=", re.IGNORECASE
)
_ONLY_PYTHON = re.compile(r"(?<![\w.])[-+]?[\d.]+(_[\d.]+)+(e[-+]?\d+)?(?!\w)", re.IGNORECASE)
_BETWEEN_DIGITS = re.compile(r"[\d.]_[\d.]")
_ENTRY = re.compile(
    r"""(?:^|(?<=\s))([^\s="']+)\s?=\s?("[^"]*"|'[^']*'|\{[^}]*\}|\[[^\]]*\]|\S+)"""
)
_NUMBERS = re.compile(r"(.*_)?(energy|stress|virial|lattice|weight|magmoms?|dipole)", re.IGNORECASE)
"""Keys whose values are numbers; elsewhere ``2024_01_15`` may be anything."""
_OTHER_BLANKS = "\t\v\f\x1c\x1d\x1e\x1f"
_DEFAULT = "species:S:1:pos:R:3"
_SAME = {"positions": "pos", "numbers": "Z", "symbols": "species", "charges": "charge"}
"""Names that ASE reads as another."""


class BrokenFileError(ValueError):
    """What would be read as something else, or not at all."""


def check_frames(path: str | os.PathLike, most: int | None = None) -> None:
    """Check the frames of a file, all or the first ``most``.

    Raises:
        ValueError: if the file is no text, is cut, or has a frame that would be read as something
            else, with configuration (from 1) and line.
    """
    try:
        if suffixes(path)[1]:
            _check(os.fspath(path), read_text(path).splitlines(keepends=True), most)
        else:
            with open(path, encoding="utf-8-sig") as file:
                _check(os.fspath(path), file, most)
    except UnicodeDecodeError as error:
        raise BrokenFileError(f"{os.fspath(path)} is not text ({reason(error)})") from error


def _check(path: str, lines: Iterable[str], most: int | None) -> None:
    lines = iter(lines)
    number = frame = 0
    for head in lines:
        number += 1
        if head.isspace():
            _only_blank(path, frame, number, lines)
            return
        if frame and head.lstrip().startswith("VEC"):
            continue
        if frame == most:
            return
        frame += 1
        if not _COUNT.fullmatch(head):
            _fail(path, frame, number, f"found {_short(head)} where the number of atoms has to be")
        count, comment = int(head), next(lines, None)
        rows = list(islice(lines, count))
        if comment is None or len(rows) < count:
            _fail(path, frame, number, f"only {len(rows)} of {count} atoms follow; the file is cut")
        _Frame(path, frame, number + 1, comment, rows).check()
        number += 1 + count


class _Frame:
    def __init__(self, path: str, frame: int, line: int, comment: str, rows: list[str]) -> None:
        self.path, self.frame, self.line = path, frame, line
        self.comment, self.rows = " ".join(comment.split()), rows

    def check(self) -> None:
        self._cell()
        if _BETWEEN_DIGITS.search(self.comment):
            for key, value in _ENTRY.findall(self.comment):
                if _NUMBERS.fullmatch(key) and _ONLY_PYTHON.search(value):
                    self.fail(f"{_short(value)} of {_short(key)} is not a number")
        properties = self._properties()
        try:
            kinds = _kinds(properties or _DEFAULT)
        except ValueError as error:
            self.fail(str(error))
        text = "".join(self.rows)
        # Of plain XYZ files, further columns mean nothing.
        extended = properties or "Lattice" in self.comment
        if extended and not _fit(text, len(self.rows), len(kinds)):
            named = "Properties names" if properties else "without Properties there are"
            for k, row in enumerate(self.rows, 1):
                if len(row.split()) != len(kinds):
                    self.fail(f"{named} {len(kinds)} columns, found {len(row.split())}", k)
        numbers = [j for j, kind in enumerate(kinds) if kind in "RI"]
        if "_" in text or not text.isascii():
            for k, row in enumerate(self.rows, 1):
                words = row.split()
                for word in (words[j] for j in numbers if j < len(words)):
                    if "_" in word or not word.isascii():
                        self.fail(f"{_short(word)} is not a number", k)
        if "L" in kinds:
            logical = [j for j, kind in enumerate(kinds) if kind == "L"]
            for k, row in enumerate(self.rows, 1):
                words = row.split()
                for word in (words[j] for j in logical if j < len(words)):
                    if word not in ("T", "F", "True", "False"):
                        self.fail(f"{_short(word)} is neither T nor F", k)
        # Where all rows are equally long, a row that was cut is shorter.
        if self.rows and not self.rows[-1][-1:].isspace():
            whole = [len(row.rstrip("\r\n")) for row in self.rows[-2:-1]]
            if whole != [len(self.rows[-1])]:
                self.fail(
                    "the file ends without an end of line, its last number may be cut; add the "
                    "end of line if it is whole", len(self.rows),
                )  # fmt: skip

    def _properties(self) -> str | None:
        """What says which columns there are, or None."""
        found = _PROPERTIES.search(self.comment)
        if self.comment.count("Properties") == (found is not None):
            return found[2] if found else None
        return key_val_str_to_dict(self.comment).get("Properties")

    def _cell(self) -> None:
        comment = self.comment
        if ("pbc" not in comment or _PLAIN_PBC.search(comment)) and "Lattice" in comment:
            return
        if "pbc" not in comment and not _CELL.search(comment):
            return
        # The exact but slow way, for texts may quote anything.
        entries = key_val_str_to_dict(comment)
        pbc = np.atleast_1d(entries.get("pbc", False))
        if pbc.dtype.kind not in "bi" or pbc.shape not in ((1,), (3,)) or not set(pbc) <= {0, 1}:
            self.fail(f"pbc is {_short(str(entries['pbc']))}, it has to be three of T and F")
        if "Lattice" in entries:
            return
        for key, value in entries.items():
            if _CELL.fullmatch(f"{key}=") and np.size(value) in (3, 6, 9):
                self.fail(f"there is no Lattice, but {_short(key)}; write it as Lattice")
        if pbc.any():
            self.fail("pbc says that it is periodic, but there is no Lattice")

    def fail(self, message: str, row: int = 0) -> NoReturn:
        _fail(self.path, self.frame, self.line + row, message)


def _fit(text: str, n_rows: int, n_columns: int) -> bool:
    """Whether no row has more words than there are columns, where none has fewer (ASE tells)."""
    blanks_fit = text.count(" ") + n_rows == n_rows * n_columns
    if blanks_fit and text.isascii() and not any(other in text for other in _OTHER_BLANKS):
        return True
    return len(text.split()) == n_rows * n_columns


@lru_cache(maxsize=64)
def _kinds(properties: str) -> tuple[str, ...]:
    """The kind of each column."""
    fields = properties.split(":")
    names, kinds, counts = fields[::3], fields[1::3], fields[2::3]
    if len(fields) % 3 or not all(re.fullmatch(r"[1-9]\d{0,3}", n, re.ASCII) for n in counts):
        raise ValueError(f"Properties is {_short(properties)}, it has to be name:kind:columns:...")
    wrong = next((kind for kind in kinds if kind not in ("R", "I", "S", "L")), None)
    if wrong is not None:
        raise ValueError(f"Properties has the kind {_short(wrong)}, there are only S, R, I and L")
    known = [_SAME.get(name, name) for name in names]
    twice = next((name for k, name in enumerate(known) if name in known[:k]), None)
    if twice is not None:
        raise ValueError(f"Properties has {_short(twice)} twice; leave one of them")
    if "pos" not in known or not {"species", "Z"} & set(known):
        raise ValueError(f"Properties is {_short(properties)}, it has no pos, or no species")
    return tuple(kind for kind, n in zip(kinds, counts, strict=True) for _ in range(int(n)))


def _only_blank(path: str, frame: int, number: int, lines: Iterator[str]) -> None:
    for k, line in enumerate(lines, number + 1):
        if not line.isspace():
            _fail(path, frame, number, f"an empty line, but more follows in line {k}; remove it")


def _fail(path: str, frame: int, line: int, message: str) -> NoReturn:
    raise BrokenFileError(f"{path}, configuration {frame}, line {line}: {message}")


def _short(text: str) -> str:
    """A text of a file as messages quote it."""
    text = text.strip()
    return repr(text if len(text) <= 60 else text[:57] + "...")
