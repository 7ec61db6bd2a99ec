"""The labeller with a stand-in for the program: attempts, failures, provenance."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms

import mmtp_jax as mmtp
from mmtp_jax.oracles.abinit import AbinitOracle
from mmtp_jax.oracles.abinit.units import BOHR, HARTREE
from mmtp_jax.oracles.oracle import Failure, Labelled, checked
from mmtp_jax.structures.screening import Diagnostics


def test_labels_with_the_schema_of_this_program(stand_in, iron, tmp_path) -> None:
    oracle = pickle.loads(pickle.dumps(stand_in("default")))
    answer = checked(oracle.label(iron, tmp_path), iron)
    assert isinstance(answer, Labelled), answer
    atoms = answer.atoms
    assert atoms.get_potential_energy() == pytest.approx(-1197.93137974, abs=1e-7)
    assert atoms.get_forces().shape == (2, 3)
    assert atoms.get_stress()[0] == pytest.approx(1.27832012 / 160.21766208, rel=1e-6)
    np.testing.assert_array_equal(atoms.get_magnetic_moments(), [1.999999, 2.5])
    np.testing.assert_allclose(
        atoms.arrays["magnetic_forces"], [-0.41103580, -0.67764549], rtol=1e-7
    )
    np.testing.assert_array_equal(atoms.positions, iron.positions)
    assert answer.free == ()
    about = answer.provenance
    assert (about.code, about.version, about.converged) == ("ABINIT", "9.6.2", True)
    assert about.settings["attempt"] == "default"
    odd, density = about.settings["warnings"]
    assert (odd, density[:22]) == ("Something is odd", "Density went too small")
    # Half of 24^3 points; the shortened output has no double-counting energy.
    assert about.diagnostics == Diagnostics((6.659746, 6.618318), 0.5, None)
    assert about.settings["ecut_Ha"] == 20.0
    assert len(about.settings["sha256"]["Fe"]) == 64
    json.dumps(about.settings)
    # Large files and the log of what went well are not kept.
    kept = sorted(path.name for path in (tmp_path / "1-default").iterdir())
    assert kept == ["run.abi", "run.abo"]


@pytest.mark.parametrize(
    ("kind", "attempts"),
    [
        ("default", ["1-default"]),
        ("diemix", ["1-default", "2-damped"]),
        ("density", ["1-default", "2-damped", "3-restart"]),
        ("near", ["1-default", "1-default-continued"]),
        ("still", ["1-default", "1-default-continued"]),
    ],
)
def test_more_help_from_attempt_to_attempt(kind, attempts, stand_in, iron, tmp_path) -> None:
    jobs = mmtp.label_all(stand_in(kind), [iron], tmp_path)
    (answer,) = jobs.labelled
    settings = answer.provenance.settings
    assert settings["attempt"] == attempts[-1][2:]
    assert not list(tmp_path.rglob("runo_*"))
    assert [text.split(":")[0] for text in settings["failed_attempts"]] == [
        name[2:] for name in attempts[:-1]
    ]
    folders = sorted(p.name for p in (tmp_path / "job-00000").iterdir() if p.is_dir())
    assert folders == attempts
    content = json.loads((tmp_path / "job-00000" / "result.json").read_text())
    assert content["failed_attempts"] == []
    told = answer.provenance.diagnostics.negative_share
    assert told == (None if kind in ("density", "near", "still") else 0.5)
    again = mmtp.label_all(stand_in(kind), [iron], tmp_path).labelled[0]
    assert again.provenance == answer.provenance


def test_numbers_of_a_file_and_of_python_say_the_same_making(stand_in) -> None:
    python = {"hubbard": {"Fe": (2, 3, 0)}, "extra": {"nline": 4, "dmatpawu": (0, 1)}}
    file = {"hubbard": {"Fe": [2.0, 3.0, 0.0]}, "extra": {"nline": 4.0, "dmatpawu": [0.0, 1.0]}}
    made = [stand_in("default", **settings).making() for settings in (python, file)]
    assert made[0] == made[1]
    assert made[0]["Fe.U"] == "l 2 U 3 J 0 eV"


def test_a_start_without_constraint_is_a_labeller_of_its_own(stand_in, iron, tmp_path) -> None:
    free = stand_in("default", start="free")
    (answer,) = mmtp.label_all(free, [iron], tmp_path).labelled
    assert answer.provenance.settings["attempt"] == "restart"
    (folder,) = (p for p in (tmp_path / "job-00000").iterdir() if p.is_dir())
    assert "getden_filepath" in (folder / "run.abi").read_text()
    atoms = stand_in("default")
    assert free.fingerprint() != atoms.fingerprint()
    # Keys of labels from before there was a choice.
    assert '"start"' not in atoms.fingerprint()
    assert free.making() == atoms.making()
    assert "default" not in stand_in("never", start="free").label(iron, tmp_path).reason
    # Without a constraint both are one.
    none = stand_in("default", start="free", constrained=()).label(iron, tmp_path)
    assert none.provenance.settings["attempt"] == "default"


def test_a_calculation_that_never_converges_fails_once(stand_in, iron, tmp_path) -> None:
    jobs = mmtp.label_all(stand_in("never"), [iron], tmp_path, retries=3)
    reason = jobs.failures[0].reason
    assert "did not converge (default: residual 2.4e-05 after 26 steps; damped" in reason
    assert "restart: residual" in reason
    content = json.loads((tmp_path / "job-00000" / "result.json").read_text())
    assert len(content["failed_attempts"]) == 1
    assert not list(tmp_path.rglob("labelled.cfg"))
    near = stand_in("still never").label(iron, tmp_path / "job-00000").reason
    assert [text.split(":")[0] for text in near.partition("(")[2].split("; ")] == [
        name + more for name in ("default", "damped", "restart") for more in ("", "-continued")
    ]
    few = stand_in("never", attempts=1).label(iron, tmp_path / "job-00000")
    assert "damped" not in few.reason


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("error", "ABINIT stopped: The disk is full"),
        ("crash", "exit status 139: the output ends after 26 steps"),
        ("silent", "exit status 1: it is no output of ABINIT"),
    ],
)
def test_broken_runs_say_why(kind, words, stand_in, iron, tmp_path) -> None:
    answer = stand_in(kind).label(iron, tmp_path)
    assert isinstance(answer, Failure)
    assert words in answer.reason
    # The machine may be at fault: it is worth another try.
    assert not answer.final
    assert (tmp_path / "1-default" / "log").exists()


def test_what_cannot_be_computed_is_refused_before_it_starts(stand_in, iron, tmp_path) -> None:
    oracle = stand_in("default")
    close = iron.copy()
    close.positions[1] = [1.3, 1.3, 1.3]
    slab = iron.copy()
    slab.pbc = (True, True, False)
    steel = Atoms("FeC", cell=[4, 4, 4], pbc=True, positions=[[0, 0, 0], [2, 2, 2]])
    cases = [
        (oracle, close, "the spheres of atoms 0 (Fe) and 1 (Fe) overlap"),
        (oracle, slab, "not periodic"),
        (oracle, steel, "no PAW dataset for C"),
        (replace(oracle, radii_bohr={"Fe": 2.0}), iron, "smaller than that of its PAW dataset"),
        (replace(oracle, executable="no-such-abinit"), iron, "no executable 'no-such-abinit'"),
    ]
    for who, atoms, words in cases:
        answer = who.label(atoms, tmp_path)
        assert isinstance(answer, Failure), words
        assert words in answer.reason
        assert answer.final
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def with_vectors(atoms: Atoms, moments) -> Atoms:
    copy = atoms.copy()
    del copy.arrays["initial_magmoms"]
    copy.set_initial_magnetic_moments(np.array(moments, float))
    return copy


def test_vectors_need_two_orientations(stand_in, iron, tmp_path) -> None:
    moments = np.array([[0.3, -0.2, 1.9], [1.2, 0.9, -1.5]])
    jobs = mmtp.label_all(stand_in("default"), [with_vectors(iron, moments)], tmp_path)
    (answer,) = jobs.labelled
    atoms = answer.atoms
    np.testing.assert_allclose(atoms.get_magnetic_moments(), moments, atol=3e-6)
    np.testing.assert_allclose(
        atoms.arrays["magnetic_forces"], -HARTREE * (0.01 * moments - 0.005 * moments[::-1]),
        atol=1e-7,
    )  # fmt: skip
    # What is linear in the x components is gone.
    assert atoms.get_forces()[0, 0] == pytest.approx(1e-3 * HARTREE / BOHR, rel=1e-6)
    assert atoms.get_stress()[2] == pytest.approx(2e-3 * HARTREE / BOHR**3, rel=1e-6)
    assert atoms.get_potential_energy() == pytest.approx(-44.018779285901 * HARTREE, abs=1e-7)
    settings = answer.provenance.settings
    # Energies of collinear states differ between spinors and numbers.
    assert answer.provenance.making["functional"].endswith(", spinors")
    assert stand_in("default").making_of([atoms])["functional"].endswith(", spinors")
    assert stand_in("default").making_of([atoms, iron]) == stand_in("default").making()
    assert (settings["spinors"], settings["n_steps"], settings["attempt"]) == (True, 64, "default")
    folder = tmp_path / "job-00000"
    texts = [(f / "1-default" / "run.abi").read_text() for f in (folder, folder / "turned")]
    assert all("nspinor 2" in text and "kptopt 4" in text for text in texts)
    again = mmtp.label_all(stand_in("default"), [with_vectors(iron, moments)], tmp_path)
    assert again.n_found == 1
    np.testing.assert_allclose(again.labelled[0].atoms.get_magnetic_moments(), moments, atol=3e-6)
    away = mmtp.label_all(stand_in("two states"), [with_vectors(iron, moments)], tmp_path / "away")
    assert "two orientations of all moments have energies" in away.failures[0].reason
    # The higher one was tried with all help.
    folders = [f.name for f in (tmp_path / "away" / "job-00000").iterdir() if f.is_dir()]
    assert len({"2-damped", "3-restart"} & set(folders)) in (0, 2)


@pytest.mark.parametrize("direction", [(0, 1, 0), (0, 0, 1), (0.6, 0.0, 0.8)])
def test_vectors_along_a_line_are_computed_as_numbers(stand_in, iron, direction, tmp_path) -> None:
    unit = np.array(direction, float)
    numbers = mmtp.label_all(stand_in("default"), [iron], tmp_path / "a").labelled[0]
    given = with_vectors(iron, np.outer([2.0, 2.5], unit))
    for _ in range(2):
        # The second time it is read from the folder.
        vectors = mmtp.label_all(stand_in("default"), [given], tmp_path / "b").labelled[0]
        assert "spinors" not in vectors.provenance.settings
        assert vectors.provenance.making == numbers.provenance.making
        np.testing.assert_array_equal(vectors.atoms.get_forces(), numbers.atoms.get_forces())
        for name in ("magnetic_forces", "initial_magmoms"):
            want = np.outer(numbers.atoms.arrays[name], unit)
            np.testing.assert_allclose(vectors.atoms.arrays[name], want, atol=2e-8)


def test_vectors_get_the_same_help(stand_in, iron, tmp_path) -> None:
    canted = with_vectors(iron, [[0.3, -0.2, 1.9], [1.2, 0.9, -1.5]])
    (answer,) = mmtp.label_all(stand_in("near"), [canted], tmp_path / "near").labelled
    assert answer.provenance.settings["attempt"] == "default-continued"
    assert len(answer.provenance.settings["failed_attempts"]) == 2
    (answer,) = mmtp.label_all(stand_in("density"), [canted], tmp_path / "density").labelled
    assert answer.provenance.settings["attempt"] == "restart"
    reason = stand_in("never").label(canted, tmp_path).reason
    assert "did not converge (default: residual 5.8e-05 after 32 steps; damped" in reason


def test_free_moments_have_no_force(stand_in, iron, tmp_path) -> None:
    """A start far from what comes out is no miss, and the constraint's restart makes no sense."""
    iron.set_initial_magnetic_moments([3.0, 3.0])
    held = mmtp.label_all(stand_in("default"), [iron], tmp_path / "held")
    assert "the moment of atom 0 is 2.000 mu_B and not 3.000" in held.failures[0].reason
    free = stand_in("default", constrained=())
    (answer,) = mmtp.label_all(free, [iron], tmp_path / "free").labelled
    assert answer.free == (0, 1)
    np.testing.assert_array_equal(answer.atoms.arrays["magnetic_forces"], 0.0)
    np.testing.assert_array_equal(answer.atoms.get_magnetic_moments(), [1.999999, 2.5])
    assert "restart" not in stand_in("never", constrained=()).label(iron, tmp_path).reason


