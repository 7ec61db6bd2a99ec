"""The validation set during a fit: what is told, what is kept, and when it ends the fit."""

from __future__ import annotations

import numpy as np
import pytest

import mmtp_jax as mmtp
from mmtp_jax import progress
from mmtp_jax.cli.fit_output import write_history
from mmtp_jax.fitting.coverage import CoverageWarning, count_numbers, few_labels
from mmtp_jax.fitting.progress import Progress
from mmtp_jax.io.convert import to_structures
from mmtp_jax.io.store import read_store, write_store
from mmtp_jax.plot.fits import read_history

OPTIONS = {"report_every": 3, "tolerance": 0.0}


@pytest.fixture(scope="module")
def sets():
    from importlib.resources import files

    atoms_list = mmtp.read(str(files("mmtp_jax") / "data" / "fe_cdft.extxyz"))
    atoms_list = [atoms for atoms in atoms_list if len(atoms) == 2]
    return atoms_list[:3], atoms_list[30:38]


@pytest.fixture(scope="module")
def start():
    return mmtp.Potential.new(level=4, species=("Fe",), radial_size=8, magnetic_size=3, cutoff=4.2)


@pytest.fixture(scope="module")
def best(start, sets):
    training, validation = sets
    told: list[Progress] = []
    # Three configurations do not determine it, so the fit goes beyond its best.
    with pytest.warns(CoverageWarning, match="give more labels"):
        fit = mmtp.fit(
            start, training, validation=validation, max_iterations=60, best_validation=True,
            callback=told.append, **OPTIONS,
        )  # fmt: skip
    return fit, told


def test_the_best_validation_loss_is_kept(best, sets) -> None:
    fit, told = best
    losses = fit.validation_losses
    assert sorted(losses) == list(range(0, fit.n_iterations + 1, 3))
    step = min(losses, key=losses.get)
    assert step < fit.n_iterations
    assert fit.validation_loss == pytest.approx(losses[step], rel=1e-9)
    assert fit.loss == fit.history[step]
    assert f"kept is step {step}, of the lowest validation loss" in fit.message
    own = mmtp.evaluate(fit.potential, sets[1])
    errors = [r.energy - a.get_potential_energy() for r, a in zip(own, sets[1], strict=True)]
    (news,) = [p for p in told if p.iteration == step]
    assert news.validation["energy"].rmse == pytest.approx(
        1e3 * np.sqrt(np.mean(np.square(errors))) / 2, rel=1e-4
    )
    assert news.validation_loss == losses[step]
    assert all((p.validation is None) == (p.iteration % 3 != 0) for p in told)


def test_patience_ends_the_fit_and_needs_no_callback(start, sets, best) -> None:
    losses, (training, validation) = best[0].validation_losses, sets
    lowest, expected = 0, None
    for step in sorted(losses):
        lowest = step if losses[step] < losses[lowest] else lowest
        if expected is None and step - lowest >= 9:
            expected = step
    assert expected is not None
    with pytest.warns(CoverageWarning):
        fit = mmtp.fit(
            start, training, validation=validation, max_iterations=60, patience=9, **OPTIONS
        )
    assert abs(fit.n_iterations - expected) <= 2
    assert "the validation loss has not fallen for" in fit.message
    assert not fit.converged


def test_what_cannot_be_is_refused(start, sets) -> None:
    training, validation = sets
    with pytest.raises(ValueError, match="need a validation set"):
        mmtp.fit(start, training, patience=5)
    everything = [*training, *validation]
    with pytest.raises(ValueError, match="held out in turn must not decide"):
        mmtp.cross_validate(start, everything, 2, best_validation=True)
    with pytest.raises(ValueError, match="needed only to decide"):
        mmtp.cross_validate(start, everything, 2, validation=validation)


