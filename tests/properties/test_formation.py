"""Formation energies of alloys whose answer is known, and of ensembles."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax.potential.potential import Potential

SHIFT = 7.0


@pytest.fixture(scope="module")
def twins(iron) -> Potential:
    """Fe and Al that interact alike; an isolated Al is 7 eV higher."""
    return iron.replace(
        species=("Fe", "Al"),
        species_coeffs=np.append(iron.species_coeffs, iron.species_coeffs + SHIFT),
        radial_coeffs=np.tile(iron.radial_coeffs, (2, 2, 1, 1, 1, 1)),
        min_magmom=np.tile(iron.min_magmom, 2),
        max_magmom=np.tile(iron.max_magmom, 2),
    )


def _alloy(symbols: str, lattice: float = 2.81) -> Atoms:
    atoms = bulk("Fe", a=lattice, cubic=True).repeat((2, 1, 1))
    atoms.symbols = symbols
    atoms.set_initial_magnetic_moments([2.2] * 4)
    return atoms


@pytest.fixture(scope="module")
def alloys() -> list[Atoms]:
    return [_alloy("Fe4"), _alloy("Fe3Al"), _alloy("FeAlFeAl"), _alloy("Fe2Al2"), _alloy("Al4")]


def test_alike_elements_mix_without_energy(twins, alloys, ferromagnet) -> None:
    done = []
    found = mmtp.formation_energies(
        twins, alloys, callback=done.append, force_tolerance=1e-5, stress_tolerance_GPa=1e-3
    )
    assert found.converged.all()
    assert done[-1] == 5
    assert found.symbols == ("Fe", "Al")
    assert np.allclose(found.fraction("Al"), [0, 0.25, 0.5, 0.5, 1])
    assert np.abs(found.energies).max() < 1e-7
    assert found.chemical_potentials[0, 1] - found.chemical_potentials[0, 0] == pytest.approx(SHIFT)
    a0 = ferromagnet.cell.lengths()[0]
    assert np.allclose(found.lattice_parameters(2), a0, atol=1e-4)
    moment = ferromagnet.get_initial_magnetic_moments()[0]
    # Moments are divided among the atoms that start with one: all of them here.
    assert np.allclose(found.moments, moment, atol=1e-3)
    assert np.array_equal(found.lowest()[[0, 1, 3]], [0, 1, 4])
    assert np.isnan(found.two_sigma(found.energies)).all()
    assert np.array_equal(found.mean(found.energies), found.energies[0])


def test_references_and_ensembles(twins, alloys) -> None:
    other = twins.replace(moment_coeffs=1.02 * twins.moment_coeffs)
    references = {"Fe": -3385.0, "Al": _alloy("Al4")}
    found = mmtp.formation_energies([twins, other], alloys[:4], references, magnetic=("Fe",))
    for p, potential in enumerate((twins, other)):
        ends = mmtp.relax(potential, [*alloys[:4], references["Al"]])
        mu = np.array([-3385.0, ends[-1].energy / 4])
        wanted = [(e.energy - c @ mu) / 4 for e, c in zip(ends, found.compositions, strict=False)]
        assert np.allclose(found.energies[p], wanted, atol=1e-10)
        n_iron = found.compositions[:, 0]
        totals = [e.magmoms.sum() for e in ends[:4]]
        assert np.allclose(found.moments[p], totals / n_iron)
    spread = 2 * np.std(found.energies, axis=0, ddof=1)
    assert np.allclose(found.two_sigma(found.energies), spread)
    assert np.all(spread > 0.01)
    assert np.allclose(found.mean(found.volumes), found.volumes.mean(axis=0))


def test_failures_are_counted_and_named(twins, alloys) -> None:
    close = _alloy("Fe3Al")
    close.positions[0] += 1.0
    found = mmtp.formation_energies(twins, [alloys[0], close], {"Al": -3378.0})
    assert found.converged.tolist() == [[True, False]]
    assert found.messages[0][0] == ""
    assert found.messages[0][1]
    assert np.isnan(found.mean(found.energies)[1])
    relaxed: list[int] = []
    with pytest.raises(ValueError, match="no configuration of Al alone"):
        mmtp.formation_energies(twins, alloys[:2], callback=relaxed.append)
    with pytest.raises(ValueError, match="references has Co, which no configuration contains"):
        mmtp.formation_energies(twins, alloys, {"Co": -7000.0}, callback=relaxed.append)
    with pytest.raises(ValueError, match="must be of that element alone"):
        mmtp.formation_energies(twins, alloys[:2], {"Al": alloys[1]}, callback=relaxed.append)
    assert not relaxed, "it is known before"
    with pytest.raises(ValueError, match="magnetic names Co"):
        mmtp.formation_energies(twins, alloys, magnetic=("Co",))
    with pytest.raises(ValueError, match="at least one potential"):
        mmtp.formation_energies([], alloys)


def test_potentials_without_reference_do_not_count(iron, ferromagnet) -> None:
    # Its moments are at the end of their interval.
    broken = iron.replace(min_magmom=-0.4 * iron.max_magmom, max_magmom=0.4 * iron.max_magmom)
    strained = ferromagnet.copy()
    strained.set_cell(1.02 * ferromagnet.cell, scale_atoms=True)
    found = mmtp.formation_energies([iron, broken], [strained])
    assert found.converged.tolist() == [[True], [False]]
    assert "no configuration of Fe alone was relaxed" in found.messages[1][0]
    assert found.mean(found.volumes)[0] == found.volumes[0, 0]
    with pytest.raises(ValueError, match="no configuration of Fe alone was relaxed"):
        mmtp.formation_energies([broken, broken], [strained])
