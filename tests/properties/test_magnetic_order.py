"""The strongest wave of a magnetic state."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

import mmtp_jax as mmtp


@pytest.fixture
def cube() -> Atoms:
    return bulk("CrN", "rocksalt", a=4.13, cubic=True).repeat(2)


def _with(atoms: Atoms, signs: np.ndarray) -> Atoms:
    found = atoms.copy()
    found.set_initial_magnetic_moments(np.where(atoms.symbols == "Cr", 2.6 * signs, 0.0))
    return found


def _layers(atoms: Atoms) -> np.ndarray:
    """(n, 3) positions in halves of the lattice parameter."""
    return np.rint(atoms.positions / (0.5 * 4.13)).astype(int)


def test_orders_of_rock_salt(cube) -> None:
    x, y, z = _layers(cube).T
    for signs, q in (
        (np.ones(len(cube)), (0, 0, 0)),
        ((-1.0) ** z, (0, 0, 1)),
        (np.where((x + y) % 4 < 2, 1.0, -1.0), (0.5, 0.5, 0)),
        ((-1.0) ** ((x + y + z) // 2), (0.5, 0.5, 0.5)),
    ):
        wave = mmtp.strongest_wave(_with(cube, signs))
        np.testing.assert_allclose(wave.q, q, atol=1e-6)
        assert wave.share == pytest.approx(1.0)


def test_shares_of_two_orders(cube) -> None:
    """Moments 2 and 1 on alternate layers along z: 3/2 of all, and 1/2 from layer to layer."""
    z = _layers(cube)[:, 2]
    wave = mmtp.strongest_wave(_with(cube, np.where(z % 2, 1.0, 2.0)))
    np.testing.assert_allclose(wave.q, 0.0, atol=1e-6)
    assert wave.share == pytest.approx(1.5**2 / (1.5**2 + 0.5**2))
    assert str(wave) == "(0 0 0) 90 %"


def test_spirals_displaced_atoms_and_strains() -> None:
    """Of three axes that are equal but for a strain, it is one."""
    rng = np.random.default_rng(seed := 5)
    atoms = bulk("Fe", cubic=True).repeat((4, 1, 1))
    turn = 2.0 * np.pi * atoms.positions[:, 0] / 2.87 / 4
    atoms.positions += rng.normal(0.0, 0.05, atoms.positions.shape)
    atoms.set_cell(atoms.cell * [1.01, 0.99, 1.0], scale_atoms=True)
    spiral = 2.2 * np.stack([np.cos(turn), np.sin(turn), 0.0 * turn], axis=1)
    del atoms.arrays["initial_magmoms"]
    atoms.set_initial_magnetic_moments(spiral)
    wave = mmtp.strongest_wave(atoms)
    np.testing.assert_allclose(np.sort(wave.q), [0, 0, 0.25], atol=1e-6, err_msg=f"seed {seed}")
    assert wave.share == pytest.approx(1.0)


def test_disorder_has_no_large_share(cube) -> None:
    rng = np.random.default_rng(seed := 3)
    shares = [
        mmtp.strongest_wave(_with(cube, rng.choice([-1.0, 1.0], len(cube)))).share for _ in range(5)
    ]
    assert 1 / 20 < max(shares) < 0.5, f"seed {seed}"
    assert mmtp.strongest_wave(_with(cube, np.ones(len(cube)))).n_waves == 20


def test_where_there_is_no_wave(cube) -> None:
    assert mmtp.strongest_wave(cube) is None
    one = bulk("Fe")
    one.set_initial_magnetic_moments([2.2])
    assert mmtp.strongest_wave(one) is None
    cube.pbc = (True, True, False)
    with pytest.raises(ValueError, match="periodic in three directions"):
        mmtp.strongest_wave(_with(cube, np.ones(len(cube))))
