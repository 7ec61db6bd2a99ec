"""Derivatives of the energy against finite differences, and of the observables in the parameters.

Finite differences move atoms, cell and moments of the structure itself and search the neighbours
again, so they also check how the derivatives of rows are sent back to atoms.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmtp_jax.potential.displacement import displaced, observables_along
from mmtp_jax.potential.energy import site_energies
from mmtp_jax.potential.jacobian import energy_jacobian, site_jacobian
from mmtp_jax.potential.observables import (
    Observables,
    energies,
    evaluate,
    evaluate_graph,
    neighborhoods,
    observables,
    parameter_gradient,
)

FD_TOLERANCE = 1e-8
MARGIN = 6e-3
"""Angstrom, more than what finite differences move a neighbour by."""

POTENTIALS = {
    "bare": {"form": "bare", "level": 6, "radial_size": 3, "intervals": "asymmetric"},
    "symmetrised": {"form": "symmetrised", "level": 6, "radial_size": 3, "intervals": "asymmetric"},
}


@pytest.fixture(scope="module", params=list(POTENTIALS))
def potential(request, random_potential):
    return random_potential(11, **POTENTIALS[request.param])


@pytest.fixture(scope="module")
def small_potential(random_potential):
    return random_potential(13, level=4, radial_size=3, intervals="asymmetric")


def central_difference(function, step=5e-4):
    """The derivative at 0, up to the fourth power of the step."""
    near, far = (function(h) - function(-h) for h in (step, 2 * step))
    return (8 * near - far) / (12 * step)


# --- positions, cell and moments ----------------------------------------------------


@pytest.fixture
def energy_of(potential, graph_of, energies_of):
    return lambda structure: float(energies_of(potential, graph_of(structure))[0])


@pytest.mark.parametrize("periodic", [True, False], ids=["periodic", "cluster"])
def test_forces_are_minus_the_derivative_in_the_positions(
    periodic, potential, random_structure, energy_of, evaluated, relative_error
):
    structure = random_structure(1, 4, periodic=periodic, margin=MARGIN)
    expected = np.zeros((4, 3))
    for atom, axis in np.ndindex(4, 3):

        def moved(step, atom=atom, axis=axis):
            positions = structure.positions.copy()
            positions[atom, axis] += step
            return energy_of(replace(structure, positions=positions))

        expected[atom, axis] = -central_difference(moved)
    got = evaluated(potential, structure)["forces"]
    assert relative_error(got, expected) < FD_TOLERANCE
    # The sum is round-off of numbers of the size of the forces.
    assert np.abs(got.sum(axis=0)).max() < 1e-12 * np.abs(got).max()


@pytest.mark.parametrize("n_atoms", [1, 4])
def test_stress_is_the_derivative_in_the_strain(
    n_atoms, potential, random_structure, energy_of, evaluated, relative_error
):
    structure = random_structure(2, n_atoms, margin=MARGIN)
    expected = np.zeros((3, 3))
    for a, b in np.ndindex(3, 3):

        def strained(step, a=a, b=b):
            strain = np.eye(3)
            strain[a, b] += step / 2
            strain[b, a] += step / 2
            return energy_of(
                replace(
                    structure,
                    cell=structure.cell @ strain.T,
                    positions=structure.positions @ strain.T,
                )
            )

        expected[a, b] = central_difference(strained) / structure.volume
    assert relative_error(evaluated(potential, structure)["stress"], expected) < FD_TOLERANCE


def test_magnetic_forces_are_minus_the_derivative_in_the_moments(
    potential, random_structure, energy_of, evaluated, relative_error
):
    structure = random_structure(3, 4)
    expected = np.zeros(4)
    for atom in range(4):

        def turned(step, atom=atom):
            magmoms = structure.magmoms.copy()
            magmoms[atom] += step
            return energy_of(replace(structure, magmoms=magmoms))

        expected[atom] = -central_difference(turned)
    assert (
        relative_error(evaluated(potential, structure)["magnetic_forces"], expected) < FD_TOLERANCE
    )


def test_hessian_in_positions_and_moments_is_the_derivative_of_the_forces(
    potential, random_structure, graph_of, evaluated, relative_error
):
    """H_RR, H_RM and H_MM, of which the adiabatic Hessian is made."""
    structure = random_structure(5, 3, margin=MARGIN)
    n = len(structure)
    graph = graph_of(structure)

    def total(point):
        shift = jnp.zeros((len(graph.types), 3)).at[:n].set(point[: 3 * n].reshape(n, 3))
        change = jnp.zeros(len(graph.types)).at[:n].set(point[3 * n :])
        return energies(potential, displaced(graph, shift, change)).sum()

    hessian = jax.jit(jax.hessian(total))(jnp.zeros(4 * n))
    assert relative_error(hessian, hessian.T) < 1e-12

    expected = np.zeros((4 * n, 4 * n))
    for k, direction in enumerate(np.eye(4 * n)):

        def gradient(step, direction=direction):
            positions = structure.positions + step * direction[: 3 * n].reshape(n, 3)
            magmoms = structure.magmoms + step * direction[3 * n :]
            got = evaluated(potential, replace(structure, positions=positions, magmoms=magmoms))
            return -np.concatenate([got["forces"].ravel(), got["magnetic_forces"]])

        expected[k] = central_difference(gradient)
    assert relative_error(hessian, expected) < FD_TOLERANCE


def test_observables_along_a_direction_are_differences_of_observables(
    random_potential, random_structure, graph_of, evaluated, relative_error
):
    """Atoms, moments and strain at once; the stress changes with the volume, too."""
    potential = random_potential(12, level=4, radial_size=3, intervals="asymmetric")
    structure = random_structure(6, 4, margin=MARGIN)
    graph = jax.tree.map(jnp.asarray, graph_of(structure))
    rng = np.random.default_rng(6)
    moves, turns = rng.normal(size=(8, 3)), rng.normal(size=8)
    strain = 0.3 * rng.normal(size=(3, 3))
    value, along = jax.jit(observables_along)(potential, graph, moves, turns, strain[None])

    def there(step):
        deformation = np.eye(3) + step * strain
        moved = replace(
            structure,
            cell=structure.cell @ deformation.T,
            positions=structure.positions @ deformation.T + step * moves[:4],
            magmoms=structure.magmoms + step * turns[:4],
        )
        return evaluated(potential, moved)

    here = there(0.0)
    for kind in ("forces", "magnetic_forces", "stress"):

        def of_kind(step, kind=kind):
            return there(step)[kind]

        expected = central_difference(of_kind, 2e-4)
        got = getattr(along, kind)[0] if kind == "stress" else getattr(along, kind)[:4]
        assert relative_error(got, expected) < 1e-7, kind
    assert float(value.energy[0]) == pytest.approx(here["energy"], rel=1e-13)
    slope = -np.vdot(here["forces"], moves[:4]) - here["magnetic_forces"] @ turns[:4]
    slope += structure.volume * np.vdot(here["stress"], strain)
    assert float(along.energy[0]) == pytest.approx(slope, rel=1e-11)


def test_hessian_of_one_site_energy_in_the_moments_matches_differences(
    small_potential, random_structure, graph_of, relative_error
):
    structure = random_structure(5, 3)
    graph = graph_of(structure)

    def sites(magmoms):
        return site_energies(small_potential, neighborhoods(graph._replace(magmoms=magmoms)))[:3]

    at = jnp.asarray(graph.magmoms)
    hessian = np.asarray(jax.jit(jax.hessian(sites))(at))[:, :3, :3]
    assert relative_error(hessian, np.swapaxes(hessian, 1, 2)) < 1e-12
    compiled = jax.jit(sites)
    for a, b in np.ndindex(3, 3):

        def slope(step, a=a, b=b):
            there = at.at[a].add(step)
            return central_difference(lambda h: np.asarray(compiled(there.at[b].add(h))), 1e-2)

        # In one moment the site energy is a polynomial of low degree, so large steps are fine.
        expected = central_difference(slope, 1e-2)
        assert relative_error(hessian[:, a, b], expected) < 1e-6


# --- parameters ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_configurations(random_structure, graph_of):
    return graph_of([random_structure(6, 3), random_structure(7, 4)], n_conf=2)


def uneven(values: Observables):
    """A loss in which every number of every observable counts, and not quadratically."""
    rng = np.random.default_rng(0)
    return sum(
        jnp.sum(rng.normal(size=leaf.shape) * jnp.sin(leaf) + 0.1 * leaf**3) for leaf in values
    )


def with_rule(theta, potential, graph, chunk=None):
    return uneven(observables(theta, potential, graph, chunk))


def by_autodiff(theta, potential, graph):
    """The same without our derivative rule: reverse over reverse."""
    return uneven(evaluate(potential.unflatten(theta), graph)[1])


@pytest.fixture(scope="module")
def theta(small_potential):
    return jnp.asarray(small_potential.flatten())


@pytest.fixture(scope="module")
def plain_gradient(theta, small_potential, two_configurations):
    return jax.jit(jax.grad(by_autodiff))(theta, small_potential, two_configurations)


def test_gradient_in_the_parameters_is_that_of_plain_autodiff(
    theta, small_potential, two_configurations, plain_gradient, relative_error
):
    gradient = jax.jit(jax.grad(with_rule))(theta, small_potential, two_configurations)
    assert np.count_nonzero(gradient) > 0.9 * theta.size
    assert relative_error(gradient, plain_gradient) < 1e-11


def test_graphs_of_numpy_arrays_may_be_closed_over_and_cut_into_blocks(
    theta, small_potential, two_configurations, plain_gradient, relative_error
):
    """Batches hold numpy arrays; a user's loss need not pass them as arguments."""
    assert isinstance(two_configurations.types, np.ndarray)

    def loss(theta):
        return with_rule(theta, small_potential, two_configurations, 4)

    assert relative_error(jax.jit(jax.grad(loss))(theta), plain_gradient) < 1e-11
    sites, _ = evaluate_graph(small_potential, two_configurations)
    again, _ = jax.jit(lambda p: evaluate(p, two_configurations, 4))(small_potential)
    assert relative_error(again, sites) < 1e-13


