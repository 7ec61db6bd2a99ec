"""The loss of Kotykhov 2024, Eq. 8, against a loop in numpy, and its weights."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from mmtp_jax.fitting.dataset import make_targets
from mmtp_jax.fitting.loss import loss
from mmtp_jax.fitting.weights import Weights
from mmtp_jax.interfaces.evaluation import evaluate_structures
from mmtp_jax.structures.batch import make_batches, pack
from mmtp_jax.structures.neighbours import neighbour_table

KINDS = ("energy", "forces", "stress", "magnetic_forces")
compiled_loss = jax.jit(loss, static_argnames="chunk")


def loss_of(potential, structures, weights=Weights(), max_atoms=None):
    """The loss of one graph of a fixed shape, or of several of at most ``max_atoms``."""
    cutoff = float(potential.cutoff)
    if max_atoms is None:
        tables = [neighbour_table(s, cutoff) for s in structures]
        shape = {"n_atoms": 36, "width": 48, "n_configurations": 12}
        batches = [pack(structures, tables, cutoff, **shape)]
    else:
        batches = make_batches(structures, cutoff, max_atoms=max_atoms)
    targets = make_targets(structures, batches, weights)
    return float(compiled_loss(potential.flatten(), potential, targets))


def by_hand(potential, structures, weights=Weights()):
    """A sum over configurations; the mean of each kind is over those that have the label."""
    power_energy, power_forces = {
        "vibrations": (1, 0),
        "molecules": (0, 0),
        "structures": (2, 1),
    }[weights.scaling]
    sums, counts = dict.fromkeys(KINDS, 0.0), dict.fromkeys(KINDS, 0.0)
    for structure, got in zip(structures, evaluate_structures(potential, structures), strict=True):
        n, volume = len(structure), abs(np.linalg.det(structure.cell))
        squares = {}
        if structure.energy is not None:
            squares["energy"] = (got.energy - structure.energy) ** 2 / n**power_energy
        if structure.forces is not None:
            squares["forces"] = np.sum((got.forces - structure.forces) ** 2) / n**power_forces
        if structure.stress is not None:
            xx, yy, zz, yz, xz, xy = got.stress
            stress = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
            squares["stress"] = np.sum((volume * (stress - structure.stress)) ** 2)
            squares["stress"] /= n**power_energy
        if structure.magnetic_forces is not None:
            difference = got.magnetic_forces - structure.magnetic_forces
            squares["magnetic_forces"] = np.sum(difference**2) / n**power_forces
        for kind, square in squares.items():
            sums[kind] += structure.weight * square
            counts[kind] += structure.weight
    return sum(getattr(weights, k) * sums[k] / counts[k] for k in KINDS if counts[k])


@pytest.fixture(scope="module")
def two_sizes(data):
    assert {len(s) for s in data} == {2, 3, 4}
    return data


@pytest.mark.parametrize("scaling", ["vibrations", "molecules", "structures"])
def test_loss_is_the_weighted_sum_of_squares(scaling, student, two_sizes):
    weights = Weights(energy=0.7, forces=0.02, stress=0.003, magnetic_forces=0.4, scaling=scaling)
    expected = by_hand(student, two_sizes, weights)
    assert loss_of(student, two_sizes, weights) == pytest.approx(expected, rel=1e-12)


def test_scalings_differ_where_sizes_do(student, two_sizes):
    values = {
        loss_of(student, two_sizes, Weights(scaling=scaling))
        for scaling in ("vibrations", "molecules", "structures")
    }
    assert len(values) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_each_weight_is_that_of_its_kind(kind, student, two_sizes):
    only = dict.fromkeys(KINDS, 0.0) | {kind: 1.0}
    base = loss_of(student, two_sizes, Weights(**only))
    assert base > 1e-6
    only[kind] = 2.5
    assert loss_of(student, two_sizes, Weights(**only)) == pytest.approx(2.5 * base, rel=1e-12)
    without = [replace(s, **{kind: None}) for s in two_sizes]
    others = dict.fromkeys(KINDS, 1.0)
    full = loss_of(student, two_sizes, Weights(**others))
    rest = loss_of(student, without, Weights(**others))
    assert full - rest == pytest.approx(base, rel=1e-9)


def test_missing_labels_drop_out_of_sums_and_denominators(student, two_sizes):
    patchy = [
        replace(s, **{kind: None for bit, kind in enumerate(KINDS) if k >> bit & 1})
        for k, s in enumerate(two_sizes)
    ]
    assert sum(s.energy is None for s in patchy) > 0
    expected = by_hand(student, patchy)
    assert loss_of(student, patchy) == pytest.approx(expected, rel=1e-12)
    assert expected != pytest.approx(by_hand(student, two_sizes), rel=1e-3)


def test_a_configuration_without_labels_is_as_if_it_were_not_there(student, two_sizes):
    bare = replace(two_sizes[0], energy=None, forces=None, stress=None, magnetic_forces=None)
    with_it = loss_of(student, [*two_sizes[1:], bare])
    assert with_it == pytest.approx(loss_of(student, two_sizes[1:]), rel=1e-12)


def test_weight_two_is_the_configuration_twice(student, two_sizes):
    heavy = [replace(two_sizes[0], weight=2.0), *two_sizes[1:]]
    twice = [two_sizes[0], *two_sizes]
    assert loss_of(student, heavy) == pytest.approx(loss_of(student, twice), rel=1e-12)
    assert loss_of(student, heavy) == pytest.approx(by_hand(student, heavy), rel=1e-12)
    light = [replace(two_sizes[0], weight=0.0), *two_sizes[1:]]
    assert loss_of(student, light) == pytest.approx(loss_of(student, two_sizes[1:]), rel=1e-12)


def test_batching_and_padding_do_not_change_the_loss(student, two_sizes):
    expected = loss_of(student, two_sizes)
    assert loss_of(student, two_sizes, max_atoms=13) == pytest.approx(expected, rel=1e-12)
    # Another order is another place in the batch.
    assert loss_of(student, two_sizes[::-1]) == pytest.approx(expected, rel=1e-12)


def test_loss_is_zero_for_the_teacher(teacher, data):
    assert loss_of(teacher, data) < 1e-24


def test_stress_enters_as_stress_times_volume(student, data):
    """In eV, as in MLIP: a label off by d adds (d V)^2 / n of it."""
    only = Weights(energy=0.0, forces=0.0, stress=1.0, magnetic_forces=0.0)
    one = data[0]
    got = evaluate_structures(student, [one])[0].stress
    xx, yy, zz, yz, xz, xy = got
    exact = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    off = replace(one, stress=exact + np.diag([0.01, 0.0, 0.0]))
    expected = (0.01 * one.volume) ** 2 / len(one)
    assert loss_of(student, [off], only) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_weights_must_be_finite_and_not_negative(kind, value):
    with pytest.raises(ValueError, match=f"^{kind} must be"):
        Weights(**{kind: value})


def test_weights_must_not_all_be_zero():
    with pytest.raises(ValueError, match="all weights are zero"):
        Weights(energy=0, forces=0, stress=0, magnetic_forces=0)


def test_unknown_scaling_is_an_error_that_lists_the_known():
    with pytest.raises(ValueError, match=r"vibrations, molecules, structures, got 'atoms'"):
        Weights(scaling="atoms")


def test_defaults_are_those_of_the_paper():
    assert Weights().as_dict() == {
        "energy": 1.0,
        "forces": 0.01,
        "stress": 0.001,
        "magnetic_forces": 0.1,
        "scaling": "vibrations",
    }


def test_no_label_with_a_positive_weight_is_an_error(data):
    energies_only = [replace(s, forces=None, stress=None, magnetic_forces=None) for s in data[:2]]
    batches = make_batches(energies_only, 4.0)
    weights = Weights(energy=0.0)
    with pytest.raises(ValueError, match="of 2 configurations are energy, and their weights"):
        make_targets(energies_only, batches, weights)
    unweighted = [replace(s, weight=0.0) for s in energies_only]
    with pytest.raises(ValueError, match="energy, and their weights, or those of the config"):
        make_targets(unweighted, batches, Weights())
    nothing = [replace(s, energy=None) for s in energies_only]
    with pytest.raises(ValueError, match="nothing to fit to: 2 configurations without energy"):
        make_targets(nothing, batches, Weights())
