"""A small data set with all labels, from a teacher of the same form as the student."""

from __future__ import annotations

import pytest

from mmtp_jax.potential.potential import Potential
from mmtp_jax.structures.neighbours import neighbour_table
from mmtp_jax.structures.structure import Structure


@pytest.fixture(scope="module")
def teacher(random_potential) -> Potential:
    return random_potential(51, level=4, n_species=1, radial_size=3)


@pytest.fixture(scope="module")
def student() -> Potential:
    return Potential.new(
        level=4, species=("Fe",), radial_size=3, magnetic_size=2, form="symmetrised", min_dist=1.5,
        cutoff=4.0, max_magmom=3.0, seed=3,
    )  # fmt: skip


@pytest.fixture(scope="module")
def data(teacher, random_structure, labelled) -> list[Structure]:
    """Ten periodic configurations of two to four atoms.

    Their numbers of neighbours are alike, so that they make one graph and one compilation.
    """
    found: list[Structure] = []
    for seed in range(1000):
        structure = random_structure(seed, 2 + len(found) % 3, n_species=1, shortest=1.9)
        if 25 < neighbour_table(structure, 4.0).count.max() <= 30:
            found.append(structure)
        if len(found) == 10:
            return labelled(teacher, found)
    raise AssertionError("no structures with so many neighbours")


@pytest.fixture(scope="module")
def two_species_data(random_potential, random_structure, labelled) -> list[Structure]:
    """Eight configurations of two species; a potential of another form made the labels."""
    teacher = random_potential(52, level=6, radial_size=4)
    return labelled(teacher, [random_structure(k, 2 + k % 3, shortest=1.9) for k in range(8)])
