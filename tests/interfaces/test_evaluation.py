"""Evaluation of lists of structures: any sizes, few compilations, float32, precision."""

import subprocess
import sys
from dataclasses import replace

import jax
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax.interfaces import evaluation
from mmtp_jax.interfaces.evaluation import (
    StructureEvaluator,
    evaluate_committee,
    evaluate_graph,
    evaluate_structures,
)
from mmtp_jax.structures.kept_graph import evaluated_at
from mmtp_jax.structures.neighbours import neighbour_table

VALUES = ("energy", "energies", "forces", "stress", "magnetic_forces")


@pytest.fixture(scope="module")
def potential(random_potential):
    return random_potential(71)


@pytest.fixture(scope="module")
def mixed(random_structure):
    """Six structures of one to nine atoms, one of them free."""
    sizes = (2, 9, 1, 4, 4, 2)
    return [random_structure(k, n, periodic=k != 4) for k, n in enumerate(sizes)]


@pytest.fixture(scope="module")
def one_at_a_time(potential, mixed):
    evaluator = StructureEvaluator(potential)
    # The widest first, so that its shape serves the others.
    evaluator(max(mixed, key=lambda s: neighbour_table(s, 4.0).index.shape[1]))
    return evaluator


def same(got, expected, tolerance=1e-12):
    for name in VALUES:
        a, b = getattr(got, name), getattr(expected, name)
        if b is None:
            assert a is None, name
            continue
        np.testing.assert_allclose(
            a, b, rtol=tolerance, atol=tolerance * max(1.0, np.abs(b).max()), err_msg=name
        )


@pytest.mark.parametrize("max_atoms", [16384, 10])
def test_together_is_the_same_as_one_by_one(max_atoms, potential, one_at_a_time, mixed):
    together = evaluate_structures(potential, mixed, max_atoms=max_atoms)
    for k, (structure, result) in enumerate(zip(mixed, together, strict=True)):
        if k in (1, 2, 4):
            same(result, one_at_a_time(structure))
        assert result.forces.shape == (len(structure), 3)
        assert result.energies.shape == result.magnetic_forces.shape == (len(structure),)
        assert result.energy == pytest.approx(result.energies.sum(), rel=1e-13)
        assert isinstance(result.energy, float)
        assert (result.stress is None) == (not structure.periodic.all())


def test_results_are_those_of_the_reference(potential, mixed, reference_energies, relative_error):
    for structure, result in zip(mixed, evaluate_structures(potential, mixed), strict=True):
        expected = reference_energies(potential, structure)
        assert relative_error(result.energies, expected) < 1e-12


def test_stress_is_in_the_order_of_ase(potential, mixed, evaluated):
    result = evaluate_structures(potential, mixed[:1])[0]
    stress = evaluated(potential, mixed[0])["stress"]
    expected = [stress[a, b] for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))]
    np.testing.assert_allclose(result.stress, expected, rtol=1e-11, atol=1e-12)


def test_no_structures_give_no_results(potential):
    assert evaluate_structures(potential, []) == []


def test_fifty_sizes_cost_a_handful_of_compilations(random_potential, random_structure):
    potential = random_potential(72, level=2, n_species=1, radial_size=2)
    cluster = random_structure(72, 60, n_species=1, periodic=False)
    sizes = 1 + np.random.default_rng(72).permutation(60)[:50]
    structures = [
        replace(
            cluster,
            positions=cluster.positions[:n],
            types=cluster.types[:n],
            magmoms=cluster.magmoms[:n],
        )
        for n in sizes
    ]
    before = evaluate_graph._cache_size()
    results = evaluate_structures(potential, structures, max_atoms=200)
    assert [len(result.energies) for result in results] == sizes.tolist()
    assert 1 <= evaluate_graph._cache_size() - before <= 3