def test_a_checkpoint_keeps_what_was_best(start, sets, best, tmp_path) -> None:
    """A fit that is resumed after its best step keeps that step."""
    training, validation = sets
    step = min(best[0].validation_losses, key=best[0].validation_losses.get)
    path = tmp_path / "fit.npz"
    options = {"validation": validation, "best_validation": True, "checkpoint": path, **OPTIONS}
    with pytest.warns(CoverageWarning):
        mmtp.fit(start, training, max_iterations=step + 4, **options)
    with pytest.warns(CoverageWarning):
        fit = mmtp.fit(start, training, max_iterations=60, **options)
    assert fit.validation_losses == best[0].validation_losses
    assert fit.message == best[0].message
    np.testing.assert_array_equal(fit.potential.flatten(), best[0].potential.flatten())
    # What patience would have ended takes no more steps.
    with pytest.warns(CoverageWarning):
        ended = mmtp.fit(start, training, max_iterations=99, **options, patience=60 - step)
    assert ended.n_iterations == 60
    assert f"the validation loss has not fallen for {60 - step} steps" in ended.message
    # Files of earlier versions have the losses alone; what was best in them is gone.
    header, arrays = read_store(path, "", "")
    del header["best"], arrays["best"]
    write_store(path, header, arrays)
    with pytest.warns(CoverageWarning):
        fit = mmtp.fit(start, training, max_iterations=66, **options)
    assert "kept is step 6" in fit.message
    write_store(path, header | {"best": step}, arrays | {"best": np.zeros(3)})
    with pytest.raises(ValueError, match=r"fit\.npz is not a readable fit checkpoint \(its best"):
        mmtp.fit(start, training, max_iterations=66, **options)


def test_a_set_of_its_own_decides_in_folds(start, sets) -> None:
    decides, validation = sets
    with pytest.warns(CoverageWarning):
        folds = mmtp.cross_validate(
            start, validation, 2, validation=decides, patience=3, max_iterations=12, **OPTIONS
        )  # fmt: skip
    for held_out, fit in zip(folds.held_out, folds.fits, strict=True):
        assert "of the lowest validation loss" in fit.message
        tested = [validation[k] for k in held_out]
        found = mmtp.evaluate(fit.potential, tested)
        errors = [f.energy - a.get_potential_energy() for f, a in zip(found, tested, strict=True)]
        rmse = 1e3 * np.sqrt(np.mean(np.square(errors))) / 2
        assert fit.report.validation["energy"].rmse == pytest.approx(rmse, rel=1e-4)


def test_lines_have_the_errors_of_their_own_step(best, capsys, monkeypatch) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY", 0.0)
    _, told = best
    with progress.FitProgress(terminal=False) as shown:
        for news in told[:5]:
            shown(news)
    lines = capsys.readouterr().out.splitlines()
    assert ["RMSE" in line for line in lines] == [p.iteration % 3 == 0 for p in told[:5]]
    assert f"validation loss {told[3].validation_loss:.4e}" in lines[3]


def test_history_has_the_validation_loss(best, tmp_path) -> None:
    fit, _ = best
    write_history(str(tmp_path / "loss.csv"), fit)
    stages, validation = read_history(tmp_path / "loss.csv")
    (loss,) = stages.values()
    assert loss == pytest.approx(fit.history)
    assert validation == pytest.approx(fit.validation_losses, rel=1e-5)
    _, over, star = mmtp.plot.loss(fit).axes[0].lines
    assert list(over.get_xdata()) == sorted(fit.validation_losses)
    assert star.get_ydata()[0] == min(fit.validation_losses.values())


def test_few_labels_are_told_with_a_form_that_they_suffice_for(start, sets) -> None:
    structures = to_structures(sets[1], ("Fe",))
    # One energy, six forces, six stresses and two dE/dm of each.
    assert count_numbers(structures) == 15 * 8
    assert count_numbers(structures, mmtp.Weights(stress=0, forces=0)) == 3 * 8
    large = mmtp.Potential.new(level=12, species=("Fe",), radial_size=8, magnetic_size=3)
    (sentence,) = few_labels(large, structures)
    assert f"120 numbers, fewer than the {large.n_parameters} parameters" in sentence
    level, size = (int(word.split("=")[1]) for word in sentence.split() if "=" in word)
    smaller = mmtp.Potential.new(level=level, species=("Fe",), radial_size=size, magnetic_size=3)
    assert smaller.n_parameters <= 60
    assert few_labels(smaller, structures) == []
