"""What a prompt and a notebook show of results."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np
import pytest

import mmtp_jax as mmtp
from mmtp_jax.properties.birch_murnaghan import BirchMurnaghan
from mmtp_jax.readable import readable
from mmtp_jax.results import EquationOfState, Result


@readable
@dataclass(frozen=True)
class Found:
    energy: float
    values: np.ndarray
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "a < b\nand more"


def test_one_line_for_the_prompt_and_the_text_for_notebooks() -> None:
    found = Found(1.23456789, np.zeros((100, 3)), ("a", "b"))
    assert repr(found) == "Found(energy=1.23457, values=<array 100x3>, names=('a', 'b'))"
    assert found._repr_html_() == "<pre>a &lt; b\nand more</pre>"


def test_results_have_short_texts() -> None:
    zeros = np.zeros(1000)
    result = Result(-1.0, np.zeros((1000, 3)), np.zeros(6), zeros, zeros)
    assert len(repr(result)) < 200
    assert str(result) == repr(result)
    fit = BirchMurnaghan(*(1.0 for _ in BirchMurnaghan.__dataclass_fields__))
    eos = EquationOfState(zeros, zeros + 1, zeros, zeros, zeros, zeros, zeros == 0, (), fit, None)
    assert len(repr(eos)) < 450
    assert "bulk modulus" in eos._repr_html_()


def test_a_potential_says_what_it_is_also_while_it_is_traced() -> None:
    potential = mmtp.Potential.new(level=4, species=("Fe", "Al"))
    assert repr(potential).startswith("Potential(level 4, species Fe Al, form parity, ")
    assert repr(potential).endswith(f"{potential.n_parameters} parameters)")
    seen = []
    jax.make_jaxpr(lambda theta: seen.append(repr(potential.unflatten(theta))))(potential.flatten())
    assert seen == [repr(potential)]


@pytest.mark.parametrize(
    ("function", "option", "default"),
    [
        (mmtp.fit, "max_iterations", None),
        (mmtp.relax, "force_tolerance", 1e-3),
        (mmtp.elastic_constants, "force_tolerance", 1e-5),
        (mmtp.md, "timestep_fs", 1.0),
        (mmtp.phonons, "states", 0),
        (mmtp.montecarlo, "sweeps", 1000),
    ],
)
def test_signatures_name_the_options(function, option, default) -> None:
    import inspect

    parameters = inspect.signature(function).parameters
    assert parameters[option].default == default
    assert "options" not in parameters
