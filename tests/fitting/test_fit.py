"""Fits: they find a known answer, end for the right reason, and can be interrupted."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from mmtp_jax.fitting import lbfgs
from mmtp_jax.fitting.fit import FitProblem, fit_structures, prepared_sets
from mmtp_jax.fitting.initial import with_domain
from mmtp_jax.fitting.options import FitOptions
from mmtp_jax.fitting.weights import Weights
from mmtp_jax.interfaces.evaluation import evaluate_structures
from mmtp_jax.structures.domain import ExtrapolationWarning
from mmtp_jax.structures.structure import LABELS


@pytest.fixture(scope="module")
def near_teacher(teacher):
    """near(seed): the teacher with every parameter changed by about a tenth."""

    def near(seed):
        theta, rng = teacher.flatten(), np.random.default_rng(seed)
        return teacher.unflatten(theta * (1 + 0.1 * rng.normal(size=theta.shape)))

    return near


@pytest.fixture(scope="module")
def progress():
    return []


@pytest.fixture(scope="module")
def compilations():
    """Compiled steps of L-BFGS after each step of the first fit."""
    return []


@pytest.fixture(scope="module")
def fitted(near_teacher, data, progress, compilations):
    """One fit that many tests look at."""

    def tell(told):
        progress.append(told)
        compilations.append(lbfgs.step._cache_size())

    options = FitOptions(max_iterations=1000, report_every=50, initialise=False)
    return fit_structures(near_teacher(4), data[:8], data[8:], options, tell)


def test_a_fit_to_a_teacher_of_the_same_form_finds_it(fitted, data):
    assert fitted.converged
    assert fitted.history[0] > 1e15 * fitted.loss
    for kind in LABELS:
        assert fitted.report.training[kind].rmse < 1e-6, kind
        # It is the teacher's function and no interpolation.
        assert fitted.report.validation[kind].rmse < 1e-4, kind


def test_most_starts_near_the_teacher_find_it(near_teacher, data):
    """Level 4 is quadratic in the radial functions: some starts end in another minimum."""
    options = FitOptions(max_iterations=1000, initialise=False)
    fits = [fit_structures(near_teacher(seed), data[:8], options=options) for seed in range(1, 6)]
    assert all(fit.history[0] > 1e4 * fit.loss for fit in fits)
    assert sum(fit.loss < 1e-20 for fit in fits) >= 3


def test_the_result_describes_itself(fitted, data):
    history = fitted.history
    assert len(history) == fitted.n_iterations + 1
    assert np.all(np.diff(history) <= 0)
    assert fitted.loss == history[-1]
    assert fitted.message
    assert fitted.report.training.n_configurations == 8
    assert fitted.report.validation.n_configurations == 2
    assert "training" in str(fitted.report)
    assert all(
        isinstance(leaf, (np.ndarray, np.generic)) for leaf in jax.tree.leaves(fitted.potential)
    )
    assert fitted.potential.flatten().dtype == np.float64


def test_the_report_is_that_of_the_potential_that_is_returned(fitted, data):
    results = evaluate_structures(fitted.potential, data[:8])
    errors = [(r.energy - s.energy) / len(s) for r, s in zip(results, data, strict=False)]
    got = fitted.report.training["energy"]
    assert got.rmse == pytest.approx(1e3 * np.sqrt(np.mean(np.square(errors))), rel=1e-6, abs=1e-9)
    assert got.n_values == 8


def test_the_callback_hears_every_step(fitted, progress):
    assert [p.iteration for p in progress] == list(range(fitted.n_iterations + 1))
    np.testing.assert_array_equal([p.loss for p in progress], fitted.history)
    assert {p.max_iterations for p in progress} == {1000}
    with_errors = [p.iteration for p in progress if p.training is not None]
    assert with_errors == [k for k in range(fitted.n_iterations + 1) if k % 50 == 0]
    assert progress[0].training["forces"].rmse > fitted.report.training["forces"].rmse


def test_a_fit_compiles_one_step(fitted, compilations, student, data):
    """The same program serves every step, and other fits of the same shape."""
    assert len(compilations) > 100
    assert compilations[1] <= compilations[0] + 1
    assert len(set(compilations[1:])) == 1
    options = FitOptions(max_iterations=3, weights=Weights(forces=0.3), tolerance=1e-2)
    fit_structures(student, data[:8], options=options)
    assert lbfgs.step._cache_size() == compilations[-1]


def test_the_domain_is_that_of_the_training_set_unless_told_otherwise(student, data):
    def domain(**options):
        fit = fit_structures(student, data[:8], options=FitOptions(max_iterations=0, **options))
        return float(fit.potential.min_dist), float(fit.potential.max_magmom[0])

    largest = max(np.abs(s.magmoms).max() for s in data[:8])
    min_dist, max_magmom = domain()
    assert 1.7 <= min_dist < 2.1
    assert max_magmom == pytest.approx(1.1 * largest)
    assert domain(keep_domain=True) == (1.5, 3.0)
    assert domain(min_dist=1.2) == (1.2, max_magmom)
    assert domain(max_magmom=4.5) == (min_dist, 4.5)


def test_a_fit_confines_its_potential_unless_told_otherwise(student, data):
    def confinement(**options):
        options = FitOptions(max_iterations=0, **options)
        return fit_structures(student, data[:8], options=options).potential.confinement

    found = confinement()
    assert found.repulsion.shape == (1, 1)
    assert confinement(keep_domain=True).decay[0, 0] != found.decay[0, 0]
    assert confinement(confine=False) is None


def test_steps_evaluate_a_confinement_only_where_data_are_outside(student, data):
    options = FitOptions(max_iterations=0, keep_domain=True)

    def in_steps(potential):
        sets = prepared_sets(data[:8], (), potential)
        return FitProblem.of(potential, *sets, options).optimiser.data[0].confinement

    inside = with_domain(student, min_dist=0.5, max_magmom=10.0)
    assert in_steps(inside) is None
    with pytest.warns(ExtrapolationWarning):
        assert in_steps(with_domain(student, min_dist=0.5, max_magmom=0.1)) is not None


def test_no_steps_give_the_least_squares_start(student, data):
    start = fit_structures(student, data[:8], options=FitOptions(max_iterations=0))
    assert start.n_iterations == 0
    assert not start.converged
    plain = fit_structures(
        student, data[:8], options=FitOptions(max_iterations=0, initialise=False, keep_domain=True)
    )
    np.testing.assert_allclose(plain.potential.flatten(), student.flatten(), rtol=1e-14)
    assert start.loss < 0.5 * plain.loss


def test_a_fit_that_no_longer_gains_has_converged(student, data):
    done = fit_structures(
        student, data[:8], options=FitOptions(max_iterations=2000, tolerance=0.9999)
    )
    assert done.converged
    assert 100 <= done.n_iterations < 2000
    assert "converged" in done.message
    stopped = fit_structures(student, data[:8], options=FitOptions(max_iterations=3))
    assert not stopped.converged
    assert "stopped after 3 iterations" in stopped.message


def test_a_fit_that_starts_at_the_answer_stays_there(teacher, data):
    """The loss is zero but for round-off, and no line search can get lower."""
    options = FitOptions(max_iterations=30, keep_domain=True, initialise=False)
    fit = fit_structures(teacher, data[:8], options=options)
    assert fit.loss < 1e-20
    np.testing.assert_allclose(fit.potential.flatten(), teacher.flatten(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kinds", [("energy",), ("magnetic_forces",), ("forces", "stress")])
def test_any_kinds_of_label_are_enough(kinds, student, data):
    part = [replace(s, **{kind: None for kind in LABELS if kind not in kinds}) for s in data[:8]]
    fit = fit_structures(student, part, options=FitOptions(max_iterations=5))
    assert np.isfinite(fit.loss)
    assert fit.loss < fit.history[0]
    assert [k.kind for k in fit.report.training.kinds] == list(kinds)


def test_a_weight_changes_which_errors_fall(student, data, random_potential, labelled):
    """Labels that the form cannot reach: what weighs more is met better."""
    hard = labelled(random_potential(53, level=6, n_species=1, radial_size=4), data[:8])
    by_weight = [
        fit_structures(
            student, hard, options=FitOptions(max_iterations=40, weights=Weights(forces=weight))
        )
        for weight in (1e-6, 10.0)
    ]
    light, heavy = (fit.report.training["forces"].rmse for fit in by_weight)
    assert heavy < light
    light, heavy = (fit.report.training["energy"].rmse for fit in by_weight)
    assert heavy > light


# --- interruptions ------------------------------------------------------------------


def test_a_resumed_fit_takes_the_same_steps_bit_for_bit(student, data, tmp_path):
    path = tmp_path / "fit.npz"
    whole = fit_structures(student, data[:8], options=FitOptions(max_iterations=12))
    half = fit_structures(student, data[:8], options=FitOptions(max_iterations=6, checkpoint=path))
    assert path.exists()
    resumed = fit_structures(
        student, data[:8], options=FitOptions(max_iterations=12, checkpoint=path)
    )
    assert half.n_iterations == 6
    np.testing.assert_array_equal(half.history, whole.history[:7])
    np.testing.assert_array_equal(resumed.history, whole.history)
    np.testing.assert_array_equal(resumed.potential.flatten(), whole.potential.flatten())


def test_a_finished_fit_resumes_to_itself(student, data, tmp_path):
    options = FitOptions(max_iterations=4, checkpoint=tmp_path / "fit.npz")
    first = fit_structures(student, data[:8], options=options)
    again = fit_structures(student, data[:8], options=options)
    np.testing.assert_array_equal(first.history, again.history)
    np.testing.assert_array_equal(first.potential.flatten(), again.potential.flatten())


def test_a_converged_fit_resumes_to_itself(near_teacher, data, tmp_path):
    """The last state before the end need not be the best one."""
    path = tmp_path / "fit.npz"
    options = FitOptions(max_iterations=1000, initialise=False, checkpoint=path)
    first = fit_structures(near_teacher(4), data[:8], options=options)
    assert first.converged
    again = fit_structures(near_teacher(4), data[:8], options=options)
    assert again.loss <= first.loss
    results = evaluate_structures(again.potential, data[:8])
    for structure, result in zip(data[:8], results, strict=True):
        np.testing.assert_allclose(result.forces, structure.forces, atol=1e-9)
    np.testing.assert_array_equal(again.potential.flatten(), first.potential.flatten())


def test_ctrl_c_gives_the_best_so_far_and_can_be_resumed(student, data, tmp_path):
    path = tmp_path / "fit.npz"

    def stop(progress):
        if progress.iteration == 5:
            raise KeyboardInterrupt

    stopped = fit_structures(
        student, data[:8], options=FitOptions(max_iterations=12, checkpoint=path), callback=stop
    )
    assert stopped.interrupted
    assert not stopped.converged
    assert "stopped by the user" in stopped.message
    assert stopped.n_iterations == 5
    whole = fit_structures(student, data[:8], options=FitOptions(max_iterations=12))
    np.testing.assert_array_equal(stopped.history, whole.history[:6])
    resumed = fit_structures(
        student, data[:8], options=FitOptions(max_iterations=12, checkpoint=path)
    )
    np.testing.assert_array_equal(resumed.history, whole.history)


def test_a_checkpoint_of_another_fit_is_refused(student, data, tmp_path):
    path = tmp_path / "fit.npz"
    options = FitOptions(max_iterations=2, checkpoint=path)
    fit_structures(student, data[:8], options=options)
    content = path.read_bytes()
    moved = [replace(data[0], energy=data[0].energy + 1e-6), *data[1:8]]
    heavier = replace(options, weights=Weights(forces=0.02))
    other = student.replace(scaling=np.float64(2.0))
    for args in (
        (student, moved, options),
        (student, data[:8], heavier),
        (other, data[:8], options),
    ):
        with pytest.raises(ValueError, match=r"fit\.npz belongs to another fit"):
            fit_structures(args[0], args[1], options=args[2])
    assert path.read_bytes() == content


def test_a_broken_checkpoint_is_refused(student, data, tmp_path):
    path = tmp_path / "fit.npz"
    path.write_bytes(b"this is no archive")
    options = FitOptions(max_iterations=2, checkpoint=path)
    with pytest.raises(ValueError, match="not a readable fit checkpoint"):
        fit_structures(student, data[:8], options=options)
    fit_structures(student, data[:8], options=replace(options, checkpoint=tmp_path / "good.npz"))
    whole = (tmp_path / "good.npz").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="not a readable fit checkpoint"):
        fit_structures(student, data[:8], options=options)


# --- Gauss-Newton -------------------------------------------------------------------


def test_gauss_newton_finds_the_teacher_in_few_steps(near_teacher, data, fitted):
    options = FitOptions(method="gauss-newton", initialise=False)
    fit = fit_structures(near_teacher(4), data[:8], data[8:], options)
    assert fit.converged
    assert fit.n_iterations <= 60
    assert fit.n_iterations < fitted.n_iterations
    assert fit.loss < 1e-20
    assert np.all(np.diff(fit.history) <= 0)
    assert fit.history[0] == pytest.approx(fitted.history[0], rel=1e-10)
    assert fit.report.validation["forces"].rmse < 1e-4


def test_gauss_newton_resumes_bit_for_bit(student, data, tmp_path):
    path = tmp_path / "fit.npz"
    options = FitOptions(method="gauss-newton", max_iterations=6)
    whole = fit_structures(student, data[:8], options=options)
    kept = replace(options, checkpoint=path)
    fit_structures(student, data[:8], options=replace(kept, max_iterations=3))
    resumed = fit_structures(student, data[:8], options=kept)
    np.testing.assert_array_equal(resumed.history, whole.history)
    np.testing.assert_array_equal(resumed.potential.flatten(), whole.potential.flatten())
    with pytest.raises(ValueError, match="belongs to another fit"):
        fit_structures(student, data[:8], options=replace(kept, method="lbfgs"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "adam"}, "lbfgs, gauss-newton, got 'adam'"),
        ({"keep_domain": True, "min_dist": 1.0}, "keep_domain"),
        ({"keep_domain": True, "max_magmom": 1.0}, "keep_domain"),
    ],
    ids=str,
)
def test_options_that_contradict_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        FitOptions(**options)


# --- what cannot be fitted ----------------------------------------------------------


def test_an_empty_training_set_is_an_error(student):
    with pytest.raises(ValueError, match="training set is empty"):
        fit_structures(student, [])


def test_a_training_set_without_labels_is_an_error(student, data):
    bare = [replace(s, **dict.fromkeys(LABELS)) for s in data[:2]]
    with pytest.raises(ValueError, match="nothing to fit to"):
        fit_structures(student, bare)


def test_an_infinite_loss_ends_the_fit_and_says_so(student, data):
    absurd = student.replace(radial_coeffs=student.radial_coeffs * 1e160)
    fit = fit_structures(
        absurd,
        data[:8],
        options=FitOptions(max_iterations=20, initialise=False, keep_domain=True),
    )
    assert not fit.converged
    assert not fit.interrupted
    assert "infinite or NaN" in fit.message
    assert fit.n_iterations < 20


def test_a_fit_resumed_after_an_infinite_loss_still_has_its_best(
    student, data, tmp_path, monkeypatch
):
    path = tmp_path / "fit.npz"
    options = FitOptions(max_iterations=10, checkpoint=path)
    real, calls = lbfgs.LBFGS.step, []

    def step(self, progress):
        calls.append(1)
        after = real(self, progress)
        return after._replace(loss=after.loss * np.nan, x=after.x * np.nan) if calls[4:] else after

    monkeypatch.setattr(lbfgs.LBFGS, "step", step)
    broken = fit_structures(student, data[:8], options=options)
    assert "infinite or NaN" in broken.message
    assert np.all(np.isfinite(broken.potential.flatten()))
    assert np.isfinite(broken.report.training["energy"].rmse)
    monkeypatch.setattr(lbfgs.LBFGS, "step", real)
    resumed = fit_structures(student, data[:8], options=options)
    assert np.all(np.isfinite(resumed.potential.flatten()))
    assert resumed.loss <= broken.loss


def test_fitting_changes_neither_potential_nor_structures(student, data):
    theta, positions = student.flatten().copy(), data[0].positions.copy()
    fit_structures(student, data[:8], options=FitOptions(max_iterations=1))
    np.testing.assert_array_equal(student.flatten(), theta)
    np.testing.assert_array_equal(data[0].positions, positions)
