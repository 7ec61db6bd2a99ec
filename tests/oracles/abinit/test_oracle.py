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
    vectors = iron.copy()
    del vectors.arrays["initial_magmoms"]
    vectors.set_initial_magnetic_moments([[0, 0, 2.0], [0, 2.0, 0]])
    cases = [
        (oracle, close, "the spheres of atoms 0 (Fe) and 1 (Fe) overlap"),
        (oracle, slab, "not periodic"),
        (oracle, steel, "no PAW dataset for C"),
        (oracle, vectors, "moments are vectors"),
        (replace(oracle, radii_bohr={"Fe": 2.0}), iron, "smaller than that of its PAW dataset"),
        (replace(oracle, executable="no-such-abinit"), iron, "no executable 'no-such-abinit'"),
    ]
    for who, atoms, words in cases:
        answer = who.label(atoms, tmp_path)
        assert isinstance(answer, Failure), words
        assert words in answer.reason
        assert answer.final
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


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
