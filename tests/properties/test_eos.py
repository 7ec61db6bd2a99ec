"""Birch-Murnaghan against its closed form and ASE, equations of state at rest and in motion."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.eos import EquationOfState as OfASE

import mmtp_jax as mmtp
from mmtp_jax.fitting.confine import with_confinement
from mmtp_jax.properties.birch_murnaghan import NoMinimumError, fit_energies, fit_pressures
from mmtp_jax.simulation.constants import GPA

V0, E0, B0, DERIVATIVE = 11.4, -3385.9, 190.0, 5.3


def _energies(volumes) -> np.ndarray:
    """Birch 1947, as printed."""
    x = (V0 / volumes) ** (2 / 3)
    inner = (x - 1) ** 3 * DERIVATIVE + (x - 1) ** 2 * (6 - 4 * x)
    return E0 + 9 * V0 * B0 * GPA / 16 * inner


def _pressures(volumes) -> np.ndarray:
    x = (V0 / volumes) ** (1 / 3)
    return 1.5 * B0 * (x**7 - x**5) * (1 + 0.75 * (DERIVATIVE - 4) * (x**2 - 1))


def test_a_birch_murnaghan_solid_is_found_again() -> None:
    volumes = V0 * np.linspace(0.92, 1.10, 7)
    by_energy, by_pressure = (
        fit_energies(volumes, _energies(volumes)),
        fit_pressures(volumes, _pressures(volumes)),
    )
    for found in (by_energy, by_pressure):
        assert found.volume == pytest.approx(V0, rel=1e-6)
        assert found.bulk_modulus == pytest.approx(B0, rel=1e-4)
        assert found.bulk_derivative == pytest.approx(DERIVATIVE, rel=1e-3)
        assert np.allclose(found.pressures(volumes), _pressures(volumes), atol=1e-2)
        assert found.rms < 1e-6
    assert by_energy.energy == pytest.approx(E0, abs=1e-9)
    assert np.allclose(by_energy.energies(volumes), _energies(volumes), atol=1e-8)
    assert np.isnan(by_pressure.energy)


def test_data_without_a_minimum_are_refused() -> None:
    volumes = V0 * np.linspace(1.03, 1.2, 6)
    with pytest.raises(NoMinimumError, match=r"no minimum between .*it would be at 11\.4"):
        fit_energies(volumes, _energies(volumes))
    with pytest.raises(ValueError, match="4 or more different volumes"):
        fit_energies(volumes[[0, 0, 1, 2]], np.zeros(4))


def test_at_rest(iron, ferromagnet) -> None:
    atoms = ferromagnet.copy()
    done = []
    found = mmtp.equation_of_state(
        iron, atoms, np.linspace(0.99, 1.01, 7), callback=done.append, max_steps=5
    )
    assert found.counts.all()
    assert done[-1] == 7
    a0 = ferromagnet.cell.lengths()[0]
    assert found.lattice_parameter() == pytest.approx(a0, abs=2e-4)
    assert found.moment == pytest.approx(ferromagnet.get_initial_magnetic_moments()[0], abs=2e-3)
    # The relaxed second derivative at the minimum, by another route.
    elastic = mmtp.elastic_constants(iron, ferromagnet, relax=False)
    assert found.fit.bulk_modulus == pytest.approx(elastic.averages.bulk, rel=5e-3)
    other = OfASE(found.volumes, found.energies, eos="birchmurnaghan")
    volume, energy, modulus = other.fit()
    assert volume == pytest.approx(found.fit.volume, rel=1e-5)
    assert energy == pytest.approx(found.fit.energy, abs=1e-5)
    assert modulus / GPA == pytest.approx(found.fit.bulk_modulus, rel=1e-3)
    # Pressures are the derivatives of the energies.
    slope = np.gradient(found.energies, found.volumes, edge_order=2)
    assert np.allclose(found.pressures[1:-1], -slope[1:-1] / GPA, atol=0.1)
    assert np.all(np.diff(found.moments) > 0)
    assert np.array_equal(atoms.cell.array, ferromagnet.cell.array)


def test_without_a_minimum_all_but_the_fit_is_there(iron, ferromagnet) -> None:
    scales = np.linspace(1.02, 1.05, 4)
    found = mmtp.equation_of_state(iron, ferromagnet, scales)
    whole = mmtp.equation_of_state(iron, ferromagnet, (0.98, *scales))
    assert found.fit is None
    for name in ("energies", "pressures", "moments"):
        assert np.array_equal(getattr(found, name), getattr(whole, name)[1:])
    assert np.all(found.pressures < 0)
    assert "4 volumes at 0 K, no fit: the equation of state has no minimum" in str(found)
    with pytest.raises(NoMinimumError, match="no minimum between the volumes"):
        found.lattice_parameter()
    with pytest.raises(NoMinimumError, match="no minimum between the volumes"):
        _ = found.moment


def test_with_few_volumes_that_count_there_is_no_fit(running_iron) -> None:
    """Moments grow with the volume, and leave what is covered: those volumes do not count."""
    c = np.array(running_iron.radial_coeffs)
    c[:, :, 0, 0, 2, 0] = -0.034
    potential = with_confinement(running_iron.replace(radial_coeffs=c))
    crystal = bulk("Fe", a=2.8, cubic=True)
    crystal.set_initial_magnetic_moments([2.5, 2.5])
    found = mmtp.equation_of_state(potential, crystal, np.linspace(0.95, 1.08, 6))
    assert 0 < found.counts.sum() < 4
    assert np.array_equal(found.counts, found.moments <= 3.0)
    assert found.fit is None
    assert "is at the end of the interval" in found.no_fit
    assert f"only {found.counts.sum()} of 6 volumes count" in str(found)
    assert np.isfinite(found.energies).all()


def test_in_motion(iron, ferromagnet) -> None:
    atoms = ferromagnet.repeat(2)
    steps = []
    found = mmtp.equation_of_state(
        iron, atoms, (0.985, 1.0, 1.015, 1.03), temperature_K=1.0, n_steps=120, n_thermalise=40,
        callback=steps.append,
    )  # fmt: skip
    assert steps[-1] == 120
    cold = mmtp.equation_of_state(iron, ferromagnet, (0.985, 1.0, 1.015, 1.03))
    # At 1 K, dynamics is the crystal at rest.
    assert np.allclose(found.pressures, cold.pressures, atol=0.15)
    assert np.allclose(found.moments, cold.moments, atol=5e-3)
    assert np.allclose(found.volumes, cold.volumes)
    assert found.lattice_parameter() == pytest.approx(cold.lattice_parameter(), abs=5e-3)
    assert np.all(found.pressure_errors > 0)
    assert np.all(found.pressure_errors < 0.2)
    assert found.temperature_K == 1.0


def test_states_that_are_lost_do_not_count(iron) -> None:
    atoms = bulk("Fe", a=2.83, cubic=True)
    atoms.set_initial_magnetic_moments([1.5, -1.4])
    with pytest.raises(ValueError, match=r"only \d of 4 volumes count.*have vanished"):
        mmtp.equation_of_state(iron, atoms, (0.96, 0.97, 0.98, 0.99))
    with pytest.raises(ValueError, match="four or more different positive"):
        mmtp.equation_of_state(iron, atoms, (1.0, 1.01))
    with pytest.raises(ValueError, match="fewer than 8 samples"):
        mmtp.equation_of_state(iron, atoms, temperature_K=300, n_steps=20)
