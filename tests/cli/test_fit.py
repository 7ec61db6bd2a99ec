"""``mmtp init`` and ``mmtp fit``: outputs, backups, checkpoints, interruption, settings files."""

from __future__ import annotations

import csv
import json
import re
import shutil

import numpy as np
import pytest

import mmtp_jax as mmtp
from mmtp_jax import progress
from mmtp_jax.cli.commands import quickstart
from mmtp_jax.cli.fit_settings import Form, check_form, first_potential
from mmtp_jax.fitting.options import Domain
from mmtp_jax.fitting.progress import Progress
from mmtp_jax.plot.fits import loss_of, read_history
from mmtp_jax.progress import FitProgress


def test_init_writes_a_potential_and_counts_its_parameters(run, tmp_path) -> None:
    path = tmp_path / "start.mtp"
    options = (
        "--level", 4, "--species", "Fe", "Al", "--magnetic-size", 3, "--radial-size", 5,
        "--cutoff", 4.5, "--min-dist", 2.0, "--max-magmom", 3.0, 0.3, "--seed", 3,
    )  # fmt: skip
    result = run("init", *options, "-o", path)
    assert result.status == 0, result.err
    potential = mmtp.load(path)
    assert potential.species == ("Fe", "Al")
    assert (potential.form, potential.parities) == ("parity", "e")
    assert potential.max_magmom.tolist() == [3.0, 0.3]
    assert (float(potential.min_dist), float(potential.cutoff)) == (2.0, 4.5)
    assert f"{potential.n_parameters} parameters" in result.out
    again = tmp_path / "again.mtp"
    run("init", *options, "-o", again, "--form", "bare")
    assert mmtp.load(again).form == "bare"
    assert np.array_equal(mmtp.load(again).moment_coeffs, potential.moment_coeffs)


def test_init_of_a_potential_with_a_non_magnetic_species(run, tmp_path) -> None:
    found = []
    for how in (("--non-magnetic", "Al"), ("--max-magmom", 3.5, 0)):
        path = tmp_path / "start.mtp"
        result = run("init", "--level", 4, "--species", "Fe", "Al", *how, "-o", path)
        assert result.status == 0, result.err
        assert "moments Fe +-3.5 mu_B, Al non-magnetic" in result.out
        found.append(mmtp.load(path))
        assert f"{found[-1].n_parameters} parameters" in result.out
    assert found[0].non_magnetic == found[1].non_magnetic == ("Al",)
    assert np.array_equal(found[0].flatten(), found[1].flatten())
    assert "Al non-magnetic" in run("info", path).out


