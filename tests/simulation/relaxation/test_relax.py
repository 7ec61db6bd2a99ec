"""Relaxation: gradients, minima against scans, constraints, pressure, batches, reasons to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise

import jax
import numpy as np
import pytest
from scipy.linalg import expm
from scipy.optimize import minimize_scalar
from scipy.spatial.transform import Rotation

from mmtp_jax.fitting.confine import with_confinement
from mmtp_jax.interfaces.evaluation import evaluate_graph, evaluate_structures
from mmtp_jax.potential.observables import evaluate
from mmtp_jax.simulation.constants import GPA
from mmtp_jax.simulation.moments.options import MomentOptions
from mmtp_jax.simulation.moments.structures import equilibrate_structures
from mmtp_jax.simulation.relaxation.cell import AXES, CELLS, basis_of
from mmtp_jax.simulation.relaxation.coordinates import (
    enthalpy,
    geometry_of,
    gradient_of,
    parts,
    start_coordinates,
)
from mmtp_jax.simulation.relaxation.loop import relax_steps
from mmtp_jax.simulation.relaxation.options import RelaxOptions
from mmtp_jax.simulation.relaxation.run import RelaxModel, RelaxRun
from mmtp_jax.simulation.relaxation.status import RelaxStatus
from mmtp_jax.simulation.relaxation.structures import relax_structures as relax
from mmtp_jax.structures import list_maker
from mmtp_jax.structures.neighbour_list import (
    find_neighbours,
    graph_at,
    longest_step,
    used_skin,
)
from mmtp_jax.structures.structure import Structure

SHAPE = (32, 4, 64)
"""Of all batches here, so that they share one program."""
relax_structures = partial(relax, shape=SHAPE)

TIGHT = {"force_tolerance": 1e-5, "stress_tolerance_GPa": 1e-4, "magnetic_tolerance": 1e-6}


@pytest.fixture(scope="module")
def bcc() -> Callable[..., Structure]:
    """bcc(seed, repeats, ...): a rattled and strained crystal of iron, FM or AFM."""

    def of(
        seed: int = 0,
        repeats: tuple[int, int, int] = (2, 2, 2),
        lattice: float = 2.85,
        rattle: float = 0.04,
        strain: float = 0.02,
        afm: bool = False,
        moment: float = 2.2,
    ) -> Structure:
        rng = np.random.default_rng(seed)
        axes = [np.arange(n) for n in repeats]
        corners = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        sites = np.concatenate([corners, corners + 0.5]) * lattice
        deformation = np.eye(3) + rng.normal(0.0, strain, (3, 3))
        signs = np.repeat([1.0, -1.0 if afm else 1.0], len(corners))
        return Structure(
            cell=np.diag(repeats) * lattice @ deformation,
            periodic=np.ones(3, bool),
            positions=(sites + rng.normal(0.0, rattle, sites.shape)) @ deformation,
            types=np.zeros(len(sites), np.int32),
            magmoms=moment * signs,
            name=f"bcc {seed}",
        )

    return of


def volume_of(structure: Structure) -> float:
    return abs(float(np.linalg.det(structure.cell)))


def stress_matrix(result) -> np.ndarray:
    xx, yy, zz, yz, xz, xy = result.stress
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


# --- coordinates --------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["full", "xx yz"])
def test_gradient_is_the_derivative_of_the_enthalpy(cell, random_potential, random_structure):
    """Far from the origin of the coordinates, for configurations of different sizes."""
    seed = 5
    rng = np.random.default_rng(seed)
    potential = jax.device_put(random_potential(seed, level=4))
    structures = [random_structure(seed + k, n, margin=0.08) for k, n in enumerate((3, 5))]
    options = RelaxOptions(cell=cell, pressure_GPa=30.0, moments="fixed")
    run = RelaxRun(RelaxModel(potential, options), structures, (8, 3))
    problem, magmoms = run.problem, np.asarray(run.state.at.magmoms)
    start = np.array(start_coordinates(problem, run.state.at.geometry.positions))
    start[:24] = np.concatenate([s.positions for s in structures]).ravel()
    start[24:] += rng.normal(0.0, 0.3, len(start) - 24)

    at_start = geometry_of(problem, start)
    moved = [
        replace(s, positions=np.asarray(at_start.positions)[a:b], cell=np.asarray(at_start.cell)[k])
        for k, (s, (a, b)) in enumerate(zip(structures, pairwise(run.offsets), strict=True))
    ]
    near = find_neighbours(moved, float(potential.cutoff), 0.5, n_atoms=8, n_configurations=3)

    @jax.jit
    def values(z):
        geometry = geometry_of(problem, z)
        result = evaluate(potential, _graph(problem, near, geometry, magmoms))[1]
        total = enthalpy(problem, result.energy, geometry.volume)
        return total, gradient_of(problem, z, geometry, result), result

    def total(z):
        return np.asarray(values(z)[0])

    _, (gradient, excess), result = jax.device_get(values(start))
    owner = np.concatenate([np.repeat(problem.configuration, 3), np.repeat([0, 1, 2], 6)])
    h = 1e-5
    for k in [*rng.choice(24, 4, replace=False), *range(24, 36)]:
        step = np.zeros_like(start)
        step[k] = h
        slope = (total(start + step) - total(start - step)) / (2 * h)
        expected = np.zeros(3)
        expected[owner[k]] = gradient[k]
        np.testing.assert_allclose(slope[:2], expected[:2], rtol=2e-5, atol=2e-6, err_msg=f"{k}")
    # The allowed part of sigma + p, a projection.
    full = np.asarray(result.stress)[:2] + 30.0 * GPA * np.eye(3)
    basis = basis_of(cell)
    for got, tensor in zip(excess, full, strict=False):
        np.testing.assert_allclose(
            got, sum(np.sum(b * tensor) * b for b in basis), atol=1e-12, rtol=1e-9
        )


def _graph(problem, neighbours, geometry, magmoms):
    where = (problem.types, geometry.positions, geometry.cell, magmoms, geometry.volume)
    return graph_at(neighbours, *where)[0]


def test_coordinates_are_those_of_the_matrix_exponential(iron, bcc) -> None:
    rng = np.random.default_rng(1)
    run = RelaxRun(RelaxModel(iron, RelaxOptions()), [bcc(1)], (16, 1))
    z = np.array(run.state.coordinates)
    z[-6:] = rng.normal(0.0, 1.5, 6)
    x, strain = (np.asarray(a) for a in parts(run.problem, z))
    assert np.linalg.norm(strain[0]) > 0.1
    geometry = geometry_of(run.problem, z)
    deformation = expm(strain[0])
    np.testing.assert_allclose(geometry.cell[0], bcc(1).cell @ deformation, rtol=1e-13)
    np.testing.assert_allclose(geometry.positions, x @ deformation, rtol=1e-13, atol=1e-13)
    assert float(geometry.volume[0]) == pytest.approx(abs(np.linalg.det(geometry.cell[0])))


def test_no_pair_is_missed_after_the_longest_step(iron, bcc) -> None:
    """A fresh list holds for every step that the loop takes; the share says when it does not."""
    rng = np.random.default_rng(2)
    structures = [bcc(2), bcc(3, (1, 1, 2))]
    run = RelaxRun(RelaxModel(iron, RelaxOptions(skin=0.4)), structures, (24, 2))
    cutoff = float(iron.cutoff)
    longest, strain = longest_step(cutoff, 0.4)
    for _ in range(5):
        move = rng.normal(size=(run.problem.n_atoms, 3))
        move *= longest / np.linalg.norm(move, axis=1).max()
        change = rng.normal(size=(2, 6))
        change *= strain / np.linalg.norm(change, axis=1)[:, None]
        change *= np.asarray(run.problem.weight)[:, None]
        step = np.concatenate([move.ravel(), change.ravel()])
        geometry = geometry_of(run.problem, np.asarray(run.state.coordinates) + step)
        assert np.all(
            np.asarray(used_skin(run.neighbours, geometry.positions, geometry.cell)) <= 1.0
        )
        graph = _graph(run.problem, run.neighbours, geometry, run.state.at.magmoms)
        found = evaluate_graph(iron, graph)[1]
        moved = [
            replace(s, positions=np.asarray(geometry.positions)[a:b],
                    cell=np.asarray(geometry.cell)[k], magmoms=s.magmoms)
            for k, (s, (a, b)) in enumerate(zip(structures, pairwise(run.offsets), strict=True))
        ]  # fmt: skip
        for k, result in enumerate(evaluate_structures(iron, moved)):
            assert float(found.energy[k]) == pytest.approx(result.energy, abs=1e-8)
    far = geometry_of(run.problem, np.asarray(run.state.coordinates) + 4 * step)
    assert np.all(np.asarray(used_skin(run.neighbours, far.positions, far.cell)) > 1.0)


# --- minima -------------------------------------------------------------------------


def test_the_volume_is_that_of_a_scan(iron, bcc) -> None:
    """FM bcc iron has one parameter: the lattice constant, with moments at each of them."""
    start = bcc(0, (1, 1, 1), lattice=2.9, rattle=0.0, strain=0.0)
    (found,) = relax_structures(iron, [start], RelaxOptions(cell="volume", **TIGHT))
    assert found.converged, found.message

    def energy(lattice):
        at = replace(start, cell=np.eye(3) * lattice, positions=start.positions * lattice / 2.9)
        return equilibrate_structures(iron, [at], MomentOptions(1e-8))[0].result.energy

    expected = minimize_scalar(energy, bracket=(2.80, 2.84, 2.9), tol=1e-6)
    assert found.structure.cell[0, 0] == pytest.approx(expected.x, abs=1e-4)
    assert found.result.energy == pytest.approx(expected.fun, abs=1e-8)


@pytest.mark.parametrize("afm", [False, True])
def test_iron_relaxes_until_all_three_residuals_are_small(iron, bcc, afm) -> None:
    """The residuals are recomputed by an evaluation that knows nothing of the relaxation."""
    # A rattled antiferromagnet has moments that grow and shrink until some vanish; without tension
    # all of them do.
    pressure = -6.0 if afm else 5.0
    if afm:
        structures = [bcc(k, (1, 1, k), 2.87, rattle=0.0, afm=True, moment=1.5) for k in (1, 2)]
    else:
        structures = [bcc(k, (2, 2, k), rattle=0.03) for k in (1, 2)]
    options = RelaxOptions(pressure_GPa=pressure)
    found = relax_structures(iron, structures, options)
    for end, result in zip(
        found, evaluate_structures(iron, [f.structure for f in found]), strict=True
    ):
        assert end.converged, end.message
        assert end.status == RelaxStatus.CONVERGED
        assert np.linalg.norm(result.forces, axis=1).max() < options.force_tolerance
        excess = stress_matrix(result) / GPA + pressure * np.eye(3)
        assert np.abs(excess).max() < options.stress_tolerance_GPa
        assert np.abs(result.magnetic_forces).max() < options.magnetic_tolerance
        # What the relaxation says is what the evaluation finds.
        assert end.result.energy == pytest.approx(result.energy, abs=1e-7)
        np.testing.assert_allclose(end.result.forces, result.forces, atol=1e-8)
        np.testing.assert_allclose(end.result.stress, result.stress, atol=1e-9)
        assert end.force == pytest.approx(np.linalg.norm(result.forces, axis=1).max(), abs=1e-8)
        assert end.stress_GPa == pytest.approx(np.abs(excess).max(), abs=1e-6)
        assert end.magnetic_force == pytest.approx(np.abs(result.magnetic_forces).max(), abs=1e-8)
        assert end.enthalpy == pytest.approx(
            end.result.energy + pressure * GPA * volume_of(end.structure), abs=1e-9
        )
        assert end.n_evaluations > end.n_steps
        signs = np.sign(end.structure.magmoms)
        np.testing.assert_array_equal(signs, np.sign(end.start.magmoms))


def test_lists_of_the_device_lead_to_the_same_minimum(iron, bcc, monkeypatch) -> None:
    structures = [bcc(k, (2, 2, k), rattle=0.03) for k in (1, 2)]
    options = RelaxOptions(pressure_GPa=5.0, skin=0.1)
    host = relax_structures(iron, structures, options)
    monkeypatch.setattr(list_maker, "ON_DEVICE", True)
    monkeypatch.setattr(list_maker, "find_neighbours", None)
    for one, other in zip(relax_structures(iron, structures, options), host, strict=True):
        assert one.converged
        assert one.n_steps == other.n_steps
        np.testing.assert_allclose(one.structure.positions, other.structure.positions, atol=1e-7)
        np.testing.assert_allclose(one.structure.cell, other.structure.cell, atol=1e-7)


def test_a_single_atom_next_to_its_place_goes_back(iron, bcc) -> None:
    perfect = bcc(0, lattice=2.82, rattle=0.0, strain=0.0)
    (reference,) = relax_structures(iron, [perfect], RelaxOptions(**TIGHT))
    moved = replace(
        reference.structure,
        positions=reference.structure.positions + 0.1 * np.eye(16, 3),
    )
    (found,) = relax_structures(iron, [moved], RelaxOptions(cell=False, **TIGHT))
    assert found.converged, found.message
    np.testing.assert_array_equal(found.structure.cell, moved.cell)
    assert found.result.energy == pytest.approx(reference.result.energy, abs=1e-7)
    shift = found.structure.positions - reference.structure.positions
    np.testing.assert_allclose(shift, np.broadcast_to(shift[0], shift.shape), atol=1e-4)


def test_the_enthalpy_never_rises(iron, bcc) -> None:
    frames: dict[int, list] = {0: [], 1: []}
    options = RelaxOptions(pressure_GPa=10.0)
    found = relax_structures(
        iron, [bcc(0), bcc(1, (1, 2, 2))], options,
        record=lambda k, frame: frames[k].append(frame),
    )  # fmt: skip
    for k, frame in frames.items():
        assert 3 < len(frame) <= found[k].n_steps
        h = np.array([f.energy + 10.0 * GPA * volume_of(f.structure) for f in frame])
        assert [f.enthalpy for f in frame] == pytest.approx(h, rel=1e-12)
        assert np.all(np.diff(h) < 16 * options.magnetic_tolerance**2)
        assert frame[-1].energy == pytest.approx(found[k].result.energy, abs=1e-9)
        np.testing.assert_array_equal(frame[-1].structure.positions, found[k].structure.positions)
        np.testing.assert_array_equal(frame[0].structure.positions, found[k].start.positions)


def test_pressure_is_minus_the_slope_of_the_energy(iron, bcc) -> None:
    """dH/dV = 0 at the end: p = -dE/dV of relaxed cells, by finite differences."""
    start = bcc(0, (1, 1, 1), lattice=2.8, rattle=0.0, strain=0.0)
    found = [
        relax_structures(iron, [start], RelaxOptions(cell="volume", pressure_GPa=p, **TIGHT))[0]
        for p in (9.0, 10.0, 11.0)
    ]
    assert all(f.converged for f in found)
    v = [volume_of(f.structure) for f in found]
    e = [f.result.energy for f in found]
    assert v[0] > v[1] > v[2]
    assert -(e[2] - e[0]) / (v[2] - v[0]) / GPA == pytest.approx(10.0, abs=0.01)
    assert found[1].result.stress[:3] / GPA == pytest.approx([-10.0] * 3, abs=1e-3)


def test_rotations_change_nothing(iron, bcc) -> None:
    start = bcc(4, (2, 1, 1))
    turn = Rotation.random(random_state=3).as_matrix()
    turned = replace(start, cell=start.cell @ turn, positions=start.positions @ turn)
    one, other = relax_structures(iron, [start, turned], RelaxOptions(pressure_GPa=3.0))
    assert one.converged
    assert other.converged
    assert one.n_steps == other.n_steps
    assert other.result.energy == pytest.approx(one.result.energy, abs=1e-7)
    np.testing.assert_allclose(other.structure.cell, one.structure.cell @ turn, atol=1e-7)
    np.testing.assert_allclose(other.structure.magmoms, one.structure.magmoms, atol=1e-6)


def test_a_batch_is_its_members_alone(iron, bcc) -> None:
    structures = [bcc(0), bcc(1, (1, 1, 1)), bcc(2, (1, 1, 2)), bcc(3, (1, 1, 1))]
    options = RelaxOptions(pressure_GPa=1.0)
    together = relax_structures(iron, structures, options)
    for structure, batched in zip(structures, together, strict=True):
        (alone,) = relax_structures(iron, [structure], options)
        assert batched.status == alone.status
        assert batched.n_steps == alone.n_steps
        assert batched.result.energy == pytest.approx(alone.result.energy, abs=1e-9)
        np.testing.assert_allclose(
            batched.structure.positions, alone.structure.positions, atol=1e-7
        )
        np.testing.assert_allclose(batched.structure.cell, alone.structure.cell, atol=1e-7)


# --- constraints --------------------------------------------------------------------


@pytest.mark.parametrize("cell", [*CELLS, ("xx", "yy"), "zz", (0, 0, 1, 0, 0, 1)])
def test_constraints_of_the_cell_hold_exactly(iron, bcc, cell) -> None:
    start = bcc(6, (2, 1, 1), strain=0.01)
    (found,) = relax_structures(iron, [start], RelaxOptions(cell=cell, pressure_GPa=4.0))
    assert found.converged, found.message
    deformation = np.linalg.solve(start.cell, found.structure.cell)
    np.testing.assert_allclose(deformation, deformation.T, atol=1e-12)
    values, vectors = np.linalg.eigh(deformation)
    strain = vectors @ np.diag(np.log(values)) @ vectors.T
    allowed = sum(np.sum(b * strain) * b for b in basis_of(cell))
    np.testing.assert_allclose(strain, allowed, atol=1e-12)
    excess = stress_matrix(found.result) + 4.0 * GPA * np.eye(3)
    projected = sum(np.sum(b * excess) * b for b in basis_of(cell))
    assert np.abs(projected).max() / GPA < 0.0101
    if cell == "none":
        np.testing.assert_array_equal(found.structure.cell, start.cell)
    else:
        assert np.abs(strain).max() > 1e-3
    if cell in ("shape", "c/a"):
        assert volume_of(found.structure) == pytest.approx(volume_of(start), rel=1e-13)
    if cell == "volume":
        np.testing.assert_allclose(deformation, deformation[0, 0] * np.eye(3), atol=1e-14)
    if cell == "zz":
        np.testing.assert_array_equal(found.structure.cell[:, :2], start.cell[:, :2])
    if cell == "tetragonal":
        assert deformation[0, 0] == pytest.approx(deformation[1, 1], abs=1e-14)


def test_strains_are_orthonormal_and_as_many_as_named() -> None:
    sizes = dict(zip(CELLS, (6, 1, 5, 1, 2, 0), strict=True))
    for cell, size in [*sizes.items(), (True, 6), (False, 0), ("xx, xy", 2), (AXES, 6)]:
        basis = basis_of(cell)[:size]
        assert not basis_of(cell)[size:].any()
        np.testing.assert_allclose(np.einsum("iab,jab->ij", basis, basis), np.eye(size), atol=1e-15)
        np.testing.assert_array_equal(basis, basis.swapaxes(1, 2))
    assert np.array_equal(basis_of([1, 0, 0, 0, 0, 1]), basis_of("xx xy"))
    for wrong in ("cubic", "xx xx", ("xx", "volume"), (1, 0, 0), 3.0, "", ()):
        with pytest.raises(ValueError, match="cell must be"):
            basis_of(wrong)


def test_atoms_that_may_not_move_follow_the_cell(iron, bcc) -> None:
    start = bcc(7, (2, 1, 1))
    (found,) = relax_structures(iron, [start], RelaxOptions(positions=False))
    assert found.converged
    assert found.force == 0.0
    assert np.abs(found.result.forces).max() > 0.01
    np.testing.assert_allclose(
        found.structure.positions @ np.linalg.inv(found.structure.cell),
        start.positions @ np.linalg.inv(start.cell),
        atol=1e-13,
    )


def test_fixed_moments_stay(iron, bcc) -> None:
    start = bcc(8, (2, 1, 1), moment=1.9)
    (found,) = relax_structures(iron, [start], RelaxOptions(moments="fixed"))
    assert found.converged, found.message
    np.testing.assert_array_equal(found.structure.magmoms, start.magmoms)
    assert np.abs(found.result.magnetic_forces).max() > 0.01
    assert found.n_evaluations == found.n_steps


def test_a_cluster_relaxes_without_a_cell(iron, bcc) -> None:
    start = bcc(9, (2, 1, 1), lattice=2.7, strain=0.0)
    free = replace(start, cell=np.zeros((3, 3)), periodic=np.zeros(3, bool))
    (found,) = relax_structures(iron, [free], RelaxOptions(cell=False, bounded=False))
    assert found.result.stress is None
    assert found.result.energy < evaluate_structures(iron, [free])[0].energy
    assert found.enthalpy == found.result.energy
    with pytest.raises(ValueError, match="not periodic in three directions"):
        relax_structures(iron, [free])


# --- ends ---------------------------------------------------------------------------


def test_reasons_to_stop_are_said(iron, bcc) -> None:
    close = bcc(0, (1, 1, 2))
    close.positions[0] += 0.4
    far = bcc(1, (1, 1, 1), lattice=2.6, rattle=0.0, strain=0.0)
    large = bcc(2, (1, 1, 1), moment=2.2)
    narrow = iron.replace(min_magmom=np.array([-1.0]), max_magmom=np.array([1.0]))
    large.magmoms[1] = -2.3
    ends = "the moment of atom 1 (Fe), -2.3 mu_B, is at the end of the interval -1 to 1 mu_B"
    cases = [
        (iron, close, {}, RelaxStatus.TOO_CLOSE, "closer than the shortest distance"),
        (iron, far, {"max_volume_change": 0.02}, RelaxStatus.VOLUME, "volume has changed"),
        (narrow, large, {"moments": "fixed"}, RelaxStatus.MOMENT_AT_BOUND, ends),
        (iron, bcc(0, (1, 1, 2)), {"max_steps": 3}, RelaxStatus.STEP_LIMIT, "number of steps"),
        (
            iron,
            bcc(0, (1, 1, 2)),
            {"max_equilibration_steps": 1},
            RelaxStatus.MOMENTS,
            "equilibrated",
        ),
    ]
    for potential, start, options, status, words in cases:
        (found,) = relax_structures(potential, [start], RelaxOptions(**options))
        assert found.status == status, found.message
        assert words in found.message
        assert not found.converged
        assert np.isfinite(found.result.energy)
    assert found.n_steps == 1
    (found,) = relax_structures(iron, [bcc(0)], RelaxOptions(max_steps=3))
    assert found.n_steps == 3


def test_a_minimum_that_confinement_makes_does_not_count(running_iron, bcc) -> None:
    start = bcc(0, (1, 1, 1), lattice=2.8, rattle=0.0, strain=0.0, moment=2.5)
    potential = with_confinement(running_iron)
    (found,) = relax_structures(potential, [start])
    assert found.status == RelaxStatus.MOMENT_AT_BOUND
    assert "at the end of the interval -3 to 3 mu_B that the potential covers, or beyond" in (
        found.message
    )
    assert found.stress_GPa < 0.05
    (unbounded,) = relax_structures(potential, [start], RelaxOptions(bounded=False))
    assert unbounded.converged
    assert unbounded.enthalpy == pytest.approx(found.enthalpy, abs=1e-9)


def test_a_pair_that_the_repulsion_holds_does_not_count(iron, bcc) -> None:
    start = bcc(0, (1, 1, 1), lattice=2.8, rattle=0.0, strain=0.0)
    shortest = 2.8 * 3**0.5 / 2
    potential = with_confinement(iron.replace(min_dist=shortest * 1.02))
    kept = {"cell": "none", "moments": "fixed"}
    (found,) = relax_structures(potential, [start], RelaxOptions(**kept))
    assert found.status == RelaxStatus.TOO_CLOSE
    assert found.force < 1e-6
    (unbounded,) = relax_structures(potential, [start], RelaxOptions(**kept, bounded=False))
    assert unbounded.converged


def test_one_that_stops_does_not_hold_up_the_others(iron, bcc) -> None:
    structures = [bcc(0, (1, 1, 2)), bcc(1, (1, 1, 1))]
    structures[0].positions[0] += 0.4
    stopped, other = relax_structures(iron, structures)
    assert stopped.status == RelaxStatus.TOO_CLOSE
    assert stopped.n_steps == 1
    np.testing.assert_array_equal(stopped.structure.positions, structures[0].positions)
    assert other.converged


def test_moments_that_want_to_flip(random_potential, bcc) -> None:
    """Energy linear in the moment: it falls to zero, is held there, and flips if it may."""
    potential = random_potential(0, level=4, n_species=1, form="bare", magnetic_size=3)
    radial = np.zeros_like(potential.radial_coeffs)
    radial[0, 0, 0, 0, 0, 0] = 0.01
    radial[0, 0, 0, 0, 1, 0] = 0.02
    radial[0, 0, 0, 0, 2, 0] = 0.01
    coeffs = np.zeros_like(potential.moment_coeffs)
    coeffs[0] = 1.0
    potential = potential.replace(radial_coeffs=radial, moment_coeffs=coeffs, min_dist=1.5)
    start = bcc(0, (1, 1, 1), moment=0.5)
    (held,) = relax_structures(potential, [start], RelaxOptions(cell=False))
    assert held.status == RelaxStatus.MOMENT_AT_ZERO
    assert "allow flips" in held.message
    np.testing.assert_array_equal(held.structure.magmoms, 0.0)
    (free,) = relax_structures(potential, [start], RelaxOptions(cell=False, allow_flips=True))
    assert np.all(free.structure.magmoms < -0.1)


def test_an_energy_that_is_not_finite(iron, bcc) -> None:
    broken = iron.replace(moment_coeffs=np.full_like(iron.moment_coeffs, np.nan))
    (found,) = relax_structures(broken, [bcc(0, (1, 1, 1))])
    assert found.status in (RelaxStatus.NOT_FINITE, RelaxStatus.MOMENTS)
    assert not found.converged


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cell": "cubic"}, "cell must be"),
        ({"moments": "free"}, "moments must be one of"),
        ({"pressure_GPa": np.nan}, "pressure_GPa"),
        ({"force_tolerance": 0.0}, "force_tolerance must be positive"),
        ({"skin": -1.0}, "skin must be above 0"),
    ],
)
def test_options_are_checked(options, words) -> None:
    with pytest.raises(ValueError, match=words):
        RelaxOptions(**options)


def test_nothing_to_relax(iron) -> None:
    assert relax_structures(iron, []) == []


def test_runs_of_one_shape_share_a_program(iron, bcc) -> None:
    relax_structures(iron, [bcc(0)], RelaxOptions())
    before = relax_steps._cache_size()
    # Other constraints, pressures, tolerances and starts are data, not programs.
    for k, cell in enumerate(("full", "volume", "none")):
        options = RelaxOptions(cell=cell, pressure_GPa=1.0 + k, force_tolerance=1e-2, max_steps=9)
        relax_structures(iron, [bcc(k)], options)
    assert relax_steps._cache_size() == before


def test_mixed_precision(iron, bcc) -> None:
    (double,) = relax_structures(iron, [bcc(0, (1, 1, 1))])
    options = RelaxOptions(dtype="mixed", force_tolerance=0.01, stress_tolerance_GPa=0.1)
    (mixed,) = relax_structures(iron, [bcc(0, (1, 1, 1))], options)
    assert mixed.converged, mixed.message
    assert mixed.result.energy == pytest.approx(double.result.energy, abs=1e-4)
    assert mixed.structure.positions.dtype == np.float64
