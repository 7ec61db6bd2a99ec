"""The formulas S5 to S12 of Burov 2026."""

import numpy as np
import pytest

from mmtp_jax.oracles.vasp.penalty import (
    Criteria,
    Misfit,
    MomentFit,
    constraint_moments,
    fit_moments,
    magnetic_forces,
    misfit,
    penalty_per_atom,
    refined_moments,
    rescaled_radii,
)


def test_rescaled_spheres_fill_the_cell():
    kinds, radii = np.array([0, 1, 0]), np.array([1.3, 1.5])
    found = rescaled_radii(radii, kinds, 50.0)
    assert np.sum(4 / 3 * np.pi * found[kinds] ** 3) == pytest.approx(50.0, rel=1e-12)
    np.testing.assert_allclose(found / radii, found[0] / radii[0])


def test_fit_finds_the_line():
    smoothed = np.array([1.5, -1.2, 0.3, 0.0])
    fit = fit_moments(1.25 * smoothed - 0.03, smoothed)
    np.testing.assert_allclose(fit, [1.25, -0.03, 1.0], rtol=1e-10)
    scattered = fit_moments(1.25 * smoothed + [0.2, -0.2, 0.2, -0.2], smoothed)
    assert scattered.r_squared < 0.995


def test_equal_moments_give_a_line_through_the_origin():
    # Printed to 0.001: a line through these two points has the slope 3.
    smoothed, total = np.array([1.600, 1.601]), np.array([2.080, 2.083])
    slope, intercept, r_squared = fit_moments(total, smoothed)
    assert intercept == 0.0
    assert slope == pytest.approx(1.3, abs=0.002)
    assert r_squared > 0.99


def test_fits_without_meaning_are_refused():
    with pytest.raises(ValueError, match=r"all below 0\.02 mu_B"):
        fit_moments(np.zeros(3), np.array([0.01, 0.0, -0.01]))
    with pytest.raises(ValueError, match="slope -1"):
        fit_moments(np.array([1.0, 0.0]), np.array([0.0, 1.0]))


@pytest.mark.parametrize("seed", range(5))
def test_refinement_removes_the_bias_of_the_other_integration(seed):
    # Where MW_int follows M_CONSTR exactly, S7 brings M_int to the targets and S11 brings m there.
    rng = np.random.default_rng(seed)
    print(f"seed {seed}")
    targets, bias = rng.uniform(-3, 3, 6), rng.normal(scale=0.1, size=6)
    smoothed = rng.uniform(-2, 2, 6)
    slope, intercept = 1.3, 0.05
    fit = fit_moments(slope * smoothed + intercept, smoothed)
    constraint = constraint_moments(targets, fit)
    total = slope * constraint + intercept
    np.testing.assert_allclose(total, targets, atol=1e-10)
    refined = refined_moments(constraint, total - bias, total, fit.slope)
    np.testing.assert_allclose(slope * refined + intercept - bias, targets, atol=1e-10)


def test_misfit_counts_components_across_the_axis():
    found = np.array([[1.0, 0.0, 0.0], [0.0, 0.03, 0.04]])
    wanted = np.array([[0.9, 0.0, 0.0], [0.0, 0.0, 0.0]])
    largest, mean, rms = misfit(found, wanted)
    assert largest == pytest.approx(0.1)
    assert mean == pytest.approx(0.075)
    assert rms == pytest.approx(np.sqrt((0.01 + 0.0025) / 2))
    assert penalty_per_atom(found, wanted, 40.0) == pytest.approx(40 * 0.0125 / 2)


def test_criteria_are_strict():
    criteria = Criteria(0.03, 0.02, 0.01)
    assert criteria.violated(Misfit(0.029, 0.019, 0.0), 0.009) == ()
    assert len(criteria.violated(Misfit(0.03, 0.02, 0.0), 0.01)) == 3
    assert "largest" in criteria.violated(Misfit(np.nan, 0.0, 0.0), 0.0)[0]


def test_magnetic_forces_are_minus_the_derivative_of_the_energy():
    # E(u) with couplings; u minimises E + lambda |u - c|^2; m = slope u + intercept.
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 3))
    stiffness, rest, slope = root @ root.T + np.eye(3), rng.normal(size=3), 1.3
    weight, constraint = 10.0, rng.normal(size=3)

    def energy(m):
        d = (m - 0.02) / slope - rest
        return 0.5 * d @ stiffness @ d

    hessian = stiffness + 2 * weight * np.eye(3)
    u = np.linalg.solve(hessian, stiffness @ rest + 2 * weight * constraint)
    found = magnetic_forces(weight * (u - constraint), MomentFit(slope, 0.02, 1.0), u)
    m, step = slope * u + 0.02, 1e-5
    for k, shift in enumerate(np.eye(3) * step):
        numerical = -(energy(m + shift) - energy(m - shift)) / (2 * step)
        assert found[k] == pytest.approx(numerical, rel=1e-7)


def test_magnetic_forces_of_vectors_are_minus_the_gradient():
    # The same with vectors, whose intercept is along them: E couples the directions too.
    rng = np.random.default_rng(1)
    fit, weight = MomentFit(1.3, 0.05, 1.0), 10.0
    root = rng.normal(size=(6, 6))
    stiffness, rest = root @ root.T + np.eye(6), 2.0 * rng.normal(size=6)

    def smoothed(m):
        lengths = np.linalg.norm(m, axis=1, keepdims=True)
        return m / lengths * (lengths - fit.intercept) / fit.slope

    def energy(m):
        d = smoothed(m).ravel() - rest
        return 0.5 * d @ stiffness @ d

    constraint = constraint_moments(2.0 * rng.normal(size=(2, 3)), fit)
    hessian = stiffness + 2 * weight * np.eye(6)
    u = np.linalg.solve(hessian, stiffness @ rest + 2 * weight * constraint.ravel()).reshape(2, 3)
    found = magnetic_forces(weight * (u - constraint), fit, u)
    lengths = np.linalg.norm(u, axis=1, keepdims=True)
    m, step = u / lengths * (fit.slope * lengths + fit.intercept), 1e-5
    for k in np.ndindex(2, 3):
        shift = np.zeros((2, 3))
        shift[k] = step
        numerical = -(energy(m + shift) - energy(m - shift)) / (2 * step)
        assert found[k] == pytest.approx(numerical, rel=1e-6)


def test_formulas_of_vectors_are_those_of_numbers_along_an_axis():
    smoothed, targets = np.array([1.5, -1.2, 0.3]), np.array([2.0, -1.0, 0.5])
    unit = np.array([0.6, 0.0, -0.8])
    total = 1.25 * smoothed + 0.03 * np.sign(smoothed)
    fit = fit_moments(np.outer(total, unit), np.outer(smoothed, unit))
    np.testing.assert_allclose(fit, [1.25, 0.03, 1.0], rtol=1e-10)
    found = constraint_moments(np.outer(targets, unit), fit)
    np.testing.assert_allclose(found, np.outer((targets - 0.03 * np.sign(targets)) / 1.25, unit))
    np.testing.assert_array_equal(constraint_moments(np.zeros((1, 3)), fit), 0.0)
