"""Options that are declared once: what is checked, older names, documentation, and warnings."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import mmtp_jax as mmtp
from mmtp_jax.options import Bounds, by_name, like, made, option, options, renamed
from mmtp_jax.simulation.dynamics.options import DynamicsOptions


@options
class Size:
    """How large."""

    size: float = option("Of it.", 1.0, bounds=Bounds(above=0.0), old=("length",))
    kind: str = option(
        "Of it.", "round", choices=("round", "square"), aliases=("form",),
        old_values={"circle": "round"},
    )  # fmt: skip

    def __post_init__(self) -> None:
        if self.kind == "square" and self.size > 2:
            raise ValueError("too large a square")


@options
class Place:
    """Where."""

    at: tuple[float, ...] = option("Place.", (), bounds=Bounds(least=0.0))


@options
class Thing(Place, Size):
    """Size and place."""

    size: float = like(Size, "size", default=1.5)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"size": 0.0}, "size must be positive, got 0"),
        ({"size": np.nan}, "size must be positive, got nan"),
        ({"kind": "flat"}, "kind must be one of round, square, got 'flat'"),
        ({"at": (1.0, -1.0)}, "at must be at least 0, got -1"),
        ({"at": np.array([[1.0], [-1.0]])}, "at must be at least 0, got -1"),
        ({"size": 3, "kind": "square"}, "too large a square"),
    ],
)
def test_every_class_of_a_thing_checks_its_part(given, words) -> None:
    with pytest.raises(ValueError, match=words):
        Thing(**given)


def test_defaults_and_documentation_come_from_the_declaration() -> None:
    assert (Thing().size, Size().size, Thing.size) == (1.5, 1.0, 1.5)
    assert "size: Of it. Positive. (default 1.5)" in Thing.__doc__
    assert "timestep_fs: Time step, fs." in DynamicsOptions.__doc__


def test_unknown_options_say_what_may_have_been_meant() -> None:
    with pytest.raises(TypeError, match=r"f\(\) got an unknown option 'sise'; did you mean 'size'"):
        made(Thing, {"sise": 1.0}, "f")
    with pytest.raises(TypeError, match="known are at, kind, size"):
        made(Thing, {"temperature": 1.0}, "f")


def test_older_names_warn_at_the_line_of_the_user_and_others_do_not() -> None:
    with pytest.warns(DeprecationWarning, match="length is now called size") as told:
        thing = made(Thing, {"length": 2.0}, "f")
    assert thing == Thing(size=2.0)
    assert told[0].filename == __file__
    with pytest.warns(DeprecationWarning, match="kind='circle' is now called kind='round'"):
        assert Thing(kind="circle").kind == "round"
    with pytest.warns(DeprecationWarning, match="length is now called size"):
        assert thing.length == 2.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Thing(form="square").kind == "square"
        assert DynamicsOptions(temperature=400.0).temperature_K == 400.0

    @renamed(old="new")
    def function(new: int) -> int:
        return new

    with pytest.warns(DeprecationWarning, match="old is now called new"):
        assert function(old=3) == 3


def test_thresholds_have_the_names_of_the_command_line() -> None:
    with pytest.warns(DeprecationWarning, match="grade_select"):
        assert mmtp.Thresholds(low=3.0) == mmtp.Thresholds(grade_select=3.0)


def test_two_names_of_one_option_are_refused() -> None:
    with pytest.raises(TypeError, match="form and kind are two names of one option; give kind"):
        Size(form="round", kind="square")
    with pytest.raises(TypeError, match="two names"), pytest.warns(match="low is now"):
        mmtp.Thresholds(low=1.5, grade_select=3.0)


def test_options_of_several_bases_have_no_order() -> None:
    with pytest.raises(TypeError, match="FitOptions takes options by their names only, got Weig"):
        mmtp.FitOptions(mmtp.Weights())
    with pytest.raises(TypeError, match="LearnOptions takes options by their names only"):
        mmtp.LearnOptions(mmtp.Thresholds())
    assert by_name(Thing)(size=2.0).size == 2.0


def test_an_unknown_field_is_told_with_what_may_have_been_meant() -> None:
    with pytest.raises(TypeError, match=r"Weights has no option 'force'; did you mean 'forces'\?"):
        mmtp.Weights(force=1)
