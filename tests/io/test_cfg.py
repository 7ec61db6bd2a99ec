"""The .cfg reader and writer: conventions, tolerance, losslessness, messages."""

import io
import json
import logging
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mmtp_jax.io.cfg import read_cfg, write_cfg
from mmtp_jax.io.cfg_atoms import parse_feature
from mmtp_jax.io.schema import set_magnetic_forces

REFERENCE = Path(__file__).parents[2].parent / "shared" / "reference"

FULL = """BEGIN_CFG
 Size
    2
 Supercell
         3.0      0.0      0.0
         0.0      4.0      0.0
         0.5      0.0      5.0
 AtomData:  id type cartes_x cartes_y cartes_z fx fy fz magmom_x magmom_y magmom_z en_der_mx \
en_der_my en_der_mz
             1    0  0.1 0.2 0.3   1.0 -2.0 3.0   2.5 0 0   0.25 0 0
             2    1  1.1 1.2 1.3  -1.0  2.0 -3.0  -0.5 0 0  -0.125 0 0
 Energy
     -10.25
 PlusStress:  xx yy zz yz xz xy
     6.0 12.0 18.0 24.0 30.0 36.0
 Feature   EFS_by\tVASP
 Feature   mindist\t2.5
 Feature   step   12
END_CFG
"""


def parse(tmp_path, text, species=("Fe", "Al"), **options):
    path = tmp_path / "train.cfg"
    path.write_text(text)
    return read_cfg(path, species, **options)


def config(columns, rows, before="", after=""):
    """A configuration of the given columns."""
    lines = "\n".join(rows)
    return (
        f"BEGIN_CFG\n Size\n {len(rows)}\n{before} AtomData: {columns}\n{lines}\n{after}END_CFG\n"
    )


POSITIONS = "id type cartes_x cartes_y cartes_z"
CELL = " Supercell\n 3 0 0\n 0 3 0\n 0 0 3\n"


def random_atoms(rng, n=3, species=("Fe", "Al"), pbc=True):
    atoms = Atoms(
        rng.choice(species, n),
        positions=rng.normal(size=(n, 3)),
        cell=4 * np.eye(3) + 0.3 * rng.normal(size=(3, 3)) if pbc else None,
        pbc=pbc,
    )
    moments = rng.normal(size=n)
    atoms.set_initial_magnetic_moments(moments)
    magnetic_forces = rng.normal(size=n)
    results = {"energy": -3385.0 * n + rng.normal(), "forces": rng.normal(size=(n, 3))}
    if pbc:
        results["stress"] = 1e-2 * rng.normal(size=6)
    atoms.calc = SinglePointCalculator(atoms, magmoms=moments, **results)
    set_magnetic_forces(atoms, magnetic_forces)
    return atoms


def same(a, b):
    """Bit for bit, but for the stress, which went through the volume."""
    assert a.get_chemical_symbols() == b.get_chemical_symbols()
    assert np.array_equal(a.positions, b.positions)
    assert np.array_equal(a.cell.array, b.cell.array)
    assert np.array_equal(a.pbc, b.pbc)
    assert set(a.calc.results) == set(b.calc.results)
    for name, value in a.calc.results.items():
        if name == "stress":
            np.testing.assert_allclose(b.calc.results[name], value, rtol=1e-12)
        else:
            assert np.array_equal(b.calc.results[name], value), name
    for name in ("initial_magmoms", "magnetic_forces"):
        assert np.array_equal(a.arrays[name], b.arrays[name])


