"""Settings files: template, validation, and defaults that are those of the library."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import tomllib

import pytest

import mmtp_jax as mmtp
from mmtp_jax.cli.command_line import declared_of
from mmtp_jax.cli.fit_settings import FitSettings, Form, check
from mmtp_jax.cli.main import build_parser
from mmtp_jax.cli.settings import build, checked, sections_of, template


@pytest.fixture
def validate(run, tmp_path):
    """validate(text): what ``mmtp validate`` says of a file with this text."""

    def of(text: str):
        path = tmp_path / "fit.toml"
        path.write_text(text)
        return run("validate", path)

    return of


def test_template_is_valid_and_names_every_key(run, validate) -> None:
    text = run("template", "fit").out
    result = validate(text)
    assert result.status == 0, result.err
    assert "valid settings of 'mmtp fit'" in result.out
    for section in sections_of(FitSettings).values():
        for field in dataclasses.fields(section):
            assert re.search(rf"^#?{field.name} = ", text, re.MULTILINE), field.name


def test_template_with_all_lines_switched_on_holds_the_defaults() -> None:
    text = re.sub(r"^#(?=\w+ = )", "", template(FitSettings), flags=re.MULTILINE)
    content = tomllib.loads(text)
    settings = build(FitSettings, checked(content, FitSettings, "template"))
    for name, section in sections_of(FitSettings).items():
        for field in dataclasses.fields(section):
            if field.default not in (None, ()):
                assert getattr(getattr(settings, name), field.name) == field.default


def test_form_of_a_new_potential_has_the_defaults_of_the_library() -> None:
    new = inspect.signature(mmtp.Potential.new).parameters
    for name in ("radial_size", "magnetic_size", "cutoff"):
        assert getattr(Form(), name) == new[name].default, name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[weights]\nenrgy = 1", ["unknown key 'weights.enrgy'", "'weights.energy'"]),
        ("[weight]\nenergy = 1", ["unknown key 'weight'", "'weights'"]),
        ("max_iteration = 1", ["max_iteration (outside", "'fit.max_iterations'"]),
        ("[fit]\ncutoff = 5.0", ["unknown key 'fit.cutoff'", "'potential.cutoff'"]),
        ("[fit]\nmax_iterations = 1.5", ["fit.max_iterations must be a whole number", "1.5"]),
        ("[fit]\nmax_iterations = true", ["fit.max_iterations must be a whole number", "got true"]),
        ("[fit]\ntolerance = nan", ["fit.tolerance must be a number", "nan"]),
        ("[potential]\nspecies = [1]", ["potential.species must be a list", "[1]"]),
        ("[weights]\nscaling = 'cells'", ["weights.scaling must be one of vibrations", "'cells'"]),
        ("[weights]\nenergy = -1", ["weights.energy must be at least 0, got -1"]),
        ("[fit]\nmax_iterations = -1", ["max_iterations must be at least 0"]),
        ("[data]\nvalidation = 1.5", ["data.validation must be above 0 and below 1, got 1.5"]),
        ("[potential]\nstart = 'a.mtp'\nlevel = 4", ["starts from a.mtp", "level"]),
        ("weights = 1", ["'weights' must be a section"]),
        ("[weights", ["not a TOML file"]),
    ],
)  # fmt: skip
def test_mistakes_name_the_file_and_the_key(validate, text, words) -> None:
    result = validate(f"command = 'fit'\n{text}\n")
    assert result.status == 2
    assert result.err.startswith("mmtp validate: error: ")
    assert "fit.toml" in result.err
    for word in words:
        assert word in result.err


@pytest.mark.parametrize(
    ("command", "text", "said"),
    [
        ("fit", "[potential]\nlevel = -1", "potential.level must be even and at least 2"),
        ("fit", "[potential]\nlevel = 5", "got 5"),
        ("fit", "[potential]\nlevel = 100000", "at most 32, got 100000"),
        ("fit", "[potential]\nlevel = 1e30", "potential.level must be a whole number, got 1e+30"),
        ("fit", "[potential]\nradial_size = " + "9" * 401, "(401 letters)"),
        ("fit", "[potential]\ncutoff = " + "9" * 401, "potential.cutoff must be a number"),
        ("fit", "[potential]\ncutoff = -1", "potential.cutoff must be above 0 and at most 20"),
        ("fit", "[potential]\nspecies = ['Fe', 'Fe']", "a species is there twice"),
        ("fit", "[potential]\ncutoff = 2.0\n[domain]\nmin_dist = 2.5", "is not below cutoff 2"),
        ("fit", "[potential]\nspecies = ['Fe']\n[domain]\nmax_magmom = [1, 2]", "2 numbers for"),
        ("fit", "[several]\nensemble = 1", "several.ensemble must be at least 2"),
        ("fit", "[several]\nscan_values = [1, 0]", "several.scan_values must be positive, got 0"),
        ("fit", "[fit]\nseed = -1", "fit.seed must be at least 0"),
        ("fit", "[data]\nfiles = []", "data.files is an empty list"),
        ("fit", "[data]\nfiles = " + "[" * 10**5, "nested too deeply"),
        ("fit", "[data]\nvalidation = [[[[1]]]]", "data.validation must be a number or a text"),
        ("md", "[dynamics]\ntimestep_fs = 0", "dynamics.timestep_fs must be above 0"),
        ("md", "[dynamics]\ntemperature_K = [300, -1]", "temperature_K must be at least 0"),
        ("md", f"[dynamics]\ntemperature_K = {[300] * 10**5}", "has 100000 items"),
        ("md", "[dynamics]\nsteps = -1", "dynamics.steps must be at least 0"),
        ("md", "[run]\nskin = 0", "run.skin must be above 0"),
        ("md", "[dynamics]\nensemble = 'nvt'\nthermostat = 'nose-hoover'\ntemperature_K = 0",
         "needs a temperature above 0 K"),
        ("montecarlo", "[walk]\nsweeps = 10", "take at least 16"),
        ("montecarlo", "[walk]\nsizes = [1, 100000]", "must be at least 1 and at most 100"),
        ("montecarlo", "[walk]\ntemperatures_K = 0", "walk.temperatures_K must be positive"),
        ("sample", "[states]\nn = 1", "states.n must be at least 2"),
        ("relax", "[relaxation]\ncell = 'cubic'", "cell must be"),
        ("relax", "[moments]\nstart = ['Fe=much']", "--start takes a moment"),
        ("equilibrate", "[moments]\ntolerance = 0", "moments.tolerance must be positive"),
        ("equilibrate", "[preselection]\ngrade_select = 0", "grade_select must be positive"),
    ],
)  # fmt: skip
def test_what_the_run_would_refuse_is_refused(validate, command, text, said) -> None:
    result = validate(f"command = '{command}'\n{text}\n")
    assert result.status == 2
    assert result.err.startswith("mmtp validate: error: ")
    assert result.err.count("\n") == 1
    assert len(result.err) < 500
    assert "fit.toml" in result.err
    assert said in result.err


def test_every_number_has_bounds() -> None:
    without = {
        f"{command}.{name}.{field.name}"
        for command, declared in declared_of(build_parser()[1]).items()
        for name, section in sections_of(declared.of).items()
        for field in dataclasses.fields(section)
        if re.search(r"\b(int|float)\b", str(field.type)) and field.metadata["bounds"] is None
    }
    assert without == {"fit.fit.devices", "learn.fit.devices"}


def test_bounds_are_those_of_options_too(run, tmp_path) -> None:
    for words, said in (
        (("fit", "a.cfg", "--level", "-1"), "--level must be even and at least 2"),
        (("fit", "a.cfg", "--level", "9" * 401), "--level must be a whole number"),
        (("fit", "a.cfg", "--cutoff", "nan"), "--cutoff must be a number, got 'nan'"),
        (("fit", "a.cfg", "--validation", "1.5"), "--validation must be above 0 and below 1"),
        (("md", "a.mtp", "a.cfg", "--timestep", "0"), "--timestep must be above 0"),
        (("label", "a.cfg", "--oracle", "o", "-o", "b.cfg", "--retries", "-1"), "at least 0"),
        (("label", "a.cfg", "--oracle", "o", "-o", "b.cfg", "--timeout", "inf"), "must be a num"),
        (("learn", "a.toml", "--max-iterations", "0"), "must be at least 1"),
        (("eos", "a.mtp", "a.cfg", "--timestep", "0"), "must be above 0"),
        (("quickstart", "--level", "5"), "must be even"),
        (("qha", "a.mtp", "a.cfg", "--temperatures", "0", "1e9", "1"), "--temperatures must be"),
    ):
        result = run(*words)
        assert result.status == 2
        assert said in result.err


def test_file_says_which_command_it_is_for(validate) -> None:
    assert "'command' is missing" in validate("[weights]\nenergy = 1").err
    assert "no command 'fitt' takes a settings file" in validate("command = 'fitt'").err


def test_older_names_in_a_file_are_taken_with_a_line_each(validate, run) -> None:
    result = validate(
        "command = 'mc'\n[preselection]\nactive_set = 'a.npz'\nlow = 3.0\ncapacity = 9\n[walk]\n"
        "temperature = [300]\nmoments = 'clamped'\n"
    )
    assert result.status == 0, result.err
    assert "valid settings of 'mmtp montecarlo', 5 keys set" in result.out
    for line, words in zip(
        result.err.splitlines(),
        (
            "the command 'mc' is now called 'montecarlo'",
            "preselection.low is now called preselection.grade_select",
            "preselection.capacity is now called preselection.grade_capacity",
            "walk.moments: 'clamped' is now called 'fixed'",
        ),
        strict=True,
    ):
        assert line.startswith("mmtp validate: ")
        assert line.endswith(words)
    template = run("template", "mc")
    assert 'command = "montecarlo"' in template.out
    assert template.err == "mmtp template: 'mc' is now called 'montecarlo'\n"


def test_one_word_stands_for_a_list_of_one_and_whole_numbers_for_numbers() -> None:
    content = {"potential": {"species": "Fe", "cutoff": 5}, "domain": {"max_magmom": 3}}
    settings = build(FitSettings, checked(content, FitSettings, "x"))
    assert settings.potential.species == ("Fe",)
    assert settings.domain.max_magmom == (3.0,)
    assert isinstance(settings.potential.cutoff, float)


def test_domain_is_either_kept_or_given() -> None:
    given = {"potential": {"start": "a.mtp"}, "domain": {"keep_domain": True, "min_dist": 2.0}}
    with pytest.raises(ValueError, match="not both"):
        check(build(FitSettings, given), given)


def test_both_names_of_a_key_are_refused(validate) -> None:
    text = "command = 'md'\n[preselection]\ngrade_select = 3.0\nlow = 1.5\n"
    result = validate(text)
    assert result.status == 2
    assert "preselection.grade_select is there by two of its names" in result.err


def test_settings_of_a_command_may_name_an_executor(validate) -> None:
    text = "command = 'label'\ndata = ['fe.cfg']\noracle = 'o.toml'\nexecutor = 'e.toml'\n"
    assert validate(text).status == 0


def test_a_schema_takes_the_template_and_refuses_what_settings_refuse(run) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    for name in [*declared_of(build_parser()[1]), "executor", "abinit", "vasp"]:
        schema = json.loads(run("template", name, "--schema").out)
        jsonschema.Draft202012Validator.check_schema(schema)
        text = run("template", name).out
        jsonschema.validate(tomllib.loads(text), schema)
        # All defaults and examples, too.
        text = re.sub(r"^#(?=\w+ = |\[)", "", text, flags=re.MULTILINE)
        jsonschema.validate(tomllib.loads(text), schema)
    schema = json.loads(run("template", "abinit", "--schema").out)
    assert schema["properties"]["abinit"]["properties"]["tolerance"]["description"].startswith(
        "Largest residual of the potential"
    )
    datasets = {"Fe": "Fe.xml"}
    for wrong in (
        {"code": "abinit", "abinit": {}},
        {"code": "abinit", "abinit": {"datasets": datasets, "ecut": 15}},
        {"code": "abinit", "abinit": {"datasets": datasets, "kmesh": [2, 2]}},
        {"code": "vasp", "abinit": {"datasets": datasets}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
    schema = json.loads(run("template", "relax", "--schema").out)
    for wrong in (
        {"command": "relax", "moments": {"scael": 1.0}},
        {"command": "md"},
        {"command": "relax", "relaxation": {"max_steps": 0}},
        {"command": "relax", "moments": {"moments": "free"}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
