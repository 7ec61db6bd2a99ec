"""Pure functions for JAX users: values, derivatives, neighbours that hold, losses, precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax.interfaces import functional
from mmtp_jax.structures.results import VOIGT

STEP = 1e-5


@pytest.fixture(scope="module")
def potential(random_potential):
    return random_potential(3, level=4, n_species=2)


@pytest.fixture(scope="module")
def cells() -> list[Atoms]:
    """Two crystals of different sizes, and a cluster."""
    found = []
    for seed, atoms in enumerate(
        (bulk("Fe", cubic=True), bulk("Fe", cubic=True, a=2.8) * (2, 1, 1), Atoms("Fe3"))
    ):
        rng = np.random.default_rng(seed)
        if seed == 2:
            atoms.positions = [[0, 0, 0], [2.2, 0, 0.1], [0.3, 2.4, 0]]
        atoms.rattle(0.05, seed=seed)
        atoms.symbols[1] = "Al"
        atoms.set_initial_magnetic_moments(rng.uniform(-2, 2, len(atoms)))
        found.append(atoms)
    return found


@pytest.fixture(scope="module")
def graph(potential, cells):
    return mmtp.graph(potential, cells)


@pytest.fixture(scope="module")
def found(potential, graph):
    return mmtp.observables(potential, graph)


def test_values_are_those_of_evaluate(potential, cells, graph, found):
    expected = mmtp.evaluate(potential, cells)
    energies = mmtp.energy(potential, graph)
    np.testing.assert_allclose(energies, [r.energy for r in expected], atol=1e-12)
    np.testing.assert_allclose(found.energy, energies, atol=1e-12)
    for k, result in enumerate(expected):
        np.testing.assert_allclose(graph.split(found.forces)[k], result.forces, atol=1e-12)
        np.testing.assert_allclose(
            graph.split(found.magnetic_forces)[k], result.magnetic_forces, atol=1e-12
        )
        if result.stress is None:
            assert not np.any(found.stress[k])
        else:
            np.testing.assert_allclose(found.stress[k][VOIGT], result.stress, atol=1e-12)


def test_derivatives_by_positions_cell_and_moments(potential, graph, found):
    def total(positions, magmoms, strain):
        deformation = jnp.eye(3) + strain
        there, _ = mmtp.move(graph, positions @ deformation, graph.cell @ deformation, magmoms)
        return mmtp.energy(potential, there)[:2].sum()

    zero = jnp.zeros((3, 3))
    by = jax.grad(total, argnums=(0, 1, 2))(graph.positions, graph.magmoms, zero)
    n = int(graph.n_atoms[:2].sum())
    np.testing.assert_allclose(-by[0][:n], found.forces[:n], atol=1e-11)
    np.testing.assert_allclose(-by[1][:n], found.magnetic_forces[:n], atol=1e-11)
    volumes = np.abs(np.linalg.det(graph.cell[:2]))
    virial = (volumes[:, None, None] * found.stress[:2]).sum(axis=0)
    np.testing.assert_allclose((by[2] + by[2].T) / 2, virial, atol=1e-10)


def test_observables_are_differentiable_by_all_that_they_depend_on(potential, graph):
    rng = np.random.default_rng(1)
    weights = jax.tree.map(lambda a: rng.normal(size=a.shape), mmtp.observables(potential, graph))
    theta = potential.flatten()

    @jax.jit
    def weighted(theta, positions, magmoms):
        there, _ = mmtp.move(graph, positions=positions, magmoms=magmoms)
        values = mmtp.observables(potential.unflatten(theta), there)
        return sum(jnp.sum(w * v) for w, v in zip(weights, values, strict=True))

    start = (theta, graph.positions, graph.magmoms)
    slopes = jax.grad(weighted, argnums=(0, 1, 2))(*start)
    for k, slope in enumerate(slopes):
        direction = rng.normal(size=slope.shape)

        def along(step, k=k, direction=direction):
            there = list(start)
            there[k] = there[k] + step * direction
            return weighted(*there)

        central = (along(STEP) - along(-STEP)) / (2 * STEP)
        assert float(jnp.sum(slope * direction)) == pytest.approx(float(central), rel=1e-6)


def test_second_derivatives_agree(potential, graph):
    def total(magmoms):
        return mmtp.energy(potential, mmtp.move(graph, magmoms=magmoms)[0]).sum()

    def forces(magmoms):
        return mmtp.observables(potential, mmtp.move(graph, magmoms=magmoms)[0]).magnetic_forces

    second = jax.hessian(total)(graph.magmoms)
    np.testing.assert_allclose(-jax.jacfwd(forces)(graph.magmoms), second, atol=1e-10)


def test_stacked_graphs_go_through_vmap(potential, cells, graph):
    stacked = mmtp.graph(potential, cells, stack=True)
    energies = jax.vmap(mmtp.energy, (None, 0))(potential, stacked)
    np.testing.assert_allclose(energies[:, 0], mmtp.energy(potential, graph), atol=1e-12)


def test_equal_shapes_share_one_program(potential, cells):
    first, other = cells[:2]
    size, width = 8, 64
    mmtp.energy(potential, mmtp.graph(potential, first, n_atoms=size, width=width))
    programs = functional._energy._cache_size()
    padded = mmtp.graph(potential, other, n_atoms=size, width=width)
    energy = mmtp.energy(potential, padded)
    assert functional._energy._cache_size() == programs
    assert float(energy[0]) == pytest.approx(mmtp.evaluate(potential, other)[0].energy, abs=1e-12)
    assert len(padded.split(padded.positions)[0]) == len(other)


def test_moves_within_the_skin_are_exact_and_larger_ones_are_told(potential, cells):
    graph = mmtp.graph(potential, cells[:2], skin=0.4)
    rng = np.random.default_rng(4)
    step = rng.normal(size=graph.positions.shape)
    step *= 0.15 / np.linalg.norm(step, axis=1, keepdims=True)
    there, missed = mmtp.move(graph, positions=graph.positions + step)
    assert not missed.any()
    moved = [atoms.copy() for atoms in cells[:2]]
    for atoms, positions in zip(moved, graph.split(there.positions), strict=True):
        atoms.positions = positions
    expected = [r.energy for r in mmtp.evaluate(potential, moved)]
    np.testing.assert_allclose(mmtp.energy(potential, there), expected, atol=1e-12)
    far = graph.positions.at[0, 0].add(0.25)
    assert mmtp.move(graph, positions=far)[1].tolist() == [True, False]
    assert mmtp.move(graph, positions=far * jnp.nan)[1].all()
    assert mmtp.move(graph, cell=graph.cell * 1.2)[1].all()
    without = mmtp.graph(potential, cells[:2], skin=0.0)
    assert not mmtp.move(without, magmoms=-without.magmoms)[1].any()
    assert mmtp.move(without, positions=without.positions.at[0, 0].add(1e-6))[1].tolist() == [
        True, False,
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"positions has shape \(2, 3\)"):
        mmtp.move(graph, positions=far[:2])


@pytest.fixture(scope="module")
def labels(potential, cells, labelled_atoms):
    return labelled_atoms(potential, cells)


@pytest.fixture(scope="module")
def labelled_atoms():
    from ase.calculators.singlepoint import SinglePointCalculator

    def of(potential, cells):
        found = []
        for atoms, result in zip(cells, mmtp.evaluate(potential, cells), strict=True):
            atoms = atoms.copy()
            atoms.calc = SinglePointCalculator(
                atoms,
                energy=result.energy + 0.3,
                forces=1.1 * result.forces,
                magmoms=atoms.get_initial_magnetic_moments(),
            )
            found.append(atoms)
        return found

    return of


def test_the_loss_is_that_of_a_fit(potential, labels):
    weights = mmtp.Weights(energy=1.0, forces=0.02)
    targets = mmtp.targets(labels, weights, potential=potential)
    theta = jnp.asarray(potential.flatten())
    both = jax.jit(jax.value_and_grad(lambda t, data: mmtp.loss(potential.unflatten(t), data)))
    value, slope = both(theta, targets)
    results = mmtp.evaluate(potential, labels)
    energy = sum(0.3**2 / len(atoms) for atoms in labels)
    forces = sum(float(np.sum((0.1 * r.forces) ** 2)) for r in results)
    assert float(value) == pytest.approx((energy + 0.02 * forces) / len(labels), rel=1e-9)
    direction = theta * np.random.default_rng(2).normal(size=theta.shape)
    up, down = (both(theta + step * direction, targets)[0] for step in (STEP, -STEP))
    assert float(slope @ direction) == pytest.approx(float(up - down) / (2 * STEP), rel=1e-6)
    # Neighbours are searched when the potential is known.
    later = mmtp.targets(labels, weights)
    assert float(mmtp.loss(potential, later)) == pytest.approx(float(value), rel=1e-12)


def test_targets_that_do_not_fit_are_refused(potential, labels):
    later = mmtp.targets(labels)
    with pytest.raises(ValueError, match="make them with mmtp"):
        jax.jit(mmtp.loss)(potential, later)
    packed = mmtp.targets(labels, potential=potential)
    leaves, tree = jax.tree.flatten(packed)
    copy = jax.tree.unflatten(tree, leaves)
    with pytest.raises(ValueError, match="not packed for the species and the cutoff"):
        mmtp.loss(potential.replace(cutoff=np.float64(3.0)), copy)


@pytest.mark.parametrize("dtype", ["float32", "mixed"])
def test_lower_precision_keeps_the_digits_of_large_energies(potential, cells, dtype):
    heavy = potential.replace(species_coeffs=potential.species_coeffs - 3385.0)
    graph = mmtp.graph(heavy, cells[:2], dtype=dtype)
    expected = [r.energy for r in mmtp.evaluate(heavy, cells[:2])]
    np.testing.assert_allclose(mmtp.energy(heavy, graph), expected, atol=2e-4)
    assert mmtp.observables(heavy, graph).forces.dtype == np.float32


def test_float64_that_jax_would_truncate_is_refused(potential, cells):
    with jax.enable_x64(False), pytest.raises(ValueError, match="JAX is limited to 32 bits"):
        mmtp.graph(potential, cells)


def test_vectors_as_pure_functions(random_potential):
    """Torques on moments that turn together cancel: the energy does not depend on that turn."""
    potential = random_potential(3, form="parity", magnetic_size=3, n_species=1)
    atoms = bulk("Fe", cubic=True, a=2.8)
    atoms.rattle(0.05, seed=1)
    del atoms.arrays["initial_magmoms"]  # ASE's, of another shape
    atoms.set_initial_magnetic_moments([[0, 0, 2.0], [1.0, 0.5, 0]])
    with mmtp.double_precision():
        graph = mmtp.graph(potential, atoms)
        assert graph.magmoms.shape == (2, 3)

        def energy(magmoms):
            return mmtp.energy(potential, mmtp.move(graph, magmoms=magmoms)[0])[0]

        slope = jax.grad(energy)(graph.magmoms)
        forces = mmtp.observables(potential, graph).magnetic_forces
        np.testing.assert_allclose(slope, -forces, rtol=1e-12)
        torques = np.cross(graph.magmoms, forces)
        assert np.abs(torques).max() > 1e-3
        np.testing.assert_allclose(torques.sum(axis=0), 0.0, atol=1e-12)
        expected = mmtp.evaluate(potential, atoms)[0]
        np.testing.assert_allclose(energy(graph.magmoms), expected.energy, rtol=1e-13)
    other = atoms.copy()
    del other.arrays["initial_magmoms"]
    other.set_initial_magnetic_moments([2.0, 1.0])
    with pytest.raises(ValueError, match="vectors in some configurations and numbers in others"):
        mmtp.graph(potential, [atoms, other])
