"""What the scripts of the papers do beside commands: they are right, and the commands exist."""

from __future__ import annotations

import csv
import importlib
import json
import runpy
import shlex
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.neighborlist import neighbor_list
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress

import mmtp_jax as mmtp
from mmtp_jax.cli.command_line import collect
from mmtp_jax.cli.fit_settings import first_potential
from mmtp_jax.cli.main import build_parser, main
from mmtp_jax.oracles.configure import read_oracle

SCRIPTS = Path(__file__).parents[1] / "scripts"
GPA = 0.00624150913
"""eV/Angstrom^3"""
TETRAGONAL = np.array(
    [
        [620.0, 113.0, 97.0, 0.0, 0.0, 0.0],
        [113.0, 620.0, 97.0, 0.0, 0.0, 0.0],
        [97.0, 97.0, 708.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 158.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 158.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 164.0],
    ]
)
"""GPa; of the antiferromagnet in Kotykhov 2025, Table II."""


@pytest.fixture(scope="module")
def load() -> Iterator[Callable[[str], ModuleType]]:
    """The scripts of the papers import one another, as they do when they run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS / "papers"))
        yield importlib.import_module


@pytest.fixture
def common(load) -> ModuleType:
    return load("common")


@pytest.fixture
def crn(load) -> ModuleType:
    return load("crn")


@pytest.fixture
def tables(load) -> ModuleType:
    return load("crn_tables")


def tensor(c: np.ndarray) -> np.ndarray:
    """(3, 3, 3, 3) of constants (6, 6)."""
    place = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])
    return c[place[:, :, None, None], place[None, None]]


def test_constants_are_turned_as_a_tensor_is(tables) -> None:
    s = 0.5**0.5
    turn = np.array([[s, -s, 0.0], [s, s, 0.0], [0.0, 0.0, 1.0]])
    expected = np.einsum("ia,jb,kc,ld,abcd->ijkl", turn, turn, turn, turn, tensor(TETRAGONAL))
    np.testing.assert_allclose(tensor(tables.turned(TETRAGONAL)), expected, atol=1e-9)
    np.testing.assert_allclose(tables.turned(tables.turned(TETRAGONAL)), TETRAGONAL, atol=1e-9)


def test_constants_of_labels_are_those_that_the_stresses_are_made_of(
    tables, tmp_path, monkeypatch
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    made = runpy.run_path(str(SCRIPTS / "make_crn_data.py"))
    cells = made["properties"]()
    references = [a for a in cells if a.info["label"].endswith("reference")]
    rest = {len(atoms): atoms.cell.array for atoms in references}
    under = np.diag([3.0, 3.0, -2.0])
    for atoms in cells:
        strain = np.linalg.solve(rest[len(atoms)], atoms.cell.array) - np.eye(3)
        # As engineers count shears.
        voigt = full_3x3_to_voigt_6_stress(strain) * [1, 1, 1, 2, 2, 2]
        stress = under + voigt_6_to_full_3x3_stress(TETRAGONAL @ voigt)
        results = {"energy": 0.0, "stress": full_3x3_to_voigt_6_stress(stress) * GPA}
        results |= {"forces": np.zeros((len(atoms), 3))}
        results |= {"magmoms": atoms.get_initial_magnetic_moments()}
        atoms.calc = SinglePointCalculator(atoms, **results)
    path = tmp_path / "properties.extxyz"
    mmtp.write(path, cells)
    found = tables.dft_constants(path)
    c = TETRAGONAL
    expected = [620, 620, 708, 113, 97, 97, 158, 158, 164]
    assert found["AFM"] == pytest.approx(expected, rel=1e-6)
    cubic = [620.0] * 3 + [0.5 * (c[0, 1] + c[0, 2])] * 3 + [158.0] * 3
    assert found["FM"] == pytest.approx(cubic, rel=1e-6)

    mmtp.write(tmp_path / "frozen.extxyz", cells)
    tables.mixed_table(tmp_path)
    with open(tmp_path / "mixed.csv", encoding="utf-8") as file:
        rows = {name: values for name, *values in csv.reader(file)}
    expected = {"C11": "620", "C12": "113", "C13": "97", "C44": "158", "pressure": "-1.333"}
    for name, value in expected.items():
        assert rows[f"{name} (GPa)"] == [value, value]
    assert rows["smallest moment of Cr (mu_B)"] == ["2.6", "2.6"]


def test_frozen_phonons_are_those_of_springs(tables) -> None:
    """Each Cr is bound to the N above and below it, and to nothing else."""
    k, cr, n = 7.0, 51.9961, 14.007
    rest = np.zeros((4, 3))
    displaced = []
    for atom, neighbour in ((0, 3), (2, 1)):
        for axis in (0, 2):
            forces = rest.copy()
            forces[[atom, neighbour], axis] = np.array([-2.0, 2.0]) * k * tables.DISPLACEMENT
            displaced.append(forces)
    found = tables.frequencies(rest, *displaced)
    thz = lambda square: tables.TO_THZ * square**0.5  # noqa: E731
    optical = thz(2 * k * (1 / cr + 1 / n))
    # N of the other formula unit: it moves against at X, and everything is as at Gamma.
    assert found["Gamma TO, along x"] == pytest.approx(optical, rel=1e-3)
    assert found["Gamma TO, along z"] == pytest.approx(optical, rel=1e-3)
    assert found["X TO"] == found["X LO"] == pytest.approx(optical, rel=1e-3)
    assert found["X TA"] == pytest.approx(0.0, abs=1e-3)


def check_commands(stages: dict[str, Any], known: set[str]) -> None:
    """All are commands of mmtp, and read files that are known or that one before has written."""
    parser, commands = build_parser()
    known = known | {"pot.mtp"}
    for stage in stages.values():
        for command in stage.commands:
            words = shlex.split(command.format(pot="pot.mtp"))
            args, unknown = parser.parse_known_args(words)
            assert args.command in commands
            assert not [word for word in unknown if word.startswith("-")]
            for word in (*args.files, *unknown):
                if Path(word).suffix in (".extxyz", ".mtp"):
                    assert Path(word).name in known
            if "-o" in words:
                written = Path(words[words.index("-o") + 1])
                # Of members of an ensemble, or of replicas.
                n = 8 if args.command == "md" else 0
                if args.command == "fit" and "--ensemble" in words:
                    n = int(words[words.index("--ensemble") + 1])
                names = (f"{written.stem}.{k}{written.suffix}" for k in range(n))
                known |= {str(written), *names}


def test_the_commands_are_those_of_mmtp(common, crn, tmp_path) -> None:
    crn.crystals(tmp_path)
    known = {path.name for path in tmp_path.iterdir()} | {"test.extxyz", "properties.extxyz"}
    training = [atoms for path in crn.TRAINING for atoms in mmtp.read(path)]
    known |= {f"curve_{part}.extxyz" for part in common.parts(len(training))}
    args = common.build_parser(crn.PAPER).parse_args(["--test", "test.extxyz"])
    check_commands(crn.stages(args, len(training)), known)


@pytest.mark.parametrize("name", ["crn", "fe_al", "fe_pd"])
def test_refitting_makes_the_shipped_potential(name, load, common) -> None:
    """The script and the recipe of the shipped potential say the same data and form."""
    paper = load(name).PAPER
    recipe = runpy.run_path(str(SCRIPTS / "make_potential.py"))["RECIPES"][name.replace("_", "-")]
    assert recipe.name == paper.potential
    parser, _ = build_parser()
    fit = paper.fit.format(**vars(common.build_parser(paper).parse_args([])))
    words = ["fit", *map(str, paper.training), *fit.split(), "-o", "new.mtp"]
    settings, given = collect(parser.parse_args(words))
    form, seed = settings.potential, settings.fit.seed
    start = first_potential(form, settings.domain, seed, given)
    np.testing.assert_array_equal(start.flatten(), recipe.start.flatten())
    assert (start.form, start.parities) == (recipe.start.form, recipe.start.parities)
    assert start.non_magnetic == recipe.start.non_magnetic
    assert settings.fit.max_iterations == recipe.fit["max_iterations"]
    assert settings.weights == recipe.fit.get("weights", mmtp.Weights())
    read = [atoms for path in paper.training for atoms in mmtp.read(path)]
    data = recipe.data()
    assert len(read) == len(data)
    for one, other in zip(read, data, strict=True):
        np.testing.assert_array_equal(one.positions, other.positions)


@pytest.mark.parametrize(("size", "shape"), [("", "4"), ("_8", "8a")])
def test_the_learning_labels_as_the_lists_are_labelled(size, shape, monkeypatch) -> None:
    """One making: what `mmtp learn` would add to the data belongs to them."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    made = runpy.run_path(str(SCRIPTS / "make_crn_data.py"))
    oracle = read_oracle(SCRIPTS / "papers" / f"crn_abinit{size}.toml")
    repeats, kmesh = made["SHAPES"][shape]
    wanted = made["with_grids"](made["ORACLE"], kmesh, repeats, **made["GRIDS"])
    assert {**asdict(oracle), "datasets": None} == {**asdict(wanted), "datasets": None}


