"""Ensembles, cross-validation and scans: one compilation, honest folds, what Ctrl-C keeps."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from mmtp_jax.fitting import initial, lbfgs, normal_equations, training_data
from mmtp_jax.fitting.cross_validation import cross_validate, fold_indices, scan_weights
from mmtp_jax.fitting.ensemble import fit_ensemble, random_starts
from mmtp_jax.fitting.fit import Fit, fit_structures
from mmtp_jax.fitting.options import FitOptions
from mmtp_jax.fitting.prepared import PreparedSet
from mmtp_jax.fitting.report import Errors, KindErrors
from mmtp_jax.fitting.statistics import Spread, Statistics, statistics_table
from mmtp_jax.fitting.weights import Weights
from mmtp_jax.interfaces.evaluation import evaluate_structures
from mmtp_jax.potential.observables import evaluate_graph
from mmtp_jax.potential.potential import Potential
from mmtp_jax.structures.structure import LABELS
from mmtp_jax.tables import aligned

# What is held out may lie outside of the intervals of the rest.
pytestmark = pytest.mark.filterwarnings("ignore::mmtp_jax.ExtrapolationWarning")

STEPS = FitOptions(max_iterations=5)
FOLDS = 4
"""Of ten configurations: two of three, two of two."""
SEED = 4
"""Of folds that have the shape of the ensemble's training set, for it is compiled already."""


@pytest.fixture(scope="module")
def small() -> Potential:
    return Potential.new(
        level=2, species=("Fe",), radial_size=3, min_dist=1.5, cutoff=4.0, max_magmom=3.0, seed=3
    )


@pytest.fixture(scope="module")
def starts(small):
    return random_starts(small, 3, seed=5)


@pytest.fixture(scope="module")
def compilations():
    """Compiled steps before the ensemble and after it."""
    return [lbfgs.step._cache_size()]


@pytest.fixture(scope="module")
def ensemble(starts, data, compilations):
    fitted = fit_ensemble(starts, data[:8], data[8:], STEPS)
    compilations.append(lbfgs.step._cache_size())
    return fitted


def compiled() -> dict[str, int]:
    """How often each program was compiled so far."""
    return {
        "step": lbfgs.step._cache_size(),
        "normal equations": normal_equations._of_graph._cache_size(),
        "least squares": initial._of_graph._cache_size(),
        "evaluation": evaluate_graph._cache_size(),
    }


@pytest.fixture(scope="module")
def fold_compilations():
    """Before the folds and after them."""
    return [compiled()]


@pytest.fixture(scope="module")
def folds(small, data, fold_compilations):
    found = cross_validate(small, data, FOLDS, STEPS, SEED)
    fold_compilations.append(compiled())
    return found


def interrupt_at(task_index, iteration):
    """A callback that is Ctrl-C in one step of one fit."""

    def callback(task, news):
        at_step = not isinstance(news, Fit) and news.iteration == iteration
        if task.index == task_index and at_step:
            raise KeyboardInterrupt

    return callback


# --- ensembles ----------------------------------------------------------------------


def test_members_share_one_compilation(ensemble, compilations):
    assert len(ensemble.fits) == 3
    assert not ensemble.interrupted
    assert compilations[1] <= compilations[0] + 1


def test_a_member_is_the_fit_of_its_start(ensemble, starts, data):
    alone = fit_structures(starts[1], data[:8], data[8:], STEPS)
    np.testing.assert_array_equal(alone.history, ensemble.fits[1].history)
    np.testing.assert_array_equal(alone.potential.flatten(), ensemble.potentials[1].flatten())
    assert len({fit.loss for fit in ensemble.fits}) == 3