def test_one_evaluator_does_not_compile_for_every_neighbour_more_or_less(
    random_potential, random_structure
):
    """As in dynamics: the number of neighbours fluctuates."""
    potential = random_potential(73, level=2, n_species=1, radial_size=2)
    structure = random_structure(74, 8, n_species=1)
    evaluator = StructureEvaluator(potential.replace(min_dist=np.float64(1.0)))
    rng = np.random.default_rng(5)
    before = evaluated_at._cache_size()
    widths = set()
    for _ in range(30):
        moved = structure.positions + rng.normal(scale=0.1, size=structure.positions.shape)
        scale = rng.uniform(0.98, 1.05)
        evaluator(replace(structure, positions=scale * moved, cell=scale * structure.cell))
        widths.add(evaluator._kept._width)
    assert evaluated_at._cache_size() - before == len(widths) <= 4


# --- float32 ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, "mixed"], ids=["float32", "mixed"])
def test_float32_is_close_and_keeps_large_constants_in_float64(dtype, potential, mixed):
    """All-electron energies are thousands of eV per atom, of which float32 resolves 2e-4 eV."""
    shifted = potential.replace(species_coeffs=potential.species_coeffs - 3000.0)
    single = evaluate_structures(shifted, mixed, dtype=dtype)
    for structure, low, high in zip(
        mixed, single, evaluate_structures(shifted, mixed), strict=True
    ):
        scale = max(1.0, np.abs(high.forces).max(), np.abs(high.energies + 3000.0).max())
        assert abs(low.energy - high.energy) / len(structure) < 3e-6 * scale
        assert np.abs(low.forces - high.forces).max() < 3e-5 * scale
        assert np.abs(low.magnetic_forces - high.magnetic_forces).max() < 3e-5 * scale
        # It was computed in float32: exact agreement would mean that it was not.
        assert len(structure) == 1 or np.abs(low.forces - high.forces).max() > 1e-10
        assert low.forces.dtype == np.float64
        if high.stress is not None:
            assert np.abs(low.stress - high.stress).max() < 3e-5 * scale


@pytest.mark.parametrize("dtype", [np.float16, np.int32, "complex64"])
def test_other_types_are_refused(dtype, potential, mixed):
    with pytest.raises(ValueError, match="dtype must be float32, float64 or 'mixed'"):
        evaluate_structures(potential, mixed[:1], dtype=dtype)


# --- JAX's own setting --------------------------------------------------------------


def test_evaluation_is_in_float64_where_jax_is_limited_to_32_bits(
    potential, mixed, reference_energies, relative_error, atoms_of
):
    with jax.enable_x64(False):
        results = mmtp.evaluate(potential, [atoms_of(mixed[0])])
        assert not jax.config.jax_enable_x64
        assert jax.numpy.zeros(()).dtype == np.float32
    expected = reference_energies(potential, mixed[0])
    assert relative_error(results[0].energies, expected) < 1e-12


SCRIPT = """
import jax, jax.numpy as jnp, numpy as np
from ase.build import bulk
import mmtp_jax as mmtp
potential = mmtp.Potential.new(level=2, species=("Fe",), radial_size=2, magnetic_size=1, cutoff=3.0)
atoms = bulk("Fe")
assert not jax.config.jax_enable_x64
(result,) = mmtp.evaluate(potential, atoms)
assert not jax.config.jax_enable_x64
atoms.calc = mmtp.MMTPCalculator(potential)
assert atoms.get_potential_energy() == result.energy
assert not jax.config.jax_enable_x64
from ase.calculators.singlepoint import SinglePointCalculator
labelled = atoms.copy()
labelled.calc = SinglePointCalculator(labelled, energy=-8.25)
fit = mmtp.fit(potential, [labelled], max_iterations=1, keep_domain=True)
assert fit.potential.flatten().dtype == np.float64
assert abs(mmtp.evaluate(fit.potential, atoms)[0].energy + 8.25) < 1e-9
assert not jax.config.jax_enable_x64
assert jnp.zeros(()).dtype == jnp.float32
with mmtp.double_precision():
    assert jnp.zeros(()).dtype == jnp.float64
assert jnp.zeros(()).dtype == jnp.float32
print("unchanged")
"""


