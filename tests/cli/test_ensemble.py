"""``mmtp fit`` with several fits: files, tables, the figure of a scan, what Ctrl-C keeps."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

import mmtp_jax as mmtp
from mmtp_jax import progress
from mmtp_jax.cli import fit_several
from mmtp_jax.fitting.fit import Fit
from mmtp_jax.progress import SeriesProgress

# What is held out may lie outside of the intervals of the rest.
pytestmark = pytest.mark.filterwarnings("ignore::mmtp_jax.ExtrapolationWarning")

FEW = ("--max-iterations", 4)


@pytest.fixture
def interrupt(monkeypatch):
    """interrupt(k): Ctrl-C in the second step of fit k."""

    def at(index: int) -> None:
        class Interrupted(SeriesProgress):
            def __call__(self, task, news) -> None:
                super().__call__(task, news)
                at_step = not isinstance(news, Fit) and news.iteration == 2
                if task.index == index and at_step:
                    raise KeyboardInterrupt

        monkeypatch.setattr(progress, "SeriesProgress", Interrupted)

    return at


def test_ensemble_writes_members_the_best_and_a_report(
    read_back, run, data, form, tmp_path
) -> None:
    output, report = tmp_path / "pot.mtp", tmp_path / "report.json"
    result = run(
        "fit", data.extxyz, *form, "--ensemble", 2, "--validation", 0.2, *FEW, "--seed", 3,
        "-o", output, "--report", report, "--plot", tmp_path / "best.png",
    )  # fmt: skip
    assert result.status == 0, result.err
    assert "seeds 3 to 4" in result.out
    for k in range(2):
        assert f"member {k + 1} of 2: 4 steps" in result.out
        assert f"wrote {tmp_path / f'pot.{k}.mtp'}" in result.out
    assert "mean +- 2 sigma (95 %) over 2 members:" in result.out
    content = json.loads(report.read_text())
    members = content["ensemble"]["members"]
    best = content["ensemble"]["best"]
    assert best == int(np.argmin([member["validation_loss"] for member in members]))
    assert f"pot.{best}.mtp has the lowest loss of the validation set" in result.out
    assert output.read_bytes() == (tmp_path / f"pot.{best}.mtp").read_bytes()
    for k in range(2):
        member = mmtp.load(tmp_path / f"pot.{k}.mtp")
        assert mmtp.ActiveSet.load(tmp_path / f"pot.{k}.active.npz", member).n_seen > 0
    assert content["settings"]["several"]["ensemble"] == 2
    assert read_back(tmp_path / "best.png")
    # The same members from Python.
    start = mmtp.Potential.new(level=4, species=("Fe",), radial_size=4, magnetic_size=2, cutoff=4.2)
    kept, held_out = mmtp.split(len(data.atoms_list), 0.2, 3)
    atoms_list = data.atoms_list
    ensemble = mmtp.fit_ensemble(
        start, [atoms_list[k] for k in kept], 2, seed=3, max_iterations=4,
        validation=[atoms_list[k] for k in held_out],
    )  # fmt: skip
    assert [fit.loss for fit in ensemble.fits] == pytest.approx([m["loss"] for m in members])


def test_ensemble_keeps_what_is_done(run, data, form, tmp_path, interrupt) -> None:
    output = tmp_path / "pot.mtp"
    (tmp_path / "pot.1.mtp").write_text("old")
    interrupt(1)
    result = run(
        "fit", data.extxyz, *form, "--ensemble", 2, "--validation", 0.2, *FEW, "-o", output
    )
    assert result.status == 130
    assert "stopped by the user; 1 of 2 members are kept" in result.out
    assert f"{tmp_path / 'pot.1.mtp'} is from an earlier run" in result.err
    assert output.read_bytes() == (tmp_path / "pot.0.mtp").read_bytes()


def test_folds_write_a_table_and_no_potential(run, data, form, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("fit", data.extxyz, *form, "--folds", 5, *FEW,
                 "--report", "folds.json", "--plot", "held_out.png")  # fmt: skip
    assert result.status == 0, result.err
    assert "no potential is written; give -o FILE" in result.out
    assert "mean +- sigma (68 %) over 5 folds:" in result.out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folds.json", "held_out.png"]
    folds = json.loads((tmp_path / "folds.json").read_text())["cross_validation"]
    assert sorted(k for fold in folds["folds"] for k in fold["held_out"]) == list(range(10))
    assert all(fold["errors"]["training"]["n_configurations"] == 8 for fold in folds["folds"])


def test_folds_end_with_a_fit_to_all_data_where_a_file_is_given(
    run, data, form, tmp_path, monkeypatch
) -> None:
    fits = []

    def run_fit(potential, training, validation, **options):
        fits.append((len(training), len(validation), options["max_iterations"]))
        # The fit of all data has a shape of its own, which a test need not compile.
        return mmtp.fit(potential, training[:8], validation=training[8:], **options)

    monkeypatch.setattr(fit_several, "run_fit", run_fit)
    output, report = tmp_path / "pot.mtp", tmp_path / "report.json"
    checkpoint = tmp_path / "fit.npz"
    arguments = ("fit", data.extxyz, *form, "--folds", 5, *FEW, "-o", output, "--report", report,
                 "--checkpoint", checkpoint)  # fmt: skip
    result = run(*arguments)
    assert result.status == 0, result.err
    assert f"then one fit to all data, for {output}" in result.out
    assert fits == [(10, 0, 4)]
    assert mmtp.load(output).species == ("Fe",)
    content = json.loads(report.read_text())
    assert {"cross_validation", "final", "potential", "settings"} <= set(content)
    names = {"fit.npz", *(f"fit.{k}.npz" for k in range(5))}
    assert names <= {p.name for p in tmp_path.iterdir()}
    again = run(*arguments, "--restart")
    assert again.status == 0, again.err
    assert again.out.count("starting afresh") == 6


def test_scan_draws_and_tabulates(read_back, run, data, form, tmp_path) -> None:
    plot, table, file = tmp_path / "scan.png", tmp_path / "scan.csv", tmp_path / "scan.toml"
    file.write_text(
        "command = 'fit'\n[several]\nscan = 'magnetic-forces'\nscan_values = [0.01, 1]\n"
        f"[output]\nplot = '{plot}'\n"
    )
    result = run("fit", data.extxyz, *form, *FEW, "--settings", file, "--scan-csv", table)
    assert result.status == 0, result.err
    assert "2 weights of magnetic forces times 5 folds, 10 fits" in result.out
    assert "weight 1, fold 5 of 5: 4 steps" in result.out
    assert "weight of magnetic forces  energy (meV/atom)" in result.out
    assert read_back(plot)
    with open(table, newline="") as rows:
        found = list(csv.DictReader(rows))
    assert [row["magnetic_forces weight"] for row in found] == ["0.01"] * 4 + ["1"] * 4
    assert all(float(row["validation RMSE sigma"]) > 0.0 for row in found)
    assert {row["folds"] for row in found} == {"5"}


def test_scan_keeps_what_is_done(run, data, form, interrupt) -> None:
    interrupt(7)
    result = run("fit", data.extxyz, *form, *FEW, "--scan", "energy", "--scan-values", 1, 2)
    assert result.status == 130
    assert "1 of 2 weights are kept" in result.out


def test_an_ensemble_in_parallel_is_handed_on(run, data, form, tmp_path, monkeypatch) -> None:
    def fit_ensemble(*_, parallel, **__):
        raise ValueError(f"parallel is {parallel}")

    monkeypatch.setattr(mmtp, "fit_ensemble", fit_ensemble, raising=False)
    result = run("fit", data.extxyz, *form, "--ensemble", 2, "--parallel",
                 "-o", tmp_path / "pot.mtp")  # fmt: skip
    assert "parallel is True" in result.err


def test_a_start_potential_may_have_seen_what_is_held_out(run, data, form, tmp_path) -> None:
    start = tmp_path / "pot.mtp"
    assert run("init", *form, "-o", start).status == 0
    result = run("fit", data.extxyz, "--potential", start, "--folds", 5, *FEW)
    assert result.status == 0, result.err
    assert "it has seen what is held out" in result.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--ensemble", 1), "ensemble must be at least 2"),
        (("--folds", 1), "folds must be at least 2"),
        (("--ensemble", 2, "--folds", 5), "an ensemble has no folds"),
        (("--folds", 5, "--validation", 0.1), "needed only to decide"),
        (("--folds", 11), "11 folds of 10 configurations"),
        (("--scan-values", 0.1), "scan_values needs the weight"),
        (("--scan-csv", "scan.csv"), "scan_csv needs the weight"),
        (("--scan", "energy", "-o", "pot.mtp"), "writes no potential"),
        (("--scan", "energy", "--scan-values", 0.0), "must be positive"),
        (("--parallel",), "for the members of an ensemble"),
        (("--ensemble", 2, "--parallel", "--checkpoint", "fit.npz"), "have no checkpoint"),
        (("--ensemble", 2, "--parallel", "--coarse-to-fine", "on"), "all data from the start"),
        (("--ensemble", 2, "--history", "loss.csv"), "a history is that of one fit"),
        (
            ("--ensemble", 2, "-o", "a.mtp", "--report", "a.1.mtp"),
            "two outputs would be written to",
        ),
    ],
)
def test_what_cannot_be_is_refused(run, data, form, options, words) -> None:
    result = run("fit", data.extxyz, *form, *options)
    assert result.status == 2
    assert words in result.err


def test_bar_of_one_of_several_fits(capsys) -> None:
    from mmtp_jax.fitting.progress import Progress
    from mmtp_jax.fitting.series import Task

    with SeriesProgress(terminal=True) as bars:
        for k in range(2):
            for step in range(3):
                bars(Task(k, 2, f"fold {k + 1} of 2"), Progress(step, 2, 0.5))
    err = capsys.readouterr().err
    assert "fold 1 of 2 " in err
    assert "fold 2 of 2 " in err