@pytest.mark.parametrize("size", ["", "_8"])
def test_the_learning_is_valid_and_starts_from_what_there_is(size, crn, tmp_path) -> None:
    path = SCRIPTS / "papers" / f"crn_learn{size}.toml"
    assert size in crn.LEARNED_IN
    assert main(["validate", str(path)]) == 0
    settings = tomllib.loads(path.read_text())
    known = [p for p in crn.TRAINING if size or p != crn.LEARNED]
    assert settings["data"]["files"] == [p.name for p in known]
    assert settings["oracle"]["file"] == f"crn_abinit{size}.toml"
    assert settings["loop"]["folder"] == f"learned{size}"
    crn.crystals(tmp_path)
    for simulation in settings["simulation"]:
        assert all((tmp_path / name).exists() for name in simulation["start"])


def test_what_ends_a_command_ends_the_script(common, crn, monkeypatch, tmp_path) -> None:
    """Ctrl-C and SIGTERM end a command with its own exit status, not with an exception."""
    seen = []
    stages = {k: common.Stage(k, (f"info {k}", "info again")) for k in ("one", "two")}
    monkeypatch.setattr(common, "run_mmtp", lambda words: seen.append(words[-1]) or 143)
    monkeypatch.setattr("sys.argv", ["crn.py", "-o", str(tmp_path)])
    assert common.main(replace(crn.PAPER, stages=lambda *_: stages)) == 143
    assert seen == ["one"]


