"""A real SLURM of one node on this machine: labels, ensembles, a job that meets its time limit.

Needs the Debian packages slurm-wlm and munge. Controller, node and munge run for the tests only, on
the loopback address, with files in a temporary folder.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from getpass import getuser
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax.interfaces.executors import ExecutorSettings

SCRIPTS = Path(mmtp.__file__).parents[1] / "scripts" / "slurm"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
SEARCH = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"
FAILED = re.compile("FAILED|CANCELLED|TIMEOUT|NODE_FAIL|OUT_OF_MEMORY")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(shutil.which(name, path=SEARCH) is None for name in PROGRAMS),
        reason="SLURM is not installed (Debian packages slurm-wlm and munge)",
    ),
    pytest.mark.skipif(not SCRIPTS.is_dir(), reason="scripts are not installed with the package"),
]


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[None]:
    """One node, two cores; the environment says where it is, and that workers find this package."""
    # The path of a socket may have 107 characters.
    folder = Path(tmp_path_factory.mktemp("slurm"))
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    lines = {
        "ClusterName": "test",
        "SlurmctldHost": "localhost(127.0.0.1)",
        "SlurmUser": getuser(),
        "SlurmdUser": getuser(),
        "SlurmctldPort": _port(),
        "SlurmdPort": _port(),
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={folder}/socket",
        "StateSaveLocation": folder / "state",
        "SlurmdSpoolDir": folder / "spool",
        "SlurmctldPidFile": folder / "slurmctld.pid",
        "SlurmdPidFile": folder / "slurmd.pid",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "MpiDefault": "none",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core",
        "SlurmdParameters": "config_overrides",
        "KillWait": 1,
        "NodeName": "localhost NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN",
        "PartitionName": "short Nodes=localhost Default=YES MaxTime=60 State=UP",
    }
    conf = folder / "slurm.conf"
    conf.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
    commands = (
        ["munged", "-F", "--force", f"--key-file={key}", f"--socket={folder}/socket",
         f"--log-file={folder}/munged.log", f"--pid-file={folder}/munged.pid",
         f"--seed-file={folder}/seed"],
        ["slurmctld", "-D"],
        ["slurmd", "-D", "-N", "localhost"],
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(conf))
        patch.setenv("PATH", SEARCH)
        patch.setenv("PYTHONPATH", str(Path(mmtp.__file__).parents[1]))
        patch.setenv("JAX_PLATFORMS", "cpu")
        patch.setenv("OMP_NUM_THREADS", "1")
        daemons = []
        try:
            for command in commands:
                log = (folder / f"{command[0]}.out").open("wb")
                daemons.append(subprocess.Popen(command, stdout=log, stderr=log))
                time.sleep(1.0)
            _until(lambda: "idle" in _said("sinfo", "-h", "-o", "%T"), 60, folder)
            yield
            _said("scancel", "--user", getuser())
        finally:
            for daemon in reversed(daemons):
                daemon.terminate()
                try:
                    daemon.wait(30)
                except subprocess.TimeoutExpired:
                    daemon.kill()


def _said(*command: str) -> str:
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return run.stdout + run.stderr


def _until(holds, seconds: float, folder: Path) -> None:
    """Wait; in vain, show what the logs of the folder say."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            logs = [*folder.glob("*.log"), *folder.glob("*.out")]
            pytest.fail("\n".join(f"{p.name}: {p.read_text()[-2000:]}" for p in logs))
        time.sleep(1.0)


def _submitted(*words: str) -> str:
    """Number of the job."""
    return re.search(r"job (\d+)", _said("sbatch", *words)).group(1)


def _state(job: str) -> str:
    found = re.search(r"JobState=(\w+)", _said("scontrol", "show", "job", job))
    return found.group(1) if found else "gone"


def _wait(job: str, seconds: float, folder: Path) -> None:
    """Until the job is over, and that it went well."""

    def over() -> bool:
        state = _state(job)
        assert not FAILED.search(state), "\n".join(p.read_text() for p in folder.glob("*.log"))
        return state == "COMPLETED"

    _until(over, seconds, folder)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def potential(iron):
    return iron


@pytest.fixture(scope="module")
def cells():
    found = []
    for seed in range(4):
        atoms = bulk("Fe", cubic=True)
        atoms.rattle(0.04, seed=seed)
        atoms.set_initial_magnetic_moments([2.2, 1.8 + 0.1 * seed])
        found.append(atoms)
    return found


