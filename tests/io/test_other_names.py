"""Labels under the names of other programs, in the columns and the comment lines of files."""

import logging

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mmtp_jax.io.label_keys import checked_keys
from mmtp_jax.io.other_names import reads
from mmtp_jax.io.reading import read
from mmtp_jax.io.writing import write


def written(path, columns="", rows=("", ""), entries="", lattice='Lattice="3 0 0 0 3 0 0 0 3"'):
    """A file of two atoms with further columns and entries."""
    properties = "species:S:1:pos:R:3" + (f":{columns}" if columns else "")
    path.write_text(
        f"2\n{lattice} Properties={properties} energy=-1.0 {entries}\n"
        f"Fe 0 0 0 {rows[0]}\nFe 1.5 1.5 1.5 {rows[1]}\n"
    )
    return path


@pytest.fixture
def file(tmp_path):
    return tmp_path / "a.extxyz"


class TestMoments:
    @pytest.mark.parametrize(
        "name",
        ["magmom", "mag", "spin", "Spins", "magnetic_moments", "REF_magmom", "REF_magmoms",
         "dft_magmom", "MACE_magmoms"],
    )  # fmt: skip
    @pytest.mark.parametrize("vectors", [False, True])
    def test_columns(self, file, caplog, name, vectors):
        caplog.set_level(logging.INFO, "mmtp_jax")
        rows = ("0 0 2.2", "0 0 -2.1") if vectors else ("2.2", "-2.1")
        (atoms,) = read(written(file, f"{name}:R:{3 if vectors else 1}", rows))
        assert atoms.calc.results["magmoms"].tolist() == [2.2, -2.1]
        assert atoms.get_initial_magnetic_moments().tolist() == [2.2, -2.1]
        assert name not in atoms.arrays
        assert f"moments are read from {name!r}" in caplog.text

    @pytest.mark.parametrize("name", ["magmoms", "magmom", "spins"])
    def test_comment_line(self, file, name):
        (atoms,) = read(written(file, entries=f'{name}="2.2 -2.1"'))
        assert atoms.calc.results["magmoms"].tolist() == [2.2, -2.1]

    @pytest.mark.parametrize(("name", "known"), [("magmoms", True), ("spin", False)])
    def test_comment_line_of_one_atom(self, file, name, known, caplog):
        file.write_text(f"1\nProperties=species:S:1:pos:R:3 energy=-1 {name}=2\nFe 0 0 0\n")
        (atoms,) = read(file)
        assert ("magmoms" in atoms.calc.results) == known
        assert ("one number, not the moment of each atom" in caplog.text) != known

    def test_wrong_number_is_named(self, file, caplog):
        (atoms,) = read(written(file, entries='magmoms="2 2 2"'))
        assert "magmoms" not in atoms.calc.results
        assert "'magmoms' in 1 of 1 configurations is not read" in caplog.text

    def test_two_that_agree_and_two_that_differ(self, file):
        both = "magmoms:R:1:spin:R:1"
        (atoms,) = read(written(file, both, ("2.2 2.2002", "-2.1 -2.1")))
        assert atoms.calc.results["magmoms"].tolist() == [2.2, -2.1]
        path = written(file, both, ("2.2 1.0", "-2.1 -2.1"))
        with pytest.raises(
            ValueError,
            match=r"a.extxyz, configuration 1: 'magmoms' and 'spin' .*atom 1 is 2.2 and 1",
        ):
            read(path)
        (atoms,) = read(path, keys={"magmoms": "spin"})
        assert atoms.calc.results["magmoms"].tolist() == [1.0, -2.1]

    @pytest.mark.parametrize("n", [2, 3])
    def test_a_total_of_vectors_is_no_moments(self, tmp_path, caplog, n):
        """As ASE writes the results of its calculators; of three atoms it has the same shape."""
        moments = np.random.default_rng(n).normal(size=(n, 3))
        atoms = Atoms(f"Fe{n}", positions=2.0 * np.eye(3)[:n])
        total = moments.sum(axis=0)
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0, magmoms=moments, magmom=total)
        atoms.write(tmp_path / "a.extxyz")
        (found,) = read(tmp_path / "a.extxyz")
        np.testing.assert_allclose(found.calc.results["magmoms"], moments, atol=1e-8)
        write(tmp_path / "a.cfg", [found], species=("Fe",))
        assert not caplog.records
        atoms.calc.results["magmom"] = total + 0.1
        write(tmp_path / "a.cfg", [atoms], species=("Fe",))
        assert "results['magmom'] (1)" in caplog.text

    def test_predictions_of_mace_only_where_there_is_nothing_else(self, file):
        rows = ("2.2 1.0", "-2.1 -1.0")
        (atoms,) = read(written(file, "magmoms:R:1:MACE_magmoms:R:1", rows))
        assert atoms.calc.results["magmoms"].tolist() == [2.2, -2.1]
        assert "MACE_magmoms" in atoms.arrays

    def test_in_cfg_files(self, tmp_path):
        path = tmp_path / "a.cfg"
        path.write_text(
            "BEGIN_CFG\nSize\n1\nAtomData: id type cartes_x cartes_y cartes_z spin\n"
            "1 0 0 0 0 2.5\nEND_CFG\n"
        )
        (atoms,) = read(path, species="Fe")
        assert atoms.calc.results["magmoms"].tolist() == [2.5]

    def test_which_names_stay_what_they_are(self):
        assert reads("spin", np.ones(2), 2, per_atom=True)
        assert reads("magmoms", np.ones(2), 2, per_atom=False)
        assert reads("virial", 1.0, 2, per_atom=False)
        assert not reads("spin", np.array(["up", "down"]), 2, per_atom=True)
        assert not reads("spin", 3, 2, per_atom=False)
        assert not reads("label", np.ones(2), 2, per_atom=True)