def test_what_is_done_is_done_again_for_another_potential_only(
    common, monkeypatch, tmp_path
) -> None:
    statuses, finished = [2, 1, 0, 0], []
    monkeypatch.setattr(common, "run_mmtp", lambda words: statuses.pop(0))
    stage = common.Stage("one command", ("info {pot}",), finished.append)
    run = lambda mark: common.run_stage("info", stage, tmp_path, "pot.mtp", mark)  # noqa: E731
    assert [run(mark) for mark in (b"a", b"a", b"a", b"a", b"b")] == [2, 1, 0, 0, 0]
    assert not statuses
    # Of an error there is nothing to make a table of.
    assert len(finished) == 3
    # Where it is a result that not all converged, that ends well.
    statuses += [1]
    accepting = {"accepting": replace(stage, accepts=1)}
    assert [common.run_stages(accepting, tmp_path, "CrN") for _ in range(2)] == [0, 0]
    assert not statuses


def test_what_is_done_is_done_again_for_other_commands_and_other_files(
    common, monkeypatch, tmp_path
) -> None:
    seen = []

    def run(words: list[str]) -> int:
        seen.append(words)
        (tmp_path / "out.json").write_text(str(len(seen)))
        return 0

    def runs(stage, parameters: bytes = b"") -> bool:
        before = len(seen)
        common.run_stage("one", stage, tmp_path, "pot.mtp", parameters)
        return len(seen) > before

    monkeypatch.setattr(common, "run_mmtp", run)
    test = tmp_path.parent / "elsewhere.extxyz"
    for path in (tmp_path / "a.extxyz", tmp_path / "read.extxyz", test):
        path.write_text("1")
    stage = common.Stage(
        "", (f"fit a.extxyz --validation {test} --report out.json", "info out.json"),
        reads=("read.extxyz",),
    )  # fmt: skip
    assert runs(stage)
    # What it has written itself is no other file, nor is a potential that no command names.
    assert not runs(stage, b"another")
    for path in (tmp_path / "a.extxyz", tmp_path / "read.extxyz", test):
        path.write_text("2")
        assert runs(stage)
        assert not runs(stage)
    # The same labels in another place are no others.
    moved = test.rename(tmp_path.parent / "moved.extxyz")
    commands = stage.commands[0].replace(str(test), str(moved)), stage.commands[1]
    stage = replace(stage, commands=commands)
    assert not runs(stage)
    assert runs(replace(stage, commands=(f"{commands[0]} --seed 1", commands[1])))


def test_a_checkpoint_of_another_potential_is_not_gone_on_from(
    common, monkeypatch, tmp_path
) -> None:
    seen = []
    monkeypatch.setattr(common, "run_mmtp", lambda words: seen.append(words[-1]) or 2)
    stage = common.Stage("", ("montecarlo {pot} --resume --checkpoint walk.npz",))
    for parameters in (b"a", b"a", b"b", b"a"):
        common.run_stage("walk", stage, tmp_path, "pot.mtp", parameters)
    assert seen[0] == seen[1] == seen[3] != seen[2]
    for path in map(Path, seen):
        assert path.parent == tmp_path
        assert path.match("walk-*.npz")


def test_files_are_in_the_folder_of_the_results(common, monkeypatch, tmp_path) -> None:
    seen = []
    monkeypatch.setattr(common, "run_mmtp", lambda words: seen.extend(words) or 0)
    other = tmp_path.parent / "test.extxyz"
    stage = common.Stage("", (f"fit a.extxyz --validation {other} --report {{pot}} -o new.mtp",))
    common.run_stage("fit", stage, tmp_path, "pot.mtp", b"")
    place = [str(tmp_path / name) for name in ("a.extxyz", "new.mtp")]
    assert seen == [
        "fit",
        place[0],
        "--validation",
        str(other),
        "--report",
        "pot.mtp",
        "-o",
        place[1],
    ]


