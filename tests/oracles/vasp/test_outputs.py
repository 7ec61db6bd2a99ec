"""Parsers on texts in VASP's own format, written for these tests."""

import numpy as np
import pytest

from mmtp_jax.oracles.vasp.outputs import is_complete, read_oszicar, read_output

OSZICAR = """       N       E                     dE             d eps       ncg     rms

 E_p =  0.40000E+01  lambda =  0.100E+02
<lVp>=  0.00000E+00
 DBL =  0.40000E+01
 ion        MW_int                 M_int
  1  0.500  0.000  0.000    0.600  0.000  0.000
  2 -0.400  0.000  0.000   -0.500  0.000  0.000
DAV:   1     0.387561585632E+03    0.38756E+03   -0.10503E+04 62208   0.142E+03

 E_p =  0.20100E-02  lambda =  0.100E+02
<lVp>=  0.68300E+00
 DBL = -0.68099E+00
 ion        MW_int                 M_int
  1  1.710  0.001 -0.002    2.210  0.001 -0.003
  2-10.564  0.000  0.000  -12.123  0.000  0.000
DAV:   2    -0.345397640035E+02    0.54946E-06   -0.50771E-05 88408   0.569E-02
   1 F= -.34539764E+02 E0= -.34538764E+02  d E =0.000000E+00  mag=     0.0088     0.0067     1.2963

 E_p =  0.20000E-02  lambda =  0.100E+02
 ion             lambda*MW_perp
  1   0.10000E+00   0.00000E+00  -0.00000E+00
  2  -0.10000E+00  -0.88276E-23   0.00000E+00
"""

TABLE = """
 magnetization ({axis})

# of ion     s       p       d       f       tot
------------------------------------------------
  1        0.005   0.002   0.018   1.332   {a:5.3f}
  2       -0.002  -0.028   0.000   0.000  {b:6.3f}
------------------------------------------------
tot        0.002  -0.054   0.018   1.332   {sum:5.3f}

"""

OUTCAR = """ vasp.5.3.2 13Sep12 (build Sep  9 2014 11:37:56) complex

 POTCAR:    PAW_PBE Fe 06Sep2000
 POTCAR:    PAW_PBE Fe 06Sep2000
   NELM   =    {nelm};   NELMIN=  4; NELMDL= -5     # of ELM steps
   ISPIN  =      1    spin polarized calculation?
   k-points           NKPTS =      1   k-points in BZ   number of bands    NBANDS=      1
   ions per type =               2
 k-points in reciprocal lattice and weights: Automatic mesh
   0.00000000  0.00000000  0.00000000      1.000

--------------------------------------- Iteration      1(  14)  ----------------------------------

------------------------ {end} ----------------------------------------

{first}
  in kB     -42.43803   -42.43760   -46.85006    -2.07747    -0.02471    -0.01131
      direct lattice vectors                 reciprocal lattice vectors
     2.830000000  0.000000000  0.000000000     0.353356890  0.000000000  0.000000000
     0.000000000  2.830000000  0.000000000     0.000000000  0.353356890  0.000000000
     0.000000000  0.000000000  2.830000000     0.000000000  0.000000000  0.353356890

 POSITION                                       TOTAL-FORCE (eV/Angst)
 -----------------------------------------------------------------------------------
      0.00000      0.00000      0.00000         0.100000     -0.300000      0.000000
      1.41500      1.41500      1.41500        -0.100000      0.300000      0.000000
 -----------------------------------------------------------------------------------

  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)
  ---------------------------------------------------
  free  energy   TOTEN  =       -34.54103082 eV

  energy  without entropy=      -34.54003082  energy(sigma->0) =      -34.54053082

{last}
 General timing and accounting informations for this job:
 ========================================================
"""
REACHED = "aborting loop because EDIFF is reached"


def tables(scale=1.0, axes="xyz"):
    rows = {"x": (1.356, -2.029), "y": (0.001, 0.0), "z": (-0.004, 0.002)}
    charges = TABLE.format(axis="x", a=10 * scale + 3.5, b=10 * scale + 3.7, sum=0.0)
    found = charges.replace("magnetization (x)", "total charge     ")
    for axis in axes:
        a, b = (scale * v for v in rows[axis])
        found += TABLE.format(axis=axis, a=a, b=b, sum=a + b)
    return found