def test_noncollinear_terms_of_new_and_of_start_potentials(run, tmp_path) -> None:
    plain, new = tmp_path / "plain.mtp", tmp_path / "new.mtp"
    form = ("--level", 4, "--species", "Fe", "--radial-size", 3)
    for path, more in ((plain, ()), (new, ("--noncollinear-terms", 1))):
        assert run("init", *form, *more, "-o", path).status == 0
    words = "1 function, 5 linear and 3 radial parameters, the linear ones zero"
    assert words in run("info", new).out
    assert "noncollinear" not in run("info", plain).out
    assert mmtp.load(new).n_parameters == mmtp.load(plain).n_parameters + 8
    given = {"start": str(plain), "noncollinear_terms": 2}
    check_form(Form(**given), Domain(), {"potential": given})
    for path, n in ((plain, 0), (plain, 2), (new, 0), (new, 1)):
        start = mmtp.load(path)
        found = first_potential(Form(start=str(path), noncollinear_terms=n), Domain(), 0, {})
        assert found.noncollinear_terms == (n or start.noncollinear_terms)
        assert found.form == start.form
        assert n == 2 or np.array_equal(found.flatten(), start.flatten())
    given = {"start": str(plain), "form": "bare"}
    assert first_potential(Form(**given), Domain(), 0, {"potential": given}).form == "bare"
    result = run("init", *form, "--noncollinear-terms", 1, "--form", "bare", "-o", new)
    assert "the form 'bare' does not have" in result.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ("--level", "4", "--species", "Fe", "--non-magnetic", "Al"),
            "--non-magnetic names Al, but",
        ),
        (
            ("--level", "4", "--species", "Fe", "--max-magmom", "0"),
            "by --non-magnetic or a --max-magmom of 0, so that no energy depends on moments; "
            "declare none, and give --magnetic-size 1 instead",
        ),
        (
            ("--level", "4", "--species", "Fe", "Al", "--max-magmom", "1", "2", "3"),
            "--max-magmom has 3 numbers for the species Fe Al; give one",
        ),
        (("--level", "4", "--species", "Fe", "Fe"), "different chemical symbols, got Fe Fe"),
        (("--level", "4", "--species", "fe"), "'fe' among the species is not a chemical symbol; d"),
        (
            ("--level", "4", "--species", "Fe", "--form", "Parity"),
            "usage: mmtp init [options]\nmmtp init: error: --form must be one of parity, "
            "symmetrised, bare, got 'Parity'; did you mean parity?\n",
        ),
        (
            ("--level", "4", "--species", "Fe", "--cutoff", "25"),
            "--cutoff must be above 0 and at",
        ),
        (
            ("--level", "4", "--species", "Fe", "--cutoff", "1"),
            "--min-dist (1.9 Angstrom) must be positive and below --cutoff (1 Angstrom)",
        ),
        (("--species", "Fe"), "a new potential needs --level"),
        (("--level", "4"), "a new potential needs --species"),
        (("--level", "4", "--species", "Fe", "train.cfg"), "'train.cfg' among the species"),
        (("--level", "4", "--species", "Fe", "-o", "absent/pot.mtp"), "absent does not exist"),
    ],
)
def test_init_says_what_is_wrong(run, options, words) -> None:
    result = run("init", *options)
    assert result.status == 2
    assert words in result.err


def test_fit_prints_labels_progress_and_errors(fitted) -> None:
    result = fitted.result
    assert result.status == 0, result.err
    out = result.out
    assert "training set:\n  8 configurations, 16 atoms" in out
    assert "validation set:\n  2 configurations, 4 atoms" in out
    # Not a terminal: lines, the first and the last step among them.
    assert "step     0/21  loss" in out
    assert "step    21/21  loss" in out
    assert "meV/mu_B" in out
    assert "validation  magnetic forces" in out
    assert result.err == ""
    for path in (fitted.potential, fitted.report, fitted.plot, fitted.history):
        assert f"wrote {path}\n" in out


def test_fit_writes_what_it_says(read_back, fitted, data) -> None:
    report = json.loads(fitted.report.read_text())
    assert report["fit"]["n_iterations"] == 21
    assert report["settings"]["potential"]["level"] == 4
    assert report["settings"]["data"]["files"] == [str(data.extxyz)]
    potential = mmtp.load(fitted.potential)
    assert report["potential"]["n_parameters"] == potential.n_parameters
    held_out = mmtp.split(len(data.atoms_list), 0.2, 0)[1]
    labelled = [data.atoms_list[k] for k in held_out]
    errors = [
        (r.energy - a.get_potential_energy()) / len(a) * 1e3
        for r, a in zip(mmtp.evaluate(potential, labelled), labelled, strict=True)
    ]
    rmse = float(np.sqrt(np.mean(np.square(errors))))
    assert report["errors"]["validation"]["energy"]["rmse"] == pytest.approx(rmse, rel=1e-6)
    assert read_back(fitted.plot)


def test_history_has_each_step_and_the_errors_that_are_known(fitted) -> None:
    with open(fitted.history, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["iteration"]) for row in rows] == list(range(22))
    loss = np.array([float(row["loss"]) for row in rows])
    assert np.all(np.diff(loss) <= 0.0)
    known = [int(row["iteration"]) for row in rows if row["energy RMSE (meV/atom)"]]
    assert known == [0, 20]
    assert {row["stage"] for row in rows} == {"all"}


