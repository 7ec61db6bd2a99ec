"""Fits of potentials with non-magnetic species: labels, counts, domain, and what is suggested."""

from dataclasses import replace

import numpy as np
import pytest

import mmtp_jax as mmtp
from mmtp_jax.fitting.coverage import count_numbers, uncovered
from mmtp_jax.fitting.dataset import make_targets
from mmtp_jax.fitting.prepared import PreparedSet
from mmtp_jax.fitting.report import comparison
from mmtp_jax.fitting.weights import Weights
from mmtp_jax.interfaces.evaluation import evaluate_structures
from mmtp_jax.io.atoms import to_atoms
from mmtp_jax.io.convert import structures_for
from mmtp_jax.io.labels import count_labels
from mmtp_jax.io.missing_moments import with_moments

SPECIES = ("Fe", "Al")


def new(non_magnetic=("Al",), seed=0, **more):
    return mmtp.Potential.new(
        level=4, species=SPECIES, radial_size=3, cutoff=4.0, min_dist=1.6, form="parity",
        max_magmom=3.0, non_magnetic=non_magnetic, seed=seed, **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def atoms_list(random_structure):
    """Labels of a teacher in which Al is non-magnetic, and moments of Al that mean nothing."""
    teacher = new(seed=1)
    teacher = teacher.replace(moment_coeffs=np.ones_like(teacher.moment_coeffs))
    found = []
    for seed in range(6):
        structure = random_structure(seed, 4)
        small = np.where(structure.types == 1, 0.04, structure.magmoms)
        structure = replace(structure, magmoms=small)
        (result,) = evaluate_structures(teacher, [structure])
        # What a DFT code gives at such an atom, where the potential has no energy.
        forces = np.where(structure.types == 1, 0.5, result.magnetic_forces)
        result = replace(result, magnetic_forces=forces)
        found.append(to_atoms(structure, result, SPECIES))
    return found


@pytest.fixture(scope="module")
def structures(atoms_list):
    with pytest.warns(mmtp.NonMagneticWarning, match="12 moments of Al in 6 of 6 .* the largest 0"):
        return structures_for(new(), atoms_list)


def test_their_magnetic_forces_are_no_labels(structures, atoms_list):
    assert not any(s.magmoms[s.types == 1].any() for s in structures)
    prepared = PreparedSet.of(structures, 4.0)
    targets = make_targets(structures, prepared.batches, Weights())
    assert sum(int((t.weights.magnetic_forces > 0).sum()) for t in targets) == 12
    # One energy, 12 forces, six stresses, and dE/dm of two atoms each.
    assert count_numbers(structures) == 6 * 21
    results = evaluate_structures(new(), structures)
    labels, predicted, n = comparison(structures, results)["magnetic_forces"]
    assert labels.shape == predicted.shape == (12,)
    assert n == 6
    counts = count_labels(structures, atoms_list)
    assert counts.numbers["magnetic_forces"] == counts.numbers["magmoms"] == 12
    assert "magnetic forces of atoms of non-magnetic species (6)" in str(counts)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", ["lbfgs", "gauss-newton"])
def test_fit(method, atoms_list):
    start = new()
    fit = mmtp.fit(start, atoms_list, method=method, max_iterations=8, coarse_to_fine="off")
    found = fit.potential
    assert fit.history[-1] < 0.5 * fit.history[0]
    assert found.non_magnetic == ("Al",)
    assert not np.any(found.radial_coeffs[1, ..., 1:, :])
    assert not np.any(found.radial_coeffs[:, 1, ..., 1:])
    assert found.max_magmom[1] == 0.1
    assert fit.report.training["magnetic_forces"].n_values == 12
    # A number for each species may repeat the declaration; it cannot make one.
    assert mmtp.fit(start, atoms_list, max_magmom=(3.0, 0.0), max_iterations=0) is not None
    with pytest.raises(ValueError, match="max_magmom is 0 for Al, but the start potential has"):
        mmtp.fit(new(()), atoms_list, max_magmom=(3.0, 0.0), max_iterations=0)


def test_the_declaration_is_suggested(structures, atoms_list):
    given = structures_for(new(()), atoms_list)
    (sentence,) = uncovered(new(()), given)
    assert sentence == (
        'moments of Al in the training set are at most 0.04 mu_B: non_magnetic=("Al") would '
        f"declare that they have none, with {new().n_parameters} parameters in place of "
        f"{new(()).n_parameters}"
    )
    assert uncovered(new(), structures) == []
    # No species stands out where all moments are small.
    small = [replace(s, magmoms=0.02 * np.sign(s.magmoms)) for s in given]
    assert uncovered(new((), magnetic_size=2), small) == []


def test_configurations_of_them_alone_may_lack_moments(atoms_list):
    aluminium = atoms_list[0].copy()
    aluminium.symbols[:] = "Al"
    aluminium.arrays.pop("initial_magmoms", None)
    assert with_moments([aluminium], non_magnetic=("Al",)) == [aluminium]
    with pytest.raises(ValueError, match="no magnetic moments"):
        with_moments([aluminium])
    (structure,) = structures_for(new(), [aluminium])
    assert structure.moments_known