def test_all_lists_are_labelled_by_their_maker(common, crn, fe_al, monkeypatch, tmp_path) -> None:
    found = []

    def run(words, check) -> SimpleNamespace:
        found.append(words[1:])
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(common.subprocess, "run", run)
    for paper, datasets, number in ((crn.PAPER, ["datasets"], 6), (fe_al.PAPER, [], 4)):
        found.clear()
        parser = common.build_parser(paper)
        assert not parser.parse_args([]).from_scratch
        words = ["-o", str(tmp_path), "--at-most", "2", "--from-scratch", *datasets]
        common.label_lists(paper, parser.parse_args(words))
        assert len(found) == number
        for script, *words in found:
            assert script.name == Path(paper.maker).name
            of = {words[k]: k + 1 for k in range(len(words)) if words[k].startswith("--")}
            path = paper.test.parent / f"{words[of['--list']]}.extxyz"
            ids = [int(word) for word in words[of["--ids"] : of["--ids"] + 2]]
            assert ids == [atoms.info["config_id"] for atoms in mmtp.read(path)][:2]
            assert max(ids) < int(words[of["--number"]])
            assert words[words.index("-o") + 1] == str(tmp_path / path.name)
            assert ("--datasets" in of) == bool(datasets)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--at-most", "0"], "positive, got 0"),
        (["--states", "-5"], "positive, got -5"),
        (["--states", "x"], "a whole number, got 'x'"),
    ],
)
def test_numbers_are_one_or_more(words, wanted, common, crn, capsys) -> None:
    with pytest.raises(SystemExit):
        common.build_parser(crn.PAPER).parse_args(words)
    assert f"argument {words[0]}: must be {wanted}" in capsys.readouterr().err


def test_the_learning_curve_is_the_mean_over_parts(common, crn, tmp_path) -> None:
    names = common.parts(16)
    assert list(names) == [f"{n}_{k}" for n in (4, 8) for k in range(3)] + ["16_0"]
    # Of an earlier training set, of 32: its parts of eight and sixteen are others.
    for name in (*common.parts(32), *names):
        n, part = name.split("_")
        rmse = 2.0 * float(n) + int(part) if name in names else 1e6
        validation = {kind: {"rmse": rmse} for kind in crn.PAPER_ERRORS}
        report = {"errors": {"training": {}, "validation": validation}}
        (tmp_path / f"curve_{name}.json").write_text(json.dumps(report))
    common.learning_curve(tmp_path, crn.PAPER_ERRORS, 16)
    _, *rows = csv.reader((tmp_path / "curve.csv").read_text().splitlines())
    assert [row[:3] for row in rows] == [["4", "3", "9"], ["8", "3", "17"], ["16", "1", "32"]]
    assert [float(row[-1]) for row in rows] == pytest.approx([(2 / 3) ** 0.5] * 2 + [0], rel=1e-3)
    assert (tmp_path / "curve.png").exists()
    assert (tmp_path / "curve.pdf").exists()


def test_the_heat_capacity_is_of_a_formula_unit(tables, tmp_path, monkeypatch) -> None:
    head = "temperature (K),heat capacity C_p (k_B/atom)"
    (tmp_path / "fig9.csv").write_text(f"{head}\n200,2.5\n300,3\n400,3\n")
    drawn = []
    monkeypatch.setattr(tables, "save", lambda figure, path: drawn.append(figure))
    tables.heat_capacity(tmp_path)
    lines = {line.get_label(): line.get_ydata() for line in drawn[0].axes[0].lines}
    # Dulong and Petit's 6 R, and De Luca's 11.574 cal at 300 K.
    np.testing.assert_allclose(lines["potential, paramagnetic"], 6 * 8.314463, rtol=1e-6)
    assert lines["measured (De Luca 1973)"][0] == pytest.approx(48.43, abs=0.01)


def test_what_the_learning_selected_is_read_with_its_labels(crn, monkeypatch, tmp_path) -> None:
    shipped = mmtp.read(crn.DATA / "learned.extxyz")
    parts = {"": shipped[:1], "_8": shipped[-2:]}

    def run(words, cwd=None, check=False) -> SimpleNamespace:
        size = "_8" if {"crn_learn_8.toml", "crn_abinit_8.toml"} & set(words) else ""
        folder = tmp_path / f"learned{size}" / "iteration-000"
        if "learn" in words:
            assert (tmp_path / words[-1]).exists()
            assert not size or len(mmtp.read(tmp_path / "learned.extxyz")) == 1
            folder.mkdir(parents=True)
            (folder / "selected.cfg").touch()
        elif "label" in words:
            assert words[words.index("--oracle") + 1] == f"crn_abinit{size}.toml"
            assert words[words.index("--jobs") + 1] == str(folder / "labelled")
            mmtp.write(words[words.index("-o") + 1], parts[size])
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(crn.subprocess, "run", run)
    crn.learn(tmp_path, tmp_path, 6)
    limits = {size: preselected(tmp_path / f"crn_learn{size}.toml")["limit"] for size in parts}
    assert limits == {"": 5, "_8": 6}
    found = mmtp.read(tmp_path / "learned.extxyz")
    assert [a.info["kmesh"] for a in found] == [shipped[k].info["kmesh"] for k in (0, -2, -1)]
    assert {a.info["making"] for a in found} == {shipped[0].info["making"]}


