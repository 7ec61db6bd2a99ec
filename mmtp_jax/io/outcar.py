"""OUTCAR files of VASP, step by step: what a job that was killed has left is read up to its cut."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io.vasp_parsers.vasp_outcar_parsers import OUTCARChunk, outcarchunks

from mmtp_jax.io.compressed import read_text

logger = logging.getLogger(__name__)

UNCONVERGED = "EDIFF was not reached (unconverged)"
"""What VASP writes where the electrons of a step did not converge."""

_ENERGY = "FREE ENERGIE OF THE ION-ELECTRON SYSTEM"
"""Head of the energy, once in each ionic step."""

_LAST_LINE = re.compile(
    r"\s*energy\s+without\s+entropy\s*=\s*-?\d*\.\d+\s+energy\(sigma->0\)\s*=\s*-?\d*\.\d+\s*\n"
)
"""The line that ends a step; a cut in its last number leaves no line feed."""


def read_outcar(path: Path) -> list[Atoms]:
    """All whole ionic steps; a last one that is cut is left out, which the log says.

    A step whose electrons VASP calls unconverged has that in ``info["VASP"]``.

    Raises:
        ValueError: if there is no whole step, or one before the last is broken.
    """
    text = read_text(path)
    *whole, rest = text.split(_ENERGY)
    file = io.StringIO(text)
    # ASE looks beside the file for constraints.
    file.name = str(path)
    try:
        chunks = list(outcarchunks(file))
    # ASE's readers raise whatever comes up in a broken file.
    except Exception as error:
        raise ValueError(_broken(path, error)) from error
    cut = len(whole) > len(chunks) or "- Iteration " in rest
    if chunks and not _LAST_LINE.fullmatch(chunks[-1].lines[-1]):
        chunks, cut = chunks[:-1], True
    images = []
    for k, chunk in enumerate(chunks, 1):
        try:
            images.append(_atoms(chunk))
        except Exception as error:
            raise ValueError(f"{_broken(path, error)} at ionic step {k}") from error
    if not images:
        raise ValueError(
            f"{path} holds no whole ionic step; the file is cut, or the job has failed"
        )
    if cut:
        logger.warning(
            "%s: the file is cut; its %d whole ionic steps are read, the last one is not",
            path.name, len(images),
        )  # fmt: skip
    return images


def held_moments(path: Path) -> str | None:
    """What held the moments of an OUTCAR, in words; None where nothing did, or it is none."""
    if "OUTCAR" not in path.name.upper():
        return None
    text = read_text(path)
    total = re.search(r"^\s*NUPDOWN\s*=\s*(\d+(?:\.\d*)?)", text, re.MULTILINE)
    if total is not None:
        return f"NUPDOWN = {float(total[1]):g} has held the total moment"
    if re.search(r"^\s*I_CONSTRAINED_M\s*=\s*[1-9]|^\s*E_p\s*=", text, re.MULTILINE):
        return "a penalty of VASP (I_CONSTRAINED_M) has held its moments"
    return None


def _broken(path: Path, error: Exception) -> str:
    return f"{path}: ASE cannot read this file ({type(error).__name__}: {error})"


def _atoms(chunk: OUTCARChunk) -> Atoms:
    atoms = chunk.build()
    moments = _vector_moments(chunk.lines, len(atoms))
    if moments is not None:
        # ASE finds the tables of y and z only at one distance, and else gives x alone.
        atoms.calc.results["magmoms"] = moments
    if any(UNCONVERGED in line for line in chunk.lines):
        atoms.info["VASP"] = UNCONVERGED
    return atoms


def _vector_moments(lines: Sequence[str], n_atoms: int) -> np.ndarray | None:
    """Moments (n, 3) of a noncollinear run, from the last table of each axis; None without."""
    columns = []
    for axis in "xyz":
        heads = [k for k, line in enumerate(lines) if line.strip() == f"magnetization ({axis})"]
        if not heads:
            return None
        first = next(k for k in range(heads[-1], len(lines)) if lines[k].startswith("-----")) + 1
        columns.append([float(line.split()[-1]) for line in lines[first : first + n_atoms]])
    return np.array(columns).T
