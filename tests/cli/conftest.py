"""A small data set in two formats, and one small fit that the tests of commands share."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import mmtp_jax as mmtp
from mmtp_jax.cli.main import main

N_CONFIGURATIONS = 10
FORM = ["--level", "4", "--species", "Fe", "--radial-size", "4", "--magnetic-size", "2"]
FORM += ["--cutoff", "4.2"]


@pytest.fixture(scope="session")
def run() -> Callable[..., SimpleNamespace]:
    """run("fit", ...): exit status, stdout and stderr of ``mmtp`` in this process."""

    def of(*arguments: object) -> SimpleNamespace:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                status = main([str(a) for a in arguments])
            except SystemExit as stop:
                status = stop.code
        return SimpleNamespace(status=status, out=out.getvalue(), err=err.getvalue())

    return of


@pytest.fixture(scope="session")
def form() -> list[str]:
    """Options of a small potential; always the same, for each form is compiled anew."""
    return FORM


@pytest.fixture(scope="session")
def pair_teacher() -> mmtp.Potential:
    """E = -0.05 eV m_i.m_j / 4 mu_B^2 for neighbours 2 Angstrom apart, numbers or vectors."""
    new = mmtp.Potential.new(
        level=2, species=("Fe",), radial_size=1, magnetic_size=2, min_dist=1.0, cutoff=2.5,
        max_magmom=2.0,
    )  # fmt: skip
    c = np.zeros_like(new.radial_coeffs)
    c[0, 0, 0, 0, 1, 1] = -0.025 / 0.5**2
    return new.replace(radial_coeffs=c, moment_coeffs=np.ones(1))


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> SimpleNamespace:
    """Two-atom cells of the shipped data set as ``.extxyz`` and ``.cfg``."""
    folder = tmp_path_factory.mktemp("data")
    atoms_list = mmtp.read(str(files("mmtp_jax") / "data" / "fe_cdft.extxyz"))
    atoms_list = [atoms for atoms in atoms_list if len(atoms) == 2][::9][:N_CONFIGURATIONS]
    found = SimpleNamespace(
        atoms_list=atoms_list, extxyz=folder / "train.extxyz", cfg=folder / "train.cfg"
    )
    mmtp.write(found.extxyz, atoms_list)
    mmtp.write(found.cfg, atoms_list, species=("Fe",))
    return found


@pytest.fixture(scope="session")
def fitted(tmp_path_factory, run, data, form) -> SimpleNamespace:
    """A fit of a few steps with every output; ``folder`` holds them."""
    folder: Path = tmp_path_factory.mktemp("fitted")
    paths = {
        "potential": folder / "pot.mtp",
        "report": folder / "report.json",
        "plot": folder / "parity.png",
        "history": folder / "loss.csv",
        "checkpoint": folder / "fit.npz",
    }
    result = run(
        "fit", data.extxyz, *form, "--validation", "0.2", "--max-iterations", "21",
        "-o", paths["potential"], "--report", paths["report"], "--plot", paths["plot"],
        "--history", paths["history"], "--checkpoint", paths["checkpoint"],
    )  # fmt: skip
    return SimpleNamespace(folder=folder, result=result, **paths)
