"""Commands with several potentials: mean and spread against a loop over the members."""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ase.build import bulk
from matplotlib.figure import Figure

import mmtp_jax as mmtp
from mmtp_jax.cli import spreads
from mmtp_jax.cli.committee import run_property
from mmtp_jax.properties import eos
from mmtp_jax.properties.birch_murnaghan import NoMinimumError
from mmtp_jax.properties.second_derivatives import _hessian_rows
from mmtp_jax.simulation.dynamics.loop import take_steps
from mmtp_jax.simulation.moments.structures import equilibrate_batch
from mmtp_jax.simulation.relaxation.loop import relax_steps
from mmtp_jax.simulation.relaxation.steps import before_start

FACTORS = (1.0, 1.04)
PROGRAMS = (relax_steps, before_start, _hessian_rows, equilibrate_batch, take_steps)
"""All that the commands below compile of a potential."""


@pytest.fixture(scope="module")
def members(iron_file, tmp_path_factory) -> list[Path]:
    """Iron, and iron with larger coefficients: the same states with larger energies."""
    folder, iron = tmp_path_factory.mktemp("members"), mmtp.load(iron_file)
    paths = [folder / f"pot.{k}.mtp" for k in range(len(FACTORS))]
    for path, factor in zip(paths, FACTORS, strict=True):
        mmtp.save(path, iron.replace(moment_coeffs=factor * iron.moment_coeffs))
    return paths


