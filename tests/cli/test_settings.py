"""Settings files: template, validation, and defaults that are those of the library."""

from __future__ import annotations

import dataclasses
import inspect
import re
import tomllib

import pytest

import mmtp_jax as mmtp
from mmtp_jax.cli.fit_settings import FitSettings, Form, Optimiser, WeightSettings, check
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
    text = re.sub(r"^#(?=\w+ = )", "", template(FitSettings, "fit"), flags=re.MULTILINE)
    content = tomllib.loads(text)
    assert content.pop("command") == "fit"
    settings = build(FitSettings, checked(content, FitSettings, "template"))
    for name, section in sections_of(FitSettings).items():
        for field in dataclasses.fields(section):
            if field.default not in (None, ()):
                assert getattr(getattr(settings, name), field.name) == field.default


def test_defaults_are_those_of_the_library() -> None:
    options = {f.name: f.default for f in dataclasses.fields(mmtp.FitOptions)}
    for name in ("max_iterations", "tolerance", "initialise", "checkpoint"):
        assert getattr(Optimiser(), name) == options[name], name
    assert mmtp.Weights(**vars(WeightSettings())) == mmtp.Weights()
    new = inspect.signature(mmtp.Potential.new).parameters
    for name in ("radial_size", "magnetic_size", "cutoff", "symmetrised"):
        assert getattr(Form(), name) == new[name].default, name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[weights]\nenrgy = 1", ["unknown key 'weights.enrgy'", "'weights.energy'"]),
        ("[weight]\nenergy = 1", ["unknown key 'weight'", "'weights'"]),
        ("max_iteration = 1", ["max_iteration (outside", "'fit.max_iterations'"]),
        ("[fit]\ncutoff = 5.0", ["unknown key 'fit.cutoff'", "'potential.cutoff'"]),
        ("[fit]\nmax_iterations = 1.5", ["fit.max_iterations must be a whole number", "1.5"]),
        ("[fit]\nmax_iterations = true", ["fit.max_iterations must be a whole number", "True"]),
        ("[fit]\ntolerance = nan", ["fit.tolerance must be a number", "nan"]),
        ("[potential]\nspecies = [1]", ["potential.species must be a list", "[1]"]),
        ("[weights]\nscaling = 'cells'", ["weights.scaling must be one of vibrations", "'cells'"]),
        ("[weights]\nenergy = -1", ["weight energy must be a number >= 0"]),
        ("[fit]\nmax_iterations = -1", ["max_iterations must be at least 0"]),
        ("[data]\nvalidation = 1.5", ["validation fraction must lie between 0 and 1"]),
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


def test_file_says_which_command_it_is_for(validate) -> None:
    assert "'command' is missing" in validate("[weights]\nenergy = 1").err
    assert "no command 'fitt' takes a settings file" in validate("command = 'fitt'").err


def test_one_word_stands_for_a_list_of_one_and_whole_numbers_for_numbers() -> None:
    content = {"potential": {"species": "Fe", "cutoff": 5}, "domain": {"max_magmom": 3}}
    settings = build(FitSettings, checked(content, FitSettings, "x"))
    assert settings.potential.species == ("Fe",)
    assert settings.domain.max_magmom == (3.0,)
    assert isinstance(settings.potential.cutoff, float)


def test_domain_is_either_kept_or_given() -> None:
    given = {"potential": {"start": "a.mtp"}, "domain": {"keep": True, "min_dist": 2.0}}
    with pytest.raises(ValueError, match="not both"):
        check(build(FitSettings, given), given)
