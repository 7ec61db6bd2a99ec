"""Lists that stay on the device: whatever changes, results are those of a fresh search."""

import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import mmtp_jax as mmtp
from mmtp_jax.interfaces import evaluation
from mmtp_jax.interfaces.evaluation import (
    StructureEvaluator,
    evaluate_graph,
    evaluate_structures,
)
from mmtp_jax.structures import list_maker
from mmtp_jax.structures.domain import (
    ExtrapolationWarning,
    NoNeighboursWarning,
    check_domain,
)
from mmtp_jax.structures.kept_graph import SKIN, KeptGraph
from mmtp_jax.structures.list_maker import ListMaker
from mmtp_jax.structures.neighbours import neighbour_table
from mmtp_jax.structures.results import VOIGT


@pytest.fixture
def searches(monkeypatch):
    """A list that grows with every search."""
    found, first = [], ListMaker.first

    def counted(self, *args, **options):
        found.append(args)
        return first(self, *args, **options)

    monkeypatch.setattr(ListMaker, "first", counted)
    return found


@pytest.fixture
def potential(random_potential):
    return random_potential(11, level=4).replace(min_dist=np.float64(1.0))


@pytest.fixture
def same(graph_of):
    """same(result, potential, structure): as from a fresh search, in the one shape of all tests."""

    def compared(result, potential, structure):
        sites, values = evaluate_graph(potential, graph_of(structure))
        n = len(structure)
        np.testing.assert_allclose(result.energies, sites[:n], rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(result.forces, values.forces[:n], rtol=1e-9, atol=1e-10)
        magnetic = values.magnetic_forces[:n]
        np.testing.assert_allclose(result.magnetic_forces, magnetic, rtol=1e-9, atol=1e-10)
        if structure.periodic.all():
            stress = np.asarray(values.stress[0])[VOIGT]
            np.testing.assert_allclose(result.stress, stress, rtol=1e-9, atol=1e-12)
        else:
            assert result.stress is None

    return compared


@pytest.mark.parametrize("on_device", [False, True])
def test_only_what_must_be_searched_is(
    potential, random_structure, searches, same, monkeypatch, on_device
) -> None:
    monkeypatch.setattr(list_maker, "ON_DEVICE", on_device)
    rng = np.random.default_rng(2)
    at, evaluator = random_structure(3, 6), StructureEvaluator(potential)
    n_wanted = 0

    def call(structure, searched):
        nonlocal n_wanted
        n_wanted += searched
        same(evaluator(structure), potential, structure)
        assert len(searches) == n_wanted

    call(at, True)
    call(at, False)
    near = rng.normal(size=at.positions.shape)
    near *= 0.45 * SKIN / np.linalg.norm(near, axis=1).max()
    call(replace(at, positions=at.positions + near), False)
    call(replace(at, magmoms=-0.5 * at.magmoms), False)
    call(replace(at, types=1 - at.types), False)
    call(replace(at, cell=1.01 * at.cell, positions=1.01 * at.positions), False)
    # All that follows cannot be had from the list.
    call(replace(at, cell=1.2 * at.cell, positions=1.2 * at.positions), True)
    call(at, True)
    far = at.positions.copy()
    far[2] += 0.6 * SKIN * np.array([0.0, 0.6, 0.8])
    call(replace(at, positions=far), True)
    wrapped = at.positions.copy()
    wrapped[1] += at.cell[0] - at.cell[2]
    call(replace(at, positions=wrapped), True)
    slab = np.array([True, True, False])
    call(replace(at, periodic=slab, cell=np.where(slab[:, None], at.cell, 0.0)), True)
    call(at, True)
    call(random_structure(4, 5), True)


def test_vectors_of_a_number_of_atoms_that_is_padded(random_structure) -> None:
    """17 atoms have room for 18."""
    at = random_structure(3, 17)
    canted = np.random.default_rng(3).normal(size=(17, 3))
    graph = KeptGraph(4.0, float).of(replace(at, magmoms=canted))[0].graph
    np.testing.assert_array_equal(graph.magmoms, [*canted, np.zeros(3)])


def test_warnings_and_errors_do_not_depend_on_what_is_kept(potential, random_structure) -> None:
    at, evaluator = random_structure(3, 6), StructureEvaluator(potential.replace(min_dist=1.9))
    with pytest.warns(ExtrapolationWarning, match="closer than min_dist 1.9") as told:
        evaluator(at)
    expected = check_domain(evaluator.potential, [at], [neighbour_table(at, evaluator.cutoff)])
    assert [str(one.message) for one in told] == expected.messages()
    evaluator = StructureEvaluator(potential)
    evaluator(at)
    twice = at.positions.copy()
    twice[1] = twice[0] + at.cell[1]
    with pytest.raises(ValueError, match="are at the same place"):
        evaluator(replace(at, positions=twice))
    free = replace(at, periodic=np.zeros(3, bool), cell=np.zeros((3, 3)))
    apart = free.positions.copy()
    apart[0] += 100.0
    with pytest.warns(NoNeighboursWarning, match="1 atoms in 1 of 1"):
        evaluator(replace(free, positions=apart))
    with pytest.warns(ExtrapolationWarning, match="1 moments"):
        evaluator(replace(at, magmoms=np.where(np.arange(6) == 2, 50.0, at.magmoms)))


def test_copies_keep_nothing_of_the_device(potential, random_structure, searches) -> None:
    at, evaluator = random_structure(3, 6), StructureEvaluator(potential)
    expected = evaluator(at)
    copy = pickle.loads(pickle.dumps(evaluator))
    assert "_kept" not in vars(copy)
    assert np.array_equal(copy(at).forces, expected.forces)
    assert len(searches) == 2


def test_calls_of_evaluate_with_one_structure_share_a_list(
    potential, random_structure, searches, same
) -> None:
    at = random_structure(3, 6)
    for k in range(3):
        moved = replace(at, positions=at.positions + 0.01 * k)
        same(evaluate_structures(potential, [moved])[0], potential, moved)
    assert len(searches) == 1
    kept = evaluation._Last.evaluator
    assert kept.potential is potential
    # Another potential, or type of number, has an evaluator of its own.
    other = potential.replace(moment_coeffs=1.1 * potential.moment_coeffs)
    same(evaluate_structures(other, [at])[0], other, at)
    evaluate_structures(other, [at], dtype=np.float32)
    assert len(searches) == 3
    assert evaluation._Last.evaluator.precision.edges == np.float32
    with pytest.raises(ValueError, match="dtype must be"):
        evaluate_structures(other, [at], dtype="float16")


def test_two_calculators_on_the_same_atoms(potential, atoms_of, random_structure, same) -> None:
    at = random_structure(3, 6)
    atoms = atoms_of(at)
    weak = potential.replace(moment_coeffs=0.5 * potential.moment_coeffs)
    first, second = mmtp.MMTPCalculator(potential), mmtp.MMTPCalculator(weak)
    for k in range(3):
        atoms.positions += 0.02 * np.sin(k + np.arange(18.0)).reshape(6, 3)
        for calc, of in ((first, potential), (second, weak)):
            result = SimpleNamespace(
                energies=calc.get_property("energies", atoms),
                forces=calc.get_forces(atoms),
                stress=calc.get_stress(atoms),
                magnetic_forces=calc.get_magnetic_forces(atoms),
            )
            same(result, of, replace(at, positions=atoms.positions))
