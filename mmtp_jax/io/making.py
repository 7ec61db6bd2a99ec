"""The making of labels (`mmtp_jax.structures.making`), found in files of potentials and of VASP.

Names of entries are those of the VASP labeller, so that labels of both compare. RWIGS counts where
it defines the moments (LORBIT below 10). What a file does not say stays unknown.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from mmtp_jax.io.schema import KMESH, MAKING
from mmtp_jax.io.shipped import file_of
from mmtp_jax.structures.making import making_text

_HEAD = 4_000_000
"""Characters of a file in which its settings stand."""
_BY_TITLE = {"PAW_PBE": "PE", "PAW_GGA": "91", "PAW": "CA", "PAW_LDA": "CA"}
"""LEXCH by the first word of the title of a POTCAR."""


def file_hash(path: str | os.PathLike) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def potential_making(path: str | os.PathLike) -> dict[str, str]:
    """The making of what a potential of a file, or of a name, predicts."""
    return {"code": "mmtp_jax", "potential": file_hash(file_of(path))[:12]}


def vasp_info(path: str | os.PathLike) -> dict[str, str]:
    """Entries of ``atoms.info`` for the configurations of an OUTCAR or a vasprun.xml.

    Nothing where the file is neither.
    """
    with open(path, encoding="utf-8", errors="replace") as file:
        head = file.read(1000)
        if re.match(r"\s*vasp\.\d", head) or "<modeling>" in head:
            head += file.read(_HEAD)
    if re.match(r"\s*vasp\.\d", head):
        entries, mesh = _outcar(re.split(r"-+ Iteration", head, maxsplit=1)[0])
    elif "<modeling>" in head[:1000]:
        entries, mesh = _vasprun(head.split("<calculation", 1)[0])
    else:
        return {}
    info = {MAKING: making_text({"code": "VASP", **entries})}
    return info | ({KMESH: "x".join(mesh)} if len(mesh) == 3 else {})


def hubbard_text(l: object, u: object, j: object) -> str:  # noqa: E741
    """DFT+U of one species in words; l is -1 without."""
    if l is None or int(float(str(l))) < 0 or u is None:
        return "none"
    return f"l {int(float(str(l)))} U {float(str(u)):g} J {float(str(j or 0)):g} eV"


def _outcar(text: str) -> tuple[dict[str, str], list[str]]:
    def one(pattern: str) -> str | None:
        found = re.search(pattern, text, re.MULTILINE)
        return None if found is None else found[1].strip()

    def row(name: str) -> list[str]:
        return (one(rf"\b{name}\s*=((?:[ \t]*-?\d+\.?\d*)+)[ \t]*$") or "").split()

    titles = re.findall(r"^\s*TITEL\s*=\s*(.*\S)", text, re.MULTILINE)
    titles = titles or list(
        dict.fromkeys(t.strip() for t in re.findall(r"^ POTCAR:(.*\S)", text, re.MULTILINE))
    )
    found = {
        "version": one(r"\bvasp\.(\d\S*)"),
        "functional": _functional(
            one(r"^\s*METAGGA\s*=\s*(\S+)"),
            one(r"^\s*GGA\s*=\s*(\S+)"),
            one(r"^\s*LEXCH\s*=\s*([A-Z]\w|\d\d)\s*$"),
            titles,
        ),
        "ENCUT_eV": _number(one(r"^\s*ENCUT\s*=\s*([\d.]+)\s*eV")),
        "ISMEAR": one(r"^\s*ISMEAR\s*=\s*(-?\d+)"),
        "SIGMA_eV": _number(one(r"\bSIGMA\s*=\s*([\d.]+)")),
    }
    symbols = [_symbol(title) for title in titles]
    plus_u = "LDA+U is selected" in text
    u_rows = [row(f"LDAU{x}") for x in "LUJ"] if plus_u else None
    orbit = one(r"^\s*LORBIT\s*=\s*(\d+)")
    spheres = row("RWIGS") if orbit is not None and int(orbit) < 10 else []
    found |= _by_species(symbols, titles, u_rows, spheres, bool(orbit))
    mesh = (one(r"generate k-points for:((?:\s+\d+){3})") or "").split()
    return {k: v for k, v in found.items() if v is not None}, mesh


def _vasprun(text: str) -> tuple[dict[str, str], list[str]]:
    def one(name: str, tag: str = "i") -> str | None:
        found = re.search(rf'<{tag}\b[^>]*name="{name}"[^>]*>([^<]*)</{tag}>', text)
        return None if found is None else found[1].strip()

    types = text.partition('name="atomtypes"')[2].partition("</array>")[0]
    cells = [re.findall(r"<c>([^<]*)</c>", r) for r in re.findall(r"<rc>(.*?)</rc>", types, re.S)]
    titles = [" ".join(row[-1].split()) for row in cells if len(row) >= 5]
    symbols = [row[1].strip() for row in cells if len(row) >= 5]
    version = one("version")
    found = {
        "version": version.split()[0] if version else None,
        "functional": _functional(one("METAGGA"), one("GGA"), None, titles),
        "ENCUT_eV": _number(one("ENMAX") or one("ENCUT")),
        "ISMEAR": one("ISMEAR"),
        "SIGMA_eV": _number(one("SIGMA")),
    }
    plus_u = one("LDAU")
    u_rows = None
    if plus_u and plus_u[0] in "TtYy.":
        u_rows = [(one(f"LDAU{x}", "v") or "").split() for x in "LUJ"]
    found |= _by_species(symbols, titles, u_rows, [], plus_u is not None)
    mesh = (one("divisions", "v") or "").split()
    return {k: v for k, v in found.items() if v is not None}, mesh


def _by_species(
    symbols: Sequence[str],
    titles: Sequence[str],
    u_rows: Sequence[Sequence[str]] | None,
    spheres: Sequence[str],
    whole: bool,
) -> dict[str, str]:
    """Entries of each species; of U nothing where the file does not show its settings."""
    found = {}
    for k, (symbol, title) in enumerate(zip(symbols, titles, strict=True)):
        found[f"{symbol}.POTCAR"] = title
        if u_rows is not None and all(len(row) == len(titles) for row in u_rows):
            found[f"{symbol}.U"] = hubbard_text(*(row[k] for row in u_rows))
        elif u_rows is None and whole:
            found[f"{symbol}.U"] = "none"
        if len(spheres) == len(titles) and float(spheres[k]) > 0.0:
            found[f"{symbol}.RWIGS"] = f"{float(spheres[k]):g}"
    return found


def _functional(
    meta: str | None, gga: str | None, exchange: str | None, titles: Sequence[str]
) -> str | None:
    """The tag that rules, or what the datasets were made with."""
    for tag in (meta, gga):
        if tag and tag.strip("-.") and tag.upper() not in ("F", ".FALSE."):
            return tag.upper()
    return exchange or (_BY_TITLE.get(titles[0].split()[0]) if titles else None)


def _symbol(title: str) -> str:
    words = title.split()
    return re.split(r"[_.\d]", words[1] if len(words) > 1 else words[0])[0]


def _number(text: str | None) -> str | None:
    try:
        return None if text is None else f"{float(text):g}"
    except ValueError:
        return None
