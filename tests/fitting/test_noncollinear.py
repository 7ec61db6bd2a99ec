"""Fits of terms that vanish for parallel moments: recovered from canted labels, zero without."""

from dataclasses import replace

import numpy as np
import pytest

from mmtp_jax.active.active_set import ActiveSet
from mmtp_jax.fitting import initial
from mmtp_jax.fitting.coverage import CoverageWarning
from mmtp_jax.fitting.dataset import make_targets
from mmtp_jax.fitting.ensemble import random_starts
from mmtp_jax.fitting.fit import fit_structures
from mmtp_jax.fitting.gauss_newton import GaussNewton
from mmtp_jax.fitting.initial import solve_linear
from mmtp_jax.fitting.options import FitOptions
from mmtp_jax.fitting.prepared import PreparedSet
from mmtp_jax.fitting.weights import Weights
from mmtp_jax.interfaces.evaluation import evaluate_structures
from mmtp_jax.properties.exchange import exchange_of_structure
from mmtp_jax.structures.structure import Structure

FORM = {"level": 4, "n_species": 1, "radial_size": 3, "magnetic_size": 3, "form": "parity"}
SEED = 71


@pytest.fixture(scope="module")
def plain(random_potential):
    return random_potential(SEED, **FORM)


@pytest.fixture(scope="module")
def teacher(plain):
    """With terms of one function: five linear coefficients and three of the function."""
    found = plain.with_noncollinear_terms(1, seed=SEED)
    coeffs = np.random.default_rng(SEED).normal(size=(1, 5))
    return found.replace(noncollinear=found.noncollinear._replace(coeffs=coeffs))


@pytest.fixture(scope="module")
def cells(random_structure):
    return [random_structure(k, 2 + k % 2, n_species=1, shortest=1.9) for k in range(8)]


@pytest.fixture(scope="module")
def canted(teacher, cells, labelled):
    rng = np.random.default_rng(SEED)
    return labelled(teacher, [replace(s, magmoms=rng.normal(size=(len(s), 3))) for s in cells])


@pytest.fixture(scope="module")
def collinear(plain, cells, labelled):
    return labelled(plain, cells)


def targets_of(potential, structures):
    prepared = PreparedSet.of(structures, float(potential.cutoff))
    return make_targets(prepared.structures, prepared.batches, Weights())