def test_random_starts_are_new_potentials_of_the_same_form(small):
    scaled = small.replace(scaling=np.float64(0.1), species_coeffs=np.array([-3.0]))
    starts = random_starts(scaled, 2, seed=7)
    for k, start in enumerate(starts):
        new = Potential.new(
            level=2, species=("Fe",), radial_size=3, min_dist=1.5, cutoff=4.0, seed=7 + k
        )
        np.testing.assert_allclose(0.1 * start.radial_coeffs, new.radial_coeffs, rtol=1e-14)
        np.testing.assert_array_equal(start.moment_coeffs, new.moment_coeffs)
        assert start.species_coeffs.tolist() == [-3.0]
        assert start.max_magmom.tolist() == [3.0]


def test_statistics_are_those_of_the_members(ensemble):
    for name in ("training", "validation"):
        for kind in LABELS:
            members = [getattr(fit.report, name)[kind] for fit in ensemble.fits]
            found = ensemble.errors[name][kind]
            assert found.unit == members[0].unit
            for spread, of in (
                (found.rmse, "rmse"),
                (found.mae, "mae"),
                (found.largest, "largest"),
            ):
                values = [getattr(member, of) for member in members]
                assert spread.mean == pytest.approx(np.mean(values))
                assert spread.sigma == pytest.approx(np.std(values, ddof=1))
                half = 2 * spread.sigma
                assert spread.interval() == pytest.approx((spread.mean - half, spread.mean + half))


def test_the_best_member_has_the_lowest_validation_loss(ensemble, starts, data):
    losses = [fit.validation_loss for fit in ensemble.fits]
    assert ensemble.best == int(np.argmin(losses))
    # Eq. 8 again, from the results of the potential; "vibrations" divides energies by the size.
    weights, fit, total = Weights(), ensemble.fits[0], 0.0
    for s, r in zip(data[8:], evaluate_structures(fit.potential, data[8:]), strict=True):
        xx, yy, zz, yz, xz, xy = r.stress
        stress = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        total += weights.energy * (r.energy - s.energy) ** 2 / len(s)
        total += weights.forces * np.sum((r.forces - s.forces) ** 2)
        total += weights.stress * np.sum((s.volume * (stress - s.stress)) ** 2) / len(s)
        total += weights.magnetic_forces * np.sum((r.magnetic_forces - s.magnetic_forces) ** 2)
    assert losses[0] == pytest.approx(total / 2)
    # Without a validation set it is the training loss that counts.
    without = replace(ensemble, fits=tuple(replace(f, validation_loss=None) for f in ensemble.fits))
    assert without.best == int(np.argmin([fit.loss for fit in ensemble.fits]))


def test_table_and_dictionary(ensemble):
    text = str(ensemble)
    assert text.startswith("RMSE, mean +- 2 sigma (95 %) over 3 members:\n")
    assert text.count(" +- ") == 1 + 2 * len(LABELS)
    assert "meV/mu_B" in text
    content = json.loads(json.dumps(ensemble.as_dict()))
    assert len(content["members"]) == content["n_members"] == 3
    energy = ensemble.errors["training"]["energy"].rmse
    assert content["errors"]["training"]["energy"]["rmse"]["values"] == list(energy.values)


def test_members_of_other_forms_are_refused(starts, small, data):
    with pytest.raises(ValueError, match="potential 1 differs"):
        fit_ensemble([small, small.replace(max_magmom=np.array([4.0]))], data)
    with pytest.raises(ValueError, match="at least one potential"):
        fit_ensemble([], data)
    with pytest.raises(ValueError, match="not by gauss-newton"):
        fit_ensemble(starts, data, options=FitOptions(method="gauss-newton"), parallel=True)
    with pytest.raises(ValueError, match="no checkpoint"):
        fit_ensemble(starts, data, options=FitOptions(checkpoint="x.npz"), parallel=True)
    with pytest.raises(ValueError, match="all data from the start"):
        fit_ensemble(starts, data, options=FitOptions(coarse_to_fine="on"), parallel=True)


# --- in parallel --------------------------------------------------------------------


@pytest.fixture(scope="module")
def parallel(starts, data):
    told = []
    fitted = fit_ensemble(starts, data[:8], data[8:], STEPS, lambda *news: told.append(news),
                          parallel=True)  # fmt: skip
    return fitted, told