def preselected(path: Path) -> dict[str, object]:
    """A section of settings."""
    return tomllib.loads(path.read_text())["preselection"]


# Fe-Al


@pytest.fixture
def fe_al(load) -> ModuleType:
    return load("fe_al")


@pytest.fixture
def alloys(load) -> ModuleType:
    return load("fe_al_tables")


@pytest.fixture
def crystals(load) -> ModuleType:
    return load("fe_al_crystals")


CRYSTALS = {"A2": ("Fe2", 2.84), "B2": ("FeAl", 2.88), "fcc": ("Al4", 4.04)}
"""Formula, and lattice parameter at which the energy is lowest, Angstrom."""
FORMULAS = {"Fe15Al": "Fe15Al", "Fe7Al": "Fe7Al", "D03": "Fe12Al4", "Fe5Al3": "Fe5Al3"}


def at_volumes(kind: str, formula: str, lowest: float, energy: float) -> list[Atoms]:
    """Five volumes, energies of Birch and Murnaghan, moments of Fe that are 2 a - 3.5 mu_B."""
    found = []
    for a in lowest + np.array([-0.08, -0.03, 0.01, 0.04, 0.07]):
        atoms = Atoms(formula, cell=[a, a, a], pbc=True, info={"label": kind})
        moments = np.where(atoms.symbols == "Fe", 2 * a - 3.5, 0.0)
        atoms.set_initial_magnetic_moments(moments)
        x = a**-2 - lowest**-2
        above = 4e3 * x**2 + 2e4 * x**3
        results = {"energy": len(atoms) * (energy + above), "magmoms": moments}
        atoms.calc = SinglePointCalculator(atoms, **results)
        found.append(atoms)
    return found


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content))


def test_the_commands_of_fe_al_are_those_of_mmtp(common, fe_al, tmp_path) -> None:
    cells = {**CRYSTALS, **{kind: (formula, 2.9) for kind, formula in FORMULAS.items()}}
    labels = [atoms for kind, of in cells.items() for atoms in at_volumes(kind, *of, -1.0)]
    mmtp.write(tmp_path / "equilibrium.extxyz", labels)
    fe_al.crystals(tmp_path)
    ordered = mmtp.read(tmp_path / "ordered.extxyz")
    assert [atoms.info["label"] for atoms in ordered] == ["A2", "B2", *FORMULAS]
    known = {path.name for path in tmp_path.iterdir()}
    known |= {f"curve_{part}.extxyz" for part in common.parts(40)}
    words = ["--training", "a b/start.extxyz", "ideal.extxyz", "--test", "test.extxyz"]
    args = common.build_parser(fe_al.PAPER).parse_args([*words, "--members", "3"])
    known |= {path.name for path in (*args.training, args.test)}
    stages = fe_al.stages(args, 40)
    check_commands(stages, known)
    assert "psi4_with.2.mtp" in stages["fig7_B2"].commands[0]
    with pytest.raises(SystemExit, match="two or more"):
        fe_al.stages(common.build_parser(fe_al.PAPER).parse_args(["--members", "1"]), 40)


def test_supercells_have_four_lattice_parameters_along_each_edge(crystals) -> None:
    a = 2.9
    for formula, repeats in (("Fe2", (1, 1, 1)), ("Fe3Al", (1, 1, 2)), ("Fe15Al", (2, 2, 2))):
        atoms = Atoms(formula, cell=a * np.array(repeats), pbc=True)
        found = crystals.supercell(atoms)
        assert len(found) == 128
        assert found.cell.lengths() == pytest.approx(4 * a)


