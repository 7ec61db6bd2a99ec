"""Warnings about distances and moments outside of the intervals of a potential."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from mmtp_jax.fitting.initial import data_domain, shortest_distance, with_domain
from mmtp_jax.interfaces.evaluation import evaluate_structures
from mmtp_jax.potential.potential import Potential
from mmtp_jax.structures.domain import ExtrapolationWarning, check_domain
from mmtp_jax.structures.neighbours import neighbour_table
from mmtp_jax.structures.structure import Structure

POTENTIAL = Potential.new(
    level=2, species=("Fe", "Al"), radial_size=2, min_dist=2.0, cutoff=4.0, max_magmom=(2.5, 0.5)
)


def chain(distances, magmoms=None, types=None, name="chain"):
    """Atoms along a line, free."""
    z = np.concatenate([[0.0], np.cumsum(distances)])
    n = len(z)
    return Structure(
        cell=np.zeros((3, 3)),
        periodic=np.zeros(3, bool),
        positions=np.column_stack([np.zeros(n), np.zeros(n), z]),
        types=np.zeros(n, np.int32) if types is None else np.array(types, np.int32),
        magmoms=np.zeros(n) if magmoms is None else np.array(magmoms, float),
        name=name,
    )


def report(*structures):
    tables = [neighbour_table(s, float(POTENTIAL.cutoff)) for s in structures]
    return check_domain(POTENTIAL, structures, tables)


def test_nothing_is_said_inside_of_the_domain():
    inside = report(chain([2.0, 2.5], [2.5, -2.5, 0.0]), chain([3.0], [0.5, -0.5], [1, 1]))
    assert inside.messages() == []
    assert (inside.n_close_pairs, inside.n_magmoms) == (0, 0)
    assert inside.shortest == 2.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inside.warn()


def test_close_pairs_are_counted_once_each_and_named():
    found = report(chain([2.1], name="good"), chain([1.5, 1.2, 2.2], name="bad"))
    assert found.n_close_pairs == 2
    assert found.close_configurations == ("bad",)
    assert found.shortest == pytest.approx(1.2)
    (message,) = found.messages()
    assert "2 pairs in 1 of 2 configurations" in message
    assert "1.2000" in message
    assert "bad" in message


def test_large_moments_are_judged_by_the_interval_of_their_species():
    found = report(
        chain([2.5], [2.4, 0.6], [0, 1], name="al"), chain([2.5], [-2.7, 3.1], name="fe")
    )
    assert found.n_magmoms == 3
    assert found.magmom_configurations == ("al", "fe")
    assert found.largest == 3.1
    assert "first in al" in found.messages()[0]


def test_asymmetric_intervals_have_two_ends():
    potential = POTENTIAL.replace(min_magmom=np.array([-1.0, -0.5]))
    structures = [chain([2.5], [2.0, -1.0]), chain([2.5], [0.0, -2.0])]
    tables = [neighbour_table(s, 4.0) for s in structures]
    assert check_domain(potential, structures, tables).n_magmoms == 1


def test_a_training_set_is_inside_of_its_own_domain(random_structure):
    structures = [random_structure(k, 4) for k in range(5)]
    tables = [neighbour_table(s, 4.0) for s in structures]
    min_dist, max_magmom = data_domain(structures, tables, 2)
    potential = with_domain(POTENTIAL, min_dist=min_dist, max_magmom=max_magmom)
    assert check_domain(potential, structures, tables).messages() == []
    # A tenth of the shortest distance is room; below it one is outside.
    assert min_dist == 0.9 * shortest_distance(tables)
    squeezed = [replace(s, cell=0.89 * s.cell, positions=0.89 * s.positions) for s in structures]
    tables = [neighbour_table(s, 4.0) for s in squeezed]
    assert check_domain(potential, squeezed, tables).n_close_pairs >= 1


def test_evaluation_warns_and_goes_on():
    with pytest.warns(ExtrapolationWarning, match="closer than min_dist"):
        (close,) = evaluate_structures(POTENTIAL, [chain([1.5])])
    with pytest.warns(
        ExtrapolationWarning, match=r"^1 moments in 1 of 1 configurations .* mu_B; largest 3.0000"
    ):
        (large,) = evaluate_structures(POTENTIAL, [chain([2.5], [3.0, 0.0])])
    assert np.isfinite(close.energy)
    assert np.isfinite(large.energy)
