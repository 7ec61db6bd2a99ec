"""Settings of equilibrate, relax, mc and sample: defaults, files, older options, order of words."""

from __future__ import annotations

import dataclasses
import re
import tomllib

import numpy as np
import pytest
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax.cli.command_line import current_words, declared_of, options_given
from mmtp_jax.cli.main import build_parser
from mmtp_jax.cli.settings import build, checked, sections_of, template

COMMANDS = ("equilibrate", "relax", "montecarlo", "sample", "md")


@pytest.mark.parametrize("command", COMMANDS)
def test_templates_hold_every_key_and_the_defaults(run, tmp_path, command) -> None:
    text = run("template", command).out
    path = tmp_path / "settings.toml"
    path.write_text(text)
    valid = run("validate", path)
    assert valid.status == 0, valid.err
    assert f"valid settings of 'mmtp {command}'" in valid.out
    settings_class = declared_of(build_parser()[1])[command].of
    text = re.sub(r"^#(?=\w+ = )", "", template(settings_class), flags=re.MULTILINE)
    content = tomllib.loads(text)
    settings = build(settings_class, checked(content, settings_class, "template"))
    defaults = build(settings_class, {})
    for name, section in sections_of(settings_class).items():
        assert set(content[name]) == {field.name for field in dataclasses.fields(section)}
        for key, value in vars(getattr(defaults, name)).items():
            assert value in (None, (), getattr(getattr(settings, name), key)), key
    path.write_text(path.read_text().replace("[input]", "[input]\npotental = 3"))
    wrong = run("validate", path)
    assert wrong.status == 2
    assert "did you mean 'input.potential'" in wrong.err


@pytest.mark.parametrize(
    ("words", "section", "key", "value", "n_said"),
    [
        ("relax --fixed-moments", "moments", "moments", "fixed", 0),
        ("relax --fixed-positions", "relaxation", "positions", False, 0),
        ("relax --unbounded", "relaxation", "bounded", False, 0),
        ("relax --stress-tolerance 0.5", "relaxation", "stress_tolerance_GPa", 0.5, 0),
        ("relax --pressure 2", "relaxation", "pressure_GPa", 2.0, 0),
        ("relax --cell xx yy", "relaxation", "cell", ("xx", "yy"), 0),
        ("relax --grade-low 3", "preselection", "grade_select", 3.0, 1),
        ("relax --grade-high 5", "preselection", "grade_break", 5.0, 1),
        ("relax --grade-select 3", "preselection", "grade_select", 3.0, 0),
        ("relax --grade-break 5", "preselection", "grade_break", 5.0, 0),
        ("relax --max-volume-change 0.1", "relaxation", "max_volume_change", 0.1, 0),
        ("relax --magnetic-gradient", "input", "magnetic_gradient", True, 0),
        ("relax --moments-at-equilibrium", "input", "moments_at_equilibrium", ("all",), 0),
        ("fit --moments-at-equilibrium A B", "data", "moments_at_equilibrium", ("A", "B"), 0),
        ("relax --start Fe=2 Al=-0.1", "moments", "start", ("Fe=2", "Al=-0.1"), 0),
        ("equilibrate --start Fe=2", "moments", "start", ("Fe=2",), 0),
        ("equilibrate --scale 0.5", "moments", "scale", 0.5, 0),
        ("equilibrate --allow-flips", "moments", "allow_flips", True, 0),
        ("equilibrate --species Fe Al", "input", "species", ("Fe", "Al"), 0),
        ("mc --temperatures 300 400", "walk", "temperatures_K", (300.0, 400.0), 1),
        ("mc --swap", "walk", "move", "swap", 1),
        ("mc --fixed", "walk", "moments", "fixed", 2),
        ("mc --warm", "walk", "warm", True, 1),
        ("mc --burn-in 0", "walk", "burn_in", 0, 1),
        ("mc --copies 3", "walk", "copies", 3, 1),
        ("mc --magnetic Fe", "walk", "magnetic", ("Fe",), 1),
        ("sample -n 7", "states", "n", 7, 0),
        ("sample --fixed", "states", "moments", "fixed", 1),
        ("montecarlo --temperature 300", "walk", "temperatures_K", (300.0,), 0),
        ("md --temperatures 300 600", "dynamics", "temperature_K", (300.0, 600.0), 0),
        ("md --fixed-moments", "moments", "moments", "fixed", 0),
        ("eos --temperatures 300", "", "temperature_K", 300.0, 0),
        ("phonons --clamped", "", "moments", "fixed", 1),
        ("lammps --grade-save=3", "", "grade_select", 3.0, 1),
        ("fit --keep-domain", "domain", "keep_domain", True, 0),
        ("sample --atom 2", "output", "atom", 2, 0),
    ],
)
def test_every_older_option_sets_its_key(words, section, key, value, n_said) -> None:
    parser, commands = build_parser()
    words, said = current_words(words.split(), commands)
    args = parser.parse_args(words)
    assert options_given(args, args.declared.of) == {section: {key: value}}
    assert len(said) == n_said


