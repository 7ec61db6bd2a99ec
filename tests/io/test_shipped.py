"""Potentials that come with the package: their names, what they give, and what their cards say."""

from __future__ import annotations

import json
import logging
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import mmtp_jax as mmtp
from mmtp_jax.fitting.record import data_digest, parameter_digest
from mmtp_jax.io import shipped
from mmtp_jax.io.convert import structures_for
from mmtp_jax.structures.structure import of_one_kind

ROOT = Path(__file__).parents[2]
PINNED = json.loads((Path(__file__).parent / "shipped.json").read_text())
RECIPES = {
    recipe.name: recipe
    for recipe in runpy.run_path(str(ROOT / "scripts" / "make_potential.py"))["RECIPES"].values()
}
NAMES = shipped.names()


def test_there_is_a_recipe_for_each() -> None:
    assert NAMES == sorted(RECIPES) == sorted(PINNED)


@pytest.mark.parametrize("name", NAMES)
def test_evaluated_as_when_it_was_made(name) -> None:
    data = RECIPES[name].data()
    expected = PINNED[name]
    found = mmtp.evaluate(mmtp.load(name), [data[of["configuration"]] for of in expected])
    for one, of in zip(found, expected, strict=True):
        assert one.energy / len(one.forces) == pytest.approx(
            of["energy"] / len(one.forces), abs=1e-9, rel=0
        )
        for kind in ("forces", "magnetic_forces", "stress"):
            np.testing.assert_allclose(getattr(one, kind), of[kind], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_made_from_the_shipped_data_by_its_recipe(name) -> None:
    potential, recipe = mmtp.load(name), RECIPES[name]
    data = recipe.data()
    record = potential.record
    structures, _ = of_one_kind(structures_for(potential, data, vectors=True))
    assert record["data"]["sha256"] == data_digest(structures, potential.species)
    assert record["parameters"] == parameter_digest(potential)
    assert potential.tag == recipe.use
    start = recipe.start
    for of in ("species", "level", "form", "parities", "radial_size", "magnetic_size", "cutoff"):
        assert getattr(potential, of) == getattr(start, of), of
    assert record["range"] == runpy.run_path(str(ROOT / "scripts" / "make_potential.py"))[
        "range_of"
    ](potential, data)


@pytest.mark.parametrize("name", NAMES)
def test_the_card_says_what_the_file_says(name) -> None:
    potential, card = mmtp.load(name), shipped.card(name).read_text()
    record = potential.record
    files = re.findall(r"`data/(\S+?)`", card)
    assert files
    n = 0
    for file in files:
        n += len(mmtp.read(str(ROOT / "mmtp_jax" / "data" / file)))
    assert n == record["data"]["configurations"]
    said = " ".join(card.split())
    for kind, error in record["held_out"]["rmse"].items():
        row = f"| {kind.replace('_', ' ')} | {error} | {record['held_out']['largest'][kind]} |"
        assert row in said
    reach = record["range"]
    moments = [m for m in reach["largest moment, mu_B"].values() if m > 0.0]
    bounds = [float(m) for m in potential.max_magmom[np.array(potential.magnetic)]]
    low, high = reach["volume, Angstrom^3/atom"]
    for number in (
        f"{reach['shortest distance, Angstrom']:.2f}", f"{low:.1f} to {high:.1f}",
        f"{float(potential.min_dist):.2f}", *(f"{m:.2f}" for m in (*moments, *bounds)),
        f"{potential.n_parameters} parameters", f"{record['data']['configurations']} ",
    ):  # fmt: skip
        assert number in said, number
    for section in ("Data", "Errors", "Range", "Not for"):
        assert re.search(rf"^## {section}", card, re.MULTILINE), section


@pytest.mark.parametrize("name", NAMES)
def test_its_active_set_is_its_own(name) -> None:
    calculator = mmtp.MMTPCalculator(name)
    assert calculator.active_set is not None
    assert calculator.active_set.mode == "neighborhood"
    assert calculator.active_set.n_seen == calculator.potential.record["data"]["configurations"]


def test_what_ships_is_small_and_not_ignored() -> None:
    files = [
        path for folder in (shipped.FOLDER, ROOT / "mmtp_jax" / "data") for path in folder.iterdir()
    ]
    assert sum(path.stat().st_size for path in files) < 5e6
    for name in NAMES:
        assert {f"{name}.mtp", f"{name}.active.npz", f"{name}.md"} <= {p.name for p in files}
    # The wheel leaves out what git ignores.
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("no checkout")
    asked = subprocess.run(["git", "check-ignore", *map(str, files)], cwd=ROOT, capture_output=True)
    assert asked.stdout == b""


# --- names ------------------------------------------------------------------------------


@pytest.fixture
def other(tmp_path, monkeypatch) -> mmtp.Potential:
    """Another potential; the working folder is empty."""
    monkeypatch.chdir(tmp_path)
    return mmtp.Potential.new(level=2, species=("Al",), radial_size=3)


def test_a_name_is_the_shipped_file(other, caplog) -> None:
    caplog.set_level(logging.INFO)
    assert mmtp.load("Fe").species == ("Fe",)
    (line,) = caplog.messages
    assert "Fe is the potential that comes with the program" in line
    # Of a folder of that name nothing can be read.
    Path("Fe").mkdir()
    assert mmtp.load("Fe").species == ("Fe",)


@pytest.mark.parametrize("file", ["Fe", "Fe.mtp"])
def test_a_file_of_the_name_wins_and_is_told(file, other, caplog) -> None:
    mmtp.save(file, other)
    calculator = mmtp.MMTPCalculator("Fe")
    assert calculator.potential.species == ("Al",)
    assert calculator.active_set is None
    (line,) = caplog.messages
    assert f"the file {file} of this folder is read, not the potential" in line


@pytest.mark.parametrize("word", ["fe", "FE", "Fe.mtp", "fe.mtp", "Fex", "Xu"])
def test_what_could_be_meant_for_a_name_lists_those_there_are(word, other) -> None:
    with pytest.raises(FileNotFoundError, match=rf"no file '{word}'.*program: .*Fe") as told:
        mmtp.load(word)
    assert ("did you mean Fe" in str(told.value)) == (word != "Xu")


@pytest.mark.parametrize("path", ["pot.mtp", "./Fe", "other/Fe", "Fe.npz/Fe"])
def test_paths_are_files(path, other) -> None:
    with pytest.raises(FileNotFoundError) as told:
        mmtp.load(path)
    assert "program" not in str(told.value)
