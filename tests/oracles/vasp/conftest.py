"""A library of POTCAR files and a stand-in for VASP; neither holds anything of VASP's own."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest
from ase.build import bulk

from mmtp_jax.oracles.vasp import VaspOracle

POTCAR = """  PAW_PBE {name} 06Sep2000
   {valence:.8f}
 parameters from PSCTR are:
   VRHFIN ={symbol}:  d7 s1
   LEXCH  = PE
   TITEL  = PAW_PBE {name} 06Sep2000
   RWIGS  =    {bohr:.3f}; RWIGS  =    {radius:.3f}    wigner-seitz radius (au A)
 End of Dataset
"""

PARAMETERS = {
    "stiffness": 0.5,
    "rest": {"Fe": 1.6, "Pd": 0.2},
    "largest": 9.0,
    "slope": 1.3,
    "slope_by_lambda": 0.0,
    "intercept": 0.02,
    "bias": {"Fe": 0.0, "Pd": 0.0},
    "unconverged": [],
    "vasp": 6,
    "crash": [],
    "crash_times": 1,
    "hang": [],
    "tilt": 0.0,
    "turn": 0.0,
    "stress_kb": 10.0,
}


@pytest.fixture(scope="session")
def library(tmp_path_factory) -> Path:
    """POTCAR files of iron and palladium, with the keys that are read and no potential."""
    folder = tmp_path_factory.mktemp("potpaw")
    for name, symbol, radius in (("Fe_pv", "Fe", 1.302), ("Pd", "Pd", 1.434)):
        text = POTCAR.format(
            name=name, symbol=symbol, valence=10, bohr=radius / 0.529177, radius=radius
        )
        (folder / name).mkdir()
        (folder / name / "POTCAR").write_text(text)
    return folder


@pytest.fixture
def vasp(library, tmp_path):
    """Makes an oracle whose executable is the stand-in with given parameters."""

    def make(parameters=None, **settings) -> VaspOracle:
        path = tmp_path / "parameters.json"
        log = {"log": str(tmp_path / "log")}
        path.write_text(json.dumps(PARAMETERS | (parameters or {}) | log))
        script = Path(__file__).parent / "stand_in.py"
        command = shlex.join([sys.executable, "-S", str(script), str(path)])
        settings = {"command": command, "collinear_command": command} | settings
        return VaspOracle(library, {"Fe": "Fe_pv", "Pd": "Pd"}, **settings)

    return make


@pytest.fixture
def runs(tmp_path):
    """The names of the calculations that were run, in their order."""

    def read() -> list[str]:
        path = tmp_path / "log"
        return [line.split()[1] for line in path.read_text().splitlines()] if path.exists() else []

    return read


@pytest.fixture
def target():
    """A cell of four atoms whose species alternate, with non-equilibrium moments."""
    atoms = bulk("Fe", "bcc", a=2.9, cubic=True) * (2, 1, 1)
    atoms.symbols[[0, 2]] = "Pd"
    atoms.rattle(0.03, seed=4)
    atoms.set_initial_magnetic_moments([0.3, 2.4, 0.1, -2.0])
    return atoms
