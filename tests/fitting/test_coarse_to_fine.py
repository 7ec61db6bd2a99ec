"""Fits to a D-optimal part first: what the part is, when there is one, and that nothing is lost."""

from dataclasses import replace

import numpy as np
import pytest

from mmtp_jax.fitting import coarse_to_fine
from mmtp_jax.fitting.fit import FitProblem, fit_structures, prepared_sets
from mmtp_jax.fitting.options import FitOptions
from mmtp_jax.fitting.part import d_optimal, d_optimal_part, one_of_each

STAGED = {"coarse_to_fine": "on", "initialise": False, "report_every": 5}


@pytest.fixture
def small_part(monkeypatch):
    """Half of the ten configurations of `data`, and few steps to it."""
    monkeypatch.setattr(coarse_to_fine, "LEAST_RATIO", 2.0)


@pytest.fixture(scope="module")
def start(teacher):
    theta, rng = teacher.flatten(), np.random.default_rng(5)
    return teacher.unflatten(theta * (1 + 0.1 * rng.normal(size=theta.shape)))


def log_volume(rows):
    return np.linalg.slogdet(1e-6 * np.eye(rows.shape[1]) + rows.T @ rows)[1]


@pytest.mark.parametrize("n_rows", [4, 12, 30])
def test_the_part_has_a_larger_volume_than_random_ones(n_rows):
    """With fewer rows than parameters, as many, and more."""
    rng = np.random.default_rng(5)
    # Near one another but for a few, as configurations of one trajectory are.
    rows = rng.normal(size=(200, 12)) * np.where(rng.random(200) < 0.1, 1.0, 0.05)[:, None]
    scaled = rows / np.sqrt(np.mean(rows**2, axis=0))
    chosen = d_optimal(rows * 10.0 ** rng.uniform(-6, 6, 12), np.ones(200), n_rows)
    assert len(set(chosen)) == n_rows
    chance = [log_volume(scaled[rng.permutation(200)[:n_rows]]) for _ in range(300)]
    assert log_volume(scaled[chosen]) > max(chance) + 1.0


def test_the_first_rows_are_those_of_qr_with_pivoting():
    from scipy.linalg import qr

    rows = np.random.default_rng(1).normal(size=(50, 8))
    pivots = qr((rows / np.sqrt(np.mean(rows**2, axis=0))).T, pivoting=True)[2]
    np.testing.assert_array_equal(d_optimal(rows, np.ones(50), 8), pivots[:8])


def test_costs_stay_within_the_room():
    rng = np.random.default_rng(5)
    rows, costs = rng.normal(size=(40, 5)), rng.integers(1, 9, 40)
    chosen = d_optimal(rows, costs, 30)
    assert 20 < costs[chosen].sum() <= 30
    assert len(d_optimal(rows, costs, 0)) == 1
    assert sorted(d_optimal(rows, costs, 10**6)) == list(range(40))


def test_a_column_of_zeros_takes_no_part():
    rows = np.random.default_rng(3).normal(size=(40, 5))
    rows[:, 2] = 0.0
    without = d_optimal(np.delete(rows, 2, axis=1), np.ones(40), 12)
    np.testing.assert_array_equal(d_optimal(rows, np.ones(40), 12), without)


def test_the_part_of_a_set_is_better_than_chance_and_has_all_kinds_of_labels(student, data):
    data = [replace(s, stress=s.stress if k == 3 else None) for k, s in enumerate(data)]
    training, _ = prepared_sets(data, [], student)
    part = d_optimal_part(training, student, room=9)
    np.testing.assert_array_equal(part, d_optimal_part(training, student, room=9))
    assert 3 in part
    assert one_of_each(training, part)
    room = sum(len(data[k]) for k in part)
    assert room <= 9 + len(data[3])


def test_candidates_of_a_large_set_are_some_at_random(student, data, monkeypatch):
    training, _ = prepared_sets(data, [], student)
    monkeypatch.setattr("mmtp_jax.fitting.part.MOST_CANDIDATES", 3)
    parts = {tuple(d_optimal_part(training, student, 100, seed)) for seed in range(5)}
    assert {len(part) for part in parts} == {3}
    assert len(parts) > 1


def test_both_stages_are_told_of_and_kept_apart(small_part, start, data):
    told = []
    options = FitOptions(max_iterations=12, **STAGED)
    fit = fit_structures(start, data[:8], data[8:], options, told.append)
    stages = [p.stage for p in told]
    n = stages.count("part")
    assert stages == ["part"] * n + ["all"] * 13
    assert {p.stages for p in told} == {("part", "all")}
    np.testing.assert_array_equal([p.loss for p in told[:n]], fit.part.history)
    np.testing.assert_array_equal([p.loss for p in told[n:]], fit.history)
    assert [p.iteration for p in told] == [*range(n), *range(13)]
    n_part, n_atoms = len(fit.part.indices), sum(len(data[k]) for k in fit.part.indices)
    assert fit.part.n_atoms == n_atoms < sum(map(len, data[:8]))
    # Errors are those of the same data as the losses.
    assert {of.n_configurations for of in fit.part.errors.values()} == {n_part}
    assert {of.n_configurations for of in fit.errors.values()} == {8}
    assert fit.report.validation.n_configurations == 2
    assert f"{n_part} of 8 configurations with {n_atoms} atoms" in fit.stages
    assert fit.part.message
    assert fit.potential.record["fit"]["part"]["n_configurations"] == n_part


