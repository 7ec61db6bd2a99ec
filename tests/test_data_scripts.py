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
DATA = Path(mmtp.__file__).parent / "data"
CANTED = DATA / "canted"
LISTS = [("al", name) for name in ("start", "ideal", "test", "large")]
LISTS += [("pd", name) for name in ("start", "ideal", "along", "test")]


def script(name: str) -> dict:
    """What a script defines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        return runpy.run_path(str(SCRIPTS / name))


def assert_of_list(
    atoms: Atoms, of_list: Atoms, atol: float, held: np.ndarray | slice = slice(None)
) -> None:
    """That a label has the positions of its list, and within atol, mu_B, its moments."""
    np.testing.assert_allclose(atoms.positions, of_list.positions, atol=1e-6)
    change = atoms.get_initial_magnetic_moments() - of_list.get_initial_magnetic_moments()
    np.testing.assert_allclose(change[held], 0.0, atol=atol)


@pytest.fixture(scope="module")
def alloys() -> dict[str, dict]:
    return {other: script(f"make_fe_{other}_data.py") for other in ("al", "pd")}


@pytest.fixture(scope="module")
def all_lists(alloys) -> dict[str, dict[str, list[Atoms]]]:
    found = {other: {} for other in alloys}
    for other, name in LISTS:
        found[other][name] = alloys[other]["configurations"](name, 20)
    return found


@pytest.fixture(scope="module")
def fe_al(alloys) -> dict:
    return alloys["al"]


@pytest.fixture(scope="module")
def lists(all_lists) -> dict[str, list[Atoms]]:
    return all_lists["al"]


@pytest.fixture(scope="module")
def fe_pd(alloys) -> dict:
    return alloys["pd"]


@pytest.fixture(scope="module")
def lists_of_pd(all_lists) -> dict[str, list[Atoms]]:
    return all_lists["pd"]


def content(atoms: Atoms) -> float:
    """Of what is not iron."""
    return 1.0 - float(np.mean(atoms.symbols == "Fe"))


@pytest.mark.parametrize(("alloy", "name"), LISTS)
def test_a_longer_list_begins_as_a_shorter_one(alloys, all_lists, alloy, name) -> None:
    found = alloys[alloy]["configurations"](name, 7)
    for one, other in zip(found, all_lists[alloy][name], strict=False):
        assert one == other
        assert one.info == other.info
        np.testing.assert_array_equal(
            one.get_initial_magnetic_moments(), other.get_initial_magnetic_moments()
        )


@pytest.mark.parametrize(("alloy", "name"), LISTS)
def test_spheres_are_apart(alloys, all_lists, alloy, name) -> None:
    """All, but those of palladium whose moments are free where they are too close."""
    made = alloys[alloy]
    for atoms in all_lists[alloy][name]:
        oracle = made["oracle_of"](atoms)
        held = [symbol != "Pd" or oracle.holds(symbol) for symbol in atoms.symbols]
        assert overlap_of(atoms, made["ORACLE"].radii_bohr, held) is None


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


@pytest.mark.parametrize(("alloy", "a", "grids"), [("al", 2.9, (20, 30)), ("pd", 3.75, (27, 40))])
def test_all_cells_sample_the_same_points(alloys, all_lists, alloy, a, grids) -> None:
    """Meshes and FFT grids, counted for one cubic cell."""
    for atoms in (of for cells in all_lists[alloy].values() for of in cells):
        oracle = alloys[alloy]["oracle_of"](atoms)
        repeats = np.rint(atoms.cell.lengths() / a).astype(int)
        np.testing.assert_array_equal(oracle.kmesh * repeats, 4)
        np.testing.assert_array_equal(oracle.extra["ngfft"], grids[0] * repeats)
        np.testing.assert_array_equal(oracle.extra["ngfftdg"], grids[1] * repeats)
        assert (oracle.constrained != ()) == atoms.info["constrained"]


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


def test_lists_of_palladium_are_around_the_alloy_of_the_paper(lists_of_pd) -> None:
    assert {content(a) for a in lists_of_pd["start"]} == {0.0, 0.25, 0.375, 0.5}
    assert {len(a) for cells in lists_of_pd.values() for a in cells} == {4, 8}
    parameters = [np.cbrt(4 * a.get_volume() / len(a)) for a in lists_of_pd["start"]]
    assert min(parameters) < 3.65
    assert max(parameters) > 3.85


def test_palladium_is_held_where_its_spheres_are_apart(fe_pd, lists_of_pd) -> None:
    found = Counter(fe_pd["oracle_of"](a).constrained for a in lists_of_pd["start"])
    assert found[()] == 3
    assert found["Fe", "Pd"] > found["Fe",] > 0


def test_two_mirrors_are_left_along_one_axis(lists_of_pd) -> None:
    for atoms in lists_of_pd["along"]:
        assert np.count_nonzero(atoms.cell.array - np.diag(np.diag(atoms.cell.array))) == 0
        halves = 2 * atoms.get_scaled_positions()[:, :2]
        np.testing.assert_allclose(halves, np.rint(halves), atol=1e-9)
        assert np.ptp(atoms.positions[:, 2] % (atoms.cell[2, 2] / 4)) > 0.01


def test_sublattices_of_palladium_have_like_moments(fe_pd, lists_of_pd) -> None:
    sizes = {"L12": [1, 3], "L10": [2, 2], "A1": [4], "A1-layers": [2, 2], "L12-layers": [1, 1, 2],
             "D022": [2, 2, 4]}  # fmt: skip
    for atoms in lists_of_pd["ideal"]:
        if atoms.info["label"] in sizes:
            moments = atoms.get_initial_magnetic_moments().tolist()
            assert sorted(Counter(moments).values()) == sizes[atoms.info["label"]]
    assert len(fe_pd["equilibrium"]()) == len(fe_pd["ORDERED"]) * len(fe_pd["LATTICE"])


def test_shipped_labels_of_palladium_are_of_their_lists(fe_pd) -> None:
    for name in ("start", "ideal", "along", "test", "equilibrium"):
        labels = mmtp.read(DATA / "fe_pd" / f"{name}.extxyz")
        free = name == "equilibrium"
        number = 1 + max(atoms.info["config_id"] for atoms in labels)
        wanted = fe_pd["equilibrium"]() if free else fe_pd["configurations"](name, number)
        for atoms in labels:
            of_list = wanted[atoms.info["config_id"]]
            oracle = fe_pd["oracle_of"](of_list)
            held = np.array([oracle.holds(symbol) for symbol in of_list.symbols])
            assert_of_list(atoms, of_list, 2e-3, held)
            np.testing.assert_array_equal(atoms.arrays["magnetic_forces"][~held], 0.0)


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


def test_shipped_labels_of_iron_are_of_their_lists() -> None:
    iron = script("make_iron_data.py")
    for name in ("mixed", "long"):
        wanted = iron["configurations"](20, *iron["LISTS"][name])
        labels = mmtp.read(CANTED.parent / f"fe_cdft_{name}.extxyz")
        assert len(labels) > 10
        for atoms in labels:
            assert_of_list(atoms, wanted[atoms.info["config_id"]], 3e-3)


def test_shipped_canted_labels_are_of_their_list() -> None:
    iron = script("make_iron_data.py")
    for name, file in (("canted", "fe"), ("turned", "fe_turned")):
        wanted = iron["configurations"](36, *iron["LISTS"][name])
        # Their moments are those that were reached, by a residual of up to 1e-3.
        for atoms in mmtp.read(CANTED / f"{file}.extxyz", vectors=True):
            assert_of_list(atoms, wanted[atoms.info["config_id"]], 5e-3)
