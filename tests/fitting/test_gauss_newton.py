"""Levenberg-Marquardt: its normal equations and its steps; fits with it are in test_fit.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmtp_jax.fitting import training_data
from mmtp_jax.fitting.dataset import make_targets
from mmtp_jax.fitting.fit import fit_structures
from mmtp_jax.fitting.gauss_newton import GaussNewton
from mmtp_jax.fitting.options import FitOptions
from mmtp_jax.fitting.weights import Weights
from mmtp_jax.structures.batch import make_batches


@pytest.fixture(scope="module")
def targets(data):
    batches = make_batches(data[:6], 4.0)
    return [jax.tree.map(jnp.asarray, part) for part in make_targets(data[:6], batches, Weights())]


@pytest.fixture(scope="module")
def optimiser(student, targets):
    return GaussNewton(student, targets, None)


def test_every_step_lowers_the_loss_or_changes_nothing(student, optimiser):
    state = optimiser.start(student.flatten())
    for _ in range(5):
        new = optimiser.step(state)
        moved = not np.array_equal(new.theta, state.theta)
        assert new.value < state.value if moved else new.value == state.value
        assert new.damping > 0
        assert np.all(new.curvature >= state.curvature)
        state = new


def test_a_checkpoint_of_the_other_method_is_refused(student, data, tmp_path):
    path = tmp_path / "fit.npz"
    fit_structures(student, data[:8], options=FitOptions(max_iterations=1, checkpoint=path))
    with pytest.raises(ValueError, match="belongs to another fit"):
        fit_structures(
            student,
            data[:8],
            options=FitOptions(method="gauss-newton", max_iterations=1, checkpoint=path),
        )


def test_a_data_set_in_several_graphs_gives_the_same_steps(student, data, monkeypatch):
    options = FitOptions(method="gauss-newton", max_iterations=2, tolerance=0.0)
    together = fit_structures(student, data[:6], options=options)
    n_atoms = max(len(s) for s in data[:6])
    monkeypatch.setattr(training_data, "JACOBIAN_BYTES", 8 * 6 * student.n_parameters * n_atoms)
    apart = fit_structures(student, data[:6], options=options)
    np.testing.assert_allclose(apart.history, together.history, rtol=1e-6)
    assert 0.5 < together.fill <= 1.0