class TestReading:
    def test_conventions(self, tmp_path):
        (atoms,) = parse(tmp_path, FULL)
        assert atoms.get_chemical_symbols() == ["Fe", "Al"]
        assert atoms.pbc.all()
        np.testing.assert_array_equal(atoms.cell, [[3, 0, 0], [0, 4, 0], [0.5, 0, 5]])
        np.testing.assert_array_equal(atoms.positions, [[0.1, 0.2, 0.3], [1.1, 1.2, 1.3]])
        assert atoms.get_potential_energy() == -10.25
        np.testing.assert_array_equal(atoms.get_forces(), [[1, -2, 3], [-1, 2, -3]])
        np.testing.assert_array_equal(atoms.get_magnetic_moments(), [2.5, -0.5])
        np.testing.assert_array_equal(atoms.get_initial_magnetic_moments(), [2.5, -0.5])
        np.testing.assert_array_equal(atoms.arrays["magnetic_forces"], [0.25, -0.125])
        # PlusStress is -stress * volume; the volume is 60.
        np.testing.assert_allclose(atoms.get_stress(), -np.arange(1, 7) / 10)
        assert atoms.info == {"EFS_by": "VASP", "mindist": 2.5, "step": 12}

    def test_sign_of_files_that_mlip_evaluated(self, tmp_path):
        (atoms,) = parse(tmp_path, FULL, magnetic_gradient=True)
        np.testing.assert_array_equal(atoms.arrays["magnetic_forces"], [-0.25, 0.125])

    def test_negated_zeros_are_positive(self, tmp_path):
        text = config(POSITIONS + " en_der_mx", ["1 0 0 0 0 0.0"])
        (atoms,) = parse(tmp_path, text, magnetic_gradient=True)
        assert not np.signbit(atoms.arrays["magnetic_forces"][0])

    def test_several_and_none(self, tmp_path):
        assert len(parse(tmp_path, FULL * 3)) == 3
        assert parse(tmp_path, "\n\n") == []

    def test_nothing_but_atoms(self, tmp_path):
        (atoms,) = parse(tmp_path, config(POSITIONS, ["1 0 0 0 0"]))
        assert not atoms.pbc.any()
        assert atoms.calc is None
        assert not atoms.has("initial_magmoms")

    def test_windows_lines_blank_lines_and_byte_order_mark(self, tmp_path):
        path = tmp_path / "a.cfg"
        path.write_bytes(b"\xef\xbb\xbf" + FULL.replace("\n", "\r\n\r\n").encode())
        (atoms,) = read_cfg(path, ("Fe", "Al"))
        (plain,) = parse(tmp_path, FULL)
        same(plain, atoms)
        assert atoms.info == plain.info

    def test_order_of_columns_and_sections(self, tmp_path):
        text = """BEGIN_CFG
Energy
-1e1
Size 2
PlusStress: xy xz yz zz yy xx
1 2 3 4 5 6
AtomData: fz magmom_z fy type cartes_z cartes_x fx cartes_y
3 0.5 2 1 .3 1E-1 1 2.0e-01
6 -1 5 0 6. 4 4 5
SuperCell
2 0 0
0 2 0
0 0 2
END_CFG
"""
        (atoms,) = parse(tmp_path, text)
        assert atoms.get_chemical_symbols() == ["Al", "Fe"]
        np.testing.assert_array_equal(atoms.positions, [[0.1, 0.2, 0.3], [4, 5, 6]])
        np.testing.assert_array_equal(atoms.get_forces(), [[1, 2, 3], [4, 5, 6]])
        np.testing.assert_array_equal(atoms.get_magnetic_moments(), [0.5, -1])
        np.testing.assert_allclose(atoms.get_stress() * -8, [6, 5, 4, 3, 2, 1])
        assert atoms.get_potential_energy() == -10

    def test_direct_positions(self, tmp_path):
        cell = " Supercell\n 2 0 0\n 1 4 0\n 0 0 8\n"
        text = config("id type direct_x direct_y direct_z", ["1 0 0.5 0.25 0.125"], cell)
        (atoms,) = parse(tmp_path, text)
        np.testing.assert_allclose(atoms.positions, [[1.25, 1.0, 1.0]])

    @pytest.mark.parametrize(
        ("rows", "pbc"),
        [
            ("3 0 0", [True, False, False]),
            ("3 0 0\n0 3 0", [True, True, False]),
            ("3 0 0\n0 0 0\n0 0 3", [True, False, True]),
        ],
    )
    def test_fewer_than_three_vectors(self, tmp_path, rows, pbc):
        text = config(POSITIONS, ["1 0 0 0 0"], f" Supercell\n{rows}\n")
        (atoms,) = parse(tmp_path, text)
        assert atoms.pbc.tolist() == pbc
        assert atoms.cell.array.any(axis=1).tolist() == pbc

    def test_stress_without_volume_is_said(self, tmp_path, caplog):
        stress = "PlusStress: xx yy zz yz xz xy\n1 1 1 0 0 0\n"
        (atoms,) = parse(tmp_path, config(POSITIONS, ["1 0 0 0 0"], after=stress))
        assert atoms.calc is None
        assert "PlusStress of 1 configurations" in caplog.text

    def test_unknown_columns_become_arrays(self, tmp_path):
        columns = POSITIONS + " charge ghost site_en"
        text = config(columns, ["1 0 0 0 0 0.5 true 7", "2 0 1 0 0 -0.5 false 8"])
        (atoms,) = parse(tmp_path, text)
        np.testing.assert_array_equal(atoms.arrays["charge"], [0.5, -0.5])
        assert atoms.arrays["ghost"].tolist() == ["true", "false"]
        np.testing.assert_array_equal(atoms.calc.results["energies"], [7, 8])
        assert "id" not in atoms.arrays

    def test_ids_that_do_not_count_are_kept(self, tmp_path):
        (atoms,) = parse(tmp_path, config(POSITIONS, ["7 0 0 0 0", "3 0 1 0 0"]))
        np.testing.assert_array_equal(atoms.arrays["id"], [7, 3])

    def test_features(self, tmp_path):
        after = (
            " Feature   note\tvalues with  blanks = kept \n"
            " Feature log first\n Feature log second\n"
            " Feature two\\_words 1\n Feature empty\n Feature big 1e3\n Features: a b\n 1 x\n"
        )
        (atoms,) = parse(tmp_path, config(POSITIONS, ["1 0 0 0 0"], after=after))
        assert atoms.info == {
            "note": "values with  blanks = kept",
            "log": "first\nsecond",
            "two words": 1,
            "empty": "",
            "big": 1000.0,
            "a": 1,
            "b": "x",
        }

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("1", 1), ("-7", -7), ("007", "007"), ("00.5", "00.5"), ("0.50", 0.5),
            ("1.0", 1.0), ("-1e-3", -1e-3), (".5", 0.5), ("inf", np.inf),
            ("True", True), ("true", "true"), ("1_000", "1_000"), ("0x10", "0x10"), ("", ""),
            ("1 2", "1 2"), ("123456789012345678901234", 123456789012345678901234), ("1e23", 1e23),
        ],
    )  # fmt: skip
    def test_feature_values(self, text, value):
        found = parse_feature(text)
        assert found == value
        assert type(found) is type(value)

    def test_speed(self, tmp_path):
        """A third of what one slow core does; a parser that looks at each number does less."""
        write_cfg(tmp_path / "a.cfg", [random_atoms(np.random.default_rng(0), n=54)] * 100)
        best = np.inf
        for _ in range(3):
            start = time.process_time()
            read_cfg(tmp_path / "a.cfg")
            best = min(best, time.process_time() - start)
        assert 5400 / best > 20_000


