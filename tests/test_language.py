"""Arguments in messages, as each reader gives them."""

import pytest

from mmtp_jax.language import argument, speaking


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
