"""Devices and executors as options of commands and as files."""

import pytest
from ase.calculators.singlepoint import SinglePointCalculator

import mmtp_jax as mmtp
from mmtp_jax.fitting.options import FitOptions

FIT = ("fit", "none.cfg", "--level", 2, "--species", "Fe")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--devices", 0), "--devices must be a positive number or all, got 0"),
        (("--devices", "two"), "--devices must be a positive number or all, got 'two'"),
        (("--executor", "e.toml"), "an executor is for several fits"),
        (("--ensemble", 2, "--parallel", "--executor", "e.toml"), "not both"),
    ],
)
def test_contradictions_are_one_sentence(run, words, message):
    done = run(*FIT, *words)
    assert done.status == 2
    assert message in done.err
    assert done.err.count("\n") == 1


def test_devices_reach_the_fit(run, tmp_path, monkeypatch):
    """The number and the word arrive as what the library takes."""
    from ase.build import bulk

    atoms = bulk("Fe", cubic=True)
    atoms.set_initial_magnetic_moments([2.0, 2.0])
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0)
    mmtp.write(tmp_path / "data.extxyz", [atoms])
    monkeypatch.chdir(tmp_path)
    found = []

    def fit(potential, training, validation, callback, **options):
        found.append(FitOptions(**options).devices)
        raise ValueError("that is all")

    monkeypatch.setattr(mmtp, "fit", fit, raising=False)
    for devices in (3, "all"):
        assert "that is all" in run("fit", "data.extxyz", *FIT[2:], "--devices", devices).err
    assert found == [3, "all"]


def test_the_processes_of_a_fit_must_be_known(run, monkeypatch):
    monkeypatch.setenv("JAX_PROCESS_ID", "first")
    done = run(*FIT, "--distributed")
    assert done.status == 2
    assert "JAX_PROCESS_ID must be a whole number, got 'first'" in done.err


def test_the_template_of_an_executor_is_valid(run, tmp_path):
    path = tmp_path / "executor.toml"
    path.write_text(run("template", "executor").out)
    assert "valid settings of the executor local" in run("validate", path).out
    path.write_text("[executor]\nworkers = 0\n")
    done = run("validate", path)
    assert done.status == 2
    assert "workers must be at least 1, got 0" in done.err


def test_labelling_takes_workers_or_an_executor(run, tmp_path):
    (tmp_path / "data.cfg").write_text("")
    words = ("label", tmp_path / "data.cfg", "--oracle", "o.toml", "-o", tmp_path / "out.cfg")
    done = run(*words, "--workers", 2, "--executor", "e.toml")
    assert done.status == 2
    assert "leave out --workers" in done.err