class TestMagneticColumns:
    @pytest.mark.parametrize("axis", "xyz")
    def test_any_axis_is_collinear(self, tmp_path, axis):
        columns = f"{POSITIONS} magmom_x magmom_y magmom_z en_der_mx en_der_my en_der_mz"
        one = {"x": "2 0 0 0.5 0 0", "y": "0 2 0 0 0.5 0", "z": "0 0 2 0 0 0.5"}[axis]
        (atoms,) = parse(tmp_path, config(columns, [f"1 0 0 0 0 {one}"]))
        np.testing.assert_array_equal(atoms.get_magnetic_moments(), [2])
        np.testing.assert_array_equal(atoms.arrays["magnetic_forces"], [0.5])

    def test_zero_moments_are_moments(self, tmp_path):
        columns = f"{POSITIONS} magmom_x magmom_y magmom_z en_der_my"
        (atoms,) = parse(tmp_path, config(columns, ["1 0 0 0 0 0 0 0 0.5"]))
        np.testing.assert_array_equal(atoms.get_magnetic_moments(), [0])
        np.testing.assert_array_equal(atoms.arrays["magnetic_forces"], [0.5])

    def test_one_column_alone(self, tmp_path):
        (atoms,) = parse(tmp_path, config(POSITIONS + " magmom_z", ["1 0 0 0 0 -1.5"]))
        np.testing.assert_array_equal(atoms.get_magnetic_moments(), [-1.5])

    def test_noncollinear_moments_stay_vectors(self, tmp_path):
        columns = f"{POSITIONS} magmom_x magmom_y magmom_z en_der_mx en_der_my en_der_mz"
        rows = ["1 0 0 0 0 1 2 0 3 4 0", "2 0 1 0 0 0 1 0 0 1 0"]
        (atoms,) = parse(tmp_path, config(columns, rows))
        np.testing.assert_array_equal(atoms.get_magnetic_moments(), [[1, 2, 0], [0, 1, 0]])
        np.testing.assert_array_equal(atoms.arrays["magnetic_forces"], [[3, 4, 0], [0, 1, 0]])
        # and they survive writing
        write_cfg(tmp_path / "b.cfg", atoms)
        (again,) = read_cfg(tmp_path / "b.cfg")
        np.testing.assert_array_equal(again.get_magnetic_moments(), [[1, 2, 0], [0, 1, 0]])
        np.testing.assert_array_equal(again.arrays["magnetic_forces"], [[3, 4, 0], [0, 1, 0]])

    def test_transverse_components_are_said(self, tmp_path, caplog):
        columns = f"{POSITIONS} magmom_z en_der_mx en_der_mz"
        (atoms,) = parse(tmp_path, config(columns, ["1 0 0 0 0 2 0.1 0.5"]))
        np.testing.assert_array_equal(atoms.arrays["magnetic_forces"], [0.5])
        assert "1 configurations have magnetic forces across" in caplog.text

    def test_forces_on_another_axis_are_refused(self, tmp_path):
        columns = f"{POSITIONS} magmom_z en_der_mx"
        with pytest.raises(ValueError, match=r"moments lie along z.*same axis"):
            parse(tmp_path, config(columns, ["1 0 0 0 0 2 0.1"]))


