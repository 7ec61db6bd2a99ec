"""Fits to moments that are vectors: the loss by hand, its derivatives, and fits that recover."""

from dataclasses import replace

import jax
import numpy as np
import pytest

import mmtp_jax as mmtp
from mmtp_jax.fitting.cross_validation import cross_validate
from mmtp_jax.fitting.dataset import make_targets
from mmtp_jax.fitting.fit import fit_structures
from mmtp_jax.fitting.initial import solve_linear
from mmtp_jax.fitting.loss import loss
from mmtp_jax.fitting.normal_equations import normal_equations
from mmtp_jax.fitting.options import FitOptions
from mmtp_jax.fitting.prepared import PreparedSet
from mmtp_jax.fitting.weights import Weights
from mmtp_jax.interfaces.evaluation import evaluate_structures
from mmtp_jax.io.atoms import to_atoms
from mmtp_jax.potential.observables import evaluate_graph
from mmtp_jax.structures.magnetic_parts import across, along

FORM = {"level": 4, "n_species": 1, "radial_size": 3, "magnetic_size": 3, "form": "parity"}
ONLY = {"energy": 0.0, "forces": 0.0, "stress": 0.0}
compiled_loss = jax.jit(loss)


@pytest.fixture(scope="module")
def teacher(random_potential):
    return random_potential(61, **FORM)


@pytest.fixture(scope="module")
def student(random_potential):
    return random_potential(62, **FORM)


@pytest.fixture(scope="module")
def canted(teacher, random_structure, labelled):
    """Eight cells of two to four atoms; the first moment of all is zero."""
    rng = np.random.default_rng(61)
    found = [random_structure(k, 2 + k % 3, n_species=1, shortest=1.9) for k in range(8)]
    found = [replace(s, magmoms=rng.uniform(-1.6, 1.6, (len(s), 3))) for s in found]
    found[0].magmoms[0] = 0.0
    return labelled(teacher, found)


def loss_of(potential, structures, weights):
    prepared = PreparedSet.of(structures, float(potential.cutoff))
    targets = make_targets(prepared.structures, prepared.batches, weights)
    value = float(compiled_loss(potential.flatten(), potential, targets))
    # On the host, for validation sets, it is the same.
    assert prepared.loss(potential, weights) == pytest.approx(value, rel=1e-11)
    return value


def test_parts_have_their_weights(student, canted):
    """A label of full vectors, one across only, and one without."""
    some = [canted[0], replace(canted[1], transverse=True), replace(canted[2], weight=2.0)]
    some.append(replace(canted[3], magnetic_forces=None))
    weights = Weights(**ONLY, magnetic_forces=9.0, magnetic_forces_along=0.3,
                      magnetic_forces_across=1.7)  # fmt: skip
    expected = 0.0
    for s, got in zip(some[:3], evaluate_structures(student, some[:3]), strict=True):
        error = got.magnetic_forces - s.magnetic_forces
        term = 1.7 * np.sum(across(error, s.magmoms) ** 2)
        if not s.transverse:
            term += 0.3 * np.sum(along(error, s.magmoms) ** 2)
        expected += s.weight * term / 4.0
    assert loss_of(student, some, weights) == pytest.approx(expected, rel=1e-12)
    # What is along the moments of a transverse label is not looked at.
    off = replace(some[1], magnetic_forces=some[1].magnetic_forces + 3.0 * some[1].magmoms)
    assert loss_of(student, [some[0], off, *some[2:]], weights) == pytest.approx(expected, rel=1e-9)
    one = Weights(**ONLY, magnetic_forces=0.8)
    both = replace(one, magnetic_forces_along=0.8, magnetic_forces_across=0.8)
    assert loss_of(student, some, one) == pytest.approx(loss_of(student, some, both), rel=1e-13)


def test_nothing_is_across_a_moment_that_is_zero(student, canted):
    weights = Weights(**ONLY, magnetic_forces=1.0)
    first = replace(canted[0], transverse=True)
    changed = first.magnetic_forces.copy()
    changed[0] += 1.0
    base = loss_of(student, [first], weights)
    assert loss_of(student, [replace(first, magnetic_forces=changed)], weights) == base
    full = replace(canted[0], magnetic_forces=changed)
    assert loss_of(student, [full], weights) != pytest.approx(
        loss_of(student, canted[:1], weights), rel=1e-3
    )


