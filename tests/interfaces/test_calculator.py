"""The ASE calculator: its derivatives, its properties, and what ASE does with it."""

import copy
import pickle
import warnings
from multiprocessing import get_all_start_methods, get_context

import jax
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError, all_properties
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.singlepoint import SinglePointCalculator
from ase.filters import FrechetCellFilter
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS, FIRE

import mmtp_jax as mmtp
from mmtp_jax.structures.domain import ExtrapolationWarning
from mmtp_jax.structures.kept_graph import evaluated_at


@pytest.fixture(scope="module")
def potential(random_potential):
    return random_potential(81, intervals="asymmetric")


@pytest.fixture
def atoms():
    atoms = bulk("Fe", cubic=True, a=2.9) * (2, 1, 1)
    atoms.symbols[[1, 2]] = "Al"
    atoms.rattle(0.1, seed=1)
    atoms.set_cell(atoms.cell.array + 0.1 * np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]]))
    atoms.set_initial_magnetic_moments([2.0, -0.3, 0.5, -1.8])
    return atoms


@pytest.fixture
def calculated(atoms, potential):
    atoms.calc = mmtp.MMTPCalculator(potential)
    return atoms


def test_forces_and_stress_are_those_of_ase_by_differences(calculated):
    scale = np.abs(calculated.get_forces()).max()
    forces = calculate_numerical_forces(calculated, eps=1e-4)
    np.testing.assert_allclose(calculated.get_forces(), forces, atol=1e-6 * scale)
    stress = calculate_numerical_stress(calculated, eps=1e-5)
    np.testing.assert_allclose(
        calculated.get_stress(), stress, atol=1e-6 * np.abs(stress).max() + 1e-8
    )


def test_magnetic_forces_are_minus_the_derivative_in_the_moments(calculated):
    got = calculated.calc.get_magnetic_forces(calculated).copy()
    np.testing.assert_array_equal(got, calculated.calc.magnetic_forces)
    moments = calculated.get_initial_magnetic_moments()
    for atom in range(len(calculated)):
        energies = []
        for step in (1e-4, -1e-4):
            calculated.set_initial_magnetic_moments(moments + step * np.eye(4)[atom])
            energies.append(calculated.get_potential_energy())
        expected = -(energies[0] - energies[1]) / 2e-4
        assert got[atom] == pytest.approx(expected, rel=1e-6, abs=1e-7)
        calculated.set_initial_magnetic_moments(moments)


