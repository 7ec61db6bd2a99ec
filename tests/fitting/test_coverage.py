"""What a fit says of labels that simulations will ask for and the training set does not have."""

import warnings
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest

import mmtp_jax as mmtp
from mmtp_jax.fitting.coverage import (
    MOST_SENTENCES,
    CoverageWarning,
    few_labels,
    missing_labels,
    uncovered,
    warn_of_coverage,
    warn_of_terms,
)
from mmtp_jax.fitting.prepared import PreparedSet
from mmtp_jax.io.convert import to_structures
from mmtp_jax.language import speaking


@pytest.fixture(scope="module")
def iron():
    atoms_list = mmtp.read(str(files("mmtp_jax") / "data" / "fe_cdft.extxyz"))
    return to_structures([atoms for atoms in atoms_list if len(atoms) == 2], ("Fe",))


@pytest.fixture(scope="module")
def potential():
    return mmtp.Potential.new(level=4, species=("Fe",), radial_size=4, cutoff=4.2)


def without(structures, *kinds):
    return [replace(s, **dict.fromkeys(kinds)) for s in structures]


def test_shipped_iron_lacks_nothing(iron, potential):
    assert missing_labels(potential, iron) == []


def test_canted_configurations_on_sites_of_symmetry(iron, potential):
    terms = potential.with_noncollinear_terms(1)
    still = replace(
        iron[0], magmoms=2.0 * np.eye(2, 3), magnetic_forces=None, forces=np.zeros((2, 3))
    )
    (sentence,) = uncovered(terms, [*iron, still])
    assert sentence.startswith("the forces on all canted configurations are zero")
    moved = replace(still, forces=np.array([[0.1, 0.0, 0.0], [-0.1, 0.0, 0.0]]))
    assert uncovered(terms, [*iron, still, moved]) == []
    assert uncovered(terms, [*iron, replace(still, forces=None)]) == []
    assert uncovered(potential, [*iron, still]) == []


def test_terms_that_are_large_in_larger_cells() -> None:
    """Canted cells of two atoms leave them to anything in larger ones, which a fit says."""
    folder = files("mmtp_jax") / "data"
    collinear = mmtp.read(str(folder / "fe_cdft.extxyz"))[:20]
    canted = mmtp.read(str(folder / "canted" / "fe.extxyz"))[:12]
    start = mmtp.Potential.new(level=4, species=("Fe",), radial_size=4, cutoff=4.2)
    options = {"max_iterations": 1, "making": "ignore"}
    with pytest.warns(CoverageWarning, match="canted cells doubled.*cells of 2 atoms do not"):
        fit = mmtp.fit(start.with_noncollinear_terms(1), [*collinear, *canted], **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CoverageWarning)
        without = fit.potential.replace(noncollinear=None)
        warn_of_terms(without, PreparedSet.of(to_structures(canted, ("Fe",), vectors=True), 4.2))


def test_no_magnetic_forces(iron, potential):
    bare = without(iron, "magnetic_forces")
    (sentence,) = missing_labels(potential, bare)
    assert "no configuration has magnetic forces T = -dE/dm" in sentence
    assert sentence.endswith('moments_at_equilibrium="all"')
    with speaking("options"):
        assert missing_labels(potential, bare)[0].endswith("--moments-at-equilibrium all")
    # Weights of zero are a choice, and potentials without moments have no such labels.
    assert missing_labels(potential, bare, mmtp.Weights(magnetic_forces=0.0)) == []
    plain = mmtp.Potential.new(level=4, species=("Fe",), radial_size=4, magnetic_size=1)
    assert missing_labels(plain, bare) == []


def test_all_moments_at_equilibrium(iron, potential):
    still = [replace(s, magnetic_forces=np.full(len(s), 4e-3)) for s in iron]
    (sentence,) = missing_labels(potential, still)
    assert "all magnetic forces are below 5 meV/mu_B" in sentence
    assert (
        missing_labels(potential, [*still[1:], replace(still[0], magnetic_forces=[0.1, 0])]) == []
    )
    # Without moments there is nothing to equilibrate.
    nonmagnetic = [replace(s, magmoms=np.zeros(len(s))) for s in still]
    assert missing_labels(potential, nonmagnetic) == []


def test_no_forces_and_no_stress(iron, potential):
    found = missing_labels(potential, without(iron, "forces", "stress"))
    assert [s.split(":")[0] for s in found] == [
        "no configuration has forces",
        "no configuration has a stress, though their volumes differ",
    ]
    alike = [s for s in without(iron, "stress") if abs(s.volume - iron[0].volume) < 1e-6]
    assert not any("stress" in s for s in missing_labels(potential, alike))


def test_one_magnetic_pattern(iron, potential):
    parallel = [s for s in iron if np.prod(s.magmoms) > 0.0]
    (sentence,) = missing_labels(potential, parallel)
    assert f"point one way ({len(parallel)} of them are magnetic)" in sentence
    turned = np.array([[0.0, 0.0, 1.0], [0.8, 0.0, 0.6]])
    canted = replace(parallel[0], magmoms=turned, magnetic_forces=turned)
    assert not any("one way" in s for s in missing_labels(potential, [canted, *parallel]))
    # One configuration the other way round is the same pattern, one with opposite moments is not.
    reversed_ = replace(parallel[0], magmoms=-parallel[0].magmoms)
    assert len(missing_labels(potential, [*parallel, reversed_])) == 1
    opposite = replace(parallel[0], magmoms=np.array([2.0, -2.0]))
    assert missing_labels(potential, [*parallel, opposite]) == []
    # A small moment that is induced by the others is no antiferromagnet.
    induced = replace(parallel[0], magmoms=np.array([2.0, -0.1]))
    assert len(missing_labels(potential, [*parallel, induced])) == 1


def test_three_sentences_at_most(iron):
    large = mmtp.Potential.new(level=10, species=("Fe",))
    poor = without(
        [s for s in iron if np.prod(s.magmoms) > 0.0], "forces", "stress", "magnetic_forces"
    )
    assert len(missing_labels(large, poor)) == 4
    with pytest.warns(CoverageWarning) as told:
        warn_of_coverage(large, poor)
    assert len(told) == MOST_SENTENCES
    assert f"the labels have {len(poor)} numbers, fewer than" in str(told[0].message)


@pytest.mark.parametrize("form", ["parity", "symmetrised"])
def test_few_labels_name_a_smaller_potential_of_the_same_form(form, iron):
    large = mmtp.Potential.new(level=16, species=("Fe",), form=form)
    (sentence,) = few_labels(large, iron[:20])
    level, size = (int(word.split("=")[1]) for word in sentence.split() if "=" in word)
    smaller = mmtp.Potential.new(level=level, species=("Fe",), radial_size=size, form=form)
    assert f"({smaller.n_parameters} parameters)" in sentence
    assert few_labels(smaller, iron[:20]) == []
