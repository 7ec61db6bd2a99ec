"""Lists of the scripts that make DFT data: always the same, of one sampling, and what they say."""

from __future__ import annotations

import runpy
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

import mmtp_jax as mmtp
from mmtp_jax.oracles.abinit.inputs import overlap_of

SCRIPTS = Path(__file__).parents[1] / "scripts"
CANTED = Path(mmtp.__file__).parent / "data" / "canted"
LISTS = ("start", "ideal", "test", "large")


def script(name: str) -> dict:
    """What a script defines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        return runpy.run_path(str(SCRIPTS / name))


@pytest.fixture(scope="module")
def fe_al() -> dict:
    return script("make_fe_al_data.py")


@pytest.fixture(scope="module")
def lists(fe_al) -> dict[str, list[Atoms]]:
    return {name: fe_al["configurations"](name, 20) for name in LISTS}


def content(atoms: Atoms) -> float:
    """Of aluminium."""
    return float(np.mean(atoms.symbols == "Al"))


@pytest.mark.parametrize("name", LISTS)
def test_a_longer_list_begins_as_a_shorter_one(fe_al, lists, name) -> None:
    for one, other in zip(fe_al["configurations"](name, 7), lists[name], strict=False):
        assert one == other
        assert one.info == other.info
        np.testing.assert_array_equal(
            one.get_initial_magnetic_moments(), other.get_initial_magnetic_moments()
        )


@pytest.mark.parametrize("name", LISTS)
def test_spheres_are_apart(fe_al, lists, name) -> None:
    radii = fe_al["ORACLE"].radii_bohr
    assert all(overlap_of(a, radii, [True] * len(a)) is None for a in lists[name])


def test_lists_have_the_contents_of_the_paper(lists) -> None:
    """Sixteen atoms are needed for 1/16; beside the tests only symmetry makes them affordable."""
    small = {0.0, 0.125, 0.25, 0.375, 0.5}
    assert {content(a) for a in lists["start"]} == small
    assert {content(a) for a in lists["ideal"]} == small | {0.0625}
    assert {len(a) for name in ("start", "test") for a in lists[name]} == {2, 4, 8}


def test_moments_are_out_of_equilibrium_but_for_three_of_twenty(lists) -> None:
    start = lists["start"]
    assert sum(not a.info["constrained"] for a in start) == 3
    for atoms in start:
        moments = atoms.get_initial_magnetic_moments()
        iron = moments[atoms.symbols == "Fe"]
        assert np.sum(iron < 0.0) == atoms.info["label"].endswith("flip")
        assert np.abs(iron).max() <= 2.9
        assert np.abs(moments[atoms.symbols == "Al"]).max(initial=0.0) < 0.13


def test_aluminium_is_against_its_neighbours(lists) -> None:
    fm = [a for a in lists["start"] if a.info["label"].endswith("fm")]
    moments = np.concatenate([a.get_initial_magnetic_moments()[a.symbols == "Al"] for a in fm])
    assert -0.05 < moments.mean() < -0.02


def test_all_cells_sample_the_same_points(fe_al, lists) -> None:
    """Meshes and FFT grids, counted for one cubic cell."""
    for atoms in (a for cells in lists.values() for a in cells):
        oracle = fe_al["oracle_of"](atoms)
        repeats = np.rint(atoms.cell.lengths() / 2.9).astype(int)
        np.testing.assert_array_equal(oracle.kmesh * repeats, 4)
        np.testing.assert_array_equal(oracle.extra["ngfft"], 20 * repeats)
        np.testing.assert_array_equal(oracle.extra["ngfftdg"], 30 * repeats)
        assert (oracle.constrained is None) == atoms.info["constrained"]


def test_like_sites_have_like_moments(lists) -> None:
    cells = {a.info["label"]: a for a in lists["ideal"]}
    sublattices = {
        "A2": [2],
        "B2": [1, 1],
        "D03": [4, 4, 8],
        "B32": [8, 8],
        "Fe15Al": [1, 1, 3, 3, 8],
    }
    for label, sizes in sublattices.items():
        atoms = cells[label]
        moments = atoms.get_initial_magnetic_moments().tolist()
        found = Counter(zip(atoms.get_chemical_symbols(), moments, strict=True))
        assert sorted(found.values()) == sizes


def test_free_moments_have_each_content_at_five_volumes(fe_al) -> None:
    cells = fe_al["equilibrium"]()
    assert [a.info["config_id"] for a in cells] == list(range(len(cells)))
    alloys = [a for a in cells if a.info["label"] != "fcc"]
    assert {content(a) for a in alloys} == {0.0, 0.0625, 0.125, 0.25, 0.375, 0.5}
    more = {kind: len(lattice) for kind, lattice in fe_al["WIDE"].items()}
    for kind, number in Counter(a.info["label"] for a in cells).items():
        assert number == 5 + more.get(kind, 0)
    # So that what is added leaves the others where they were.
    assert [a.info["label"] for a in cells[-sum(more.values()) :]] == ["Fe2Al2"]
    assert len({round(a.get_volume() / len(a), 6) for a in alloys}) == 6
    for atoms in cells:
        assert fe_al["oracle_of"](atoms).constrained == ()
        assert atoms.pbc.all()


def test_the_settings_are_those_of_iron(fe_al) -> None:
    """So that its labels are of the same making."""
    iron, alloy = fe_al["IRON"], fe_al["ORACLE"]
    assert alloy.varied(datasets=iron.datasets, radii_bohr=iron.radii_bohr) == iron


def test_energies_of_turned_iron_are_those_of_its_torques() -> None:
    """Within the 5 % that PAW with gradients leaves open across moments."""
    labels = mmtp.read(CANTED / "fe_turned.extxyz", vectors=True)
    angles, energies, torques = [], [], []
    for atoms in labels:
        first, second = atoms.get_initial_magnetic_moments()
        assert np.linalg.norm([first, second], axis=1) == pytest.approx(2.2, abs=3e-3)
        angles.append(np.arctan2(np.cross(first, second)[2], first @ second))
        energies.append(atoms.get_potential_energy())
        torques.append(-np.cross(second, atoms.arrays["magnetic_forces"][1])[2])
    order = np.argsort(angles)
    angles, energies, torques = (np.array(of)[order] for of in (angles, energies, torques))
    waves = np.arange(1, 4)
    c = np.linalg.lstsq(np.sin(np.outer(angles, waves)), torques, rcond=None)[0]
    integrals = np.cos(np.outer(angles, waves)) @ (-c / waves)
    assert np.diff(integrals) == pytest.approx(np.diff(energies), rel=0.06)
    assert (np.diff(energies) > 0.1).all()


def test_half_of_mixed_moments_are_against_the_others() -> None:
    """Their lengths leave the symmetry that their signs have."""
    spglib = pytest.importorskip("spglib")
    iron = script("make_iron_data.py")
    numbers = set()
    for atoms in iron["configurations"](12, *iron["LISTS"]["mixed"]):
        moments = atoms.get_initial_magnetic_moments()
        assert np.sum(moments > 0.0) == len(atoms) / 2
        cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
        of_signs, of_all = (
            len(spglib.get_magnetic_symmetry((*cell, of))["rotations"])
            for of in (np.sign(moments), moments)
        )
        assert of_all == of_signs
        numbers.add(of_all)
        assert iron["oracle_of"](atoms).symmetry
    assert min(numbers) >= 4


def test_shipped_canted_labels_are_of_their_list() -> None:
    iron = script("make_iron_data.py")
    for name, file in (("canted", "fe"), ("turned", "fe_turned")):
        wanted = iron["configurations"](36, *iron["LISTS"][name])
        # Their moments are those that were reached, by a residual of up to 1e-3.
        for atoms in mmtp.read(CANTED / f"{file}.extxyz", vectors=True):
            of_list = wanted[atoms.info["config_id"]]
            np.testing.assert_allclose(atoms.positions, of_list.positions, atol=1e-6)
            np.testing.assert_allclose(
                atoms.get_initial_magnetic_moments(),
                of_list.get_initial_magnetic_moments(),
                atol=5e-3,
            )