def test_gradient_of_the_bare_potential_is_that_of_plain_autodiff(
    random_potential, random_structure, graph_of, relative_error
):
    graph = graph_of(random_structure(8, 3, n_species=1))
    potential = random_potential(17, level=6, radial_size=2, n_species=1, form="bare")
    theta = jnp.asarray(potential.flatten())
    got, expected = (
        jax.jit(jax.grad(loss))(theta, potential, graph) for loss in (with_rule, by_autodiff)
    )
    assert relative_error(got, expected) < 1e-11


def test_gradient_in_the_parameters_is_a_finite_difference(
    theta, small_potential, two_configurations, plain_gradient
):
    direction = np.random.default_rng(1).normal(size=theta.shape)
    loss = jax.jit(by_autodiff)

    def along(step):
        return float(loss(theta + step * direction, small_potential, two_configurations))

    expected = central_difference(along, 1e-4)
    assert float(plain_gradient @ direction) == pytest.approx(expected, rel=1e-7)


def test_forward_mode_and_its_adjoint_agree_with_plain_autodiff(
    theta, small_potential, two_configurations, relative_error
):
    rng = np.random.default_rng(2)
    direction = jnp.asarray(rng.normal(size=theta.shape))

    @jax.jit
    def forward(theta, direction):
        def ours(t):
            return observables(t, small_potential, two_configurations)

        def plain(t):
            return evaluate(small_potential.unflatten(t), two_configurations)[1]

        return (
            jax.jvp(ours, (theta,), (direction,))[1],
            jax.jvp(plain, (theta,), (direction,))[1],
        )

    got, expected = forward(theta, direction)
    for kind, a, b in zip(Observables._fields, got, expected, strict=True):
        assert relative_error(a, b) < 1e-11, kind

    # <w, J v> = <J^T w, v>
    cotangents = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), got)
    back = jax.jit(parameter_gradient)(theta, small_potential, two_configurations, cotangents)
    left = sum(float(jnp.vdot(w, jv)) for w, jv in zip(cotangents, got, strict=True))
    assert float(back @ direction) == pytest.approx(left, rel=1e-11)


