"""Small PAW datasets that only say what they are, and a program that answers in ABINIT's format."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ase import Atoms

from mmtp_jax.oracles.abinit import AbinitOracle

OUTPUT = Path(__file__).with_name("fe2.abo")
"""Of ABINIT 9.6.2, shortened: two atoms of iron at moments (2.0, 2.5)."""
CANTED = Path(__file__).with_name("fe2_canted.abo")
"""The same cell with vectors, (0, 0, 2) and (2, 0.5, 1.5)."""

GPAW = """<?xml version="1.0"?>
<paw_setup version="0.6">
  <atom symbol="{symbol}" Z="{Z}" core="18.0" valence="{valence}"/>
  <valence_states>
    <state n="4" l="0" f="2"  rc="{radius}" e="-0.19444" id="Fe-4s"/>
    <state n="3" l="2" f="6"  rc="2.000" e="-0.27580" id="Fe-3d"/>
  </valence_states>
  <radial_grid eq="r=a*i/(n-i)" a="0.400000" n="600" istart="0" iend="599" id="g1"/>
</paw_setup>
"""

STAND_IN = '''#!{python}
"""Answers as ABINIT would, by the input that it finds."""
import pathlib, sys
if "--version" in sys.argv:
    print("{version}"); sys.exit()
text = pathlib.Path(sys.argv[1]).read_text()
names = [line.split()[0] for line in text.splitlines()]
answer = pathlib.Path("{output}").read_text()
kind = "{kind}"
held = "constraint_kind" in names
density = ""
if "getden_filepath" in names:
    density = pathlib.Path(text.split("getden_filepath")[1].split('"')[1]).read_text()
assert "prtden 1" in text
pathlib.Path("runo_DEN").write_text("near" if held else "free")
pathlib.Path("runo_OUT.nc").write_text("large")
if kind == "settings":
    words = text.split()
    at = lambda name: float(words[words.index(name) + 1])
    more = 1e-3 * at("rprim") / at("ecut") + 1e-4 / at("ngkpt") ** 3
    energy = "-44.023166218356"
    answer = answer.replace(energy, format(float(energy) + more, ".12f"))
if "nspinor 2" in text:
    # E and the true forces and stress do not know how all moments are turned; the false part does.
    answer = pathlib.Path("{canted}").read_text()
    rows = text.split("spinat")[1].splitlines()[1:3]
    m = [[float(x) for x in row.split()] for row in rows]
    line = "    {{}}   2.20000        6.600000 " + " {{:11.6f}}" * 3 + "      1.400000"
    old = answer.split("mag(z)   Atomic charge")[1].splitlines()[1:3]
    for k, row in enumerate(old):
        answer = answer.replace(row, line.format(k + 1, *m[k]))
    head, tail = answer.split("-outvars: echo")
    false = 1e-3 * m[0][0] + 2e-3 * m[1][0] if kind != "two states" else 0.0
    energy = float(kind == "two states") * 1e-3 * m[1][0]
    head = head.replace("-44.018779285901", format(-44.018779285901 + energy, ".12f"))
    numbers = {{
        "grspin": [0.01 * x - 0.005 * y for a, b in (m, m[::-1]) for x, y in zip(a, b)],
        "fcart": [false + 1e-3, 0, 0, -false - 1e-3, 0, 0],
        "strten": [false + 2e-3] * 3 + [0, 0, 1e-4],
    }}
    for name, values in numbers.items():
        start = tail.index(f" {{name}} ")
        words = tail[start:].split()[1 : len(values) + 1]
        for word, value in zip(words, values):
            place = tail.index(word, start)
            tail = tail[:place] + format(value, ".10E") + tail[place + len(word):]
            start = place + 10
    answer = head + "-outvars: echo" + tail
good = kind in ("default", "settings", "two states") or kind in names
good = good or kind == "density" and density == "free"
good = good or kind in ("near", "still") and density == "near"
if kind == "error":
    print("--- !ERROR\\nsrc_file: a.F90\\nmessage: |\\n    The disk is\\n    full\\n...")
    sys.exit(14)
if kind == "crash":
    pathlib.Path("run.abo").write_text(answer[: answer.index("=>converged")])
    sys.exit(139)
if kind == "silent":
    sys.exit(1)
far = answer.replace("=>converged", "")
if kind not in ("still", "still never"):
    far = far.replace("-6.96E-12", "-6.96E-05")
far = far.replace("5.818E-09", "8.000E-08" if kind == "near" else "5.818E-05")
far = far.replace("2.45E-09", "8.00E-08" if kind == "near" else "2.45E-05")
print("--- !WARNING\\nsrc_file: a.F90\\nmessage: |\\n    Something is\\n    odd\\n...")
print("--- !WARNING\\nmessage: |\\n    Density went too small (lower than it)")
print("    at 6912 points\\n...")
pathlib.Path("run.abo").write_text(answer if good else far)
'''


@pytest.fixture
def dataset(tmp_path) -> Callable[..., Path]:
    """dataset(symbol, ...): a file in the format of GPAW."""

    def make(symbol: str, valence: float = 8, radius: float = 2.2, packed: bool = False) -> Path:
        z = {"Fe": 26, "Cr": 24, "N": 7}[symbol]
        text = GPAW.format(symbol=symbol, Z=z, valence=valence, radius=radius)
        path = tmp_path / (f"{symbol}.PBE.gz" if packed else f"{symbol}.PBE")
        path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
        return path

    return make


@pytest.fixture
def stand_in(tmp_path, dataset) -> Callable[..., AbinitOracle]:
    """oracle(kind): labels of a program that converges when ``kind`` is among its input."""

    def make(kind: str, version: str = "9.6.2", **settings) -> AbinitOracle:
        program = tmp_path / f"abinit-{kind}-{version}"
        text = STAND_IN.format(
            python=sys.executable, kind=kind, version=version, output=OUTPUT, canted=CANTED
        )
        program.write_text(text)
        program.chmod(0o755)
        iron = str(dataset("Fe", packed=True))
        return AbinitOracle({"Fe": iron}, executable=str(program), **settings)

    return make


@pytest.fixture
def iron() -> Atoms:
    """The configuration of the shortened output."""
    return Atoms(
        "Fe2",
        positions=[[0.02, -0.05, 0.02], [1.375, 1.475, 1.435]],
        cell=[2.83] * 3,
        pbc=True,
        magmoms=[2.0, 2.5],
    )
