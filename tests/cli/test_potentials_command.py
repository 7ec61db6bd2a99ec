"""``mmtp potentials``, and names of potentials in other commands."""

from __future__ import annotations

import json

import mmtp_jax as mmtp
from mmtp_jax.io import shipped
from tests.io.test_shipped import PINNED, RECIPES


def test_the_list_has_what_one_chooses_by(run) -> None:
    done = run("potentials")
    assert done.status == 0, done.err
    content = json.loads(run("potentials", "--json").out)
    assert list(content) == shipped.names()
    for name, of in content.items():
        potential = mmtp.load(name)
        assert f"{name}: {potential.tag}" in done.out
        assert of["level"] == potential.level
        assert of["species"] == list(potential.species)
        for error in of["held_out"]["rmse"].values():
            assert error in done.out


def test_a_card(run) -> None:
    done = run("potentials", "Fe")
    assert done.out == shipped.card("Fe").read_text()
    failed = run("potentials", "fe")
    assert failed.status == 2
    names = ", ".join(shipped.names())
    told = f"called fe; potentials that come with the program: {names}; did you mean Fe?"
    assert told in failed.err
    assert "mmtp info" in run("potentials", "Fe", "--json").err


def test_commands_take_the_name_in_any_place(run, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = RECIPES["Fe"].data()
    mmtp.write("data.extxyz", [data[of["configuration"]] for of in PINNED["Fe"]])
    done = run("evaluate", "data.extxyz", "Fe", "--report", "report.json")
    assert done.status == 0, done.err
    assert "Fe is the potential that comes with the program" in done.err
    done = run("convert", "Fe", "copy.mtp")
    assert done.status == 0, done.err
    assert mmtp.load("copy.mtp").record == mmtp.load("Fe").record
    assert json.loads(run("info", "Fe", "--json").out)["kind"] == "potential"
    # Thresholds of grades know the set that ships.
    failed = run("equilibrate", "Fe", "missing.cfg", "--grade-break", 5)
    assert "missing.cfg" in failed.err
    for words in (("md", "fe", "data.extxyz"), ("info", "fe")):
        failed = run(*words)
        assert failed.status == 2
        assert "no file 'fe' in this folder; potentials that come with the program" in failed.err


def test_the_first_of_files_is_no_training_set_in_silence(run, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    mmtp.write("data.extxyz", RECIPES["Fe"].data()[:2])
    mmtp.write("other.extxyz", RECIPES["Fe"].data()[2:3])
    told = "data.extxyz is taken as the training set; to look at all files"
    assert told in run("grade", "Fe", "data.extxyz", "other.extxyz").err
    assert told not in run("grade", "Fe", "other.extxyz", "--train", "data.extxyz").err
    assert told not in run("grade", "Fe", "data.extxyz").err
