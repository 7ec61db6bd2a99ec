"""The text of a ``.mtp`` file: keys and values as they stand in it, in every dialect.

Nothing here knows what a potential is; `mmtp_jax.io.mtp` does.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np

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
_LABEL = re.compile(r"\d+\s*-\s*\d+")


@dataclass
class MtpText:
    """Raw values of a ``.mtp`` file by key; the getters name file and key when one is wrong."""

    path: str
    top: dict[str, str] = field(default_factory=dict)
    radial: dict[str, str] = field(default_factory=dict)
    """``type``, ``min``, ``max``, ``size`` and perhaps ``scaling`` of the radial basis."""
    magnetic: dict[str, str] = field(default_factory=dict)
    """The same of the magnetic basis; empty in a potential without moments."""
    radial_rows: list[str] = field(default_factory=list)
    """Rows of radial coefficients, in the order of the blocks."""
    n_blocks: int = 0
    """Number of blocks ``zi-zj`` of radial coefficients."""

    def fail(self, message: str) -> NoReturn:
        """Raise a ValueError that names the file."""
        raise ValueError(f"{self.path}: {message}")

    def raw(self, block: str, key: str) -> str:
        """The text of a key of the block 'top', 'radial' or 'magnetic'."""
        values = getattr(self, block)
        if key not in values:
            self.fail(f"{_spelled(block, key)} is missing")
        return values[key]

    def integer(self, block: str, key: str) -> int:
        """A number that counts something."""
        text = self.raw(block, key)
        if not text.isdecimal():
            self.fail(f"{_spelled(block, key)} is {text!r}, it has to be a whole number")
        return int(text)

    def real(self, block: str, key: str) -> float:
        """One finite number."""
        return self.reals(block, key, 1)[0]

    def reals(self, block: str, key: str, count: int) -> np.ndarray:
        """(count,) finite numbers, written as ``{a, b}``, or bare where it is one."""
        text = self.raw(block, key)
        return self.parse_reals(text, count, _spelled(block, key))

    def parse_reals(self, text: str, count: int, what: str) -> np.ndarray:
        """(count,) finite numbers of a text ``{a, b}``."""
        words = _words(text)
        if len(words) != count:
            self.fail(f"{what} has {len(words)} number(s), expected {count}")
        try:
            values = np.array(words, float)
        except ValueError as error:
            self.fail(f"{what} holds something that is not a number ({error})")
        if not np.all(np.isfinite(values)):
            self.fail(f"{what} holds a number that is not finite")
        return values

    def integers(self, key: str, count: int, width: int = 1) -> np.ndarray:
        """(count, width) int32 of ``{{a, b}, {c, d}}``; (count,) where width is 1."""
        words = _words(self.raw("top", key))
        if len(words) != count * width:
            expected = f"{count} rows of {width}" if width > 1 else f"{count} numbers"
            self.fail(f"{key} has {len(words)} numbers, expected {expected}")
        try:
            values = np.array([int(word) for word in words], np.int32)
        except (ValueError, OverflowError) as error:
            self.fail(f"{key} holds something that is not a whole number ({error})")
        return values if width == 1 else values.reshape(count, width)


def read_mtp_text(path: str | os.PathLike) -> MtpText:
    """Read the text of a potential; what follows it (an active set) is ignored and logged.

    Raises:
        ValueError: if the file is no ``.mtp`` file of version 1.1.0, or has an unknown key.
    """
    content = Path(path).read_bytes()
    # MLIP appends an active set, which is binary after its first lines. No line of the
    # potential itself starts with this sign.
    text, sign, _ = content.partition(b"\n#")
    mtp = MtpText(os.fspath(path))
    if sign:
        logger.info("%s: ignored what follows the potential (an active set?)", mtp.path)
    try:
        lines = text.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{mtp.path} is no .mtp file: it is not text ({error})") from error
    lines = [line.strip() for line in lines]
    if not lines or lines[0] != "MTP":
        mtp.fail("is no .mtp file: the first line has to be MTP")
    if len(lines) < 2 or _key_value(lines[1]) != ("version", "1.1.0"):
        found = lines[1] if len(lines) > 1 else ""
        mtp.fail(f"found {found!r}, but can only read files with 'version = 1.1.0'")
    _Scanner(mtp).scan(lines[2:])
    return mtp


class _Scanner:
    """Sorts lines into the blocks of the file."""

    def __init__(self, mtp: MtpText) -> None:
        self.mtp = mtp
        self.basis: str | None = None
        self.in_coefficients = False

    def scan(self, lines: list[str]) -> None:
        for number, line in enumerate(lines, 3):
            if not line:
                continue
            if line == "radial_coeffs":
                self.in_coefficients, self.basis = True, None
            elif "=" in line:
                self.in_coefficients = False
                self._key(*_key_value(line))
            elif self.in_coefficients and _LABEL.fullmatch(line):
                self.mtp.n_blocks += 1
            elif self.in_coefficients and line.startswith("{"):
                self.mtp.radial_rows.append(line)
            else:
                self.mtp.fail(f"line {number}: cannot read {line[:60]!r}")

    def _key(self, key: str, value: str) -> None:
        if key in ("radial_basis_type", "magnetic_basis_type"):
            self.basis = key.removesuffix("_basis_type")
            self._set(self.basis, "type", value)
        elif key in _FLAT_MAGNETIC_KEYS:
            self._set("magnetic", _FLAT_MAGNETIC_KEYS[key], value)
        elif self.basis is not None and key in _BASIS_KEYS:
            self._set(self.basis, _BASIS_KEYS[key], value)
        elif key in _TOP_KEYS:
            self.basis = None
            self._set("top", key, value)
        else:
            self.mtp.fail(f"unknown key {key!r}; it may change what the potential means")

    def _set(self, block: str, key: str, value: str) -> None:
        values = getattr(self.mtp, block)
        if key in values:
            self.mtp.fail(f"{_spelled(block, key)} is there twice")
        values[key] = value


def _key_value(line: str) -> tuple[str, str]:
    key, _, value = line.partition("=")
    return key.strip(), value.strip()


def _words(text: str) -> list[str]:
    return text.replace("{", " ").replace("}", " ").replace(",", " ").split()


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