def test_crystals_are_compared_at_their_own_volumes(crystals, tmp_path) -> None:
    energies = {"A2": -8.0, "B2": -6.3, "fcc": -4.0}
    labels = [a for k, of in CRYSTALS.items() for a in at_volumes(k, *of, energies[k])]
    mmtp.write(tmp_path / "equilibrium.extxyz", labels)
    dft = crystals.dft_crystals(mmtp.read(tmp_path / "equilibrium.extxyz"))
    assert {k: of.energy / of.n for k, of in dft.items()} == pytest.approx(energies)
    assert dft["B2"].lattice == pytest.approx(2.88)
    assert dft["B2"].moment_per_iron == pytest.approx(2 * 2.88 - 3.5, abs=1e-3)
    assert dft["B2"].formation(-8.0, -4.0) == pytest.approx(-300.0)
    mmtp.write(tmp_path / "ordered.extxyz", crystals.starts(labels))
    higher = replace(dft["B2"], energy=dft["B2"].energy + 0.1)
    assert crystals.lowest_of([dft["A2"], higher, dft["B2"]]).tolist() == [0, 2]
    # Energies of Fe are off, which cancels; the second does not relax B2.
    for k, (shift, counts) in enumerate(((0.1, True), (0.2, False))):
        a2 = {"energy": 2 * (-8.0 + shift), "volume": 2.84**3, "magmom": 2 * 2.18, "counts": True}
        b2 = {"energy": 2 * -6.3 + shift + 0.02, "volume": 2.90**3, "magmom": -2.26 - 0.1 * k,
              "counts": counts}  # fmt: skip
        for name in ("ideal", "full"):
            path = tmp_path / f"{name}_psi2_with.{k}.json"
            write_json(path, {"configurations": [a2, b2]})
    crystals.crystals_table(tmp_path, 2)
    _, ours, paper = csv.reader((tmp_path / "table4.csv").read_text().splitlines())
    assert ours[:3] == ["2", "0.1", "ours"]
    assert paper[3] == "2.9 +- 0.4"
    # Of B2 by the one that relaxed it: Fe is no error.
    assert ours[3] == "10"
    assert ours[-1] == "75 +- 71"
    head, a2, b2 = csv.reader((tmp_path / "composition.csv").read_text().splitlines())
    assert (a2[0], b2[0], b2[1]) == ("A2", "B2", "50")
    assert float(b2[head.index("formation energy (meV/atom), DFT")]) == pytest.approx(-300.0)
    assert float(b2[head.index("formation energy (meV/atom), N_psi = 2")]) == pytest.approx(-290.0)
    for name in ("fig5.png", "fig6.pdf"):
        assert (tmp_path / name).exists()


def test_moments_are_compared_where_nothing_held_those_of_dft(alloys, tmp_path) -> None:
    labels = []
    for formula, moments, force in (
        ("FeAl", [2.0, -0.1], 0.0), ("Fe2", [1.0, 1.0], 0.2), ("Al4", [0.0] * 4, 0.0)
    ):  # fmt: skip
        atoms = Atoms(formula, positions=np.arange(3 * len(moments)).reshape(-1, 3))
        atoms.set_initial_magnetic_moments(moments)
        atoms.calc = SinglePointCalculator(atoms, energy=1.0, magmoms=np.array(moments))
        mmtp.set_magnetic_forces(atoms, np.full(len(moments), force))
        labels.append(atoms)
    path = tmp_path / "labels.extxyz"
    mmtp.write(path, labels)
    free = alloys.free_moments(mmtp.read(path))
    assert [moments is not None for moments in free] == [True, False, False]
    for k, found in enumerate((2.1, 2.3)):
        ended = [([found, 0.0], True), ([1.5, 1.5], k == 0), ([0.0] * 4, False)]
        content = [{"magmoms": m, "counts": counts} for m, counts in ended]
        write_json(tmp_path / f"moments_psi3_without.{k}.json",
                   {"data": [str(path)], "configurations": content})  # fmt: skip
    alloys.moments_table(tmp_path, 2)
    _, ours, paper = csv.reader((tmp_path / "table3.csv").read_text().splitlines())
    assert ours == ["3", "0", "ours", "0.20 +- 0.28", "100", "75 +- 71"]
    assert paper[3:5] == ["0.175 +- 0.148", "98.6 +- 2.3"]
    assert (tmp_path / "fig4.png").exists()


def test_errors_of_ensembles_and_folds_stand_beside_those_of_the_paper(alloys, tmp_path) -> None:
    def errors(*values: float) -> dict[str, Any]:
        return {kind: {"rmse": {"values": values}} for kind in alloys.PAPER_ERRORS}

    potential = {"n_parameters": 471}
    of = {"training": errors(1.0, 2.0), "validation": errors(3.0, 3.0)}
    write_json(tmp_path / "psi3_with.json", {"ensemble": {"errors": of}, "potential": potential})
    of = {"training": errors(0.5, 0.5), "validation": errors(4.0, 6.0)}
    report = {"cross_validation": {"errors": of}, "potential": potential}
    write_json(tmp_path / "folds_psi3_with.json", report)
    alloys.errors_of_fits(tmp_path)
    rows = list(csv.reader((tmp_path / "table2.csv").read_text().splitlines()))
    found = {row[3]: row[2:5:2] for row in rows if row[:2] == ["3", "0.1"]}
    assert found == {
        "ours, training set": ["471", "1.5 +- 1.4"],
        "ours, five folds": ["471", "5.0 +- 2.8"],
        "ours, test set": ["471", "3"],
        "paper, training set": ["895", "2.25 +- 0.07"],
    }
    assert (tmp_path / "fig3.png").exists()


