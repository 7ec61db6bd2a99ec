"""PAW datasets in XML: where they are, and what they say of themselves.

Debian ships two kinds: ``abinit-data`` has those of the Pseudo-Dojo (JTH), and ``gpaw-data`` has
GPAW's older setups, packed with gzip, which ABINIT reads too.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import re
import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

FOLDERS = (
    "/usr/share/abinit/psp/Pseudodojo_paw_pbe_standard",
    "/usr/share/abinit/psp",
    "/usr/share/gpaw-setups",
)
"""Where a name is looked up, after the present folder and those of `PATH_VARIABLE`."""
PATH_VARIABLE = "ABINIT_PP_PATH"
"""Environment variable with more folders."""

_HEADER = 20_000
"""Characters in which all that is read here stands."""
_UNKNOWN_GRID = "r=a*i/(1-b*i)"
"""Radial grid of GPAW's newer setups, which ABINIT 9 does not read."""


@dataclass(frozen=True)
class Dataset:
    """A PAW dataset."""

    path: Path
    symbol: str
    valence: float
    """Electrons that are not in the core."""
    radius: float
    """Of the augmentation sphere, bohr."""
    sha256: str
    """Of the XML text, unpacked."""
    functional: str = "unknown"
    """Kind and name, e.g. ``"GGA PBE"``."""

    def install(self, folder: Path, name: str) -> None:
        """Put it into a folder: unpacked, or as a link."""
        target = folder / name
        target.unlink(missing_ok=True)
        if self.path.suffix == ".gz":
            with gzip.open(self.path, "rb") as packed, open(target, "wb") as file:
                shutil.copyfileobj(packed, file)
        else:
            target.symlink_to(self.path.resolve())

    @property
    def sphere(self) -> float:
        """The smallest radius that ABINIT takes for a constraint, rounded up, bohr."""
        return math.ceil(self.radius * 100 - 1e-6) / 100


def find_dataset(name: str, symbol: str) -> Dataset:
    """The dataset of an element.

    Args:
        name: a path, or a name in one of the folders, e.g. ``"Fe.xml"`` or ``"Fe.PBE.gz"``.
        symbol: the element.

    Raises:
        ValueError: if there is none, or it is of another kind or element.
    """
    path = _path(name)
    stat = path.stat()
    dataset = _read(path, stat.st_mtime_ns, stat.st_size)
    if dataset.symbol != symbol:
        raise ValueError(f"the PAW dataset {name} is for {dataset.symbol}, not for {symbol}")
    return dataset


def folders() -> list[Path]:
    """Where names are looked up."""
    more = os.environ.get(PATH_VARIABLE, "").split(os.pathsep)
    return [Path(), *(Path(f) for f in more if f), *(Path(f) for f in FOLDERS)]


def _path(name: str) -> Path:
    for folder in folders():
        for ending in ("", ".gz", ".xml"):
            path = folder / (name + ending)
            if path.is_file():
                return path
    raise ValueError(
        f"there is no PAW dataset {name!r}, neither here nor in "
        f"{', '.join(str(f) for f in folders()[1:])}; install abinit-data or gpaw-data, or give "
        "its path"
    )


@lru_cache(maxsize=100)
def _read(path: Path, changed: int, size: int) -> Dataset:
    """The dataset; time and size only say whether it is still the same file."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    text = content[:_HEADER].decode("utf-8", errors="replace")
    atom = re.search(r"<atom\s[^>]*>", text)
    if ("<paw_setup" not in text and "<paw_dataset" not in text) or atom is None:
        raise ValueError(f"{path} is no PAW dataset in XML")
    if _UNKNOWN_GRID in text:
        raise ValueError(
            f"{path} has the radial grid {_UNKNOWN_GRID}, which ABINIT does not read; take an "
            "older setup, e.g. Cr.PBE.gz and not Cr.14.PBE.gz"
        )
    radii = re.findall(r"<paw_radius\s[^>]*rc=\s*\"\s*([-+.\deE]+)", text)
    radii = radii or re.findall(r"<state\s[^>]*rc=\s*\"\s*([-+.\deE]+)", text)
    symbol, valence = (_attribute(atom[0], key) for key in ("symbol", "valence"))
    if not radii or symbol is None or valence is None:
        raise ValueError(f"{path} does not say its element, valence or radius")
    return Dataset(
        path=path,
        symbol=symbol,
        valence=float(valence),
        radius=max(float(r) for r in radii),
        sha256=hashlib.sha256(content).hexdigest(),
        functional=_functional(text),
    )


def _functional(text: str) -> str:
    tag = re.search(r"<xc_functional\s[^>]*>", text)
    words = [_attribute(tag[0], key) for key in ("type", "name")] if tag else []
    return " ".join(word for word in words if word) or "unknown"


def _attribute(tag: str, key: str) -> str | None:
    found = re.search(rf"\b{key}=\s*\"\s*([^\"]*?)\s*\"", tag)
    return found[1] if found else None
