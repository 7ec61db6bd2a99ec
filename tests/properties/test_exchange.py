"""Exchange constants and spin waves against Heisenberg models, energies, and what symmetry implies.

Teachers are potentials of level 2: E = -J sum over pairs of first neighbours m_i.m_j / M^2.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax.io.convert import to_structures
from mmtp_jax.properties.bands import check_path, default_path
from mmtp_jax.properties.critical_temperatures import OTHER_ORDER, mean_field, why_no_order
from mmtp_jax.properties.exchange import exchange_of_structure, spin_model
from mmtp_jax.properties.magnon_results import magnons_of
from mmtp_jax.properties.primitive import may_become_smaller, primitive_cell
from mmtp_jax.properties.spin_model import SpinModel, spin_waves
from mmtp_jax.properties.tetrahedra import states_below
from mmtp_jax.properties.transverse import transverse, transverse_rows
from mmtp_jax.simulation.constants import KB

J = 0.04
"""eV of a pair of moments of `LENGTH`, each pair once."""
LENGTH = 1.5
BCC = {"crystalstructure": "bcc", "a": 4.0 / np.sqrt(3.0)}
"""First neighbours at 2 Angstrom."""


def _teacher(couplings, species=("Fe",)) -> mmtp.Potential:
    """Pairs at 2 Angstrom between species have couplings (S, S), eV, at moments of `LENGTH`."""
    new = mmtp.Potential.new(
        level=2, species=species, radial_size=1, magnetic_size=2, min_dist=1.0, cutoff=2.25,
        max_magmom=2.0,
    )  # fmt: skip
    c = np.zeros_like(new.radial_coeffs)
    c[:, :, 0, 0, 1, 1] = -np.asarray(couplings) / 2 / 0.25**2 * (2.0 / LENGTH) ** 2
    return new.replace(radial_coeffs=c, moment_coeffs=np.ones(1))


def _found(potential, atoms, moments) -> mmtp.results.Magnons:
    atoms = atoms.copy()
    atoms.set_initial_magnetic_moments(moments)
    return mmtp.magnons(potential, atoms, relax=False, moments="fixed")


def _chain(n: int) -> Atoms:
    return Atoms(
        f"Fe{n}", cell=[2 * n, 9, 9], positions=[[2 * k, 0, 0] for k in range(n)], pbc=True
    )


def _checkerboard() -> Atoms:
    """Two atoms of the simple cubic crystal."""
    cell = 2.0 * np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1]])
    return Atoms("Fe2", cell=cell, positions=[[0, 0, 0], [2, 0, 0]], pbc=True)


def _gamma(found, q) -> np.ndarray:
    """Mean cosine over the six neighbours of a simple cubic crystal."""
    cartesian = 2 * np.pi * q @ np.linalg.inv(found.exchange.model.cell).T
    return np.cos(2.0 * cartesian).mean(axis=1)


Q = np.random.default_rng(3).uniform(-1, 1, (6, 3))


def test_a_heisenberg_ferromagnet_has_its_couplings_and_spectrum() -> None:
    found = _found(_teacher(J), bulk("Fe", cubic=True, **BCC), [LENGTH, LENGTH])
    first, *others = found.exchange.shells
    # Each pair counts twice; lengths are not at a minimum, so that the on-site term is at work.
    assert found.exchange.note.startswith("1 moments are held")
    assert pytest.approx(500 * J, rel=1e-12) == first.J
    assert (first.neighbours, first.distance) == (8, pytest.approx(2.0))
    assert max(abs(shell.J) for shell in others) < 1e-10
    assert found.exchange.sum_rule < 1e-13
    assert found.is_stable
    half = np.pi * Q @ np.linalg.inv(found.exchange.model.cell).T * BCC["a"]
    expected = 4 / LENGTH * 8 * 500 * J * (1 - np.cos(half).prod(axis=1))
    np.testing.assert_allclose(found.energies(Q)[:, 0], expected, rtol=1e-10)
    # D = (2 / 3 m) sum of J R^2.
    stiffness = 2 / (3 * LENGTH) * 8 * 500 * J * 4
    np.testing.assert_allclose(found.stiffness, stiffness * np.eye(3), atol=1e-9)
    np.testing.assert_allclose(found.band_stiffness(), found.stiffness, atol=1e-3)
    assert found.mean_field_K * KB == pytest.approx(8 / 3 * J, rel=1e-9)
    # Watson's integral of the bcc lattice.
    assert found.random_phase_K * KB == pytest.approx(8 / 3 * J / 1.3932039, rel=2e-4)


def test_chains() -> None:
    up = _found(_teacher(J), _chain(1), [LENGTH])
    x = 2 * np.pi * Q[:, 0]
    np.testing.assert_allclose(
        up.energies(Q)[:, 0], 4 / LENGTH * 1000 * J * (1 - np.cos(x)), rtol=1e-9
    )
    assert up.random_phase_K == 0.0
    assert np.linalg.matrix_rank(up.stiffness, tol=1e-6) == 1
    staggered = _found(_teacher(-J), _chain(2), [LENGTH, -LENGTH])
    expected = 4 / LENGTH * 1000 * J * np.abs(np.sin(x / 2))
    np.testing.assert_allclose(
        staggered.energies(Q), np.stack([expected, expected], axis=1), rtol=1e-7
    )
    assert staggered.stiffness is None
    np.testing.assert_allclose(
        staggered.velocity, [0, 0, 4 / LENGTH * 1000 * J * 2], rtol=1e-6, atol=1e-6
    )


def test_a_ferrimagnet_of_two_species() -> None:
    a, b = 1.8, 0.9
    teacher = _teacher([[0, -J], [-J, 0]], ("Fe", "Al"))
    atoms = _chain(2)
    atoms.symbols[1] = "Al"
    found = _found(teacher, atoms, [a, -b])
    strength = 500 * J * a * b / LENGTH**2
    expected, shares = [], []
    for c in np.cos(np.pi * Q[:, 0]):
        matrix = 8 * strength * np.array([[1 / a, c / a], [-c / b, -1 / b]])
        omega, turns = np.linalg.eig(matrix)
        order, size = np.argsort(np.abs(omega)), np.array([[a], [b]]) * turns**2
        expected.append(np.abs(omega)[order])
        shares.append((size / size.sum(axis=0)).T[order])
    np.testing.assert_allclose(found.energies(Q), expected, rtol=1e-7)
    np.testing.assert_allclose(found.exchange.model.waves(Q)[1], shares, rtol=1e-7)
    dos = found.dos(mesh=[64, 1, 1])
    np.testing.assert_allclose(dos.species["Fe"] + dos.species["Al"], dos.total, rtol=1e-12)
    # Waves of one sense are more on the moments that are longer; there are as many of either.
    width = np.diff(dos.energies)[0]
    assert width * np.sum(dos.species["Fe"]) == pytest.approx(0.5, abs=1e-6)
    low = dos.energies < 0.5 * dos.energies[-1]
    assert dos.species["Fe"][low].sum() > 1.2 * dos.species["Al"][low].sum()
    np.testing.assert_allclose(found.band_stiffness(), found.stiffness, atol=1e-3)
    assert found.exchange.kinds == ("Fe", "Al")
    # The wave of least energy is of both sublattices together.
    assert found.stiffness[0, 0] == pytest.approx(2 / (a - b) * strength * 4 * 4, rel=1e-9)


def test_an_antiferromagnet_mirrors_the_ferromagnet() -> None:
    up = _found(_teacher(J), bulk("Fe", "sc", a=2.0), [LENGTH])
    staggered = _found(_teacher(-J), _checkerboard(), [LENGTH, -LENGTH])
    expected = 4 / LENGTH * 6 * 500 * J * np.sqrt(1 - _gamma(staggered, Q) ** 2)
    np.testing.assert_allclose(
        staggered.energies(Q), np.stack([expected, expected], axis=1), rtol=1e-9
    )
    assert staggered.mean_field_K == pytest.approx(up.mean_field_K, rel=1e-9)
    # Watson's integral of the simple cubic lattice.
    assert up.random_phase_K * KB == pytest.approx(2 * J / 1.5163861, rel=2e-4)
    assert staggered.random_phase_K == pytest.approx(up.random_phase_K, rel=2e-4)
    assert pytest.approx(-500 * J, rel=1e-12) == staggered.exchange.shells[0].J
    # The slope of the band, as a finite difference.
    cell = staggered.exchange.model.cell
    near = np.array([[1e-4, 0, 0]]) @ cell.T / (2 * np.pi)
    assert staggered.velocity[0] == pytest.approx(staggered.energies(near)[0, 0] / 1e-4, rel=1e-4)


def test_a_larger_cell_changes_no_number() -> None:
    atoms = bulk("Fe", cubic=True, **BCC)
    atoms.set_initial_magnetic_moments([LENGTH, LENGTH])
    (structure,) = to_structures([atoms], ("Fe",))
    large = magnons_of(exchange_of_structure(_teacher(J), structure, ("Fe", "Fe")))
    small = _found(_teacher(J), atoms, [LENGTH, LENGTH])
    assert len(large.exchange.spins) == 2
    assert len(small.exchange.spins) == 1
    np.testing.assert_allclose(large.stiffness, small.stiffness, atol=1e-8)
    assert large.mean_field_K == pytest.approx(small.mean_field_K, rel=1e-9)
    assert large.random_phase_K == pytest.approx(small.random_phase_K, rel=1e-3)
    assert pytest.approx(small.exchange.shells[0].J, rel=1e-9) == large.exchange.shells[0].J
    assert large.exchange.shells[0].neighbours == 8


def test_states_that_are_no_minimum_are_named() -> None:
    with pytest.warns(mmtp.SoftMagnonsWarning, match=r"lower the energy .* lowest .* at q = \("):
        found = _found(_teacher(-J), bulk("Fe", "sc", a=2.0), [LENGTH])
    assert not found.is_stable
    assert found.random_phase_K is None
    assert found.mean_field_K is None
    assert found.soft[0].energy == pytest.approx(-4 / LENGTH * 12 * 500 * J, rel=1e-6)
    assert "UNSTABLE" in str(found)
    # Waves that grow, and a wave that turns on but lowers the energy.
    grows, _ = spin_waves(np.array([[[1.0, 2.0], [2.0, 1.0]]]), np.array([1.0, -1.0]))
    np.testing.assert_allclose(grows, [[-2 * np.sqrt(3), -2 * np.sqrt(3)]])
    lower, shares = spin_waves(np.array([np.diag([-3.0, 1.0])]), np.array([1.0, -2.0]))
    np.testing.assert_allclose(lower, [[-6.0, 1.0]])
    np.testing.assert_allclose(shares, [np.eye(2)])


@pytest.mark.filterwarnings("ignore::mmtp_jax.SoftMagnonsWarning")
def test_mean_field_is_of_the_order_of_the_state() -> None:
    """Staggered moments of ferromagnetic couplings have not the temperature of the ferromagnet."""
    found = _found(_teacher(J), _checkerboard(), [LENGTH, -LENGTH])
    assert mean_field(found.exchange.model) is None
    assert found.mean_field_K is None
    assert found.exchange.mean_field_K is None
    assert found.exchange.mean_field_of(2.1) is None
    assert found.velocity is None
    text = str(found)
    assert "mean field: none, the state is no minimum" in text
    assert "velocities along the axes: none" in text
    assert "mean-field critical temperature: none, the state is no minimum" in str(found.exchange)
    # A ferrimagnet: signs of two kinds of moments, the same temperature with both reversed.
    atoms = _chain(2)
    atoms.symbols[1] = "Al"
    teacher = _teacher([[0, -J], [-J, 0]], ("Fe", "Al"))
    for a, b in ((1.8, -0.9), (-1.8, 0.9)):
        ferri = _found(teacher, atoms, [a, b])
        # Two neighbours, each pair in both orders.
        expected = 2 / 3 * 2 * J / 2 * abs(a * b) / LENGTH**2
        assert ferri.mean_field_K * KB == pytest.approx(expected, rel=1e-9)
    assert mean_field(_found(teacher, atoms, [1.8, 0.9]).exchange.model) is None


def test_a_minimum_may_not_be_what_orders_first() -> None:
    """Spins of one cell, with couplings as a matrix."""

    def model(couplings, signs) -> SpinModel:
        couplings, signs, n = np.array(couplings), np.array(signs, float), len(signs)
        first, second = np.divmod(np.arange(n * n), n)
        values = 2 * (np.diag(signs * (couplings @ signs)) - couplings)
        return SpinModel(
            6.0 * np.eye(3), np.arange(3.0 * n).reshape(n, 3), signs, n, first, second,
            np.zeros((n * n, 3), int), values[first, second],
        )  # fmt: skip

    # The third spin is free: it has no part in the order.
    free = [[0, 0.1, 0], [0.1, 0, 0], [0, 0, 0]]
    for sign in (1, -1):
        assert why_no_order(model(free, [1, 1, sign])) == ""
        assert mean_field(model(free, [1, 1, sign])) * KB == pytest.approx(2 / 3 * 0.1)
    # The third is held up by the fourth, which is small when the first two order, and pull it down.
    held = np.zeros((4, 4))
    held[0, 1], held[0, 3], held[2, 3], held[1, 2] = 1.0, 0.3, 0.3, -0.12
    held += held.T
    assert why_no_order(model(held, [1, 1, 1, 1])) == OTHER_ORDER
    assert mean_field(model(held, [1, 1, 1, 1])) is None
    expected = 2 / 3 * np.linalg.eigvalsh(held)[-1]
    assert mean_field(model(held, [1, 1, -1, 1])) * KB == pytest.approx(expected)


def test_what_is_no_q_is_named() -> None:
    found = _found(_teacher(J), bulk("Fe", "sc", a=2.0), [LENGTH])
    assert found.energies([0.5, 0, 0]).shape == (1, 1)
    for q, words in (
        ([[0.5, 0.5]], r"three numbers each, \(k, 3\), got shape \(1, 2\)"),
        ([[1, 2, 3], [4]], r"three numbers each, \(k, 3\), got \["),
        ([[np.nan, 0, 0]], r"q must be finite, got \[nan"),
    ):
        with pytest.raises(ValueError, match=words):
            found.energies(q)


def test_shells_that_vanish_at_the_end_are_left_out() -> None:
    found = _found(_teacher(J), bulk("Fe", cubic=True, **BCC), [LENGTH, LENGTH]).exchange
    assert len(found.shells) > 2
    assert found.shells_until_zero == found.shells[:1]
    assert "more shells" not in str(found)
    assert "none beyond, up to 4.5 Angstrom" in str(found)


def test_a_path_is_refused_before_it_is_relaxed_unless_symmetry_may_grow() -> None:
    fcc = bulk("Fe", a=3.6, crystalstructure="fcc").cell.array
    with pytest.raises(ValueError, match="names Q; special points of this lattice"):
        check_path(fcc, "GXQ", relaxes=True)
    strained = fcc @ np.diag([1.0, 1.0, 1.03])
    with pytest.raises(ValueError, match="special points of this lattice"):
        check_path(strained, "GXWKGL,UX")
    check_path(strained, "GXWKGL,UX", relaxes=True)
    atoms = bulk("Fe", a=2.83, cubic=True)
    atoms.set_initial_magnetic_moments([1.0, 1.0])
    atoms.positions[1] += [0.05, 0.0, 0.02]
    (moved,) = to_structures([atoms], ("Fe",))
    assert len(primitive_cell(moved)[0]) == 2
    assert may_become_smaller(moved)
    (hexagonal,) = to_structures([bulk("Fe", "hcp", a=2.5, c=4.05)], ("Fe",))
    assert not may_become_smaller(hexagonal)


@pytest.fixture(scope="module")
def canted(random_potential, random_structure, atoms_of):
    """A crystal of three atoms of no symmetry, a potential, and what `transverse` finds.

    The potential has terms that vanish for parallel moments, too.
    """
    potential, structure = random_potential(7), random_structure(4, 3, margin=0.01)
    potential = potential.with_noncollinear_terms(2)
    coeffs = 0.2 * np.random.default_rng(1).normal(size=potential.noncollinear.coeffs.shape)
    potential = potential.replace(noncollinear=potential.noncollinear._replace(coeffs=coeffs))
    structure = replace(structure, magmoms=np.array([1.4, -0.9, 1.1]))
    return potential, structure, transverse(potential, structure), atoms_of(structure)


def test_couplings_are_finite_differences_of_the_energy(canted) -> None:
    """One moment of a supercell is turned; all others feel torques, summed over images."""
    potential, structure, found, atoms = canted
    counts = (2, 2, 2)
    large = atoms.repeat(counts)
    lengths = large.get_initial_magnetic_moments()
    order = np.array(list(product(*map(range, counts))))
    step, n = 1e-3, len(structure)
    every = np.ones(n, bool)
    model = spin_model(structure, found, every, ~every)
    expected = np.zeros((n, len(order), n))
    np.add.at(
        expected,
        (model.first, np.ravel_multi_index((model.shifts % counts).T, counts), model.second),
        model.values,
    )
    del large.arrays["initial_magmoms"]
    ends = []
    for k, sign in product(range(n), (1, -1)):
        moments = np.outer(lengths, [0.0, 0.0, 1.0])
        turned = sign * step
        moments[k] = abs(lengths[k]) * np.array(
            [np.sin(turned), 0.0, np.sign(lengths[k]) * np.cos(turned)]
        )
        copy = large.copy()
        copy.set_initial_magnetic_moments(moments)
        ends.append(copy)
    pulls = []
    for end, result in zip(ends, mmtp.evaluate(potential, ends), strict=True):
        m, t = end.get_initial_magnetic_moments(), result.magnetic_forces
        # -dE/dtau across the moment as it is now.
        pulls.append(t[:, 0] * np.abs(m[:, 2]) - t[:, 2] * m[:, 0] * np.sign(m[:, 2]))
    pulls = np.reshape(pulls, (n, 2, len(order), n))
    got = -(pulls[:, 0] - pulls[:, 1]) / (2 * step)
    scale = np.abs(expected).max()
    assert scale > 1e-3
    np.testing.assert_allclose(got, expected, atol=2e-6 * scale)


def test_sum_rule_symmetry_and_reversal(canted) -> None:
    potential, structure, found, _ = canted
    every = np.ones(3, bool)
    model = spin_model(structure, found, every, ~every)
    scale = np.abs(model.values).max()
    assert np.abs(found.magnetic_forces).max() > 0.1
    assert model.sum_rule() < 1e-12 * scale
    result = mmtp.evaluate(potential, canted[3])[0]
    np.testing.assert_allclose(found.magnetic_forces, result.magnetic_forces, atol=1e-10 * scale)
    # K_ab(R) = K_ba(-R), else K(q) would not be Hermitian as it is.
    there = {
        (a, b, *s): v
        for a, b, s, v in zip(model.first, model.second, model.shifts, model.values, strict=True)
    }
    for (a, b, *s), value in there.items():
        assert there[b, a, *(-x for x in s)] == pytest.approx(value, abs=1e-12 * scale)
    other = transverse(potential, replace(structure, magmoms=-structure.magmoms))
    np.testing.assert_allclose(other.values, found.values, atol=1e-12 * scale)
    n = transverse_rows._cache_size()
    moved = replace(structure, positions=structure.positions + 0.01)
    transverse(potential, moved)
    assert transverse_rows._cache_size() == n


@pytest.mark.filterwarnings("ignore::mmtp_jax.ExtrapolationWarning")
def test_small_spirals_of_iron_have_the_energy_of_their_couplings(iron) -> None:
    """Cones of a small angle, at a q that a supercell holds."""
    atoms = bulk("Fe", a=2.83)
    atoms.set_initial_magnetic_moments([2.2])
    found = mmtp.exchange(iron, atoms, relax=False, moments="fixed")
    counts, q = (3, 3, 1), np.array([1 / 3, 2 / 3, 0.0])
    cells = np.array(list(product(*map(range, counts))))
    phases, length = 2 * np.pi * cells @ q, found.magmoms[0]
    large = atoms.repeat(counts)
    del large.arrays["initial_magmoms"]
    ends = []
    for angle in (0.0, 0.02, 0.04):
        across = np.sin(angle) * np.stack([np.cos(phases), np.sin(phases)], axis=1)
        along = np.full((len(cells), 1), np.cos(angle))
        copy = large.copy()
        copy.set_initial_magnetic_moments(length * np.hstack([across, along]))
        ends.append(copy)
    zero, small, double = (r.energy / len(cells) for r in mmtp.evaluate(iron, ends))
    # Angles of the fourth power drop out.
    curvature = (16 * (small - zero) - (double - zero)) / (12 * 0.02**2) * 2
    expected = found.model.curvature(q)[0, 0, 0].real
    assert curvature == pytest.approx(expected, rel=1e-5)
    # What is linear in J is one formula, whatever the potential.
    r = np.linalg.norm(found.pairs[1], axis=1)
    stiffness = np.trace(magnons_of(found).stiffness) / 3
    assert stiffness == pytest.approx(2 / (3 * length) * np.sum(found.J * r**2), rel=1e-9)
    assert found.mean_field_K * KB == pytest.approx(2 / 3 * found.J.sum() / 1e3, rel=1e-9)
    assert found.mean_field_of(found.range) == pytest.approx(found.mean_field_K, rel=1e-6)


@pytest.mark.filterwarnings("ignore::mmtp_jax.SoftMagnonsWarning")
@pytest.mark.filterwarnings("ignore::mmtp_jax.ExtrapolationWarning")
def test_hexagonal_iron_has_the_symmetry_of_its_lattice(iron) -> None:
    atoms = bulk("Fe", "hcp", a=2.5, c=4.05)
    found = _found(iron, atoms, [2.0, 2.0])
    first, second = found.exchange.shells[:2]
    assert {first.neighbours, second.neighbours} == {6}
    assert {round(first.distance, 3), round(second.distance, 3)} == {2.5, 2.487}
    d = found.stiffness
    assert d[0, 0] == pytest.approx(d[1, 1], rel=1e-8)
    assert abs(d[0, 0] - d[2, 2]) > 1e-3 * abs(d[0, 0])
    assert np.abs(d - np.diag(np.diag(d))).max() < 1e-6 * abs(d[0, 0])
    turned = atoms.copy()
    turned.rotate(35.0, (1.0, -0.4, 0.3), rotate_cell=True)
    other = _found(iron, turned, [-2.0, -2.0])
    np.testing.assert_allclose(other.energies(Q), found.energies(Q), atol=1e-8)
    np.testing.assert_allclose(
        np.linalg.eigvalsh(other.stiffness), np.linalg.eigvalsh(d), rtol=1e-8
    )


def test_small_moments_follow_at_the_least_energy() -> None:
    """A spin between two that precess, in a harmonic well of its own: the algebra in one cell."""
    cell, h, k = 6.0 * np.eye(3), 0.3, 0.02
    moment = 2 * k / h
    # Two spins up, and a small moment m with E = h m^2 / 2 - k m.(e_0 + e_1).
    pairs = [(2, 2, h), (0, 2, -k), (2, 0, -k), (1, 2, -k), (2, 1, -k)]
    pairs += [(0, 0, k * moment), (1, 1, k * moment)]
    first, second, values = (np.array(of) for of in zip(*pairs, strict=True))
    model = SpinModel(
        cell, np.arange(9.0).reshape(3, 3), np.array([1.0, 2.0, moment]), 2, first, second,
        np.zeros((len(pairs), 3), int), values,
    )  # fmt: skip
    assert model.sum_rule() < 1e-15
    found = model.curvature([[0.1, 0.2, 0.3]])[0]
    # The moment gone, E = -(k^2 / h) e_0.e_1.
    strength = k**2 / h
    np.testing.assert_allclose(found, strength * np.array([[1, -1], [-1, 1]]), atol=1e-15)
    np.testing.assert_allclose(model.energies([[0, 0, 0]]), [[0, 3 * strength]], atol=1e-12)
    # Two ordered pairs: J = k^2 / 2 h, and k_B T = 2/3 J by mean field.
    assert mean_field(model) * KB == pytest.approx(strength / 3, rel=1e-9)
    with pytest.raises(mmtp.UnstableStateError, match="follow the others are at no minimum"):
        replace(model, values=np.where(first == second, -values, values)).curvature([[0, 0, 0]])


def test_a_small_moment_between_two_others_follows() -> None:
    a, b = 1.8, 0.05
    atoms = _chain(2)
    atoms.symbols[1] = "Al"
    found = _found(_teacher([[0, J], [J, 0]], ("Fe", "Al")), atoms, [a, b])
    assert found.exchange.spins.tolist() == [0]
    assert found.exchange.note.startswith("1 atoms with moments below 0.1 mu_B follow")
    assert found.exchange.sum_rule < 1e-14
    strength = 500 * J * a * b / LENGTH**2
    expected = 8 * strength / a * np.sin(np.pi * Q[:, 0]) ** 2
    np.testing.assert_allclose(found.energies(Q)[:, 0], expected, rtol=1e-9)
    np.testing.assert_allclose(found.band_stiffness(), found.stiffness, atol=1e-6)
    assert "0 K, as turns along a direction cost nothing" in str(found)


def test_atoms_with_small_moments_follow(canted) -> None:
    """The sum rule holds for them, too, and lets all moments turn together at no cost."""
    _, structure, found, _ = canted
    # As if the state were at rest, and the second moment in a deep well.
    structure = replace(structure, magmoms=np.array([1.4, -0.05, 1.1]))
    own = (found.first == 1) & (found.second == 1) & ~found.shifts.any(axis=1)
    found = found._replace(values=np.where(own, 50.0, found.values))
    spins = np.array([True, False, True])
    model = spin_model(structure, found, spins, ~spins)
    assert (model.n_spins, len(model.moments)) == (2, 3)
    whole = spin_model(structure, found, np.ones(3, bool), np.zeros(3, bool))
    q = np.array([[0.13, 0.29, -0.41]])
    k = whole.curvature(q)[0]
    order = [0, 2]
    expected = k[np.ix_(order, order)] - np.outer(k[order, 1], k[1, order]) / k[1, 1]
    np.testing.assert_allclose(model.curvature(q)[0], expected, rtol=1e-9)


def test_density_of_states() -> None:
    found = _found(_teacher(J), bulk("Fe", "sc", a=2.0), [LENGTH])
    dos = found.dos(mesh=[16, 16, 16])
    assert np.sum(dos.total) * np.diff(dos.energies)[0] == pytest.approx(1.0, rel=1e-9)
    rng = np.random.default_rng(0)
    q = rng.uniform(size=(200_000, 3))
    values = 1 - np.cos(2 * np.pi * q).mean(axis=1)
    grid = np.array(list(product(np.arange(16) / 16, repeat=3)))
    bands = 1 - np.cos(2 * np.pi * grid).mean(axis=1)
    edges = np.array([0.3, 0.7, 1.0, 1.5])
    got = states_below(bands.reshape(16, 16, 16, 1), edges)
    np.testing.assert_allclose(got, [np.mean(values < e) for e in edges], atol=5e-3)
    # A flat band is a step.
    assert states_below(np.ones((2, 2, 2, 1)), np.array([0.9, 1.1])).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(("moments", "n"), [((2.0, 2.0), 1), ((2.0, -2.0), 2), ((2.0, 1.9), 2)])
def test_primitive_cells(moments, n) -> None:
    atoms = bulk("Fe", a=2.83, cubic=True)
    atoms.set_initial_magnetic_moments(moments)
    atoms = atoms.repeat((2, 1, 3))
    atoms.rotate(31.0, (1, 2, 3), rotate_cell=True)
    (structure,) = to_structures([atoms], ("Fe",))
    small, kept = primitive_cell(structure)
    assert len(small) == len(kept) == n
    assert np.linalg.det(small.cell) == pytest.approx(n * 2.83**3 / 2)
    assert sorted(small.magmoms) == sorted(moments[:n])
    moved = replace(structure, positions=structure.positions + 0.01 * np.eye(len(structure), 3))
    assert len(primitive_cell(moved)[0]) == len(atoms)


def test_what_is_refused_and_what_is_extrapolated(iron) -> None:
    atoms = bulk("Fe", a=2.83)
    atoms.set_initial_magnetic_moments([2.2])
    with pytest.raises(ValueError, match="form 'bare'"):
        mmtp.magnons(iron.replace(form="bare", parities=""), atoms)
    other = atoms.copy()
    other.set_initial_magnetic_moments([0.01])
    with pytest.raises(ValueError, match=r"no atom has a moment of 0.1 mu_B .* min_moment"):
        mmtp.exchange(iron, other)
    other = atoms.copy()
    other.pbc = (True, True, False)
    with pytest.raises(ValueError, match="need a crystal, periodic in three directions"):
        mmtp.exchange(iron, other)
    two = bulk("Fe", a=2.83, cubic=True)
    del two.arrays["initial_magmoms"]
    two.set_initial_magnetic_moments([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    with pytest.raises(ValueError, match="has noncollinear magnetic moments; give collinear"):
        mmtp.magnons(iron, two)
    with pytest.raises(TypeError, match="options of the relaxation without one"):
        mmtp.exchange(iron, atoms, relax=False, cell="volume")
    collinear = iron.replace(record={"data": {"configurations": 5}})
    with pytest.warns(mmtp.ExtrapolationWarning, match="extrapolated by the form"):
        found = mmtp.exchange(collinear, atoms, relax=False, moments="fixed")
    assert found.by_form
    assert "extrapolated by the form" in str(found)
    with pytest.raises(ValueError, match=r"names Q; special points of this lattice .* are G, M"):
        default_path(np.eye(3), path="GQ")