@pytest.mark.filterwarnings("ignore")
def test_a_fresh_process_keeps_its_32_bits_after_everything():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.stdout.strip() == "unchanged", done.stderr


# --- atoms --------------------------------------------------------------------------


def test_evaluate_takes_one_configuration_or_several_and_changes_none(potential, mixed, atoms_of):
    atoms_list = [atoms_of(s) for s in mixed[:3]]
    before = [atoms.copy() for atoms in atoms_list]
    together = mmtp.evaluate(potential, atoms_list)
    (alone,) = mmtp.evaluate(potential, atoms_list[1])
    same(together[1], alone)
    for atoms, old in zip(atoms_list, before, strict=True):
        assert atoms == old
        assert set(atoms.arrays) == set(old.arrays)
        assert atoms.calc is None
        np.testing.assert_array_equal(
            atoms.get_initial_magnetic_moments(), old.get_initial_magnetic_moments()
        )


def test_evaluate_leaves_the_potential_alone(potential, mixed):
    before = [np.array(leaf) for leaf in jax.tree.leaves(potential)]
    evaluate_structures(potential, mixed[:1], dtype=np.float32)
    for old, new in zip(before, jax.tree.leaves(potential), strict=True):
        np.testing.assert_array_equal(old, new)
        assert np.asarray(new).dtype == np.float64


def test_unknown_elements_are_named(potential):
    with pytest.raises(ValueError, match=r"has Au, but the potential is for Fe, Al"):
        mmtp.evaluate(potential, Atoms("FeAu", positions=[[0, 0, 0], [0, 0, 2.5]]))


def test_vectors_in_and_vectors_out(random_potential):
    """Beside collinear moments; parallel ones have the collinear energy, each in its shape."""
    potential = random_potential(3, form="parity", magnetic_size=3, n_species=1)
    atoms = bulk("Fe", cubic=True, a=2.9)
    atoms.rattle(0.1, seed=1)
    del atoms.arrays["initial_magmoms"]  # ASE's, of another shape
    collinear, along, canted = (atoms.copy() for _ in range(3))
    collinear.set_initial_magnetic_moments([2.0, -1.0])
    along.set_initial_magnetic_moments([[0, 0, 2.0], [0, 0, -1.0]])
    canted.set_initial_magnetic_moments([[0, 0, 2.0], [1.0, 0, 0]])
    one, two, three = mmtp.evaluate(potential, [collinear, along, canted])
    assert two.energy == pytest.approx(one.energy, rel=1e-13)
    assert abs(three.energy - one.energy) > 1e-3
    assert one.magnetic_forces.shape == (2,)
    np.testing.assert_allclose(two.magnetic_forces[:, 2], one.magnetic_forces, rtol=1e-12)
    assert np.all(two.magnetic_forces[:, :2] == 0.0)
    assert three.magnetic_forces.shape == (2, 3)
    assert np.all(three.magnetic_forces[:, 1] == 0.0)
    committee = mmtp.evaluate([potential, potential], canted)[0]
    np.testing.assert_allclose(committee.magnetic_forces, three.magnetic_forces, rtol=1e-13)
    single = mmtp.evaluate(potential, canted, dtype=np.float32)[0]
    assert single.energy == pytest.approx(three.energy, rel=1e-5)


def test_vectors_beyond_the_interval_are_told_by_their_length(random_potential):
    potential = random_potential(3, form="parity", magnetic_size=3, n_species=1)
    atoms = Atoms("Fe2", positions=[[0, 0, 0], [0, 0, 2.5]])
    most = float(potential.max_magmom[0])
    atoms.set_initial_magnetic_moments([[0.8 * most, 0, 0.8 * most], [0.5, 0, 0]])
    with pytest.warns(
        mmtp.ExtrapolationWarning, match=rf"1 moments .*largest {np.hypot(0.8, 0.8) * most:.4f}"
    ):
        mmtp.evaluate(potential, atoms)