def test_the_loss_of_the_first_stage_is_that_of_the_part(small_part, start, data):
    fit = fit_structures(start, data[:8], options=FitOptions(max_iterations=3, **STAGED))
    training, _ = prepared_sets(data[:8], [], start)
    problem = FitProblem.of(start, training, None, FitOptions(initialise=False))
    part = [data[k] for k in fit.part.indices]
    coarse = problem.on(prepared_sets(part, [], start)[0])
    first = coarse.optimiser.start(coarse.starting_parameters())
    assert fit.part.history[0] == pytest.approx(float(first.loss), rel=1e-10)


def test_nothing_is_lost_beside_a_plain_fit(small_part, start, data):
    """The teacher is found, and the fit to all data begins far below where a plain one does."""
    options = FitOptions(max_iterations=1000, report_every=10**6, initialise=False)
    plain = fit_structures(start, data[:8], data[8:], replace(options, coarse_to_fine="off"))
    fit = fit_structures(start, data[:8], data[8:], replace(options, coarse_to_fine="on"))
    assert plain.part is None
    assert fit.history[0] < 1e-3 * plain.history[0]
    assert fit.converged
    assert plain.loss < 1e-15 * plain.history[0]
    assert fit.loss < 1e-15 * plain.history[0]
    assert fit.report.validation["forces"].rmse < 1e-4


def test_gauss_newton_goes_from_coarse_to_fine_as_well(small_part, start, data):
    options = FitOptions(method="gauss-newton", max_iterations=6, **STAGED)
    fit = fit_structures(start, data[:8], options=options)
    assert fit.part.history[-1] < fit.part.history[0]
    assert fit.loss < fit.history[0]


@pytest.mark.parametrize("cut", [4, 11])
def test_a_resumed_fit_takes_the_same_steps_in_both_stages(
    cut, small_part, start, data, tmp_path, monkeypatch
):
    """Cut off in the stage of the part, and in that of all data."""
    monkeypatch.setattr(coarse_to_fine, "WINDOW", 7)
    monkeypatch.setattr(coarse_to_fine, "TOLERANCE", 2.0)
    path, options = tmp_path / "fit.npz", FitOptions(max_iterations=12, **STAGED)
    whole = fit_structures(start, data[:8], options=options)
    assert len(whole.part.history) == 8
    heard = []

    def cut_off(progress):
        heard.append(progress)
        if len(heard) == cut:
            raise KeyboardInterrupt

    options = replace(options, checkpoint=path)
    stopped = fit_structures(start, data[:8], options=options, callback=cut_off)
    assert stopped.interrupted
    assert np.isfinite(stopped.loss)
    assert (heard[-1].stage == "part") == (cut == 4)
    if cut == 4:
        assert len(stopped.history) == 1
        np.testing.assert_array_equal(stopped.part.history, whole.part.history[:cut])
    resumed = fit_structures(start, data[:8], options=options)
    np.testing.assert_array_equal(resumed.part.history, whole.part.history)
    np.testing.assert_array_equal(resumed.history, whole.history)
    np.testing.assert_array_equal(resumed.potential.flatten(), whole.potential.flatten())
    assert resumed.part.indices == whole.part.indices
    again = fit_structures(start, data[:8], options=options)
    np.testing.assert_array_equal(again.history, whole.history)


def test_a_fit_that_ends_with_the_part_goes_on_with_all_data(
    small_part, start, data, tmp_path, monkeypatch
):
    """The state of a stage that has converged takes no further step."""
    monkeypatch.setattr(coarse_to_fine, "WINDOW", 7)
    monkeypatch.setattr(coarse_to_fine, "TOLERANCE", 2.0)
    options = FitOptions(max_iterations=12, **STAGED)
    whole = fit_structures(start, data[:8], options=options)

    def cut_off(progress):
        if progress.stage == "all":
            # Before anything of this stage is written, as a process that is killed would be.
            raise SystemExit

    options = replace(options, checkpoint=tmp_path / "fit.npz")
    with pytest.raises(SystemExit):
        fit_structures(start, data[:8], options=options, callback=cut_off)
    resumed = fit_structures(start, data[:8], options=options)
    np.testing.assert_array_equal(resumed.part.history, whole.part.history)
    np.testing.assert_array_equal(resumed.history, whole.history)


def test_auto_does_nothing_where_there_is_little_to_gain_and_says_why(start, data):
    told = []
    options = FitOptions(max_iterations=2)
    fit = fit_structures(start, data[:8], options=options, callback=told.append)
    assert fit.part is None
    assert {(p.stage, p.stages) for p in told} == {("all", ("all",))}
    n_atoms = sum(map(len, data[:8]))
    assert f"{n_atoms} atoms are too few for {start.n_parameters} parameters" in fit.stages
    nothing = fit_structures(start, data[:8], options=FitOptions(max_iterations=0))
    assert "no steps" in nothing.stages


def test_auto_begins_with_a_part_of_a_large_set_unless_the_start_was_fitted(
    start, data, monkeypatch
):
    monkeypatch.setattr(coarse_to_fine, "ATOMS_PER_PARAMETER", 0.1)
    options = FitOptions(max_iterations=2)
    fit = fit_structures(start, data[:8], options=options)
    assert fit.part is not None
    again = fit_structures(fit.potential, data[:8], options=options)
    assert again.part is None
    assert "fitted before" in again.stages
    off = fit_structures(start, data[:8], options=replace(options, coarse_to_fine="off"))
    assert off.part is None


def test_words_that_are_no_choice_and_sets_without_a_part_are_refused(start, data):
    with pytest.raises(ValueError, match="coarse_to_fine must be one of auto, on, off, got 'yes'"):
        FitOptions(coarse_to_fine="yes")
    with pytest.raises(ValueError, match=r"at least 4 configurations .* there are 3"):
        fit_structures(start, data[:3], options=FitOptions(coarse_to_fine="on"))