def test_second_derivatives_in_the_parameters_agree_with_plain_autodiff(
    random_potential, random_structure, graph_of, relative_error
):
    potential = random_potential(19, level=2, n_species=1, radial_size=2)
    graph = graph_of(random_structure(8, 3, n_species=1))
    theta = jnp.asarray(potential.flatten())
    direction = jnp.asarray(np.random.default_rng(3).normal(size=theta.shape))

    def hessian_times(loss):
        return jax.jit(
            lambda t, d: jax.jvp(jax.grad(lambda u: loss(u, potential, graph)), (t,), (d,))[1]
        )(theta, direction)

    assert relative_error(hessian_times(with_rule), hessian_times(by_autodiff)) < 1e-10


def test_vmap_over_the_parameters_is_a_loop(
    random_potential, random_structure, graph_of, relative_error
):
    """Ensembles: values and gradients of several parameter sets on one graph."""
    potential = random_potential(23, level=2, n_species=1, radial_size=2)
    graph = graph_of(random_structure(9, 3, n_species=1))
    rng = np.random.default_rng(4)
    thetas = jnp.asarray(potential.flatten() * rng.uniform(0.5, 1.5, (3, potential.n_parameters)))

    def of_one(theta):
        predicted = observables(theta, potential, graph)
        return predicted, jax.grad(with_rule)(theta, potential, graph)

    together = jax.jit(jax.vmap(of_one))(thetas)
    alone = jax.jit(of_one)
    for k, theta in enumerate(thetas):
        leaves = zip(jax.tree.leaves(together), jax.tree.leaves(alone(theta)), strict=True)
        for a, b in leaves:
            assert relative_error(a[k], b) < 1e-12


