"""What cannot be a configuration in Angstrom is refused before it is searched; all else is not."""

import numpy as np
import pytest

from mmtp_jax.structures.neighbours import neighbour_table
from mmtp_jax.structures.structure import Structure

EYE = np.eye(3)
DIMER = np.array([[0.0, 0.0, 0.0], [1.4, 1.4, 1.4]])
MANY = np.random.default_rng(0).uniform(0.0, 1.0, (4000, 3))


def table(positions, cell, periodic=True, cutoff=5.0):
    positions = np.atleast_2d(np.array(positions, float))
    periodic = np.broadcast_to(periodic, 3).copy()
    n = len(positions)
    structure = Structure(
        np.array(cell, float), periodic, positions, np.zeros(n, np.int32), np.zeros(n), name="x"
    )
    return neighbour_table(structure, cutoff)


@pytest.mark.parametrize(
    ("positions", "cell", "periodic", "count"),
    [
        ([0, 0, 0], 30 * EYE, True, 0),
        ([0, 0, 0], 1.43 * (1 - EYE), True, 86),  # fcc of 5.8 Angstrom^3
        ([0, 0, 0], 0.9 * EYE, True, 738),  # no matter is denser by far
        ([[0, 0, 0], [0, 0, 0.7]], 15 * EYE, False, 2),
        (DIMER, np.diag([2.8, 2.8, 800.0]), True, None),
        (DIMER + 1e6, 2.8 * EYE, True, 116),
        (DIMER + np.array([[0, 0, 0], [7 * 2.8, -7 * 2.8, 0]]), 2.8 * EYE, True, 116),
        # These end the process where vesin is left alone with them.
        ([[0, 0, 0], [9e5, 0, 0]], 0 * EYE, False, 0),
        ([[0, 0, 0], [0, 3, 0], [0, 0, 9e5]], 0 * EYE, False, 2),
        (DIMER, np.diag([2000.0, 2000.0, 5.5]), True, 4),
        (DIMER, np.diag([30, 9e5, 30]), True, 2),
        # Skewed a thousand times, the lattice is the same.
        (DIMER, 2.8 * (EYE + 1000 * np.eye(3, k=-2)), True, 116),
    ],
)
def test_what_exists_is_searched(positions, cell, periodic, count):
    found = table(positions, cell, periodic)
    if count is None:
        # The same in fewer dimensions.
        count = table(positions, cell, (True, True, False)).count.sum()
        assert count > 0
    assert found.count.sum() == count


@pytest.mark.parametrize(
    ("positions", "cell", "periodic", "cutoff", "message"),
    [
        (0.1 * DIMER, 0.28 * EYE, True, 5, "less than any matter"),
        (1e-3 * DIMER, 2.8e-3 * EYE, True, 5, "less than any matter"),
        (1e-10 * DIMER, 2.8e-10 * EYE, True, 5, "less than any matter"),
        (DIMER, 1e9 * EYE, True, 5, "1e.09 Angstrom long"),
        (DIMER, np.diag([1e-7, 1e4, 1e4]), True, 5, "only 1e-07 Angstrom thick along its vector 1"),
        (DIMER, np.diag([1e3, 1e-3, 1e3]), True, 5, "only 0.001 Angstrom thick along its vector 2"),
        (DIMER, np.diag([1e-7, 3, 0]), (True, True, False), 5, "only 1e-07 Angstrom thick"),
        (DIMER, np.diag([1e-10, 0, 0]), (True, False, False), 5, "only 1e-10 Angstrom thick"),
        (DIMER, 2.8 * np.array([[1, 0, 0], [1e3, 1, 0], [1e3, 1e3, 1]]), True, 5, "thick"),
        (DIMER + 3e8, 2.8 * EYE, True, 5, "3e.08 Angstrom, more than 1e.07"),
        ([[0, 0, 0], [3e6, 0, 0]], 0 * EYE, False, 5, "3e.06 Angstrom apart"),
        (1e-10 * DIMER, 0 * EYE, False, 5, "every atom has another within 2.42e-10 Angstrom"),
        (0.1 * MANY, 0 * EYE, False, 5, "about 4e.03 neighbours"),
        (0.1 * MANY, 40 * EYE, True, 5, "about 4e.03 neighbours"),
        (10 * MANY, 10 * EYE, True, 20, "about 1.3e.05 neighbours"),
        (DIMER + np.inf, 2.8 * EYE, True, 5, "a coordinate is (inf|nan)"),
        (DIMER, np.diag([3, 3, np.nan]), True, 5, "lengths 3, 3, nan"),
        (DIMER, np.diag([3, 3, 0]), True, 5, "cell vectors have lengths 3, 3, 0"),
        (DIMER, [[3, 0, 0], [6, 0, 0], [0, 0, 3]], True, 5, "not independent|less than any"),
    ],
)
def test_other_units_and_what_no_machine_can_hold_are_refused(
    positions, cell, periodic, cutoff, message
):
    with pytest.raises(ValueError, match=f"^x: .*({message})"):
        table(positions, cell, periodic, cutoff)
