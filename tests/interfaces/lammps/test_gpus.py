"""Which GPU is whose, and how much of its memory, on machines that are not here."""

import os
from pathlib import Path

import jax
import pytest
from jaxlib import xla_client

from mmtp_jax.interfaces.lammps import gpus
from mmtp_jax.interfaces.lammps.gpus import place_of, share_gpus


@pytest.mark.parametrize(
    ("seen", "n_installed", "expected"),
    [
        ([None] * 4, 2, [(0, 2), (1, 2), (0, 2), (1, 2)]),
        ([None] * 3, 2, [(0, 2), (1, 1), (0, 2)]),
        (["2,3"] * 3, 8, [(0, 2), (1, 1), (0, 2)]),
        # A queue has given each its own.
        (["0", "1"], 2, [(0, 1), (0, 1)]),
        (["0", "0", "1"], 2, [(0, 2), (0, 2), (0, 1)]),
        ([None] * 2, 0, [(None, 0)] * 2),
        (["", ""], 4, [(None, 0)] * 2),
    ],
)
def test_ranks_take_turns_and_share(seen, n_installed, expected) -> None:
    assert [place_of(k, seen, n_installed) for k in range(len(seen))] == expected


def test_it_is_said_before_jax_starts_and_what_users_say_stays(monkeypatch) -> None:
    MPI = pytest.importorskip("mpi4py.MPI")
    said = {}
    monkeypatch.setattr(jax.config, "update", said.__setitem__)
    for name in (gpus.VISIBLE, gpus.FRACTION, *gpus._OTHERS):
        monkeypatch.delenv(name, raising=False)
    share_gpus(MPI.COMM_SELF)
    assert not said
    assert gpus.FRACTION not in os.environ

    monkeypatch.setattr(gpus, "_n_installed", lambda: 2)
    monkeypatch.setenv(gpus.FRACTION, "")
    monkeypatch.delenv(gpus.FRACTION)
    share_gpus(MPI.COMM_SELF)
    assert said == {"jax_cuda_visible_devices": "0"}
    assert os.environ[gpus.FRACTION] == "0.750"
    monkeypatch.setenv(gpus.FRACTION, "0.3")
    share_gpus(MPI.COMM_SELF)
    assert os.environ[gpus.FRACTION] == "0.3"


def test_names_are_those_of_jax() -> None:
    jax.config.update("jax_cuda_visible_devices", "all")
    text = Path(xla_client.__file__).read_text(encoding="utf-8")
    for name in (gpus.FRACTION, *gpus._OTHERS):
        assert name in text
