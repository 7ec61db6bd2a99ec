"""Normal equations, the metric made of them, and the sample that they are taken from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmtp_jax.fitting.dataset import make_targets
from mmtp_jax.fitting.fit import FitProblem, fit_structures, prepared_sets
from mmtp_jax.fitting.lbfgs import LBFGS
from mmtp_jax.fitting.loss import loss, residuals
from mmtp_jax.fitting.metric import DAMPING, SOFTEST, metric, sample
from mmtp_jax.fitting.normal_equations import normal_equations
from mmtp_jax.fitting.options import FitOptions
from mmtp_jax.fitting.weights import Weights
from mmtp_jax.structures.batch import make_batches


@pytest.fixture(scope="module")
def targets(data):
    batches = make_batches(data[:6], 4.0)
    return [jax.tree.map(jnp.asarray, part) for part in make_targets(data[:6], batches, Weights())]


def test_the_normal_equations_are_those_of_plain_autodiff(student, targets):
    theta = jnp.asarray(student.flatten())
    matrix, gradient = normal_equations(student.flatten(), student, targets, None)
    columns = [jax.jacrev(lambda t, p=part: residuals(t, student, p))(theta) for part in targets]
    jacobian = np.concatenate([np.asarray(c) for c in columns])
    np.testing.assert_allclose(matrix, jacobian.T @ jacobian, rtol=1e-9, atol=1e-12)
    full = jax.grad(lambda t: loss(t, student, targets))(theta)
    np.testing.assert_allclose(2 * gradient, full, rtol=1e-9, atol=1e-12)


def test_in_the_metric_the_damped_curvature_is_one():
    rng = np.random.default_rng(0)
    jacobian = rng.normal(size=(60, 20)) * 10.0 ** rng.uniform(-2, 2, 20)
    matrix = jacobian.T @ jacobian
    columns = metric(matrix)
    damped = 2.0 * (matrix + DAMPING * np.diag(np.diag(matrix)))
    np.testing.assert_allclose(columns.T @ damped @ columns, np.eye(20), atol=1e-10)


def test_a_singular_matrix_has_a_metric():
    rng = np.random.default_rng(1)
    jacobian = rng.normal(size=(5, 9))
    jacobian[:, 4] = 0.0
    columns = metric(jacobian.T @ jacobian)
    assert np.isfinite(columns).all()
    # Directions that no label depends on get a length within the damping of the others.
    assert np.linalg.matrix_rank(columns) == 9
    assert np.isfinite(metric(np.zeros((3, 3)))).all()


def test_the_sample_is_a_part_with_the_same_kinds_of_labels(student, data):
    training, _ = prepared_sets(data, [], student)
    problem = FitProblem.of(student, training, None, FitOptions())
    everything = sample(training, problem.data.targets, Weights(), n_parameters=10**6)
    assert everything is problem.data.targets
    (part,) = sample(training, problem.data.targets, Weights(), n_parameters=8)
    n_atoms = int(np.sum(np.asarray(part.graph.configuration) < part.graph.n_configurations))
    assert 4 <= n_atoms <= 8
    for whole, some in zip(problem.data.targets[0].weights, part.weights, strict=True):
        assert (np.max(some) > 0) == (np.max(whole) > 0)


def test_a_metric_of_a_sample_serves_the_whole_set(student, data):
    """Far fewer steps than with no metric reach the same loss."""
    training, _ = prepared_sets(data, [], student)
    problem = FitProblem.of(student, training, None, FitOptions())
    part = sample(training, problem.data.targets, Weights(), n_parameters=20)
    optimiser = LBFGS(student, problem.data.targets, None, part)
    state = optimiser.start(problem.starting_parameters())
    first = float(state.loss)
    for _ in range(15):
        state = optimiser.step(state)
    assert float(state.loss) < 0.5 * first
    np.testing.assert_allclose(
        loss(optimiser.theta(state), student, problem.data.targets), state.loss, rtol=1e-9
    )


def test_the_metric_is_renewed_at_doubling_steps(student, targets):
    optimiser = LBFGS(student, targets, None, targets)
    first = optimiser.first_renewal
    assert first >= 50
    due = [n for n in range(9 * first) if optimiser.is_due(n)]
    assert due == [first, 2 * first, 4 * first, 8 * first]


def test_a_renewal_keeps_the_parameters_and_counts_on(student, data, monkeypatch):
    monkeypatch.setattr("mmtp_jax.fitting.lbfgs.FIRST_RENEWAL", 3)
    monkeypatch.setattr(LBFGS, "is_due", lambda self, n: n in (3, 6))
    fit = fit_structures(student, data[:8], options=FitOptions(max_iterations=9, tolerance=0.0))
    assert fit.n_iterations == 9
    assert np.all(np.diff(fit.history) <= 0)


def test_steps_do_not_grow_along_noncollinear_terms_that_hardly_any_label_determines():
    rows = np.random.default_rng(4).normal(size=(40, 6)) * [1.0, 1e-4, 1.0, 1e-1, 1e-5, 1e-16]
    columns = np.abs(metric(rows.T @ rows, slice(2, 6))).max(axis=1)
    # The norms of columns of random numbers are about sqrt(40), damping is 1e-3.
    assert columns[4:].max() < 1.0 / (SOFTEST * np.sqrt(DAMPING) * np.sqrt(40.0)) * 2.0
    assert np.abs(metric(rows.T @ rows)).max(axis=1)[4:].min() > 10.0 * columns[4:].max()
