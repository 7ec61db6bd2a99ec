"""Replicas: units, temperatures, and what must agree between them."""

import ase.units
import numpy as np
import pytest

from mmtp_jax.simulation import constants
from mmtp_jax.simulation.system import (
    degrees_of_freedom,
    kinetic_energy,
    kinetic_tensor,
    system_of,
    temperatures,
    thermal_velocities,
    volumes,
    without_drift,
)


def test_units_are_those_of_ase() -> None:
    assert ase.units.fs == constants.FS
    assert ase.units.kB == constants.KB
    assert ase.units.GPa == constants.GPA


def test_thermal_velocities_have_the_temperature_and_no_momentum(crystal) -> None:
    system = crystal(seeds=(3, 4))._replace(masses=np.linspace(10.0, 60.0, 16))
    velocities = thermal_velocities(system, np.array([300.0, 900.0]), (3, 4))
    warm = system._replace(velocities=velocities)
    assert np.allclose(temperatures(warm), [300.0, 900.0])
    assert np.allclose(np.einsum("i,rix->rx", system.masses, velocities), 0.0, atol=1e-12)
    assert not np.allclose(velocities[0], velocities[1])
    assert np.allclose(np.trace(kinetic_tensor(warm), axis1=1, axis2=2), 2 * kinetic_energy(warm))
    expected = 0.5 * degrees_of_freedom(16) * ase.units.kB * np.array([300.0, 900.0])
    assert np.allclose(kinetic_energy(warm), expected)
    # The lightest atoms are the fastest.
    assert np.std(velocities[:, 0]) > np.std(velocities[:, -1])


def test_drift_is_removed(crystal) -> None:
    system = crystal()
    moving = system.velocities + np.array([0.3, -0.1, 0.2])
    assert np.allclose(without_drift(moving, system.masses), system.velocities, atol=1e-12)


def test_a_single_atom_has_no_temperature(crystal, random_structure) -> None:
    system = system_of([random_structure(1, 1, n_species=1)], np.array([55.0]))
    velocities = thermal_velocities(system, np.array([300.0]), (0,))
    assert np.all(velocities == 0.0)
    assert np.all(temperatures(system) == 0.0)


def test_volume_is_infinite_unless_periodic(crystal) -> None:
    system = crystal(2)
    assert np.allclose(volumes(system), (2 * 2.82) ** 3)
    slab = system._replace(periodic=np.array([True, True, False]))
    assert np.all(np.isinf(volumes(slab)))


def test_replicas_must_have_the_same_atoms(random_structure) -> None:
    one, other = random_structure(1, 4), random_structure(2, 3)
    with pytest.raises(ValueError, match="differ in their species"):
        system_of([one, other], np.ones(4))
    with pytest.raises(ValueError, match="no configuration"):
        system_of([], np.ones(0))
