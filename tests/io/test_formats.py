"""Reading and writing any format into one schema, and replacing files in one step."""

import gzip
import os
from importlib import resources
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from mmtp_jax.io.atomic import atomic_write
from mmtp_jax.io.cfg import write_cfg
from mmtp_jax.io.compressed import read_text
from mmtp_jax.io.normalised import normalised
from mmtp_jax.io.reading import configuration_name, read
from mmtp_jax.io.schema import labels_of, set_magnetic_forces, stamp_as_read
from mmtp_jax.io.writing import write

OUTCAR = """ POTCAR:    PAW_PBE Fe 06Sep2000
 POTCAR:    PAW_PBE Fe 06Sep2000
   ISPIN  =      2    spin polarized calculation?
   k-points           NKPTS =      1   k-points in BZ   number of bands    NBANDS=      1
   ions per type =               2
 k-points in reciprocal lattice and weights: Automatic mesh
   0.00000000  0.00000000  0.00000000      1.000

----------------------------- Iteration      1(   1)  -----------------------------
 magnetization (x)

# of ion       s       p       d       tot
------------------------------------------
    1        0.0     0.0     2.2     2.2
    2        0.0     0.0    -2.1    -2.1
--------------------------------------------------
tot          0.0     0.0     0.1     0.1

  in kB       8.01088   16.02177    0.00000    0.00000    0.00000    0.00000
      direct lattice vectors                 reciprocal lattice vectors
     2.830000000  0.000000000  0.000000000     0.353356890  0.000000000  0.000000000
     0.000000000  2.830000000  0.000000000     0.000000000  0.353356890  0.000000000
     0.000000000  0.000000000  2.830000000     0.000000000  0.000000000  0.353356890

 POSITION                                       TOTAL-FORCE (eV/Angst)
 -----------------------------------------------------------------------------------
      0.00000      0.00000      0.00000         0.100000      0.000000      0.000000
      1.41500      1.41500      1.41500        -0.100000      0.000000      0.000000
 -----------------------------------------------------------------------------------

  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)
  ---------------------------------------------------
  free  energy   TOTEN  =       -16.50000000 eV

  energy  without entropy=      -16.30000000  energy(sigma->0) =      -16.40000000

"""


def labelled(energy=-1.0, n=2, seed=0, **info):
    rng = np.random.default_rng(seed)
    atoms = Atoms(f"Fe{n}", positions=rng.normal(size=(n, 3)), cell=[3, 3, 3], pbc=True)
    atoms.info.update(info)
    moments = rng.normal(size=n)
    atoms.set_initial_magnetic_moments(moments + 0.5)
    magnetic_forces = rng.normal(size=n)
    atoms.calc = SinglePointCalculator(
        atoms,
        energy=energy,
        forces=rng.normal(size=(n, 3)),
        stress=rng.normal(size=6),
        magmoms=moments,
    )
    atoms.arrays["magnetic_forces"] = magnetic_forces
    stamp_as_read(atoms)
    return atoms


def close(a, b, atol):
    np.testing.assert_allclose(b.positions, a.positions, atol=atol)
    np.testing.assert_allclose(b.cell, a.cell, atol=atol)
    for name in ("energy", "forces", "stress", "magmoms"):
        np.testing.assert_allclose(b.calc.results[name], a.calc.results[name], atol=atol)
    np.testing.assert_allclose(
        b.get_initial_magnetic_moments(), a.get_initial_magnetic_moments(), atol=atol
    )
    np.testing.assert_allclose(b.arrays["magnetic_forces"], a.arrays["magnetic_forces"], atol=atol)


def shipped():
    return resources.files("mmtp_jax") / "data" / "fe_cdft.extxyz"


