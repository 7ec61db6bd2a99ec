"""Frames of extended XYZ that ASE would read as something else are refused, with their line."""

import gzip

import numpy as np
import pytest

from mmtp_jax.io.reading import read

LATTICE = 'Lattice="3 0 0 0 3 0 0 0 3" '
FRAME = (
    f'2\n{LATTICE}Properties=species:S:1:pos:R:3:magmoms:R:1 energy=-1.5 pbc="T T T"\n'
    "Fe 0.0 0.0 0.0 2.2\nFe 1.5 1.5 1.5 2.2\n"
)


def parse(tmp_path, text, **options):
    (tmp_path / "a.extxyz").write_text(text, newline="")
    return read(tmp_path / "a.extxyz", **options)


@pytest.mark.parametrize(
    "text",
    [
        FRAME,
        FRAME.replace("\n", "\r\n"),
        FRAME[:-1],  # all rows are equally long: nothing is cut
        FRAME + "\n \n",
        FRAME.replace("T T T", "F F F").replace(LATTICE, ""),
        FRAME.replace(' pbc="T T T"', ""),
        FRAME.replace('"T T T"', "T"),
        FRAME.replace("T T T", "1 1 0"),
        FRAME.replace("energy", "date=2024_01_15 energy"),
        FRAME.replace("energy", 'note="pbc=x, box=3 Properties=y" energy'),
        "2\nplain, box = 3\nFe 0 0 0 0.5\nFe 0 0 2 0.5\n",
    ],
)
def test_whole_frames(tmp_path, text):
    (atoms,) = parse(tmp_path, text)
    assert atoms.positions[1, 2] in (1.5, 2.0)
    assert atoms.pbc.any() == ("Lattice" in text and "F F F" not in text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FRAME[:-2], "configuration 1, line 4: .*its last number may be cut"),
        (FRAME * 2 + FRAME[:-20], "configuration 3, line 9: only 1 of 2 atoms"),
        (FRAME + "2\n", "configuration 2, line 5: only 0 of 2 atoms"),
        (FRAME + "\n" + FRAME, "configuration 1, line 5: an empty line, but more follows"),
        (FRAME.replace("2\nL", "1\nL"), "configuration 2, line 4: found 'Fe 1.5 1.5 1.5 2.2' wh"),
        (FRAME.replace("2\nL", "0_2\nL"), "line 1: found '0_2'"),
        (FRAME.replace("2\nL", "999999999999\nL"), "only 2 of 999999999999 atoms"),
        (FRAME.replace("1.5 1.5 1.5", "1_5 1.5 1.5"), "line 4: '1_5' is not a number"),
        (FRAME.replace("2.2\nFe", "2.2 7\nFe"), "line 3: Properties names 5 columns, found 6"),
        (FRAME.replace("Properties", "properly"), "line 3: without Properties there are 4 columns"),
        (FRAME.replace("-1.5", "-1_5"), "line 2: '-1_5' of 'energy' is not a number"),
        (FRAME.replace('"3 0', '"3_0 0'), "line 2: .* of 'Lattice' is not a number"),
        (FRAME.replace("magmoms:R:1", "pos:R:1"), "line 2: Properties has 'pos' twice"),
        (FRAME.replace("pos:R", "pos:X"), "Properties has the kind 'X'"),
        (FRAME.replace("pos:R:3", "pos:R:3_0"), "it has to be name:kind:columns"),
        (FRAME.replace("pos:R", "place:R"), "it has no pos"),
        (FRAME.replace(LATTICE, ""), "line 2: pbc says .* no Lattice"),
        (FRAME.replace("Lattice", "lattice"), "no Lattice, but 'lattice'; write it as Lattice"),
        (FRAME.replace("Lattice", "LATTICE"), "no Lattice, but 'LATTICE'; write it as Lattice"),
        (FRAME.replace("Lattice", "cell").replace("T T T", "F F F"), "no Lattice, but 'cell'"),
        (FRAME.replace("T T T", "t t t"), "pbc is 't t t', it has to be three of T and F"),
        (FRAME.replace("magmoms:R", "fixed:L"), "line 3: '2.2' is neither T nor F"),
    ],
)
def test_what_would_be_something_else(tmp_path, text, message):
    with pytest.raises(ValueError, match=rf"a\.extxyz, .*{message}"):
        parse(tmp_path, text)


def test_frames_behind_what_is_asked_for_are_not_looked_at(tmp_path):
    cut = FRAME * 2 + FRAME[:-20]
    assert len(parse(tmp_path, cut, index=0)) == 1
    assert len(parse(tmp_path, cut, index=":2")) == 2
    with pytest.raises(ValueError, match="configuration 3"):
        parse(tmp_path, cut, index=-1)


def test_compressed(tmp_path):
    (tmp_path / "a.xyz.gz").write_bytes(gzip.compress(FRAME.encode()))
    assert np.array_equal(read(tmp_path / "a.xyz.gz")[0].get_magnetic_moments(), [2.2, 2.2])
    (tmp_path / "a.xyz.gz").write_bytes(gzip.compress(FRAME.replace("1.5 1", "1_5 1").encode()))
    with pytest.raises(ValueError, match=r"a\.xyz\.gz, configuration 1, line 4: '1_5'"):
        read(tmp_path / "a.xyz.gz")


@pytest.mark.parametrize("numbers", ["999999999", "1 9" + "0" * 400])
def test_more_atoms_than_lines_of_a_poscar(tmp_path, numbers):
    text = "x\n1.0\n3 0 0\n0 3 0\n0 0 3\nFe\n2\nDirect\n0 0 0\n0.5 0.5 0.5\n"
    (tmp_path / "POSCAR").write_text(text)
    assert len(read(tmp_path / "POSCAR")[0]) == 2
    (tmp_path / "POSCAR").write_text(text.replace("\n2\n", f"\n{numbers}\n"))
    with pytest.raises(ValueError, match=r"POSCAR, line 7: .* only 11 lines"):
        read(tmp_path / "POSCAR")
