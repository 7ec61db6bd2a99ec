"""Arguments in messages, as each reader gives them."""

import numpy as np
import pytest

from mmtp_jax.io.fields import shown
from mmtp_jax.language import argument, listed, named, numbers, reason, speaking


@pytest.mark.parametrize(
    ("name", "value", "python", "options", "toml"),
    [
        ("species", ("Fe", "Al"), 'species=("Fe", "Al")', "--species Fe Al",
         'species = ["Fe", "Al"]'),
        ("keys", {"a": "b"}, 'keys={"a": "b"}', "--key a=b", 'keys = ["a=b"]'),
        ("missing_moments", "zero", 'missing_moments="zero"', "--missing-moments zero",
         'missing_moments = "zero"'),
    ],
)  # fmt: skip
def test_each_language_spells_an_argument(name, value, python, options, toml) -> None:
    assert argument(name, value) == python
    for language, words in (("options", options), ("toml", toml)):
        with speaking(language):
            assert argument(name, value) == words
    assert argument(name, value) == python


def test_options_are_spelled_without_units() -> None:
    with speaking("options"):
        assert named("temperature_K") == "--temperature"
        assert named("max_magmom") == "--max-magmom"
    assert named("temperature_K") == "temperature_K"


def test_values_are_not_spelled_as_python_has_them() -> None:
    assert listed(np.array([1.0, 0.25])) == "1, 0.25"
    assert listed(("Fe", "Al")) == "Fe, Al"
    assert numbers((2, 3)) == "2 x 3 numbers"
    assert shown((1, np.float64(2.5), ["Fe", True, None])) == "[1, 2.5, ['Fe', true, nothing]]"


@pytest.mark.parametrize(
    ("values", "words"),
    [("x", "'x' is no number"), ([[1], [1, 2]], "its rows differ in their lengths"),
     ({}, "it holds something else")],
)  # fmt: skip
def test_reasons_are_not_those_of_python(values, words) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        np.array(values, float)
    assert reason(caught.value) == words
