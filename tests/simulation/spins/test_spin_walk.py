"""Spin-flip Monte Carlo against the Boltzmann weights of all patterns of signs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.polynomial import chebyshev, polynomial
from scipy.stats import chi2

from mmtp_jax.interfaces.evaluation import evaluate_structures
from mmtp_jax.potential.potential import Potential
from mmtp_jax.simulation.constants import KB
from mmtp_jax.simulation.moments.options import MomentOptions
from mmtp_jax.simulation.moments.structures import equilibrate_structures
from mmtp_jax.simulation.spins.loop import take_sweeps
from mmtp_jax.simulation.spins.options import SpinOptions
from mmtp_jax.simulation.spins.outcome import SpinObserver, SpinSaved, SpinWalk
from mmtp_jax.simulation.spins.sampling import walk_spins
from mmtp_jax.simulation.system import System, system_of
from mmtp_jax.structures.structure import Structure

LARGEST = 3.0
THERMAL = 0.15
N, R = 6, 32
FIXED = SpinOptions(moments="fixed", sweeps=240, burn_in=30)
EQUILIBRATED = SpinOptions(sweeps=120, burn_in=20, tolerance=1e-4)


def teacher(well: np.ndarray, exchange: float) -> Potential:
    """E = sum_ij phi(r_ij) [W(m_i) - exchange m_i m_j], W a polynomial; phi about 1 at 2 Angstrom.

    Level 2, so that the energy is linear in the only radial function.
    """
    new = Potential.new(
        level=2, species=("Fe",), radial_size=1, magnetic_size=9, min_dist=1.0, cutoff=3.0,
        max_magmom=LARGEST,
    )  # fmt: skip
    c = np.zeros_like(new.radial_coeffs)
    of_y = np.asarray(well) * LARGEST ** np.arange(len(well))
    series = chebyshev.poly2cheb(of_y)
    c[0, 0, 0, 0, : len(series), 0] = series
    c[0, 0, 0, 0, 1, 1] = -exchange * LARGEST**2
    return new.replace(radial_coeffs=c, moment_coeffs=np.ones(1), species_coeffs=np.array([-7.0]))


def double_well(depth: float) -> np.ndarray:
    """W = depth (m^2 / 4 - 1)^2."""
    return depth * np.array([1.0, 0.0, -0.5, 0.0, 1 / 16])


def ring(magmoms: np.ndarray, seed: int = 5) -> Structure:
    """Six atoms in a row that closes, each with two neighbours at different distances."""
    rng = np.random.default_rng(seed)
    positions = np.zeros((N, 3))
    positions[:, 0] = 2.0 * np.arange(N) + rng.uniform(-0.12, 0.12, N)
    return Structure(
        cell=np.diag([2.0 * N, 9.0, 9.0]),
        periodic=np.array([True, False, False]),
        positions=positions,
        types=np.zeros(N, np.int32),
        magmoms=np.asarray(magmoms, float),
        name="ring",
    )


def replicas(magmoms: np.ndarray) -> System:
    return system_of([ring(magmoms)] * R, np.ones(N))


ALL = np.array([[1 if k >> i & 1 else -1 for i in range(N)] for k in range(2**N)])
"""The patterns of signs."""


class Visited(NamedTuple):
    """(t, R) of each sweep."""

    patterns: np.ndarray
    energies: np.ndarray


def visited(
    potential: Potential, start: np.ndarray, options: SpinOptions, thermal: float = THERMAL
) -> Visited:
    """Patterns and energies of 32 replicas."""
    # The order with these weights is the number of the pattern.
    walk = walk_spins(
        potential, replicas(start), np.full(R, thermal / KB), options, pattern=2.0 ** np.arange(N)
    )
    numbers = np.rint((walk.series.order + 1) * (2**N - 1) / 2).astype(int)
    assert np.array_equal(numbers[-1], ((walk.magmoms > 0) * 2 ** np.arange(N)).sum(axis=1))
    return Visited(numbers, walk.series.energy)


def p_value(patterns: np.ndarray, energies: np.ndarray, thermal: float = THERMAL) -> float:
    """Of chi-square of the patterns against the weights of ``energies``; inf: no state."""
    patterns = np.ravel(patterns)
    weights = np.exp(-(energies - energies.min()) / thermal)
    expected = len(patterns) * weights / weights.sum()
    counts = np.bincount(patterns, minlength=len(energies))
    assert np.all(counts[~np.isfinite(energies)] == 0)
    # Rare patterns go together.
    rare = expected < 8
    observed = np.append(counts[~rare], counts[rare].sum())
    wanted = np.append(expected[~rare], expected[rare].sum())
    used = wanted > 0
    value = np.sum((observed - wanted)[used] ** 2 / wanted[used])
    return float(chi2.sf(value, used.sum() - 1))


MOMENTS = 2.0 * np.array([1.0, 0.9, 1.1, 1.2, 0.8, 1.05])


@pytest.fixture(scope="module")
def bare() -> Potential:
    """Energies differ from pattern to pattern, also from a pattern to its reverse."""
    new = Potential.new(
        level=4, species=("Fe",), radial_size=2, magnetic_size=2, min_dist=1.5, cutoff=3.0,
        max_magmom=LARGEST, form="bare", seed=3,
    )  # fmt: skip
    return new.replace(moment_coeffs=0.9 * new.moment_coeffs)


@pytest.fixture(scope="module")
def soft() -> Potential:
    """Magnitudes that follow their neighbours."""
    return teacher(double_well(0.15), 0.012)


def test_flips_at_fixed_magnitudes_sample_the_boltzmann_weights(bare) -> None:
    energies = np.array(
        [r.energy for r in evaluate_structures(bare, [ring(s * MOMENTS) for s in ALL])]
    )
    assert np.ptp(energies) > 2 * THERMAL
    found = visited(bare, MOMENTS, FIXED)
    assert np.allclose(found.energies, energies[found.patterns], atol=1e-10)
    assert len(set(found.patterns.ravel())) == len(ALL), "every pattern is reached"
    assert p_value(found.patterns[::6], energies) > 1e-3
    assert p_value(found.patterns[::6], energies, 1.3 * THERMAL) < 1e-6, "the test can fail"


def test_swaps_keep_the_total_and_sample_its_patterns(bare) -> None:
    start = MOMENTS.mean() * np.array([1, -1, 1, -1, 1, -1])
    energies = np.array(
        [r.energy for r in evaluate_structures(bare, [ring(s * MOMENTS.mean()) for s in ALL])]
    )
    energies[ALL.sum(axis=1) != 0] = np.inf
    options = replace(FIXED, move="swap")
    found = visited(bare, start, options, THERMAL / 4)
    assert len(set(found.patterns.ravel())) == 20
    assert p_value(found.patterns[::6], energies, THERMAL / 4) > 1e-3
    assert p_value(found.patterns[::6], energies, THERMAL / 2.5) < 1e-6
    # Moments that differ are exchanged, so that their sum stays to the last digit.
    uneven = MOMENTS * np.array([1, -1, 1, -1, 1, 1])
    walk = walk_spins(bare, replicas(uneven), np.full(R, 800.0), replace(options, sweeps=50))
    assert np.allclose(walk.series.magnetisation, uneven.sum(), rtol=0, atol=1e-13)
    assert np.allclose(np.sort(walk.magmoms), np.sort(uneven))
    assert np.ptp(walk.series.energy) > 0.01


def test_equilibrated_flips_sample_the_weights_of_the_minima(soft) -> None:
    minima = equilibrate_structures(
        soft, [ring(2.0 * s) for s in ALL], MomentOptions(tolerance=1e-6)
    )
    assert all(m.converged for m in minima)
    energies = np.array([m.result.energy for m in minima])
    magnitudes = np.abs([m.magmoms for m in minima])
    assert np.ptp(magnitudes) > 0.1, "magnitudes depend on the pattern"
    assert np.ptp(energies) > 2 * THERMAL
    found = visited(soft, np.full(N, 2.0), EQUILIBRATED)
    assert np.allclose(found.energies, energies[found.patterns], atol=1e-6)
    assert p_value(found.patterns[::4], energies) > 1e-3
    assert p_value(found.patterns[::4], energies, 1.4 * THERMAL) < 1e-6


@pytest.mark.optimised
def test_energies_do_not_depend_on_history_unless_warm() -> None:
    """Two minima for each sign, at 1 and 2 mu_B: from where one starts decides."""
    square = np.array([0.0, 0.0, 1.0])
    slope = polynomial.polymul(
        polynomial.polysub(square, [1.0]),
        polynomial.polymul(polynomial.polysub(square, [2.25]), polynomial.polysub(square, [4.0])),
    )
    well = polynomial.polyint(polynomial.polymul([0.0, 0.02], slope))
    potential = teacher(well, 0.01)
    # No field acts on the first atom at the start: it stays at 1, from where a field takes it.
    start = np.array([1.0, -2.0, -2.0, -2.0, 2.0, 2.0])
    spread = {}
    for warm in (False, True):
        options = replace(EQUILIBRATED, warm=warm, sweeps=120, burn_in=0, tolerance=1e-6)
        found = visited(potential, start, options)
        spread[warm] = max(
            np.ptp(found.energies[found.patterns == k]) for k in np.unique(found.patterns)
        )
    print("spread of the energies of a pattern, eV", spread)
    assert spread[False] < 1e-8
    assert spread[True] > 1e-3


@pytest.mark.optimised
def test_patterns_that_collapse_are_refused() -> None:
    potential = teacher(double_well(0.05), 0.0092)
    # The walk searches from the magnitudes of its start.
    same = MomentOptions(tolerance=EQUILIBRATED.tolerance)
    (first,) = equilibrate_structures(potential, [ring(np.full(N, 2.0))], same)
    minima = equilibrate_structures(potential, [ring(s * first.magmoms) for s in ALL], same)
    admissible = np.array([m.converged and np.abs(m.magmoms).min() > 0.01 for m in minima])
    assert 2 < admissible.sum() < len(ALL)
    energies = np.where(admissible, [m.result.energy for m in minima], np.inf)
    found = visited(potential, np.full(N, 2.0), EQUILIBRATED)
    assert set(found.patterns.ravel()) == set(np.flatnonzero(admissible))
    assert p_value(found.patterns[::4], energies) > 1e-3


def test_a_start_that_collapses_is_an_error() -> None:
    potential = teacher(double_well(0.05), 0.0096)
    start = 2.0 * np.array([1, -1, 1, 1, 1, 1])
    with pytest.raises(ValueError, match="cannot be equilibrated at the start"):
        walk_spins(potential, replicas(start), np.full(R, 300.0), EQUILIBRATED)


@pytest.mark.parametrize("options", [FIXED, EQUILIBRATED], ids=["fixed", "equilibrated"])
def test_walk_is_a_function_of_the_seed_and_resumes_exactly(bare, soft, options) -> None:
    soft = bare if options is FIXED else soft
    options = replace(options, sweeps=30, burn_in=5)
    system, temperatures = replicas(np.full(N, 2.0)), np.linspace(1500.0, 3000.0, R)
    whole = walk_spins(soft, system, temperatures, options)
    again = walk_spins(soft, system, temperatures, options)
    other = walk_spins(soft, system, temperatures, replace(options, seed=9))
    first = walk_spins(soft, system, temperatures, replace(options, sweeps=12))
    second = walk_spins(soft, system, temperatures, replace(options, sweeps=18), resume=first.state)
    assert np.array_equal(whole.series.energy, again.series.energy)
    assert not np.array_equal(whole.series.energy, other.series.energy)
    assert len({tuple(column) for column in whole.series.order.T}) > R // 2, "replicas differ"
    for name in ("energy", "magnetisation", "order"):
        joined = np.concatenate([getattr(w.series, name) for w in (first, second)])
        assert np.array_equal(joined, getattr(whole.series, name))
    assert np.array_equal(whole.acceptance, second.acceptance)
    # Cut in the burn-in; what the observer is told last is all that is needed.
    told: list[SpinSaved] = []
    short = replace(options, sweeps=1, burn_in=1)
    walk_spins(soft, system, temperatures, short, observer=SpinObserver(1e9, told.append))
    assert len(told) == 1
    assert len(told[0].rows.energy) == 2
    rest = walk_spins(soft, system, temperatures, options, resume=told[0])
    for one, other in zip(rest.series, whole.series, strict=True):
        assert np.array_equal(one, other)
    assert np.array_equal(rest.magmoms, whole.magmoms)


def test_neighbours_alone_give_the_energy(iron, crystal) -> None:
    """54 atoms have more neighbours than a flip's surroundings of 15 when the cutoff is short."""
    potential = iron.replace(cutoff=np.float64(3.0))
    system = crystal(3, seeds=(1, 2))
    for move in ("flip", "swap"):
        rng = np.random.default_rng(0)
        moments = rng.choice([-1.0, 1.0], 54) * rng.uniform(1.5, 2.5, 54)
        mixed = system._replace(magmoms=np.stack([moments, moments]))
        options = SpinOptions(move=move, moments="fixed", sweeps=3, burn_in=0)
        walk = walk_spins(potential, mixed, np.array([1e3, 1e5]), options)
        assert walk.acceptance[1] > 0.5
        for r in range(2):
            structure = Structure(
                cell=system.cell[r], periodic=system.periodic, positions=system.positions[r],
                types=system.types, magmoms=walk.magmoms[r],
            )  # fmt: skip
            energy = evaluate_structures(potential, [structure])[0].energy
            assert np.isclose(walk.series.energy[-1, r], energy, rtol=0, atol=1e-9)


