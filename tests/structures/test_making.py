"""How labels were made: texts, what differs, and cells that are alike with different meshes."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mmtp_jax.language import speaking
from mmtp_jax.structures.cells import ALIKE, stretches
from mmtp_jax.structures.making import (
    making_entries,
    making_text,
    makings_of,
    read_making,
    read_mesh,
)
from mmtp_jax.structures.structure import Structure

ABINIT = {"code": "ABINIT", "version": "9.6.2", "smearing_Ha": 0.01, "Fe.U": "none"}
CELL = np.diag([4.0, 4.1, 8.0])


def structure(entries=None, kmesh=None, cell=CELL, name="a.cfg, configuration 1"):
    return Structure(
        cell=cell, periodic=np.ones(3, bool), positions=np.zeros((2, 3)),
        types=np.array([0, 1], np.int32), magmoms=np.zeros(2), energy=0.0,
        making=making_text(entries) if entries else "", kmesh=kmesh, name=name,
    )  # fmt: skip


def test_a_text_keeps_its_entries_whatever_they_hold():
    entries = {"code": "A; b: c", "x": 'say "hi"=\\', "radii": (2.0, 2.5)}
    found = making_entries(making_text(entries))
    assert found == {"code": "A b c", "x": "say hi", "radii": "2 2.5"}


def test_entries_and_their_json_are_read_as_entries():
    one = {"code": "VASP", "xc": "PBE", "U": {"Fe": 4.0}}
    other = {"xc": "LDA", "code": "VASP", "U": {"Fe": 3}}
    assert read_making(one) == read_making(json.dumps(one)) == "code: VASP; xc: PBE; U.Fe: 4"
    assert read_making("{in braces") == "{in braces"
    both = [replace(structure(), making=read_making(entries)) for entries in (one, other)]
    with pytest.raises(ValueError, match=r"xc PBE against LDA, U\.Fe 4 against 3 in 1 of 2"):
        makings_of(both, ("Fe", "N")).check()


def test_what_differs_is_named_and_counted():
    other = {**ABINIT, "smearing_Ha": 0.02, "version": "9.10"}
    found = makings_of([structure(ABINIT)] * 3 + [structure(other, name="b.cfg, configuration 7")])
    with pytest.raises(ValueError, match=r"smearing_Ha 0.01 against 0.02 in 1 of 4.*b.cfg, conf"):
        found.check()
    with speaking("options"), pytest.raises(ValueError, match="or give --making shift, which"):
        found.check()
    found.check("ignore")
    assert found.of.tolist() == [0, 0, 0, 1]
    with pytest.raises(ValueError, match="making must be one of"):
        found.check("maybe")


def test_unknown_entries_versions_and_makings_are_no_difference():
    of_other_species = {"code": "ABINIT", "version": "9.10", "Al.U": "d 3 eV"}
    found = makings_of([structure(ABINIT), structure(of_other_species), structure()])
    found.check()
    assert found.n_unknown == 1
    assert "1 configurations do not say how they were made" in str(found)
    assert str(makings_of([structure(), structure()])) == ""


def test_alike_cells_with_other_meshes_are_found_and_longer_cells_are_not():
    turned = CELL[[2, 0, 1]]
    alike = [
        structure(ABINIT, (4, 4, 2)),
        structure(ABINIT, (4, 4, 2), CELL * 1.04),
        structure(ABINIT, (2, 4, 4), turned),
        structure(ABINIT, (2, 2, 2), CELL * 1.2),
        structure(ABINIT),
    ]
    makings_of(alike).check()
    found = makings_of([*alike, structure(ABINIT, (2, 2, 2), CELL * 0.95)], ("Cr", "N"))
    with pytest.raises(ValueError, match="of 4 cells alike of Cr1N1 3 have 4x4x2, 1 have 2x2x2"):
        found.check()
    assert found.of.tolist() == [0, 0, 0, 0, 0 + found.of[4], found.of[5]]
    assert len(set(found.of.tolist())) == 2


def test_a_mesh_in_words_or_numbers():
    assert read_mesh("4x4x2") == read_mesh(np.array([4, 4, 2])) == (4, 4, 2)
    assert [read_mesh(x) for x in ("dense", "4x4", 0.5, [4, 4, 0], [1.5, 1, 1], None)] == [None] * 6


def test_stretches_do_not_depend_on_rotation_or_signs_of_vectors():
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    strained = CELL @ np.diag([1.1, 1.0, 0.95])
    found = stretches(CELL, np.stack([-strained @ turn, strained[[2, 1, 0]], CELL * 2, 0 * CELL]))
    assert found[0, 0] == pytest.approx(np.log(1.1))
    assert found[0, 0] <= ALIKE < found[2].min()
    assert found[1, 5] == pytest.approx(np.log(1.1))
    assert np.isinf(found[3]).all()


def test_a_structure_without_mesh_or_volume_is_no_difference():
    cluster = replace(structure(ABINIT, (1, 1, 1)), periodic=np.zeros(3, bool), cell=0 * CELL)
    makings_of([structure(ABINIT, (4, 4, 2)), cluster]).check()