NINE = "0.1 0.6 0.5 0.6 0.2 0.4 0.5 0.4 0.3"
SIX = "0.1 0.2 0.3 0.4 0.5 0.6"
VOIGT = np.arange(1, 7) / 10


class TestStress:
    @pytest.mark.parametrize("numbers", [NINE, SIX])
    def test_stress_and_virial(self, file, caplog, numbers):
        caplog.set_level(logging.INFO, "mmtp_jax")
        (atoms,) = read(written(file, entries=f'stress="{numbers}"'))
        np.testing.assert_allclose(atoms.get_stress(), VOIGT)
        assert "virial" not in caplog.text
        (atoms,) = read(written(file, entries=f'virial="{numbers}"'))
        np.testing.assert_allclose(atoms.get_stress(), -VOIGT / 27)
        assert "virial" not in atoms.info
        assert "stress is the virial divided by minus the volume (1 config" in caplog.text

    @pytest.mark.parametrize("name", ["stress", "virial"])
    def test_no_symmetric_matrix(self, file, name):
        path = written(file, entries=f'{name}="1 2 3 4 5 6 7 8 9"')
        with pytest.raises(
            ValueError, match=rf"configuration 1: the nine numbers of '{name}' are no"
        ):
            read(path)

    def test_both_have_to_agree(self, file):
        virial = " ".join(f"{-27 * x:.6f}" for x in VOIGT)
        (atoms,) = read(written(file, entries=f'stress="{SIX}" virial="{virial}"'))
        np.testing.assert_allclose(atoms.get_stress(), VOIGT)
        path = written(file, entries=f'stress="{SIX}" virial="{SIX}"')
        with pytest.raises(ValueError, match=r"'stress' is 0.1 .* and 'virial' divided by minus"):
            read(path)
        (atoms,) = read(path, keys=["virial=none"])
        np.testing.assert_allclose(atoms.get_stress(), VOIGT)

    def test_no_virial_without_a_volume(self, file, caplog):
        caplog.set_level(logging.INFO, "mmtp_jax")
        (atoms,) = read(written(file, entries=f'virial="{SIX}"', lattice=""))
        assert "stress" not in atoms.calc.results
        assert "'virial' is not read where the cell is not periodic" in caplog.text

    @pytest.mark.parametrize("text", ["1 2 3", "a b c d e f"])
    def test_other_numbers(self, file, text):
        with pytest.raises(ValueError, match=r"a.extxyz, configuration 1: 'stress' of the comment"):
            read(written(file, entries=f'stress="{text}"'))