def test_nothing_compiles_in_the_loop(bare) -> None:
    system, options = replicas(MOMENTS), replace(FIXED, sweeps=3)
    walk_spins(bare, system, np.full(R, 300.0), options)
    before = take_sweeps._cache_size()
    walk_spins(bare, system, np.full(R, 500.0), replace(options, sweeps=400, burn_in=7))
    assert take_sweeps._cache_size() == before


@dataclass(frozen=True)
class Counter:
    """Counts what it is shown, keeps energies, and stops replicas above an energy."""

    capacity: int
    highest: float

    def start(self, system):
        return {
            "rows": jnp.zeros((self.capacity, system.n_replicas)),
            "n": jnp.zeros((), jnp.int32),
            "stop": jnp.zeros(system.n_replicas, bool),
        }

    def look(self, state, system, graph, observables, step):
        return {
            "rows": state["rows"].at[state["n"]].set(observables.energy, mode="drop"),
            "n": state["n"] + 1,
            "stop": state["stop"] | (observables.energy > self.highest),
        }

    def stops(self, state):
        return state["stop"]

    def full(self, state):
        return state["n"] > self.capacity

    def drain(self, state):
        kept = list(np.asarray(state["rows"][: int(state["n"])]))
        return kept, state | {"n": jnp.zeros((), jnp.int32)}


