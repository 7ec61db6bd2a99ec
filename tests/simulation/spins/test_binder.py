"""Binder cumulant, errors of correlated series, and the Curie temperature of an Ising teacher."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mmtp_jax.potential.potential import Potential
from mmtp_jax.simulation.constants import KB
from mmtp_jax.simulation.spins import binder
from mmtp_jax.simulation.spins.binder import (
    OrderCurve,
    Reweighted,
    autocorrelation_time,
    order_curve,
)
from mmtp_jax.simulation.spins.crossing import binder_crossing
from mmtp_jax.simulation.spins.options import SpinOptions
from mmtp_jax.simulation.spins.sampling import walk_spins
from mmtp_jax.simulation.system import system_of
from mmtp_jax.structures.structure import Structure

pytestmark = pytest.mark.optimised

EXCHANGE = 0.05
ONSAGER = 2.0 / np.log(1.0 + np.sqrt(2.0))
"""k_B T_C / J of the square lattice, 2.269."""


def ising() -> Potential:
    """E = -J sum over first neighbours s_i s_j, as a potential of level 2 with N_psi 2."""
    new = Potential.new(
        level=2, species=("Fe",), radial_size=1, magnetic_size=2, min_dist=1.0, cutoff=2.5,
        max_magmom=2.0,
    )  # fmt: skip
    c = np.zeros_like(new.radial_coeffs)
    c[0, 0, 0, 0, 1, 1] = -EXCHANGE / 2 / (2.5 - 2.0) ** 2
    return new.replace(radial_coeffs=c, moment_coeffs=np.ones(1))


def square(size: int) -> Structure:
    """A square lattice with 2 Angstrom between neighbours."""
    x, y = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    positions = 2.0 * np.stack([x, y, 0 * x], axis=-1).reshape(-1, 3)
    return Structure(
        cell=np.diag([2.0 * size, 2.0 * size, 10.0]),
        periodic=np.array([True, True, False]),
        positions=positions,
        types=np.zeros(size**2, np.int32),
        magmoms=np.full(size**2, 2.0),
    )


def _walk(size: int, temperatures: np.ndarray, sweeps: int, copies: int, seed: int = 0):
    system = system_of([square(size)] * (len(temperatures) * copies), np.ones(size**2))
    options = SpinOptions(moments="fixed", sweeps=sweeps, burn_in=sweeps // 10, seed=seed)
    return walk_spins(ising(), system, np.repeat(temperatures, copies), options)


def test_autocorrelation_time_of_a_known_process() -> None:
    """x' = a x + noise has 0.5 (1 + a) / (1 - a)."""
    rng = np.random.default_rng(2)
    noise = rng.normal(size=100_000)
    for a in (0.0, 0.6, 0.9):
        x = np.zeros_like(noise)
        for k in range(1, len(x)):
            x[k] = a * x[k - 1] + noise[k]
        assert np.isclose(autocorrelation_time(x), 0.5 * (1 + a) / (1 - a), rtol=0.1)
    assert autocorrelation_time(np.ones(50)) == 0.5


def test_limits_of_the_cumulant_and_coverage_of_its_errors() -> None:
    rng = np.random.default_rng(0)
    temperatures = np.array([100.0, 200.0])
    inside = 0
    for _ in range(40):
        ordered = 0.9 * rng.choice([-1.0, 1.0], 400)
        # Gaussian, with an autocorrelation time of 2.8 sweeps.
        free = np.convolve(rng.normal(size=410), np.ones(6), "valid")[:400] * 0.01
        curve = order_curve(temperatures, np.stack([ordered, free], axis=1), 100)
        assert np.isclose(curve.binder[0], 2 / 3)
        inside += abs(curve.binder[1]) < 2 * curve.binder_error[1]
        assert np.isclose(curve.order[0], 0.9)
        assert np.isclose(curve.susceptibility[0], 0.0, atol=1e-9)
    assert inside >= 30


