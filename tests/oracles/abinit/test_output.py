"""The parser of ABINIT's output, on a real one that is shortened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmtp_jax.oracles.abinit.output import messages_of, negative_points, parse_output

TEXT = Path(__file__).with_name("fe2.abo").read_text()
EV, ANGSTROM = 27.211386245988, 0.529177210903


def test_labels_and_their_units() -> None:
    found = parse_output(TEXT)
    assert found.version == "9.6.2"
    assert found.converged
    assert found.n_steps == 26
    assert found.residual == 2.45e-9
    assert (found.cpu_s, found.wall_s) == (2.7, 2.7)
    # The last ETOT line has more digits than etotal.
    assert found.energy == pytest.approx(-44.023166218356 * EV, abs=1e-9)
    force = np.array([-9.0517197010e-03, 1.6176540125e-02, -1.1162459353e-05]) * EV / ANGSTROM
    np.testing.assert_allclose(found.forces, [force, -force], rtol=1e-12)
    # The output also has the stress in GPa, in other places of the matrix.
    gpa = found.stress * 160.21766208
    np.testing.assert_allclose(
        gpa, [1.27832012, 1.50853426, 1.11827647, 6.13937353e-3, -9.59984461e-3, 1.31693428],
        rtol=2e-7,
    )  # fmt: skip
    np.testing.assert_array_equal(found.magmoms, [1.999999, 2.5])
    np.testing.assert_array_equal(found.charges, [6.659746, 6.618318])
    assert found.last_changes == (-9.70e-12, -6.96e-12)
    assert found.fine_grid == 24**3
    # grspin is +dE/dm; magnetic forces have the other sign.
    np.testing.assert_allclose(
        found.magnetic_forces, [-1.5105287084e-02 * EV, -2.4903012583e-02 * EV], rtol=1e-12
    )


def test_vectors_of_spinors() -> None:
    found = parse_output(Path(__file__).with_name("fe2_canted.abo").read_text())
    assert (found.converged, found.n_steps, found.residual) == (True, 32, 5.818e-9)
    assert found.energy == pytest.approx(-44.018779285901 * EV, abs=1e-9)
    np.testing.assert_array_equal(
        found.magmoms, [[-4e-6, -2e-6, 2.0], [1.999998, 0.499999, 1.500002]]
    )
    np.testing.assert_array_equal(found.charges, [6.666932, 6.616731])
    gradient = [
        [-9.3409924045e-03, -2.3352873734e-03, 1.9457573588e-03],
        [1.3922247033e-02, 3.4805604407e-03, 9.1475436040e-04],
    ]
    np.testing.assert_allclose(found.magnetic_forces, -np.array(gradient) * EV, rtol=1e-12)
    # Both energies differ by the sum over all components of m dE/dm, 0.035 Ha.
    assert abs(found.energy_gap) < 1e-4
    assert found.forces[0, 1] == pytest.approx(1.7265451224e-02 * EV / ANGSTROM, rel=1e-12)


def test_without_constraint_there_are_no_magnetic_forces() -> None:
    head, tail = TEXT.split("           grspin")
    text = head + tail[tail.index("             iscf") :]
    assert parse_output(text).magnetic_forces is None


def test_unconverged_is_said() -> None:
    text = TEXT.replace(
        " At SCF step   26       vres2   =  2.45E-09 < tolvrs=  1.00E-08 =>converged.",
        " scprqt:  WARNING -\n  nstep=   26 was not enough SCF cycles to converge;",
    )
    assert not parse_output(text).converged


@pytest.mark.parametrize(
    ("until", "words"),
    [
        (".Version", "no output of ABINIT"),
        (" ETOT  1", "ends before the first step"),
        (" ETOT 13", "ends after 12 steps"),
        (" At SCF step", "ends after 26 steps"),
        ("           strten", "ends after 26 steps"),
    ],
)
def test_what_is_cut_off_is_refused(until, words) -> None:
    with pytest.raises(ValueError, match=words):
        parse_output(TEXT[: TEXT.index(until)])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fcart", "no fcart"),
        ("strten", "no strten"),
        ("Atom    Radius    up_density", "no moments in spheres"),
    ],
)
def test_what_is_missing_is_said(name, words) -> None:
    with pytest.raises(ValueError, match=words):
        parse_output(TEXT.replace(name, "something"))


def test_the_double_counting_energy_is_compared_with_the_direct_one() -> None:
    assert parse_output(TEXT).energy_gap is None
    # They differ by sum m dE/dm under constraint; here by 0.1 Ha more.
    energy = -44.0231662183558 - 0.1 - (1.999999 * 1.5105287084e-02 + 2.5 * 2.4903012583e-02)
    dc = f"--- !EnergyTermsDC\nxc_dc : -2.2E+00\ntotal_energy_dc     : {energy:.14E}\n...\n"
    text = TEXT.replace("== END DATASET", dc + "== END DATASET")
    assert parse_output(text).energy_gap == pytest.approx(-0.1 * EV, abs=1e-7)


def test_messages_of_the_log_come_once() -> None:
    log = """
--- !WARNING
src_file: m_drivexc.F90
src_line: 711
message: |
    Density went too small
    at 1001 points
...

--- !COMMENT
src_file: b.F90
message: |
    fine
...
--- !WARNING
src_file: m_drivexc.F90
message: |
    Density went too small
    at 1001 points
...
"""
    assert messages_of(log, "WARNING") == ["Density went too small at 1001 points"]
    assert messages_of(log, "ERROR") == []
    assert negative_points(log + log.replace("1001", "37")) == 1001
    assert negative_points("") == 0
