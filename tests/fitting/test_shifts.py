"""Constants of the energies of labels of different making are found with the potential."""

from dataclasses import replace

import numpy as np
import pytest

from mmtp_jax.fitting.fit import fit_structures
from mmtp_jax.fitting.options import FitOptions
from mmtp_jax.fitting.shifts import known_shifts, shifted, with_shifts
from mmtp_jax.structures.making import makings_of

CONSTANTS = np.array([-1234.5, 87.25])
"""eV/atom of each species."""


@pytest.fixture(scope="module")
def teacher(random_potential):
    return random_potential(51, level=2, radial_size=3)


@pytest.fixture(scope="module")
def mixed(teacher, random_structure, labelled):
    """Twelve configurations of a teacher; the last four were made by another code."""
    data = labelled(teacher, [random_structure(k, 2 + k % 3, shortest=1.9) for k in range(12)])
    found = []
    for k, s in enumerate(data):
        energy = s.energy if k < 8 else s.energy + CONSTANTS[s.types].sum()
        code = "code: A" if k < 8 else "code: B"
        found.append(replace(s, energy=energy, making=code, name=f"data, configuration {k + 1}"))
    return found


def test_labels_of_two_codes_are_refused_in_words(teacher, mixed):
    with pytest.raises(ValueError, match=r"code A against B in 4 of 12.*data, configuration 9\)"):
        fit_structures(teacher, mixed)


@pytest.mark.parametrize("method", ["gauss-newton", "lbfgs"])
def test_shifts_are_found(teacher, mixed, method):
    theta = teacher.flatten()
    near = teacher.unflatten(theta * (1 + 0.02 * np.sin(np.arange(len(theta)))))
    options = FitOptions(method=method, making="shift", max_iterations=400, keep_domain=True)
    fit = fit_structures(near, mixed[:-1], mixed[-1:], options)
    found = {shift.species: shift.energy for shift in fit.report.shifts}
    np.testing.assert_allclose([found["Fe"], found["Al"]], CONSTANTS, atol=1e-6)
    assert fit.report.training["energy"].rmse < 1e-3
    assert fit.report.validation["energy"].rmse < 1e-3
    assert "Fe by B" in str(fit.report)
    assert len(fit.report.as_dict()["shifts"]) == 2


def test_energies_whose_constant_nobody_knows_are_left_out(mixed):
    marked, shifts = with_shifts(mixed, makings_of(mixed))
    known = known_shifts(marked[:8], len(shifts))
    assert not known.any()
    plain = shifted(marked, np.zeros(len(shifts)), known)
    assert [s.energy is None for s in plain] == [k >= 8 for k in range(12)]
    assert with_shifts(mixed[:8], makings_of(mixed[:8]))[1] is None