def test_the_lattice_at_300_kelvin_stands_beside_that_at_rest(crystals, tmp_path) -> None:
    labels = at_volumes("B2", *CRYSTALS["B2"], -6.3)
    mmtp.write(tmp_path / "equilibrium.extxyz", labels)
    mmtp.write(tmp_path / "ordered.extxyz", crystals.starts(labels))
    for k, (a, ended) in enumerate(((2.91, True), (2.93, True), (9.0, False))):
        cold = {"energy": -12.6, "volume": 2.90**3, "magmom": 2.2, "counts": True}
        write_json(tmp_path / f"ideal_psi4_with.{k}.json", {"configurations": [cold]})
        run = {"counts": ended, "volume (Angstrom^3)": 64 * a**3, "magnetisation (mu_B)": -128.0,
               "volume (Angstrom^3) error": 64 * a**3 * 0.003}  # fmt: skip
        write_json(tmp_path / f"fig7_B2.{k}.json", {"n_atoms": 128, "averages": [run]})
    crystals.expansion(tmp_path, 3)
    _, row = csv.reader((tmp_path / "fig7.csv").read_text().splitlines())
    expected = ["B2", "50", "2.88", "2.9", "2.920 +- 0.028", "0.00292", "2.26", "2.2", "2", "2"]
    assert row == expected
    assert (tmp_path / "fig7.pdf").exists()


def test_what_magnetic_forces_save_is_counted_in_labels(common, alloys, tmp_path) -> None:
    assert alloys.labels_needed([10, 20, 40], [8.0, 4.0, 2.0], 3.0) == "27"
    assert alloys.labels_needed([10, 20, 40], [8.0, 4.0, 2.0], 9.0) == "<= 10"
    assert alloys.labels_needed([10, 20, 40], [8.0, 4.0, 2.0], 1.0) == "> 40"
    for part, places in common.parts(16).items():
        for kind, factor in (("with", 32.0), ("without", 64.0)):
            errors = {k: {"rmse": factor / len(places)} for k in alloys.PAPER_ERRORS}
            write_json(tmp_path / f"curve_{kind}_{part}.json", {"errors": {"validation": errors}})
    alloys.labels_saved(tmp_path, 16)
    _, *rows = csv.reader((tmp_path / "curve.csv").read_text().splitlines())
    assert [row[:4] for row in rows] == [
        ["4", "16", "8", "8"], ["8", "8", "4", "16"], ["16", "4", "2", "> 16"],
    ]  # fmt: skip
    assert (tmp_path / "curve.png").exists()