def test_parallel_members_take_the_steps_of_sequential_ones(ensemble, parallel):
    fitted, told = parallel
    for one, other in zip(ensemble.fits, fitted.fits, strict=True):
        np.testing.assert_allclose(other.history, one.history, rtol=1e-6)
        assert other.message == one.message
    losses = [news.loss for _, news in told if not isinstance(news, Fit)]
    best = np.min([fit.history for fit in fitted.fits], axis=0)
    np.testing.assert_array_equal(losses, best)
    assert [task.index for task, news in told if isinstance(news, Fit)] == [0, 1, 2]
    assert lbfgs.step_together._cache_size() == 1


def test_a_member_that_is_done_keeps_its_best(ensemble, parallel, starts, data):
    """The first starts where its fit ends: it stays there while the others go on."""
    done = fit_structures(starts[0], data[:8], options=FitOptions(max_iterations=2000, tolerance=0))
    domain = {name: getattr(done.potential, name) for name in
              ("min_dist", "min_magmom", "max_magmom", "confinement")}  # fmt: skip
    members = [done.potential, *(start.replace(**domain) for start in starts[1:])]
    options = FitOptions(max_iterations=12, initialise=False, keep_domain=True)
    fitted = fit_ensemble(members, data[:8], options=options, parallel=True)
    assert fitted.fits[0].loss <= done.loss
    assert fitted.fits[0].loss == pytest.approx(done.loss)
    assert fitted.fits[0].converged
    assert fitted.fits[0].n_iterations < 12
    for fit in fitted.fits[1:]:
        assert fit.n_iterations == 12
        assert fit.history[0] > fit.loss
    assert lbfgs.step_together._cache_size() == 1


def test_ctrl_c_keeps_the_best_of_all_parallel_members(parallel, starts, data):
    options = replace(STEPS, max_iterations=50)
    stopped = fit_ensemble(starts, data[:8], data[8:], options, interrupt_at(0, 3), parallel=True)
    assert stopped.interrupted
    for one, other in zip(parallel[0].fits, stopped.fits, strict=True):
        np.testing.assert_allclose(other.history, one.history[:4], rtol=1e-12)
        assert "stopped by the user" in other.message


# --- cross-validation ---------------------------------------------------------------


@pytest.mark.parametrize(("n", "n_folds"), [(10, 5), (11, 3), (7, 7), (23, 4)])
def test_every_configuration_is_held_out_once(n, n_folds):
    folds = fold_indices(n, n_folds, seed=2)
    assert sorted(np.concatenate(folds)) == list(range(n))
    sizes = [len(fold) for fold in folds]
    assert len(sizes) == n_folds
    assert max(sizes) - min(sizes) <= 1
    again, other = fold_indices(n, n_folds, seed=2), fold_indices(n, n_folds, seed=3)
    assert [f.tolist() for f in again] == [f.tolist() for f in folds]
    assert [f.tolist() for f in other] != [f.tolist() for f in folds]


@pytest.mark.parametrize("n_folds", [0, 1, 11])
def test_impossible_folds_are_refused(n_folds):
    with pytest.raises(ValueError, match=f"{n_folds} folds of 10"):
        fold_indices(10, n_folds)


def test_folds_share_one_compilation(folds, fold_compilations):
    assert sorted(map(len, folds.held_out)) == [2, 2, 3, 3]
    before, after = fold_compilations
    for name in ("step", "normal equations", "least squares"):
        assert after[name] <= before[name] + 1, name
    # Of the training and of the validation sets.
    assert after["evaluation"] <= before["evaluation"] + 2