def test_linear_coefficients_are_those_of_the_teacher(teacher, canted):
    """If the functions are."""
    start = teacher.unflatten(teacher.flatten())
    zeros = np.zeros_like(teacher.noncollinear.coeffs)
    start = start.replace(
        moment_coeffs=np.zeros_like(teacher.moment_coeffs),
        noncollinear=teacher.noncollinear._replace(coeffs=zeros),
    )
    solved, _ = solve_linear(start, np.zeros(0), targets_of(teacher, canted))
    np.testing.assert_allclose(solved.moment_coeffs, teacher.moment_coeffs, rtol=1e-6)
    np.testing.assert_allclose(
        solved.noncollinear.coeffs, teacher.noncollinear.coeffs, rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("method", [pytest.param("lbfgs", marks=pytest.mark.slow), "gauss-newton"])
def test_a_fit_recovers_canted_labels(method, teacher, canted):
    factors = 1 + 0.02 * np.cos(np.arange(teacher.n_parameters))
    start = teacher.unflatten(teacher.flatten() * factors)
    options = FitOptions(
        method=method, max_iterations=150 if method == "lbfgs" else 6, keep_domain=True,
        initialise=False, tolerance=0.0,
    )  # fmt: skip
    fit = fit_structures(start, canted, options=options)
    assert fit.loss < 1e-4 * fit.history[0]
    changed = teacher.noncollinear.coeffs
    assert np.abs(fit.potential.noncollinear.coeffs - changed).max() < 0.1 * np.abs(changed).max()


@pytest.mark.parametrize("method", ["lbfgs", "gauss-newton"])
def test_collinear_labels_leave_them_at_zero_and_a_sentence_says_so(method, plain, collinear):
    start = plain.with_noncollinear_terms(1)
    with pytest.warns(CoverageWarning, match="the 8 parameters of noncollinear terms mean nothing"):
        fit = fit_structures(start, collinear, options=FitOptions(method=method, max_iterations=3))
    assert not fit.potential.noncollinear.coeffs.any()
    assert fit.loss < fit.history[0]


def test_vectors_along_one_oblique_axis_leave_them_at_zero(plain, teacher, collinear):
    """There they are the square of round-off, which must not be taken for a size."""
    axis = np.array([1.0, -2.0, 2.0]) / 3.0
    turned = [
        replace(s, magmoms=s.magmoms[:, None] * axis, magnetic_forces=None) for s in collinear
    ]
    start = plain.with_noncollinear_terms(1)
    solved, _ = solve_linear(start, np.zeros(0), targets_of(start, turned))
    assert np.abs(solved.noncollinear.coeffs).max() < 1e-10


ON_SITES = [1, 1, 0, 0, 0]
"""Terms of one function that labels of undisplaced atoms know: those without directions."""


@pytest.fixture(scope="module")
def on_sites(teacher, labelled):
    """Canted ones of bcc, whose atoms are not displaced, with errors in the forces."""
    rng = np.random.default_rng(SEED)
    found = []
    for size in (2.5, 2.7, 2.9, 3.1):
        cell = size * np.eye(3)
        moments = rng.normal(size=(2, 3))
        positions = np.outer([0.0, 0.5 * size], np.ones(3))
        found.append(Structure(cell, np.ones(3, bool), positions, np.zeros(2, np.int32), moments))
    known = teacher.noncollinear._replace(coeffs=teacher.noncollinear.coeffs * ON_SITES)
    found = labelled(teacher.replace(noncollinear=known), found)
    assert max(np.abs(s.forces).max() for s in found) < 1e-9
    return [replace(s, forces=s.forces + 1e-3 * rng.normal(size=(2, 3))) for s in found]


@pytest.fixture(scope="module")
def of_sites(teacher, on_sites, collinear):
    """The least-squares start from these beside collinear ones, and its targets."""
    targets = targets_of(teacher, [*on_sites, *collinear])
    return solve_linear(teacher, np.zeros(0), targets)[0], targets


def test_what_no_label_determines_stays_at_zero(teacher, on_sites, of_sites):
    """Terms that vanish by inversion are round-off there, by which errors must not be divided."""
    solved, _ = of_sites
    expected = teacher.noncollinear.coeffs * ON_SITES
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(solved.noncollinear.coeffs, expected, rtol=1e-3, atol=1e-8)
    # So that energies of displaced atoms, and exchange constants, are those of such a teacher.
    right = teacher.replace(noncollinear=teacher.noncollinear._replace(coeffs=expected))
    moved = [replace(s, positions=s.positions + 0.1 * np.eye(2, 3), forces=None) for s in on_sites]
    got, wanted = ([r.energy for r in evaluate_structures(p, moved)] for p in (solved, right))
    np.testing.assert_allclose(got, wanted, rtol=1e-3)
    parallel = replace(on_sites[2], magmoms=np.full(2, 2.2), magnetic_forces=None)
    got, wanted = (exchange_of_structure(p, parallel, ("Fe", "Fe")).J for p in (solved, right))
    np.testing.assert_allclose(got, wanted, atol=1e-3 * np.abs(wanted).max())


def test_what_labels_hardly_determine_does_not_follow_their_errors(
    teacher, collinear, labelled, monkeypatch
):
    """Atoms are moved by 3e-3 Angstrom, and forces have errors."""
    rng, found = np.random.default_rng(SEED), []
    print("seed", SEED)
    for size in (2.5, 2.7, 2.9, 3.1) * 2:
        cell, places = size * np.eye(3), np.outer([0.0, 0.5 * size], np.ones(3))
        places += 3e-3 * rng.normal(size=(2, 3))
        moments = rng.normal(size=(2, 3))
        found.append(Structure(cell, np.ones(3, bool), places, np.zeros(2, np.int32), moments))
    known = teacher.noncollinear._replace(coeffs=teacher.noncollinear.coeffs * ON_SITES)
    right = teacher.replace(noncollinear=known)
    exact = labelled(right, found)
    places = np.outer([0.0, 1.45], np.ones(3))
    parallel = replace(found[2], positions=places, magmoms=np.full(2, 2.2), magnetic_forces=None)
    wanted = exchange_of_structure(right, parallel, ("Fe", "Fe")).J
    off = []
    for hardly in (initial.HARDLY, initial.DETERMINED):
        monkeypatch.setattr(initial, "HARDLY", hardly)
        errors = np.random.default_rng(SEED + 1)
        found = [
            replace(s, forces=s.forces + 5.0 * errors.normal(size=(2, 3)), stress=None)
            for s in exact
        ]
        targets = targets_of(teacher, [*found, *collinear])
        solved, _ = solve_linear(teacher, np.zeros(0), targets)
        got = exchange_of_structure(solved, parallel, ("Fe", "Fe")).J
        off.append(np.abs(got - wanted).max() / np.abs(wanted).max())
    print("J off by", off)
    assert off[0] < 0.05
    assert off[1] > 0.1


def test_undamped_gauss_newton_leaves_it_there(of_sites):
    solved, targets = of_sites
    theta = solved.flatten() * (1 + 0.01 * np.cos(np.arange(solved.n_parameters)))
    optimiser = GaussNewton(solved, targets, None)
    start = optimiser.start(theta)
    found = optimiser.step(start._replace(damping=np.asarray(1e-9)))
    assert found.value < start.value
    before, after = (solved.unflatten(s.theta).noncollinear.coeffs for s in (start, found))
    assert np.abs(after - before)[0, :2].min() > 1e-6
    np.testing.assert_allclose(after[0, 2:], before[0, 2:], atol=1e-8)


def test_grades_of_collinear_configurations_are_those_without_terms(
    plain, teacher, collinear, canted
):
    found = []
    for potential in (plain, teacher):
        active = ActiveSet.from_configurations(potential, collinear[:6])
        found.append([active.grade(some) for some in (collinear, canted)])
    (without, _), (with_terms, of_canted) = found
    np.testing.assert_allclose(with_terms, without, rtol=1e-9)
    # What no collinear configuration says anything of is new.
    assert of_canted.min() > 10.0
    both = ActiveSet.from_configurations(teacher, [*collinear, *canted])
    assert both.grade([*collinear, *canted]).max() <= 1.0 + 1e-2


def test_random_starts_have_functions_of_their_own(teacher):
    first, second = random_starts(teacher, 2, seed=3)
    assert not first.noncollinear.coeffs.any()
    assert np.abs(first.noncollinear.radial - second.noncollinear.radial).max() > 0.0