class TestSpecies:
    TEXT = config(POSITIONS, ["1 1 0 0 0"], after=" Feature species Fe Al\n")

    def test_needed(self, tmp_path):
        with pytest.raises(ValueError, match=r'names no species.*species=\("Fe", "Al"\)'):
            parse(tmp_path, FULL, species=None)

    def test_from_the_file(self, tmp_path):
        (atoms,) = parse(tmp_path, self.TEXT, species=None)
        assert atoms.get_chemical_symbols() == ["Al"]
        assert "species" not in atoms.info

    def test_agreeing(self, tmp_path):
        assert parse(tmp_path, self.TEXT, species=("Fe", "Al"))
        assert parse(tmp_path, self.TEXT, species=("Fe", "Al", "Co"))

    def test_contradicting(self, tmp_path):
        with pytest.raises(ValueError, match=r"names the species Fe Al, but Al Fe were"):
            parse(tmp_path, self.TEXT, species=("Al", "Fe"))

    def test_feature_of_that_name_with_other_content(self, tmp_path):
        text = config(POSITIONS, ["1 0 0 0 0"], after=" Feature species two of them\n")
        (atoms,) = parse(tmp_path, text, species="Fe")
        assert atoms.info == {"species": "two of them"}

    def test_not_a_symbol(self, tmp_path):
        with pytest.raises(ValueError, match="'Iron' is no chemical symbol"):
            parse(tmp_path, FULL, species=("Iron",))

    def test_twice(self, tmp_path):
        with pytest.raises(ValueError, match="symbol twice"):
            parse(tmp_path, FULL, species=("Fe", "Fe"))


