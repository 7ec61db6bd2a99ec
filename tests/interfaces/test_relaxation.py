"""mmtp.relax on ASE atoms, next to ASE's own optimiser, and with the grade watched."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.units import GPa

import mmtp_jax as mmtp
from mmtp_jax.simulation.relaxation.status import RelaxStatus


@pytest.fixture
def atoms():
    """Two atoms of iron, out of place in a strained cell."""
    found = bulk("Fe", cubic=True, a=2.86)
    found.set_cell(found.cell.array @ (np.eye(3) + 0.01 * np.eye(3, k=1)), scale_atoms=True)
    found.positions[0] += [0.05, -0.03, 0.02]
    found.set_initial_magnetic_moments([2.3, 2.1])
    return found


def test_ase_ends_at_the_same_minimum(iron, atoms) -> None:
    """Energy and lattice parameters within 1e-5, at a pressure."""
    found = mmtp.relax(
        iron, atoms, pressure_GPa=8.0, force_tolerance=1e-4, stress_tolerance_GPa=1e-3,
        magnetic_tolerance=1e-5,
    )  # fmt: skip
    assert found.converged, found.message
    other = atoms.copy()
    other.calc = mmtp.MMTPCalculator(iron, equilibrate=True, tolerance=1e-6)
    joint = FrechetCellFilter(other, scalar_pressure=8.0 * GPa)
    assert BFGS(joint, logfile=None).run(fmax=1e-4, steps=200)
    assert found.energy == pytest.approx(other.get_potential_energy(), abs=1e-5)
    assert found.atoms.cell.cellpar()[:3] == pytest.approx(other.cell.cellpar()[:3], abs=1e-5)
    assert found.atoms.get_stress()[:3] / GPa == pytest.approx([-8.0] * 3, abs=2e-3)
    assert found.magmoms == pytest.approx(other.get_magnetic_moments(), abs=1e-4)


def test_the_callers_atoms_stay_and_the_copy_has_results(iron, atoms) -> None:
    before = atoms.copy()
    found = mmtp.relax(iron, atoms)
    assert atoms == before
    assert atoms.calc is None
    assert found.converged
    assert found.status == RelaxStatus.CONVERGED
    assert found.start_volume == pytest.approx(atoms.get_volume())
    assert found.volume == pytest.approx(found.atoms.get_volume())
    assert found.start_magmoms == pytest.approx([2.3, 2.1])
    (result,) = mmtp.evaluate(iron, found.atoms)
    assert found.atoms.get_potential_energy() == pytest.approx(result.energy, abs=1e-8)
    assert found.atoms.get_forces() == pytest.approx(result.forces, abs=1e-8)
    assert found.atoms.get_stress() == pytest.approx(result.stress, abs=1e-9)
    assert found.atoms.arrays["magnetic_forces"] == pytest.approx(result.magnetic_forces, abs=1e-8)
    assert found.energy == found.enthalpy
    assert "tolerances" in found.message


def test_lists_and_their_files(iron, atoms, tmp_path) -> None:
    done = []
    path = tmp_path / "run.extxyz"
    found = mmtp.relax(
        iron, [atoms, atoms.repeat((2, 1, 1))], cell="volume", trajectory=path, callback=done.append
    )
    assert len(found) == 2
    assert done[-1] == 2
    for k, one in enumerate(found):
        assert one.converged
        frames = mmtp.read(tmp_path / f"run.{k}.extxyz")
        assert 2 < len(frames) <= one.n_steps
        assert frames[-1].get_potential_energy() == pytest.approx(one.energy, abs=1e-6)
        assert frames[-1].positions == pytest.approx(one.atoms.positions, abs=1e-6)
        energies = [frame.get_potential_energy() for frame in frames]
        assert energies[0] > energies[-1]
        ratio = one.atoms.cell.lengths() / (atoms, atoms.repeat((2, 1, 1)))[k].cell.lengths()
        assert np.ptp(ratio) < 1e-12
    assert mmtp.relax(iron, []) == []


def test_moments_of_results_and_of_species(iron, atoms) -> None:
    bare = atoms.copy()
    del bare.arrays["initial_magmoms"]
    with pytest.raises(ValueError, match="no magnetic moments to start from"):
        mmtp.relax(iron, bare)
    expected = mmtp.relax(iron, atoms).energy
    assert mmtp.relax(iron, bare, start={"Fe": 2.2}).energy == pytest.approx(expected, abs=1e-6)
    bare.calc = SinglePointCalculator(bare, magmoms=np.array([2.2, 2.2]))
    assert mmtp.relax(iron, bare).energy == pytest.approx(expected, abs=1e-6)


def test_a_watch_stops_above_its_threshold_and_keeps_candidates(iron, atoms) -> None:
    """The training set is the relaxed crystal: what is far from it has a high grade."""
    relaxed = mmtp.relax(iron, atoms).atoms
    training = []
    for k in range(6):
        copy = relaxed.copy()
        copy.rattle(0.02, seed=k)
        copy.set_initial_magnetic_moments(relaxed.get_magnetic_moments() + 0.05 * k)
        training.append(copy)
    active = mmtp.ActiveSet.from_configurations(iron, training)
    kept = []
    watch = mmtp.Preselection.of(active, mmtp.Thresholds(2.0, 10.0))
    low, high = mmtp.relax(iron, [relaxed, atoms], watch=watch, keep=kept.extend)
    highest = active.grade([atoms])[0]
    assert highest > 10.0
    assert low.converged
    assert high.status == RelaxStatus.WATCH
    assert "threshold" in high.message
    assert not high.converged
    (block,) = kept
    assert np.all(block.replica == 1)
    assert np.max(block.grade) > 10.0
    other = iron.replace(moment_coeffs=1.1 * iron.moment_coeffs)
    with pytest.raises(ValueError, match="another potential"):
        mmtp.relax(other, atoms, watch=watch)
    # Thresholds out of reach change nothing.
    never = mmtp.Preselection.of(active, mmtp.Thresholds(1e8, 1e9))
    found = mmtp.relax(iron, [relaxed, atoms], watch=never)[1]
    assert found.converged
    assert found.energy == pytest.approx(mmtp.relax(iron, atoms).energy, abs=1e-9)


@pytest.mark.parametrize(
    ("change", "options", "error", "words"),
    [
        (None, {"cell": "cubic"}, ValueError, "cell must be"),
        (None, {"fmax": 0.1}, TypeError, "an unknown option 'fmax'"),
        ("constraint", {}, ValueError, "has constraints"),
        ("slab", {}, ValueError, "not periodic in three directions"),
        ("element", {}, ValueError, "the potential is for Fe"),
    ],
)
def test_bad_input(iron, atoms, change, options, error, words) -> None:
    if change == "constraint":
        atoms.set_constraint(FixAtoms([0]))
    elif change == "slab":
        atoms.pbc = (True, True, False)
    elif change == "element":
        atoms.symbols[0] = "Al"
    with pytest.raises(error, match=words):
        mmtp.relax(iron, atoms, **options)