@pytest.fixture(scope="module")
def crystal(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("crystal") / "fe.extxyz"
    atoms = bulk("Fe", a=2.83, cubic=True)
    atoms.set_initial_magnetic_moments([2.2, 2.2])
    mmtp.write(path, [atoms])
    return path


def _spread(values) -> tuple[np.ndarray, np.ndarray]:
    return np.mean(values, axis=0), 2 * np.std(values, axis=0, ddof=1)


def test_elastic_constants_of_a_committee(members, crystal, run, tmp_path) -> None:
    result = run("elastic", *members, crystal, "-o", tmp_path / "fe")
    assert result.status == 0, result.err
    each = [mmtp.elastic_constants(mmtp.load(path), mmtp.read(crystal)[0]) for path in members]
    mean, width = _spread([found.constants for found in each])
    content = json.loads((tmp_path / "fe.json").read_text())
    np.testing.assert_allclose(content["constants_GPa"], mean, atol=1e-3)
    np.testing.assert_allclose(content["two_sigma"]["constants_GPa"], width, atol=1e-3)
    assert content["potentials"] == [str(path) for path in members]
    assert content["order"][0] == "xx"
    c11 = [found.cubic[0] for found in each]
    assert f"{np.mean(c11):.0f} +- {2 * np.std(c11, ddof=1):.0f}" in result.out
    with open(tmp_path / "fe.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["xx"]) == pytest.approx(mean[0, 0], rel=1e-5)
    assert float(rows[0]["2 sigma of xx"]) == pytest.approx(width[0, 0], rel=1e-4)
    for k, found in enumerate(each):
        own = json.loads((tmp_path / f"fe.{k}.json").read_text())
        np.testing.assert_allclose(own["constants_GPa"], found.constants, atol=1e-3)
        assert (tmp_path / f"fe.{k}.pdf").exists()
    assert (tmp_path / "fe.pdf").exists()
    assert (tmp_path / "fe.png").exists()


@pytest.mark.parametrize(
    "arguments",
    [("elastic",), ("phonons", "--supercell", 1), ("md", "--steps", 2, "--tolerance", 1e-3)],
    ids=lambda of: of[0],
)
def test_further_members_compile_nothing(members, crystal, run, tmp_path, arguments) -> None:
    command, *options = arguments
    if command != "md":
        options += ["-o", tmp_path / "fe"]

    def sizes() -> list[int]:
        return [of._cache_size() for of in PROGRAMS]

    assert run(command, members[0], crystal, *options).status == 0
    before = sizes()
    assert run(command, *members, crystal, *options).status == 0
    assert sizes() == before
    assert any(before)


def test_mean_of_a_committee_is_one_potential(members, crystal, run, tmp_path) -> None:
    result = run(
        "eos", *members, crystal, "--committee", "mean", "-n", 5, "-o", tmp_path / "mean"
    )  # fmt: skip
    assert result.status == 0, result.err
    one = tmp_path / "one.mtp"
    iron = mmtp.load(members[0])
    mmtp.save(one, iron.replace(moment_coeffs=np.mean(FACTORS) * iron.moment_coeffs))
    assert run("eos", one, crystal, "-n", 5, "-o", tmp_path / "one").status == 0
    found, expected = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("mean", "one"))
    assert found["potential"] == f"mean of {members[0]} {members[1]}"
    assert found["bulk_modulus_GPa"] == pytest.approx(expected["bulk_modulus_GPa"], rel=1e-6)
    assert not (tmp_path / "mean.0.json").exists()


def test_formation_energies_on_the_mean(members, crystal, run, tmp_path) -> None:
    arguments = ("formation", *members, "--data", crystal, "-o", tmp_path / "fe")
    result = run(*arguments)
    assert result.status == 0, result.err
    each = json.loads((tmp_path / "fe.json").read_text())["chemical_potentials"]
    result = run(*arguments, "--committee", "mean")
    assert result.status == 0, result.err
    content = json.loads((tmp_path / "fe.json").read_text())
    assert content["potentials"] == [f"mean of {members[0]} {members[1]}"]
    # The lattice and the moments of both are the same, so that their energies add.
    assert np.ptp(each) > 0.01
    np.testing.assert_allclose(content["chemical_potentials"], [np.mean(each, axis=0)], atol=1e-6)


def test_members_that_fail_are_left_out_of_the_mean(members, crystal, run, tmp_path) -> None:
    broken, iron = tmp_path / "broken.mtp", mmtp.load(members[0])
    mmtp.save(broken, iron.replace(moment_coeffs=-iron.moment_coeffs))
    arguments = (crystal, "-n", 5)
    result = run("eos", members[0], broken, members[1], *arguments, "-o", tmp_path / "all")
    assert result.status == 1
    assert f"{broken} is left out of mean and deviation: " in result.err
    assert run("eos", *members, *arguments, "-o", tmp_path / "two").status == 0
    found, two = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("all", "two"))
    assert list(found.pop("left_out")) == [str(broken)]
    assert two.pop("left_out") == {}
    assert found == two
    result = run("eos", members[0], broken, *arguments, "-o", tmp_path / "none")
    assert result.status == 1
    assert "there is no mean of 1 of 2 potentials; " in result.err
    assert not (tmp_path / "none.json").exists()


def test_members_without_a_minimum_are_left_out_of_the_mean(
    members, crystal, run, tmp_path, monkeypatch
) -> None:
    fitted, calls = eos.fit_energies, []

    def fit(volumes, energies):
        calls.append(1)
        if len(calls) == 2:
            raise NoMinimumError("no minimum at all")
        return fitted(volumes, energies)

    monkeypatch.setattr(eos, "fit_energies", fit)
    prefix, third = tmp_path / "eos", tmp_path / "third.mtp"
    mmtp.save(third, mmtp.load(members[1]))
    words = ("-n", "4", "--range", "0.985", "1.015", "-o", prefix)
    result = run("eos", *members, third, crystal, *words)
    assert result.status == 1, result.err
    content = json.loads(Path(f"{prefix}.json").read_text())
    assert content["left_out"] == {str(members[1]): "no minimum at all"}
    first, left, last = (json.loads(Path(f"{prefix}.{k}.json").read_text()) for k in range(3))
    assert left["bulk_modulus_GPa"] is None
    assert len(left["energies"]) == 4
    mean, width = _spread([first["bulk_modulus_GPa"], last["bulk_modulus_GPa"]])
    assert content["bulk_modulus_GPa"] == pytest.approx(mean)
    assert content["two_sigma"]["bulk_modulus_GPa"] == pytest.approx(width)
    assert Path(f"{prefix}.pdf").exists()


