"""Labelling and series of fits run unchanged in any executor, and files say which."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax.interfaces.executors import (
    ExecutorSettings,
    _accelerators,
    settings_of,
)


def needs(kind: str):
    return pytest.mark.skipif(
        kind != "local" and find_spec(kind) is None,
        reason=f"the package {kind} is not installed (pip install {kind})",
    )


KINDS = [pytest.param(kind, marks=needs(kind)) for kind in ("local", "executorlib", "parsl")]
OPTIONS = {"max_iterations": 2, "seed": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("executors")


@pytest.fixture(scope="module")
def teacher(random_potential, folder):
    potential = random_potential(5, level=2, n_species=1, radial_size=3, intervals="common")
    mmtp.save(folder / "teacher.mtp", potential)
    return mmtp.PotentialOracle(str(folder / "teacher.mtp"), ("Fe",))


@pytest.fixture(scope="module")
def cells():
    found = []
    for seed in range(3):
        atoms = bulk("Fe", cubic=True)
        atoms.rattle(0.05, seed=seed)
        atoms.set_initial_magnetic_moments([2.0, 1.5 + 0.2 * seed])
        found.append(atoms)
    return found


@pytest.fixture(scope="module")
def labels(teacher, cells, folder):
    """What this process finds."""
    return [a.atoms for a in mmtp.label_all(teacher, cells, folder / "jobs").labelled]


@pytest.fixture(scope="module")
def student():
    return mmtp.Potential.new(
        level=2, species=("Fe",), radial_size=3, cutoff=4.0, min_dist=2.0, max_magmom=3.0
    )


@pytest.fixture(scope="module")
def ensemble(student, labels):
    return mmtp.fit_ensemble(student, labels, n=2, **OPTIONS)


@pytest.fixture
def here(monkeypatch, folder):
    """Workers find this package, and work in the folder."""
    monkeypatch.setenv("PYTHONPATH", str(Path(mmtp.__file__).parents[1]))
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.chdir(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_and_ensembles_are_those_of_this_process(
    kind, here, teacher, cells, labels, student, ensemble, folder
):
    told = []
    settings = ExecutorSettings(kind, workers=1, folder=str(folder / "parsl"))
    with mmtp.executor(settings) as executor:
        jobs = mmtp.label_all(teacher, cells[:2], f"jobs-{kind}", executor)
        found = mmtp.fit_ensemble(
            student,
            labels,
            n=2,
            executor=executor,
            callback=lambda task, fit: told.append((task.index, task.name, fit.loss)),
            **OPTIONS,
        )
    assert not jobs.failures
    for atoms, expected in zip((a.atoms for a in jobs.labelled), labels, strict=False):
        np.testing.assert_allclose(atoms.get_forces(), expected.get_forces(), atol=1e-12)
    assert (folder / f"jobs-{kind}" / "job-00001" / "result.json").exists()
    assert not found.interrupted
    for fit, expected in zip(found.fits, ensemble.fits, strict=True):
        np.testing.assert_allclose(fit.history, expected.history, rtol=1e-9)
    assert sorted(told) == [(k, f"member {k + 1} of 2", found.fits[k].loss) for k in range(2)]


def test_a_lost_worker_is_one_sentence(here, student, labels):
    class Broken:
        def submit(self, *args):
            from concurrent.futures import Future

            future = Future()
            future.set_exception(RuntimeError("the node is gone"))
            return future

    with pytest.raises(OSError, match=r"the executor lost member [12] of 2 .*the node is gone"):
        mmtp.fit_ensemble(student, labels, n=2, executor=Broken(), **OPTIONS)
    with pytest.raises(ValueError, match="drop one"):
        mmtp.fit_ensemble(student, labels, n=2, executor=Broken(), parallel=True, **OPTIONS)


# --- files --------------------------------------------------------------------------


def test_a_file_settings_and_options_make_the_same(tmp_path, monkeypatch):
    path = tmp_path / "executor.toml"
    path.write_text('[executor]\nkind = "executorlib"\nworkers = 4\n')
    found = []
    monkeypatch.setattr("mmtp_jax.interfaces.executors._executorlib", found.append)
    mmtp.executor(path)
    mmtp.executor(ExecutorSettings("executorlib", workers=4))
    mmtp.executor(kind="executorlib", workers=4)
    mmtp.executor(path, workers=4)
    with pytest.warns(DeprecationWarning, match=r"read_executor\(path\) is now called executor"):
        settings = mmtp.read_executor(path)
    with pytest.warns(DeprecationWarning, match="make_executor is now called executor"):
        mmtp.make_executor(settings)
    assert found == [ExecutorSettings("executorlib", workers=4)] * 5
    with pytest.raises(TypeError, match="unknown option 'worker'; did you mean 'workers'"):
        mmtp.executor(worker=4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[executor]\nkind = "dask"', "local, executorlib, parsl, got 'dask'"),
        ('[executor]\nkind = "local"\nplace = "slurm"', "place must be one of here"),
        ("[executor]\nworker = 2", "unknown key 'worker'; did you mean 'workers'"),
        ("[executor]\nworkers = 0", "workers must be at least 1"),
        ('[executor]\nworkers = "two"', "must be a whole number"),
        ("[executor]\ngpus = 1", "does not share the GPUs"),
        ("workers = 2", r"one section, \[executor\]"),
        ("[executor", "not a TOML file"),
    ],
)
def test_mistakes_name_the_file_and_the_key(tmp_path, text, words):
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"wrong\.toml.*{words}"):
        settings_of(path)


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr("mmtp_jax.interfaces.executors.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"parsl is not installed; pip install parsl"):
        mmtp.executor(kind="parsl")


def test_workers_share_the_gpus_out():
    assert _accelerators(ExecutorSettings("parsl", workers=2, gpus=2)) == ["0,1", "2,3"]
    assert _accelerators(ExecutorSettings("parsl", workers=2)) == []


@pytest.mark.parametrize("name", ["label_parsl.toml", "ensemble_parsl.toml"])
def test_the_shipped_examples_are_valid(name):
    path = Path(mmtp.__file__).parents[1] / "scripts" / "slurm" / name
    if not path.exists():
        pytest.skip("the scripts are not installed with the package")
    assert settings_of(path).place == "slurm"
