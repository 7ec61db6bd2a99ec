"""Figures as functions: `mmtp.plot` gives what the commands draw, and touches nothing global."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files

import numpy as np
import pytest
from matplotlib.figure import Figure

import mmtp_jax as mmtp

DATA = str(files("mmtp_jax") / "data" / "fe_cdft.extxyz")


@pytest.fixture(scope="module")
def fitted():
    atoms_list = [atoms for atoms in mmtp.read(DATA) if len(atoms) == 2][:10]
    potential = mmtp.Potential.new(level=4, species=("Fe",), radial_size=4, cutoff=4.2)
    return atoms_list, mmtp.fit(potential, atoms_list, max_iterations=5)


def test_parity_has_the_labels_and_predictions_of_each_set(fitted) -> None:
    atoms_list, fit = fitted
    pot = fit.potential
    results = mmtp.evaluate(pot, atoms_list)
    figure = mmtp.plot.parity(pot, {"one": atoms_list[:4], "two": atoms_list[4:]})
    assert isinstance(figure, Figure)
    (magnetic,) = [axes for axes in figure.axes if axes.get_title() == "Magnetic force"]
    _, one, two = magnetic.lines
    assert [one.get_label(), two.get_label()] == ["one", "two"]
    assert one.get_ydata() == pytest.approx(np.ravel([r.magnetic_forces for r in results[:4]]))
    over = mmtp.plot.parity({"a": pot, "b": pot}, atoms_list)
    assert [line.get_label() for line in over.axes[0].lines[1:]] == ["a", "b"]
    with pytest.raises(ValueError, match="not both"):
        mmtp.plot.parity({"a": pot}, {"b": atoms_list})


def test_loss_of_a_fit(fitted) -> None:
    (line,) = mmtp.plot.loss(fitted[1]).axes[0].lines
    assert line.get_ydata() == pytest.approx(fitted[1].history)


def test_dynamics_of_a_result_and_of_its_log_are_one_figure(iron, tmp_path) -> None:
    from ase.build import bulk

    atoms = bulk("Fe", cubic=True)
    atoms.set_initial_magnetic_moments([2.2, 2.2])
    result = mmtp.md(iron, atoms, 12, moments="fixed", log=tmp_path / "thermo.csv")
    figures = mmtp.plot.dynamics(result), mmtp.plot.dynamics(tmp_path / "thermo.csv")
    for one, other in zip(*(figure.axes for figure in figures), strict=True):
        assert one.get_ylabel() == other.get_ylabel()
        assert one.lines[0].get_ydata() == pytest.approx(other.lines[0].get_ydata(), abs=1e-4)


def test_matplotlib_comes_only_with_the_first_figure() -> None:
    code = (
        "import sys, mmtp_jax as mmtp; mmtp.fit, mmtp.Potential\n"
        "assert 'matplotlib.figure' not in sys.modules\n"
        "mmtp.plot.parity\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
