"""Quasi-harmonic thermodynamics of a crystal whose answers are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("phonopy")

from mmtp_jax.properties.crystal import Crystal, phonopy_of
from mmtp_jax.properties.phonon_results import Phonons
from mmtp_jax.properties.quasiharmonic_fit import VolumeRangeWarning, quasi_harmonic
from mmtp_jax.properties.response import UnstableStateError
from mmtp_jax.simulation.constants import GPA, KB
from mmtp_jax.structures.structure import Structure

GAMMA, BULK_GPA, VOLUME, SPRING = 2.0, 150.0, 12.0, 3.0


def _crystal(volume: float, spring: float = SPRING) -> Phonons:
    """Simple cubic with springs to the nearest neighbours along all axes; omega ~ V^-gamma."""
    cell = np.eye(3) * volume ** (1 / 3)
    structure = Structure(cell, np.ones(3, bool), np.zeros((1, 3)), np.zeros(1, int), np.zeros(1))
    phonopy = phonopy_of(Crystal(structure, ("Fe",), np.array([55.845])), np.diag([3, 3, 3]))
    positions = np.rint(phonopy.supercell.scaled_positions * 3).astype(int)
    k = spring * (volume / VOLUME) ** (-2 * GAMMA)
    constants = np.zeros((27, 27, 3, 3))
    for i, p in enumerate(positions):
        for axis in range(3):
            for step in (1, -1):
                q = p.copy()
                q[axis] = (q[axis] + step) % 3
                j = int(np.flatnonzero((positions == q).all(axis=1))[0])
                constants[i, j] -= k * np.eye(3)
                constants[i, i] += k * np.eye(3)
    phonopy.force_constants = constants
    # Quadratic in the volume.
    energy = 0.5 * BULK_GPA * GPA * (volume - VOLUME) ** 2 / VOLUME
    return Phonons(phonopy, energy, volume, np.zeros(1), "equilibrate", 0.0, name="toy")


@pytest.fixture(scope="module")
def crystals():
    return [_crystal(VOLUME * x) for x in np.linspace(0.97, 1.06, 8)]


def test_expansion_of_a_known_grueneisen_parameter(crystals) -> None:
    t = np.arange(0, 801, 20)
    found = quasi_harmonic(crystals, t, mesh=(8, 8, 8))
    assert found.temperatures == pytest.approx(t)
    warm = found.temperatures >= 100
    assert found.gruneisen[warm] == pytest.approx(GAMMA, rel=0.03)
    # Classical: F = 3 k_B T ln omega, dF/dV = -3 gamma k_B T / V; quanta add two per cent.
    last = found.temperatures[-1]
    thermal = 3 * GAMMA * KB * last
    pressure = thermal / found.volume[-1]
    elastic = BULK_GPA * GPA * (found.volume[-1] - VOLUME) / VOLUME
    assert elastic == pytest.approx(pressure, rel=0.03)
    numeric = np.gradient(np.log(found.volume), found.temperatures)[1:-1] / 3
    assert found.expansion[2:-1] == pytest.approx(numeric[1:], rel=0.02, abs=1e-7)
    assert found.heat_capacity[-1] > 3.0
    assert found.heat_capacity[-1] == pytest.approx(3.0, abs=0.3)
    at = found.at(310.0)
    assert found.at(300.0)["volume"] < at["volume"] < found.at(320.0)["volume"]
    with pytest.raises(ValueError, match="not between"):
        found.at(2000.0)
    assert "alpha" in str(found)


def test_pressure_compresses(crystals) -> None:
    t = [0, 100, 200, 300]
    free, pressed = (
        quasi_harmonic(crystals, t, mesh=(6, 6, 6), pressure_GPa=p) for p in (0.0, 2.0)
    )
    ratio = (free.volume[2] - pressed.volume[2]) / free.volume[2]
    assert ratio == pytest.approx(2.0 / free.bulk_modulus[2], rel=0.05)


def test_what_is_refused(crystals) -> None:
    with pytest.raises(ValueError, match="needs 5 volumes"):
        quasi_harmonic(crystals[:4], [0, 100, 200])
    with pytest.raises(ValueError, match="three different temperatures"):
        quasi_harmonic(crystals, [0, 100])
    with pytest.raises(ValueError, match="eos must be"):
        quasi_harmonic(crystals, [0, 100, 200], eos="cubic")
    unstable = [*crystals[:-1], _crystal(VOLUME * 1.06, spring=-1.0)]
    with pytest.raises(UnstableStateError, match=r"imaginary modes at 12\.72 Angstrom"):
        quasi_harmonic(unstable, [0, 100, 200], mesh=(4, 4, 4))
    with pytest.warns(VolumeRangeWarning, match="take larger volumes"):
        found = quasi_harmonic(crystals[:5], np.arange(0, 3001, 100), mesh=(4, 4, 4))
    assert found.volume[-1] <= found.volumes[-1]
    assert found.temperatures[-1] < 3000


def test_energies_of_all_electrons_leave_no_noise(crystals) -> None:
    """A constant that is large against what the volume changes moves the free energy, no more."""
    t = np.arange(0, 401, 10)
    high, low = (
        quasi_harmonic([replace(c, energy=c.energy + e) for c in crystals], t, mesh=(6, 6, 6))
        for e in (0.0, -3e4)
    )
    assert low.free_energy + 3e4 == pytest.approx(high.free_energy, abs=1e-7)
    assert low.free_energies + 3e4 == pytest.approx(high.free_energies, abs=1e-7)
    assert low.volume == pytest.approx(high.volume, rel=1e-9)
    assert low.expansion == pytest.approx(high.expansion, abs=1e-11)
    # Smooth: no second difference is of the size of the whole.
    assert np.abs(np.diff(high.expansion, 2)[3:]).max() < 0.05 * high.expansion.max()
