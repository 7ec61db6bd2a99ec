"""INCAR, KPOINTS, POSCAR and POTCAR, read back with ASE."""

import io
import pickle

import ase.io
import numpy as np
import pytest
from ase.calculators.vasp import Vasp

from mmtp_jax.oracles.meshes import plan_meshes
from mmtp_jax.oracles.vasp import VaspOracle
from mmtp_jax.oracles.vasp.inputs import (
    constrained,
    constrained_tags,
    incar,
    kpoints,
    poscar,
    unconstrained_tags,
)


def read_with_ase(text: str, tmp_path):
    """INCAR as ASE understands it, with lines joined as VASP joins them."""
    (tmp_path / "INCAR").write_text(text.replace("\\\n", ""))
    calculator = Vasp()
    calculator.read_incar(str(tmp_path / "INCAR"))
    return calculator


def test_the_constrained_incar_is_that_of_the_paper(vasp, tmp_path):
    oracle = vasp(incar_constrained={"NBANDS": 850})
    targets = np.linspace(-2.3, 2.3, 9)
    radii = np.array([1.404, 1.302])
    text = incar(constrained_tags(oracle, ("Fe", "Pd"), radii, targets, 0.8 * targets, weight=0.01))
    found = read_with_ase(text, tmp_path)
    assert found.string_params["algo"] == "Normal"
    assert found.exp_params["ediff"] == 1e-5
    assert found.float_params["encut"] == 500
    assert found.float_params["sigma"] == 0.1
    expected = {
        "icharg": 1, "istart": 1, "ismear": 1, "isym": 0, "lorbit": 11, "nelm": 200, "nelmin": 4,
        "nsw": 0, "nbands": 850, "ibrion": 1, "i_constrained_m": 2,
    }  # fmt: skip
    assert {key: found.int_params[key] for key in expected} == expected
    assert all(found.bool_params[key] for key in ("lcharg", "lwave", "lnoncollinear"))
    assert found.float_params["lambda"] == 0.01
    assert found.list_float_params["rwigs"] == [1.404, 1.302]
    vectors = np.reshape(found.list_float_params["magmom"], (9, 3))
    np.testing.assert_allclose(vectors[:, 0], targets, atol=1e-6)
    assert not vectors[:, 1:].any()
    wanted = np.reshape(found.list_float_params["m_constr"], (9, 3))
    np.testing.assert_allclose(wanted[:, 0], constrained(0.8 * targets), atol=1e-6)
    assert "ISPIN" not in text
    assert max(map(len, text.splitlines())) < 200


def test_the_unconstrained_incar_is_that_of_the_paper(vasp, tmp_path):
    oracle = vasp(incar={"NBANDS": 300}, incar_constrained={"NBANDS": 850})
    tags = unconstrained_tags(oracle, ("Fe",), np.array([1.4]), np.array([2.0, -2.0]))
    text = incar(tags)
    found = read_with_ase(text, tmp_path)
    expected = {"icharg": 2, "istart": 0, "ispin": 2, "nbands": 300, "isym": 0}
    assert {key: found.int_params[key] for key in expected} == expected
    assert found.exp_params["ediff"] == 1e-6
    assert found.bool_params["lnoncollinear"] is False
    assert found.list_float_params["magmom"] == [2.0, -2.0]
    assert "M_CONSTR" not in text
    assert "LAMBDA" not in text


def test_no_constraint_is_zero_and_the_axis_can_be_chosen(vasp):
    np.testing.assert_array_equal(
        constrained(np.array([0.0, -0.0, -1e-5, 2.0])), [1e-4, -1e-4, -1e-4, 2.0]
    )
    oracle = vasp(axis="z")
    about = (oracle, ("Fe",), np.ones(1), np.array([2.0]), np.array([0.0]))
    lines = incar(constrained_tags(*about, 2.0)).splitlines()
    assert "M_CONSTR = 0 0 0.000100" in lines
    assert "MAGMOM = 0 0 2.000000" in lines


def test_vectors_are_written_as_vectors(vasp, tmp_path):
    oracle = vasp()
    targets = np.array([[0.3, -0.2, 1.9], [0.0, 0.0, 0.0], [1.2, 0.9, -1.5]])
    about = (oracle, ("Fe",), np.ones(1), targets)
    found = read_with_ase(incar(constrained_tags(*about, 0.8 * targets, 2.0)), tmp_path)
    np.testing.assert_allclose(np.reshape(found.list_float_params["magmom"], (3, 3)), targets)
    wanted = np.reshape(found.list_float_params["m_constr"], (3, 3))
    np.testing.assert_allclose(wanted, 0.8 * targets + [[0, 0, 0], [1e-4, 0, 0], [0, 0, 0]])
    # Without constraint they start a noncollinear calculation, too.
    free = read_with_ase(incar(unconstrained_tags(*about)), tmp_path)
    assert free.bool_params["lnoncollinear"] is True
    assert "ispin" not in {k for k, v in free.int_params.items() if v is not None}
    np.testing.assert_allclose(np.reshape(free.list_float_params["magmom"], (3, 3)), targets)


