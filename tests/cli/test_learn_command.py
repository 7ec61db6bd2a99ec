"""``mmtp learn`` and its settings file."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from types import SimpleNamespace

import pytest
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax import plot
from mmtp_jax.active.learning_state import Row
from mmtp_jax.active.magnetic_states import STATES
from mmtp_jax.cli.commands.learn import simulation_of
from mmtp_jax.cli.console import read_data
from mmtp_jax.cli.learn_settings import KINDS, Data, LearnSettings, Simulation
from mmtp_jax.cli.learn_settings import STATES as KNOWN_STATES
from mmtp_jax.cli.settings import build, checked, sections_of, template

TOML = """\
command = "learn"

[data]
files = ["{start}"]

[potential]
level = 2
species = ["Fe"]
radial_size = 3
cutoff = 4.2

[oracle]
potential = "{teacher}"

[[simulation]]
name = "hot"
kind = "md"
start = ["{start}"]
states = ["fm"]
volumes = [1.0]
temperatures_K = [600]
steps = 10
timestep_fs = 2.0

[[simulation]]
name = "moments"
kind = "equilibrate"
start = ["{start}"]
states = ["given", "random"]
magmoms = 2.0

[preselection]
grade_select = 1.1
limit = 3

[fit]
max_iterations = 15

