"""Equilibration of moments: minima against scipy, bounds, batches, and what never happens."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from scipy.optimize import Bounds, minimize

import mmtp_jax as mmtp
from mmtp_jax.fitting.confine import with_confinement
from mmtp_jax.interfaces.evaluation import evaluate_graph
from mmtp_jax.simulation.moments.equilibrate import equilibrate_graph
from mmtp_jax.simulation.moments.lbfgs import SIZE, empty_memory
from mmtp_jax.simulation.moments.steps import Status
from mmtp_jax.simulation.moments.structures import (
    MomentOptions,
    StructureEquilibrator,
    equilibrate_batch,
    equilibrate_structures,
)
from mmtp_jax.structures.kept_graph import SKIN
from mmtp_jax.structures.neighbours import neighbour_table

FORMS = [(1, 6, "symmetrised"), (1, 6, "bare"), (2, 8, "symmetrised")]
"""Number of species, level, form."""
_compiled = jax.jit(equilibrate_graph, static_argnames=("allow_flips", "observe", "halt"))


def compiled(potential, graph, *, tolerance=1e-3, max_steps=200, memory=None, **options):
    """`equilibrate_graph` with the same arguments in every test, so that few are compiled."""
    memory = empty_memory(graph) if memory is None else memory
    return _compiled(
        potential, graph, tolerance=tolerance, max_steps=max_steps, memory=memory, **options
    )


@pytest.fixture(scope="module")
def magnetic(random_potential):
    """potential(n_species, level, form): atoms that want moments of about 1.7 mu_B.

    A pair energy that falls and rises with the square of the moment, as in Landau's expansion, is
    added to a random potential of some size.
    """

    def of(n_species=1, level=6, form="symmetrised", seed=3):
        potential = random_potential(
            seed, level=level, n_species=n_species, magnetic_size=5, form=form
        )
        radial = 0.02 * np.asarray(potential.radial_coeffs)
        # (m / M)^2 - 2/3 and its square, in Chebyshev polynomials of the central moment.
        u = np.polynomial.Polynomial([0, 0, 1.0])
        well = (u * u - 0.7 * u).convert(kind=np.polynomial.Chebyshev).coef
        radial[:, :, 0] *= 0.2
        radial[:, :, 0, 0, :, 0] += 0.2 * well
        # Depth of the well and exchange change with the distance.
        radial[:, :, 0, 1, 2, 0] += 0.05
        radial[:, :, 0, :2, 1, 1] -= 0.03
        coeffs = 0.05 * np.asarray(potential.moment_coeffs)
        coeffs[0] = 1.0
        return potential.replace(radial_coeffs=radial, moment_coeffs=coeffs)

    return of


@pytest.fixture(scope="module")
def structures(random_structure):
    """structures(n_species, sizes): random cells with moments of one sign, so that some flip."""

    def of(n_species=1, sizes=(5, 8, 6), seed=11):
        rng = np.random.default_rng(seed)
        found = [random_structure(seed + k, n, n_species=n_species) for k, n in enumerate(sizes)]
        return [
            replace(s, magmoms=rng.choice([1.0, -1.0], len(s)) * rng.uniform(0.8, 2.4, len(s)))
            for s in found
        ]

    return of


@pytest.fixture(scope="module")
def graph_for(graph_of):
    return partial(graph_of, n_atoms=20, n_conf=4, width=48)


@pytest.mark.parametrize("form", FORMS)
def test_magnetic_forces_vanish_or_point_out_of_the_box(form, magnetic, structures, graph_for):
    potential, given = magnetic(*form), structures(form[0])
    graph = graph_for(given)
    before = evaluate_graph(potential, graph)[1]
    found, _ = compiled(potential, graph, tolerance=5e-6)
    sites, after = evaluate_graph(potential, graph._replace(magmoms=found.magmoms))
    n = sum(map(len, given))

    for got, expected in zip(found.observables, after, strict=True):
        np.testing.assert_allclose(got[:n], expected[:n], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found.site_energies[:n], sites[:n], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.energy, after.energy, rtol=1e-12)
    assert np.all(found.energy[:3] < before.energy[:3])
    assert np.isin(found.status, [Status.CONVERGED, Status.HELD_AT_ZERO, Status.HELD_AT_BOUND])[
        :3
    ].all()
    assert np.sum(np.asarray(found.status)[:3] == Status.CONVERGED) >= 1
    m, start, forces = (np.asarray(a)[:n] for a in (found.magmoms, graph.magmoms, after[3]))
    types = graph.types[:n]
    high = np.where(start > 0, potential.max_magmom[types], 0.0)
    low = np.where(start < 0, potential.min_magmom[types], 0.0)
    assert np.all((low <= m) & (m <= high))
    held = ((m == low) & (forces < 0)) | ((m == high) & (forces > 0))
    assert np.abs(forces[~held]).max() < 5e-6
    residual = [
        np.abs(np.where(held, 0.0, forces))[graph.configuration[:n] == k].max() for k in range(3)
    ]
    np.testing.assert_allclose(found.residual[:3], residual, rtol=1e-6, atol=1e-12)
    assert np.asarray(found.n_steps)[:3].max() < 60


@pytest.mark.parametrize("form", FORMS)
def test_the_minimum_is_that_of_scipy(form, magnetic, structures, graph_for):
    potential, (given, *_) = magnetic(*form), structures(form[0])
    n, graph = len(given), graph_for(given)
    near = np.array(compiled(potential, graph, tolerance=1e-7)[0].magmoms)
    near[:n] += 0.05 * np.sign(near[:n])
    low, high = (
        np.asarray(end)[graph.types] for end in (potential.min_magmom, potential.max_magmom)
    )
    near = np.clip(near, low, high)
    graph = graph._replace(magmoms=near)
    found, _ = compiled(potential, graph, tolerance=1e-7)

    def energy(m):
        values = evaluate_graph(
            potential, graph._replace(magmoms=np.concatenate([m, graph.magmoms[n:]]))
        )[1]
        return float(values.energy[0]), -np.asarray(values.magnetic_forces)[:n]

    low, high = np.where(near > 0, 0.0, low)[:n], np.where(near < 0, 0.0, high)[:n]
    expected = minimize(
        energy, near[:n], jac=True, method="L-BFGS-B", bounds=Bounds(low, high),
        options={"gtol": 1e-8, "ftol": 0.0},
    )  # fmt: skip
    np.testing.assert_allclose(found.magmoms[:n], expected.x, atol=1e-5)
    assert float(found.energy[0]) == pytest.approx(expected.fun, abs=1e-9)


def test_energies_never_rise(magnetic, structures, graph_for):
    potential, graph = magnetic(2, 8), graph_for(structures(2))
    trace = jnp.full((100, 4), jnp.nan)

    def observe(carry, at, values):
        count, energies, largest = carry
        moved = jnp.abs(at.magmoms - largest[1]).max()
        return count + 1, energies.at[count].set(values.energy), (
            jnp.maximum(largest[0], moved), at.magmoms,
        )  # fmt: skip

    start = (jnp.int32(0), trace, (jnp.float64(0.0), jnp.asarray(graph.magmoms)))
    found, (count, energies, (largest, last)) = compiled(
        potential, graph, tolerance=1e-8, observe=observe, carry=start
    )
    assert int(count) == int(found.n_steps.max())
    energies = np.asarray(energies)[: int(count)]
    assert np.all(np.isfinite(energies))
    assert np.all(np.diff(energies, axis=0) <= 1e-12 * np.abs(energies[1:]))
    np.testing.assert_array_equal(energies[-1], found.energy)
    np.testing.assert_array_equal(last, found.magmoms)
    assert 0.05 < float(largest) <= 0.3 + 1e-12


def test_a_watch_may_stop_it(magnetic, structures, graph_for):
    potential, graph = magnetic(2, 8), graph_for(structures(2))
    found, count = compiled(
        potential, graph, tolerance=1e-8,
        observe=_count, halt=_after_three, carry=jnp.int32(0),
    )  # fmt: skip
    assert int(count) == 3
    assert np.asarray(found.n_steps).tolist() == [3, 3, 3, 0]
    assert np.asarray(found.status).tolist() == [Status.STOPPED] * 3 + [Status.CONVERGED]


def _count(carry, graph, observables):
    return carry + 1


def _after_three(carry):
    return carry >= 3


def test_configurations_do_not_know_of_each_other(magnetic, structures, graph_for):
    potential, given = magnetic(2, 8), structures(2)
    together, _ = compiled(potential, graph_for(given), tolerance=1e-6)
    first = 0
    for k, structure in enumerate(given):
        graph = graph_for([structure])
        alone, _ = compiled(potential, graph, tolerance=1e-6)
        n = len(structure)
        np.testing.assert_allclose(
            together.magmoms[first : first + n], alone.magmoms[:n], rtol=0, atol=1e-9
        )
        assert int(together.n_steps[k]) == int(alone.n_steps[0])
        # Padding atoms and configurations are left alone.
        np.testing.assert_array_equal(alone.magmoms[n:], graph.magmoms[n:])
        assert np.asarray(alone.status)[1:].tolist() == [Status.CONVERGED] * 3
        assert not np.asarray(alone.n_steps)[1:].any()
        assert not np.asarray(alone.residual)[1:].any()
        first += n


def test_a_converged_start_costs_one_evaluation(magnetic, structures, graph_for):
    potential, graph = magnetic(2, 8), graph_for(structures(2))
    first, _ = compiled(potential, graph, tolerance=1e-6)
    again, _ = compiled(potential, graph._replace(magmoms=first.magmoms), tolerance=1e-6)
    assert np.asarray(again.n_steps).tolist() == [1, 1, 1, 0]
    np.testing.assert_array_equal(again.magmoms, first.magmoms)
    # What was learned of the curvature shortens the search after a small move of the atoms.
    moved = graph._replace(magmoms=first.magmoms, vectors=1.002 * np.asarray(graph.vectors))
    cold, _ = compiled(potential, moved, tolerance=1e-6)
    warm, _ = compiled(potential, moved, tolerance=1e-6, memory=first.memory)
    assert np.asarray(warm.n_steps).sum() < np.asarray(cold.n_steps).sum()
    assert warm.memory.steps.shape == (SIZE, 20)


def test_moments_reversed_at_the_start_are_reversed_at_the_end(magnetic, structures, graph_for):
    potential, graph = magnetic(2, 8, "symmetrised"), graph_for(structures(2))
    found, _ = compiled(potential, graph)
    reversed_, _ = compiled(potential, graph._replace(magmoms=-graph.magmoms))
    np.testing.assert_allclose(reversed_.magmoms, -found.magmoms, atol=1e-9)
    np.testing.assert_allclose(reversed_.energy, found.energy, rtol=1e-12)
    zero, _ = compiled(potential, graph._replace(magmoms=0 * graph.magmoms))
    assert np.asarray(zero.n_steps).tolist() == [1, 1, 1, 0]
    assert not np.asarray(zero.status).any()
    assert np.all(zero.energy[:3] > found.energy[:3])


def test_signs_are_kept_unless_flips_are_allowed(magnetic, structures, graph_for):
    """A bare potential with a slope in the moment of each atom: its minimum is at one side."""
    potential, graph = magnetic(1, 6, "bare"), graph_for(structures(1))
    tilted = np.array(potential.radial_coeffs)
    tilted[:, :, 0, 0, 1, 0] += 0.1
    potential = potential.replace(radial_coeffs=tilted)
    kept, _ = compiled(potential, graph)
    flipped, _ = compiled(potential, graph, allow_flips=True)
    n = int((graph.configuration < 4).sum())
    assert np.all(np.asarray(kept.magmoms * graph.magmoms)[:n] >= 0)
    assert np.any(np.asarray(flipped.magmoms * graph.magmoms)[:n] < 0)
    assert Status.HELD_AT_ZERO in np.asarray(kept.status)
    assert np.all(flipped.energy[:3] < kept.energy[:3])


def test_moments_stop_at_the_ends_of_their_intervals(magnetic, structures, graph_for):
    potential, graph = magnetic(1, 6, "symmetrised"), graph_for(structures(1))
    narrow = potential.with_intervals(np.array([-0.9]), np.array([1.1]))
    found, _ = compiled(narrow, graph)
    n = int((graph.configuration < 4).sum())
    m = np.asarray(found.magmoms)[:n]
    assert np.all((m >= -0.9) & (m <= 1.1))
    assert np.asarray(found.status)[:3].tolist() == [Status.HELD_AT_BOUND] * 3
    assert set(m) >= {-0.9, 1.1}


def test_concave_starts_are_left_downhill(magnetic, graph_for, structures):
    """Near zero the energy is a maximum in each moment."""
    potential, graph = magnetic(1, 6, "symmetrised"), graph_for(structures(1))
    small = graph._replace(magmoms=1e-3 * graph.magmoms)
    found, _ = compiled(potential, small, tolerance=1e-6)
    assert np.asarray(found.status)[:3].tolist() == [Status.CONVERGED] * 3
    n = int((graph.configuration < 4).sum())
    assert np.median(np.abs(found.magmoms[:n])) > 1.0


def test_limits_end_it(magnetic, structures, graph_for):
    potential, graph = magnetic(1, 6, "symmetrised"), graph_for(structures(1))
    found, _ = compiled(potential, graph, tolerance=1e-8, max_steps=4)
    assert np.asarray(found.status)[:3].tolist() == [Status.STEP_LIMIT] * 3
    assert int(found.n_steps.max()) == 4
    hopeless, _ = compiled(potential, graph, tolerance=1e-30)
    assert set(np.asarray(hopeless.status)[:3]) <= {Status.NO_DESCENT, Status.STEP_LIMIT}
    assert np.asarray(hopeless.residual).max() < 1e-9


def test_it_works_inside_scan(magnetic, structures, graph_for):
    potential, graph = magnetic(1, 6, "symmetrised"), graph_for(structures(1))
    graph = jax.tree.map(jnp.asarray, graph)

    def step(magmoms, scale):
        moved = graph._replace(magmoms=magmoms, vectors=scale * graph.vectors)
        found, _ = equilibrate_graph(potential, moved, tolerance=1e-6)
        return found.magmoms, found.energy

    last, energies = jax.jit(lambda: jax.lax.scan(step, graph.magmoms, jnp.array([1.0, 1.01])))()
    first, _ = compiled(potential, graph, tolerance=1e-6)
    np.testing.assert_allclose(energies[0], first.energy, rtol=1e-12)
    moved = graph._replace(magmoms=first.magmoms, vectors=1.01 * graph.vectors)
    np.testing.assert_allclose(
        last, compiled(potential, moved, tolerance=1e-6)[0].magmoms, atol=1e-9
    )


@pytest.mark.parametrize("dtype", ["float32", "mixed"])
def test_less_precision_reaches_its_documented_tolerance(dtype, magnetic, structures):
    potential, given = magnetic(2, 8), structures(2, sizes=(5, 8))
    # All-electron energies of thousands of eV per atom do not matter.
    potential = potential.replace(species_coeffs=np.array([-3385.9, -2346.1]))
    low = equilibrate_structures(potential, given, dtype=dtype)
    high = equilibrate_structures(potential, given)
    for one, other in zip(low, high, strict=True):
        assert one.status == other.status
        np.testing.assert_allclose(one.magmoms, other.magmoms, atol=0.02)
        assert one.result.energy == pytest.approx(other.result.energy, abs=1e-4)


def test_nothing_is_compiled_twice_for_one_shape(magnetic, structures):
    potential = magnetic(1, 6)
    equilibrator = StructureEquilibrator(potential, MomentOptions())
    # The widest first: narrower ones keep its shape.
    given = [structures(1, sizes=(8,), seed=seed)[0] for seed in (21, 22, 23)]
    given.sort(key=lambda s: neighbour_table(s, 4.0 + SKIN).index.shape[1], reverse=True)
    equilibrator(given[0])
    before = equilibrate_batch._cache_size()
    found = [equilibrator(s) for s in (*given[1:], replace(given[0], magmoms=np.full(8, 0.7)))]
    assert equilibrate_batch._cache_size() == before
    assert all(f.n_steps > 1 for f in found)
    other = StructureEquilibrator(magnetic(1, 6, seed=4), MomentOptions(1e-5, 50, 0.1))
    other(given[0])
    assert equilibrate_batch._cache_size() == before


# --- on ASE atoms -------------------------------------------------------------------


@pytest.fixture
def crystal():
    atoms = bulk("Fe", cubic=True, a=2.9) * (2, 1, 1)
    atoms.rattle(0.1, seed=1)
    atoms.set_initial_magnetic_moments([1.4, 1.3, 1.5, -1.8])
    return atoms


def test_atoms_come_back_as_copies_with_results(magnetic, crystal):
    potential, before = magnetic(1, 6), crystal.copy()
    found = mmtp.equilibrate(potential, crystal, tolerance=1e-6)
    assert crystal == before
    assert crystal.calc is None
    assert isinstance(found, mmtp.results.Equilibration)
    assert found.converged
    assert "below the tolerance" in found.message
    np.testing.assert_array_equal(found.start_magmoms, before.get_initial_magnetic_moments())
    atoms = found.atoms
    np.testing.assert_array_equal(atoms.get_magnetic_moments(), found.magmoms)
    np.testing.assert_array_equal(atoms.get_initial_magnetic_moments(), found.magmoms)
    (expected,) = mmtp.evaluate(potential, atoms)
    assert atoms.get_potential_energy() == found.energy == pytest.approx(expected.energy)
    np.testing.assert_allclose(atoms.get_forces(), expected.forces, atol=1e-10)
    np.testing.assert_allclose(atoms.get_stress(), expected.stress, atol=1e-12)
    assert np.abs(expected.magnetic_forces).max() == pytest.approx(found.residual, abs=1e-10)
    several = mmtp.equilibrate(potential, [crystal, atoms], tolerance=1e-6)
    assert [result.n_steps for result in several][1] == 1
    np.testing.assert_allclose(several[0].magmoms, found.magmoms, atol=1e-8)
    assert mmtp.equilibrate(potential, []) == []


def test_the_start_can_be_chosen(magnetic, crystal):
    potential = magnetic(2, 6)
    crystal.symbols[2] = "Al"
    found = mmtp.equilibrate(potential, crystal, start={"Fe": 2.0, "Al": -0.4}, scale=0.5)
    np.testing.assert_array_equal(found.start_magmoms, [1.0, 1.0, -0.2, 1.0])
    scaled = mmtp.equilibrate(potential, crystal, scale=0.5)
    np.testing.assert_allclose(scaled.start_magmoms, [0.7, 0.65, 0.75, -0.9])
    labelled = crystal.copy()
    del labelled.arrays["initial_magmoms"]
    with pytest.raises(ValueError, match="configuration 1: no magnetic moments to start from"):
        mmtp.equilibrate(potential, labelled)
    labelled.calc = SinglePointCalculator(labelled, energy=0.0, magmoms=np.full(4, 1.2))
    found = mmtp.equilibrate(potential, labelled)
    np.testing.assert_array_equal(found.start_magmoms, 1.2)
    with pytest.raises(ValueError, match="start gives no moment for Al"):
        mmtp.equilibrate(potential, crystal, start={"Fe": 2.0})
    with pytest.raises(ValueError, match="start has a moment for Cr"):
        mmtp.equilibrate(potential, crystal, start={"Cr": 2.0})
    with pytest.raises(ValueError, match="tolerance must be positive"):
        mmtp.equilibrate(potential, crystal, tolerance=0.0)


def test_a_callback_hears_of_each_batch_and_pairs_that_are_too_close_warn(magnetic, crystal):
    potential, heard = magnetic(1, 6), []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mmtp.equilibrate(potential, [crystal] * 3, callback=heard.append)
    assert heard == [3]
    close = crystal.copy()
    close.set_cell(0.6 * close.cell.array, scale_atoms=True)
    with pytest.warns(mmtp.ExtrapolationWarning, match="closer than min_dist"):
        mmtp.equilibrate(potential, close, max_steps=2)


def test_a_minimum_that_confinement_makes_does_not_count(running_iron) -> None:
    ferromagnet = bulk("Fe", a=2.8, cubic=True)
    ferromagnet.set_initial_magnetic_moments([2.5, 2.5])
    held = mmtp.equilibrate(running_iron, ferromagnet)
    assert held.status == Status.HELD_AT_BOUND
    with pytest.warns(mmtp.ExtrapolationWarning, match="largest 3.05"):
        found = mmtp.equilibrate(with_confinement(running_iron), ferromagnet)
    assert found.status == Status.OUTSIDE
    assert not found.converged
    assert found.residual < 1e-3
    assert 3.0 < found.magmoms[0] < 3.45
    assert "where its confinement holds them" in found.message
    assert "the moment of atom 0 (Fe), 3.05" in found.message
    confined = with_confinement(running_iron)
    for follow in (False, True):
        atoms = ferromagnet.copy()
        atoms.calc = mmtp.MMTPCalculator(confined, equilibrate=True, follow=follow)
        with pytest.warns(mmtp.EquilibrationWarning, match="where its confinement holds them"):
            assert atoms.get_potential_energy() == pytest.approx(found.energy, abs=1e-6)
    with pytest.raises(ValueError, match=r"could be equilibrated.*where its confinement holds"):
        mmtp.sample_disorder(confined, ferromagnet, n=4)