def test_unstable_members_are_left_out_of_the_mean(members, capsys, tmp_path) -> None:
    settings = SimpleNamespace(
        potential=[*map(str, members), str(members[0])], species=None, committee="members",
        output=str(tmp_path / "x"),
    )  # fmt: skip
    values = iter((1.0, 3.0, 50.0))

    def one(member, files) -> int:
        value = next(values)
        stable = value < 10.0
        files.json({"c": value, "counts": stable, "message": "" if stable else "unstable"})
        files.figure(Figure())
        return int(not stable)

    assert run_property(settings, (), (), one) == 1
    content = json.loads((tmp_path / "x.json").read_text())
    assert content["c"] == 2.0
    assert content["left_out"] == {str(members[0]): "unstable"}
    assert "2.0 +- 2.8" in capsys.readouterr().out


def test_rows_that_do_not_count_do_not_enter_the_mean() -> None:
    contents = [
        {"rows": [{"name": "a", "e": e, "counts": e < 10.0}, {"name": "b", "e": 2 * e}],
         "counts": [True, e < 10.0, e > 100.0], "volumes": [e, e, e]}
        for e in (1.0, 3.0, 50.0)
    ]  # fmt: skip
    found = spreads.joined(contents)
    assert found["rows"] == [{"name": "a", "e": 2.0, "n_counted": 2}, {"name": "b", "e": 36.0}]
    assert found["volumes"] == [18.0, 2.0, None]
    assert found["n_counted"] == [3, 2, 0]
    assert found["two_sigma"]["rows"][0] == {"e": pytest.approx(2 * 2**0.5)}
    assert "a: over 2 of 3 potentials that count" in spreads.in_words(found, 3)
    rows = [[(1.0, e, int(e < 10.0))] for e in (1.0, 3.0, 50.0)]
    assert spreads.joined_table([(("x", "e", "counts"), of) for of in rows]) == (
        ["x", "e", "2 sigma of e", "members that count"], [(1.0, 2.0, pytest.approx(2 * 2**0.5), 2)]
    )  # fmt: skip


def _each_alone(run, members, command, *arguments, folder) -> list[dict]:
    """What the command writes as JSON for each member alone."""
    found = []
    for k, path in enumerate(members):
        own = folder / f"alone.{k}.json"
        result = run(command, path, *arguments, "--json", own)
        assert result.status == 0, result.err
        found.append(json.loads(own.read_text()))
    return found


def test_relaxation_with_each_member(members, crystal, run, tmp_path) -> None:
    output, report = tmp_path / "relaxed.extxyz", tmp_path / "relax.json"
    arguments = (crystal, "--cell", "volume")
    result = run(
        "relax", *members, *arguments, "-o", output, "--json", report,
        "--plot", tmp_path / "relax.png",
    )  # fmt: skip
    assert result.status == 0, result.err
    each = _each_alone(run, members, "relax", *arguments, folder=tmp_path)
    energies = [of["configurations"][0]["energy"] for of in each]
    content = json.loads(report.read_text())
    assert content["configurations"][0]["energy"] == pytest.approx(np.mean(energies))
    width = content["two_sigma"]["configurations"][0]["energy"]
    assert width == pytest.approx(2 * np.std(energies, ddof=1))
    mean = np.mean(energies)
    printed = [
        float(number) for number in re.findall(rf"{int(mean)}\.?\d* \+- ([\d.]+)", result.out)
    ]
    assert printed[0] == pytest.approx(width, rel=0.05)
    assert (tmp_path / "relax.0.png").exists()
    assert not output.exists()
    for k in range(2):
        atoms = mmtp.read(tmp_path / f"relaxed.{k}.extxyz")[0]
        assert atoms.get_potential_energy() == pytest.approx(energies[k])


