"""Moments that a run in LAMMPS starts from."""

from types import SimpleNamespace

import numpy as np
import pytest

import mmtp_jax as mmtp
from mmtp_jax.interfaces.lammps.start import starting_moments


@pytest.mark.parametrize("given", [{"Fe": 2.2}, np.array([2.2, 0.4, 2.2]), None], ids=str)
def test_non_magnetic_species_start_at_zero(given) -> None:
    potential = mmtp.Potential.new(level=4, species=("Fe", "Al"), non_magnetic=("Al",))
    own = np.array([2.2, 0.4, 2.2])
    evaluator = SimpleNamespace(
        host=SimpleNamespace(own=lambda _: own, own_ids=lambda: np.array([1, 2, 3])),
        ranks=SimpleNamespace(rank=0),
        moments_of_lammps=own.copy,
    )

    def start() -> np.ndarray:
        return starting_moments(evaluator, given, potential, np.array([0, 1, 0]), True)

    if isinstance(given, dict):
        found = start()
    else:
        with pytest.warns(mmtp.NonMagneticWarning, match="1 moments of Al are not zero"):
            found = start()
    np.testing.assert_array_equal(found, [2.2, 0.0, 2.2])
    np.testing.assert_array_equal(own, [2.2, 0.0, 2.2])
