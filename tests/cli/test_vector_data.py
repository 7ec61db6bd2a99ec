"""Commands that look at data, on files with moments that are vectors."""

import json

import numpy as np
import pytest

import mmtp_jax as mmtp


@pytest.fixture(scope="module")
def canted(tmp_path_factory, random_potential, random_structure, atoms_of):
    """A teacher, its labels of six cells with canted moments, and one with moments along z."""
    folder = tmp_path_factory.mktemp("canted")
    teacher = random_potential(7, n_species=1, form="parity", magnetic_size=3)
    rng = np.random.default_rng(7)
    atoms_list = []
    for k in range(7):
        atoms = atoms_of(random_structure(k, 3, n_species=1, shortest=1.9))
        del atoms.arrays["initial_magmoms"]
        moments = rng.uniform(-1.4, 1.4, (3, 3)) * ([0, 0, 1] if k == 3 else 1)
        atoms.set_initial_magnetic_moments(moments)
        atoms.calc = mmtp.MMTPCalculator(teacher)
        atoms.get_potential_energy()
        atoms_list.append(atoms)
    mmtp.save(folder / "pot.mtp", teacher)
    mmtp.write(folder / "canted.extxyz", atoms_list)
    mmtp.write(folder / "canted.cfg", atoms_list)
    return folder


def test_info_counts_vectors(run, canted):
    result = run("info", canted / "canted.extxyz")
    assert result.status == 0, result.err
    # Six configurations with nine numbers, and one with three.
    assert result.out.splitlines()[-3].split() == ["moments", "7", "57"]
    assert result.out.splitlines()[-2] == "moments are vectors in 6, canted in 6"
    assert not result.err
    assert run("info", canted / "canted.extxyz", "--vectors").out.count(" 63\n") == 3


def test_convert_keeps_vectors(run, canted, tmp_path):
    there, back = tmp_path / "a.cfg", tmp_path / "b.extxyz"
    for source, output in ((canted / "canted.extxyz", there), (there, back)):
        result = run("convert", source, output, "--vectors")
        assert result.status == 0, result.err
    expected = mmtp.read(canted / "canted.extxyz", vectors=True)
    for got, of in zip(mmtp.read(back, vectors=True), expected, strict=True):
        np.testing.assert_array_equal(got.get_magnetic_moments(), of.get_magnetic_moments())
        np.testing.assert_array_equal(got.arrays["magnetic_forces"], of.arrays["magnetic_forces"])


def test_fit_and_evaluate(run, canted, tmp_path, read_back):
    report, plot, pot = tmp_path / "r.json", tmp_path / "p.png", tmp_path / "p.mtp"
    result = run(
        "fit", canted / "canted.extxyz", "--potential", canted / "pot.mtp", "--max-iterations", "1",
        "--magnetic-forces-along-weight", "0.05", "-o", pot, "--report", report, "--plot", plot,
        "--keep-domain", "--no-initialise", "--no-active-set",
    )  # fmt: skip
    assert result.status == 0, result.err
    assert result.err.count("collinear and count as vectors along z") == 1
    errors = json.loads(report.read_text())["errors"]["training"]
    assert errors["torques"]["unit"] == "meV"
    assert errors["magnetic_forces_along"]["rmse"] < 1e-3
    assert mmtp.load(pot).record["fit"]["weights"]["magnetic_forces_along"] == 0.05
    assert read_back(plot)
    predicted = tmp_path / "predicted.cfg"
    result = run(
        "evaluate", canted / "pot.mtp", canted / "canted.cfg", "-o", predicted, "--vectors"
    )
    assert result.status == 0, result.err
    assert "magnetic forces across" in result.out
    written = mmtp.read(predicted, vectors=True)
    for got, of in zip(written, mmtp.read(canted / "canted.cfg", vectors=True), strict=True):
        np.testing.assert_allclose(
            got.arrays["magnetic_forces"], of.arrays["magnetic_forces"], atol=1e-7
        )
    bare = run("fit", canted / "canted.extxyz", "--level", "4", "--species", "Fe", "--form", "bare",
               "-o", tmp_path / "bare.mtp")  # fmt: skip
    assert bare.status == 2
    assert "canted.extxyz, configuration 1: moments that are vectors need" in bare.err


def test_evaluate_without_labels(run, canted, tmp_path):
    atoms_list = mmtp.read(canted / "canted.cfg")
    for atoms in atoms_list:
        atoms.calc = None
        del atoms.arrays["magnetic_forces"]
    mmtp.write(tmp_path / "bare.extxyz", atoms_list)
    result = run("evaluate", canted / "pot.mtp", tmp_path / "bare.extxyz")
    assert result.status == 0, result.err
    assert "|magnetic force| (eV/mu_B)" in result.out


def test_grade_and_select(run, canted, tmp_path):
    for command in ("grade", "select"):
        result = run(
            command, canted / "pot.mtp", canted / "canted.cfg", canted / "canted.extxyz",
            "-o", tmp_path / "out.extxyz",
        )  # fmt: skip
        assert result.status == 0, result.err
    assert len(mmtp.read(tmp_path / "out.extxyz")) == 7


def test_grades_of_canted_moments_say_what_they_do_not_tell(run, canted, iron_file, tmp_path):
    fe = tmp_path / "fe.extxyz"
    atoms_list = mmtp.read(canted / "canted.extxyz")[:2]
    for atoms in atoms_list:
        atoms.symbols = "Fe3"
    mmtp.write(fe, atoms_list)
    active = mmtp.ActiveSet.from_configurations(mmtp.load(iron_file), atoms_list)
    active.save(tmp_path / "active.npz")
    result = run("grade", iron_file, fe, "--active-set", tmp_path / "active.npz")
    assert "fitted to collinear ones alone" in result.err


def test_commands_for_collinear_moments_refuse(run, canted):
    result = run("sample", canted / "pot.mtp", canted / "canted.cfg", "-n", "2")
    assert result.status == 2
    assert "canted.cfg, configuration 1: has noncollinear magnetic moments" in result.err