def test_held_out_errors_are_of_what_a_fold_has_not_seen(folds, data):
    assert not folds.interrupted
    # One of each size: every shape is compiled anew.
    for held_out, fit in zip(folds.held_out[1:3], folds.fits[1:3], strict=True):
        part = [data[k] for k in held_out]
        results = evaluate_structures(fit.potential, part)
        errors = [(r.energy - s.energy) / len(s) for r, s in zip(results, part, strict=True)]
        rmse = 1e3 * float(np.sqrt(np.mean(np.square(errors))))
        assert fit.report.validation["energy"].rmse == pytest.approx(rmse, rel=1e-6)
        assert fit.report.training.n_configurations == len(data) - len(part)
        rest = [s for k, s in enumerate(data) if k not in held_out]
        largest = max(np.abs(s.magmoms).max() for s in rest)
        assert float(fit.potential.max_magmom[0]) == pytest.approx(1.1 * largest)


def test_a_fold_starts_from_the_rest_alone(folds, small, data):
    """The steps depend on the padding a little, through random signs in the scale of L-BFGS."""
    rest = [s for k, s in enumerate(data) if k not in folds.held_out[-1]]
    alone = fit_structures(small, rest, options=replace(STEPS, max_iterations=0))
    assert folds.fits[-1].history[0] == pytest.approx(alone.loss, rel=1e-9)
    assert folds.fits[-1].loss < 0.5 * alone.loss


def test_folds_as_text_and_dictionary(folds):
    assert str(folds).startswith("RMSE, mean +- sigma (68 %) over 4 folds:\n")
    content = json.loads(json.dumps(folds.as_dict()))
    assert sorted(k for fold in content["folds"] for k in fold["held_out"]) == list(range(10))
    values = [fit.report.validation["stress"].rmse for fit in folds.fits]
    of_stress = content["errors"]["validation"]["stress"]["rmse"]
    assert of_stress["sigma"] == pytest.approx(np.std(values, ddof=1))


def test_parts_of_a_set_have_one_shape_and_nothing_changes(random_potential, two_species_data):
    """Different numbers of neighbours make graphs of several widths; one part lacks one."""
    potential = random_potential(53, level=2, radial_size=3)
    whole = PreparedSet.of(two_species_data, 4.0)
    widest = whole.batches[-1].members
    rest = np.setdiff1d(np.arange(8), widest)
    parts = [np.arange(5), np.arange(3, 8), rest]
    made = whole.parts(parts)
    shapes = [[[np.shape(a) for a in batch.graph] for batch in part.batches] for part in made]
    assert shapes[0] == shapes[1] == shapes[2]
    for part, indices in zip(made, parts, strict=True):
        results = evaluate_structures(potential, [two_species_data[k] for k in indices])
        for one, other in zip(part.results(potential), results, strict=True):
            np.testing.assert_allclose(one.energy, other.energy, rtol=1e-12)
            np.testing.assert_allclose(one.forces, other.forces, atol=1e-10)


# --- scans --------------------------------------------------------------------------


def test_scan_cross_validates_each_weight(folds, small, data):
    options = replace(STEPS, weights=Weights(forces=0.02))
    scan = scan_weights(small, data, "forces", (0.01, 3.0), FOLDS, options, SEED)
    assert scan.values == (0.01, 3.0)
    assert not scan.interrupted
    # 0.01 is the default weight of forces, whatever the other options say.
    for one, other in zip(scan.results[0].fits, folds.fits, strict=True):
        np.testing.assert_allclose(one.history, other.history, rtol=1e-9)
    assert scan.results[1].fits[0].loss > scan.results[0].fits[0].loss
    for one, other in zip(scan.results[0].held_out, scan.results[1].held_out, strict=True):
        np.testing.assert_array_equal(one, other)
    header, *rows = scan.rows()
    assert header[0] == "forces weight"
    assert len(rows) == 2 * len(LABELS)
    assert all(len(row) == len(header) for row in rows)
    assert "weight of forces" in str(scan)
    assert json.loads(json.dumps(scan.as_dict()))["values"][1]["weight"] == 3.0


def test_scan_refuses_what_it_cannot_do(small, data):
    with pytest.raises(ValueError, match="kind must be one of energy"):
        scan_weights(small, data, "magnetic")
    for values in ((), (0.1, 0.0), (math.nan,)):
        with pytest.raises(ValueError, match="positive"):
            scan_weights(small, data, values=values)


