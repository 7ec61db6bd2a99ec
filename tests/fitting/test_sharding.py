"""A data set on several devices, and in several processes, gives the fit of a single one.

The devices are virtual ones of the CPU, so this needs processes of its own: `shard_worker`.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from mmtp_jax.fitting.options import FitOptions
from mmtp_jax.fitting.sharding import balanced, mesh_of

WORKER = Path(__file__).with_name("shard_worker.py")
N_DEVICES = 4


@pytest.fixture(scope="module")
def run_worker(tmp_path_factory):
    """run(n_processes): results of each process, N_DEVICES together."""

    def run(n: int) -> list[dict]:
        folder = tmp_path_factory.mktemp(f"processes-{n}")
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": str(N_DEVICES // n),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        processes = [
            subprocess.Popen(
                [sys.executable, WORKER, folder, str(n), str(rank), str(port)],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank in range(n)
        ]
        try:
            outputs = [process.communicate(timeout=300)[0] for process in processes]
        finally:
            for process in processes:
                process.kill()
        for process, output in zip(processes, outputs, strict=True):
            assert process.returncode == 0, output[-3000:]
        found = [json.loads((folder / f"found-{k}.json").read_text()) for k in range(n)]
        files = sorted(path.name for path in folder.iterdir())
        return [of | {"files": files, "folder": str(folder)} for of in found]

    return run


@pytest.fixture(scope="module")
def devices(run_worker) -> dict:
    """What one process with four devices found."""
    return run_worker(1)[0]


@pytest.fixture(scope="module")
def pair(run_worker) -> list[dict]:
    """What each of two processes with two devices found."""
    return run_worker(2)


def test_the_devices_are_there(devices):
    assert devices["devices"] == N_DEVICES


def test_sums_over_the_shards_are_those_of_one_device(devices):
    assert set(devices["sums"]) >= {"loss", "gradient", "normal matrix", "linear matrix"}
    for name, deviation in devices["sums"].items():
        assert deviation < 1e-12, name


@pytest.mark.parametrize("method", ["lbfgs", "gauss-newton"])
def test_a_fit_on_several_devices_is_that_on_one(devices, method):
    one, many = (devices["fits"][f"{method} {n}"] for n in (1, "all"))
    assert one["history"][-1] < one["history"][0]
    # Round-off grows with the steps; the first loss is that of the least-squares start.
    np.testing.assert_allclose(many["history"], one["history"], rtol=1e-9)
    assert many["history"][0] == pytest.approx(one["history"][0], rel=1e-11)
    assert many["forces"] == pytest.approx(one["forces"], rel=1e-7)
    assert 0.2 < many["fill"] <= 1.0


def test_a_fit_on_several_devices_compiles_one_step(devices):
    assert devices["fits"]["lbfgs all"]["steps compiled"] == 1


def test_a_checkpoint_goes_on_on_other_devices(devices):
    assert devices["resumed"] < 1e-8


def test_two_processes_fit_together(pair, devices):
    first, second = pair
    assert first["devices"] == second["devices"] == N_DEVICES
    for method in ("lbfgs", "gauss-newton"):
        own, other = (found["fits"][f"{method} None"] for found in (first, second))
        assert own["history"] == other["history"]
        assert own["theta"] == other["theta"]
        assert own["forces"] == other["forces"]
        alone = devices["fits"][f"{method} 1"]
        np.testing.assert_allclose(own["history"], alone["history"], rtol=1e-9)
        assert own["forces"] == pytest.approx(alone["forces"], rel=1e-7)
        # Both were told to keep a checkpoint of their own; only the first does.
        assert f"{method}-0.npz" in first["files"]
        assert f"{method}-1.npz" not in first["files"]


def test_the_command_writes_and_prints_once(pair):
    first, second = pair
    assert second["printed"] == ""
    assert f"2 processes with {N_DEVICES} devices (cpu)" in first["printed"]
    assert first["printed"].count("stopped after 3 iterations") == 1
    for name in ("pot.mtp", "report.json", "history.csv"):
        assert name in first["files"]
        assert f"wrote {first['folder']}/{name}" in first["printed"]
    # Nobody else wrote a second one, which would have kept the first as a copy.
    assert not [name for name in first["files"] if name.endswith(".bak")]


# --- parts and devices --------------------------------------------------------------


def test_parts_are_even_whatever_the_sizes():
    rng = np.random.default_rng(1)
    sizes = rng.integers(2, 55, 200)
    parts = balanced(sizes, 8)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(200))
    loads = [sizes[part].sum() for part in parts]
    assert max(loads) - min(loads) <= sizes.min() + 5
    assert [len(part) for part in balanced([3, 3], 4)] == [1, 1, 0, 0]


def test_devices_that_are_not_there_are_an_error():
    assert mesh_of(None) is None
    assert mesh_of(1) is None
    n = len(jax.devices())
    with pytest.raises(ValueError, match=rf"{n + 1} devices were asked for.*JAX_NUM_CPU_DEVICES"):
        mesh_of(n + 1)
    for wrong in (0, -1, "two", 1.5, True):
        with pytest.raises(ValueError, match="a positive number or all"):
            FitOptions(devices=wrong)