def test_what_is_not_there_yet_is_said(common, fe_al, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("sys.argv", ["fe_al.py", "--labels", str(tmp_path / "none")])
    with pytest.raises(SystemExit, match=r"start\.extxyz.*make_fe_al_data\.py makes them") as said:
        common.main(fe_al.PAPER)
    # Labels of iron ship.
    assert "fe_cdft" not in str(said.value)
    stage = common.Stage("", ("evaluate {pot} test.extxyz",))
    with pytest.raises(SystemExit, match="no potential Fe-Xx for one: fit it first with --refit"):
        common.run_stages({"one": stage}, tmp_path, "Fe-Xx")
    # No command names it.
    table = common.Stage("", (), lambda folder: (folder / "none.json").read_text())
    assert common.run_stages({"table": table}, tmp_path, "Fe-Xx") == 1
    assert not (tmp_path / ".table.done").exists()


# Fe-Pd


@pytest.fixture
def fe_pd(load) -> ModuleType:
    return load("fe_pd")


@pytest.fixture
def invar(load) -> ModuleType:
    return load("fe_pd_tables")


def test_the_commands_of_fe_pd_are_those_of_mmtp(common, fe_pd, tmp_path) -> None:
    fe_pd.crystals(tmp_path)
    known = {path.name for path in tmp_path.iterdir()} | {"equilibrium.extxyz"}
    known |= {f"curve_{part}.extxyz" for part in common.parts(40)}
    words = ["--training", "a b/start.extxyz", "ideal.extxyz", "--test", "test.extxyz"]
    args = common.build_parser(fe_pd.PAPER).parse_args(words)
    known |= {path.name for path in (*args.training, args.test)}
    check_commands(fe_pd.stages(args, 40), known)


def test_the_alloy_is_that_of_the_paper_without_order(invar) -> None:
    for edge, palladium in ((2, 10), (3, 35)):
        atoms = invar.alloy(edge, 3.76)
        assert (len(atoms), sum(atoms.symbols == "Pd")) == (4 * edge**3, palladium)
        assert atoms == invar.alloy(edge, 3.76)
        moments = atoms.get_initial_magnetic_moments()
        assert (moments[atoms.symbols == "Fe"] > moments[atoms.symbols == "Pd"].max()).all()
    i, j = neighbor_list("ij", atoms, 0.8 * 3.76)
    unlike = np.mean((atoms.symbols == "Pd")[i] != (atoms.symbols == "Pd")[j])
    assert unlike == pytest.approx(2 * 35 * 73 / (108 * 107), rel=0.02)


def test_ordered_crystals_stand_beside_those_of_our_dft(invar, tmp_path, capsys) -> None:
    for name, shift in (("equilibrium", 0.0), ("fig3_ordered", 0.01)):
        cells = at_volumes("L12", "Fe3Pd", 3.74, -1.0)
        for atoms in cells:
            atoms.set_cell(atoms.cell * (1.0 + shift))
            under = {"stress": np.array([-2.0, -2.0, -2.0, 0.0, 0.0, 0.0]) * GPA}
            atoms.calc = SinglePointCalculator(atoms, **{**atoms.calc.results, **under})
        mmtp.write(tmp_path / f"{name}.extxyz", cells)
    for kelvin, a in ((0, 3.74), (300, 3.7512)):
        lattice = [3.60, 3.70, 3.80, 3.88]
        run = {
            "lattice_parameters": lattice, "lattice_parameter": a, "bulk_modulus_GPa": 160.0,
            "magnetisations": [2 * x - 6 for x in lattice], "pressures_GPa": [9.0, 3.0, -3.0, -8.0],
        }  # fmt: skip
        write_json(tmp_path / f"fig3_{kelvin}K.json", run)
    invar.invar(tmp_path)
    _, *rows = csv.reader((tmp_path / "ordered.csv").read_text().splitlines())
    assert len(rows) == 5
    assert rows[0] == ["L12", "3.66", "2.865", "2.865", "2", "2"]
    _, cold, warm, dft, ours = csv.reader((tmp_path / "rest.csv").read_text().splitlines())
    assert [row[1] for row in (cold, warm, dft, ours)] == ["3.74", "3.751", "3.74", "3.777"]
    assert cold[3] == "1.48"
    assert (tmp_path / "fig3.png").exists()
    assert "linear expansion to 300 K: 9.98e-6/K" in capsys.readouterr().out
    # An alloy without a minimum between its volumes has no such row, and what else there is.
    (tmp_path / "fig3.png").unlink()
    write_json(tmp_path / "fig3_300K.json", {**run, "lattice_parameter": None, "no_fit": "none"})
    invar.invar(tmp_path)
    _, *left = csv.reader((tmp_path / "rest.csv").read_text().splitlines())
    assert left == [cold, dft, ours]
    assert "alloy, 300 K, is left out: none" in capsys.readouterr().out
    assert (tmp_path / "fig3.png").exists()


def test_densities_of_states_stand_beside_their_pressures(invar, tmp_path) -> None:
    frequencies = np.linspace(0.0, 10.0, 101)
    for k, a in enumerate(invar.OF_DOS):
        of_iron = np.exp(-((frequencies - 6 + k) ** 2))
        of_palladium = np.exp(-((frequencies - 4 + k) ** 2))
        dos = {
            "frequencies_THz": frequencies.tolist(),
            "total_per_THz": (of_iron + of_palladium).tolist(),
            "species_per_THz": {"Pd": of_palladium.tolist(), "Fe": of_iron.tolist()},
        }
        write_json(tmp_path / f"fig4_{a:.2f}.json", dos)
        averages = {"pressure (GPa)": 20.0 - 9 * k, "magnetisation (mu_B)": 162.0}
        write_json(tmp_path / f"fig4_{a:.2f}_md.json", {"n_atoms": 108, "averages": [averages]})
    invar.density_of_states(tmp_path)
    _, *rows = csv.reader((tmp_path / "fig4.csv").read_text().splitlines())
    assert [row[:3] for row in rows] == [
        ["3.64", "20", "1.5"], ["3.72", "11", "1.5"], ["3.8", "2", "1.5"],
    ]  # fmt: skip
    # Means of all, Fe and Pd.
    expected = [invar.MEV_PER_THZ * thz for thz in (5.0, 6.0, 4.0)]
    assert [float(x) for x in rows[0][3:]] == pytest.approx(expected, rel=1e-3)
    for name in ("fig4.pdf", "fig5.png"):
        assert (tmp_path / name).exists()


def test_selections_are_counted_round_by_round(invar, tmp_path) -> None:
    for k in range(invar.ROUNDS):
        write_json(tmp_path / f"fig2_{k}.json", {"selected": [{"grade": 2.0}] * (4 - k)})
    invar.selected(tmp_path)
    _, *rows = csv.reader((tmp_path / "fig2.csv").read_text().splitlines())
    assert rows == [["1", "4", "4"], ["2", "3", "7"], ["3", "2", "9"], ["4", "1", "10"],
                    ["5", "0", "10"]]  # fmt: skip
    assert (tmp_path / "fig2.pdf").exists()