def test_a_fit_to_a_part_first_says_which_steps_are_of_which_data(
    run, read_back, data, form, tmp_path
) -> None:
    history, report, loss = tmp_path / "loss.csv", tmp_path / "report.json", tmp_path / "loss.png"
    # With the data of the shared fit only the part is compiled.
    result = run("fit", data.extxyz, *form, "--validation", 0.2, "--max-iterations", 21,
                 "--coarse-to-fine", "on", "-o", tmp_path / "pot.mtp", "--history", history,
                 "--report", report)  # fmt: skip
    assert result.status == 0, result.err
    for stage in ("part of the data", "all data"):
        assert f"{stage}: step     0/21  loss" in result.out
        assert f"{stage}: step    21/21  loss" in result.out
    assert "21 steps to a D-optimal part, 2 of 8 configurations with 4 atoms" in result.out
    with open(history, newline="") as file:
        rows = list(csv.DictReader(file))
    steps = [(row["stage"], int(row["iteration"])) for row in rows]
    assert steps == [("part", k) for k in range(22)] + [("all", k) for k in range(22)]
    part = json.loads(report.read_text())["fit"]["part"]
    assert part["n_configurations"] == 2
    assert part["loss"] == float(rows[21]["loss"])
    stages, _ = read_history(history)
    assert list(stages) == ["part of the data", "all data"]
    lines = loss_of(stages).axes[0].lines
    assert [line.get_label() for line in lines] == list(stages)
    # All data go on where the part has ended.
    np.testing.assert_array_equal(lines[1].get_xdata(), 21 + np.arange(22))
    assert run("plot", "--history", history, "-o", loss).status == 0
    assert read_back(loss)


def test_a_plain_fit_says_why_it_has_one_stage(fitted) -> None:
    assert "all data from the first step: 16 atoms are too few" in fitted.result.out
    assert json.loads(fitted.report.read_text())["fit"]["part"] is None


def test_a_word_for_the_stages_that_is_no_choice_is_refused(run, data, form) -> None:
    result = run("fit", data.extxyz, *form, "--coarse-to-fine", "yes")
    assert result.status == 2
    assert "--coarse-to-fine" in result.err
    assert "auto" in result.err


def test_checkpoint_resumes_and_an_old_potential_is_kept(run, fitted, data, form, tmp_path) -> None:
    checkpoint, output = tmp_path / "fit.npz", tmp_path / "pot.mtp"
    shutil.copy(fitted.checkpoint, checkpoint)
    shutil.copy(fitted.potential, output)
    old = output.read_bytes()
    arguments = ("fit", data.extxyz, *form, "--validation", 0.2, "--max-iterations", 24,
                 "-o", output, "--checkpoint", checkpoint)  # fmt: skip
    history = tmp_path / "loss.csv"
    history.write_text("of an earlier fit\n")
    result = run(*arguments, "--history", history)
    assert result.status == 0, result.err
    # The errors before the fit was resumed are there, and the file before is kept.
    before, after = (path.read_text().splitlines() for path in (fitted.history, history))
    assert after[: len(before)] == before
    assert len(after) == 1 + 25
    assert (tmp_path / "loss.csv.bak").read_text() == "of an earlier fit\n"
    assert f"{history}: (the file that was there before is kept as {history}.bak)" in result.out
    assert "resumed" in result.err
    assert "after 21 steps" in result.err
    assert "step     0/24" not in result.out
    assert "24 steps" in result.out
    backup = tmp_path / "pot.mtp.bak"
    assert backup.read_bytes() == old != output.read_bytes()
    assert f"kept as {backup}" in result.out
    resumed = output.read_bytes()

    # Another fit does not go on from it, unless told to start afresh.
    other = run(*arguments, "--energy-weight", 2.0)
    assert other.status == 2
    assert "belongs to another fit" in other.err
    assert output.read_bytes() == resumed

    # From the start again, it gets to the same potential.
    again = run(*arguments, "--restart")
    assert again.status == 0, again.err
    assert "starting afresh" in again.out
    assert (tmp_path / "fit.npz.bak").exists()
    assert "step     0/24" in again.out
    assert output.read_bytes() == resumed