def test_energy_and_order_of_a_small_lattice_are_exact() -> None:
    """All 2^16 patterns of the 4 x 4 lattice."""
    bonds, m = _patterns(4)
    temperatures = np.array([1.8, 2.3, 3.0]) * EXCHANGE / KB
    walk = _walk(4, temperatures, 3000, 4)
    curve = order_curve(walk.temperatures, walk.series.order, 16)
    for k, temperature in enumerate(temperatures):
        weight = np.exp(EXCHANGE * (bonds - bonds.max()) / (KB * temperature))
        weight /= weight.sum()
        energy = -EXCHANGE * (weight @ bonds)
        binder = 1 - (weight @ m**4) / (3 * (weight @ m**2) ** 2)
        of = walk.series.energy[:, 4 * k : 4 * k + 4]
        times = 2 * max(autocorrelation_time(column) for column in of.T)
        error = of.std() * np.sqrt(times / of.size)
        assert abs(of.mean() - energy) < 4 * error
        assert abs(curve.order[k] - weight @ np.abs(m)) < 4 * curve.order_error[k]
        assert abs(curve.binder[k] - binder) < 4 * curve.binder_error[k]
        chi = 16 * (weight @ m**2 - (weight @ np.abs(m)) ** 2) / (KB * temperature)
        assert abs(curve.susceptibility[k] - chi) < 4 * curve.susceptibility_error[k]
        assert curve.order_error[k] < 0.02


