"""``mmtp relax``: the table, the files, references, preselection, and what is wrong with input."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

import mmtp_jax as mmtp


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Two cells of iron out of equilibrium, and one whose atoms are too close."""
    folder = tmp_path_factory.mktemp("relax")
    found = []
    for k in range(3):
        atoms = bulk("Fe", cubic=True, a=2.80 + 0.03 * k)
        atoms.rattle(0.05, seed=k)
        atoms.set_initial_magnetic_moments([2.2, 2.2])
        found.append(atoms)
    found[2].positions[0] += 0.5
    path = folder / "start.extxyz"
    mmtp.write(path, found)
    return path, found


@pytest.fixture(scope="module")
def relaxed(iron_file, run, start, tmp_path_factory):
    folder = tmp_path_factory.mktemp("relaxed")
    output, report = folder / "out.cfg", folder / "out.json"
    result = run(
        "relax", iron_file, start[0], "-o", output, "--json", report, "--pressure", "2",
        "--trajectory", folder / "steps.extxyz",
    )  # fmt: skip
    assert result.status == 1, result.err
    return result, mmtp.read(output, species=("Fe",)), json.loads(report.read_text()), folder


def test_it_writes_what_the_library_finds(iron_file, relaxed, start) -> None:
    result, written, report, folder = relaxed
    expected = mmtp.relax(mmtp.load(iron_file), start[1], pressure_GPa=2.0)
    assert [e.converged for e in expected] == [True, True, False]
    for k, (atoms, found) in enumerate(zip(written, expected, strict=True)):
        assert atoms.get_potential_energy() == pytest.approx(found.energy, abs=1e-6)
        assert atoms.cell.array == pytest.approx(found.atoms.cell.array, abs=1e-6)
        assert atoms.get_magnetic_moments() == pytest.approx(found.magmoms, abs=1e-5)
        frames = mmtp.read(folder / f"steps.{k}.extxyz")
        assert frames[-1].cell.array == pytest.approx(found.atoms.cell.array, abs=1e-6)
    numbers = report["reliability"]
    assert numbers["relaxed"] == pytest.approx(2 / 3)
    assert numbers["left_covered_region"] == pytest.approx(1 / 3)
    assert numbers["statuses"] == {"converged": 2, "too_close": 1}
    assert numbers["n_reference"] == 0
    assert [c["n_steps"] for c in report["configurations"]] == [e.n_steps for e in expected]
    assert "relaxation reliability" in result.out
    assert "66.7 %" in result.out
    assert "1 x two atoms are closer" in result.out
    assert "too close" in result.out
    assert "no errors: there is no relaxed reference" in result.out


def test_errors_are_those_against_relaxed_references(iron_file, run, relaxed, tmp_path) -> None:
    """Its own output with other cells and moments is a reference whose error is known."""
    relaxed_atoms = relaxed[1][:2]
    shifted = []
    for atoms in relaxed_atoms:
        copy = atoms.copy()
        copy.set_cell(1.01 * copy.cell.array, scale_atoms=True)
        copy.arrays.pop("magnetic_forces")
        results = {**atoms.calc.results, "magmoms": atoms.get_magnetic_moments() + 0.03}
        results["energy"] = atoms.get_potential_energy() + 0.004
        copy.calc = SinglePointCalculator(copy, **results)
        shifted.append(copy)
    data, reference, report = (tmp_path / n for n in ("data.extxyz", "ref.extxyz", "r.json"))
    mmtp.write(data, relaxed_atoms)
    mmtp.write(reference, shifted)
    options = ("--pressure", "2", "--json", report)
    result = run("relax", iron_file, data, "--reference", reference, *options)
    assert result.status == 0, result.err
    numbers = json.loads(report.read_text())["reliability"]
    assert numbers["n_reference"] == numbers["n_reference_relaxed"] == 2
    length = np.mean([atoms.cell.lengths() for atoms in relaxed_atoms])
    assert numbers["length_rmse"] == pytest.approx(0.01 * length, rel=1e-2)
    assert numbers["magmom_rmse"]["Fe"] == pytest.approx(0.03, abs=1e-3)
    assert numbers["total_magmom_rmse"] == pytest.approx(0.03, abs=1e-3)
    assert numbers["energy_rmse"] == pytest.approx(0.002, abs=1e-5)
    assert "RMSE of the lengths of the cell vectors" in result.out
    # Relaxed by the labels' own word; without the pressure they are not.
    result = run("relax", iron_file, data, *options)
    numbers = json.loads(report.read_text())["reliability"]
    assert numbers["n_reference"] == 2
    assert numbers["length_rmse"] < 1e-3
    run("relax", iron_file, data, "--json", report)
    assert json.loads(report.read_text())["reliability"]["n_reference"] == 0
    result = run("relax", iron_file, start_of(tmp_path, relaxed_atoms), "--reference", reference)
    assert result.status == 2
    assert "one for each" in result.err


