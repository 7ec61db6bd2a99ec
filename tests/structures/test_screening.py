"""Labels that stand apart are found among few and many; honest data, however wide, pass."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mmtp_jax
from mmtp_jax.io.convert import to_structures
from mmtp_jax.io.reading import read
from mmtp_jax.structures.screening import (
    Diagnostics,
    OutlierWarning,
    screen,
    sentences,
    warn_of_outliers,
)
from mmtp_jax.structures.structure import Structure

NITRIDE = ("Cr", "N")
SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "crn"
DATA = Path(mmtp_jax.__path__[0]) / "data"


def labelled(energy, types=(0, 0, 0, 0, 1, 1, 1, 1), volume=9.0, force=1.0, stress=0.05, t=0.8):
    """A cell with labels of these sizes; energy and volume per atom."""
    n = len(types)
    return Structure(
        cell=np.eye(3) * (volume * n) ** (1 / 3),
        periodic=np.ones(3, bool),
        positions=np.zeros((n, 3)),
        types=np.array(types),
        magmoms=np.zeros(n),
        energy=energy * n,
        forces=np.full((n, 3), force / np.sqrt(3)),
        stress=stress * np.eye(3),
        magnetic_forces=np.linspace(0.0, t, n),
        name=f"{n} atoms at {energy:.3f}",
    )


@pytest.fixture
def nitride() -> list[Structure]:
    """18 cells of one compound, strained, in several magnetic states."""
    rng = np.random.default_rng(1)
    return [
        labelled(
            -279.0 + rng.uniform(-0.1, 0.3),
            volume=9.0 * (1.0 + rng.uniform(-0.08, 0.05)),
            force=rng.uniform(0.0, 3.0),
            stress=rng.uniform(0.0, 0.2),
            t=rng.uniform(0.4, 1.2),
        )
        for _ in range(18)
    ]


def with_ghosts(structures, *numbers):
    """The same, some in an electronic state far below."""
    found = list(structures)
    for k in numbers:
        forces = found[k].magnetic_forces.copy()
        forces[2] = 6.1
        found[k] = replace(
            found[k], energy=found[k].energy - 14.0 * len(found[k]), magnetic_forces=forces
        )
    return found


def indices(structures, species=NITRIDE, diagnostics=None):
    return [suspect.index for suspect in screen(structures, species, diagnostics)]


def test_ghosts_are_named_with_the_numbers_that_betray_them(nitride):
    first, second = screen(with_ghosts(nitride, 0, 5), NITRIDE)
    assert (first.index, second.index) == (0, 5)
    energy, slope = first.reasons
    assert "eV/atom below the median of 18 labels of CrN (limit 1" in energy
    assert "largest |dE/dm| 6.1 eV/mu_B" in slope
    assert str(first).startswith(first.name + ": energy -29")
    assert screen(nitride, NITRIDE) == []


@pytest.mark.parametrize("seed", range(20))
def test_order_and_choice_do_not_matter(nitride, seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(5, 19))
    chosen = rng.permutation(18)[:n]
    haunted = with_ghosts(nitride, 0, 5)
    wanted = {int(k) for k in chosen if k in (0, 5)}
    assert {int(chosen[i]) for i in indices([haunted[k] for k in chosen])} == wanted


def test_few_labels(nitride):
    assert indices(with_ghosts(nitride[:5], 3)) == [3]
    # Two of four are no majority, three labels no crowd; with more of them they are judged again.
    haunted = with_ghosts(nitride, 0, 1)
    assert indices(haunted[:4]) == []
    assert indices(nitride[:2] + haunted[:1]) == []
    assert indices(haunted[:6]) == [0, 1]


def test_compositions_with_few_labels_are_held_against_a_fit_by_species(nitride):
    chromium = [labelled(-400.0, types=(0, 0), volume=12.0) for _ in range(9)]
    # e(Cr) = -400 and e(N) = -158 eV.
    others = [labelled(-310.0, types=(0,) * 5 + (1,) * 3), labelled(-338.5, types=(0, 0, 0, 1) * 2)]
    assert indices(nitride + chromium + others) == []
    others[0] = with_ghosts(others, 0)[0]
    (suspect,) = screen(nitride + chromium + others, NITRIDE)
    assert suspect.index == 27
    assert "eV/atom below a fit by species to 29 labels" in suspect.reasons[0]
    assert "6.1 eV/mu_B" in suspect.reasons[1]
    # Where most of a few are wrong, the other compositions tell.
    most = [replace(others[1], energy=others[1].energy - d) for d in (80.0, 83.0, 92.0, 0.0, 7.0)]
    found = screen(nitride + chromium + most, NITRIDE)
    assert [s.index for s in found] == [27, 28, 29]
    assert "a fit by species to 32 labels" in found[0].reasons[0]


def test_wide_but_honest_data_pass():
    iron = ("Fe",)
    narrow = [labelled(-8.0 + 0.001 * k, (0, 0), 11.5, force=0.0, t=0.0) for k in range(20)]
    # Compressed to two thirds and expanded; hot; in another state; an atom alone in its cell.
    strained = [
        labelled(-6.3, (0, 0), 11.5 * 0.67, stress=1.1),
        labelled(-6.6, (0, 0), 11.5 * 1.6),
        labelled(-7.3, (0, 0), 12.0, force=12.0, t=2.0),
        labelled(-3.2, (0,), 1000.0),
    ]
    assert indices(narrow + strained, iron) == []
    # The same energy without the strain is no honest one.
    assert indices([*narrow, labelled(-6.6, (0, 0), 11.6)], iron) == [20]


@pytest.mark.parametrize("more", [False, True])
def test_the_shipped_labels_of_iron_pass(more):
    files = ["fe_cdft.extxyz", *(["fe_cdft_more.extxyz"] if more else [])]
    iron = [s for file in files for s in to_structures(read(DATA / file), ("Fe",))]
    assert indices(iron, ("Fe",)) == []
    rng = np.random.default_rng(3)
    for n in [4, 5, 8, 12, 20, 50] * 10:
        assert indices([iron[k] for k in rng.permutation(len(iron))[:n]], ("Fe",)) == []
    wrong = replace(iron[7], energy=iron[7].energy + 2.0 * len(iron[7]))
    assert indices([*iron, wrong], ("Fe",)) == [len(iron)]


@pytest.mark.parametrize(
    ("name", "wanted"), [("ghosts.extxyz", [0, 5]), ("mixed_meshes.extxyz", [])]
)
def test_labels_of_chromium_nitride(name, wanted):
    if not (SHARED / name).exists():
        pytest.skip("the labels of chromium nitride are not here")
    assert indices(to_structures(read(SHARED / name), NITRIDE)) == wanted


def test_labels_of_different_making_are_not_compared(nitride):
    other = [replace(s, energy=s.energy - 8000.0, making="code: B") for s in nitride[:5]]
    first = [replace(s, making="code: A", kmesh=(2, 2, 2 + k % 2)) for k, s in enumerate(nitride)]
    assert indices(first + other) == []
    # Meshes make no difference here, and of what is unknown the most frequent is assumed.
    unknown = replace(first[7], making="", energy=first[7].energy - 100.0)
    assert indices([*with_ghosts(first, 3), *other, unknown]) == [3, 23]


def test_what_the_engine_tells_is_compared(nitride):
    # Charges in spheres follow the volume; one electron more is another matter.
    more = [2.3 * np.log(9.0 * len(s) / s.volume) for s in nitride]
    charges = [(4.7 + q,) * 4 + (2.75,) * 4 for q in more]
    charges[3] = (*charges[3][:2], charges[3][2] + 1.0, *charges[3][3:])
    told = [Diagnostics(charges=c, negative_share=0.001, energy_gap=0.1) for c in charges]
    told[4] = replace(told[4], negative_share=0.25)
    told[6] = replace(told[6], energy_gap=19.0)
    told[7] = None
    found = {s.index: str(s) for s in screen(nitride, NITRIDE, told)}
    assert list(found) == [3, 4, 6]
    q = 4.7 + more[3]
    assert f"{q + 1:.2f} electrons in the sphere of atom 2 (Cr), by the other 67 it" in found[3]
    assert f"would be {q:.2f} (limit 0.5 from it)" in found[3]
    wide = [replace(s, cell=s.cell * (0.9 if k == 8 else 1.0)) for k, s in enumerate(nitride)]
    charges[8] = (4.7 + more[8] - 2.3 * 3 * np.log(0.9),) * 4 + (2.75,) * 4
    charges[3] = charges[2]
    assert indices(wide, diagnostics=[Diagnostics(charges=c) for c in charges]) == []
    assert "negative density on 25.0 % of the grid, the median is 0.1 %" in found[4]
    assert "double-counting energy differ by 2.38 eV/atom" in found[6]


def test_forces_and_stress_have_limits_of_their_own(nitride):
    nitride[2] = replace(nitride[2], forces=nitride[2].forces * 50.0)
    nitride[9] = replace(nitride[9], stress=2.0 * np.eye(3))
    found = screen(nitride, NITRIDE)
    assert [s.index for s in found] == [2, 9]
    assert "largest force" in found[0].reasons[0]
    assert "largest stress 2 eV/Angstrom^3" in found[1].reasons[0]


def test_missing_labels_are_no_reason(nitride):
    bare = [replace(s, energy=None, stress=None, magnetic_forces=None) for s in nitride]
    assert indices(bare) == []
    assert indices(bare[:9] + with_ghosts(nitride, 17)[9:]) == [17]
    assert screen([], NITRIDE) == []


@pytest.mark.filterwarnings("ignore:stands apart")
def test_the_list_is_counted_and_short(nitride):
    haunted = with_ghosts(nitride, *range(7))
    lines = sentences(screen(haunted, NITRIDE), 18)
    assert lines[0].startswith("7 of 18 configurations have labels that stand apart")
    assert "another making" in lines[0]
    assert len(lines) == 7
    assert lines[-1] == "and 2 more that stand apart"
    with pytest.warns(OutlierWarning, match="1 of 18 configurations"):
        warn_of_outliers(with_ghosts(nitride, 3), NITRIDE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_outliers(nitride, NITRIDE)
