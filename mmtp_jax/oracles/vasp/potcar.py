"""POTCAR files of a library: what species they are for, and their Wigner-Seitz radius."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Potcar:
    """One species."""

    content: bytes
    title: str
    """E.g. ``"PAW_PBE Fe_pv 02Aug2007"``."""
    radius: float
    """RWIGS, Angstrom."""
    functional: str = "unknown"
    """LEXCH, e.g. ``"PE"`` for PBE."""

    @property
    def sha256(self) -> str:
        """Hash of the file."""
        return hashlib.sha256(self.content).hexdigest()


def read_potcar(path: Path, symbol: str) -> Potcar:
    """Read the POTCAR of one species.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is no POTCAR, or one for another species.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no POTCAR for {symbol} at {path}; check potcar_folder and "
            f"potentials.{symbol}"
        )
    content = path.read_bytes()
    text = content.decode("latin-1")
    element = re.search(r"VRHFIN\s*=\s*([A-Za-z]+)", text)
    title = re.search(r"TITEL\s*=\s*(.*\S)", text)
    radius = re.search(r"RWIGS\s*=\s*[\d.]+;\s*RWIGS\s*=\s*([\d.]+)", text)
    if element is None or title is None or radius is None:
        raise ValueError(f"{path}: no POTCAR of one species (VRHFIN, TITEL or RWIGS is missing)")
    if element[1] != symbol:
        raise ValueError(f"{path} is for {element[1]}, not {symbol}; change potentials.{symbol}")
    exchange = re.search(r"LEXCH\s*=\s*(\w+)", text)
    functional = exchange[1] if exchange else "unknown"
    return Potcar(content, title[1], float(radius[1]), functional)
