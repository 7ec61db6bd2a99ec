"""Every code block of every README runs, in order, in a folder of small files.

``python`` blocks of a file share one namespace; ``bash`` blocks run in bash, whose ``mmtp`` is
``main`` of this process; ``toml`` blocks are checked as settings, and kept under the name that the
blocks after them give; ``text`` is output. What the machine lacks, or what takes long, is parsed:
the lists below say what and why.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
import tomllib
import warnings
from contextlib import redirect_stderr, redirect_stdout
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import pytest
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax.cli.main import build_parser, main
from tests.io.test_outcar import HEAD, STEP

ROOT = Path(__file__).parents[1]
READMES = sorted(
    str(path.relative_to(ROOT))
    for path in ROOT.rglob("README.md")
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
)

PROGRAMS = {
    "pip": "installs",
    "bash": "scripts that make environments, or start jobs",
    "mpiexec": "LAMMPS over MPI, which the tests of the bridge start",
    "srun": "SLURM",
    "sbatch": "SLURM",
    "python": "scripts that have tests of their own, or run for minutes",
}
"""Programs that are not run, and why. Scripts after them must exist; ``mmtp`` is parsed."""

PARSED: dict[str, str] = {
    "from mpi4py import MPI": "MPI starts once in a process; the tests of the bridge run this",
    "mmtp label": "needs ABINIT or VASP",
    "mmtp converge": "the same",
    "paramagnet = mmtp": "potentials of the shipped data have no such state",
    "mmtp learn learn.toml": "hours; tests of the command learn in small loops",
    "warm = mmtp.md(": "minutes; tests of S(q, omega) run spin dynamics of a chain",
    "mmtp md pot.mtp fe.cfg --repeat 4 4 4 --spins": "the same",
    "mmtp md pot.mtp warm.extxyz@-1": "the same",
    "mmtp sqw": "of those dynamics; tests of the command have their own",
    "mmtp montecarlo pot.mtp fe.cfg --sizes": "hours; tests of the command walk in small cells",
    "mmtp montecarlo pot.mtp fe.cfg --vectors": "the same",
}
"""Beginnings of commands, and lines of Python blocks, that are parsed only, and why."""

SLOW: dict[str, str] = {
    "mmtp quickstart": "a minute",
    "mmtp fit mmtp_jax/data/": "Python fits the same before",
    "mmtp fit vasp.extxyz": "Python fits in another README",
    "mmtp fit train.cfg --level 8 --species Fe --ensemble": "fits several",
    "mmtp fit train.cfg --level 8 --species Fe --folds": "fits several",
    "mmtp fit train.cfg --level 8 --species Fe --scan": "fits several",
    "mmtp fit train.cfg --level 8 --species Fe --devices": "a program for many devices",
    "fit = mmtp.fit(pot, atoms_list, devices": "the same",
    "learned = mmtp.learn": "fits and simulates in turns",
    "mmtp md pot.mtp fe.cfg --active-set": "a program; tests of preselection run it",
    "store = mmtp.CandidateStore": "the same",
    "mmtp relax pot.mtp test.cfg": "Python relaxes before",
    "mmtp md pot.mtp relaxed.cfg": "a program; the README of simulations runs dynamics",
    "mmtp elastic pot.mtp fe.cfg -o elastic": "a program; the README of properties runs it",
    "new = mmtp.Potential.new(level=2": "starts processes, and fits in each",
    "train = mmtp.read": "programs; the README of the repository runs most of it",
    "result = mmtp.md(": "a program; the command runs dynamics after it",
    "cell = atoms.repeat(2)": "four programs",
    "mmtp sample pot.mtp fe.cfg --repeat": "a hundred states",
    "c = mmtp.elastic_constants": "programs; a command computes elastic constants after it",
    "mmtp eos": "programs, that have tests of their own",
    "mmtp magnetisation": "the same",
    "mmtp formation": "the same",
    "found = mmtp.phonons": "the same",
    "mmtp phonons": "the same",
    "found = mmtp.exchange": "the same",
    "mmtp exchange": "the same",
    "mmtp magnons": "the same",
    "mmtp qha": "the same",
    "mmtp md pot.mtp fe.cfg --repeat 2 2 2 --ensemble npt": "the same",
    "mmtp md Fe fe.cfg": "the same",
    "iron = mmtp.load": "the same",
    "mmtp dos run.extxyz": "of those dynamics",
    "mmtp expansion npt": "of those dynamics",
    "mmtp.vibrational_dos(": "of those dynamics",
    "relaxed = mmtp.DifferentiableState": "gradients of programs, that have tests of their own",
    "volumes = mmtp.Diff": "the same",
}
"""The same for what only the slow test runs."""


class Block(NamedTuple):
    """A fenced block of a README and the line that it begins at."""

    language: str
    text: str
    line: int


def blocks_of(readme: str) -> list[Block]:
    """The fenced blocks of a README."""
    text = (ROOT / readme).read_text()
    found = re.finditer(r"^```([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(m[1], m[2], text.count("\n", 0, m.start()) + 1) for m in found]


BLOCKS = {readme: blocks_of(readme) for readme in READMES}


@pytest.fixture(scope="session")
def files_of_readmes(iron_file, tmp_path_factory) -> Path:
    """The files that READMEs name, small: shipped labels, a potential of iron, crystals."""
    folder = tmp_path_factory.mktemp("readmes")
    data = mmtp.read(str(files("mmtp_jax") / "data" / "fe_cdft.extxyz"))
    small = [atoms for atoms in data if len(atoms) == 2]
    (folder / "mmtp_jax" / "data").mkdir(parents=True)
    mmtp.write(folder / "mmtp_jax" / "data" / "fe_cdft.extxyz", small[::16])
    mmtp.write(folder / "train.cfg", small[::16], species=("Fe",))
    mmtp.write(folder / "test.cfg", small[1::24], species=("Fe",))
    shutil.copy(iron_file, folder / "pot.mtp")
    atoms = bulk("Fe", a=2.83, cubic=True)
    atoms.set_initial_magnetic_moments([2.2, 2.2])
    mmtp.write(folder / "fe.cfg", [atoms], species=("Fe",))
    for name in ("bcc", "free"):
        outcar = folder / "runs" / name / "OUTCAR"
        outcar.parent.mkdir(parents=True)
        outcar.write_text(HEAD + "".join(STEP.replace("-16.5", f"-16.{k}") for k in range(5)))
    for name, symbol in (("Fe_pv", "Fe"), ("Pd", "Pd")):  # of the template for VASP
        potcar = folder / "potpaw_PBE" / name / "POTCAR"
        potcar.parent.mkdir(parents=True)
        potcar.write_text(f"VRHFIN ={symbol}:\nTITEL = {name}\nRWIGS = 2.5; RWIGS = 1.3\n")
    return folder


class Shell:
    """Runs the blocks of one README in a folder; ``everything`` includes those that are slow."""

    def __init__(self, folder: Path, everything: bool) -> None:
        self.folder, self.everything = folder, everything
        self.parsed = tuple(PARSED) if everything else (*PARSED, *SLOW)
        self.names = {"__name__": "readme"}
        self.said = ""

    def python(self, block: Block, readme: str) -> None:
        code = compile("\n" * block.line + block.text, readme, "exec")
        if not any(line.startswith(self.parsed) for line in block.text.splitlines()):
            with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
                warnings.filterwarnings("error", category=DeprecationWarning, module="readme")
                exec(code, self.names)

    def toml(self, block: Block) -> None:
        content = tomllib.loads(block.text)
        kind = content.get("command") or content.get("code") or "executor"
        (self.folder / f"{kind}.toml").write_text(block.text)
        assert self.command(["mmtp", "validate", f"{kind}.toml"]) == 0, self.said

    def bash(self, block: Block) -> None:
        """Commands ask this process, by one pipe, and read the exit status from another."""
        ask, asks = os.pipe()
        answers, answer = os.pipe()
        body = (
            f"() {{ printf '%s\\n' $# $FUNCNAME \"$@\" >&{asks}; read -r status <&{answers}; "
            "cat .said; return $status; }\n"
        )
        functions = "".join(name + body for name in ("mmtp", *PROGRAMS))
        with subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", functions + block.text],
            cwd=self.folder, pass_fds=(asks, answers), stdout=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            os.close(asks)
            os.close(answers)
            with open(ask) as asked, open(answer, "w", buffering=1) as answered:
                for count in asked:
                    words = [next(asked).rstrip("\n") for _ in range(int(count) + 1)]
                    answered.write(f"{self.command(words)}\n")
        assert process.returncode == 0, self.said

    def command(self, words: list[str]) -> int:
        """Exit status of a command; what it prints goes to the file ``.said``."""
        out, err = io.StringIO(), io.StringIO()
        written = shlex.join(words)
        with redirect_stdout(out), redirect_stderr(err):
            try:
                status = self.run(words, written)
            except SystemExit as stop:
                status = stop.code or 0
        (self.folder / ".said").write_text(out.getvalue())
        self.said = f"{written}\n{out.getvalue()}{err.getvalue()}"
        assert "is now called" not in err.getvalue(), self.said
        return status

    def run(self, words: list[str], written: str) -> int:
        if words[0] == "mmtp" and not written.startswith(self.parsed):
            return main(words[1:])
        for word in words:
            if word.endswith((".py", ".sh")):
                assert (self.folder / word).exists() or (ROOT / word).exists(), written
            if word.endswith(".toml") and (self.folder / word).exists():
                assert main(["validate", word]) == 0
        if "mmtp" in words:
            build_parser()[0].parse_args(words[words.index("mmtp") + 1 :])
        return 0


CASES = [pytest.param(readme, False, id=readme) for readme in READMES] + [
    pytest.param(readme, True, id=f"{readme}, all of it", marks=pytest.mark.slow)
    for readme in READMES
    if any(key in block.text for block in BLOCKS[readme] for key in SLOW)
]


@pytest.mark.parametrize(("readme", "everything"), CASES)
def test_blocks_run(readme, everything, files_of_readmes, tmp_path, monkeypatch) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(files_of_readmes, folder)
    monkeypatch.chdir(folder)
    shell = Shell(folder, everything)
    for block in BLOCKS[readme]:
        try:
            if block.language == "python":
                shell.python(block, readme)
            elif block.language == "bash":
                shell.bash(block)
            elif block.language == "toml":
                shell.toml(block)
            else:
                assert block.language == "text", f"a block of {block.language or 'no language'}"
        except BaseException as error:
            error.add_note(f"{readme}, block at line {block.line}")
            raise


def test_lists_of_what_is_not_run_are_of_use() -> None:
    texts = [block.text for blocks in BLOCKS.values() for block in blocks]
    for key in (*PARSED, *SLOW):
        assert any(key in text for text in texts), f"no block has {key!r}"
    for program in PROGRAMS:
        assert any(re.search(rf"^{program} ", text, re.MULTILINE) for text in texts), program


def test_links_lead_somewhere() -> None:
    for readme in READMES:
        text = re.sub(r"^```.*?^```$", "", (ROOT / readme).read_text(), flags=re.M | re.S)
        for target in re.findall(r"\]\(([^)]+)\)", text):
            path, _, anchor = target.partition("#")
            if path.startswith("http"):
                continue
            found = (ROOT / readme).parent / path if path else ROOT / readme
            assert found.exists(), f"{readme}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE)
                slugs = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
                assert anchor in slugs, f"{readme}: {target}"


def test_table_has_every_command() -> None:
    table = re.findall(r"^\| (`mmtp .*?) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert set(re.findall(r"`mmtp ([a-z]+)`", " ".join(table))) == set(build_parser()[1])