def write(folder, end=REACHED, nelm=200, last=None, oszicar=OSZICAR):
    last = tables() if last is None else last
    text = OUTCAR.format(end=end, nelm=nelm, first=tables(0.5), last=last)
    (folder / "OUTCAR").write_text(text)
    (folder / "OSZICAR").write_text(oszicar)


def test_the_last_state_of_the_constraint(tmp_path):
    write(tmp_path)
    found = read_oszicar(tmp_path / "OSZICAR", 2)
    assert found.weight == 10.0
    assert found.penalty == 0.002
    # Columns that touch each other are apart again.
    np.testing.assert_array_equal(found.smoothed, [[1.71, 0.001, -0.002], [-10.564, 0, 0]])
    np.testing.assert_array_equal(found.total, [[2.21, 0.001, -0.003], [-12.123, 0, 0]])
    np.testing.assert_allclose(found.field, [[0.1, 0, 0], [-0.1, 0, 0]], atol=1e-20)


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("DAV:   1     0.38E+03\n", "block"),
        (OSZICAR.replace("1.710  0.001", "*************"), "block"),
        (OSZICAR.split("  2-10.564")[0], "block"),
    ],
)
def test_a_broken_oszicar_is_named(tmp_path, text, missing):
    write(tmp_path, oszicar=text)
    with pytest.raises(ValueError, match=rf"OSZICAR has no whole {missing}"):
        read_oszicar(tmp_path / "OSZICAR", 2)
    with pytest.raises(ValueError, match="no file"):
        read_oszicar(tmp_path / "nowhere", 2)


def test_the_field_may_be_missing(tmp_path):
    write(tmp_path, oszicar=OSZICAR.split(" ion             lambda")[0])
    assert read_oszicar(tmp_path / "OSZICAR", 2).field is None


def test_the_labels_of_outcar(tmp_path):
    write(tmp_path)
    assert is_complete(tmp_path)
    found = read_output(tmp_path, 2, constrained=True)
    assert found.energy == -34.54103082
    np.testing.assert_array_equal(found.forces, [[0.1, -0.3, 0], [-0.1, 0.3, 0]])
    # kB, with the other sign and the order xx yy zz xy yz zx.
    kb = np.array([-42.43803, -42.43760, -46.85006, -0.02471, -0.01131, -2.07747])
    np.testing.assert_allclose(found.stress, -kb / 1602.1766, rtol=1e-6)
    expected = [[1.356, 0.001, -0.004], [-2.029, 0.0, 0.002]]
    np.testing.assert_array_equal(found.moments, expected)
    np.testing.assert_array_equal(found.charges, [13.5, 13.7])
    assert found.version == "5.3.2"
    assert found.converged
    collinear = read_output(tmp_path, 2, constrained=False)
    assert collinear.moments.shape == (2, 1)
    assert collinear.constraint is None


def test_convergence(tmp_path):
    write(tmp_path, end="aborting loop EDIFF was not reached (unconverged)", nelm=14)
    assert not read_output(tmp_path, 2, constrained=True).converged
    # VASP 5 says "reached" after NELM steps too.
    write(tmp_path, nelm=14)
    assert not read_output(tmp_path, 2, constrained=True).converged


def test_what_is_missing_in_outcar_is_named(tmp_path):
    write(tmp_path, last=tables(axes="x"))
    text = (tmp_path / "OUTCAR").read_text().replace("total charge", "")
    (tmp_path / "OUTCAR").write_text(text)
    assert read_output(tmp_path, 2, constrained=False).charges is None
    text = text.replace("magnetization (z)", "")
    (tmp_path / "OUTCAR").write_text(text)
    with pytest.raises(ValueError, match=r"no table 'magnetization \(z\)'"):
        read_output(tmp_path, 2, constrained=True)
    with pytest.raises(ValueError, match="has 2 atoms, not 3"):
        read_output(tmp_path, 3, constrained=True)
    (tmp_path / "OUTCAR").write_text(text.split("  FREE ENERGIE")[0])
    assert not is_complete(tmp_path)
    with pytest.raises(ValueError, match="holds no whole ionic step"):
        read_output(tmp_path, 2, constrained=True)
    assert not is_complete(tmp_path / "nowhere")