[loop]
folder = "{folder}"
max_iterations = 1
"""


@pytest.fixture(scope="module")
def files(iron_file, tmp_path_factory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("learn")
    cells = []
    for k in range(4):
        atoms = bulk("Fe", "bcc", a=2.78 + 0.03 * k, cubic=True)
        atoms.rattle(0.04, seed=k)
        atoms.set_initial_magnetic_moments([2.0 + 0.1 * k, 2.0 - 0.2 * k])
        cells.append(atoms)
    jobs = mmtp.label_all(mmtp.PotentialOracle(iron_file), cells, folder / "jobs")
    start = folder / "start.cfg"
    mmtp.write(start, [answer.atoms for answer in jobs.labelled], species=("Fe",))
    text = TOML.format(start=start, teacher=iron_file, folder=folder / "loop")
    settings = folder / "learn.toml"
    settings.write_text(text)
    return SimpleNamespace(folder=folder, loop=folder / "loop", settings=settings, text=text)


def test_a_loop_from_a_file(read_back, run, files) -> None:
    assert "valid settings of 'mmtp learn'" in run("validate", files.settings).out
    done = run("learn", files.settings)
    # One iteration is not enough, and the exit status says so.
    assert done.status == 1, done.err
    assert "not converged: the last of 1 iterations" in done.out
    assert "highest grade" in done.out
    assert "iteration 0: hot: 4 replicas of 10 steps" in done.out
    assert "iteration 0: moments: 8 configurations equilibrated" in done.out
    for name in ("potential.mtp", "table.csv", "selected.png", "selected.pdf", "state.json"):
        assert read_back(files.loop / name)
    # The active set of the last fit is beside the potential.
    potential = mmtp.load(files.loop / "potential.mtp")
    active = mmtp.ActiveSet.load(files.loop / "potential.active.npz", potential)
    assert active.n_seen == len(mmtp.read(files.loop / "iteration-001" / "train.cfg"))
    n_selected = len(mmtp.read(files.loop / "iteration-000" / "selected.cfg"))
    assert 0 < n_selected <= 3
    assert len(mmtp.read(files.loop / "iteration-001" / "train.cfg")) == 4 + n_selected
    # Again: nothing is left to do within this number of iterations.
    again = run("learn", files.settings)
    assert again.status == 1
    assert "fit to" not in again.out


def test_a_loop_with_a_species_without_moments(run, tmp_path) -> None:
    teacher, start = tmp_path / "teacher.mtp", tmp_path / "start.extxyz"
    form = {"species": ("Fe", "Al"), "radial_size": 3, "cutoff": 4.2, "non_magnetic": ("Al",)}
    mmtp.save(teacher, mmtp.Potential.new(level=2, seed=3, **form))
    cells = []
    for k in range(3):
        cells.append(bulk("Fe", "bcc", a=2.8 + 0.03 * k, cubic=True))
        cells[-1].symbols[1] = "Al"
        cells[-1].rattle(0.05, seed=k)
        cells[-1].set_initial_magnetic_moments([2.0 + 0.1 * k, 0.0])
    jobs = mmtp.label_all(mmtp.PotentialOracle(teacher), cells, tmp_path / "jobs")
    mmtp.write(start, [answer.atoms for answer in jobs.labelled])
    text = TOML.format(start=start, teacher=teacher, folder=tmp_path / "loop")
    text = text.replace('species = ["Fe"]', 'species = ["Fe", "Al"]\nnon_magnetic = ["Al"]')
    # No dynamics, which other loops have.
    hot = text[text.index("[[simulation]]") : text.rindex("[[simulation]]")]
    settings = tmp_path / "learn.toml"
    settings.write_text(text.replace(hot, "").replace("limit = 3", "limit = 1"))
    done = run("learn", settings)
    assert done.status in (0, 1), done.err
    # One size of moments is that of the species that have some, and needs no warning.
    assert "non-magnetic" not in done.err
    potential = mmtp.load(tmp_path / "loop" / "potential.mtp")
    assert potential.non_magnetic == ("Al",)
    trained = mmtp.read(tmp_path / "loop" / "iteration-001" / "train.cfg", species=("Fe", "Al"))
    assert len(trained) == 4
    for atoms in trained:
        moments = atoms.get_magnetic_moments()
        assert (moments[atoms.symbols == "Al"] == 0.0).all()
        assert (moments[atoms.symbols == "Fe"] != 0.0).all()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("grade_select = 1.1", "grade_selct = 1", "unknown key 'preselection.grade_selct'; did"),
        ("steps = 10", "step = 10", "unknown key 'simulation.step'; did you mean"),
        ("grade_select = 1.1", "grade_select = 11.0", "below grade_break, got 11 and 10"),
        ('"moments"', '"hot"', "simulations need different names, got hot, hot"),
        ('name = "hot"', "", "a simulation has no name"),
        ('states = ["fm"]', 'states = ["ferro"]', "states must be of given, fm, afm, random"),
        ('kind = "md"', 'kind = "relax"', "simulation.kind must be one of equilibrate, md"),
        ("steps = 10", "steps = 0", "steps must be at least 1"),
        ("[[simulation]]", "[simulation]", "simulation"),
        ("max_iterations = 15", "checkpoint = 'a.npz'", "fit.checkpoint is not for a loop"),
    ],
)  # fmt: skip
def test_mistakes_in_the_file_are_one_sentence(run, files, tmp_path, old, new, words) -> None:
    path = tmp_path / "wrong.toml"
    text = files.text.replace(old, new, 1)
    if new == "[simulation]":
        text = re.sub(r'\[\[simulation\]\]\nname = "moments"(.|\n)*?(?=\[pres)', "", text)
    path.write_text(text)
    for command in ("validate", "learn"):
        result = run(command, path)
        assert result.status == 2, result.out
        assert result.err.count("\n") == 1, result.err
        assert words in result.err


def test_missing_and_unusable_files_are_one_sentence(iron_file, run, files, tmp_path) -> None:
    def error(text: str) -> str:
        path = tmp_path / "wrong.toml"
        path.write_text(text.replace(str(files.loop), str(tmp_path / "loop")))
        result = run("learn", path)
        assert result.status == 2
        assert result.err.count("\n") == 1, result.err
        return result.err

    assert "none.mtp" in error(files.text.replace(str(iron_file), str(tmp_path / "none.mtp")))
    assert "give oracle.potential" in error(files.text.replace(f'potential = "{iron_file}"', ""))
    empty = tmp_path / "empty.cfg"
    empty.write_text("")
    start = str(files.folder / "start.cfg")
    assert "empty.cfg" in error(files.text.replace(start, str(empty), 1))
    assert "there are no data" in error(files.text.replace(f'files = ["{start}"]', ""))
    copper = tmp_path / "copper.extxyz"
    mmtp.write(copper, bulk("Cu", cubic=True))
    text = files.text.replace("steps = 10", "steps = 11")
    at = text.index('name = "hot"')
    text = text[:at] + text[at:].replace(start, str(copper), 1)
    assert "copper.extxyz, configuration 1: has Cu, but the potential is for Fe" in error(text)
    assert "none.toml" in run("learn", tmp_path / "none.toml").err
    assert not (tmp_path / "loop").exists()


def test_template_is_valid_once_it_has_its_files(run, tmp_path) -> None:
    text = run("template", "learn").out
    assert "'mmtp learn FILE'" in text
    path = tmp_path / "learn.toml"
    path.write_text(text)
    result = run("validate", path)
    assert result.status == 0, result.err
    for section in sections_of(LearnSettings).values():
        for field in dataclasses.fields(section):
            assert re.search(rf"^#?{field.name} = ", text, re.MULTILINE), field.name
    on = re.sub(r"^#(?=\w+ = )", "", template(LearnSettings), flags=re.MULTILINE)
    content = tomllib.loads(on)
    settings = build(LearnSettings, checked(content, LearnSettings, "template"))
    assert len(settings.simulation) == 1
    for field in dataclasses.fields(Simulation):
        if field.default not in (None, ()):
            assert getattr(settings.simulation[0], field.name) == field.default


def test_vectors_along_one_axis_stay_vectors(iron_file, tmp_path) -> None:
    """Both of the labels and of the starts, or a loop would never leave the axis."""
    atoms = bulk("Fe", "bcc", a=2.83, cubic=True)
    del atoms.arrays["initial_magmoms"]
    atoms.set_initial_magnetic_moments([[0.0, 0.0, 2.0], [0.0, 0.0, -2.0]])
    start = str(tmp_path / "start.extxyz")
    mmtp.write(start, [atoms], vectors=True)
    for wanted in (False, True):
        data = Data(files=(start,), vectors=wanted)
        (labelled,) = read_data(data.files, ("Fe",), data)
        assert labelled.get_initial_magnetic_moments().shape == ((2, 3) if wanted else (2,))
        for kind in KINDS:
            of = Simulation(name=kind, kind=kind, start=(start,), vectors=wanted)
            (structure,) = simulation_of(of, mmtp.load(iron_file)).structures
            assert structure.vectors == wanted


def test_states_are_those_of_the_library() -> None:
    assert KNOWN_STATES == STATES


def test_the_figure_has_a_bar_for_each_iteration() -> None:
    none = dict.fromkeys(
        f"{kind}_{when}"
        for kind in ("energy", "forces", "magnetic_forces")
        for when in ("before", "after")
    )
    rows = [Row(k, 10, **none, selected=n) for k, n in enumerate((5, 3, 0))]
    rows.append(Row(3, 18, **none))
    (axes,) = plot.learning(rows).axes
    assert [bar.get_height() for bar in axes.patches] == [5, 3, 0]
    (line,) = axes.lines
    assert list(line.get_ydata()) == [5, 8, 8]


def test_the_figure_has_the_errors_before_and_after_each_fit() -> None:
    none = dict.fromkeys(("magnetic_forces_before", "magnetic_forces_after"))
    rows = [
        Row(k, 10, None if k == 0 else 9.0 / k, 4.0 / (k + 1), 8.0, 7.0, **none, selected=2)
        for k in range(3)
    ]
    _, energy, forces = plot.learning(rows).axes
    before, after = energy.lines
    assert list(before.get_xdata()) == [1, 2]
    assert list(before.get_ydata()) == [9.0, 4.5]
    assert list(after.get_ydata()) == [4.0, 2.0, 4.0 / 3.0]
    assert "Forces" in forces.get_title()