class TestRead:
    def test_shipped_data(self):
        atoms_list = read(str(shipped()))
        assert len(atoms_list) == 100
        for atoms in atoms_list:
            labels = labels_of(atoms)
            assert not labels.stale
            assert set(labels.results) == {"energy", "forces", "stress", "magmoms"}
            assert labels.magnetic_forces.shape == labels.achieved_moments.shape == (len(atoms),)
        first = atoms_list[0]
        assert first.get_potential_energy() == -6771.831122111968
        np.testing.assert_array_equal(first.arrays["magnetic_forces"], [-0.00858285, -0.00858317])
        assert first.info.pop("making").startswith("code: ABINIT; version: 9.6.2; ")
        assert first.info == {
            "config_id": 0, "label": "fm_curve", "constrained": True, "kmesh": "4x4x4"
        }  # fmt: skip
        assert first.source == "fe_cdft.extxyz, configuration 1"

    def test_outcar(self, tmp_path):
        (tmp_path / "OUTCAR").write_text(OUTCAR)
        (atoms,) = read(tmp_path / "OUTCAR")
        # The free energy, not energy(sigma -> 0): forces are derivatives of the free energy.
        assert atoms.get_potential_energy() == -16.5
        np.testing.assert_array_equal(atoms.get_magnetic_moments(), [2.2, -2.1])
        np.testing.assert_array_equal(atoms.get_initial_magnetic_moments(), [2.2, -2.1])
        np.testing.assert_array_equal(atoms.get_forces()[0], [0.1, 0, 0])
        # VASP prints pressure-like kB; ASE's sign is the other.
        np.testing.assert_allclose(atoms.get_stress()[:2], [-0.005, -0.01], rtol=1e-5)
        assert "magnetic_forces" not in atoms.arrays

    def test_vectors_with_one_component(self, tmp_path):
        (tmp_path / "a.xyz").write_text(
            "1\nProperties=species:S:1:pos:R:3:magmoms:R:3:initial_magmoms:R:3:magnetic_forces:R:3"
            ' energy=-1.0 pbc="F F F"\nFe 0 0 0  0 0 2.0  0 0 1.5  0 0 -0.25\n'
        )
        (atoms,) = read(tmp_path / "a.xyz")
        np.testing.assert_array_equal(atoms.get_magnetic_moments(), [2.0])
        np.testing.assert_array_equal(atoms.get_initial_magnetic_moments(), [1.5])
        np.testing.assert_array_equal(atoms.arrays["magnetic_forces"], [-0.25])

    def test_noncollinear_stays(self, tmp_path):
        (tmp_path / "a.xyz").write_text(
            "1\nProperties=species:S:1:pos:R:3:magmoms:R:3:magnetic_forces:R:3 energy=-1.0\n"
            "Fe 0 0 0  1 0 2.0  0.5 0 -0.25\n"
        )
        (atoms,) = read(tmp_path / "a.xyz")
        np.testing.assert_array_equal(atoms.get_magnetic_moments(), [[1, 0, 2]])
        np.testing.assert_array_equal(atoms.arrays["magnetic_forces"], [[0.5, 0, -0.25]])

    def test_transverse_magnetic_forces_are_said(self, tmp_path, caplog):
        (tmp_path / "a.xyz").write_text(
            "1\nProperties=species:S:1:pos:R:3:magmoms:R:3:magnetic_forces:R:3 energy=-1.0\n"
            "Fe 0 0 0  0 0 2.0  0.5 0 -0.25\n"
        )
        (atoms,) = read(tmp_path / "a.xyz")
        np.testing.assert_array_equal(atoms.arrays["magnetic_forces"], [-0.25])
        assert "across the collinear moments" in caplog.text

    def test_free_energy_wins(self, tmp_path):
        (tmp_path / "a.xyz").write_text(
            "1\nProperties=species:S:1:pos:R:3 energy=-1.0 free_energy=-2.0\nFe 0 0 0\n"
        )
        assert read(tmp_path / "a.xyz")[0].get_potential_energy() == -2.0

    def test_several_files_and_patterns(self, tmp_path):
        for name, energies in (("b.xyz", [3.0]), ("a.xyz", [1.0, 2.0])):
            write(tmp_path / name, [labelled(energy) for energy in energies])
        write(tmp_path / "c.cfg", labelled(4.0))
        assert [a.get_potential_energy() for a in read(tmp_path / "*.xyz")] == [1, 2, 3]
        mixed = read([tmp_path / "c.cfg", str(tmp_path / "?.xyz")])
        assert [a.get_potential_energy() for a in mixed] == [4, 1, 2, 3]
        assert [a.source for a in mixed[:2]] == ["c.cfg, configuration 1", "a.xyz, configuration 1"]

    @pytest.mark.parametrize("name", ["a.cfg", "a.xyz"])
    @pytest.mark.parametrize(
        ("index", "numbers"),
        [
            (":", [1, 2, 3, 4]), (0, [1]), (-1, [4]), ("-2:", [3, 4]), ("1::2", [2, 4]),
            (slice(1, 3), [2, 3]), ("::-1", [4, 3, 2, 1]), ("2", [3]), ("9:", []),
        ],
    )  # fmt: skip
    def test_index(self, tmp_path, name, index, numbers):
        write(tmp_path / name, [labelled(float(k)) for k in range(1, 5)])
        found = read(tmp_path / name, index=index)
        assert [a.get_potential_energy() for a in found] == numbers
        assert [a.source for a in found] == [f"{name}, configuration {k}" for k in numbers]
        if isinstance(index, slice):
            return
        # As ASE has it in names.
        named = read(f"{tmp_path / name}@{index}")
        assert [a.source for a in named] == [a.source for a in found]
        assert [a.get_potential_energy() for a in named] == numbers

    @pytest.mark.parametrize("name", ["a.cfg", "a.xyz"])
    @pytest.mark.parametrize("index", [7, -7])
    def test_index_beyond(self, tmp_path, name, index):
        write(tmp_path / name, labelled())
        with pytest.raises(ValueError, match=f"{name} has .*configuration"):
            read(tmp_path / name, index=index)

    def test_cfg_by_content_and_options(self, tmp_path):
        write_cfg(tmp_path / "train.cfg", labelled())
        (tmp_path / "train.cfg").rename(tmp_path / "train.txt")
        (plain,) = read(tmp_path / "train.txt", species="Fe")
        (turned,) = read(tmp_path / "train.txt", magnetic_gradient=True)
        assert np.array_equal(plain.arrays["magnetic_forces"], -turned.arrays["magnetic_forces"])

    @pytest.mark.parametrize("name", ["CONTCAR.cif", "POSCAR.extxyz", "CONTCAR.cfg"])
    def test_the_extension_decides(self, tmp_path, name):
        atoms = Atoms("Fe2", positions=[[0, 0, 0], [0, 0, 2.2]], cell=[3.0, 4.0, 5.0], pbc=True)
        write(tmp_path / name, [atoms])
        assert not (tmp_path / name).read_text().startswith("Fe")
        (found,) = read(tmp_path / name, species=("Fe",))
        assert np.allclose(found.cell.lengths(), [3.0, 4.0, 5.0])

    def test_at_sign_in_a_name(self, tmp_path):
        write(tmp_path / "a@300.xyz", labelled())
        assert len(read(tmp_path / "a@300.xyz")) == 1

    def test_options_of_ase(self, tmp_path):
        write(tmp_path / "a.xyz", labelled())
        (tmp_path / "a.xyz").rename(tmp_path / "a.data")
        (atoms,) = read(tmp_path / "a.data", format="extxyz", magnetic_gradient=False)
        assert atoms.get_potential_energy() == -1.0

    def test_missing(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no file '.*none.xyz'"):
            read(tmp_path / "none.xyz")
        with pytest.raises(FileNotFoundError, match="no file fits the pattern"):
            read(tmp_path / "*.xyz")

    def test_broken_files_of_other_formats(self, tmp_path):
        (tmp_path / "OUTCAR").write_text(OUTCAR.replace("TOTAL-FORCE", "").replace("POSITION", ""))
        with pytest.raises(ValueError, match=r"OUTCAR: ASE cannot read this file .ParseError"):
            read(tmp_path / "OUTCAR")

    def test_unknown_format(self, tmp_path):
        (tmp_path / "a.strange").write_text("what is this\n")
        with pytest.raises(ValueError, match=r"a.strange is of no format.*format="):
            read(tmp_path / "a.strange")

    def test_potential_is_named(self, tmp_path):
        (tmp_path / "pot.mtp").write_text("MTP\n")
        with pytest.raises(ValueError, match=r"pot\.mtp is a potential, not configurations"):
            read(tmp_path / "pot.mtp")

    def test_source_is_in_no_file_and_no_copy(self, tmp_path):
        write(tmp_path / "a.xyz", labelled())
        (atoms,) = read(tmp_path / "a.xyz")
        assert atoms.source not in str(atoms.info)
        assert not hasattr(atoms.copy(), "source")
        write(tmp_path / "b.xyz", atoms)
        assert (tmp_path / "b.xyz").read_text() == (tmp_path / "a.xyz").read_text()

    def test_name(self):
        assert configuration_name(Path("x") / "train.cfg", 3) == "train.cfg, configuration 3"


class TestWrite:
    @pytest.mark.parametrize(("name", "atol"), [("a.xyz", 0), ("a.extxyz", 0)])
    def test_round_trip(self, tmp_path, name, atol):
        atoms_list = [labelled(-3385.123456789, n, n, config_id=n) for n in (1, 2, 5)]
        write(tmp_path / name, atoms_list)
        for a, b in zip(atoms_list, read(tmp_path / name), strict=True):
            close(a, b, atol)
            assert b.info == a.info

    def test_round_trip_through_cfg(self, tmp_path):
        """Initial moments are the one thing that .cfg has no second place for."""
        atoms = labelled()
        atoms.set_initial_magnetic_moments(atoms.calc.results["magmoms"])
        atoms.calc.atoms = atoms.copy()
        write(tmp_path / "a.cfg", atoms, species=("Al", "Fe"))
        (again,) = read(tmp_path / "a.cfg")
        close(atoms, again, 1e-15)

    def test_shipped_data_to_cfg_and_back(self, tmp_path):
        atoms_list = read(str(shipped()))
        write(tmp_path / "a.cfg", atoms_list)
        for a, b in zip(atoms_list, read(tmp_path / "a.cfg"), strict=True):
            close(a, b, 1e-15)
            assert b.info == a.info

    def test_magnetic_forces_of_a_calculator(self, tmp_path):
        atoms = labelled()
        atoms.calc.results["magnetic_forces"] = np.array([7.0, 8.0])
        for name in ("a.xyz", "a.cfg"):
            write(tmp_path / name, atoms)
            (again,) = read(tmp_path / name)
            np.testing.assert_array_equal(again.arrays["magnetic_forces"], [7, 8])

    def test_formats_without_a_place_say_so(self, tmp_path, caplog):
        write(tmp_path / "a.traj", [labelled(), labelled()])
        assert "a.traj: left out of 2 configurations: magnetic forces (2)" in caplog.text
        found = read(tmp_path / "a.traj")
        assert len(found) == 2
        np.testing.assert_array_equal(found[0].get_forces(), labelled().get_forces())

    def test_compressed(self, tmp_path):
        write(tmp_path / "a.xyz.gz", labelled())
        assert (tmp_path / "a.xyz.gz").read_bytes()[:2] == b"\x1f\x8b"
        close(labelled(), read(tmp_path / "a.xyz.gz")[0], 1e-8)

    def test_stale_labels_are_not_written(self, tmp_path, caplog):
        atoms = labelled()
        atoms.set_initial_magnetic_moments([1.0, 1.0])
        write(tmp_path / "a.xyz", atoms)
        (again,) = read(tmp_path / "a.xyz")
        assert again.calc is None
        assert "magnetic_forces" not in again.arrays
        assert "results for other positions, cell or initial moments (1)" in caplog.text
        np.testing.assert_array_equal(again.get_initial_magnetic_moments(), [1, 1])

    @pytest.mark.parametrize("name", ["a.xyz", "a.cfg"])
    def test_nothing_is_changed(self, tmp_path, name):
        atoms = labelled()
        calc, info, arrays = (
            atoms.calc,
            dict(atoms.info),
            {k: v.copy() for k, v in atoms.arrays.items()},
        )
        results = {k: np.copy(v) for k, v in calc.results.items()}
        write(tmp_path / name, atoms)
        assert atoms.calc is calc
        assert atoms.info == info
        assert atoms.arrays.keys() == arrays.keys()
        assert all(np.array_equal(atoms.arrays[k], v) for k, v in arrays.items())
        assert all(np.array_equal(calc.results[k], v) for k, v in results.items())

    @pytest.mark.parametrize("name", ["a.CFG", "a.Cfg", "a.cfg.gz", "a.cfg.bz2", "a.CFG.XZ"])
    def test_cfg_is_that_of_mlip(self, tmp_path, name):
        """ASE writes AtomEye's files under these names, which hold no labels."""
        write(tmp_path / name, labelled())
        (again,) = read(tmp_path / name)
        assert again.get_potential_energy() == -1.0
        assert again.source == f"{name}, configuration 1"
        write_cfg(tmp_path / "plain.cfg", labelled())
        assert read_text(tmp_path / name) == (tmp_path / "plain.cfg").read_text()

    def test_cfg_of_others(self, tmp_path):
        ase.io.write(tmp_path / "eye.cfg", labelled())
        with pytest.raises(ValueError, match=r"eye.cfg, .*AtomEye's, not MLIP's"):
            read(tmp_path / "eye.cfg")
        write(tmp_path / "a.dat", labelled(), format="cfg")
        assert read(tmp_path / "a.dat", format="cfg")[0].get_potential_energy() == -1.0

    @pytest.mark.parametrize("name", ["a.cfg.gz", "a.xyz.xz"])
    def test_damaged_archives(self, tmp_path, name):
        write(tmp_path / name, labelled())
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[:-9])
        with pytest.raises(ValueError, match=rf"{name} cannot be unpacked, it is cut or no"):
            read(tmp_path / name)
        (tmp_path / name).write_bytes(b"plain text")
        with pytest.raises(ValueError, match=rf"{name} cannot be unpacked, it is cut or no"):
            read(tmp_path / name)

    def test_archive_that_unpacks_to_much(self, tmp_path):
        (tmp_path / "a.cfg.gz").write_bytes(gzip.compress(b" " * 30_000_000))
        with pytest.raises(ValueError, match="unpacks to more than 200 times its size"):
            read(tmp_path / "a.cfg.gz")

    @pytest.mark.parametrize("target", ["b.extxyz", "b.cfg"])
    @pytest.mark.parametrize("text", ["", "first\nsecond", "a = b", '"', "\\", "x\ry", "T", "5"])
    def test_text_of_users(self, tmp_path, text, target, caplog):
        """From .cfg, where it is a feature, and to a file that ASE reads too."""
        atoms = labelled(remark=text)
        atoms.set_initial_magnetic_moments(atoms.calc.results["magmoms"])
        atoms.calc.atoms = atoms.copy()
        write(tmp_path / "a.cfg", atoms)
        write(tmp_path / target, read(tmp_path / "a.cfg") * 2)
        first, second = read(tmp_path / target)
        assert first.info == second.info == {"remark": text}
        close(atoms, second, 1e-15)
        if target == "b.extxyz":
            by_ase = ase.io.read(tmp_path / target, index=":")
            assert [a.info for a in by_ase] == [{"remark": text}] * 2
            close(atoms, by_ase[1], 1e-15)
        assert caplog.text == ""

    def test_feature_without_text_and_in_lines(self, tmp_path):
        write(tmp_path / "a.cfg", labelled())
        text = (tmp_path / "a.cfg").read_text()
        more = " Feature remark\n Feature log one\n Feature log two\nEND_CFG"
        (tmp_path / "a.cfg").write_text(text.replace("END_CFG", more))
        write(tmp_path / "b.extxyz", read(tmp_path / "a.cfg"))
        assert read(tmp_path / "b.extxyz")[0].info == {"remark": "", "log": "one\ntwo"}

    @pytest.mark.parametrize(
        "key", ["energy", "free_energy", "stress", "Lattice", "Properties", "pbc"]
    )
    def test_info_of_reserved_names(self, tmp_path, key, caplog):
        for value in (-5.0, "text", np.eye(3)):
            atoms = labelled(kept=1)
            atoms.info[key] = value
            write(tmp_path / "a.extxyz", [atoms, labelled()])
            first, second = read(tmp_path / "a.extxyz")
            close(labelled(), first, 1e-15)
            assert first.info == {"kept": 1}
            close(labelled(), second, 1e-15)
            assert caplog.messages == [
                f"{tmp_path / 'a.extxyz'}: left out of 2 configurations: info[{key!r}] (1)"
            ]
            caplog.clear()

    def test_info_of_reserved_names_is_no_label(self, tmp_path):
        atoms = Atoms("Fe", info={"energy": -5.0, "free_energy": -6.0})
        atoms.arrays["forces"] = np.ones((1, 3))
        write(tmp_path / "a.extxyz", atoms)
        assert read(tmp_path / "a.extxyz")[0].calc is None

    def test_labels_of_wrong_shape_are_refused(self, tmp_path):
        for name, value in (("forces", np.ones(2)), ("energy", "a"), ("stress", np.ones(9))):
            atoms = labelled()
            atoms.calc.results[name] = value
            with pytest.raises(ValueError, match=rf"cannot write .*a.xyz, configuration 2: {name}"):
                write(tmp_path / "a.xyz", [labelled(), atoms])
        assert not list(tmp_path.iterdir())

    def test_two_energies(self, tmp_path, caplog):
        """The free energy is written, and another one beside it is named."""
        for name in ("a.extxyz", "a.cfg"):
            atoms = labelled()
            atoms.calc.results["free_energy"] = -2.0
            write(tmp_path / name, atoms)
            assert read(tmp_path / name)[0].get_potential_energy() == -2.0
            assert "energy other than the free energy, which is written (1)" in caplog.text
            caplog.clear()

    def test_formats_of_ase_name_what_they_lose(self, tmp_path, caplog):
        atoms = labelled(remark="x")
        atoms.set_constraint(FixAtoms([0]))
        write(tmp_path / "POSCAR", atoms)
        assert caplog.messages == [
            f"{tmp_path / 'POSCAR'}: left out of 1 configuration: energy (1), forces (1), "
            "stress (1), magmoms (1), magnetic forces (1), arrays['initial_magmoms'] (1), "
            "info['remark'] (1)"
        ]
        write(tmp_path / "a.pdb", atoms)
        assert "positions (up to 0.000" in caplog.text

    def test_formats_of_ase_refuse(self, tmp_path):
        with pytest.raises(ValueError, match="POSCAR: ASE cannot write this as vasp"):
            write(tmp_path / "POSCAR", [labelled(), labelled()])
        with pytest.raises(ValueError, match="nothing reads the format png again"):
            write(tmp_path / "a.png", labelled())
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("name", ["a.extxyz", "a.cfg"])
    def test_limits(self, tmp_path, name, caplog):
        """What no file holds is refused, or left out where it is no label."""
        for pbc, cell in ((True, None), ((True, False, False), np.diag([0, 3, 3]))):
            with pytest.raises(
                ValueError, match="configuration 1: a periodic direction has no cell"
            ):
                write(tmp_path / name, Atoms("Fe", pbc=pbc, cell=cell))
        tower = []
        for _ in range(5000):
            tower = [tower]
        loop = {}
        loop["loop"] = loop
        write(tmp_path / name, Atoms("Fe", info={"tower": tower, "loop": loop, "digits": 10**5000}))
        assert read(tmp_path / name)[0].info == {}
        for key in ("tower", "loop", "digits"):
            assert f"info[{key!r}] (1)" in caplog.text

    def test_no_atoms(self, tmp_path):
        write(tmp_path / "a.extxyz", [Atoms(), Atoms("Fe")])
        assert [len(atoms) for atoms in read(tmp_path / "a.extxyz")] == [0, 1]
        with pytest.raises(ValueError, match="no configuration has atoms"):
            write(tmp_path / "a.cfg", Atoms())

    @pytest.mark.parametrize("name", ["a.xyz", "a.cfg", "a.traj"])
    def test_magnetic_forces_across_the_moments(self, tmp_path, name, caplog):
        atoms = Atoms("Fe2", magmoms=[[0, 0, 1.0], [0, 0, 2.0]])
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0)
        set_magnetic_forces(atoms, [[0.5, 0.0, 1.0], [0.0, 0.0, 2.0]])
        write(tmp_path / name, [atoms, atoms])
        (message,) = caplog.messages
        assert "magnetic forces across the collinear moments (2)" in message

    def test_same_file_twice(self, tmp_path):
        """Archives hold no time."""
        for name in ("a.cfg.gz", "a.xyz.gz", "a.xyz.xz"):
            write(tmp_path / name, labelled())
            first = (tmp_path / name).read_bytes()
            write(tmp_path / name, labelled())
            assert (tmp_path / name).read_bytes() == first

    def test_refused(self, tmp_path):
        with pytest.raises(ValueError, match=r"there is no configuration to write to .*a.xyz"):
            write(tmp_path / "a.xyz", [])
        with pytest.raises(ValueError, match="format='none' says no format"):
            write(tmp_path / "a.xyz", labelled(), format="none")
        with pytest.raises(ValueError, match="says no format"):
            write(tmp_path / "a.strange", labelled())
        with pytest.raises(ValueError, match=r"without options, got .'columns'"):
            write(tmp_path / "a.cfg", labelled(), columns=[])
        with pytest.raises(ValueError, match="append is not supported"):
            write(tmp_path / "a.xyz", labelled(), append=True)
        assert not list(tmp_path.iterdir())

    def test_named_format(self, tmp_path):
        write(tmp_path / "a.dat", labelled(), format="extxyz")
        assert ase.io.read(tmp_path / "a.dat", format="extxyz").get_potential_energy() == -1.0


