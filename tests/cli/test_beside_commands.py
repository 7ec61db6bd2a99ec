"""The active set that ``mmtp fit`` writes beside its potential, in the commands that find it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax.active.beside import path_beside
from mmtp_jax.cli.watched import tell_start


@pytest.fixture(scope="module")
def potential(fitted, tmp_path_factory) -> Path:
    """Of the shared fit, with its active set, in a folder of its own."""
    folder = tmp_path_factory.mktemp("beside")
    for path in (fitted.potential, path_beside(fitted.potential)):
        shutil.copy(path, folder)
    return folder / fitted.potential.name


@pytest.fixture
def stale(potential, tmp_path) -> Path:
    """Another potential, with the active set of the first."""
    shutil.copy(path_beside(potential), tmp_path)
    pot = mmtp.load(potential)
    mmtp.save(tmp_path / potential.name, pot.unflatten(pot.flatten() * 1.01))
    return tmp_path / potential.name


@pytest.fixture(scope="module")
def cell(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("cell") / "cell.extxyz"
    atoms = bulk("Fe", a=2.83, cubic=True)
    atoms.set_initial_magnetic_moments([2.2, 2.2])
    mmtp.write(path, atoms)
    return path


def test_fit_writes_it_by_neighbourhood(fitted, potential, data) -> None:
    assert f"wrote {path_beside(fitted.potential)}, active set of" in fitted.result.out
    active = mmtp.ActiveSet.load(path_beside(potential), mmtp.load(potential))
    assert active.mode == "neighborhood"
    # What was held out is not in it.
    assert active.n_seen == 8


def test_fit_without(run, data, form, tmp_path) -> None:
    done = run(
        "fit", data.extxyz, *form, "--max-iterations", 0, "--no-active-set",
        "-o", tmp_path / "pot.mtp",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert [path.name for path in tmp_path.iterdir()] == ["pot.mtp"]


def test_grade_and_select_need_no_training_set(run, potential, data, tmp_path) -> None:
    by_set = run("grade", potential, "--active-set", path_beside(potential), data.extxyz)
    done = run("grade", potential, data.extxyz)
    assert done.status == 0, done.err
    assert f"by {path_beside(potential)}, to look at: {data.extxyz}" in done.out
    assert done.out.split("\n\n")[1] == by_set.out.split("\n\n")[1]
    done = run("select", potential, data.extxyz, "-o", tmp_path / "selected.cfg")
    assert "10 candidates" in done.out


def test_training_sets_of_several_files(run, potential, data, cell, tmp_path) -> None:
    first = run("grade", potential, data.extxyz, cell, "--mode", "neighborhood")
    assert f"training set: {data.extxyz}; to look at: {cell}" in first.out
    done = run(
        "grade", potential, "--mode", "neighborhood", "--train", data.extxyz, data.cfg, "--", cell
    )
    assert f"training set: {data.extxyz} {data.cfg}; to look at: {cell}" in done.out
    # The same configurations twice span nothing more.
    assert done.out.split("\n\n")[1] == first.out.split("\n\n")[1]
    failed = run("grade", potential, "--train", data.extxyz)
    assert failed.status == 2
    failed = run("grade", potential, "--train", data.extxyz, "--active-set", "x.npz", "--", cell)
    assert "give --train or an --active-set" in failed.err


def test_nothing_to_grade_says_what_would_do(run, fitted, data, tmp_path) -> None:
    shutil.copy(fitted.potential, tmp_path)
    failed = run("grade", tmp_path / "pot.mtp", data.extxyz)
    assert failed.status == 2
    assert "there are no configurations to grade" in failed.err
    assert "pot.active.npz beside the potential" in failed.err


def test_simulations_report_grades_and_go_on(run, potential, cell) -> None:
    options = ("--steps", 4, "--ensemble", "nvt", "--temperature", 50, "--moments", "fixed")
    done = run("md", potential, cell, *options)
    assert done.status == 0, done.err
    line = re.search(
        r"grades by \S+pot.active.npz of 5 configurations at every step: highest ([\d.e+-]+)",
        done.out,
    )
    assert line, done.out
    active = mmtp.ActiveSet.load(path_beside(potential), mmtp.load(potential))
    assert float(line[1]) >= active.grade(mmtp.read(cell))[0] * (1 - 1e-3)
    assert "grades by" not in run("md", potential, cell, *options, "--active-set", "none").out
    assert "nothing was stopped or kept for its grade" in done.out
    assert "of 1 configuration at the end: highest" in run("equilibrate", potential, cell).out


def test_stale_sets_are_told_and_not_used(run, stale, cell) -> None:
    done = run("equilibrate", stale, cell)
    assert "grades by" not in done.out
    (line,) = [line for line in done.err.splitlines() if "active set" in line]
    assert "pot.active.npz is not used: " in line
    assert "is the active set of another potential" in line
    failed = run("equilibrate", stale, cell, "--grade-break", 5)
    assert failed.status == 2
    assert "thresholds of grades need an active set" in failed.err


def test_a_threshold_makes_it_the_watch(run, potential, cell) -> None:
    done = run("equilibrate", potential, cell, "--grade-select", 1e-6)
    assert "with a grade of at least 1e-06, highest grade" in done.out


def test_a_start_far_from_the_training_set_is_told(potential, data, caplog) -> None:
    """Which properties, samples and walks do that watch no grades."""
    near = data.atoms_list[0]
    tell_start(str(potential), mmtp.load(potential), near)
    assert not [line for line in caplog.messages if "grade" in line]
    far = near.copy()
    far.positions[0] += 0.8
    far.set_initial_magnetic_moments([3.5, -3.5])
    tell_start(str(potential), mmtp.load(potential), far)
    (line,) = [line for line in caplog.messages if "grade" in line]
    assert "the start has a grade of" in line
    assert f"by {path_beside(potential)}, above 10: it is far from the training set" in line
