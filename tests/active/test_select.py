"""Selection: what is taken, in which order, without duplicates."""

from dataclasses import replace

import numpy as np
import pytest

import mmtp_jax as mmtp
from mmtp_jax.active.select import Selection, first_of_its_kind, select


@pytest.fixture(scope="module")
def potential(random_potential):
    return random_potential(3, level=6, n_species=1, radial_size=3)


@pytest.fixture(scope="module")
def structures(random_structure):
    return [random_structure(100 + k, 3, n_species=1) for k in range(26)]


@pytest.fixture(scope="module")
def active(potential, structures):
    return mmtp.ActiveSet.from_configurations(potential, structures[:10])


def test_selected_candidates_leave_none_to_extrapolate(active, structures):
    candidates = structures[5:]
    selection = Selection.of(active, candidates)
    np.testing.assert_array_equal(select(active, candidates), selection.indices)
    assert 0 < len(selection.indices) < len(candidates)
    # The first five are training configurations.
    assert selection.indices.min() >= 5
    np.testing.assert_allclose(selection.candidate_grades, active.grade(candidates), rtol=1e-9)
    assert selection.active.grade(candidates).max() <= 1.0 + active.tolerance + 1e-9
    # What it takes is enough: the others add nothing.
    chosen = [candidates[k] for k in selection.indices]
    again = Selection.of(active.update(chosen)[0], candidates)
    assert len(again.indices) <= 1


def test_selected_configurations_have_more_to_say_than_random_ones(active, structures):
    candidates = structures[10:]
    chosen = select(active, candidates, limit=4)
    of_chosen = active.update([candidates[k] for k in chosen])[0].log_volume
    rng = np.random.default_rng(0)
    for _ in range(5):
        random = rng.choice(len(candidates), 4, replace=False)
        assert active.update([candidates[k] for k in random])[0].log_volume < of_chosen


def test_limit_keeps_the_first_that_are_taken(active, structures):
    candidates = structures[10:]
    whole = Selection.of(active, candidates)
    some = Selection.of(active, candidates, limit=3)
    assert len(some.indices) == len(some.grades) == 3
    assert set(some.indices) == set(whole.indices[:3])
    inside = some.active.active_configurations
    assert np.sum(inside >= active.n_seen) == 3
    with pytest.raises(ValueError, match="limit must be at least 1, got 0"):
        Selection.of(active, candidates, limit=0)


def test_duplicates_are_left_out_and_counted(active, structures):
    candidates = [structures[12], structures[13], structures[12], structures[14], structures[13]]
    selection = Selection.of(active, candidates)
    np.testing.assert_array_equal(selection.duplicates, [2, 4])
    assert not set(selection.indices) & {2, 4}
    np.testing.assert_allclose(selection.candidate_grades, active.grade(candidates), rtol=1e-9)
    alone = Selection.of(active, candidates[:2] + candidates[3:4])
    np.testing.assert_allclose(selection.grades, alone.grades, rtol=1e-9)


def test_no_candidates_give_no_selection(active):
    selection = Selection.of(active, [])
    assert len(selection.indices) == len(selection.candidate_grades) == 0
    assert selection.active is active


@pytest.mark.parametrize("periodic", [True, False, (True, True, False)])
def test_what_counts_as_the_same(periodic, random_structure):
    one = random_structure(1, 4, periodic=periodic)
    rng = np.random.default_rng(1)
    images = rng.integers(-2, 3, (4, 3)) @ one.cell
    different_order = replace(one, types=one.types[::-1].copy())
    if np.array_equal(different_order.types, one.types):
        different_order = replace(one, types=1 - one.types)
    others = {
        "itself": (one, True),
        "rounded": (replace(one, positions=np.round(one.positions, 5)), True),
        "in other images": (replace(one, positions=one.positions + images), True),
        "moved as a whole": (
            replace(one, positions=one.positions + np.array([0.3, -9.1, 2.2])),
            True,
        ),
        "one atom moved": (replace(one, positions=one.positions + 1e-3 * np.eye(4, 3)), False),
        "another moment": (replace(one, magmoms=one.magmoms + 1e-3 * np.eye(1, 4)[0]), False),
        "moments reversed": (replace(one, magmoms=-one.magmoms), False),
        "vectors": (replace(one, magmoms=np.outer(one.magmoms, [0.0, 0.0, 1.0])), False),
        "strained": (replace(one, cell=1.001 * one.cell), not np.any(one.periodic)),
        "other species": (different_order, False),
        "fewer atoms": (random_structure(1, 3, periodic=periodic), False),
        "not periodic": (replace(one, periodic=~one.periodic), False),
    }
    for name, (other, same) in others.items():
        np.testing.assert_array_equal(
            first_of_its_kind([one, other]), [0, 0 if same else 1], err_msg=name
        )
    everything = [one, *(other for other, _ in others.values())]
    firsts = first_of_its_kind(everything)
    assert np.all(firsts[firsts] == firsts)
    assert np.sum(firsts == 0) == 1 + sum(same for _, same in others.values())