@pytest.mark.skipif(find_spec("executorlib") is None, reason="executorlib is not installed")
def test_labels_by_steps_of_a_job(cluster, folder, potential, cells):
    mmtp.save("teacher.mtp", potential)
    mmtp.write("cells.extxyz", cells)
    Path("oracle.toml").write_text(
        'code = "potential"\n[potential]\npath = "teacher.mtp"\nspecies = ["Fe"]\n'
    )
    job = _submitted(
        "--nodes=1", "--ntasks=2", "--cpus-per-task=1", "--time=10",
        str(SCRIPTS / "label_executorlib.sh"), "cells.extxyz", "oracle.toml", "labels.extxyz",
    )  # fmt: skip
    _wait(job, 400, folder)
    labels = mmtp.read("labels.extxyz")
    expected = mmtp.evaluate(potential, cells)
    assert len(labels) == len(cells)
    for atoms, result in zip(labels, expected, strict=True):
        assert atoms.get_potential_energy() == pytest.approx(result.energy, abs=1e-7)
        np.testing.assert_allclose(atoms.get_forces(), result.forces, atol=1e-7)


@pytest.mark.skipif(find_spec("parsl") is None, reason="parsl is not installed")
def test_an_ensemble_by_jobs_that_parsl_submits(cluster, folder, potential, cells):
    mmtp.save("teacher.mtp", potential)
    answers = mmtp.label_all(mmtp.PotentialOracle("teacher.mtp"), cells, folder / "jobs").labelled
    data = [answer.atoms for answer in answers]
    options = {"n": 2, "max_iterations": 2, "seed": 3}
    settings = ExecutorSettings(
        "parsl", "slurm", workers=2, partition="short", time="00:10:00", folder=str(folder),
        options=("#SBATCH --comment=ensemble",), setup="export WAS_SET_UP=yes",
    )  # fmt: skip
    with mmtp.executor(settings) as executor:
        assert executor.submit(os.getenv, "WAS_SET_UP").result(timeout=300) == "yes"
        found = mmtp.fit_ensemble(potential, data, executor=executor, **options)
        jobs = _said("scontrol", "show", "jobs")
    here = mmtp.fit_ensemble(potential, data, **options)
    for fit, expected in zip(found.fits, here.fits, strict=True):
        np.testing.assert_allclose(fit.history, expected.history, rtol=1e-9)
    assert "Comment=ensemble" in jobs
    assert "TimeLimit=00:10:00" in jobs


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, cluster, potential, cells) -> Path:
    """Folder with input, and output of dynamics that ran in one go."""
    folder = tmp_path_factory.mktemp("dynamics")
    mmtp.save(folder / "pot.mtp", potential)
    mmtp.write(folder / "start.extxyz", cells[0] * (4, 4, 4))
    (folder / "md.toml").write_text(DYNAMICS)
    subprocess.run(["mmtp", "md", "--settings", "md.toml"], cwd=folder, check=True, timeout=1200)
    return folder


# Long enough for a minute to be over before the end, whatever the machine.
DYNAMICS = """\
command = "md"
[input]
potential = "pot.mtp"
start = ["start.extxyz"]
[dynamics]
ensemble = "nvt"
temperature_K = [100.0]
steps = 100000
[output]
trajectory = "run.extxyz"
trajectory_every = 5000
log = "run.csv"
log_every = 1000
checkpoint = "md.npz"
checkpoint_every = 2000
"""
# A program that does not answer SIGTERM, and is stopped where it has a checkpoint: SLURM wakes it
# at its limit, and kills it.
DEAF = """\
#!/bin/bash
if [ -n "$SLURM_RESTART_COUNT" ]; then
    exec mmtp md --settings md.toml --resume
fi
trap '' TERM
mmtp md --settings md.toml --resume &
until [ -e md.npz ]; do sleep 0.1; done
kill -STOP $!
wait $!
"""


@pytest.mark.parametrize("kind", ["told before its limit", "killed at its limit"])
def test_dynamics_over_several_jobs_end_with_the_same_numbers(kind, folder, uninterrupted):
    for name in ("pot.mtp", "start.extxyz", "md.toml"):
        shutil.copy(uninterrupted / name, folder)
    words = ["--ntasks=1", "--cpus-per-task=1", "--time=1", "--output=job.log"]
    if kind == "told before its limit":
        # The script puts its job into the queue again.
        job = _submitted(*words, "--signal=B:TERM@20", str(SCRIPTS / "md_requeued.sh"))
        _wait(job, 1500, folder)
    else:
        # SIGTERM at the limit, SIGKILL after KillWait.
        Path("job.sh").write_text(DEAF)
        job = _submitted(*words, "--open-mode=append", "job.sh")
        for _ in range(20):
            _until(lambda: _state(job) in ("TIMEOUT", "COMPLETED"), 600, folder)
            if _state(job) == "COMPLETED":
                break
            _said("scontrol", "requeue", job)
    assert int(re.search(r"Restarts=(\d+)", _said("scontrol", "show", "job", job)).group(1)) >= 1
    for name in ("run.csv", "run.extxyz"):
        assert Path(name).read_bytes() == (uninterrupted / name).read_bytes()