def test_vectors_need_an_even_potential_and_a_place_that_takes_them(random_potential):
    atoms = Atoms("Fe2", positions=[[0, 0, 0], [0, 0, 2.2]])
    atoms.set_initial_magnetic_moments([[0, 0, 2.0], [1.0, 0, 0]])
    bare = random_potential(3, form="bare", n_species=1)
    with pytest.raises(ValueError, match=r"configuration 1: .*form 'bare'"):
        mmtp.evaluate(bare, atoms)
    even = random_potential(3, form="parity", n_species=1)
    with pytest.raises(ValueError, match="noncollinear magnetic moments; give collinear ones here"):
        mmtp.sample_disorder(even, atoms, n=2)


def test_moments_along_one_axis_are_collinear(potential):
    plain = Atoms("Fe2", positions=[[0, 0, 0], [0, 0, 2.5]], magmoms=[1.0, -2.0])
    vectors = Atoms("Fe2", positions=plain.positions)
    vectors.set_initial_magnetic_moments([[0, 1.0, 0], [0, -2.0, 0]])
    energies = [result.energy for result in mmtp.evaluate(potential, [plain, vectors])]
    assert energies[0] == pytest.approx(energies[1], rel=1e-14)


def test_an_energy_that_is_no_number_is_an_error(one_at_a_time, mixed, monkeypatch):
    monkeypatch.setattr(one_at_a_time, "_constants", np.full(3, np.inf))
    with pytest.raises(ValueError, match=f"{mixed[0].name}: its energy is not a finite number"):
        one_at_a_time(mixed[0])


def test_committee_is_mean_and_spread_over_members_that_share_a_program(
    random_potential, mixed, potential, atoms_of
):
    members = [
        random_potential(71).replace(tag="first"),
        random_potential(72).replace(tag="second"),
        random_potential(73),
    ]
    atoms_list = [atoms_of(structure) for structure in mixed]
    each = [mmtp.evaluate(member, atoms_list) for member in members[:1]]
    n_programs = evaluate_graph._cache_size()
    each += [mmtp.evaluate(member, atoms_list) for member in members[1:]]
    found = mmtp.evaluate(members, atoms_list)
    assert evaluate_graph._cache_size() == n_programs
    for k, result in enumerate(found):
        assert isinstance(result, mmtp.results.CommitteeResult)
        assert len(result.members) == 3
        for name in VALUES:
            values = [getattr(of[k], name) for of in each]
            if values[0] is None:
                assert getattr(result, name) is getattr(result, f"{name}_std") is None
                continue
            np.testing.assert_allclose(getattr(result, name), np.mean(values, axis=0), rtol=1e-12)
            spread = getattr(result, f"{name}_std")
            np.testing.assert_allclose(spread, np.std(values, axis=0, ddof=1), rtol=1e-9)
    other = members[1].replace(species=("Fe", "Cr"))
    with pytest.raises(ValueError, match="potential 2 has the species Fe Cr and potential 1 Fe Al"):
        mmtp.evaluate([members[0], other], atoms_list)


@pytest.mark.parametrize("dtype", [np.float64, "mixed"])
def test_members_together_are_members_one_by_one(dtype, mixed, random_potential, monkeypatch):
    """As on a GPU: those of one form in one call, one of another form beside them."""
    members = [random_potential(k) for k in (71, 72)]
    members.insert(1, random_potential(73, form="parity", magnetic_size=3))
    alone = evaluate_committee(members, mixed, dtype)
    monkeypatch.setattr(evaluation, "TOGETHER", True)
    together = evaluate_committee(members, mixed, dtype)
    assert evaluation.evaluate_members._cache_size() == 1
    tolerance = 1e-12 if dtype == np.float64 else 1e-4
    for one, other in zip(alone, together, strict=True):
        for a, b in zip(one.members, other.members, strict=True):
            same(b, a, tolerance)
        same(other, one, tolerance)
    evaluation.evaluate_members.clear_cache()