def test_equilibration_and_disordered_states(members, crystal, run, tmp_path) -> None:
    report = tmp_path / "found.json"
    for command, arguments, name in (
        ("equilibrate", (crystal,), "configurations"),
        ("sample", (crystal, "--repeat", 2, 1, 1, "-n", 3), None),
    ):
        result = run(command, *members, *arguments, "--json", report)
        assert result.status == 0, result.err
        each = _each_alone(run, members, command, *arguments, folder=tmp_path)
        content = json.loads(report.read_text())
        found, widths, alone = content, content["two_sigma"], each
        if name is not None:
            found, widths, *alone = (of[name][0] for of in (found, widths, *each))
        energies = [of["energy"] for of in alone]
        assert found["energy"] == pytest.approx(np.mean(energies))
        assert widths["energy"] == pytest.approx(2 * np.std(energies, ddof=1))


def test_montecarlo_of_a_committee(members, crystal, run, tmp_path) -> None:
    arguments = (
        crystal, "--repeat", 2, 1, 1, "--temperatures", 800, 2000, "--sweeps", 64,
        "--moments", "fixed",
    )  # fmt: skip
    table = tmp_path / "order.csv"
    result = run("montecarlo", *members, *arguments, "-o", table, "--plot", tmp_path / "o.png")
    assert result.status == 0, result.err
    each = _each_alone(run, members, "montecarlo", *arguments, folder=tmp_path)
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    for k, row in enumerate(rows):
        order = [of["rows"][k]["order"] for of in each]
        assert float(row["order"]) == pytest.approx(np.mean(order), rel=1e-6)
        width = 2 * np.std(order, ddof=1)
        assert float(row.get("2 sigma of order", 0.0)) == pytest.approx(width, rel=1e-6, abs=1e-9)
    assert (tmp_path / "order.1.csv").exists()


def test_dynamics_with_each_member_or_on_their_mean(members, crystal, run, tmp_path) -> None:
    arguments = (crystal, "--repeat", 2, 1, 1, "--steps", 20, "--ensemble", "nve",
                 "--temperature", 100, "--log-every", 1)  # fmt: skip
    log = tmp_path / "thermo.csv"
    result = run("md", *members, *arguments, "--log", log, "-o", tmp_path / "run.extxyz")
    assert result.status == 0, result.err
    first = []
    for k in range(2):
        with open(tmp_path / f"thermo.{k}.csv", newline="") as file:
            first.append(next(csv.DictReader(file)))
        assert len(mmtp.read(tmp_path / f"run.{k}.extxyz")) == 3
    assert "mean +- 2 sigma over 2 potentials" in result.out
    assert not log.exists()
    result = run("md", *members, *arguments, "--log", log, "--committee", "mean")
    assert result.status == 0, result.err
    with open(log, newline="") as file:
        start = next(csv.DictReader(file))
    name = next(key for key in start if key.startswith("energy"))
    energies = [float(row[name]) for row in first]
    assert float(start[name]) == pytest.approx(np.mean(energies), rel=1e-9)
    refused = run("md", *members, *arguments, "--active-set", tmp_path / "active.npz")
    assert refused.status == 2
    assert "--active-set belongs to one potential, got 2" in refused.err


def test_potentials_that_make_no_committee_are_refused(members, crystal, run, tmp_path) -> None:
    alloy = mmtp.Potential.new(level=2, species=("Fe", "Al"))
    mmtp.save(tmp_path / "alloy.mtp", alloy)
    result = run("elastic", members[0], tmp_path / "alloy.mtp", crystal, "-o", tmp_path / "x")
    assert result.status == 2
    assert "alloy.mtp has the species Fe Al" in result.err
    iron = mmtp.load(members[0])
    mmtp.save(tmp_path / "long.mtp", iron.replace(cutoff=np.float64(4.9)))
    result = run(
        "elastic", members[0], tmp_path / "long.mtp", crystal, "--committee", "mean",
        "-o", tmp_path / "x",
    )  # fmt: skip
    assert result.status == 2
    assert "differ in their cutoffs" in result.err


