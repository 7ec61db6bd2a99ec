"""The text of a ``.mtp`` file: keys and values as they stand in it, in every dialect.

Nothing here knows what a potential is; `mmtp_jax.io.mtp` does. A file that was cut, at whatever
byte, is refused: the last line has to end with a newline or, as MLIP-3 ends its files, with the
brace of an array.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np

from mmtp_jax.language import reason

logger = logging.getLogger(__name__)

_BASIS_KEYS = {
    "min": "min", "min_val": "min", "min_dist": "min",
    "max": "max", "max_val": "max", "max_dist": "max",
    "size": "size", "basis_size": "size", "radial_basis_size": "size",
    "scaling": "scaling",
}  # fmt: skip
"""Names that a basis block has for its interval, its size and its factor."""
_FLAT_MAGNETIC_KEYS = {"min_mag": "min", "max_mag": "max", "mag_basis_size": "size"}
"""The magnetic basis in the dialect that has no block of its own for it."""
_TOP_KEYS = {
    "version", "potential_name", "scaling", "species_count", "potential_tag",
    "radial_funcs_count", "alpha_moments_count", "alpha_index_basic_count", "alpha_index_basic",
    "alpha_index_times_count", "alpha_index_times", "alpha_scalar_moments",
    "alpha_moment_mapping", "species_coeffs", "moment_coeffs",
}  # fmt: skip
_LABEL = re.compile(r"(\d+)\s*-\s*(\d+)")
_REAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_COUNT = re.compile(r"\d{1,9}", re.ASCII)
_NOT_FINITE = re.compile(r"[+-]?(nan|inf)", re.IGNORECASE)
_ROW = re.compile(r"\{([^{}]*)\}")
_ROWS = re.compile(r"\{\s*(\{[^{}]*\}[\s,]*)*\}")
_ACTIVE_SET = b"\n#MVS"


@dataclass
class MtpText:
    """Raw values of a ``.mtp`` file by key; the getters name file, line and key if one is wrong."""

    path: str
    top: dict[str, str] = field(default_factory=dict)
    radial: dict[str, str] = field(default_factory=dict)
    """``type``, ``min``, ``max``, ``size`` and perhaps ``scaling`` of the radial basis."""
    magnetic: dict[str, str] = field(default_factory=dict)
    """The same of the magnetic basis; empty in a potential without moments."""
    radial_rows: list[tuple[int, str]] = field(default_factory=list)
    """Line and text of each row of radial coefficients, in the order of the blocks."""
    labels: list[tuple[str, str]] = field(default_factory=list)
    """(zi, zj) of each block of radial coefficients."""
    lines: dict[tuple[str, str], int] = field(default_factory=dict)
    """The line of each key, by block and key."""

    def fail(self, message: str, line: int | None = None) -> NoReturn:
        """Raise a ValueError that names the file, and the line where one is to blame."""
        raise ValueError(f"{self.path}{'' if line is None else f', line {line}'}: {message}")

    def fail_at(self, block: str, key: str, message: str) -> NoReturn:
        """Raise a ValueError that names file, line and key; the message goes on from the key."""
        self.fail(f"{_spelled(block, key)} {message}", self.lines.get((block, key)))

    def raw(self, block: str, key: str) -> str:
        """The text of a key of the block 'top', 'radial' or 'magnetic'."""
        values = getattr(self, block)
        if key not in values:
            self.fail(f"{_spelled(block, key)} is missing")
        return values[key]

    def integer(self, block: str, key: str) -> int:
        """A number that counts something, below 1e9."""
        text = self.raw(block, key)
        if not _COUNT.fullmatch(text):
            self.fail_at(block, key, f"is {_short(text)}, it has to be a whole number")
        return int(text)

    def real(self, block: str, key: str) -> float:
        """One finite number."""
        return float(self.reals(block, key, 1)[0])

    def reals(self, block: str, key: str, count: int, braces: bool = False) -> np.ndarray:
        """(count,) finite numbers ``{a, b}``; one may stand bare where no braces are needed."""
        text = self.raw(block, key)
        return self.parse_reals(
            text, count, _spelled(block, key), self.lines.get((block, key)), braces
        )

    def parse_reals(
        self, text: str, count: int, what: str, line: int | None, braces: bool = True
    ) -> np.ndarray:
        """(count,) finite numbers of a text ``{a, b}``."""
        if text.startswith("{") or braces:
            inside = _ROW.fullmatch(text)
            if inside is None:
                self.fail(
                    f"{what} has to be numbers between two braces, found {_short(text)}", line
                )
            text = inside[1]
        words = _words(text)
        if len(words) != count:
            self.fail(f"{what} has {len(words)} number(s), expected {count}", line)
        for word in words:
            if _NOT_FINITE.match(word):
                self.fail(f"{what} holds a number that is not finite ({_short(word)})", line)
            if not _REAL.fullmatch(word):
                self.fail(f"{what} holds something that is not a number ({_short(word)})", line)
        values = np.array(words, float)
        if not np.all(np.isfinite(values)):
            self.fail(f"{what} holds a number that is not finite, or too large", line)
        return values

    def integers(self, key: str, count: int, width: int = 1) -> np.ndarray:
        """(count, width) int32 of ``{{a, b}, {c, d}}``; (count,) where width is 1."""
        text, line = self.raw("top", key), self.lines.get(("top", key))
        whole = _ROW if width == 1 or not text.strip("{} ") else _ROWS
        if not whole.fullmatch(text):
            self.fail(f"{key} is not closed by braces as it has to be, or holds others", line)
        rows = [text] if width == 1 else [row for row in _ROW.findall(text) if row.strip()]
        words = [word for row in rows for word in _words(row)]
        expected = f"{count} rows of {width}" if width > 1 else f"{count} numbers"
        if len(words) != count * width:
            self.fail(f"{key} has {len(words)} numbers, expected {expected}", line)
        if width > 1 and any(len(_words(row)) != width for row in rows):
            self.fail(f"{key} has rows of other lengths than {width}", line)
        for word in words:
            if not _INTEGER.fullmatch(word):
                self.fail(
                    f"{key} holds something that is not a whole number ({_short(word)})", line
                )
        values = np.array(words, np.int64).reshape((count, width) if width > 1 else count)
        if np.any(np.abs(values) > np.iinfo(np.int32).max):
            self.fail(f"{key} holds a number beyond 2147483647", line)
        return values.astype(np.int32)


def read_mtp_text(path: str | os.PathLike) -> MtpText:
    """Read the text of a potential; what follows it (an active set) is ignored and logged.

    Raises:
        ValueError: if the file is no ``.mtp`` file of version 1.1.0, or has an unknown key.
    """
    content = Path(path).read_bytes()
    # MLIP appends an active set, which is binary after its first lines.
    text, sign, _ = content.partition(_ACTIVE_SET)
    mtp = MtpText(os.fspath(path))
    if sign:
        logger.info("%s: ignored what follows the potential (an active set?)", mtp.path)
    try:
        lines = text.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{mtp.path} is no .mtp file: it is not text ({reason(error)})") from error
    whole = bool(sign) or not lines[-1].strip()
    lines = [line.strip() for line in lines]
    if not lines or lines[0] != "MTP":
        mtp.fail("is no .mtp file: the first line has to be MTP")
    if len(lines) < 2 or _key_value(lines[1]) != ("version", "1.1.0"):
        found = lines[1] if len(lines) > 1 else ""
        mtp.fail(f"found {_short(found)}, but can only read files with 'version = 1.1.0'", 2)
    if not whole and not lines[-1].endswith("}"):
        mtp.fail(f"the file ends inside of {_short(lines[-1])}; it is cut", len(lines))
    _Scanner(mtp).scan(lines[1:])
    return mtp


class _Scanner:
    """Sorts lines into the blocks of the file."""

    def __init__(self, mtp: MtpText) -> None:
        self.mtp = mtp
        self.basis: str | None = None
        self.has_coefficients = self.in_coefficients = False

    def scan(self, lines: list[str]) -> None:
        """Sort the lines from the second of the file on."""
        for number, line in enumerate(lines, 2):
            if not line:
                continue
            label = _LABEL.fullmatch(line) if self.in_coefficients else None
            if line == "radial_coeffs":
                if self.has_coefficients:
                    self.mtp.fail("radial_coeffs is there twice", number)
                self.has_coefficients = self.in_coefficients = True
                self.basis = None
            elif line.startswith("#"):
                self.mtp.fail(
                    f"found {_short(line)}; the format has no comments after #, remove it", number
                )
            elif "=" in line:
                self.in_coefficients = False
                self._key(number, *_key_value(line))
            elif label:
                self.mtp.labels.append(label.groups())
            elif self.in_coefficients and line.startswith("{"):
                self.mtp.radial_rows.append((number, line))
            else:
                self.mtp.fail(f"cannot read {_short(line)}", number)

    def _key(self, number: int, key: str, value: str) -> None:
        if key in ("radial_basis_type", "magnetic_basis_type"):
            self.basis = key.removesuffix("_basis_type")
            self._set(number, self.basis, "type", value)
        elif key in _FLAT_MAGNETIC_KEYS:
            self._set(number, "magnetic", _FLAT_MAGNETIC_KEYS[key], value)
        elif self.basis is not None and key in _BASIS_KEYS:
            self._set(number, self.basis, _BASIS_KEYS[key], value)
        elif key in _TOP_KEYS:
            self.basis = None
            self._set(number, "top", key, value)
        else:
            self.mtp.fail(
                f"unknown key {_short(key)}; it may change what the potential means", number
            )

    def _set(self, number: int, block: str, key: str, value: str) -> None:
        values = getattr(self.mtp, block)
        if key in values:
            self.mtp.fail(
                f"{_spelled(block, key)} is there twice, first in line "
                f"{self.mtp.lines[block, key]}", number,
            )  # fmt: skip
        values[key] = value
        self.mtp.lines[block, key] = number


def _key_value(line: str) -> tuple[str, str]:
    key, _, value = line.partition("=")
    return key.strip(), value.strip()


def _words(text: str) -> list[str]:
    return text.replace("{", " ").replace("}", " ").replace(",", " ").split()


def _short(text: str) -> str:
    """A text of a file as messages quote it."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _spelled(block: str, key: str) -> str:
    """A key as files spell it, for messages."""
    names = {
        ("radial", "min"): "min_dist", ("radial", "max"): "max_dist",
        ("radial", "size"): "radial_basis_size", ("radial", "type"): "radial_basis_type",
        ("radial", "scaling"): "scaling (of the radial basis)",
        ("magnetic", "min"): "min_val (min_mag)", ("magnetic", "max"): "max_val (max_mag)",
        ("magnetic", "size"): "basis_size (mag_basis_size) of the magnetic basis",
        ("magnetic", "type"): "magnetic_basis_type",
        ("magnetic", "scaling"): "scaling (of the magnetic basis)",
    }  # fmt: skip
    return names.get((block, key), key)
