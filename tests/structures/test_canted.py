"""Canted moments of a potential that has seen none: said wherever they are evaluated."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax.io.convert import to_structures


def _with(moments) -> object:
    atoms = bulk("Fe", a=2.83, cubic=True)
    del atoms.arrays["initial_magmoms"]
    atoms.set_initial_magnetic_moments(moments)
    return atoms


CANTED = [[2.0, 0.0, 0.3], [2.0, 0.0, 0.0]]
PARALLEL = [[1.2, 0.0, 1.6], [-0.6, 0.0, -0.8]]


def test_which_moments_are_canted() -> None:
    given = [_with(m) for m in (CANTED, PARALLEL, [2.0, -1.0], np.zeros((2, 3)))]
    structures = to_structures(given, ("Fe",), vectors=True)
    assert [s.canted for s in structures] == [True, False, False, False]


def test_it_is_said_once_where_nothing_but_the_form_knows(iron) -> None:
    collinear = iron.replace(record={"data": {"configurations": 5}})
    uses = (
        lambda pot, atoms: mmtp.evaluate(pot, atoms),
        lambda pot, atoms: mmtp.MMTPCalculator(pot).get_potential_energy(atoms),
        lambda pot, atoms: mmtp.equilibrate(pot, atoms),
    )
    for use in uses:
        with pytest.warns(mmtp.ExtrapolationWarning, match="extrapolated by the form") as found:
            use(collinear, _with(CANTED))
        assert len(found) == 1
    for potential, moments in (
        (collinear, PARALLEL),
        (iron.replace(record={"data": {"configurations": 5, "canted": 2}}), CANTED),
        (iron.replace(record=None), CANTED),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            mmtp.evaluate(potential, _with(moments))
