"""Monte Carlo of vectors against integrals over their directions and lengths."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import iv

from mmtp_jax.interfaces.evaluation import evaluate_structures
from mmtp_jax.potential.potential import Potential
from mmtp_jax.simulation.constants import KB
from mmtp_jax.simulation.moments.options import MomentOptions
from mmtp_jax.simulation.moments.structures import equilibrate_structures
from mmtp_jax.simulation.spins.binder import order_curve
from mmtp_jax.simulation.spins.loop import take_sweeps
from mmtp_jax.simulation.spins.moves import pattern_of
from mmtp_jax.simulation.spins.options import SpinOptions
from mmtp_jax.simulation.spins.outcome import SpinObserver, SpinSaved, SpinWalk
from mmtp_jax.simulation.spins.sampling import walk_spins
from mmtp_jax.simulation.spins.turning import KINDS
from mmtp_jax.simulation.system import System, system_of
from mmtp_jax.structures.structure import Structure
from tests.simulation.spins.test_spin_walk import LARGEST, Counter, double_well, teacher

THERMAL = 0.15
R = 32
FIXED = SpinOptions(moments="fixed", sweeps=400, burn_in=40)
SAMPLED = replace(FIXED, moments="sampled", sweeps=600, burn_in=60)
NO_WELL = np.zeros(1)
UP = np.array([0.0, 0.0, 1.0])


def chain(n: int, magmoms: np.ndarray, closed: bool = False) -> Structure:
    """Atoms in a row, 2 Angstrom apart, each with its first neighbours; ``closed``, a ring."""
    positions = np.zeros((n, 3))
    positions[:, 0] = 2.0 * np.arange(n)
    return Structure(
        cell=np.diag([2.0 * n if closed else 40.0, 9.0, 9.0]),
        periodic=np.array([closed, False, False]),
        positions=positions,
        types=np.zeros(n, np.int32),
        magmoms=np.asarray(magmoms, float),
        name="chain",
    )


def replicas(structure: Structure, n: int = R) -> System:
    return system_of([structure] * n, np.ones(len(structure)))


def walked(potential: Potential, structure: Structure, options: SpinOptions) -> SpinWalk:
    return walk_spins(potential, replicas(structure), np.full(R, THERMAL / KB), options)


def agrees(series: np.ndarray, expected: float, apart: float) -> None:
    """The mean of (t, R) is the expected one, and not one that is ``apart`` from it."""
    means = series.mean(axis=0)
    error = means.std(ddof=1) / np.sqrt(len(means))
    print(f"{means.mean():.5f} +- {error:.5f}, expected {expected:.5f}")
    assert abs(means.mean() - expected) < 4 * error
    assert abs(apart) > 6 * error, "the test can fail"


def pair_energy(potential: Potential, m: float) -> float:
    """Energy of two moments of one length, up, less that of moments across."""
    up, across = np.array([UP, UP]) * m, np.array([UP, [1.0, 0.0, 0.0]]) * m
    one, other = evaluate_structures(potential, [chain(2, up), chain(2, across)])
    return one.energy - other.energy


@pytest.mark.parametrize("sign", [1, -1], ids=["ferromagnet", "antiferromagnet"])
def test_two_vectors_follow_the_langevin_function(sign) -> None:
    """<e1.e2> = coth K - 1 / K, K = J / k_B T."""
    potential = teacher(NO_WELL, sign * 0.02)
    start = np.array([2.0 * UP, 2.5 * sign * UP])
    walk = walked(potential, chain(2, start), FIXED)
    k = -pair_energy(potential, 1.0) * 5.0 / THERMAL
    assert abs(k) > 1.0
    expected = 1.0 / np.tanh(k) - 1.0 / k
    constants = evaluate_structures(potential, [chain(2, 0.0 * start)])[0].energy
    cosine = (walk.series.energy - constants) / (-k * THERMAL)
    agrees(cosine, expected, 0.1)
    assert np.allclose(np.linalg.norm(walk.magmoms, axis=2), [2.0, 2.5], rtol=0, atol=1e-14)
    # The staggered order: |e1 +- e2| / 2 squared is (1 + |<e1.e2>|) / 2.
    assert np.allclose(2 * walk.series.order**2 - 1, sign * cosine, atol=1e-9)
    assert np.allclose(walk.series.length, 2.25)


def test_a_ring_of_four_is_that_of_the_transfer_matrix() -> None:
    """Eigenvalues i_l(K) of exp(K e.e'), (2 l + 1)-fold (M. E. Fisher, Am. J. Phys. 32, 343)."""
    potential, n = teacher(NO_WELL, 0.018), 4
    start = 2.0 * np.array([UP] * n)
    k = -pair_energy(potential, 2.0) / THERMAL
    degrees = np.arange(40)
    of = np.sqrt(np.pi / (2 * k)) * iv(degrees + 0.5, k)
    z = np.sum((2 * degrees + 1) * of**n)
    low, high, weight = of[:-1], of[1:], degrees[:-1] + 1
    # <e_0.e_r>: the product with a direction takes l to l + 1 or l - 1.
    apart = [
        np.sum(weight * (high**r * low ** (n - r) + low**r * high ** (n - r))) / z for r in range(n)
    ]
    assert np.isclose(apart[0], 1.0)
    walk = walked(potential, chain(n, start, closed=True), FIXED)
    ground = evaluate_structures(potential, [chain(n, start, closed=True)])[0].energy
    agrees((walk.series.energy - ground) / THERMAL, n * k * (1 - apart[1]), 0.2)
    agrees(walk.series.order**2, sum(apart) / n, 0.05)
    assert set(walk.moves) == set(KINDS) - {"stretch"}
    # Between first neighbours alone, the field of reflections is that on the moment.
    assert np.all(walk.moves["reflection"] == 1.0)
    assert np.all(walk.moves["reversal"] < 1.0)


def landau(m: np.ndarray, potential: Potential) -> np.ndarray:
    """Energies of one moment beside an atom without one."""
    structures = [chain(2, [x * UP, 0 * UP]) for x in m]
    return np.array([r.energy for r in evaluate_structures(potential, structures)])


@pytest.mark.parametrize("measure", ["d3m", "dm"])
def test_one_moment_in_a_landau_well_is_sampled(measure) -> None:
    potential = teacher(double_well(0.3), 0.0)
    options = replace(SAMPLED, measure=measure, sweeps=1500, burn_in=300)
    walk = walked(potential, chain(2, [1.5 * UP, 0 * UP]), options)
    m = np.linspace(0.0, LARGEST, 2001)
    energies = landau(m, potential)
    means = {}
    for power in (0, 2):
        weight = m**power * np.exp(-(energies - energies.min()) / THERMAL)
        weight /= weight.sum()
        means[power] = (np.sum(weight * m), np.sum(weight * energies))
    length, energy = means[2 if measure == "d3m" else 0]
    agrees(walk.series.length, length, means[2][0] - means[0][0])
    agrees(walk.series.energy, energy, means[2][1] - means[0][1])
    assert np.allclose(walk.series.length, walk.series.magnetisation)
    assert walk.series.length.max() <= LARGEST
    assert abs(walk.moves["stretch"].mean() - 0.5) < 0.15


def test_two_vectors_with_lengths_are_sampled() -> None:
    """The integral over the angle is sinh x / x, x = J m1 m2 / k_B T."""
    potential = teacher(double_well(0.1), 0.02)
    walk = walked(potential, chain(2, [1.5 * UP, 1.2 * UP]), replace(SAMPLED, sweeps=1200))
    m = np.linspace(0.0, LARGEST, 121)[1:]
    well = 2 * np.array([landau(m, potential)])
    well = well + well.T
    x = np.outer(m, m) * -pair_energy(potential, 1.0) / THERMAL
    weight = np.outer(m, m) ** 2 * np.exp(-(well / 2 - well.min() / 2) / THERMAL) * np.sinh(x) / x
    weight /= weight.sum()
    agrees(walk.series.length, np.sum(weight * m[:, None]), 0.1)
    # <x cos> of each pair of lengths, and of the wells what is less than twice that of zeros.
    coupling = np.sum(weight * (x / np.tanh(x) - 1)) * THERMAL
    zero = evaluate_structures(potential, [chain(2, np.zeros((2, 3)))])[0].energy
    agrees(walk.series.energy, np.sum(weight * well / 2) - zero - coupling, 0.05)


def test_equilibrated_lengths_follow_directions() -> None:
    """E(theta) is the minimum over both lengths: the mean over cos theta with its weight."""
    potential = teacher(double_well(0.15), 0.02)
    cosine = np.linspace(-1.0, 1.0, 41)
    pairs = [[2 * UP, 2 * np.array([np.sqrt(1 - c * c), 0, c])] for c in cosine]
    same = MomentOptions(tolerance=1e-6, directions="fixed")
    minima = equilibrate_structures(potential, [chain(2, p) for p in pairs], same)
    assert all(found.converged for found in minima)
    lengths = np.array([np.linalg.norm(found.magmoms, axis=1).mean() for found in minima])
    energies = np.array([found.result.energy for found in minima])
    assert np.ptp(lengths) > 0.1
    weight = np.exp(-(energies - energies.min()) / THERMAL)
    weight[[0, -1]] /= 2
    weight /= weight.sum()
    options = SpinOptions(sweeps=150, burn_in=20, tolerance=1e-5)
    walk = walked(potential, chain(2, [2 * UP, 2 * UP]), options)
    assert not walk.inadmissible.any()
    agrees(walk.series.energy, np.sum(weight * energies), 0.05)
    agrees(walk.series.length, np.sum(weight * lengths), 0.03)
    at_end = np.sum(np.prod(walk.magmoms, axis=1), axis=1)
    at_end /= np.prod(np.linalg.norm(walk.magmoms, axis=2), axis=1)
    expected = np.interp(at_end, cosine, energies)
    assert np.allclose(walk.series.energy[-1], expected, atol=1e-3)


def test_moments_of_others_follow_the_directions() -> None:
    """Co between two Fe, with 2 k m^2 - 2 J m.(m_1 + m_2): m = J (m_1 + m_2) / 2 k."""
    k, exchange = 0.08, 0.04
    induced = teacher(np.array([0.0, 0.0, k]), exchange).radial_coeffs[0, 0]
    two = of_two_species(teacher(double_well(0.15), exchange))
    coefficients = np.array(two.radial_coeffs)
    coefficients[1, 0] = induced
    two = two.replace(radial_coeffs=coefficients)

    def triple(first: np.ndarray, last: np.ndarray) -> Structure:
        return replace(chain(3, [first, 0 * UP, last]), types=np.array([0, 1, 0], np.int32))

    cosine = np.linspace(-1.0, 1.0, 41)
    given = [triple(2 * UP, 2 * np.array([np.sqrt(1 - c * c), 0, c])) for c in cosine]
    same = MomentOptions(tolerance=1e-7, directions="fixed")
    minima = equilibrate_structures(two, given, same)
    assert all(found.converged for found in minima)
    energies = np.array([found.result.energy for found in minima])
    assert np.ptp(energies) > THERMAL
    for found in minima:
        sides = found.magmoms[0] + found.magmoms[2]
        np.testing.assert_allclose(found.magmoms[1], exchange / (2 * k) * sides, atol=1e-5)
    weight = np.exp(-(energies - energies.min()) / THERMAL)
    weight[[0, -1]] /= 2
    weight /= weight.sum()
    options = SpinOptions(sweeps=150, burn_in=20, tolerance=1e-5)
    # What the file says of their moments does not count.
    start = replace(triple(2 * UP, 2 * UP), magmoms=np.array([2 * UP, [0.5, 0, 0], 2 * UP]))
    walk = walked(two, start, replace(options, magnetic=("Fe",)))
    assert not walk.inadmissible.any()
    agrees(walk.series.energy, np.sum(weight * energies), 0.05)
    sides = walk.magmoms[:, 0] + walk.magmoms[:, 2]
    np.testing.assert_allclose(walk.magmoms[:, 1], exchange / (2 * k) * sides, atol=1e-3)
    assert np.linalg.norm(walk.magmoms[:, 1], axis=1).max() > 0.3


def of_two_species(potential: Potential) -> Potential:
    """Fe and Co, which are alike."""
    return potential.replace(
        species=("Fe", "Co"),
        species_coeffs=np.repeat(potential.species_coeffs, 2),
        radial_coeffs=np.tile(potential.radial_coeffs, (2, 2, 1, 1, 1, 1)),
        min_magmom=np.repeat(potential.min_magmom, 2),
        max_magmom=np.repeat(potential.max_magmom, 2),
    )


def disordered(n: int, seed: int = 0) -> np.ndarray:
    print("seed", seed)
    found = np.random.default_rng(seed).normal(size=(n, 3))
    return 2.0 * found / np.linalg.norm(found, axis=1)[:, None]


@pytest.mark.parametrize("kind", ["fixed", "sampled", "equilibrate"])
def test_walk_is_a_function_of_the_seed_and_resumes_exactly(kind) -> None:
    potential = teacher(double_well(0.15), 0.01)
    system = replicas(chain(4, 2.0 * np.array([UP] * 4), closed=True), 8)
    temperatures = np.linspace(1500.0, 3000.0, 8)
    options = SpinOptions(moments=kind, sweeps=20, burn_in=6)
    whole = walk_spins(potential, system, temperatures, options)
    other = walk_spins(potential, system, temperatures, replace(options, seed=9))
    assert not np.array_equal(whole.series.energy, other.series.energy)
    assert len(np.unique(whole.largest_turn)) > 5
    first = walk_spins(potential, system, temperatures, replace(options, sweeps=12))
    second = walk_spins(
        potential, system, temperatures, replace(options, sweeps=8), resume=first.state
    )
    for one, two, all_of in zip(first.series, second.series, whole.series, strict=True):
        assert np.array_equal(np.concatenate([one, two]), all_of)
    assert np.array_equal(first.largest_turn, whole.largest_turn), "fixed after the burn-in"
    # Cut in the burn-in: it goes on as long as it would have, whatever is asked for later.
    told: list[SpinSaved] = []
    short = replace(options, sweeps=1)
    walk_spins(
        potential, system, temperatures, short, observer=SpinObserver(0.0, told.append),
        callback=lambda n: None,
    )  # fmt: skip
    assert len(told[0].rows.energy) < 6
    for burn_in in (6, 2):
        again = replace(options, burn_in=burn_in)
        rest = walk_spins(potential, system, temperatures, again, resume=told[0])
        for one, all_of in zip(rest.series, whole.series, strict=True):
            assert np.array_equal(one, all_of)
    assert np.array_equal(rest.moves["cone"], whole.moves["cone"])


@pytest.mark.parametrize("kind", ["fixed", "sampled"])
def test_neighbours_alone_give_the_energy(iron, crystal, kind) -> None:
    """Of a potential of many bodies, with an atom whose moment is held."""
    potential, system = iron.replace(cutoff=np.float64(3.0)), crystal(3, seeds=(1, 2))
    start = disordered(54)
    options = SpinOptions(moments=kind, sweeps=3, burn_in=1)
    mixed = system._replace(magmoms=np.stack([start, start]))
    walk = walk_spins(potential, mixed, np.array([1e3, 1e5]), options)
    assert walk.acceptance[1] > 0.5
    for r in range(2):
        structure = Structure(
            cell=system.cell[r], periodic=system.periodic, positions=system.positions[r],
            types=system.types, magmoms=walk.magmoms[r],
        )  # fmt: skip
        energy = evaluate_structures(potential, [structure])[0].energy
        assert np.isclose(walk.series.energy[-1, r], energy, rtol=0, atol=1e-9)


def test_moments_of_others_stay_and_nothing_compiles_in_the_loop() -> None:
    two = of_two_species(teacher(NO_WELL, 0.01))
    start = disordered(4)
    structure = replace(chain(4, start, closed=True), types=np.array([0, 1, 0, 1], np.int32))
    options = replace(FIXED, sweeps=3, burn_in=2, magnetic=("Fe",))
    walk = walk_spins(two, replicas(structure), np.full(R, 300.0), options)
    before = take_sweeps._cache_size()
    walk = walk_spins(two, replicas(structure), np.full(R, 500.0), replace(options, sweeps=90))
    assert take_sweeps._cache_size() == before
    assert np.array_equal(walk.magmoms[:, [1, 3]], np.tile(start[[1, 3]], (R, 1, 1)))
    assert np.all(np.linalg.norm(walk.magmoms - start, axis=2)[:, [0, 2]] > 1e-3)
    assert walk.n_magnetic == 2
    assert np.array_equal(walk.pattern == 0, [False, True, False, True])


def test_the_watch_sees_every_trial_and_may_stop_it() -> None:
    potential = teacher(double_well(0.15), 0.01)
    system = replicas(chain(4, 2.0 * np.array([UP] * 4), closed=True), 8)
    temperatures = np.full(8, 2000.0)
    options = SpinOptions(moments="sampled", sweeps=6, burn_in=0)
    plain = walk_spins(potential, system, temperatures, options)
    walk = walk_spins(potential, system, temperatures, options, watch=Counter(13, 1e9))
    assert np.allclose(walk.series.energy, plain.series.energy, atol=1e-9)
    shown = np.array(walk.kept)
    assert len(shown) == 24
    middle = float(np.median(shown))
    stopped = walk_spins(potential, system, temperatures, options, watch=Counter(13, middle))
    assert stopped.stopped.any()
    assert np.all(stopped.series.energy <= middle + 1e-9)


def test_cumulants_of_disordered_vectors_are_four_ninths() -> None:
    """The mean of many directions is a normal vector: <m^4> = 5/3 <m^2>^2; 2/3 in order."""
    seed, n = 2, 64
    print("seed", seed)
    found = np.random.default_rng(seed).normal(size=(4000, 2, n, 3))
    found /= np.linalg.norm(found, axis=3, keepdims=True)
    order = np.linalg.norm(found.mean(axis=2), axis=2)
    order[:, 1] = 0.8 + 0.01 * order[:, 1]
    curve = order_curve(np.array([500.0, 400.0]), order, n)
    # N <m^2> is 1, and <m> of a normal vector of that length sqrt(8 / 3 pi).
    for got, error, expected in (
        (curve.binder, curve.binder_error, 4 / 9),
        (curve.susceptibility, curve.susceptibility_error, (1 - 8 / (3 * np.pi)) / (KB * 500.0)),
    ):
        assert abs(got[1] - expected) < 4 * error[1] + 0.01 * expected
    assert np.isclose(curve.binder[0], 2 / 3, atol=1e-3)


def test_patterns_are_signs_along_the_main_axis() -> None:
    axis = np.array([0.48, -0.6, 0.64])
    signs = np.array([-1.0, 1.0, 1.0, -1.0])
    canted = 2.0 * signs[:, None] * axis + 0.3 * np.array([[1, 0, 0]] * 4)
    all_of = np.ones(4, bool)
    assert np.array_equal(pattern_of(canted, all_of), -signs)
    assert np.array_equal(pattern_of(2.0 * signs, all_of), signs)
    some = np.array([False, True, True, True])
    across = np.array([[9.0, 0, 0], [0, 0, 2.0], [0, 1.0, 0], [0, 0, -2.0]])
    assert np.array_equal(pattern_of(across, some), [0, 1, 0, -1])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"move": "flip", "vectors": True}, 'move="flip" changes signs, and vectors is for'),
        ({"move": "swap", "moments": "sampled"}, 'and moments="sampled" is for vectors'),
        ({"move": "stretch"}, 'moments="equilibrate" does not leave them to it'),
        ({"move": "turn", "moments": "sampled"}, "so that no length is sampled"),
        ({"measure": "m"}, "measure must be one of d3m, dm"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, words) -> None:
    with pytest.raises(ValueError, match=words):
        SpinOptions(**options)


def test_wrong_starts_are_refused() -> None:
    def walk(start: np.ndarray, form: str = "parity", **options: object) -> SpinWalk:
        potential = teacher(NO_WELL, 0.01).replace(form=form)
        chosen = SpinOptions(sweeps=1, burn_in=0, **{"moments": "fixed", **options})
        return walk_spins(potential, replicas(chain(2, start)), np.full(R, 300.0), chosen)

    pair = np.array([UP, UP])
    for start, change, words in (
        (3.2 * pair, {}, "the moment of atom 0 .Fe., 3.2 mu_B, is at the end of the interval"),
        (0 * pair, {}, "no atom is magnetic"),
        (pair * [[1], [0]], {"magnetic": ("Fe",)}, "has no moment to start from"),
        (pair, {"move": "flip"}, "and the moments are vectors, which have none"),
        (pair, {"form": "bare"}, "even under reversal"),
        (np.ones(2), {"moments": "sampled"}, "numbers have signs alone"),
    ):
        with pytest.raises(ValueError, match=words):
            walk(start, **change)
