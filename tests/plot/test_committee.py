"""Figures of members as one: means, bands and words."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from mmtp_jax.plot import bands
from mmtp_jax.plot.committee import committee
from mmtp_jax.plot.style import EACH
from mmtp_jax.properties.bands import Bands, Path

X = np.linspace(0.0, 1.0, 5)


def _member(factor: float, n: int = 2) -> Figure:
    figure = Figure()
    left, right = figure.subplots(1, 2)
    left.plot(X, factor * X, color="k", label="curve")
    left.errorbar(X, factor * X**2, 0.1, linestyle="none", marker="o")
    left.axvline(factor)
    left.axhline(0.0)
    left.set_title(f"drift {factor:.1f} meV")
    figure.suptitle(f"cross at {factor:.1f} K")
    left.text(0.1, 0.9, f"$B_0$ = {100 * factor:.1f} GPa")
    right.bar(range(n), np.full(n, factor))
    return figure


def test_curves_have_means_and_bands() -> None:
    figure = committee([_member(1.0), _member(2.0), _member(3.0)])
    left, right = figure.axes
    np.testing.assert_allclose(left.lines[0].get_ydata(), 2.0 * X)
    band = next(of for of in left.collections if isinstance(of, PolyCollection))
    low, high = band.get_paths()[0].get_extents().get_points()[:, 1]
    # Two standard deviations, of 1.
    assert (low, high) == (pytest.approx(0.0), pytest.approx(4.0))
    np.testing.assert_allclose(left.lines[1].get_ydata(), 2.0 * X**2)
    assert left.texts[0].get_text() == "$B_0$ = 200.0 ± 200.0 GPa"
    assert left.get_title() == "drift 2.0 ± 2.0 meV"
    assert figure.get_suptitle() == "cross at 2.0 ± 2.0 K"
    assert figure.get_supxlabel() == r"mean over 3 potentials; bands and bars: $2\sigma$ over them"
    assert [bar.get_height() for bar in right.patches] == [2.0, 2.0]
    # The vertical line is at the mean, the horizontal one where all have it.
    assert left.lines[2].get_xdata()[0] == pytest.approx(2.0)
    assert left.lines[3].get_ydata()[0] == 0.0


def test_curves_over_other_ranges_meet_where_all_are() -> None:
    figures = []
    for shift in (0.0, 0.5):
        figures.append(Figure())
        figures[-1].subplots().plot(X + shift, 2.0 * X + 2.0 * shift)
    line = committee(figures).axes[0].lines[0]
    assert line.get_xdata()[[0, -1]] == pytest.approx([0.5, 1.0])
    np.testing.assert_allclose(line.get_ydata(), 2.0 * line.get_xdata())


def test_upright_curves_are_compared_at_equal_heights() -> None:
    figures = []
    for shift in (0.0, 0.5):
        figures.append(Figure())
        figures[-1].subplots().plot((X + shift - 0.7) ** 2, X + shift)
    axes = committee(figures).axes[0]
    assert axes.lines[0].get_ydata()[[0, -1]] == pytest.approx([0.5, 1.0])
    assert axes.lines[0].get_xdata()[0] == pytest.approx(0.04, abs=0.01)


def test_bands_go_together_by_their_place_on_the_path() -> None:
    """Lattices of other sizes have longer paths, and the same special points."""
    figures = []
    for factor in (1.0, 1.1):
        path = Path(
            [np.outer(X, [0.5, 0, 0]), np.outer(1 - X, [0.5, 0, 0])], [("G", "X"), ("X", "G")]
        )
        distances = [factor * X, factor * (1 + X)]
        figures.append(bands(Bands(path, distances, [X[:, None], factor * (1 - X[:, None])])))
    (axes,) = committee(figures).axes
    first, second = axes.lines[:2]
    np.testing.assert_allclose(first.get_xdata(), X / 2)
    np.testing.assert_allclose(second.get_xdata(), (1 + X) / 2)
    np.testing.assert_allclose(second.get_ydata(), 1.05 * (1 - X))
    assert axes.get_xticks() == pytest.approx([0.0, 0.5, 1.0])
    # The path fills the panel; the band has room above.
    assert axes.get_xlim() == pytest.approx((0.0, 1.0))
    assert axes.get_ylim()[1] > axes.dataLim.ymax


def test_runs_of_members_are_drawn_for_each() -> None:
    """Runs of other lengths at other temperatures have no mean, and none is drawn."""
    figures = []
    for n in (3, 5):
        figures.append(Figure())
        figures[-1].subplots().plot(np.arange(n), n + np.arange(n), gid=EACH)
    figure = committee(figures, ["a.mtp", "b.mtp"])
    (axes,) = figure.axes
    assert [len(line.get_xdata()) for line in axes.lines] == [3, 5]
    assert len({line.get_color() for line in axes.lines}) == 2
    assert not axes.collections
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a.mtp", "b.mtp"]
    assert figure.get_supxlabel() == "a line for each of 2 potentials"


def test_figures_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match=r"different (curves|points)"):
        committee([_member(1.0), _member(2.0, n=3)])
