"""Relaxation of vectors: against the collinear one, turned, canted, at fixed directions."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax.simulation.relaxation.loop import relax_steps

TIGHT = {"force_tolerance": 1e-5, "stress_tolerance_GPa": 1e-4, "magnetic_tolerance": 1e-6}
AXIS = np.array([0.48, -0.6, 0.64])


@pytest.fixture(scope="module")
def cell():
    atoms = bulk("Fe", a=2.85, cubic=True)
    atoms.rattle(0.03, seed=3)
    return atoms


def _with(atoms, moments):
    copy = atoms.copy()
    copy.arrays.pop("initial_magmoms", None)
    copy.set_initial_magnetic_moments(moments)
    return copy


def test_along_one_axis_it_is_the_collinear_relaxation(iron, cell) -> None:
    signed = np.array([2.2, 1.8])
    given = [_with(cell, signed), _with(cell, signed[:, None] * AXIS)]
    for directions in ("free", "fixed"):
        collinear, vectors = mmtp.relax(iron, given, directions=directions, **TIGHT)
        assert vectors.n_steps == collinear.n_steps > 3
        assert vectors.converged
        assert vectors.energy == pytest.approx(collinear.energy, rel=1e-13)
        expected = collinear.magmoms[:, None] * AXIS
        np.testing.assert_allclose(vectors.magmoms, expected, atol=1e-7)
        np.testing.assert_allclose(vectors.atoms.cell, collinear.atoms.cell, atol=1e-7)
        assert vectors.atoms.get_initial_magnetic_moments().shape == (2, 3)


def test_canted_cells_relax_turned_or_not(iron, cell) -> None:
    canted = np.array([[2.2, 0.0, 0.3], [0.1, 1.9, 0.4]])
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    found, turned = mmtp.relax(iron, [_with(cell, m) for m in (canted, canted @ turn)], **TIGHT)
    up = mmtp.relax(iron, _with(cell, [2.2, 1.9]), **TIGHT)
    # Iron is a ferromagnet, and canted moments turn until they are parallel.
    assert found.converged
    assert up.converged
    assert found.energy == pytest.approx(up.energy, abs=1e-8)
    assert found.volume == pytest.approx(up.volume, abs=1e-4)
    assert turned.energy == pytest.approx(found.energy, abs=1e-9)
    np.testing.assert_allclose(turned.atoms.positions, found.atoms.positions, atol=1e-4)
    before = relax_steps._cache_size()
    mmtp.relax(iron, [_with(cell, m[::-1]) for m in (canted, canted @ turn)], **TIGHT)
    assert relax_steps._cache_size() == before


def test_at_fixed_directions_forces_stress_and_lengths_are_those_of_a_minimum(iron, cell) -> None:
    units = np.array([[0.6, 0.0, 0.8], [0.0, 0.0, 1.0]])
    found = mmtp.relax(iron, _with(cell, 2.0 * units), directions="fixed", **TIGHT)
    assert found.converged
    lengths = np.linalg.norm(found.magmoms, axis=1)
    np.testing.assert_allclose(found.magmoms, lengths[:, None] * units, atol=1e-10)
    assert np.abs(lengths - 2.0).min() > 0.01
    there = found.atoms

    def energy(strain: float, stretch: float) -> float:
        moved = _with(there, (1 + stretch) * found.magmoms)
        moved.set_cell((1 + strain) * there.cell.array, scale_atoms=True)
        return mmtp.evaluate(iron, moved)[0].energy

    h = 1e-3
    for step in np.eye(2):
        sides = [energy(*(s * h * step)) for s in (1, -1)]
        assert np.abs(np.diff(sides) / (2 * h)).max() < 2e-3
        assert min(sides) > found.energy
    # What is left would turn the moments together.
    assert "across fixed directions" in found.message
    moments = mmtp.relax(iron, _with(cell, 2.0 * units), moments="fixed", **TIGHT)
    assert moments.converged
    np.testing.assert_array_equal(moments.magmoms, 2.0 * units)
