"""What figures of results hold: labels, lines, and words on what bars and lines mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from mmtp_jax import plot
from mmtp_jax.active.learning_state import Row
from mmtp_jax.plot.committee import committee
from mmtp_jax.properties.bands import Bands, Path
from mmtp_jax.properties.birch_murnaghan import fit_energies
from mmtp_jax.properties.elastic_results import ElasticConstants
from mmtp_jax.properties.eos import EquationOfState
from mmtp_jax.properties.formation import FormationEnergies
from mmtp_jax.simulation.spins.binder import OrderCurve
from mmtp_jax.simulation.spins.crossing import Crossing
from mmtp_jax.simulation.spins.disorder_sampling import DisorderedStates


def _equation(magnetisations: np.ndarray) -> EquationOfState:
    volumes = np.linspace(10.5, 12.5, 7)
    energies = 0.05 * (volumes - 11.4) ** 2
    fit = fit_energies(volumes, energies)
    return EquationOfState(
        np.cbrt(volumes / 11.4), volumes, energies, fit.pressures(volumes), np.full(7, 2.2),
        magnetisations, np.ones(7, bool), ("",) * 7, fit, None,
    )  # fmt: skip


def _words(figure: Figure) -> str:
    return figure.get_suptitle()


def _legend(axes) -> list[str]:
    legend = axes.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def test_equation_of_state_names_its_numbers_and_its_line() -> None:
    figure = plot.eos(_equation(np.full(7, 2.2)), atoms_per_cell=2)
    assert "$B_0$ = " in _words(figure)
    assert "$a_0$ = 2.8" in _words(figure)
    assert "vertical lines" in _words(figure)
    assert _legend(figure.axes[0]) == ["Birch-Murnaghan", "calculated"]
    # One kind of points, which the axis names.
    assert _legend(figure.axes[1]) == []


def test_magnetisation_has_both_moments_where_they_differ() -> None:
    ferromagnet = plot.magnetisation(_equation(np.full(7, 2.2)))
    assert _legend(ferromagnet.axes[0]) == []
    assert "0 K" in _words(ferromagnet)
    antiferromagnet = plot.magnetisation(_equation(np.zeros(7)))
    assert _legend(antiferromagnet.axes[0]) == ["mean of |moment|", "|sum of moments|"]


def test_bars_of_dynamics_are_named() -> None:
    found = replace(
        _equation(np.full(7, 2.2)), temperature_K=300.0, pressure_errors=np.full(7, 0.2),
        moment_errors=np.full(7, 0.01),
    )  # fmt: skip
    for draw in (plot.eos, plot.magnetisation):
        assert "standard error" in draw(found).get_supxlabel()
    assert plot.eos(_equation(np.full(7, 2.2))).get_supxlabel() == ""


def test_averages_over_magnetic_states_name_their_errors() -> None:
    c = np.diag([250.0] * 3 + [120.0] * 3) + 140.0 * np.kron([[1, 0], [0, 0]], 1 - np.eye(3))
    of_one = ElasticConstants(c, c, c, np.zeros(6), 11.4, 2, np.ones((3, 2)))
    assert plot.elastic(of_one).get_supxlabel() == ""
    figure = plot.elastic(replace(of_one, error=np.full((6, 6), 4.0), n_states=3))
    assert "standard error" in figure.get_supxlabel()
    labels = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert labels == ["$C_{11}$\n$C_{22}$\n$C_{33}$", "$C_{44}$\n$C_{55}$\n$C_{66}$",
                      "$C_{12}$\n$C_{13}$\n$C_{23}$"]  # fmt: skip
    x = np.linspace(0.0, 1.0, 5)
    found = Bands(Path([np.outer(x, [0.5, 0, 0])], [("G", "X")]), [x], [x[:, None]])
    assert plot.bands(found).get_supxlabel() == ""
    figure = plot.bands(found, errors=[np.full((5, 1), 0.1)])
    assert "standard error" in figure.get_supxlabel()
    (band,) = figure.axes[0].collections
    assert band.get_paths()[0].get_extents().ymax == pytest.approx(1.1)


def test_formation_has_one_composition_axis_and_says_what_bars_are() -> None:
    found = FormationEnergies(
        ("Fe", "Al"), np.array([[4, 0], [2, 2], [0, 4]]), np.array([[0, -0.1, 0], [0, -0.2, 0]]),
        np.full((2, 3), 12.0), np.array([[2.2, 1.5, np.nan], [2.3, 1.6, np.nan]]),
        np.zeros((2, 2)), np.ones((2, 3), bool), (("",) * 3,) * 2, ((),) * 2,
    )  # fmt: skip
    figure = plot.formation(found, "Al")
    # The pure element without moments does not narrow the axis of the moments.
    assert {axes.get_xlim() for axes in figure.axes} == {figure.axes[0].get_xlim()}
    assert figure.axes[1].get_xlim()[1] >= 100.0
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert r"mean and $2\sigma$ over 2 potentials" in names


def test_convergence_has_the_states_and_the_mean_of_the_first() -> None:
    rng = np.random.default_rng(0)
    forces, energies = rng.normal(size=(5, 2, 3)), rng.normal(size=5)
    states = DisorderedStates(energies, forces, None, np.ones((5, 2)), np.ones(2, bool), 5)
    figure = plot.convergence(states, atom=1)
    left, right = figure.axes
    crosses, mean = left.lines
    assert mean.get_ydata()[-1] == pytest.approx(0.0, abs=1e-9)
    assert crosses.get_ydata() == pytest.approx(500.0 * (energies - energies.mean()))
    assert right.lines[1].get_ydata()[-1] == pytest.approx(forces[:, 1, 0].mean())
    assert len({line.get_color() for line in right.lines}) == 3
    assert _legend(right) == ["$F_x$", "$F_y$", "$F_z$"]
    assert "standard error" in figure.get_supxlabel()


def test_order_says_what_its_bars_are() -> None:
    t = np.array([900.0, 1000.0, 1100.0])
    curves = [
        OrderCurve(t, n, *[t / 1e3] * 7, np.zeros((0, 3)), t, np.zeros((0, 3))) for n in (16, 54)
    ]
    figure = plot.order(curves, Crossing(1040.0, 12.0, ((16, 54, 1040.0, 12.0),), 1.0))
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["16 magnetic atoms", "54 magnetic atoms"]
    assert figure.axes[2].get_title() == "cross at 1040 ± 12 K"
    assert figure.get_supxlabel() == "bars: standard error"


def test_errors_of_learning_have_ticks_that_leave_room_for_each_other() -> None:
    rows = [Row(k, 10, 400.0, 0.6, 500.0, 7.0, None, None, selected=2) for k in range(2)]
    _, energy, _ = plot.learning(rows).axes
    assert isinstance(energy.yaxis.get_minor_locator(), NullLocator)
    digits = energy.get_yticks() / 10 ** np.floor(np.log10(energy.get_yticks()) + 1e-9)
    assert set(digits.round(6)) == {1.0, 2.0, 5.0}
    alike = [Row(k, 10, 13.0, 12.0, 500.0, 7.0, None, None, selected=2) for k in range(2)]
    # A logarithmic axis from 12 to 13 would have no ticks.
    assert plot.learning(alike).axes[1].get_yscale() == "linear"


def test_an_upright_density_of_members_has_a_band_and_room_for_it() -> None:
    x, figures = np.linspace(0.0, 1.0, 21), []
    for factor in (1.0, 1.1, 1.3):
        figures.append(Figure())
        axes = figures[-1].subplots()
        axes.plot(factor * np.sin(np.pi * x) ** 2, x)
        axes.set_xlim(left=0.0)
    axes = committee(figures).axes[0]
    (band,) = axes.collections
    extents = band.get_paths()[0].get_extents()
    assert extents.width > 0.5
    assert axes.get_xlim()[0] == 0.0
    assert axes.get_xlim()[1] > extents.xmax