ONE = "1 0 0 0 0"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FULL.replace(" Energy", " Size\n 2\n Energy"), "line 11: a second Size section"),
        (FULL.replace(" Energy", CELL.lower().title() + " Energy"), "a second Supercell section"),
        (FULL.replace(" Energy", " Energy\n 1\n Energy"), "line 13: a second Energy section"),
        (FULL.replace("END_CFG", "PlusStress: xx yy zz yz xz xy\n1 1 1 0 0 0\nEND_CFG"),
         "a second PlusStress section"),
        (FULL.replace("END_CFG", " Feature mindist 2\nEND_CFG"), "a second feature 'mindist'"),
        (FULL.replace("END_CFG", " Features: step\n 7\nEND_CFG"), "a second feature 'step'"),
        (FULL.replace("END_CFG", "END_CFG BEGIN_CFG"), "END_CFG has a line of its own"),
        (FULL.replace("   2\n", "   inf\n", 1), "line 3: Size is inf"),
        (FULL.replace("   2\n", "   nan\n", 1), "line 3: Size is nan"),
        (FULL.replace("   2\n", "   1e18\n", 1), "AtomData has only 2 rows"),
        (FULL.replace("2    1  1.1", "2    1e19  1.1"), "type 1e.19 found"),
        (FULL.replace("2    1  1.1", "2    inf  1.1"), "type inf found"),
        (FULL.replace("1.1 1.2", "1_1 1.2"), "line 10: AtomData, column 'cartes_x': '1_1' is not"),
        (FULL.replace("2.5 0 0", "up 0 0"), "line 9: AtomData, column 'magmom_x': 'up' is not"),
        (FULL.replace("1.1 1.2", "1e999 1.2"), "a position is not finite"),
        (FULL.replace("3.0      0.0", "1e999 0.0"), "line 5: Supercell: a number is not finite"),
        (FULL.replace("-10.25", "-1_0.25"), "Energy: '-1_0.25' is not a number"),
        (config(POSITIONS + " momenta", [ONE + " 1"]), "'momenta', a name that has another use"),
        (config(POSITIONS, [ONE], after=" Feature species Fe Fe\n"), "species has a symbol twice"),
        (FULL.replace("END_CFG", ""), "configuration 1, line 1[0-9].*END_CFG is missing"),
        (FULL[: FULL.index("             2    1")], "file ends after 1 of 2 rows"),
        (FULL.replace("END_CFG\n", "") + FULL, "BEGIN_CFG before the END_CFG"),
        (FULL + "\n" + FULL.replace("-10.25", "ten"), "configuration 2, line 3[0-9].*'ten' is not"),
        (config(POSITIONS, [ONE, "2 0 0 0"]), "line 6: .*names 5 columns, but row 2 has 4"),
        (config(POSITIONS, [ONE]).replace("1\n", "2\n", 1), "Size is 2, but AtomData has only 1"),
        (config(POSITIONS, [ONE, ONE]).replace("2\n", "1\n", 1), "Size is 1, does AtomData"),
        (config(POSITIONS, [ONE]).replace(" Size\n 1\n", ""), "Size is missing"),
        ("BEGIN_CFG\nEnergy\n1\nEND_CFG\n", "Size is missing"),
        ("BEGIN_CFG\nSize\n1\nEND_CFG\n", "AtomData is missing"),
        ("BEGIN_CFG\nSize\n1.5\nEND_CFG\n", "line 3: Size is 1.5"),
        ("BEGIN_CFG\nSize\n-1\nEND_CFG\n", "Size is -1"),
        ("BEGIN_CFG\nSize\nmany\nEND_CFG\n", "Size: 'many' is not a number"),
        (config(POSITIONS, ["1 2 0 0 0"]), "type 2 found, but the species Fe Al"),
        (config(POSITIONS, ["1 -1 0 0 0"]), "type -1 is not the index"),
        (config(POSITIONS, ["1 0.5 0 0 0"]), "type 0.5 is not the index"),
        (config(POSITIONS, [ONE, "2 0 0 x1 0"]), "line 6: .*'cartes_y': 'x1' is not a number"),
        (config("id cartes_x cartes_y cartes_z", ["1 0 0 0"]), "no column 'type'"),
        (config("id type", ["1 0"]), "no positions"),
        (config("type cartes_x cartes_y", ["0 0 0"]), "'cartes_x' but none 'cartes_z'"),
        (config(POSITIONS + " fx fz", [ONE + " 1 2"]), "'fx' but none 'fy'"),
        (config(POSITIONS + " type", [ONE + " 1"]), "names the column 'type' twice"),
        (config(POSITIONS + " numbers", [ONE + " 1"]), "a column 'numbers'"),
        (config(POSITIONS + " magnetic_forces", [ONE + " 1"]), "a column 'magnetic_forces'"),
        (config("type direct_x direct_y direct_z", ["0 0 0 0"]), "three Supercell vectors"),
        (
            config(POSITIONS + " direct_x direct_y direct_z", [ONE + " 0 0 0"], CELL),
            "both cartes_x and direct_x",
        ),
        (config(POSITIONS, [ONE], " Supercell\n 3 0 0\n 0 3\n"), "line 6: .*3 numbers.*row 2"),
        (config(POSITIONS, [ONE], CELL + "1 1 1\n"), "as row 4"),
        (config(POSITIONS, [ONE], " Supercell\n a 0 0\n"), "unknown section 'a'"),
        (config(POSITIONS, [ONE], " Supercell\n 1 0 -\n"), "Supercell: '-' is not a number"),
        (config(POSITIONS, [ONE], " Supercell 3 0 0\n"), "vectors go on the next lines"),
        (config(POSITIONS, [ONE], after=" Stress: xx\n 1\n"), "unknown section 'Stress:'"),
        (config(POSITIONS, [ONE], after=" Energy\n 1 2\n"), "expected 1 number.*'1 2'"),
        (config(POSITIONS, [ONE], after=" Feature\n"), "Feature without a name"),
        (config(POSITIONS, [ONE], after=" Features: a b\n 1\n"), "names 2 values, but 1"),
        (config(POSITIONS, [ONE], after=" PlusStress: xx yy\n 1 2\n"), "header names 'xx yy'"),
        (
            config(POSITIONS, [ONE], after=" PlusStress: xx yy zz yz xz xy\n 1 2 3\n"),
            "expected 6 numbers, found '1 2 3'",
        ),
        (
            config(POSITIONS, [ONE], after=f" AtomData: {POSITIONS}\n {ONE}\n"),
            "a second AtomData",
        ),
        ("Number of particles = 2\n", "AtomEye's, not MLIP's"),
        (FULL + "trailing\n", "configuration 2, line 19: found 'trailing'"),
    ],
)  # fmt: skip
def test_messages(tmp_path, text, message):
    with pytest.raises(ValueError, match=r"train\.cfg.*configuration.*line.*") as caught:
        parse(tmp_path, text)
    assert caught.match(message)