@pytest.fixture(scope="module")
def start(fitted, data, tmp_path_factory):
    path = tmp_path_factory.mktemp("start") / "one.extxyz"
    mmtp.write(path, data.atoms_list[:1])
    return path


def test_a_file_and_options_do_the_same(run, fitted, start, tmp_path) -> None:
    file, outputs = tmp_path / "e.toml", [tmp_path / f"{k}.json" for k in range(3)]
    file.write_text(
        f'command = "equilibrate"\n[input]\npotential = "{fitted.potential}"\n'
        f'start = ["{start}"]\n[moments]\nscale = 0.9\nmax_steps = 3\n'
        f'[output]\njson = "{outputs[0]}"\n'
    )
    runs = [
        run("equilibrate", "--settings", file),
        run("equilibrate", start, "--settings", file, "--json", outputs[1], fitted.potential),
        run(
            "equilibrate", fitted.potential, "--scale", 0.9, start, "--max-steps", 3,
            "--json", outputs[2],
        ),
    ]  # fmt: skip
    assert [r.status for r in runs] == [0] * 3, [r.err for r in runs]
    assert outputs[0].read_bytes() == outputs[1].read_bytes() == outputs[2].read_bytes()
    other = run("relax", "--settings", file)
    assert other.status == 2
    assert "are for 'mmtp equilibrate', not for 'mmtp relax'" in other.err


def test_files_are_found_wherever_they_stand(run, fitted, start, tmp_path) -> None:
    other = tmp_path / "potential"
    other.write_bytes(fitted.potential.read_bytes())
    # As before, where no name ends in .mtp the first is the potential.
    found = run("equilibrate", other, start, "--max-steps", 3)
    assert found.status == 0, found.err
    assert "1 configuration," in found.out
    for words, message in (
        (("equilibrate", start, "--scal", 0.5, fitted.potential), None),
        (("equilibrate", start, "--unknown", 0.5, fitted.potential), "unrecognized arguments"),
        (("equilibrate", start), "give a potential and a start"),
        (("md", fitted.potential, start, "--temp", "warm"), "--temperature must be a number"),
        (("elastic", fitted.potential, start, start), "there are more files than are needed"),
        (("sample", fitted.potential, start, start), "give one file to start from"),
        (("montecarlo", fitted.potential, start), "give --temperatures"),
        (
            ("montecarlo", fitted.potential, start, "--temperatures", 300, "--sweeps", 0),
            "--sweeps must be at least 1",
        ),
    ):
        result = run(*words)
        assert result.status == (2 if message else 0), result.err
        assert message is None or message in result.err


def test_relaxation_is_plotted(iron_file, read_back, run, tmp_path) -> None:
    from mmtp_jax import plot

    start, figure = tmp_path / "two.extxyz", tmp_path / "relax.png"
    atoms_list = [bulk("Fe", cubic=True, a=lattice) for lattice in (2.75, 2.9)]
    for k, atoms in enumerate(atoms_list):
        atoms.rattle(0.05, seed=k)
        atoms.set_initial_magnetic_moments([2.2, 2.0])
    mmtp.write(start, atoms_list)
    result = run(
        "relax", iron_file, start, "--max-steps", 6, "--unbounded", "--plot", figure,
        "--trajectory", tmp_path / "steps.extxyz",
    )  # fmt: skip
    assert result.status in (0, 1), result.err
    assert read_back(figure)
    frames = [[], []]
    found = mmtp.relax(
        mmtp.load(iron_file), atoms_list, max_steps=6, bounded=False,
        record=lambda k, frame: frames[k].append(frame),
    )  # fmt: skip
    for k, trace in enumerate(frames):
        written = mmtp.read(tmp_path / f"steps.{k}.extxyz")
        assert len(written) == len(trace) > 1
        assert [f.energy for f in trace] == pytest.approx(
            [a.get_potential_energy() for a in written], abs=1e-6
        )
        assert np.all(np.diff([f.enthalpy for f in trace]) < 0)
        last = trace[-1]
        assert last.force == pytest.approx(found[k].force)
        assert last.stress_GPa == pytest.approx(found[k].stress_GPa)
        assert last.magnetic_force == pytest.approx(found[k].magnetic_force)
        assert last.energy == pytest.approx(found[k].energy)
    axes = plot.relaxation(frames, ["a", "b"]).axes
    assert len(axes) == 4
    of_first = axes[1].get_lines()[0]
    assert list(of_first.get_ydata()) == pytest.approx([f.force for f in frames[0]])
    assert list(of_first.get_xdata()) == [f.step for f in frames[0]]
