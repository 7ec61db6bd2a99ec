"""What ABINIT is told: facts about its input, not its text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mmtp_jax.oracles.abinit import AbinitOracle
from mmtp_jax.oracles.abinit.datasets import find_dataset
from mmtp_jax.oracles.abinit.inputs import (
    LADDER,
    input_text,
    kmesh_of,
    overlap_of,
    radii_of,
    variables_of,
)

BOHR = 0.529177210903


def told(oracle, atoms, *args, **options) -> dict[str, list[str]]:
    """The input as ABINIT reads it: words by variable."""
    datasets = {s: find_dataset(oracle.datasets[s], s) for s in set(atoms.symbols)}
    found: dict[str, list[str]] = {}
    name = ""
    for word in input_text(variables_of(oracle, datasets, atoms, *args, **options)).split():
        if word[0].isalpha() and word not in ("eV",) and not word.endswith('"'):
            name = word
            assert name not in found, f"{name} is given twice"
            found[name] = []
        else:
            found[name].append(word)
    return found


def numbers(words: list[str]) -> list[float]:
    return [float(word) for word in words]


@pytest.fixture
def nitride(dataset) -> AbinitOracle:
    return AbinitOracle(
        {"Cr": str(dataset("Cr", valence=6, radius=2.3)),
         "N": str(dataset("N", valence=5, radius=1.1))},
        constrained=("Cr",),
        hubbard={"Cr": (2, 3.0, 0.5)},
        kmesh=(3, 3, 2),
        extra={"ngfft": [20, 20, 24]},
    )  # fmt: skip


@pytest.fixture
def cells() -> Atoms:
    """Cr and N in mixed order, in a cell without right angles."""
    atoms = bulk("CrN", "rocksalt", a=4.14) * (2, 1, 1)
    atoms.rattle(0.1, seed=3)
    atoms.set_initial_magnetic_moments([2.5, 0.05, -2.25, 0.0])
    return atoms


def test_cell_positions_and_targets(nitride, cells) -> None:
    found = told(nitride, cells)
    assert found["natom"] == ["4"]
    assert found["typat"] == ["1", "2", "1", "2"]
    assert found["znucl"] == ["24", "7"]
    rprim = np.array(numbers(found["rprim"])).reshape(3, 3)
    np.testing.assert_allclose(rprim * BOHR, cells.cell.array, atol=1e-12)
    assert numbers(found["acell"]) == [1, 1, 1]
    xred = np.array(numbers(found["xred"])).reshape(-1, 3)
    np.testing.assert_allclose(xred @ cells.cell.array, cells.positions, atol=1e-12)
    spinat = np.array(numbers(found["spinat"])).reshape(-1, 3)
    np.testing.assert_array_equal(spinat[:, :2], 0.0)
    np.testing.assert_array_equal(spinat[:, 2], cells.get_initial_magnetic_moments())


def test_the_constraint_is_by_type_and_nothing_is_symmetrised(nitride, cells) -> None:
    found = told(nitride, cells)
    assert found["constraint_kind"] == ["1", "0"]
    assert numbers(found["ratsph"]) == [2.3, 2.0]
    assert found["iscf"] == ["7"]
    assert found["nsym"] == ["1"]
    assert (found["nsppol"], found["nspden"]) == (["2"], ["2"])
    assert (found["optforces"], found["optstress"]) == (["1"], ["1"])
    assert float(found["ecutsm"][0]) > 0.0
    free = told(nitride, cells, LADDER[0], constrain=False)
    assert "constraint_kind" not in free
    assert free["prtden"] == ["1"]
    assert "constraint_kind" not in told(
        AbinitOracle(nitride.datasets, constrained=()), cells, LADDER[0]
    )


def test_symmetry_is_looked_for_where_it_is_asked_for(nitride, cells) -> None:
    asked = replace(nitride, symmetry=True)
    found = told(asked, cells)
    assert (found["nsym"], found["chksymbreak"]) == (["0"], ["1"])
    vectors = cells.copy()
    del vectors.arrays["initial_magmoms"]
    vectors.set_initial_magnetic_moments(np.random.default_rng(4).normal(size=(4, 3)))
    assert told(asked, vectors)["nsym"] == ["1"]
    assert asked.fingerprint() == nitride.fingerprint(), "labels are the same"


def test_vectors_need_spinors_and_all_of_the_mesh(nitride, cells) -> None:
    collinear = told(nitride, cells)
    assert collinear["kptopt"] == ["1"]
    assert numbers(collinear["magcon_lambda"]) == [0.05]
    vectors = np.random.default_rng(3).normal(size=(4, 3))
    del cells.arrays["initial_magmoms"]
    cells.set_initial_magnetic_moments(vectors)
    found = told(nitride, cells)
    kinds = [found[name] for name in ("nsppol", "nspden", "nspinor", "pawspnorb", "kptopt")]
    assert kinds == [["1"], ["4"], ["2"], ["0"], ["4"]]
    assert int(found["nband"][0]) == 2 * int(collinear["nband"][0])
    spinat = np.array(numbers(found["spinat"])).reshape(-1, 3)
    np.testing.assert_allclose(spinat, vectors, atol=1e-12)
    assert found["constraint_kind"] == ["1", "0"]
    assert numbers(found["magcon_lambda"]) == [0.01]
    own = AbinitOracle(nitride.datasets, magcon_lambda=0.02)
    assert numbers(told(own, cells)["magcon_lambda"]) == [0.02]
    # Their mixing needs a longer memory in every attempt.
    assert "npulayit" not in collinear
    assert [told(nitride, cells, a)["npulayit"] for a in LADDER[:2]] == [["15"], ["15"]]


def test_bands_mesh_and_smearing(nitride, cells, dataset) -> None:
    found = told(nitride, cells)
    # (2 * 6 + 2 * 5) / 2 + 4 * 5
    assert found["nband"] == ["31"]
    assert found["ngkpt"] == ["3", "3", "2"]
    assert found["occopt"] == ["7"]
    assert told(AbinitOracle(nitride.datasets, bands=44), cells)["nband"] == ["44"]
    cold = AbinitOracle(nitride.datasets, smearing="cold", smearing_Ha=0.02)
    assert told(cold, cells)["occopt"] == ["4"]
    assert numbers(told(cold, cells)["tsmear"]) == [0.02]
    # 2 pi / 2.83 Angstrom = 2.22 / Angstrom
    cube = np.eye(3) * 2.83
    assert kmesh_of(AbinitOracle(nitride.datasets, kspacing=0.3), cube) == (8, 8, 8)
    assert kmesh_of(AbinitOracle(nitride.datasets, kspacing=0.56), cube) == (4, 4, 4)
    assert kmesh_of(AbinitOracle(nitride.datasets, kspacing=9.0), cube) == (1, 1, 1)
    # The last digit of a cell does not change the mesh.
    exact = 2 * np.pi / 2.83 / 4
    for factor in (1 - 1e-12, 1.0, 1 + 1e-12):
        mesh = kmesh_of(AbinitOracle(nitride.datasets, kspacing=exact), cube * factor)
        assert mesh == (4, 4, 4)
    # Sheared: spacings belong to the reciprocal vectors, not to the lengths of the cell's.
    sheared = np.array([[2.0, 0.0, 0.0], [8.0, 2.0, 0.0], [0.0, 0.0, 2.0]])
    spacing = 2 * np.pi / 2.0
    mesh = kmesh_of(AbinitOracle(nitride.datasets, kspacing=spacing), sheared)
    assert mesh == (5, 1, 1)


def test_hubbard_and_extra_variables(nitride, cells) -> None:
    found = told(nitride, cells)
    assert found["usepawu"] == ["1"]
    assert found["lpawu"] == ["2", "-1"]
    assert found["upawu"] == ["3", "0", "eV"]
    assert found["jpawu"] == ["0.5", "0", "eV"]
    assert found["ngfft"] == ["20", "20", "24"]


def test_help_with_convergence(nitride, cells) -> None:
    plain = told(nitride, cells, LADDER[0])
    assert "diemix" not in plain
    damped = told(nitride, cells, LADDER[1])
    assert (damped["diemix"], damped["npulayit"]) == (["0.35"], ["12"])
    assert int(damped["nstep"][0]) > int(plain["nstep"][0])
    restarted = told(nitride, cells, LADDER[2], density="free/runo_DEN")
    assert restarted["getden_filepath"] == ['"free/runo_DEN"']


def test_spheres_must_not_overlap(iron) -> None:
    radii = {"Fe": 2.2}
    assert overlap_of(iron, radii, [True, True]) is None
    iron.positions[1] = [1.3, 1.3, 1.3]
    sentence = overlap_of(iron, radii, [True, False])
    distance = iron.get_distance(0, 1, mic=True)
    assert f"atoms 0 (Fe) and 1 (Fe) overlap: they are {distance:.3f} Angstrom" in sentence
    assert "need 2.328" in sentence
    # Without constraint spheres only measure.
    assert overlap_of(iron, radii, [False, False]) is None
    # An atom may meet its own image.
    one = Atoms("Fe", cell=[2.3, 4.0, 4.0], pbc=True)
    assert "atoms 0 (Fe) and 0 (Fe)" in overlap_of(one, radii, [True])


def test_radii_are_at_least_those_of_the_dataset(dataset) -> None:
    name = str(dataset("Fe"))
    datasets = {"Fe": find_dataset(name, "Fe")}
    assert radii_of(AbinitOracle({"Fe": name}), datasets) == {"Fe": 2.2}
    assert radii_of(AbinitOracle({"Fe": name}, radii_bohr={"Fe": 2.3}), datasets) == {"Fe": 2.3}
    with pytest.raises(ValueError, match=r"radius 2.1 bohr of Fe is smaller than that of its PAW"):
        radii_of(AbinitOracle({"Fe": name}, radii_bohr={"Fe": 2.1}), datasets)