def test_atoms_of_non_magnetic_species_have_no_labels(student, canted):
    weights = Weights(**ONLY, magnetic_forces=1.0)
    first = replace(canted[1], magnetic=np.array([True, False, True]))
    changed = first.magnetic_forces + np.outer([0, 1, 0], [1.0, 2.0, 3.0])
    other = replace(first, magnetic_forces=changed)
    assert loss_of(student, [other], weights) == loss_of(student, [first], weights)
    assert first.count("magnetic_forces") == 6


def test_moments_along_any_axis_have_the_loss_of_collinear_ones(
    student, random_structure, labelled, teacher
):
    collinear = labelled(
        teacher, [random_structure(k, 3, n_species=1, shortest=1.9) for k in range(3)]
    )
    axis = np.array([1.0, -2.0, 2.0]) / 3.0
    turned = [
        replace(
            s,
            magmoms=s.magmoms[:, None] * axis,
            magnetic_forces=s.magnetic_forces[:, None] * axis,
        )
        for s in collinear
    ]
    weights = Weights()
    expected = loss_of(student, collinear, weights)
    assert loss_of(student, turned, weights) == pytest.approx(expected, rel=1e-11)
    # Among vectors, collinear moments are along z.
    assert loss_of(student, [turned[0], *collinear[1:]], weights) == pytest.approx(
        expected, rel=1e-11
    )


def test_derivatives_of_the_loss_are_those_of_differences(student, canted):
    seed = 8
    some = [*canted[:4], *(replace(s, transverse=True) for s in canted[4:])]
    weights = Weights(forces=0.1, magnetic_forces_along=0.2, magnetic_forces_across=3.0)
    prepared = PreparedSet.of(some, float(student.cutoff))
    targets = make_targets(prepared.structures, prepared.batches, weights)
    theta, direction = student.flatten(), np.random.default_rng(seed).normal(size=24)
    direction = np.resize(direction, len(theta)) / np.linalg.norm(direction)
    gradient = jax.grad(lambda t: compiled_loss(t, student, targets))(theta)
    h = 1e-5
    up, down = (float(compiled_loss(theta + s * h * direction, student, targets)) for s in (1, -1))
    assert direction @ gradient == pytest.approx((up - down) / (2 * h), rel=1e-6), f"seed {seed}"
    # The loss is a sum of squares: its gradient is 2 J^T r.
    _, right = normal_equations(theta, student, targets, None)
    np.testing.assert_allclose(2 * right, gradient, rtol=1e-9, atol=1e-9 * np.abs(gradient).max())


def test_linear_coefficients_solve_the_weighted_least_squares(teacher, canted):
    """With the radial functions of the teacher the solution is the teacher, if rows are right."""
    some = [*canted[:5], *(replace(s, transverse=True) for s in canted[5:])]
    weights = Weights(magnetic_forces_along=0.01, magnetic_forces_across=5.0)
    prepared = PreparedSet.of(some, float(teacher.cutoff))
    targets = make_targets(prepared.structures, prepared.batches, weights)
    start = teacher.replace(
        moment_coeffs=np.zeros_like(teacher.moment_coeffs),
        species_coeffs=np.zeros_like(teacher.species_coeffs),
    )
    solved, _ = solve_linear(start, np.zeros(0), targets)
    np.testing.assert_allclose(solved.moment_coeffs, teacher.moment_coeffs, rtol=1e-7)
    np.testing.assert_allclose(solved.species_coeffs, teacher.species_coeffs, rtol=1e-7)
    # Labels that contradict each other: the gradient by the linear coefficients is zero.
    noise = [replace(s, magnetic_forces=s.magnetic_forces + 0.1 * s.magmoms[::-1]) for s in some]
    targets = make_targets(noise, prepared.batches, weights)
    solved, _ = solve_linear(start, np.zeros(0), targets)
    gradient = teacher.unflatten(
        jax.grad(lambda t: compiled_loss(t, solved, targets))(solved.flatten())
    )
    size = np.abs(gradient.radial_coeffs).max()
    assert np.abs(gradient.moment_coeffs).max() < 1e-6 * size


