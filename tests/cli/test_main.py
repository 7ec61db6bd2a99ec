"""The entry point: help, errors in one line, and no JAX where none is needed."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from types import SimpleNamespace

import pytest

from mmtp_jax.cli import console
from mmtp_jax.cli.command_line import current_words
from mmtp_jax.cli.commands import evaluate as evaluate_command
from mmtp_jax.cli.committee import members_of
from mmtp_jax.cli.main import build_parser
from mmtp_jax.structures.domain import CantedWarning, ExtrapolationWarning

COMMANDS = ("quickstart", "init", "fit", "evaluate", "convert", "plot", "template", "validate")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(run, command) -> None:
    result = run(command, "--help")
    assert result.status == 0
    assert "example" in result.out
    assert f"mmtp {command}" in result.out.split("example")[1]


def test_help_lists_every_command(run) -> None:
    result = run("--help")
    assert result.status == 0
    assert all(command in result.out for command in COMMANDS)


@pytest.mark.parametrize(
    "words",
    [("validate",), ("info",), ("plot",), ("evaluate", "POTENTIAL"), ("dos",), ("sqw",),
     ("expansion",),
     ("evaluate",)],
)  # fmt: skip
def test_a_file_that_is_not_there_is_named_in_one_wording(run, iron_file, tmp_path, words) -> None:
    path = str(tmp_path / ("none.csv" if words[0] in ("plot", "expansion") else "none.mtp"))
    more = [iron_file if word == "POTENTIAL" else word for word in words]
    rest = [str(tmp_path / "x.cfg")] if words == ("evaluate",) else []
    path = path.replace(".mtp", ".cfg") if len(words) > 1 else path
    result = run(*more, path, *rest)
    assert result.status == 2
    assert result.err == f"mmtp {words[0]}: error: there is no file {path!r}\n"


def test_help_names_options_that_exist() -> None:
    """Also in examples and in prose, and those of other commands that it mentions."""
    parsers = build_parser()[1]
    options = {
        name: {word for action in parser._actions for word in action.option_strings}
        for name, parser in parsers.items()
    }
    # A command that is named, an option, or the end of a sentence or an example.
    token = re.compile(r"mmtp\s+([a-z]+)|(?<![\w-])(--[a-zA-Z][\w-]*)|(\n\n|; | && |`|\. )")
    for name, parser in parsers.items():
        of = name
        for match in token.finditer(parser.format_help()):
            if match[1] in parsers:
                of = match[1]
            elif match[2]:
                known = options[of] | options[name]
                assert match[2] in known, f"mmtp {name} --help: {match[2]} of mmtp {of}"
            elif match[3]:
                of = name


def test_module_runs_as_the_command_and_help_imports_no_jax() -> None:
    code = (
        "import runpy, sys\n"
        "sys.argv = ['mmtp', '--help']\n"
        "try:\n"
        "    runpy.run_module('mmtp_jax', run_name='__main__')\n"
        "except SystemExit as stop:\n"
        "    assert not stop.code, stop.code\n"
        "heavy = {'jax', 'numpy', 'ase', 'matplotlib', 'optax'} & set(sys.modules)\n"
        "print('imported:', sorted(heavy))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "quickstart" in done.stdout
    assert "imported: []" in done.stdout


def test_unknown_command_is_an_error_of_usage(run) -> None:
    result = run("fitt")
    assert result.status == 2
    assert "got 'fitt'; did you mean fit?" in result.err


def test_errors_are_one_line_with_status_two(run, tmp_path) -> None:
    result = run("evaluate", tmp_path / "absent.mtp", tmp_path / "absent.cfg")
    assert result.status == 2
    assert result.err.startswith("mmtp evaluate: error: ")
    assert "absent.mtp" in result.err
    assert result.err.count("\n") == 1
    assert not result.out


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TypeError("unsupported\noperand"), "(TypeError: unsupported operand)"),
        (KeyError("forces"), "(KeyError: 'forces')"),
        (RecursionError(9999 * "deep "), "(RecursionError: deep"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "(UnicodeDecodeError: "),
        (MemoryError(), "(the memory does not suffice; MemoryError)"),
        (RuntimeError("RESOURCE_EXHAUSTED: 1e12 bytes"), "the memory does not suffice"),
        (AssertionError(), "(AssertionError)"),
    ],
)
def test_what_nobody_foresaw_is_one_line_with_status_two(run, monkeypatch, error, said) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(evaluate_command.console, "check_outputs", fail)
    result = run("evaluate", "a.mtp", "x.cfg")
    assert result.status == 2
    assert result.err.startswith("mmtp evaluate: error: this should not happen ")
    assert said in result.err
    assert result.err.endswith("--debug shows where\n")
    assert result.err.count("\n") == 1
    assert len(result.err) < 600
    with pytest.raises(type(error)):
        run("evaluate", "a.mtp", "x.cfg", "--debug")


def test_debug_shows_the_error_itself(run, tmp_path, monkeypatch) -> None:
    with pytest.raises(FileNotFoundError):
        run("evaluate", tmp_path / "absent.mtp", "x.cfg", "--debug")
    with pytest.raises(FileNotFoundError):
        run("--debug", "evaluate", tmp_path / "absent.mtp", "x.cfg")
    monkeypatch.setenv("MMTP_DEBUG", "1")
    with pytest.raises(FileNotFoundError):
        run("evaluate", tmp_path / "absent.mtp", "x.cfg")


def test_ctrl_c_outside_of_a_fit(run, monkeypatch, tmp_path) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate_command.console, "check_outputs", interrupt)
    result = run("evaluate", tmp_path / "a.mtp", "x.cfg")
    assert result.status == 130
    assert result.err == "mmtp evaluate: interrupted\n"


def test_warnings_and_log_records_are_single_lines_said_once(capsys) -> None:
    with console.messages("mmtp test"):
        for _ in range(2):
            warnings.warn("moments are\nlarge", ExtrapolationWarning, stacklevel=1)
        console.warn("a label is not read")
    assert capsys.readouterr().err == (
        "mmtp test: warning: moments are large\nmmtp test: warning: a label is not read\n"
    )


def test_canted_moments_are_warned_of_once(capsys) -> None:
    with console.messages("mmtp test"):
        for text in ("1 of 1 configurations", "100 of 100 configurations"):
            warnings.warn(text, CantedWarning, stacklevel=1)
            warnings.warn(f"distances of {text}", ExtrapolationWarning, stacklevel=1)
    assert capsys.readouterr().err.split("mmtp test: warning: ")[1:] == [
        "1 of 1 configurations\n", "distances of 1 of 1 configurations\n",
        "distances of 100 of 100 configurations\n",
    ]  # fmt: skip


def test_potentials_that_are_not_fitted_are_told(iron_file, run, capsys, tmp_path) -> None:
    new = tmp_path / "new.mtp"
    assert run("init", "--level", 2, "--species", "Fe", "-o", new).status == 0
    section = SimpleNamespace(
        potential=(str(iron_file), str(new), str(new)), species=None, committee="members"
    )
    with console.messages("mmtp md"):
        members_of(section)
    told = capsys.readouterr().err
    assert told.count("warning") == 1
    assert f"{new} has not been fitted" in told


def test_unknown_options_are_told_with_the_nearest(run) -> None:
    result = run("relax", "pot.mtp", "--pressur-GPa", "3")
    assert result.status == 2
    assert result.err.startswith("usage: mmtp relax POTENTIAL START [options]\n")
    assert "did you mean --pressure?" in result.err
    assert "mmtp relax --help lists all" in run("relax", "--qqq").err


@pytest.mark.parametrize(
    ("words", "files", "values"),
    [
        ("md --temperature 300 600 pot.mtp a.cfg", ["pot.mtp", "a.cfg"], ["300", "600"]),
        (
            "md pot.mtp --temperature 300 ./run/POSCAR --steps 5",
            ["pot.mtp", "./run/POSCAR"],
            ["300"],
        ),
        ("fit --species Fe Al train.cfg --level 4", ["train.cfg"], ["Fe", "Al"]),
        ("relax pot.mtp --cell xx yy a.b.extxyz", ["pot.mtp", "a.b.extxyz"], ["xx", "yy"]),
        ("md --temperature 1.5e3 2.e2 a.cfg", ["a.cfg"], ["1.5e3", "2.e2"]),
    ],
)
def test_files_behind_a_list_of_values_are_files(words, files, values) -> None:
    parser, parsers = build_parser()
    args = parser.parse_args(current_words(words.split(), parsers)[0])
    assert args.files == files
    ends = ("temperature_K", "species", "cell")
    (taken,) = [v for k, v in vars(args).items() if k.split(".")[-1] in ends]
    assert [str(v) for v in taken] in (values, [str(float(v)) for v in values if v[0].isdigit()])


def test_files_of_an_option_stay_with_it() -> None:
    parser, parsers = build_parser()
    words = ["formation", "pot.mtp", "--data", "a.cfg", "b.cfg", "--references", "fe.cfg"]
    args = parser.parse_args(current_words(words, parsers)[0])
    found = (args.files, args.data, args.references)
    assert found == (["pot.mtp"], ["a.cfg", "b.cfg"], ["fe.cfg"])


def test_options_are_the_same_in_all_commands() -> None:
    parsers = build_parser()[1]
    options = {
        name: {word for action in parser._actions for word in action.option_strings}
        for name, parser in parsers.items()
    }
    for name in ("md", "montecarlo", "fit", "label", "learn", "converge"):
        assert "--resume" in options[name], name
    for name in ("md", "montecarlo", "sample", "equilibrate", "relax", "elastic", "eos",
                 "magnetisation", "phonons", "exchange", "magnons", "qha", "lammps"):  # fmt: skip
        assert "--repeat" in options[name], name


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("md", "--repeat", "2"), "--repeat takes 3 values"),
        (("fit", "--folds"), "--folds takes one value"),
        (("fit", "--species", "--level", "4"), "--species takes at least one value"),
        (("md", "--ensemble", "NVT"), "--ensemble must be one of nve, nvt, npt, got 'NVT'; did"),
        (("template", "abinti"), "NAME must be one of fit, "),
    ],
)
def test_errors_of_options_are_a_sentence_below_one_line(run, words, said) -> None:
    result = run(*words)
    assert result.status == 2
    usage, error = result.err.splitlines()
    assert usage.startswith(f"usage: mmtp {words[0]} ")
    assert f"mmtp {words[0]}: error: {said}" in error