def test_contents_and_tables_go_together() -> None:
    contents = [
        {"a": 1.0, "n": 3, "same": "x", "other": "p", "rows": [{"name": "k", "e": 1.0}], "no": None,
         "list": [1.0, 2.0], "long": [1.0]},
        {"a": 3.0, "n": 3, "same": "x", "other": "q", "rows": [{"name": "k", "e": 2.0}], "no": None,
         "list": [1.0, 4.0], "long": [1.0, 2.0]},
    ]  # fmt: skip
    found = spreads.joined(contents)
    widths = found.pop("two_sigma")
    assert found == {
        "a": 2.0, "n": 3, "same": "x", "rows": [{"name": "k", "e": 1.5}], "no": None,
        "list": [1.0, 3.0],
    }  # fmt: skip
    assert widths["a"] == pytest.approx(2 * 2**0.5)
    assert widths["list"] == pytest.approx([0.0, 2 * 2**0.5])
    assert widths["rows"] == [{"e": pytest.approx(2**0.5)}]
    words = spreads.in_words({**found, "two_sigma": widths}, 2)
    assert "mean +- 2 sigma over 2 potentials" in words
    assert "2.0 +- 2.8" in words
    assert "k     1.5 +- 1.4" in words
    header = ("T", "E", "name")
    tables = [(header, [(300.0, 1.0, "a")]), (header, [(300.0, 2.0, "a")])]
    assert spreads.joined_table(tables) == (
        ["T", "E", "2 sigma of E", "name"], [(300.0, 1.5, pytest.approx(2**0.5), "a")]
    )  # fmt: skip
    assert spreads.joined_table([tables[0], (header, [])]) is None


def test_rows_of_curves_go_together_at_equal_arguments() -> None:
    """Members' densities of states have grids of their own, to the highest vibration of each."""
    header = ("frequency", "total")
    tables = [
        (header, [(0.0, 0.0), (1.0, 1.0), (2.0, 0.0), (3.0, 0.0)]),
        (header, [(0.0, 0.0), (2.0, 2.0), (4.0, 0.0), (6.0, 0.0)]),
    ]
    _, rows = spreads.joined_table(tables, curves=True)
    frequencies, means, widths = np.transpose(rows)
    assert frequencies == pytest.approx(np.arange(7))
    assert means == pytest.approx([0, 1, 1, 0.5, 0, 0, 0])
    assert widths == pytest.approx(2**0.5 * np.array([0, 0, 2, 1, 0, 0, 0]))


def test_evaluate_gives_mean_and_spread(members, data, run, tmp_path) -> None:
    output, report = tmp_path / "mean.extxyz", tmp_path / "report.json"
    result = run(
        "evaluate", *members, data.extxyz, "--committee", "-o", output, "--report", report
    )  # fmt: skip
    assert result.status == 0, result.err
    assert "mean of pot.0.mtp pot.1.mtp:" in result.out
    expected = mmtp.evaluate([mmtp.load(path) for path in members], data.atoms_list)
    for atoms, of in zip(mmtp.read(output), expected, strict=True):
        assert atoms.get_potential_energy() == pytest.approx(of.energy)
        assert atoms.info["energy_std"] == pytest.approx(of.energy_std, rel=1e-6)
        np.testing.assert_allclose(atoms.arrays["forces_std"], of.forces_std, atol=1e-7)
    content = json.loads(report.read_text())
    per_atom = [1e3 * of.energy_std / len(of.energies) for of in expected]
    rms = np.sqrt(np.mean(np.square(per_atom)))
    assert content["spread"]["energy"] == {"unit": "meV/atom", "rms": pytest.approx(rms)}
    assert f"{rms:.3f}" in result.out
    assert content["potentials"] == [str(path) for path in members]


def test_what_is_no_number_in_a_member_has_no_mean() -> None:
    found = spreads.joined([{"a": 1.0, "b": math.nan}, {"a": 3.0, "b": 2.0}])
    assert found["a"] == 2.0
    assert found["b"] is None
    assert found["two_sigma"] == {"a": pytest.approx(2 * 2**0.5)}