def test_results_are_those_of_evaluate(calculated, potential):
    (expected,) = mmtp.evaluate(potential, calculated)
    assert calculated.get_potential_energy() == pytest.approx(expected.energy, rel=1e-13)
    assert calculated.get_potential_energy(force_consistent=True) == pytest.approx(expected.energy)
    np.testing.assert_allclose(calculated.get_potential_energies(), expected.energies, rtol=1e-12)
    assert calculated.get_potential_energies().sum() == pytest.approx(expected.energy, rel=1e-13)
    np.testing.assert_allclose(calculated.get_forces(), expected.forces, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(calculated.get_stress(), expected.stress, rtol=1e-11, atol=1e-12)
    np.testing.assert_array_equal(
        calculated.get_magnetic_moments(), calculated.get_initial_magnetic_moments()
    )
    assert calculated.get_magnetic_moment() == pytest.approx(0.4)
    for name in calculated.calc.implemented_properties:
        assert calculated.calc.get_property(name, calculated, allow_calculation=False) is not None


def test_results_hold_names_of_ase_only(calculated):
    energy, forces = calculated.get_potential_energy(), calculated.get_forces()
    kept = calculated.copy()
    kept.calc = SinglePointCalculator(kept, **calculated.calc.results)
    assert set(calculated.calc.results) <= set(all_properties)
    assert kept.get_potential_energy() == energy
    np.testing.assert_array_equal(kept.get_forces(), forces)
    calculated.calc.magnetic_forces[:] = 0.0
    assert calculated.calc.magnetic_forces.any()
    with pytest.raises(PropertyNotImplementedError, match="before the first calculation"):
        _ = mmtp.MMTPCalculator(calculated.calc.potential).magnetic_forces
    with pytest.raises(PropertyNotImplementedError):
        _ = calculated.calc.grade


def test_nothing_is_computed_twice_for_the_same_atoms(calculated, monkeypatch):
    energy = calculated.get_potential_energy()
    monkeypatch.setattr(calculated.calc, "_evaluator", None)
    assert calculated.get_potential_energy() == energy
    calculated.get_forces()


@pytest.mark.parametrize("change", ["positions", "moments", "cell"])
def test_a_change_of_the_atoms_is_noticed(change, calculated):
    energy = calculated.get_potential_energy()
    if change == "positions":
        calculated.positions[0] += 0.05
    elif change == "cell":
        calculated.set_cell(1.01 * calculated.cell.array, scale_atoms=True)
    else:
        calculated.set_initial_magnetic_moments([1.0, -0.3, 0.5, -1.8])
    assert abs(calculated.get_potential_energy() - energy) > 1e-6


def test_atoms_without_moments_have_those_of_their_results(atoms, potential):
    """A DFT output that ASE has read carries them as results."""
    expected = mmtp.MMTPCalculator(potential).get_potential_energy(atoms)
    moments = atoms.get_initial_magnetic_moments()
    labelled = atoms.copy()
    del labelled.arrays["initial_magmoms"]
    labelled.calc = SinglePointCalculator(labelled, energy=0.0, magmoms=moments)
    calculator = mmtp.MMTPCalculator(potential)
    assert calculator.get_potential_energy(labelled) == pytest.approx(expected, rel=1e-13)
    assert "initial_magmoms" not in labelled.arrays
    assert mmtp.evaluate(potential, labelled)[0].energy == pytest.approx(expected, rel=1e-13)
    # Atoms with moments of their own are calculated at these.
    other = atoms.copy()
    other.set_initial_magnetic_moments(np.zeros(4))
    other.calc = SinglePointCalculator(other, energy=0.0, magmoms=moments)
    zero = mmtp.MMTPCalculator(potential).get_potential_energy(other)
    assert abs(zero - expected) > 1e-6


def test_borrowed_moments_are_part_of_what_is_compared(atoms, potential):
    moments = atoms.get_initial_magnetic_moments()
    calculator = mmtp.MMTPCalculator(potential)

    def energy(scale):
        frame = atoms.copy()
        del frame.arrays["initial_magmoms"]
        frame.calc = SinglePointCalculator(frame, energy=0.0, magmoms=scale * moments)
        other = frame.copy()
        other.set_initial_magnetic_moments(scale * moments)
        expected = mmtp.MMTPCalculator(potential).get_potential_energy(other)
        assert calculator.get_potential_energy(frame) == pytest.approx(expected, rel=1e-13)
        return frame, expected

    frame, first = energy(1.0)
    _, second = energy(0.5)
    assert abs(first - second) > 1e-6
    frame.calc.results["magmoms"] *= 0.5
    assert calculator.get_potential_energy(frame) == pytest.approx(second, rel=1e-13)
    # Those of a calculator that has meanwhile calculated other atoms are not the frame's.
    frame.calc = mmtp.MMTPCalculator(potential)
    frame.calc.get_potential_energy(atoms)
    zero = frame.copy()
    zero.set_initial_magnetic_moments(np.zeros(4))
    expected = mmtp.MMTPCalculator(potential).get_potential_energy(zero)
    for one in (calculator, frame.calc):
        assert one.get_potential_energy(frame) == pytest.approx(expected, rel=1e-13)


def test_atoms_without_any_moments_are_nonmagnetic(atoms, potential):
    calculator = mmtp.MMTPCalculator(potential)
    bare = atoms.copy()
    del bare.arrays["initial_magmoms"]
    zero = atoms.copy()
    zero.set_initial_magnetic_moments(np.zeros(4))
    assert calculator.get_potential_energy(bare) == calculator.get_potential_energy(zero)
    np.testing.assert_array_equal(calculator.results["magmoms"], 0.0)


def test_free_atoms_have_no_stress(atoms, potential):
    free = atoms.copy()
    free.pbc = (True, True, False)
    free.calc = mmtp.MMTPCalculator(potential)
    assert np.isfinite(free.get_potential_energy())
    with pytest.raises(PropertyNotImplementedError):
        free.get_stress()


def test_unknown_elements_are_an_error(potential):
    gold = bulk("Au")
    gold.calc = mmtp.MMTPCalculator(potential)
    with pytest.raises(ValueError, match="has Au, but the potential is for Fe, Al"):
        gold.get_potential_energy()


def test_a_potential_file_will_do(atoms, potential, tmp_path):
    path = tmp_path / "potential.mtp"
    mmtp.save(path, potential)
    expected = mmtp.MMTPCalculator(potential).get_potential_energy(atoms)
    assert mmtp.MMTPCalculator(path).get_potential_energy(atoms) == expected
    assert mmtp.MMTPCalculator(str(path)).get_potential_energy(atoms) == expected


def test_float64_does_not_depend_on_the_setting_of_jax(atoms, potential):
    expected = mmtp.MMTPCalculator(potential).get_potential_energy(atoms)
    with jax.enable_x64(False):
        assert mmtp.MMTPCalculator(potential).get_potential_energy(atoms) == expected
        assert not jax.config.jax_enable_x64


def _energy(calculator, atoms):
    return calculator.get_potential_energy(atoms)


@pytest.mark.skipif("fork" not in get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore:os.fork")
def test_a_pool_of_forks_gives_results(atoms, potential):
    calculator = mmtp.MMTPCalculator(potential)
    expected = calculator.get_potential_energy(atoms)
    gold = bulk("Au")
    with get_context("fork").Pool(1) as pool:
        for _ in range(2):
            found = pool.apply_async(_energy, (calculator, atoms.copy())).get(timeout=300)
            assert found == expected
        calculator.reset()
        with pytest.raises(ValueError, match="has Au, but the potential is for Fe, Al"):
            pool.apply_async(_energy, (calculator, gold)).get(timeout=300)
        assert pool.apply_async(_energy, (calculator, atoms)).get(timeout=300) == expected


def test_float32_is_close(atoms, potential):
    low, high = (mmtp.MMTPCalculator(potential, dtype=dtype) for dtype in (np.float32, np.float64))
    energy = high.get_potential_energy(atoms)
    assert low.get_potential_energy(atoms) == pytest.approx(energy, rel=1e-4)
    assert low.get_potential_energy(atoms) != energy


def test_calculator_changes_no_atoms(atoms, potential):
    before = atoms.copy()
    mmtp.MMTPCalculator(potential).get_forces(atoms)
    assert atoms == before
    assert set(atoms.arrays) == set(before.arrays)


@pytest.fixture(scope="module")
def repulsive(random_potential):
    """sum over pairs of (R_cut - r)^2: atoms that only push each other apart."""
    potential = random_potential(82, level=2, n_species=1, radial_size=1, magnetic_size=1)
    return potential.replace(
        radial_coeffs=np.ones_like(potential.radial_coeffs),
        moment_coeffs=np.array([0.5]),
        species_coeffs=np.zeros(1),
        scaling=np.float64(1.0),
    )


def test_a_relaxation_finds_the_minimum_without_compiling_at_every_step(repulsive):
    """A repulsive crystal at fixed volume ends on its lattice."""
    crystal = bulk("Fe", "fcc", a=4.4, cubic=True)
    moved = crystal.copy()
    moved.rattle(0.15, seed=3)
    moved.calc = mmtp.MMTPCalculator(repulsive)
    before = evaluated_at._cache_size()
    start = moved.get_potential_energy()
    converged = BFGS(moved, logfile=None).run(fmax=1e-4, steps=100)
    assert converged
    assert 1 <= evaluated_at._cache_size() - before <= 3
    crystal.calc = mmtp.MMTPCalculator(repulsive)
    assert start > crystal.get_potential_energy() + 1e-3
    assert moved.get_potential_energy() == pytest.approx(crystal.get_potential_energy(), abs=1e-6)
    distances = moved.get_all_distances(mic=True)
    np.testing.assert_allclose(distances, crystal.get_all_distances(mic=True), atol=1e-3)


@pytest.mark.parametrize("members", [1, 2])
def test_extrapolation_is_counted_and_warned_of_ever_less_often(repulsive, members):
    calculator = mmtp.MMTPCalculator([repulsive] * members if members > 1 else repulsive)
    inside = Atoms("Fe2", positions=[[0, 0, 0], [0, 0, 2.5]])

    def said(atoms):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            calculator.get_potential_energy(atoms)
        assert all(one.category is ExtrapolationWarning for one in caught)
        return [str(one.message) for one in caught]

    close = Atoms("Fe2", positions=[[0, 0, 0], [0, 0, 1.0]])
    (first,) = said(close)
    assert "closer than min_dist" in first
    assert said(inside) == []
    # Another kind is told for itself.
    close.set_initial_magnetic_moments([0.0, 50.0])
    (moment,) = said(close)
    assert "outside of the interval of the potential" in moment
    found = []
    for k in range(8):
        close.positions[1, 2] = 0.9 - 0.01 * k
        found += said(close)
    (tenth,) = found
    assert tenth.startswith("10 of 11 calculations so far: 1 pairs in 1 of 1")
    assert calculator.outside.counts == {"distance": 10, "moment": 9}
    assert calculator.outside.shortest == pytest.approx(0.83)
    assert calculator.outside.largest == 50.0
    assert str(calculator.outside) == (
        "11 calculations: 10 with distances that the potential does not cover (shortest 0.83 "
        "Angstrom), 9 with moments beyond their interval (largest 50 mu_B)"
    )


# --- equilibrated moments -----------------------------------------------------------


@pytest.fixture(scope="module")
def magnetic(random_potential):
    """Atoms that repel each other, in Landau wells at about +-1.8 mu_B, with a random part."""
    random = random_potential(83, level=4, n_species=1, magnetic_size=5)
    radial = 0.02 * np.asarray(random.radial_coeffs)
    square = np.polynomial.Polynomial([0, 0, 1.0])
    well = (square * square - 0.7 * square + 0.3).convert(kind=np.polynomial.Chebyshev).coef
    radial[:, :, 0] *= 0.2
    radial[:, :, 0, 0, :, 0] += 0.2 * well
    # Depth of the well and exchange change with the distance.
    radial[:, :, 0, 1, 2, 0] += 0.05
    radial[:, :, 0, :2, 1, 1] -= 0.03
    moment_coeffs = 0.05 * np.asarray(random.moment_coeffs)
    moment_coeffs[0] = 1.0
    return random.replace(radial_coeffs=radial, moment_coeffs=moment_coeffs)


@pytest.fixture
def iron():
    atoms = bulk("Fe", cubic=True, a=2.9) * (2, 1, 1)
    atoms.rattle(0.1, seed=1)
    atoms.set_initial_magnetic_moments([1.4, 1.3, 1.5, -1.6])
    return atoms


def following(potential, **options):
    return mmtp.MMTPCalculator(potential, equilibrate=True, tolerance=1e-8, **options)


def test_equilibrated_results_are_those_of_equilibrate(iron, magnetic):
    expected = mmtp.equilibrate(magnetic, iron, tolerance=1e-8)
    iron.calc = following(magnetic)
    assert iron.get_potential_energy() == pytest.approx(expected.energy, rel=1e-13)
    np.testing.assert_allclose(iron.get_magnetic_moments(), expected.magmoms, atol=1e-12)
    assert iron.get_magnetic_moment() == pytest.approx(expected.magmoms.sum())
    assert np.abs(iron.calc.get_magnetic_forces(iron)).max() < 1e-8
    assert iron.calc.equilibration.converged
    assert iron.get_initial_magnetic_moments().tolist() == [1.4, 1.3, 1.5, -1.6]
    fixed = mmtp.MMTPCalculator(magnetic).get_potential_energy(iron)
    assert fixed > iron.get_potential_energy() + 1e-3


def test_forces_and_stress_are_adiabatic(iron, magnetic):
    """Differences of the energy, whose moments follow, are the forces at fixed moments."""
    iron.calc = following(magnetic)
    forces, stress = iron.get_forces(), iron.get_stress()
    moments = iron.get_magnetic_moments()
    scale = np.abs(forces).max()
    np.testing.assert_allclose(
        calculate_numerical_forces(iron, eps=1e-3), forces, atol=1e-5 * scale
    )
    np.testing.assert_allclose(
        calculate_numerical_stress(iron, eps=1e-4), stress, atol=1e-5 * np.abs(stress).max()
    )
    iron.positions[0] += 0.05
    assert np.abs(iron.get_magnetic_moments() - moments).max() > 1e-3


def test_the_energy_does_not_depend_on_what_was_calculated_before(iron, magnetic):
    alone, calculator = following(magnetic), following(magnetic)
    expected = alone.get_potential_energy(iron)
    other = iron.copy()
    other.positions[0] += 0.2
    calculator.get_potential_energy(other)
    assert calculator.get_potential_energy(iron) == expected
    np.testing.assert_array_equal(calculator.results["magmoms"], alone.results["magmoms"])
    assert calculator.equilibration.start_magmoms.tolist() == [1.4, 1.3, 1.5, -1.6]
    with pytest.raises(ValueError, match="equilibrate=True"):
        mmtp.MMTPCalculator(magnetic, follow=True)


def test_moments_that_vanish_are_told_of_and_not_followed(iron, magnetic):
    """Farther apart one of the moments is held at zero; back again it would stay there."""
    iron.calc = following(magnetic, follow=True)
    near = iron.get_potential_energy()
    cell = iron.cell.array.copy()
    iron.set_cell(1.43 * cell, scale_atoms=True)
    with pytest.warns(mmtp.EquilibrationWarning, match="the moments of 1 of 4 atoms, up to 1.6"):
        iron.get_potential_energy()
    iron.set_cell(cell, scale_atoms=True)
    assert iron.get_potential_energy() == pytest.approx(near, abs=1e-6)


def test_moments_that_all_vanish(iron, magnetic):
    """Without a well all moments end at zero, and converge; with one, zero is no minimum."""
    square = np.polynomial.Polynomial([0, 0, 0.2]).convert(kind=np.polynomial.Chebyshev).coef
    radial = np.zeros_like(magnetic.radial_coeffs)
    radial[:, :, 0, 0, :3, 0] = square
    flat = magnetic.replace(radial_coeffs=radial)
    text = "moments of 4 of 4 atoms, up to 1.6 mu_B at the start, have vanished; from zero"
    with pytest.warns(mmtp.EquilibrationWarning, match=text) as caught:
        found, _ = mmtp.equilibrate(flat, [iron, iron], tolerance=1e-8)
    assert len(caught) == 1
    assert "(and 1 other of 2 likewise)" in str(caught[0].message)
    assert found.converged
    assert text in found.message
    assert "no minimum" not in found.message
    with pytest.warns(mmtp.EquilibrationWarning, match=text):
        following(flat).get_potential_energy(iron)
    iron.set_initial_magnetic_moments(np.zeros(4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert following(flat).get_potential_energy(iron) == pytest.approx(found.energy)
    with pytest.warns(mmtp.EquilibrationWarning, match="stationary point, but no minimum"):
        found = mmtp.equilibrate(magnetic, iron)
    assert found.converged
    assert not found.magmoms.any()


def test_moments_follow_from_call_to_call(iron, magnetic):
    iron.calc = following(magnetic, follow=True)
    iron.get_potential_energy()
    first = iron.calc.equilibration
    iron.positions[0, 0] += 1e-3
    iron.get_potential_energy()
    second = iron.calc.equilibration
    np.testing.assert_array_equal(second.start_magmoms, first.magmoms)
    assert second.n_steps < first.n_steps
    # New initial moments are a new start.
    iron.set_initial_magnetic_moments([1.0, 1.0, -1.0, -1.0])
    iron.get_potential_energy()
    assert iron.calc.equilibration.start_magmoms.tolist() == [1.0, 1.0, -1.0, -1.0]
    iron.pop()
    assert len(iron.get_magnetic_moments()) == 3


def test_moments_that_are_not_equilibrated_warn(iron, magnetic):
    narrow = magnetic.with_intervals(np.array([-1.0]), np.array([1.0]))
    with pytest.warns(mmtp.EquilibrationWarning, match="end of the interval"):
        following(narrow).get_potential_energy(iron)


def test_dynamics_with_equilibrated_moments_keep_the_energy(iron, magnetic):
    iron.calc = following(magnetic)
    iron.set_momenta(np.random.default_rng(5).normal(0.0, 4.0, (len(iron), 3)))
    dynamics = VelocityVerlet(iron, 2.0 * units.fs)
    totals, potentials, moments = [], [], []
    for _ in range(16):
        dynamics.run(1)
        totals.append(iron.get_total_energy())
        potentials.append(iron.get_potential_energy())
        moments.append(iron.get_magnetic_moments())
    assert np.ptp(potentials) > 5e-3
    assert np.ptp(moments, axis=0).max() > 5e-3
    assert np.ptp(totals) < 0.05 * np.ptp(potentials)


@pytest.mark.parametrize("optimizer", [BFGS, FIRE])
def test_relaxation_with_equilibrated_moments(iron, magnetic, optimizer):
    iron.set_initial_magnetic_moments([1.4, 1.3, 1.5, 1.6])
    iron.calc = following(magnetic)
    start = iron.get_potential_energy()
    optimizer(FrechetCellFilter(iron), logfile=None).run(fmax=1e-3, steps=4)
    assert iron.get_potential_energy() < start - 1e-3
    assert iron.calc.equilibration.converged


def test_grade_of_the_configuration_at_its_moments(iron, magnetic):
    others = []
    for seed in range(3):
        other = iron.copy()
        other.rattle(0.1, seed=seed)
        others.append(other)
    active_set = mmtp.ActiveSet.from_configurations(magnetic, others)
    iron.calc = following(magnetic, active_set=active_set)
    iron.get_potential_energy()
    at_moments = mmtp.equilibrate(magnetic, iron, tolerance=1e-8).atoms
    (expected,) = active_set.grade([at_moments])
    assert iron.calc.grade == pytest.approx(expected, rel=1e-6)
    assert iron.calc.get_property("grade", iron) == iron.calc.grade
    # What is static is compared too.
    for change in ({"scaling": np.float64(2.0)}, {"form": "bare"}, {"species": ("Al",)}):
        with pytest.raises(ValueError, match="another potential than the calculator"):
            following(magnetic.replace(**change), active_set=active_set)


def test_some_calculations_are_graded(iron, magnetic):
    active_set = mmtp.ActiveSet.from_configurations(magnetic, [iron], mode="neighborhood")
    graded = []

    class Counted:
        mode, check = active_set.mode, active_set.check

        def grade(self, structures):
            graded.append(structures)
            return active_set.grade(structures)

    calculator = mmtp.MMTPCalculator(magnetic, active_set=Counted(), grade_every=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ExtrapolationWarning)
        for k in range(6):
            iron.positions[0, 0] += 1e-5
            calculator.get_potential_energy(iron)
            assert len(graded) == k // 3 + 1
    assert calculator.outside.highest == pytest.approx(1.0, abs=1e-2)
    far = iron.copy()
    far.rattle(0.3, seed=1)
    with pytest.warns(ExtrapolationWarning, match=r"Fe4 has an extrapolation grade of .* above 10"):
        calculator.get_potential_energy(far)
    assert calculator.outside.counts["grade"] == 1
    assert calculator.outside.n_graded == 3
    assert calculator.outside.highest == calculator.grade > 10
    never = mmtp.MMTPCalculator(magnetic, active_set=Counted(), grade_every=0)
    never.get_potential_energy(far)
    assert len(graded) == 3


@pytest.mark.parametrize("kind", ["fixed", "equilibrated"])
@pytest.mark.parametrize("make", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_copies_of_a_calculator_stay_in_float64(kind, make, iron, magnetic):
    options = {"equilibrate": True, "tolerance": 1e-6} if kind == "equilibrated" else {}
    active_set = mmtp.ActiveSet.from_configurations(magnetic, [iron])
    used = mmtp.MMTPCalculator(magnetic, active_set=active_set, **options)
    with jax.enable_x64(False):
        used.get_potential_energy(iron)
        copies = [make(used), make(mmtp.MMTPCalculator(magnetic, **options))]
        iron.positions[0, 0] += 0.01
        expected = mmtp.MMTPCalculator(magnetic, **options).get_potential_energy(iron)
        for one in copies:
            assert one.get_potential_energy(iron) == pytest.approx(expected, rel=1e-12)
    assert copies[0].grade > 0


@pytest.fixture(scope="module")
def committee(random_potential):
    first = random_potential(81, intervals="common")
    return [first, first.replace(moment_coeffs=1.1 * first.moment_coeffs)]


def test_committee_has_means_and_spreads_as_results(atoms, committee):
    each = []
    for member in committee:
        atoms.calc = mmtp.MMTPCalculator(member)
        each.append((atoms.get_potential_energy(), atoms.get_forces(), atoms.calc.magnetic_forces))
    atoms.calc = calc = mmtp.MMTPCalculator(committee)
    assert atoms.get_potential_energy() == pytest.approx(np.mean([e for e, *_ in each]))
    np.testing.assert_allclose(atoms.get_forces(), np.mean([f for _, f, _ in each], axis=0))
    np.testing.assert_allclose(calc.magnetic_forces, np.mean([t for *_, t in each], axis=0))
    assert calc.energy_std == pytest.approx(np.std([e for e, *_ in each], ddof=1))
    np.testing.assert_allclose(calc.forces_std, np.std([f for _, f, _ in each], axis=0, ddof=1))
    spread = calc.get_property("magnetic_forces_std", atoms)
    np.testing.assert_allclose(spread, np.std([t for *_, t in each], axis=0, ddof=1))
    assert calc.stress_std.shape == (6,)
    # Names that ASE knows alone.
    SinglePointCalculator(atoms, **calc.results)
    again = pickle.loads(pickle.dumps(calc))
    assert again.energy_std == calc.energy_std
    with pytest.raises(PropertyNotImplementedError):
        mmtp.MMTPCalculator(committee[0]).get_property("energy_std", atoms)


def test_committee_equilibrates_on_its_mean_energy(atoms, iron_file):
    # Moments of the members alone are others.
    iron = mmtp.load(iron_file)
    members = [iron, iron.replace(radial_coeffs=1.05 * iron.radial_coeffs)]
    atoms.symbols[:] = "Fe"
    atoms.set_initial_magnetic_moments([2.2] * 4)
    atoms.calc = calc = mmtp.MMTPCalculator(members, equilibrate=True, tolerance=1e-6)
    atoms.get_potential_energy()
    assert calc.equilibration.converged
    assert np.abs(calc.magnetic_forces).max() < 1e-6
    assert calc.magnetic_forces_std.max() > 1e-3
    assert calc.results["energy"] == pytest.approx(calc.equilibration.result.energy, rel=1e-10)


# --- vectors ------------------------------------------------------------------------


def test_vectors_have_forces_and_magnetic_forces_by_differences(random_potential, atoms):
    potential = random_potential(81, form="parity", magnetic_size=3)
    rng = np.random.default_rng(4)
    moments = rng.normal(size=(len(atoms), 3))
    del atoms.arrays["initial_magmoms"]
    atoms.set_initial_magnetic_moments(moments)
    atoms.calc = mmtp.MMTPCalculator(potential)
    scale = np.abs(atoms.get_forces()).max()
    forces = calculate_numerical_forces(atoms, eps=1e-4)
    np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-6 * scale)
    found = atoms.calc.get_magnetic_forces(atoms)
    dot, step, ends = rng.normal(size=moments.shape), 1e-5, []
    for sign in (1, -1):
        atoms.set_initial_magnetic_moments(moments + sign * step * dot)
        ends.append(atoms.get_potential_energy())
    assert -np.sum(found * dot) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-6)
    np.testing.assert_array_equal(atoms.calc.results["magmoms"], moments - step * dot)
    np.testing.assert_allclose(atoms.calc.results["magmom"], (moments - step * dot).sum(axis=0))