def test_tables_by_species_follow_the_order_of_the_atoms(vasp):
    oracle = vasp(incar={"LDAUU": {"Fe": 4.0, "Pd": 0.5}, "LDAU": True})
    text = incar(unconstrained_tags(oracle, ("Pd",), np.ones(1), np.ones(1)))
    assert "LDAUU = 0.5\n" in text
    assert "LDAU = .TRUE.\n" in text
    with pytest.raises(ValueError, match=r"incar\.LDAUU has no value for Al; add it"):
        unconstrained_tags(oracle, ("Al",), np.ones(1), np.ones(1))


def test_poscar_keeps_cell_and_positions(target):
    order = [1, 3, 0, 2]
    found = ase.io.read(io.StringIO(poscar(target[order])), format="vasp")
    assert found.get_chemical_symbols() == ["Fe", "Fe", "Pd", "Pd"]
    np.testing.assert_allclose(found.positions, target.positions[order], atol=1e-9)
    np.testing.assert_allclose(found.cell, target.cell, atol=1e-12)


def test_the_text_of_a_mesh():
    assert kpoints((3, 4, 5)).splitlines()[1:] == ["0", "Gamma", "3 4 5", "0 0 0"]


def test_cells_alike_have_one_mesh_and_the_grids_of_vasp(vasp, target, tmp_path):
    compressed = target.copy()
    compressed.set_cell(target.cell * 0.97)
    oracle = vasp(cutoff_ev=400.0)
    plan = plan_meshes(oracle, [target, compressed], tmp_path / "meshes.json")
    one, other = plan.oracles
    assert one.kmesh == other.kmesh
    tags = unconstrained_tags(one, ("Fe", "Pd"), np.ones(2), np.zeros(4))
    least = 4 * np.sqrt(400 / 3.81) * target.cell.lengths() / (2 * np.pi)
    found = np.array([tags[f"NG{x}"] for x in "XYZ"])
    assert np.all((found >= least) & (found < 1.5 * least))
    assert tags["NGZF"] == 2 * tags["NGZ"]
    assert vasp(incar={"PREC": "Normal"}).grids(np.full(3, 5.0)) == {}
    # Made for this cell or given by the user, it is the same labeller.
    assert vasp(kmesh=(2, 2, 2)).fingerprint() != oracle.fingerprint()
    assert vasp(kmesh=[2, 2, 2], kpoint_spacing=0.5).fingerprint() == (
        vasp(kmesh=(2, 2, 2)).fingerprint()
    )
    assert one.making() == oracle.making()


class TestSettings:
    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"axis": "w"}, "axis must be"),
            ({"weights": (5.0, 2.0)}, "positive and rising"),
            ({"weights": ()}, "positive and rising"),
            ({"largest_error": 0.0}, "largest_error must be positive"),
            ({"radii": {"Al": 1.0}}, r"radii\.Al"),
            ({"incar": {"LAMBDA": 3}}, r"incar\.LAMBDA is set by the workflow itself"),
            ({"incar": {"encut": 400}}, "use cutoff_ev"),
            ({"incar_constrained": {"nbands": 4}}, "capitals, NBANDS"),
        ],
    )
    def test_wrong_values_are_named(self, vasp, wrong, message):
        with pytest.raises(ValueError, match=message):
            vasp(**wrong)

    def test_potcar_of_another_species(self, library):
        with pytest.raises(ValueError, match=r"POTCAR is for Pd, not Fe; change potentials\.Fe"):
            VaspOracle(library, {"Fe": "Pd"})
        with pytest.raises(FileNotFoundError, match="no POTCAR for Al"):
            VaspOracle(library, {"Al": "Al"})

    def test_the_fingerprint_is_of_what_labels_depend_on(self, vasp):
        oracle = vasp()
        same = vasp(command="srun -n 64 vasp_ncl", keep_densities=True)
        assert oracle.fingerprint() == same.fingerprint()
        for other in ({"cutoff_ev": 400.0}, {"incar": {"ISMEAR": 0}}, {"axis": "z"}):
            assert vasp(**other).fingerprint() != oracle.fingerprint()
        copy = pickle.loads(pickle.dumps(oracle))
        assert copy == oracle
        assert copy.fingerprint() == oracle.fingerprint()
        assert copy.potcars["Fe"].radius == 1.302