def test_normalised_keeps_constraints_and_other_results():
    atoms = labelled()
    atoms.set_constraint(FixAtoms([0]))
    atoms.calc.results["energies"] = np.array([1.0, 2.0])
    atoms.calc.results["grade"] = 3.0  # unknown to ASE
    copy = normalised(atoms, labels_of(atoms))
    assert copy is not atoms
    assert copy.constraints
    np.testing.assert_array_equal(copy.calc.results["forces"], atoms.calc.results["forces"])
    np.testing.assert_array_equal(copy.calc.results["energies"], [1, 2])
    assert "grade" not in copy.calc.results


class TestAtomicWrite:
    def test_replaces(self, tmp_path):
        path = tmp_path / "a.txt"
        path.write_text("old")
        path.chmod(0o640)
        with atomic_write(path) as temporary:
            assert temporary.parent == tmp_path
            assert temporary.suffix == ".txt"
            temporary.write_text("new")
            assert path.read_text() == "old"
        assert path.read_text() == "new"
        assert path.stat().st_mode & 0o777 == 0o640
        assert list(tmp_path.iterdir()) == [path]

    def test_keeps_the_old_file_on_errors(self, tmp_path):
        path = tmp_path / "a.txt"
        path.write_text("old")

        def stop_halfway():
            with atomic_write(path) as temporary:
                temporary.write_text("ne")
                raise RuntimeError("halfway")

        with pytest.raises(RuntimeError, match="halfway"):
            stop_halfway()
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_folder_has_to_exist(self, tmp_path):
        with (
            pytest.raises(FileNotFoundError, match=r"folder .*none does not exist"),
            atomic_write(tmp_path / "none" / "a.txt"),
        ):
            pass

    def test_link_stays_a_link(self, tmp_path):
        real, link = tmp_path / "real.txt", tmp_path / "link.txt"
        real.write_text("old")
        os.symlink(real, link)
        with atomic_write(link) as temporary:
            temporary.write_text("new")
        assert link.is_symlink()
        assert real.read_text() == "new"

    def test_relative_name(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with atomic_write("a.txt") as temporary:
            temporary.write_text("x")
        assert (tmp_path / "a.txt").read_text() == "x"