class TestKeys:
    def test_any_label(self, file):
        path = written(
            file,
            "F:R:3:s:R:1:T:R:1",
            ("1 2 3 2.2 0.1", "-1 -2 -3 -2.1 -0.1"),
            f'E=-7.5 pressure_like="{SIX}"',
        )
        keys = {
            "energy": "E", "forces": "F", "magmoms": "s", "magnetic_forces": "T",
            "virial": "pressure_like",
        }  # fmt: skip
        for given in (keys, [f"{label}={name}" for label, name in keys.items()]):
            (atoms,) = read(path, keys=given)
            assert atoms.get_potential_energy() == -7.5
            assert atoms.get_forces()[0].tolist() == [1, 2, 3]
            assert atoms.get_magnetic_moments().tolist() == [2.2, -2.1]
            assert atoms.arrays["magnetic_forces"].tolist() == [0.1, -0.1]
            np.testing.assert_allclose(atoms.get_stress(), -VOIGT / 27)
            assert not {"E", "pressure_like"} & set(atoms.info)

    def test_refused(self, file):
        written(file, "s:R:2", ("1 2", "3 4"))
        with pytest.raises(ValueError, match=r"a.extxyz: no configuration has 'spins'"):
            read(file, keys={"magmoms": "spins"})
        with pytest.raises(
            ValueError, match="configuration 1: the label magmoms has 2 x 2 numbers"
        ):
            read(file, keys={"magmoms": "s"})
        with pytest.raises(ValueError, match="maps no label"):
            read(file, keys=["moments=s"])
        with pytest.raises(ValueError, match="has two names"):
            checked_keys(["magmoms=a", "magmoms=b"])


class TestCommentLine:
    @pytest.mark.parametrize(
        ("entries", "match"),
        [
            ("energy=-2", "has 'energy' twice"),
            ("charge = 1 charge=2", "has 'charge' twice"),
            ('PBC="T T F"', "has 'PBC', which no program reads; write 'pbc'"),
        ],
    )
    def test_refused(self, file, entries, match):
        with pytest.raises(
            ValueError, match=rf"a.extxyz, configuration 1: the comment line {match}"
        ):
            read(written(file, entries=entries))

    def test_misspelt_lattice_makes_no_cluster(self, file):
        with pytest.raises(ValueError, match="Lattice"):
            read(written(file, lattice='lattice="3 0 0 0 3 0 0 0 3"'))

    def test_the_configuration_is_named(self, file):
        good = written(file).read_text()
        file.write_text(good + good + written(file, entries="energy=3").read_text() + good)
        for index in (":", "1:", "-2:"):
            with pytest.raises(ValueError, match=r"a.extxyz, configuration 3"):
                read(file, index=index)

    def test_text_may_look_like_entries(self, file):
        (atoms,) = read(written(file, entries='note="stress=1 stress=2" words words'))
        assert atoms.info["note"] == "stress=1 stress=2"


@pytest.mark.parametrize("value", [[1.0], (1.0,), np.array([1.0])])
def test_a_list_like_moments_is_told_when_it_is_written(tmp_path, value, caplog):
    """Extended XYZ gives it back as an array, which would be the moment of the one atom."""
    atoms = Atoms("Fe", cell=[3, 3, 3], pbc=True)
    atoms.info["REF_magmom"] = value
    write(tmp_path / "a.extxyz", [atoms])
    assert "REF_magmom" in caplog.text
    assert "REF_magmom" not in read(tmp_path / "a.extxyz")[0].info