def test_binary_file(tmp_path):
    (tmp_path / "a.cfg").write_bytes(b"BEGIN_CFG\n\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"a.cfg is not text \(its byte"):
        read_cfg(tmp_path / "a.cfg", "Fe")


class TestWriting:
    @pytest.mark.parametrize("pbc", [True, False])
    def test_round_trip_is_exact(self, tmp_path, pbc):
        rng = np.random.default_rng(1)
        atoms_list = [random_atoms(rng, n, pbc=pbc) for n in (1, 2, 5)]
        write_cfg(tmp_path / "a.cfg", atoms_list, ("Al", "Fe"))
        for a, b in zip(atoms_list, read_cfg(tmp_path / "a.cfg"), strict=True):
            same(a, b)

    def test_lines_of_text(self, tmp_path):
        atoms = Atoms("Fe", info={"log": "one\ntwo words", "np": np.float64(1.5)})
        write_cfg(tmp_path / "a.cfg", atoms)
        assert read_cfg(tmp_path / "a.cfg")[0].info == {"log": "one\ntwo words", "np": 1.5}

    def test_what_cannot_be_written_is_said(self, tmp_path, caplog):
        atoms = Atoms("Fe", cell=[1, 2, 3], pbc=(True, True, False))
        atoms.info.update(species="mine", thing=object())
        atoms.info["back\\slash"] = 1
        atoms.set_array("color", np.ones(1))
        atoms.calc = SinglePointCalculator(atoms, stress=np.ones(6))
        write_cfg(tmp_path / "a.cfg", atoms)
        for what in ("thing", "species", "color", "stress", "cell vector", "back"):
            assert what in caplog.text, what
        (again,) = read_cfg(tmp_path / "a.cfg")
        assert again.info == {}
        assert again.pbc.tolist() == [True, True, False]

    def test_gap_in_the_periodic_directions(self, tmp_path):
        atoms = Atoms("Fe", cell=np.diag([2.0, 0.0, 3.0]), pbc=(True, False, True))
        write_cfg(tmp_path / "a.cfg", atoms)
        (again,) = read_cfg(tmp_path / "a.cfg")
        assert again.pbc.tolist() == [True, False, True]
        np.testing.assert_array_equal(again.cell, atoms.cell)

    def test_columns_of_mlip(self, tmp_path):
        """MLIP wants all three components, and no column that it does not know."""
        atoms = random_atoms(np.random.default_rng(2), 2)
        atoms.set_array("nbh_grades", np.array([0.5, 1.5]))
        atoms.calc.results["energies"] = np.array([1.0, 2.0])
        write_cfg(tmp_path / "a.cfg", atoms)
        header = next(line for line in (tmp_path / "a.cfg").open() if "AtomData" in line)
        assert " ".join(header.split()) == (
            "AtomData: id type cartes_x cartes_y cartes_z fx fy fz magmom_x magmom_y magmom_z "
            "en_der_mx en_der_my en_der_mz site_en nbh_grades"
        )
        (again,) = read_cfg(tmp_path / "a.cfg")
        np.testing.assert_array_equal(again.arrays["nbh_grades"], [0.5, 1.5])
        np.testing.assert_array_equal(again.calc.results["energies"], [1, 2])

    def test_collinear_vectors_go_along_x(self, tmp_path):
        atoms = Atoms("Fe2")
        atoms.set_initial_magnetic_moments([[0, 0, 1.0], [0, 0, -2.0]])
        atoms.set_array("magnetic_forces", np.array([[0, 0, 3.0], [0, 0, 4.0]]))
        write_cfg(tmp_path / "a.cfg", atoms)
        (again,) = read_cfg(tmp_path / "a.cfg")
        np.testing.assert_array_equal(again.get_initial_magnetic_moments(), [1, -2])
        np.testing.assert_array_equal(again.arrays["magnetic_forces"], [3, 4])
        row = (tmp_path / "a.cfg").read_text().splitlines()[4].split()
        assert row[5:8] == ["1.0", "0.0", "0.0"]

    def test_stale_labels_are_not_written(self, tmp_path, caplog):
        atoms = random_atoms(np.random.default_rng(3))
        atoms.positions += 0.1
        write_cfg(tmp_path / "a.cfg", atoms)
        (again,) = read_cfg(tmp_path / "a.cfg")
        assert "energy" not in again.calc.results
        assert "magnetic_forces" not in again.arrays
        assert "other positions" in caplog.text

    def test_nothing_is_changed(self, tmp_path):
        atoms = random_atoms(np.random.default_rng(4))
        before = atoms.copy(), {k: np.copy(v) for k, v in atoms.calc.results.items()}
        write_cfg(tmp_path / "a.cfg", atoms)
        assert atoms == before[0]
        assert atoms.arrays.keys() == before[0].arrays.keys()
        for name, value in before[1].items():
            assert np.array_equal(atoms.calc.results[name], value)

    def test_full_stress_matrix(self, tmp_path):
        atoms = Atoms("Fe", cell=[2, 2, 2], pbc=True)
        atoms.calc = SinglePointCalculator(atoms)
        atoms.calc.results["stress"] = np.array([[1, 6, 5], [6, 2, 4], [5, 4, 3.0]])
        write_cfg(tmp_path / "a.cfg", atoms)
        np.testing.assert_allclose(read_cfg(tmp_path / "a.cfg")[0].get_stress(), range(1, 7))

    def test_unknown_species(self, tmp_path):
        with pytest.raises(ValueError, match=r"configuration 2: an atom is Al.* are Fe; add"):
            write_cfg(tmp_path / "a.cfg", [Atoms("Fe"), Atoms("Al")], "Fe")
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("name", ["energy", "forces", "stress", "magmoms"])
    def test_not_finite(self, tmp_path, name):
        atoms = random_atoms(np.random.default_rng(5))
        atoms.calc.results[name] = np.full(np.shape(atoms.calc.results[name]), np.nan)
        with pytest.raises(ValueError, match=r"configuration 1: .*(finite|nan)"):
            write_cfg(tmp_path / "a.cfg", atoms)

    def test_wrong_shape(self, tmp_path):
        atoms = Atoms("Fe2", cell=[2, 2, 2], pbc=True)
        atoms.calc = SinglePointCalculator(atoms, forces=np.ones((3, 3)))
        with pytest.raises(ValueError, match="forces has 3 x 3 numbers for 2 atoms"):
            write_cfg(tmp_path / "a.cfg", atoms)
        atoms.calc = SinglePointCalculator(atoms, stress=np.ones(9))
        with pytest.raises(ValueError, match="stress has 9 numbers"):
            write_cfg(tmp_path / "a.cfg", atoms)


class TestAgainstMotep:
    @property
    def cfg(self):
        return pytest.importorskip("motep.io.mlip.cfg")

    def test_it_reads_what_we_write(self, tmp_path):
        rng = np.random.default_rng(6)
        atoms_list = [random_atoms(rng, n) for n in (1, 4)]
        atoms_list[0].positions[0] = [1e-7, -1e-20, 1e22]
        atoms_list[0].calc.atoms.positions[:] = atoms_list[0].positions
        set_magnetic_forces(atoms_list[0], atoms_list[0].arrays["magnetic_forces"])
        atoms_list[1].info["mindist"] = 2.25
        write_cfg(tmp_path / "a.cfg", atoms_list, ("Fe", "Al"))
        theirs = self.cfg.read_cfg(tmp_path / "a.cfg", index=":", species=["Fe", "Al"])
        for a, b in zip(atoms_list, theirs, strict=True):
            assert np.array_equal(a.positions, b.positions)
            for name in ("energy", "forces", "magmoms"):
                assert np.array_equal(a.calc.results[name], b.calc.results[name])
            np.testing.assert_allclose(b.get_stress(), a.get_stress(), rtol=1e-12)
            np.testing.assert_array_equal(b.calc.results["en_der_mx"], a.arrays["magnetic_forces"])
        assert theirs[1].info["mindist"] == 2.25

    def test_we_read_what_it_writes(self, tmp_path):
        atoms = random_atoms(np.random.default_rng(7))
        with (tmp_path / "a.cfg").open("w") as file:
            self.cfg.write_cfg(file, atoms, species=["Fe", "Al"])
        (again,) = read_cfg(tmp_path / "a.cfg", ("Fe", "Al"))
        np.testing.assert_allclose(again.get_forces(), atoms.get_forces(), atol=1e-6)
        np.testing.assert_allclose(again.get_stress(), atoms.get_stress(), atol=1e-6)

    @pytest.mark.parametrize(
        ("file", "species"), [("fe54/mag.cfg", "Fe"), ("feal/one.cfg", "AlFe")]
    )
    def test_reference_files(self, file, species):
        if not (REFERENCE / file).exists():
            pytest.skip("the reference files are not here")
        species = ["Al", "Fe"] if species == "AlFe" else ["Fe"]
        (ours,) = read_cfg(REFERENCE / file, species)
        text = io.StringIO((REFERENCE / file).read_text())
        theirs = self.cfg.read_cfg(text, index=0, species=species)
        assert ours == theirs or np.array_equal(ours.positions, theirs.positions)
        for name in ("energy", "forces", "magmoms"):
            assert np.array_equal(ours.calc.results[name], theirs.calc.results[name])
        np.testing.assert_allclose(ours.get_stress(), theirs.get_stress(), rtol=1e-13)
        if "feal" in file:
            assert np.array_equal(ours.arrays["magnetic_forces"], theirs.calc.results["en_der_mx"])


def test_reference_expectations_use_our_sign_of_stress():
    """The stress of the file and that of a potential fitted to it differ by little, not by sign."""
    file = REFERENCE / "fe54" / "expected.json"
    if not file.exists():
        pytest.skip("the reference files are not here")
    (atoms,) = read_cfg(REFERENCE / "fe54" / "mag.cfg", "Fe")
    expected = json.loads(file.read_text())
    np.testing.assert_allclose(expected["16.mmtp"]["stress"], atoms.get_stress(), atol=0.01)


def test_no_log_on_ordinary_files(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    atoms = random_atoms(np.random.default_rng(8))
    write_cfg(tmp_path / "a.cfg", atoms)
    read_cfg(tmp_path / "a.cfg")
    atoms = Atoms("Fe2", positions=[[0, 0, 0], [1, 1, 1]])
    # The total moment is in the moments, as long as it is their sum.
    atoms.calc = SinglePointCalculator(atoms, energy=1.0, magmoms=[2.0, 1.0], magmom=3.0)
    write_cfg(tmp_path / "a.cfg", atoms)
    assert not caplog.records
    atoms.calc.results["magmom"] = 3.1
    write_cfg(tmp_path / "a.cfg", atoms)
    assert "results['magmom'] (1)" in caplog.text
