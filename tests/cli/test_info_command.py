"""``mmtp info``: what a fitted potential records; other files; labels that differ."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

import mmtp_jax as mmtp
from mmtp_jax.io.store import write_store


def labelled(code, seed, kmesh="2x2x2"):
    rng = np.random.default_rng(seed)
    atoms = Atoms("Fe2", [[0, 0, 0], [1.4, 1.4, 1.4]], cell=[2.8] * 3, pbc=True)
    atoms.positions += rng.normal(0, 0.05, (2, 3))
    atoms.set_initial_magnetic_moments(rng.uniform(1, 2, 2))
    moments = atoms.get_initial_magnetic_moments()
    atoms.calc = SinglePointCalculator(atoms, energy=-16.0 + rng.normal(), magmoms=moments)
    atoms.info |= {"making": f"code: {code}; version: 1", "kmesh": kmesh}
    return atoms


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data of one code and of two, and a potential fitted to the former."""
    path = tmp_path_factory.mktemp("info")
    same = [labelled("A", k) for k in range(3)]
    mmtp.write(path / "same.extxyz", same)
    mmtp.write(path / "mixed.extxyz", [*same, labelled("B", 3), labelled("A", 4, "3x3x3")])
    start = mmtp.Potential.new(level=2, species=("Fe",), radial_size=3, cutoff=4.0)
    fit = mmtp.fit(start, same, method="gauss-newton", max_iterations=1)
    mmtp.save(path / "pot.mtp", fit.potential)
    return path


def test_a_fitted_potential_says_how(run, folder):
    result = run("info", folder / "pot.mtp", "--json")
    content = json.loads(result.out)
    record = content["record"]
    assert record["program"] == f"mmtp_jax {mmtp.__version__}"
    assert record["data"]["configurations"] == 3
    assert record["data"]["labels"]["energy"] == 3
    assert record["making"][0]["text"] == "code: A; version: 1"
    assert record["fit"]["method"] == "gauss-newton"
    assert record["fit"]["weights"]["energy"] == 1.0
    assert not content["changed_after_fit"]
    assert content["level"] == 2
    of_data = json.loads(run("info", folder / "same.extxyz", "--json").out)
    assert of_data["sha256"] == record["data"]["sha256"]
    text = run("info", folder / "pot.mtp").out
    assert "code: A; version: 1" in text
    assert "method: gauss-newton" in text


def test_the_record_goes_through_copies_and_files_and_knows_changes(folder, tmp_path, run):
    potential = mmtp.load(folder / "pot.mtp")
    mmtp.save(tmp_path / "again.mtp", potential.astype(np.float64))
    assert (tmp_path / "again.mtp").read_bytes() == (folder / "pot.mtp").read_bytes()
    mmtp.save(tmp_path / "other.mtp", potential.replace(species_coeffs=np.array([1.0])))
    assert "coefficients are not those of the fit" in run("info", tmp_path / "other.mtp").out
    new = mmtp.Potential.new(level=2, species=("Fe",))
    mmtp.save(tmp_path / "new.mtp", new)
    assert "not recorded" in run("info", tmp_path / "new.mtp").out
    assert "record" not in (tmp_path / "new.mtp").read_text()


def test_data_of_different_making_are_told(run, folder):
    result = run("info", folder / "mixed.extxyz")
    assert result.status == 0
    assert "code A against B in 1 of 5" in result.out
    assert "1 have 3x3x3" in result.out


def test_selection_and_fits_refuse_them_in_words(run, folder, tmp_path):
    words = ("select", folder / "pot.mtp", folder / "mixed.extxyz", folder / "same.extxyz")
    result = run(*words, "-o", tmp_path / "selected.cfg")
    assert result.status == 2
    assert "code A against B in 1 of 5" in result.err
    fit = ("fit", folder / "mixed.extxyz", "--potential", folder / "pot.mtp")
    result = run(*fit, "-o", tmp_path / "new.mtp")
    assert result.status == 2
    assert "code A against B" in result.err
    assert "--making shift" in result.err
    assert not (tmp_path / "new.mtp").exists()


def test_files_of_arrays_are_described(run, tmp_path):
    write_store(tmp_path / "x.npz", {"format": "mmtp_jax test 1", "n": 3}, {"a": np.zeros((2, 3))})
    content = json.loads(run("info", tmp_path / "x.npz", "--json").out)
    assert content["kind"] == "mmtp_jax test 1"
    assert content["header"] == {"n": 3}
    assert content["arrays"] == {"a": "float64 2x3"}
    (tmp_path / "y.npz").write_bytes((tmp_path / "x.npz").read_bytes()[:100])
    assert run("info", tmp_path / "y.npz").status == 2
    assert run("info", tmp_path / "none.cfg").status == 2


def test_columns_of_other_names_are_listed(run, folder, tmp_path):
    atoms = labelled("A", 0)
    del atoms.arrays["initial_magmoms"]
    atoms.calc = None
    atoms.set_array("mine", np.ones(2))
    mmtp.write(tmp_path / "mine.extxyz", atoms)
    assert "columns that are not read: mine (1)" in run("info", tmp_path / "mine.extxyz").out
    assert "columns" not in run("info", folder / "same.extxyz").out
    result = run("info", folder)
    assert result.status == 2
    assert f"{folder} is a folder; give files in it" in result.err
