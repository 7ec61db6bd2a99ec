"""What a job of an oracle has on disk; each file appears whole or not at all.

job-00000/target.cfg      what is to be labelled
job-00000/labelled.cfg    the labels
job-00000/result.json     how it ended, with provenance or the reasons of all failures
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mmtp_jax.io.atoms import with_results
from mmtp_jax.io.cfg import read_cfg, write_cfg
from mmtp_jax.io.documents import read_json, write_json
from mmtp_jax.io.fields import checked_fields, converted
from mmtp_jax.io.schema import MAGNETIC_FORCES, axis_of, remove_magnetic_forces
from mmtp_jax.oracles.oracle import Failure, Labelled, Oracle, Provenance


def key_of(oracle: Oracle, atoms: Atoms) -> str:
    """Hash of what is asked and who is asked."""
    digest = hashlib.sha256(oracle.fingerprint().encode())
    for array in (
        atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc,
        atoms.get_initial_magnetic_moments(),
    ):  # fmt: skip
        array = np.ascontiguousarray(array)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def start_job(folder: Path, atoms: Atoms) -> None:
    """Write what is to be labelled, and forget an older result."""
    (folder / "result.json").unlink(missing_ok=True)
    # The caller still has what a file cannot hold, and a line for each job would be many.
    write_cfg(folder / "target.cfg", atoms, say=False)


def write_labels(folder: Path, key: str, answer: Labelled, reasons: list[str]) -> None:
    """Write labels, and the reasons of the attempts before them."""
    write_cfg(folder / "labelled.cfg", answer.atoms, say=False)
    moments = np.asarray(answer.atoms.calc.results["magmoms"])
    content = {
        # Which column holds vectors along one axis, which readers turn into numbers.
        **({"axis": axis_of(moments)} if moments.ndim > 1 else {}),
        "status": "labelled",
        "key": key,
        "provenance": asdict(answer.provenance),
        "free": list(answer.free),
        "failed_attempts": reasons,
    }
    write_json(folder / "result.json", content)


def write_failure(
    folder: Path, key: str, failure: Failure, reasons: list[str], seconds: float
) -> None:
    """Write the last failure, and the reasons of all."""
    content = {
        "status": "failed",
        "key": key,
        "reason": failure.reason,
        "final": failure.final,
        "failed_attempts": reasons,
        "seconds": seconds,
        "provenance": None if failure.provenance is None else asdict(failure.provenance),
    }
    write_json(folder / "result.json", content)


def found_result(folder: Path, key: str) -> Labelled | Failure | None:
    """The result on disk, if it is for this configuration and this oracle."""
    try:
        content = read_json(folder / "result.json")
    except (OSError, ValueError):
        return None
    if content.get("key") != key:
        return None
    return read_result(folder)


def read_result(folder: Path) -> Labelled | Failure:
    """The result on disk, as it was written."""
    try:
        content = read_json(folder / "result.json")
        if content.get("status") == "failed":
            found = {name: content[name] for name in ("reason", "final") if name in content}
            found = checked_fields(found, Failure, "result")
            return Failure(found["reason"], final=found.get("final", False))
        (atoms,) = read_cfg(folder / "labelled.cfg")
        free = converted(content.get("free", []), tuple[int, ...], "result.free")
        about = converted(content.get("provenance"), dict[str, Any], "result.provenance")
        provenance = Provenance(**checked_fields(about, Provenance, "result.provenance"))
        atoms.info |= provenance.info
        axis = converted(content.get("axis"), int | None, "result.axis")
        if axis is not None and atoms.get_magnetic_moments().ndim == 1:
            _turn_into_vectors(atoms, axis)
        return Labelled(atoms, provenance, free)
    except (OSError, ValueError) as error:
        return Failure(f"its result cannot be read ({error})")


def _turn_into_vectors(atoms: Atoms, axis: int) -> None:
    """Numbers along an axis as vectors, as they were before they went into a file."""
    unit = np.eye(3)[axis]
    moments = np.outer(atoms.get_magnetic_moments(), unit)
    forces = atoms.arrays.get(MAGNETIC_FORCES)
    results = {**atoms.calc.results, "magmoms": moments}
    del atoms.arrays["initial_magmoms"]
    atoms.set_initial_magnetic_moments(moments)
    remove_magnetic_forces(atoms)
    with_results(atoms, results, None if forces is None else np.outer(forces, unit))
