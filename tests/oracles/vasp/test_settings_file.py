"""Settings files of the labeller: the template, and the command line."""

import dataclasses
import json
import re
import tomllib

import ase.io
import numpy as np
import pytest

from mmtp_jax.cli.main import main
from mmtp_jax.oracles.configure import oracle_of, read_oracle
from mmtp_jax.oracles.vasp import VaspOracle
from mmtp_jax.oracles.vasp.template import TEMPLATE


def test_the_template_names_every_field_with_its_default(library):
    text = TEMPLATE.replace("potpaw_PBE", str(library))
    assert oracle_of(tomllib.loads(text)) == VaspOracle(str(library), {"Fe": "Fe_pv", "Pd": "Pd"})
    content = tomllib.loads(re.sub(r"^#(?=\w+ = )", "", text, flags=re.MULTILINE))
    oracle = oracle_of(content)
    examples = {"kmesh", "radii", "incar", "incar_constrained", "potcar_folder", "potentials"}
    fields = {field.name for field in dataclasses.fields(VaspOracle)}
    assert set(content["vasp"]) == fields
    default = VaspOracle(library, {"Fe": "Fe_pv", "Pd": "Pd"})
    for name in fields - examples:
        assert getattr(oracle, name) == getattr(default, name), name
    assert oracle.incar["LDAUU"] == {"Fe": 4.0, "Pd": 0.0}


def test_wrong_keys_are_named(library, tmp_path):
    path = tmp_path / "vasp.toml"
    text = TEMPLATE.replace("potpaw_PBE", str(library))
    path.write_text(text.replace("#cutoff_ev", "cutof_ev"))
    with pytest.raises(ValueError, match=r"vasp\.toml: vasp: unknown key 'cutof_ev'; did you mean"):
        read_oracle(path)
    path.write_text(text + "\nLAMBDA = 3\n")
    with pytest.raises(ValueError, match=r"vasp\.toml: incar_constrained\.LAMBDA is set by"):
        read_oracle(path)


def test_the_command_labels(vasp, target, tmp_path):
    command = vasp().command
    text = TEMPLATE.replace("potpaw_PBE", str(vasp().potcar_folder))
    text = text.replace('#command = "vasp_ncl"', f"command = {json.dumps(command)}")
    text = text.replace(
        '#collinear_command = "vasp_std"', f"collinear_command = {json.dumps(command)}"
    )
    (tmp_path / "vasp.toml").write_text(text)
    target.set_initial_magnetic_moments([0.3, 2.2, 0.1, -2.0])
    ase.io.write(tmp_path / "selected.extxyz", target)
    output = tmp_path / "labelled.extxyz"
    words = [
        "label",
        tmp_path / "selected.extxyz",
        "--oracle",
        tmp_path / "vasp.toml",
        "-o",
        output,
    ]
    assert main([str(word) for word in words]) == 0
    (found,) = ase.io.read(output, ":")
    np.testing.assert_allclose(found.get_magnetic_moments(), [0.3, 2.2, 0.1, -2.0], atol=0.03)
    assert "magnetic_forces" not in found.arrays
