"""Curves of members on one grid: their values at the same argument go together."""

from __future__ import annotations

import numpy as np
import pytest

from mmtp_jax.curves import on_one_grid
from mmtp_jax.tables import some_of


def _density(x: np.ndarray, top: float) -> np.ndarray:
    return np.maximum(0.0, x * (top - x))


def test_densities_are_zero_beyond_their_ends() -> None:
    xs = [np.linspace(0.0, 1.1 * top, n) for top, n in ((10.0, 111), (12.0, 67))]
    grid, ys = on_one_grid(
        xs, [_density(x, top)[None] for x, top in zip(xs, (10, 12), strict=True)]
    )
    assert grid[[0, -1]] == pytest.approx([0.0, 13.2])
    assert np.diff(grid) == pytest.approx(0.1)
    for y, top in zip(ys, (10.0, 12.0), strict=True):
        assert y[0] == pytest.approx(_density(grid, top), abs=0.05)


def test_other_curves_meet_where_all_are() -> None:
    x = np.linspace(0.0, 1.0, 11)
    grid, (one, other) = on_one_grid([x, x + 0.3], [x**2, (x + 0.3) ** 2])
    assert grid[[0, -1]] == pytest.approx([0.3, 1.0])
    assert one == pytest.approx(grid**2, abs=3e-3)
    assert other == pytest.approx(grid**2, abs=3e-3)
    with pytest.raises(ValueError, match="no range in common"):
        on_one_grid([x, x + 2.0], [x + 1.0, x + 1.0])


def test_equal_arguments_stay() -> None:
    x = np.array([1.0, 2.0, 4.0])
    grid, ys = on_one_grid([x, x], [x, 2.0 * x])
    assert grid is x
    assert np.array_equal(ys[1], 2.0 * x)


@pytest.mark.parametrize(
    ("n", "most", "places"),
    [(101, 8, range(0, 101, 20)), (5, 8, range(5)), (11, 6, range(0, 11, 2)), (2, 6, (0, 1))],
)
def test_rows_of_a_long_table_are_as_far_apart_as_each_other(n, most, places) -> None:
    assert some_of(n, most) == list(places)


def test_rows_that_cannot_be_even_have_both_ends() -> None:
    found = some_of(14, 6)
    assert (found[0], found[-1], len(found)) == (0, 13, 6)
