"""The making of labels goes through files, and is found in what VASP leaves."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

import mmtp_jax as mmtp
from mmtp_jax.io.convert import to_structure
from mmtp_jax.io.making import vasp_info
from mmtp_jax.oracles.oracle import Provenance
from mmtp_jax.structures.making import making_entries

OUTCAR = """ vasp.6.3.2 27Jun22 (build) complex
 POTCAR:    PAW_PBE Cr_pv 02Aug2007
   VRHFIN =Cr: d5 s1
   LEXCH  = PE
   TITEL  = PAW_PBE Cr_pv 02Aug2007
   RWIGS  =    2.500; RWIGS  =    1.323    wigner-seitz radius (au A)
 POTCAR:    PAW_PBE N 08Apr2002
   TITEL  = PAW_PBE N 08Apr2002
 Automatic generation of k-mesh.
 generate k-points for:    4    4    2
   ENCUT  =  500.0 eV  36.75 Ry    6.06 a.u.   5.04  5.04  5.04*2*pi/ulx,y,z
   Atomic Wigner-Seitz radii
   RWIGS  =   1.32  0.74
   LORBIT =      1    0 simple, 1 ext, 2 COOP (PROOUT)
   ISMEAR =     1;   SIGMA  =   0.10  broadening in eV -4-tet -1-fermi 0-gaus
 LDA+U is selected, type is set to LDAUTYPE =  2
   angular momentum for each species LDAUL =     2   -1
   U (eV)           for each species LDAUU =   3.0  0.0
   J (eV)           for each species LDAUJ =   0.0  0.0
   GGA     =    --    GGA type
-------- Iteration      1(   1)  ------
   GGA     =    PS
"""


def labelled(info):
    atoms = Atoms("CrN", [[0, 0, 0], [2, 2, 2]], cell=[4.1] * 3, pbc=True, magmoms=[3.0, 0.1])
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, magmoms=np.array([3.0, 0.1]))
    atoms.info |= info
    return atoms


@pytest.mark.parametrize("name", ["a.extxyz", "a.cfg", "a.xyz"])
def test_the_making_goes_through_files(tmp_path, name):
    making = {"Cr.U": "l 2 U 3 J 0 eV", "ecut_Ha": 16.0, "kshift": (0.5, 0.5, 0.5), "x": "a=b\\"}
    info = Provenance("ABINIT", "9.6.2", making=making, kmesh=(4, 4, 2)).info
    mmtp.write(tmp_path / name, [labelled(info)])
    (found,) = mmtp.read(tmp_path / name)
    structure = to_structure(found, ("Cr", "N"))
    assert structure.making == info["making"]
    assert structure.kmesh == (4, 4, 2)
    assert making_entries(structure.making)["kshift"] == "0.5 0.5 0.5"
    found.calc = None
    assert to_structure(found, ("Cr", "N")).making == ""


def test_an_outcar_says_how_it_was_made(tmp_path):
    (tmp_path / "OUTCAR").write_text(OUTCAR)
    info = vasp_info(tmp_path / "OUTCAR")
    assert info["kmesh"] == "4x4x2"
    assert making_entries(info["making"]) == {
        "code": "VASP", "version": "6.3.2", "functional": "PE", "ENCUT_eV": "500", "ISMEAR": "1",
        "SIGMA_eV": "0.1", "Cr.POTCAR": "PAW_PBE Cr_pv 02Aug2007", "Cr.U": "l 2 U 3 J 0 eV",
        "Cr.RWIGS": "1.32", "N.POTCAR": "PAW_PBE N 08Apr2002", "N.U": "none", "N.RWIGS": "0.74",
    }  # fmt: skip
    (tmp_path / "OUTCAR").write_text(
        OUTCAR.replace("=    --", "=    PS").replace("LORBIT =      1", "LORBIT =     11")
    )
    entries = making_entries(vasp_info(tmp_path / "OUTCAR")["making"])
    assert entries["functional"] == "PS"
    assert "Cr.RWIGS" not in entries


def test_a_vasprun_says_how_it_was_made(tmp_path):
    text = """<?xml version="1.0"?>
<modeling>
 <generator><i name="version" type="string">6.3.0  </i></generator>
 <incar><i type="string" name="GGA">PS</i></incar>
 <generation param="Gamma"><v type="int" name="divisions">  4  4  4 </v></generation>
 <parameters><i name="ENMAX">    400.0</i><i type="int" name="ISMEAR">  0</i>
 <i name="SIGMA">  0.05</i><i type="logical" name="LDAU"> F  </i></parameters>
 <array name="atomtypes"><set>
 <rc><c>   2</c><c>Fe</c><c> 55.8</c><c> 8.0</c><c>  PAW_PBE Fe 06Sep2000 </c></rc>
 </set></array>
 <calculation><i name="ENMAX">1.0</i>
"""
    (tmp_path / "vasprun.xml").write_text(text)
    info = vasp_info(tmp_path / "vasprun.xml")
    assert info["kmesh"] == "4x4x4"
    assert making_entries(info["making"]) == {
        "code": "VASP", "version": "6.3.0", "functional": "PS", "ENCUT_eV": "400", "ISMEAR": "0",
        "SIGMA_eV": "0.05", "Fe.POTCAR": "PAW_PBE Fe 06Sep2000", "Fe.U": "none",
    }  # fmt: skip
    (tmp_path / "other.xyz").write_text("1\n\nFe 0 0 0\n")
    assert vasp_info(tmp_path / "other.xyz") == {}