# --- interruption and checkpoints ---------------------------------------------------


def test_ctrl_c_keeps_what_is_done(ensemble, folds, starts, small, data):
    second = fit_ensemble(starts, data[:8], data[8:], STEPS, interrupt_at(1, 2))
    assert second.interrupted
    assert len(second.fits) == 1
    np.testing.assert_array_equal(second.fits[0].history, ensemble.fits[0].history)
    assert "over 1 member:" in str(second)
    assert " +- " not in str(second).split("\n", 1)[1]
    first = fit_ensemble(starts, data[:8], data[8:], STEPS, interrupt_at(0, 2))
    assert first.interrupted
    assert [fit.n_iterations for fit in first.fits] == [2]
    third = cross_validate(small, data, FOLDS, STEPS, SEED, interrupt_at(2, 0))
    assert third.interrupted
    assert len(third.fits) == len(third.held_out) == 2
    assert "over 2 of 4 folds" in str(third)
    json.dumps(third.as_dict())
    scan = scan_weights(
        small,
        data,
        values=(0.1, 1.0),
        n_folds=FOLDS,
        options=STEPS,
        seed=SEED,
        callback=interrupt_at(6, 1),
    )
    assert scan.interrupted
    assert scan.values == (0.1,)
    assert len(scan.results[0].fits) == FOLDS


def test_ctrl_c_before_anything_is_done_is_ctrl_c(starts, data, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(training_data, "make_targets", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit_ensemble(starts, data[:8], data[8:], STEPS)


def test_each_member_has_its_checkpoint(ensemble, starts, data, tmp_path):
    options = replace(STEPS, checkpoint=tmp_path / "fit.npz")
    fit_ensemble(starts[:2], data[:8], data[8:], replace(options, max_iterations=3))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fit.0.npz", "fit.1.npz"]
    steps = []

    def tell(task, news):
        if not isinstance(news, Fit):
            steps.append((task.index, news.iteration))

    resumed = fit_ensemble(starts[:2], data[:8], data[8:], options, tell)
    assert steps == [(k, iteration) for k in range(2) for iteration in (3, 4, 5)]
    np.testing.assert_array_equal(resumed.fits[1].history, ensemble.fits[1].history)


# --- statistics ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((3.76, 3.94, 3.85), "3.85 +- 0.18"),
        ((238.0, 240.8), "239.4 +- 4.0"),
        ((100.0, 300.0), "200 +- 283"),
        ((1.0, 1.0), "1.0000 +- 0.0000"),
        ((2.5,), "2.500"),
    ],
)
def test_spreads_have_two_digits(values, text):
    assert Spread(values).text(2) == text


def test_one_fit_has_no_sigma():
    assert math.isnan(Spread((1.0,)).sigma)
    assert Spread((1.0,)).as_dict() == {"mean": 1.0, "sigma": None, "values": [1.0]}


def test_kinds_count_where_a_fit_has_labels():
    def errors(*kinds):
        return Errors(1, tuple(KindErrors(k, "u", float(n), 0.0, 0.0, 1, 1) for n, k in kinds))

    both = Statistics.of([errors((1, "energy"), (2, "stress")), errors((3, "energy"))])
    assert both["energy"].rmse.values == (1.0, 3.0)
    assert both["stress"].rmse.values == (2.0,)
    assert "forces" not in both
    with pytest.raises(KeyError, match="forces"):
        _ = both["forces"]
    table = statistics_table({"a": both, "b": Statistics.of([errors((1, "energy"))])}, 1)
    assert len({len(line) for line in table.splitlines()[:2]}) == 1
    assert len(table.splitlines()) == 4


def test_tables_have_their_signs_below_each_other():
    lines = aligned([("x", "value"), ("a", "1.0 +- 0.25"), ("b", "100 +- 3")]).splitlines()
    assert lines[2].index("+-") == lines[3].index("+-")
