"""``mmtp grade`` and ``mmtp select``."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax.cli.commands.grade import histogram


@pytest.fixture(scope="module")
def files(tmp_path_factory, form, run, data) -> SimpleNamespace:
    """A potential, its training set and seven candidates, of which one is there twice."""
    folder = tmp_path_factory.mktemp("active")
    found = SimpleNamespace(
        folder=folder,
        potential=folder / "pot.mtp",
        other=folder / "other.mtp",
        train=folder / "train.cfg",
        candidates=folder / "candidates.extxyz",
        active=folder / "active.npz",
        training=data.atoms_list[:4],
        pool=[*data.atoms_list[4:], data.atoms_list[5]],
    )
    for seed, path in enumerate((found.potential, found.other)):
        assert run("init", *form, "--seed", seed, "-o", path).status == 0
    mmtp.write(found.train, found.training, species=("Fe",))
    mmtp.write(found.candidates, found.pool)
    done = run("grade", found.potential, found.train, "--save-active-set", found.active)
    assert done.status == 0, done.err
    assert done.err.count("pot.mtp has not been fitted") == 1
    return found


@pytest.fixture(scope="module")
def active(files) -> mmtp.ActiveSet:
    return mmtp.ActiveSet.from_configurations(mmtp.load(files.potential), files.training)


@pytest.mark.parametrize("suffix", ["cfg", "extxyz"])
def test_grade_writes_the_grades(read_back, run, files, active, tmp_path, suffix) -> None:
    output, plot = tmp_path / f"graded.{suffix}", tmp_path / "grades.png"
    done = run(
        "grade", files.potential, files.train, files.candidates, "-o", output, "--plot", plot,
        "--json", tmp_path / "grades.json",
    )  # fmt: skip
    assert done.status == 0, done.err
    graded = mmtp.read(output, species=("Fe",))
    expected = active.grade(files.pool)
    np.testing.assert_allclose([a.info["MV_grade"] for a in graded], expected, rtol=1e-6)
    for atoms, before in zip(graded, files.pool, strict=True):
        assert atoms.get_potential_energy() == pytest.approx(before.get_potential_energy())
    assert f"largest {expected.max():.4g}" in done.out
    content = json.loads((tmp_path / "grades.json").read_text())
    assert [of["grade"] for of in content["configurations"]] == pytest.approx(expected.tolist())
    assert content["configurations"][0]["name"] == "candidates.extxyz, configuration 1"
    assert content["largest"] == pytest.approx(expected.max())
    assert sum(of["configurations"] for of in content["histogram"]) == len(expected)
    assert (content["train"], content["active_set"]) == ([str(files.train)], None)
    assert read_back(plot)
    # The saved set says the same.
    again = run("grade", files.potential, "--active-set", files.active, files.candidates)
    assert again.out.split("\n\n")[1] == done.out.split("\n\n")[1]


def test_grade_of_atoms(run, files, tmp_path) -> None:
    output = tmp_path / "graded.extxyz"
    done = run(
        "grade", files.potential, files.train, files.candidates, "--mode", "neighborhood",
        "-o", output,
    )  # fmt: skip
    assert done.status == 0, done.err
    active = mmtp.ActiveSet.from_configurations(
        mmtp.load(files.potential), files.training, mode="neighborhood"
    )
    expected = active.atom_grades(files.pool)
    for atoms, grades in zip(mmtp.read(output), expected, strict=True):
        np.testing.assert_allclose(atoms.arrays["nbh_grades"], grades, rtol=1e-5)
        assert atoms.info["MV_grade"] == pytest.approx(grades.max(), rel=1e-5)


def test_histogram_counts_every_configuration() -> None:
    text = histogram(np.array([0.2, 0.5, 1.0, 1.0005, 1.5, 2.0, 7.0, 1e5]))
    counts = [int(line.split("  ")[-1].split()[0]) for line in _without_bars(text)]
    assert counts == [2, 2, 2, 0, 1, 0, 1]
    # Without the tolerance of the exchanges, which 1.0005 is within.
    assert [line.split("  ")[0] for line in text.splitlines()[2:4]] == ["0.5 to 1", "1 to 2"]
    assert text.splitlines()[-1] == "smallest 0.2, median 1.25, largest 1e+05"


def _without_bars(text: str) -> list[str]:
    return [line.replace("#", "").rstrip() for line in text.splitlines()[1:-1]]


def test_select_writes_what_is_worth_a_label(run, files, active, tmp_path) -> None:
    output, grown = tmp_path / "selected.cfg", tmp_path / "grown.npz"
    done = run(
        "select", files.potential, files.train, files.candidates, "-o", output,
        "--save-active-set", grown, "--json", tmp_path / "selected.json",
    )  # fmt: skip
    assert done.status == 0, done.err
    expected = mmtp.Selection.of(active, files.pool)
    selected = mmtp.read(output, species=("Fe",))
    assert len(selected) == len(expected.indices) > 0
    for atoms, k, grade in zip(selected, expected.indices, expected.grades, strict=True):
        np.testing.assert_allclose(atoms.positions, files.pool[k].positions, atol=1e-7)
        np.testing.assert_allclose(
            atoms.get_magnetic_moments(), files.pool[k].get_magnetic_moments(), atol=1e-7
        )
        assert atoms.info["MV_grade"] == pytest.approx(grade, rel=1e-5)
    assert "7 candidates, 1 of them duplicates" in done.out
    content = json.loads((tmp_path / "selected.json").read_text())
    assert [of["grade"] for of in content["selected"]] == pytest.approx(expected.grades.tolist())
    assert content["selected"][0]["name"].startswith("candidates.extxyz, configuration ")
    assert (len(content["candidates"]), content["n_duplicates"]) == (7, 1)
    assert f"{len(selected)} selected" in done.out
    # With them in the set there is nothing left to select, and nothing is written.
    nothing = tmp_path / "nothing.cfg"
    done = run("select", files.potential, "--active-set", grown, files.candidates, "-o", nothing)
    assert done.status == 0, done.err
    assert "nothing to label" in done.out
    assert not nothing.exists()


def test_select_at_most(run, files, tmp_path) -> None:
    output = tmp_path / "selected.extxyz"
    done = run(
        "select", files.potential, "--active-set", files.active, files.candidates, "-o", output,
        "--limit", 2,
    )  # fmt: skip
    assert done.status == 0, done.err
    assert len(mmtp.read(output)) == 2
    assert "2 selected" in done.out


def error_of(result) -> str:
    """The one line of an error, with status 2; the potentials are not fitted, which is said."""
    assert result.status == 2
    lines = [line for line in result.err.splitlines() if "has not been fitted" not in line]
    assert len(lines) == 1, result.err
    assert result.out.count("wrote") == 0
    return lines[0]


@pytest.mark.parametrize("command", ["grade", "select"])
def test_bad_input_is_one_sentence(command, run, files, tmp_path) -> None:
    out = ["-o", tmp_path / "out.extxyz"]
    copper = tmp_path / "copper.extxyz"
    atoms = bulk("Cu", cubic=True)
    mmtp.write(copper, atoms)
    missing = error_of(run(command, files.potential, files.train, copper, *out))
    assert "1 of 1 configurations (the first is copper.extxyz, configuration 1) has no" in missing
    assert "or say --missing-moments zero if they are zero" in missing
    atoms.set_initial_magnetic_moments(np.zeros(4))
    mmtp.write(copper, atoms)
    message = error_of(run(command, files.potential, files.train, copper, *out))
    assert "copper.extxyz, configuration 1: has Cu, but the potential is for Fe" in message

    message = error_of(
        run(command, files.other, "--active-set", files.active, files.candidates, *out)
    )
    assert "active.npz is the active set of another potential" in message

    far = [atoms.copy() for atoms in files.pool]
    far[2].set_initial_magnetic_moments([1e200, 1.0])
    mmtp.write(tmp_path / "far.extxyz", far)
    message = error_of(run(command, files.potential, files.train, tmp_path / "far.extxyz", *out))
    assert "far.extxyz, configuration 3: the derivatives of its energy" in message
    assert "are not finite" in message

    empty = tmp_path / "empty.cfg"
    empty.write_text("")
    message = error_of(run(command, files.potential, files.train, empty, *out))
    assert "empty.cfg" in message

    message = error_of(run(command, files.potential, files.train, *out))
    assert f"there are no {'candidates' if command == 'select' else 'configurations'}" in message

    message = error_of(
        run(
            command, files.potential, "--active-set", files.active, files.candidates, *out,
            "--mode", "neighborhood",
        )
    )  # fmt: skip
    assert "--mode was chosen when" in message

    message = error_of(
        run(command, files.potential, files.train, files.candidates, *out, "--missing-scale", 0)
    )
    assert "--missing-scale must be positive, got 0" in message

    message = error_of(
        run(command, files.potential, files.train, files.candidates, "-o", files.candidates)
    )
    assert "is an input" in message
    assert not (tmp_path / "out.extxyz").exists()


def test_select_refuses_a_limit_of_none(run, files, tmp_path) -> None:
    result = run(
        "select", files.potential, files.train, files.candidates, "-o", tmp_path / "a.cfg",
        "--limit", 0,
    )  # fmt: skip
    assert "limit must be at least 1, got 0" in error_of(result)
