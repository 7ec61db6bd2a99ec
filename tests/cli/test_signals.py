"""Ctrl-C and SIGTERM, sent to real processes: exit status, what is kept, and that children end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax.io.lock import locked

PATIENCE = 120.0
"""Seconds after which a process that does not end is killed."""

COMMANDS = {
    "fit": (
        "fit start.extxyz --level 2 --species Fe --radial-size 3 --cutoff 4.2 --tolerance 1e-300 "
        "--max-iterations 10000000 --checkpoint fit.npz -o pot.mtp",
        "/10000000 ",
        ("fit.npz", "pot.mtp"),
    ),
    "md": (
        "md fe.mtp start.extxyz --moments fixed --steps 10000000 --resume --checkpoint md.npz "
        "-o run.extxyz",
        "/10000000 ",
        ("md.npz", "run.0.extxyz"),
    ),
    "montecarlo": (
        "montecarlo fe.mtp start.extxyz --temperatures 600 --sweeps 10000000 --moments fixed "
        "--checkpoint mc.npz",
        "sweeps of",
        ("mc.npz",),
    ),
    "learn": ("learn learn.toml", "fit to", ("loop/state.json",)),
}

LEARN = """\
command = "learn"
[data]
files = ["start.extxyz"]
[potential]
level = 2
species = ["Fe"]
radial_size = 3
cutoff = 4.2
[oracle]
potential = "fe.mtp"
[fit]
max_iterations = 10000000
tolerance = 1e-300
[[simulation]]
name = "moments"
kind = "equilibrate"
start = ["start.extxyz"]
[loop]
folder = "loop"
"""


@pytest.fixture
def folder(iron_file, tmp_path) -> Path:
    """A folder with a labelled start, a potential, and settings."""
    atoms_list = [bulk("Fe", cubic=True, a=a) for a in (2.8, 2.9)]
    potential = mmtp.load(iron_file)
    for k, atoms in enumerate(atoms_list):
        atoms.rattle(0.05, seed=k)
        atoms.set_initial_magnetic_moments([2.2, 2.0])
        atoms.calc = mmtp.MMTPCalculator(potential)
        atoms.get_potential_energy()
        atoms.get_forces()
    mmtp.write(tmp_path / "start.extxyz", atoms_list)
    (tmp_path / "fe.mtp").write_bytes(iron_file.read_bytes())
    (tmp_path / "learn.toml").write_text(LEARN)
    return tmp_path


@pytest.fixture
def interrupted(folder):
    """interrupted(words, line, number): runs ``mmtp``, and sends a signal after such a line."""
    running = []

    def of(words: str, line: str, number: int, wait=lambda: None) -> SimpleNamespace:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "mmtp_jax", *words.split()],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder,
        )  # fmt: skip
        running.append(process)
        said = []
        for text in process.stdout if line else ():
            said.append(text)
            if line in text:
                break
        wait()
        process.send_signal(number)
        said.append(process.communicate(timeout=PATIENCE)[0])
        return SimpleNamespace(status=process.returncode, out="".join(said))

    yield of
    for process in running:
        process.kill()


@pytest.mark.parametrize(
    ("name", "number"), list(zip(COMMANDS, 2 * [signal.SIGTERM, signal.SIGINT], strict=True))
)
def test_a_signal_ends_a_command_that_keeps_what_was_done(
    read_back, interrupted, folder, name, number
) -> None:
    words, line, files = COMMANDS[name]
    found = interrupted(words, line, number)
    assert found.status == 128 + number, found.out
    assert "Traceback" not in found.out
    for file in files:
        assert read_back(folder / file), found.out
    assert not list(folder.rglob(".tmp-*"))
    # Nobody holds the lock of a process that is gone.
    with locked(folder / "loop" if name == "learn" else folder / f"{name}.npz"):
        pass


DATASET = """<?xml version="1.0"?>
<paw_setup version="0.6">
  <atom symbol="Fe" Z="26" core="18.0" valence="8"/>
  <valence_states><state n="4" l="0" f="2"  rc="2.0" e="-0.19444" id="Fe-4s"/></valence_states>
  <radial_grid eq="r=a*i/(n-i)" a="0.400000" n="600" istart="0" iend="599" id="g1"/>
</paw_setup>
"""


@pytest.fixture
def hanging(folder):
    """An ABINIT that never ends; pids() of those that run."""
    program = folder / "abinit"
    program.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && { echo 9.6.2; exit; }\n'
        f"echo $$ > {folder}/pid-$$\nexec sleep 3000\n"
    )
    program.chmod(0o755)
    (folder / "Fe.xml").write_text(DATASET)
    (folder / "abinit.toml").write_text(
        f'code = "abinit"\n[abinit]\ndatasets = {{Fe = "{folder / "Fe.xml"}"}}\necut_Ha = 10.0\n'
        f'kspacing = 0.5\nradii_bohr = {{Fe = 2.1}}\nexecutable = "{program}"\n'
    )
    (folder / "executor.toml").write_text('[executor]\nkind = "local"\nworkers = 2\n')

    def pids() -> list[int]:
        found = [int(path.name[4:]) for path in folder.glob("pid-*")]
        return [pid for pid in found if Path(f"/proc/{pid}").exists()]

    return pids


def _until(condition) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a list of processes")
@pytest.mark.parametrize(
    ("where", "number"),
    [
        ("", signal.SIGTERM),
        ("--workers 2", signal.SIGINT),
        ("--executor executor.toml", signal.SIGTERM),
    ],
)
def test_a_signal_ends_the_jobs_of_label(interrupted, folder, hanging, where, number) -> None:
    n_jobs = 2 if where else 1
    refused = []

    def wait() -> None:
        _until(lambda: len(hanging()) == n_jobs)
        try:
            with locked(folder / "jobs"):
                pass
        except ValueError as error:
            refused.append(str(error))

    words = f"label start.extxyz --oracle abinit.toml -o labelled.cfg --jobs jobs {where}"
    found = interrupted(words, "", number, wait)
    assert found.status == 128 + number, found.out
    assert "Traceback" not in found.out
    assert "is in use by process" in refused[0]
    _until(lambda: not hanging())
    with locked(folder / "jobs"):
        pass