def _patterns(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Sum of s_i s_j over bonds, and mean of s, of all patterns of a small lattice."""
    n = size**2
    signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1).reshape(-1, size, size)
    bonds = sum((signs * np.roll(signs, 1, axis=k)).sum(axis=(1, 2)) for k in (1, 2))
    return bonds, signs.mean(axis=(1, 2))


def _enumerated(size: int, reduced: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """U4 and <m^2> of a small lattice from all its patterns."""
    bonds, m = _patterns(size)
    weight = np.exp((bonds - bonds.max()) / reduced[:, None])
    weight /= weight.sum(axis=1, keepdims=True)
    return 1 - (weight @ m**4) / (3 * (weight @ m**2) ** 2), weight @ m**2


def test_cumulants_cross_at_the_curie_temperature() -> None:
    """Small lattices and few sweeps; `scripts/demo_curie.py` is the full run."""
    temperatures = np.array([2.1, 2.2, 2.3, 2.4, 2.5]) * EXCHANGE / KB
    curves = []
    for size, sweeps in ((4, 1500), (8, 3000)):
        walk = _walk(size, temperatures, sweeps, 3, seed=size)
        curves.append(
            order_curve(walk.temperatures, walk.series.order, size**2, walk.series.energy)
        )
    between = curves[0].between
    exact, squares = _enumerated(4, between.temperatures * KB / EXCHANGE)
    assert np.all(np.abs(between.binder - exact) < 4 * between.samples.std(axis=0))
    assert np.all(np.abs(between.square - squares) < 4 * between.square_samples.std(axis=0))
    # The sharper for it: reweighting uses all temperatures for each.
    assert between.samples.std(axis=0).max() < curves[0].binder_error.max()
    for reweighting in (True, False):
        used = curves if reweighting else [replace(c, between=None) for c in curves]
        found = binder_crossing(used, dimension=2)
        reduced = np.array([found.temperature, found.error]) * KB / EXCHANGE
        print("k_B T_C / J", reduced, "infinite", ONSAGER)
        # The error holds what cells that small are off.
        assert abs(reduced[0] - ONSAGER) < 2 * reduced[1]
        by_chance = binder_crossing(used, dimension=1)
        assert np.isnan(by_chance.scaled[0])
        assert by_chance.error == found.pairs[-1][3] < found.error
        assert found.error == np.hypot(by_chance.error, found.temperature - found.scaled[0])
        assert "<m^2> crosses at" in str(found)
        assert "counts no drift" in str(by_chance)
        reduced[1] = by_chance.error * KB / EXCHANGE
        assert found.interpolated is not reweighting
        assert ("interpolated" in str(found)) is not reweighting
        assert found.share > 0.9
        assert reduced[1] < 0.06
        # Cells of 4 and 8 cross at 2.229 +- 0.004 (40 000 sweeps), below the infinite lattice.
        assert abs(reduced[0] - 2.229) < 3 * reduced[1] + 0.005


def test_the_error_holds_corrections_of_small_cells() -> None:
    """U4 with a correction c L^-0.8, by which 4 and 7 cross 0.7 % low, <m^2> with a smaller one."""
    temperatures = np.linspace(1.95, 2.15, 41)
    rng = np.random.default_rng(4)
    curves = []
    for size in (4, 7):
        t = (temperatures / 2.0542 - 1) * size**1.405
        whole = 0.6217 - 0.07 * t + 0.012 * (4 / size) ** 0.8
        square = size**-1.037 * np.exp(-t) * (1 + 0.002 * (4 / size) ** 0.8)
        noise = 1e-3 * rng.normal(size=(2, 200, 1)) * np.ones(41)
        between = Reweighted(temperatures, whole, whole + noise[0], square, square * (1 + noise[1]))
        none = np.ones(41)
        curves.append(
            OrderCurve(
                temperatures, 2 * size**3, *[none] * 7, whole + noise[0], square, noise[1], between
            )
        )
    found = binder_crossing(curves)
    statistical = found.pairs[0][3]
    assert found.temperature == pytest.approx(2.039, abs=0.001)
    assert found.scaled[0] == pytest.approx(2.0542, abs=0.003)
    assert abs(found.temperature - 2.0542) > 1.5 * statistical
    assert abs(found.temperature - 2.0542) < 1.2 * found.error


def test_energies_that_do_not_overlap_are_noticed() -> None:
    """Two temperatures far apart say nothing of what lies between them."""
    temperatures = np.array([0.5, 8.0]) * EXCHANGE / KB
    walk = _walk(8, temperatures, 300, 2)
    curve = order_curve(walk.temperatures, walk.series.order, 64, walk.series.energy)
    assert curve.between is None


def test_what_is_missing_is_said() -> None:
    rng = np.random.default_rng(1)
    with pytest.raises(ValueError, match="no sweeps after the burn-in"):
        order_curve(np.array([300.0]), np.zeros((0, 1)), 8)
    curve = order_curve(np.array([300.0, 400.0]), rng.normal(size=(200, 2)), 8)
    other = order_curve(np.array([300.0, 500.0]), rng.normal(size=(200, 2)), 16)
    with pytest.raises(ValueError, match="at least two sizes"):
        binder_crossing([curve, curve])
    with pytest.raises(ValueError, match="the same two or more temperatures"):
        binder_crossing([curve, other])


def test_a_short_walk_has_means_and_says_how_long_errors_take() -> None:
    """White noise at one temperature, and what drifts slowly at the other."""
    rng = np.random.default_rng(2)
    temperatures = np.array([300.0, 400.0])
    m = np.stack([rng.normal(size=64), np.linspace(0.2, 0.9, 64)], axis=1)
    curve = order_curve(temperatures, m, 8, energy=rng.normal(size=(64, 2)))
    assert curve.too_short
    assert curve.between is None
    for name in ("order", "susceptibility", "binder"):
        assert np.array_equal(np.isnan(getattr(curve, f"{name}_error")), [False, True])
    assert curve.order[1] == pytest.approx(m[:, 1].mean())
    assert curve.binder[1] == pytest.approx(
        1 - np.mean(m[:, 1] ** 4) / (3 * np.mean(m[:, 1] ** 2) ** 2)
    )
    assert curve.least_sweeps > 64
    with pytest.raises(ValueError, match=f"take at least {curve.least_sweeps} sweeps"):
        binder_crossing([curve, replace(curve, n_magnetic=4)])
    # It is as many as it says, for the autocorrelation time that was found, of many copies, too.
    for copies in (1, 3, 20):
        time = float(curve.correlation_time[1])
        least = binder._least_sweeps(copies, time)
        enough, few = (len(binder._blocks(np.ones((n, copies)), time)) for n in (least, least - 1))
        assert few < binder.LEAST_BLOCKS <= enough