jax.tree_util.register_dataclass(Counter, [], ["capacity", "highest"])


@pytest.mark.parametrize("moments", ["fixed", "equilibrate"])
def test_the_watch_sees_every_trial_and_may_stop_it(soft, moments) -> None:
    system, temperatures = replicas(np.full(N, 2.0)), np.full(R, 2000.0)
    options = SpinOptions(moments=moments, sweeps=6, burn_in=0)
    plain = walk_spins(soft, system, temperatures, options)
    walk = walk_spins(soft, system, temperatures, options, watch=Counter(13, 1e9))
    assert np.allclose(walk.series.energy, plain.series.energy, atol=1e-9)
    shown = np.array(walk.kept)
    assert len(shown) == 6 * N if moments == "fixed" else len(shown) > 6 * N
    for r in range(R):
        for energy in np.setdiff1d(walk.series.energy[:, r], walk.series.energy[0, r]):
            assert np.min(np.abs(shown[:, r] - energy)) < 1e-9
    middle = float(np.median(shown))
    stopped = walk_spins(soft, system, temperatures, options, watch=Counter(13, middle))
    assert stopped.stopped.any()
    assert np.all(stopped.series.energy <= middle + 1e-9)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"move": "spin"}, "move must be one of flip, swap, turn, stretch"),
        ({"moments": "free"}, "moments must be one of"),
        ({"sweeps": 0}, "sweeps must be at least 1"),
        ({"tolerance": 0.0}, "tolerance must be positive"),
    ],
)
def test_wrong_options_are_refused(change, words) -> None:
    with pytest.raises(ValueError, match=words):
        SpinOptions(**change)


def test_wrong_atoms_are_refused(bare) -> None:
    def walk(moments: np.ndarray, **options: object) -> SpinWalk:
        chosen = SpinOptions(moments="fixed", sweeps=1, burn_in=0, **options)
        return walk_spins(bare, replicas(moments), np.full(R, 300.0), chosen)

    with pytest.raises(ValueError, match="no atom is magnetic"):
        walk(np.zeros(N))
    with pytest.raises(ValueError, match="magnetic names Xx"):
        walk(np.ones(N), magnetic=("Xx",))
    with pytest.raises(ValueError, match="has no moment to start from"):
        walk(np.array([1.0, 0, 1, 1, 1, 1]), magnetic=("Fe",))
    some = walk(np.array([1.0, 0, -1, 1, 1, 1]))
    assert some.n_magnetic == 5
    assert some.magmoms[0, 1] == 0.0
    assert np.array_equal(some.pattern, [1, 0, -1, 1, 1, 1])