def test_the_fingerprint_knows_what_changes_labels(stand_in, dataset) -> None:
    oracle = stand_in("default")
    first = oracle.fingerprint()
    assert replace(oracle, ecut_Ha=20).fingerprint() == first
    for same in ({"threads": 4}, {"mpi": "mpirun -np 2"}, {"attempts": 1}):
        assert replace(oracle, **same).fingerprint() == first
    for other in ({"ecut_Ha": 21.0}, {"constrained": ()}, {"extra": {"ixc": 11}}):
        assert replace(oracle, **other).fingerprint() != first
    assert stand_in("default", version="10.0.3").fingerprint() != first
    dataset("Fe", valence=16, packed=True)
    assert oracle.fingerprint() != first


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"datasets": {}}, "there is no PAW dataset"),
        ({"ecut_Ha": -1.0}, "ecut_Ha must be positive"),
        ({"ecut_Ha": 50.0}, "pawecutdg_Ha must not be below"),
        ({"smearing": "fermi"}, "smearing must be one of fermi-dirac"),
        ({"start": "restart"}, "start must be one of atoms, free, got 'restart'"),
        ({"kmesh": (2, 2)}, "kmesh must be three"),
        ({"constrained": ("Cr",)}, "constrained names Cr, which has no PAW dataset"),
        ({"hubbard": {"Fe": (5, 3.0, 0.0)}}, "hubbard of Fe must be"),
        ({"extra": {"spinat": [0, 0, 1]}}, "'spinat' cannot be an extra one"),
        ({"extra": {"nstep 3\\nspinat": 0}}, "cannot be an extra one"),
    ],
)
def test_settings_that_cannot_be(settings, words) -> None:
    with pytest.raises(ValueError, match=words):
        AbinitOracle(**{"datasets": {"Fe": "Fe.xml"}, **settings})