def test_ctrl_c_saves_the_best_so_far(run, data, form, tmp_path, monkeypatch) -> None:
    class Interrupted(FitProgress):
        def __call__(self, news: Progress) -> None:
            super().__call__(news)
            if news.iteration == 3:
                raise KeyboardInterrupt

    monkeypatch.setattr(progress, "FitProgress", Interrupted)
    output = tmp_path / "pot.mtp"
    result = run("fit", data.extxyz, *form, "--validation", 0.2, "-o", output)
    assert result.status == 130
    assert "stopped by the user; this is the best so far; 3 steps" in result.out
    assert f"wrote {output}" in result.out
    assert mmtp.load(output).species == ("Fe",)


def test_settings_file_and_options_that_win(run, fitted, data, tmp_path) -> None:
    output, file = tmp_path / "pot.mtp", tmp_path / "fit.toml"
    file.write_text(
        f"command = 'fit'\n[data]\nfiles = '{data.cfg}'\nvalidation = 0.2\n"
        "[potential]\nlevel = 4\nspecies = ['Fe']\nradial_size = 4\nmagnetic_size = 2\n"
        "cutoff = 4.2\n"
        f"[fit]\nmax_iterations = 1000\n[output]\npotential = '{output}'\n"
    )
    result = run("fit", "--settings", file, "--max-iterations", 21)
    assert result.status == 0, result.err
    assert "21 steps" in result.out
    # The .cfg file holds the same numbers as the .extxyz file, to the digits that this one has.
    ours, theirs = (mmtp.load(p).species_coeffs for p in (output, fitted.potential))
    assert ours == pytest.approx(theirs, rel=1e-6)


def test_start_potential_is_not_replaced_unless_said(run, fitted, data, monkeypatch) -> None:
    monkeypatch.chdir(fitted.folder)
    before = fitted.potential.read_bytes()
    result = run("fit", data.extxyz, "--potential", "pot.mtp")
    assert result.status == 2
    assert "pot.mtp is an input" in result.err
    assert fitted.potential.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--potential", "start.mtp", "--level", "4"), "level of a new one"),
        (("--report", "absent/report.json"), "folder absent does not exist"),
        (("--plot", "parity.gif"), "must end in .png, .pdf or .svg"),
        (("--report", "x.json", "--history", "x.json"), "two outputs would be written to"),
        (("--validation", "absent.cfg"), "no file 'absent.cfg'"),
        (("--max-magmom", "1", "2"), "--max-magmom has 2 numbers"),
        (("--energy-weight", "-1"), "--energy-weight must be at least 0"),
    ],
)
def test_fit_refuses_before_it_works(run, data, form, options, words) -> None:
    new = () if "--potential" in options else form
    result = run("fit", data.extxyz, *new, *options)
    assert result.status == 2
    assert words in result.err
    assert "fitting" not in result.out


def test_words_behind_species_that_are_no_symbols_are_found_out(run, data) -> None:
    result = run("fit", "--level", 4, "--species", "Fe", "Xx", data.cfg)
    assert result.status == 2
    assert "'Xx' among the species is not a chemical symbol" in result.err


def test_fit_does_not_write_over_its_data(run, data, form) -> None:
    result = run("fit", data.cfg, *form, "-o", data.cfg)
    assert result.status == 2
    assert "is an input" in result.err