def start_of(folder, atoms_list):
    path = folder / "one.extxyz"
    mmtp.write(path, atoms_list[:1])
    return path


def test_the_grade_stops_and_keeps(iron_file, run, relaxed, start, tmp_path) -> None:
    potential = mmtp.load(iron_file)
    training = []
    for k in range(6):
        copy = relaxed[1][0].copy()
        copy.rattle(0.02, seed=k)
        copy.set_initial_magnetic_moments(copy.get_initial_magnetic_moments() + 0.05 * k)
        training.append(copy)
    active, met = tmp_path / "active.npz", tmp_path / "met.extxyz"
    mmtp.ActiveSet.from_configurations(potential, training).save(active)
    mmtp.write(tmp_path / "one.extxyz", start[1][1])
    result = run(
        "relax", iron_file, tmp_path / "one.extxyz", "--active-set", active, "--grade-break", "3",
        "--candidates", met,
    )  # fmt: skip
    assert result.status == 1, result.err
    assert "the watch stopped it" in result.out
    candidates = mmtp.read(met)
    assert candidates
    assert max(atoms.info["MV_grade"] for atoms in candidates) > 3.0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--cell", "cubic"), "cell must be"),
        (("--force-tolerance", "0"), "--force-tolerance must be positive"),
        (("--grade-break", "5"), "need an --active-set"),
        (("--start", "Fe"), "--start takes a moment for each species"),
        (("-o", "DATA"), "is an input"),
        (("-o", "no/folder.cfg"), "does not exist"),
    ],
)
def test_bad_input_is_one_line(iron_file, run, start, options, words) -> None:
    options = [start[0] if option == "DATA" else option for option in options]
    result = run("relax", iron_file, start[0], *options)
    assert result.status == 2
    assert words in result.err
    assert result.err.count("\n") == 1


def test_a_figure_shows_no_round_off_and_none_is_drawn_where_nothing_moved(
    iron_file, run, start, tmp_path
) -> None:
    from mmtp_jax import plot
    from mmtp_jax.plot.simulations import FLOOR

    traces: list = [[], []]
    ideal = bulk("Fe", cubic=True, a=2.80)
    ideal.set_initial_magnetic_moments([2.2, 2.2])
    mmtp.relax(mmtp.load(iron_file), [ideal, start[1][1]], record=lambda k, f: traces[k].append(f))
    for axes in plot.relaxation(traces, ["ideal", "rattled"]).axes:
        for line in axes.lines:
            assert np.nanmin([FLOOR, *line.get_ydata()]) >= FLOOR
    labels = [axes.get_ylabel() for axes in plot.relaxation(traces[:1], ["ideal"]).axes]
    assert not any("Largest force" in label for label in labels)
    mmtp.write(tmp_path / "close.extxyz", start[1][2])
    result = run("relax", iron_file, tmp_path / "close.extxyz", "--plot", tmp_path / "x.png")
    assert result.status == 1
    assert "x.png is not written: no configuration has taken a step" in result.err
    assert not (tmp_path / "x.png").exists()


def test_repeat_relaxes_a_supercell_with_its_moments(iron_file, run, start, tmp_path) -> None:
    mmtp.write(tmp_path / "one.extxyz", start[1][0])
    output = tmp_path / "out.extxyz"
    result = run(
        "relax", iron_file, tmp_path / "one.extxyz", "--repeat", 2, 1, 1, "--max-steps", 2, "-o",
        output,
    )  # fmt: skip
    assert result.status == 1
    assert "one.extxyz, configuration 1: step limit" in result.out
    (found,) = mmtp.read(output)
    assert len(found) == 4
    assert found.get_magnetic_moments() == pytest.approx(2.2, abs=0.5)
