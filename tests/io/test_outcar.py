"""OUTCAR files: cut ones, and what they say of their labels."""

import pytest

from mmtp_jax.io.reading import read
from mmtp_jax.io.unconverged import mark_of
from tests.io.test_formats import OUTCAR

HEAD, STEP = OUTCAR.split("-" * 29 + " Iteration", 1)
STEP = "-" * 29 + " Iteration" + STEP


def outcar(folder, text):
    (folder / "OUTCAR").write_text(text)
    return folder / "OUTCAR"


@pytest.mark.parametrize("cut", [700, -3, -30, -60, -200])
def test_whole_steps_of_a_cut_file(tmp_path, caplog, cut):
    found = read(outcar(tmp_path, HEAD + STEP + STEP + STEP[:cut]))
    assert [a.get_potential_energy() for a in found] == [-16.5] * 2
    assert "OUTCAR: the file is cut; its 2 whole ionic steps are read" in caplog.text


def test_whole_file_is_not_called_cut(tmp_path, caplog):
    assert len(read(outcar(tmp_path, HEAD + STEP + STEP + " General timing\n"))) == 2
    assert not caplog.text
    assert [a.source for a in read(tmp_path / "OUTCAR", index="-1:")] == ["OUTCAR, configuration 2"]


@pytest.mark.parametrize("text", [HEAD, HEAD + STEP[:300]])
def test_nothing_whole(tmp_path, text):
    with pytest.raises(ValueError, match="OUTCAR") as raised:
        read(outcar(tmp_path, text))
    assert "slice" not in str(raised.value)


def test_no_moments_are_said(tmp_path, caplog):
    without = STEP[: STEP.index(" magnetization")] + STEP[STEP.index("  in kB") :]
    (atoms,) = read(outcar(tmp_path, HEAD + without))
    assert not atoms.has("initial_magmoms")
    assert "OUTCAR: this OUTCAR holds no magnetic moments of atoms; VASP writes" in caplog.text


def test_unconverged_electrons_are_marked(tmp_path):
    line = " ------ aborting loop EDIFF was not reached (unconverged) ------\n"
    good, bad = read(outcar(tmp_path, HEAD + STEP + STEP.replace("\n", "\n" + line, 1)))
    assert mark_of(good) is None
    assert mark_of(bad) == "VASP EDIFF was not reached (unconverged)"