@pytest.mark.parametrize("method", ["lbfgs", "gauss-newton"])
def test_a_fit_recovers_canted_and_collinear_labels(
    method, teacher, canted, random_structure, labelled, caplog
):
    """Labels of both kinds in one set, with one sentence that says what is done."""
    collinear = labelled(
        teacher, [random_structure(k, 3, n_species=1, shortest=1.9) for k in range(20, 22)]
    )
    start = teacher.unflatten(
        teacher.flatten() * (1 + 0.02 * np.cos(np.arange(teacher.n_parameters)))
    )
    options = FitOptions(
        method=method, max_iterations=120 if method == "lbfgs" else 12, keep_domain=True,
        initialise=False, tolerance=0.0,
    )  # fmt: skip
    fit = fit_structures(start, [*canted[:6], *collinear], canted[6:], options)
    assert sum("collinear and count as vectors along z" in text for text in caplog.messages) == 1
    assert "moments of 2 of 10 configurations" in caplog.text
    assert fit.loss < 1e-4 * fit.history[0]
    for kind in ("magnetic_forces", "magnetic_forces_along", "magnetic_forces_across", "torques"):
        assert kind in fit.report.validation
    largest = max(np.abs(s.magnetic_forces).max() for s in canted)
    assert fit.report.validation["magnetic_forces"].rmse < 0.1 * 1e3 * largest
    assert "magnetic forces across" in str(fit.report)


def test_folds_share_one_program_and_give_errors_of_the_parts(student, canted):
    before = evaluate_graph._cache_size()
    found = cross_validate(student, canted, 2, FitOptions(max_iterations=2))
    assert evaluate_graph._cache_size() - before <= 2
    assert "torques" in found.errors["validation"]
    assert "magnetic forces along" in str(found)


# --- the verbs ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def atoms_list(teacher, canted):
    found = evaluate_structures(teacher, canted)
    return [to_atoms(s, result, ("Fe",)) for s, result in zip(canted, found, strict=True)]


def test_fit_takes_vectors_and_says_what_they_miss(student, atoms_list):
    across_only = [atoms.copy() for atoms in atoms_list]
    for copy, atoms in zip(across_only, atoms_list, strict=True):
        copy.calc = atoms.calc
        mmtp.set_magnetic_forces(copy, atoms.arrays["magnetic_forces"], transverse=True)
    options = {"max_iterations": 1, "keep_domain": True}
    with pytest.warns(mmtp.CoverageWarning, match="known across the moments only"):
        fit = mmtp.fit(student, across_only, **options)
    assert "magnetic_forces_across" in fit.report.training
    assert "magnetic_forces_along" not in fit.report.training
    assert fit.potential.record["data"]["labels"]["magnetic_forces"] == len(atoms_list)
    moved = across_only[0].copy()
    moved.rattle(0.01, seed=1)
    moved.calc = mmtp.MMTPCalculator(student)
    moved.get_potential_energy()
    # What the calculator says is all of the force, whatever the label was.
    full = mmtp.fit(student, [moved], validation=atoms_list, **options)
    assert "magnetic_forces_along" in full.report.training


def test_a_potential_that_is_not_even_has_no_fit_to_vectors(random_potential, atoms_list):
    bare = random_potential(3, form="bare", n_species=1)
    with pytest.raises(ValueError, match=r"configuration 1: .*form 'bare'"):
        mmtp.fit(bare, atoms_list, max_iterations=0)


def test_largest_moments_of_the_data_are_lengths(student, atoms_list, canted):
    fit = mmtp.fit(student, atoms_list, max_iterations=0)
    longest = max(np.linalg.norm(s.magmoms, axis=1).max() for s in canted)
    assert fit.potential.max_magmom[0] == pytest.approx(1.1 * longest, rel=1e-12)


def test_public_data_are_fitted(reference_path):
    """Fields of a calculation that constrains directions; spreads are 20 meV/atom, 60 meV/mu_B."""
    file = reference_path("noncollinear/fe16_pm_magesty.extxyz")
    keys = {"magmoms": "magnetic_moments", "transverse_magnetic_forces": "constraint_field"}
    data = mmtp.read(file, keys=keys)
    pot = mmtp.Potential.new(level=4, species=("Fe",), cutoff=4.0, radial_size=4, magnetic_size=3)
    weights = mmtp.Weights(magnetic_forces=1.0)
    fit = mmtp.fit(pot, data[::3], weights=weights, validation=data[1::9], max_iterations=60)
    assert fit.report.validation["energy"].rmse < 8.0
    assert fit.report.validation["magnetic_forces_across"].rmse < 20.0
