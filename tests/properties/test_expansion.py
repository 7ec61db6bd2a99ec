"""Thermal expansion and heat capacity of series that are known."""

from __future__ import annotations

import numpy as np
import pytest

import mmtp_jax as mmtp
from mmtp_jax.io.trajectory import ThermoLog
from mmtp_jax.properties.vibrations import StoppedRunWarning
from mmtp_jax.simulation.blocks import block_error
from mmtp_jax.simulation.constants import KB
from mmtp_jax.simulation.dynamics.series import Series

N = 16


def _log(path, temperatures, n=2000, slope=2e-5, heat=3.3) -> None:
    """A log of replicas whose volume and enthalpy depend on temperature as they should."""
    rng = np.random.default_rng(7)
    t = np.asarray(temperatures, float)
    shape = (n, len(t))
    noise = rng.normal(size=shape)
    kinetic = 1.5 * N * KB * t * np.ones(shape)
    # var H = k_B T^2 C, C in units of eV/K.
    enthalpy = N * heat * KB * t + np.sqrt(KB * heat * KB * N) * t * noise
    values = {name: np.zeros(shape) for name in Series._fields}
    values |= {
        "temperature": t * np.ones(shape),
        "volume": N * 11.5 * (1 + 3 * slope * t) + 0.05 * rng.normal(size=shape),
        "kinetic": kinetic,
        "energy": enthalpy - kinetic,
    }
    ThermoLog(path, 1.0, N)(np.arange(n), Series(**values))


def test_slopes_of_known_series(tmp_path) -> None:
    path = tmp_path / "thermo.csv"
    _log(path, [300, 500, 700, 900])
    found = mmtp.thermal_expansion([path], skip=0.1)
    expected = 2e-5 * 11.5 / found.volume
    assert np.all(np.abs(found.expansion - expected) < 5 * found.expansion_error)
    assert np.all(found.expansion_error < 0.1 * expected)
    assert np.all(np.abs(found.heat_capacity - 3.3) < 5 * found.heat_capacity_error)
    assert np.all(found.heat_capacity_error < 0.1)
    assert [run.fluctuation_heat_capacity for run in found.runs] == pytest.approx(
        [3.3] * 4, rel=0.15
    )
    assert found.temperatures == pytest.approx([300, 500, 700, 900])


def test_bad_logs_are_refused(tmp_path) -> None:
    path = tmp_path / "thermo.csv"
    path.write_text("step,energy (eV)\n0,1\n")
    with pytest.raises(ValueError, match="no column 'atoms'"):
        mmtp.thermal_expansion([path])
    _log(path, [300], slope=0.0)
    with pytest.raises(ValueError, match="two or more temperatures"):
        mmtp.thermal_expansion([path])
    with pytest.raises(ValueError, match="rows are left"):
        mmtp.thermal_expansion([path], skip=0.999)


def test_runs_that_have_stopped_do_not_count(tmp_path) -> None:
    path, cut = tmp_path / "thermo.csv", tmp_path / "cut.csv"
    _log(path, [300, 500, 700])
    header, *rows = path.read_text().splitlines()
    kept = rows[0::3], rows[1::3], rows[2::3]
    stopped = [*kept[2][:100], *([kept[2][100]] * (len(kept[2]) - 100))]
    lines = [line for step in zip(kept[0], kept[1], stopped, strict=True) for line in step]
    cut.write_text("\n".join([header, *lines]) + "\n")
    with pytest.warns(StoppedRunWarning, match="replica 2: the run has stopped"):
        found = mmtp.thermal_expansion([cut])
    assert found.temperatures == pytest.approx([300, 500])


def test_errors_of_correlated_series() -> None:
    """An autoregressive series: the variance of its mean is known."""
    rng = np.random.default_rng(8)
    a, n = 0.9, 40000
    x = np.zeros(n)
    for k in range(1, n):
        x[k] = a * x[k - 1] + rng.normal()
    expected = 1.0 / (1 - a) / np.sqrt(n)
    assert block_error(x) == pytest.approx(expected, rel=0.35)
    assert block_error(rng.normal(size=n)) == pytest.approx(1 / np.sqrt(n), rel=0.5)


def test_a_log_that_ends_before_the_others_is_named(tmp_path) -> None:
    for name, temperature, n in (("cold.csv", 300, 2000), ("hot.csv", 600, 1000)):
        _log(tmp_path / name, [temperature], n=n)
    with pytest.warns(StoppedRunWarning, match=r"hot\.csv ends at 0\.999 ps, .* to 1\.999 ps"):
        mmtp.thermal_expansion([tmp_path / "cold.csv", tmp_path / "hot.csv"])
