"""``mmtp evaluate``, ``mmtp convert`` and ``mmtp plot``."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

import mmtp_jax as mmtp
from mmtp_jax import plot
from tests.io.test_formats import OUTCAR


def test_evaluate_prints_the_errors_of_the_fit(read_back, run, fitted, data, tmp_path) -> None:
    report, plot = tmp_path / "report.json", tmp_path / "parity.pdf"
    result = run("evaluate", fitted.potential, data.extxyz, "--report", report, "--plot", plot)
    assert result.status == 0, result.err
    assert "train.extxyz  magnetic forces" in result.out
    errors = json.loads(report.read_text())["errors"]
    fit = json.loads(fitted.report.read_text())["errors"]
    # Ten configurations: the eight that were fitted and the two that were held out.
    expected = [fit[name]["energy"]["rmse"] for name in ("training", "validation")]
    expected = np.sqrt((8 * expected[0] ** 2 + 2 * expected[1] ** 2) / 10)
    assert errors["energy"]["rmse"] == pytest.approx(expected, rel=1e-5)
    assert read_back(plot)


@pytest.mark.parametrize("suffix", ["extxyz", "cfg"])
def test_evaluate_writes_predictions_as_labels(run, fitted, data, tmp_path, suffix) -> None:
    output = tmp_path / f"out.{suffix}"
    result = run("evaluate", fitted.potential, data.extxyz, "-o", output)
    assert result.status == 0, result.err
    written = mmtp.read(output, species=("Fe",))
    expected = mmtp.evaluate(mmtp.load(fitted.potential), data.atoms_list)
    for atoms, result, source in zip(written, expected, data.atoms_list, strict=True):
        assert atoms.get_potential_energy() == pytest.approx(result.energy, abs=1e-6)
        assert atoms.get_forces() == pytest.approx(result.forces, abs=1e-7)
        assert atoms.get_stress() == pytest.approx(result.stress, abs=1e-7)
        assert atoms.arrays["magnetic_forces"] == pytest.approx(result.magnetic_forces, abs=1e-7)
        assert atoms.get_magnetic_moments() == pytest.approx(source.get_magnetic_moments())


def test_evaluate_without_labels_gives_a_summary_and_warns_of_extrapolation(
    run, fitted, tmp_path
) -> None:
    atoms = bulk("Fe", a=2.83, cubic=True)
    atoms.set_initial_magnetic_moments([9.0, 2.0])
    path = tmp_path / "new.extxyz"
    mmtp.write(path, atoms)
    result = run("evaluate", fitted.potential, path, "--dtype", "float32")
    assert result.status == 0, result.err
    assert "no labels to compare with" in result.out
    assert "energy (eV/atom)" in result.out
    assert "pressure (GPa)" in result.out
    assert result.err.startswith("mmtp evaluate: warning: 1 moments in 1 of 1 configurations")
    assert result.err.count("\n") == 1


def test_several_potentials_and_files(read_back, run, fitted, data, tmp_path) -> None:
    """Each number is that of the potential and the file alone; predictions are beside labels."""
    one, other = mmtp.load(fitted.potential), tmp_path / "other.mtp"
    mmtp.save(other, one.unflatten(1.01 * np.asarray(one.flatten())))
    files = tmp_path / "a.extxyz", tmp_path / "b.extxyz"
    for path, part in zip(files, (data.atoms_list[:4], data.atoms_list[4:]), strict=True):
        mmtp.write(path, part)
    report, plot, both = (tmp_path / n for n in ("r.json", "parity.png", "both.extxyz"))
    result = run(
        "evaluate", fitted.potential, other, *files, "--worst", 3, "--prefix", "mmtp_", "-o", both,
        "--report", report, "--plot", plot,
    )  # fmt: skip
    assert result.status == 0, result.err
    assert read_back(plot)
    content = json.loads(report.read_text())["potentials"]
    written = mmtp.read(both)
    for path, of in zip((fitted.potential, other), content, strict=True):
        single = tmp_path / "single.json"
        run("evaluate", path, files[1], "--report", single)
        assert of["potential"] == str(path)
        assert of["files"]["b.extxyz"] == json.loads(single.read_text())["errors"]
        assert of["errors"]["n_configurations"] == 10
        found = mmtp.evaluate(mmtp.load(path), data.atoms_list)
        worst = max(range(10), key=lambda k: _worst(found, data.atoms_list)[k])
        name = f"{files[worst > 3].name}, configuration {worst % 4 + 1 if worst < 4 else worst - 3}"
        table = result.out.split(f"{path.name}:\n")[1].split("times all")[1]
        assert name in table.splitlines()[2]
        for atoms, r, source in zip(written, found, data.atoms_list, strict=True):
            assert atoms.info[f"mmtp_{path.stem}_energy"] == pytest.approx(r.energy)
            assert atoms.get_potential_energy() == source.get_potential_energy()
    assert result.out.count("largest errors") == 2
    energies = [of["errors"]["energy"]["rmse"] for of in content]
    row = next(line for line in result.out.split("\nRMSE ")[-1].splitlines() if "energy" in line)
    assert row.split() == ["energy", *(f"{value:.3f}" for value in energies), "meV/atom"]
    assert "all 2 files" in result.out
    refused = run("evaluate", fitted.potential, other, *files, "-o", both)
    assert refused.status == 2
    assert "give --prefix" in refused.err


def _worst(found, labelled) -> np.ndarray:
    """The largest RMSE of each configuration, in units of that of all."""
    squares = {
        "energy": [(r.energy - a.get_potential_energy()) ** 2 / len(a) ** 2
                   for r, a in zip(found, labelled, strict=True)],
        "forces": [np.mean((r.forces - a.get_forces()) ** 2)
                   for r, a in zip(found, labelled, strict=True)],
        "stress": [np.mean((r.stress - a.get_stress()) ** 2)
                   for r, a in zip(found, labelled, strict=True)],
        "magnetic": [np.mean((r.magnetic_forces - a.arrays["magnetic_forces"]) ** 2)
                     for r, a in zip(found, labelled, strict=True)],
    }  # fmt: skip
    # All have two atoms, so the mean of all is the mean of these.
    return np.max([np.sqrt(np.array(s) / np.mean(s)) for s in squares.values()], axis=0)


def test_labels_that_stand_apart_are_listed_before_the_work(
    run, fitted, data, form, tmp_path, monkeypatch
) -> None:
    wrong = [atoms.copy() for atoms in data.atoms_list]
    for k, (atoms, source) in enumerate(zip(wrong, data.atoms_list, strict=True)):
        results = dict(source.calc.results)
        results["energy"] -= 28.0 if k == 3 else 0.0
        atoms.calc = SinglePointCalculator(atoms, **results)
    path = tmp_path / "wrong.extxyz"
    mmtp.write(path, wrong)

    def stop(*_):
        raise ValueError("stopped before the fit")

    monkeypatch.setattr("mmtp_jax.api.fit_structures", stop)
    fit = run("fit", path, *form, "--validation", 0.2, "-o", tmp_path / "pot.mtp")
    assert "stopped before the fit" in fit.err
    evaluated = run("evaluate", fitted.potential, path)
    assert evaluated.status == 0
    for result in (fit, evaluated):
        head, line, *_ = result.err.splitlines()
        assert "warning: 1 of 10 configurations have labels that stand apart" in head
        assert "wrong.extxyz, configuration 4: energy -33" in line
        assert "eV/atom below the median of 10 labels of Fe" in line


def test_evaluate_does_not_write_over_its_data(run, fitted, data) -> None:
    before = data.extxyz.read_bytes()
    for given in (data.extxyz, f"{data.extxyz}@-1"):
        result = run("evaluate", fitted.potential, given, "-o", data.extxyz)
        assert result.status == 2
        assert "is an input" in result.err
        assert data.extxyz.read_bytes() == before


def test_magnetic_gradient_turns_the_sign(run, fitted, data, tmp_path) -> None:
    results = mmtp.evaluate(mmtp.load(fitted.potential), data.atoms_list)
    predicted = np.concatenate([result.magnetic_forces for result in results])
    labels = np.concatenate([atoms.arrays["magnetic_forces"] for atoms in data.atoms_list])
    for options, sign in (((), 1.0), (("--magnetic-gradient",), -1.0)):
        report = tmp_path / "report.json"
        run("evaluate", fitted.potential, data.cfg, "--report", report, *options)
        rmse = json.loads(report.read_text())["errors"]["magnetic_forces"]["rmse"]
        expected = 1e3 * np.sqrt(np.mean((predicted - sign * labels) ** 2))
        assert rmse == pytest.approx(expected, rel=1e-6)


def test_convert_configurations_there_and_back(run, data, tmp_path) -> None:
    there, back = tmp_path / "a.extxyz", tmp_path / "b.cfg"
    first = run("convert", data.cfg, there, "--species", "Fe")
    assert first.status == 0, first.err
    assert "10 configurations, 20 atoms" in first.out
    assert "magnetic forces       10" in first.out
    assert first.err == ""
    assert run("convert", there, back).status == 0
    for one, other in zip(mmtp.read(data.cfg), mmtp.read(back), strict=True):
        assert one.get_potential_energy() == pytest.approx(other.get_potential_energy())
        assert one.get_magnetic_moments() == pytest.approx(other.get_magnetic_moments())
        assert one.arrays["magnetic_forces"] == pytest.approx(
            other.arrays["magnetic_forces"], abs=1e-7
        )


def test_free_moments_are_declared(run, tmp_path) -> None:
    (tmp_path / "OUTCAR").write_text(OUTCAR)
    done = run("convert", tmp_path / "OUTCAR", tmp_path / "a.extxyz", "--moments-at-equilibrium")
    assert "1 configuration: moments declared at equilibrium, magnetic forces 0" in done.err
    assert "magnetic forces        1" in done.out
    (atoms,) = mmtp.read(tmp_path / "a.extxyz")
    assert list(atoms.arrays["magnetic_forces"]) == [0.0, 0.0]


def test_declared_files_have_to_be_read(run, form, data, tmp_path) -> None:
    (tmp_path / "OUTCAR").write_text(OUTCAR)
    (tmp_path / "fit.toml").write_text(
        'command = "fit"\n[data]\n'
        f'files = ["{data.extxyz}"]\nmoments_at_equilibrium = "{tmp_path / "OUTCAR"}"\n'
    )
    failed = run("fit", "--settings", tmp_path / "fit.toml", *form, "-o", tmp_path / "pot.mtp")
    assert failed.status == 2
    assert "OUTCAR, whose moments are said to be at equilibrium, is none of the files" in failed.err


def test_convert_says_what_a_format_cannot_hold(run, data, tmp_path) -> None:
    result = run("convert", data.cfg, tmp_path / "a.traj")
    assert result.status == 0, result.err
    assert "a.traj: left out of 10 configurations: magnetic forces (10)" in result.err


def test_convert_potential_between_dialects(run, tmp_path) -> None:
    start, flat, other = (tmp_path / name for name in ("start.mtp", "flat.mtp", "other.mtp"))
    potential = mmtp.Potential.new(
        level=4, species=("Fe", "Al"), max_magmom=(3.0, 0.3), form="symmetrised"
    )
    mmtp.save(start, potential)
    result = run("convert", start, flat, "--dialect", "flat")
    assert result.status == 0, result.err
    assert "max_mag = {3.0, 0.3}" in flat.read_text()
    assert "mmtp convert --common-interval writes one" in result.out
    assert np.array_equal(mmtp.load(flat).flatten(), potential.flatten())

    result = run("convert", flat, other, "--common-interval", "--bare")
    assert result.status == 0, result.err
    assert "--bare is now called --mark-as=bare" in result.err
    assert "warning: the energy is now the bare E(M)" in result.err
    assert "note" not in result.out
    converted = mmtp.load(other)
    assert converted.form == "bare"
    assert converted.max_magmom.tolist() == [3.0, 3.0]
    run("convert", start, other)
    assert (tmp_path / "other.mtp.bak").exists()


def test_convert_to_radial_functions_of_one_parity(run, data, tmp_path) -> None:
    start, even = tmp_path / "start.mtp", tmp_path / "even.mtp"
    new = mmtp.Potential.new(level=6, species=("Fe", "Al"), seed=4, form="symmetrised")
    potential = new.replace(moment_coeffs=np.arange(1.0, 1 + new.tables.n_scalars))
    mmtp.save(start, potential)
    # As a command begins, in 32 bits.
    with jax.enable_x64(False):
        result = run("convert", start, even, "--form", "parity")
    assert result.status == 0, result.err
    assert "products 5 -> 11, radial functions 2 -> 3, " in result.out
    assert "even under reversal of all moments: radial functions e o e" in result.out
    found = mmtp.load(even)
    assert found.form == "parity"
    atoms_list = mmtp.read(data.cfg, species=("Fe", "Al"))[:3]
    for before, after in zip(
        mmtp.evaluate(potential, atoms_list), mmtp.evaluate(found, atoms_list), strict=True
    ):
        assert after.energy == pytest.approx(before.energy, rel=1e-12)
        np.testing.assert_allclose(after.magnetic_forces, before.magnetic_forces, rtol=1e-9)

    again = run("convert", even, tmp_path / "again.mtp", "--form", "parity")
    assert "one parity each already" in again.out
    assert np.array_equal(mmtp.load(tmp_path / "again.mtp").flatten(), found.flatten())

    result = run("convert", start, tmp_path / "b.mtp", "--mark-as", "bare")
    assert result.status == 0, result.err
    result = run("convert", tmp_path / "b.mtp", even, "--form", "parity")
    assert result.status == 2
    assert "the bare energy of this potential is not even under reversal" in result.err
    result = run("convert", start, even, "--form", "parity", "--mark-as", "bare")
    assert result.status == 2


def test_convert_knows_a_potential_of_another_name_by_its_first_line(run, tmp_path) -> None:
    odd, output = tmp_path / "potential.txt", tmp_path / "out.mmtp"
    potential = mmtp.Potential.new(level=2, species=("Fe",))
    mmtp.save(odd, potential)
    assert run("convert", odd, output).status == 0
    assert np.array_equal(mmtp.load(output).flatten(), potential.flatten())


def test_missing_species_are_asked_for_as_an_option(run, data, tmp_path) -> None:
    bare = tmp_path / "bare.cfg"
    lines = data.cfg.read_text().splitlines(keepends=True)
    bare.write_text("".join(line for line in lines if "species" not in line))
    result = run("convert", bare, tmp_path / "out.extxyz")
    assert result.status == 2
    assert "e.g. --species Fe Al" in result.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("a.mtp", "b.cfg"), "converts only to another potential"),
        (("a.cfg", "b.cfg", "--mark-as", "bare"), "--mark-as: for potentials"),
        (("a.cfg", "a.cfg"), "is an input"),
        (("a.cfg", "b.cfg"), "there is no file 'a.cfg'"),
    ],
)
def test_convert_says_what_is_wrong(run, tmp_path, monkeypatch, arguments, words) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("convert", *arguments)
    assert result.status == 2
    assert words in result.err


def test_plot_parity_and_history(read_back, run, fitted, data, tmp_path) -> None:
    parity, loss = tmp_path / "parity.svg", tmp_path / "loss.png"
    result = run("plot", fitted.potential, data.extxyz, "--validation", data.cfg, "-o", parity)
    assert result.status == 0, result.err
    assert read_back(parity)
    assert run("plot", "--history", fitted.history, "-o", loss).status == 0
    assert read_back(loss)
    assert run("plot").status == 2
    assert run("plot", "--history", data.extxyz, "-o", loss).status == 2


def test_parity_figure_has_a_panel_for_each_kind_with_labels() -> None:
    values = np.linspace(-1.0, 1.0, 7)
    both = {"energy": (values, values + 0.01, 7), "stress": (values, values, 7)}
    figure = plot.parity_of({"training": both, "validation": {"energy": (values, values, 7)}})
    assert [axes.get_title() for axes in figure.axes] == ["Energy minus mean", "Stress"]
    for axes in figure.axes:
        assert axes.get_xlim() == axes.get_ylim()
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["RMSE", "training 10 meV/atom", "validation 0 meV/atom"]
    with pytest.raises(ValueError, match="no labels"):
        plot.parity_of({"training": {}})
