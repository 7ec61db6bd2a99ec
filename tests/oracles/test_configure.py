"""Labellers from TOML files."""

from __future__ import annotations

import dataclasses
import re
import tomllib

import numpy as np
import pytest
from ase.build import bulk

from mmtp_jax.oracles.abinit import AbinitOracle
from mmtp_jax.oracles.abinit.template import TEMPLATE
from mmtp_jax.oracles.configure import oracle_of, read_oracle
from mmtp_jax.oracles.teacher import PotentialOracle


def test_abinit_from_a_file(tmp_path) -> None:
    path = tmp_path / "abinit.toml"
    path.write_text(
        'code = "abinit"\n[abinit]\necut_Ha = 15\nkmesh = [4, 4, 2]\nconstrained = ["Cr"]\n'
        'datasets = {Cr = "Cr.PBE.gz", N = "N.PBE.gz"}\n[abinit.hubbard]\nCr = [2, 3, 0.5]\n'
        "[abinit.extra]\nngfft = [20, 20, 40]\n"
    )
    expected = AbinitOracle(
        {"Cr": "Cr.PBE.gz", "N": "N.PBE.gz"}, ecut_Ha=15.0, kmesh=(4, 4, 2), constrained=("Cr",),
        hubbard={"Cr": (2.0, 3.0, 0.5)}, extra={"ngfft": [20, 20, 40]},
    )  # fmt: skip
    assert read_oracle(path) == expected


def test_a_teacher_from_a_file(iron_file, tmp_path) -> None:
    path = tmp_path / "teacher.toml"
    path.write_text(f'code = "potential"\n[potential]\npath = "{iron_file}"\nspecies = ["Fe"]\n')
    oracle = read_oracle(path)
    assert isinstance(oracle, PotentialOracle)
    atoms = bulk("Fe", "bcc", a=2.85, cubic=True)
    atoms.set_initial_magnetic_moments([2.0, 2.0])
    assert np.isfinite(oracle.label(atoms, tmp_path).atoms.get_potential_energy())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[abinit]\n", "the key 'code' must be one of abinit"),
        ('code = "gpaw"\n', "must be one of abinit, potential, vasp, got 'gpaw'"),
        ('code = "abinit"\n', "the key 'datasets' is missing"),
        ('code = "abinit"\necut_Ha = 3\n', "unknown key 'ecut_Ha'; the settings are in the"),
        ('code = "abinit"\n[abinit]\necut = 3\n', "unknown key 'ecut'; did you mean 'ecut_Ha'"),
        ('code = "abinit"\n[abinit]\necut_Ha = "3"\n', "ecut_Ha must be a number, got '3'"),
        ('code = "abinit"\n[abinit]\necut_Ha = inf\n', "ecut_Ha must be a number"),
        ('code = "abinit"\n[abinit]\nsteps = 2.5\n', "steps must be a whole number"),
        ('code = "abinit"\n[abinit]\nsteps = true\n', "steps must be a whole number"),
        ('code = "abinit"\n[abinit]\nkmesh = [2, 2]\n', "a list of 3, each item a whole number"),
        ('code = "abinit"\n[abinit]\ndatasets = "Fe"\n', "a table, each value a text"),
        (
            'code = "abinit"\n[abinit]\ndatasets = {Fe = "Fe.xml"}\necut_Ha = -3\n',
            "wrong.toml: ecut_Ha must be positive",
        ),
        ("code = \n", "not a TOML file"),
    ],
)
def test_mistakes_are_one_sentence(text, words, tmp_path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        read_oracle(path)
    assert "wrong.toml" in str(caught.value)


def test_the_template_shows_every_key_with_its_default() -> None:
    oracle = oracle_of(tomllib.loads(TEMPLATE))
    assert oracle == AbinitOracle({"Fe": "Fe.xml"})
    # All that is commented out becomes a valid file, too.
    lines = [re.sub(r"^#(?=\w+ = |\[)", "", line) for line in TEMPLATE.splitlines()]
    content = tomllib.loads("\n".join(lines).replace("#Cr =", "Cr ="))
    shown = content["abinit"]
    fields = {field.name: field for field in dataclasses.fields(AbinitOracle)}
    assert set(shown) == set(fields)
    examples = {"kmesh", "bands", "constrained", "magcon_lambda", "mpi", "datasets", "radii_bohr",
                "hubbard", "extra"}  # fmt: skip
    for name in set(shown) - examples:
        value = fields[name].default
        assert shown[name] == (list(value) if isinstance(value, tuple) else value), name
    shown["datasets"]["Cr"] = "Cr.PBE.gz"
    assert oracle_of(content).hubbard == {"Cr": (2.0, 3.0, 0.0)}