def test_labels_under_other_names_are_pointed_out(run, data, form, tmp_path) -> None:
    path = tmp_path / "odd.extxyz"
    atoms = data.atoms_list[0].copy()
    del atoms.arrays["magnetic_forces"]
    atoms.info["REF_energy"] = 1.0
    mmtp.write(path, [atoms])
    result = run("fit", path, *form, "-o", tmp_path / "pot.mtp")
    assert result.status == 2
    assert "mmtp fit: warning: odd.extxyz: 'REF_energy' in 1 of 1" in result.err
    assert "error: there is nothing to fit to: 1 configuration without energy" in result.err


def test_bar_on_a_terminal(capsys) -> None:
    with FitProgress(terminal=True) as bar:
        for k in range(3):
            bar(Progress(k + 5, 7, 1.0 / (k + 1)))
    err = capsys.readouterr().err
    assert "7/7" in err
    assert "loss 3.333e-01" in err


def test_each_stage_has_a_bar(capsys) -> None:
    with FitProgress(terminal=True) as bar:
        for stage in ("part", "all"):
            for k in range(4):
                bar(Progress(k, 3, 1.0 / (k + 1), stage=stage, stages=("part", "all")))
    err = capsys.readouterr().err
    assert "part of the data 3/3" in err
    assert "all data 0/3" in err
    assert "all data 3/3" in err


def test_quickstart(run, fitted, data, tmp_path, monkeypatch) -> None:
    # With data and form of the shared fit there is nothing to compile.
    form = {"species": ("Fe",), "radial_size": 4, "magnetic_size": 2, "cutoff": 4.2}
    atoms_list = mmtp.read(data.extxyz)
    atoms_list[3].info["making"] = "code: ABINIT"
    mmtp.write(tmp_path / "some_say.extxyz", atoms_list)
    monkeypatch.setattr(quickstart, "DATA", [tmp_path / "some_say.extxyz"])
    monkeypatch.setattr(quickstart, "_FORM", form)
    folder = tmp_path / "new" / "demo"
    result = run("quickstart", "--output", folder, "--level", 4, "--max-iterations", 5)
    assert result.status == 0, result.err
    # All shipped labels are of one making, which some say.
    for n in (8, 2):
        assert re.search(rf"made by ABINIT.*, {n} configurations", result.out)
    assert "do not say" not in result.out + result.err
    assert "MMTPCalculator" in result.out
    files = ["parity.png", "pot.active.npz", "pot.mtp", "report.json"]
    assert sorted(p.name for p in folder.iterdir()) == files
    assert json.loads((folder / "report.json").read_text())["fit"]["n_iterations"] == 5


@pytest.mark.slow
def test_quickstart_as_users_run_it(run, tmp_path) -> None:
    result = run("quickstart", "--output", tmp_path)
    assert result.status == 0, result.err
    errors = json.loads((tmp_path / "report.json").read_text())["errors"]["validation"]
    # Disordered cells far from the others are among those that are held out.
    assert errors["energy"]["rmse"] < 20.0
    assert errors["forces"]["rmse"] < 200.0
    assert errors["stress"]["rmse"] < 3.0
    assert errors["magnetic_forces"]["rmse"] < 60.0


def test_moments_beyond_what_was_chosen_are_told(run, data, form, tmp_path) -> None:
    options = ("--max-iterations", 0, "--no-active-set", "-o", tmp_path / "pot.mtp")
    result = run("fit", data.extxyz, *form, *options, "--max-magmom", 1)
    assert result.status == 0, result.err
    moments = np.abs([atoms.get_magnetic_moments() for atoms in data.atoms_list])
    beyond = (moments > 1.0).any(axis=1).sum()
    assert (
        f"{(moments > 1.0).sum()} moments in {beyond} of {len(moments)} configurations are outside "
        f"of the interval of the potential (Fe -1 to 1 mu_B; largest {moments.max():.4f}, first in "
    ) in result.err
    assert "extrapolated; without --max-magmom a fit covers its data" in result.err
    assert "a fit covers" not in run("fit", data.extxyz, *form, *options).err