def test_rows_of_site_energies_are_those_of_plain_autodiff(
    random_potential, random_structure, graph_of, relative_error
):
    """Per neighbourhood, two radial functions, the bare energy."""
    potential = random_potential(24, level=6, radial_size=2, form="bare")
    graph = graph_of(random_structure(9, 3))
    theta = jnp.asarray(potential.flatten())
    expected = jax.jit(
        jax.jacrev(lambda t: site_energies(potential.unflatten(t), neighborhoods(graph)))
    )(theta)
    got = jax.jit(site_jacobian)(potential, graph)
    assert relative_error(got[:3], expected[:3]) < 1e-12
    # Euler: site energies are linear in e0 and xi together.
    n_linear = potential.n_species + len(potential.moment_coeffs)
    sites = jax.jit(lambda p: site_energies(p, neighborhoods(graph)))(potential)
    np.testing.assert_allclose(got[:, :n_linear] @ theta[:n_linear], sites, rtol=1e-11, atol=1e-12)


def test_parameter_gradient_of_energies_alone_is_the_row_of_the_design_matrix(
    theta, small_potential, two_configurations, relative_error
):
    """dE/dtheta, what active learning is built on."""
    got = jax.jit(jax.jacrev(lambda t: energies(small_potential.unflatten(t), two_configurations)))(
        theta
    )
    zero = Observables(
        jnp.zeros(2),
        jnp.zeros((len(two_configurations.types), 3)),
        jnp.zeros((2, 3, 3)),
        jnp.zeros(len(two_configurations.types)),
    )
    gradient = jax.jit(parameter_gradient)
    for k in range(2):
        cotangents = zero._replace(energy=zero.energy.at[k].set(1.0))
        row = gradient(theta, small_potential, two_configurations, cotangents)
        assert relative_error(row, got[k]) < 1e-12
    for chunk in (None, 4):
        rows = jax.jit(energy_jacobian, static_argnums=2)(
            small_potential, two_configurations, chunk
        )
        assert relative_error(rows, got) < 1e-12
    sites = jax.jit(site_jacobian)(small_potential, two_configurations)
    assert sites.shape == (len(two_configurations.types), theta.size)
    for k in range(2):
        inside = two_configurations.configuration == k
        assert relative_error(sites[inside].sum(axis=0), got[k]) < 1e-12
    # e0 enters as the number of atoms of each species.
    n_species = small_potential.n_species
    counts = [
        np.bincount(two_configurations.types[two_configurations.configuration == k], minlength=2)
        for k in range(2)
    ]
    np.testing.assert_allclose(got[:, :n_species], counts, rtol=1e-14)
