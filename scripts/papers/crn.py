"""Paramagnetic CrN: the tables and figures of Kotykhov 2025, from this program's own DFT labels.

    python scripts/papers/crn.py -o crn_paper                  # every table and figure
    python scripts/papers/crn.py -o crn_paper --refit          # fit the potential first
    python scripts/papers/crn.py -o crn_paper --from-scratch jth/lda    # label first, for days
    python scripts/papers/crn.py -o crn_paper --only table2 fig5 --states 10
    python scripts/papers/crn.py --list                        # the command of each figure

Each stage is a few commands of `mmtp`, printed before they run; what a stage has finished is not
done again, unless its commands, the potential or the labels are others. The labels are those of
`scripts/make_crn_data.py`, which `--from-scratch` runs before `mmtp learn`; the test set was drawn
before the first fit and is in none. Numbers of the paper stand beside ours in the tables. The
labels are few: `mmtp potentials CrN` says what that means.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from common import Paper, Stage, curve_stage, errors_stage, main
from crn_tables import (
    ORDERS,
    PAPER_ERRORS,
    PROPERTIES,
    elastic_table,
    frozen_table,
    heat_capacity,
    mixed_table,
    orders_table,
)

import mmtp_jax as mmtp

DATA = Path(mmtp.__file__).parent / "data" / "crn"
LEARNED = DATA / "learned.extxyz"
TRAINING = [
    *(DATA / f"{name}.extxyz" for name in ("start", "ideal", "lengths", "along")), LEARNED
]  # fmt: skip
TEST = DATA / "test.extxyz"
FIT = (
    "--level 12 --pattern eee --magnetic-size 3 --non-magnetic N --species Cr N --cutoff 5.0 "
    "--seed 0 --max-iterations 300 --stress-weight 0.01"
)
LATTICE = 4.13
"""Angstrom, where crystals start from."""
LEARNED_AT = (4.05, 4.13, 4.22)
"""Those of the cells that the learning starts from."""
LEARNED_IN = ("", "_8")
"""Behind the names of files of the learning in cells of four atoms, then of eight."""
MOMENT = 2.6
FCC_TO_64 = "-2 2 2 2 -2 2 2 2 -2"
"""The cube of 64 atoms of the primitive cell."""
TETRAGONAL_TO_64 = "2 2 0 -2 2 0 0 0 2"
POLAR = "--born Cr=4.4 N=-4.4 --dielectric 22"
"""Experiment, as in the paper."""


def crystals(folder: Path) -> None:
    """The cells that the commands start from."""
    primitive = bulk("CrN", "rocksalt", a=LATTICE)
    primitive.set_initial_magnetic_moments([MOMENT, 0.0])
    tetragonal = Atoms(
        "Cr2N2",
        scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0, 0, 0.5]],
        cell=LATTICE * np.diag([0.5**0.5, 0.5**0.5, 1.0]),
        pbc=True,
        magmoms=[MOMENT, -MOMENT, 0.0, 0.0],
    )
    cube = bulk("CrN", "rocksalt", a=LATTICE, cubic=True)
    cube.set_initial_magnetic_moments([MOMENT if s == "Cr" else 0.0 for s in cube.symbols])
    layers = cube.repeat(2)
    # Double layers along [110], of which two and two fit into the cube of 64 atoms.
    number = np.rint((layers.positions[:, 0] + layers.positions[:, 1]) / (0.5 * LATTICE))
    signs = np.where(number % 4 < 2, 1.0, -1.0)
    turn(layers, signs)
    # The third type of antiferromagnet of the face-centred cubic lattice, a wave (1 1/2 0).
    third = cube.repeat(2)
    wave = third.positions @ [1.0, 0.5, 0.0] / LATTICE
    signs = np.sign(np.cos(2 * np.pi * wave + np.pi / 4))
    turn(third, signs)
    double = tetragonal.repeat((2, 1, 1))
    along = double.positions[:, 0] / double.cell[0, 0]
    signs = np.where(along < 0.49, 1.0, -1.0)
    double.set_initial_magnetic_moments(
        [MOMENT * s if symbol == "Cr" else 0.0
         for s, symbol in zip(signs, double.symbols, strict=True)]
    )  # fmt: skip
    aligned_cell = tetragonal.copy()
    aligned_cell.set_initial_magnetic_moments(np.abs(tetragonal.get_initial_magnetic_moments()))
    one_of_four = double.copy()
    turn(one_of_four, np.where(np.arange(len(one_of_four)) == 1, -1.0, 1.0))
    for cells, name in (([aligned_cell, tetragonal], ""), ([double, one_of_four], "_8")):
        learned_from = [atoms.copy() for _ in LEARNED_AT for atoms in cells]
        for atoms, a in zip(learned_from, np.repeat(LEARNED_AT, 2), strict=True):
            atoms.set_cell(atoms.cell * a / LATTICE, scale_atoms=True)
        mmtp.write(folder / f"learn_cells{name}.extxyz", learned_from)
    displaced = cube.repeat(2)
    displaced.positions[0, 0] += 0.01
    named = {
        "fm": primitive, "afm": tetragonal, "double_cube": layers, "double": double,
        "third": third,
        "cube": cube, "cube_64": cube.repeat(2), "displaced_64": displaced,
    }  # fmt: skip
    for name, atoms in named.items():
        mmtp.write(folder / f"{name}.extxyz", [atoms])


def turn(atoms: Atoms, signs: np.ndarray) -> None:
    """Give moments these signs (n,), in place."""
    atoms.set_initial_magnetic_moments(atoms.get_initial_magnetic_moments() * signs)


def stages(args: Namespace, n: int) -> dict[str, Stage]:
    """All of them, of the command line and the number of labels that are fitted."""
    pm = f"--states {args.states} --magnetic Cr"
    flips = "montecarlo {pot} --magnetic Cr --sweeps 640"
    return {
        "table1": errors_stage(args.test, PAPER_ERRORS),
        "curve": curve_stage(n, FIT, args.test, PAPER_ERRORS),
        "table2": Stage(
            "elastic constants",
            (
                "elastic {pot} fm.extxyz -o table2_fm",
                "elastic {pot} afm.extxyz -o table2_afm",
                f"elastic {{pot}} cube_64.extxyz {pm} -o table2_pm",
            ),
            elastic_table,
            reads=(PROPERTIES,),
        ),
        "fig5": Stage(
            "averages over magnetic states",
            (
                "sample {pot} displaced_64.extxyz -n 250 --magnetic Cr --atom 0 --json fig5.json "
                "--plot fig5.png",
            ),
        ),
        "fig6": Stage(
            "phonons, ferromagnetic",
            (f"phonons {{pot}} fm.extxyz --supercell {FCC_TO_64} {POLAR} -o fig6",),
        ),
        "fig7": Stage(
            "phonons, antiferromagnetic",
            (f"phonons {{pot}} afm.extxyz --supercell {TETRAGONAL_TO_64} {POLAR} -o fig7",),
        ),
        "fig8": Stage(
            "phonons, paramagnetic",
            (f"phonons {{pot}} fm.extxyz --supercell {FCC_TO_64} {POLAR} {pm} -o fig8",),
        ),
        "frozen": Stage(
            "phonons at Gamma and X by displaced atoms, beside our DFT",
            (f"equilibrate {{pot}} {PROPERTIES} -o frozen.extxyz",),
            frozen_table,
        ),
        "mixed": Stage(
            "a disordered state of sixteen atoms, beside our DFT",
            (),
            mixed_table,
            reads=(PROPERTIES, "frozen.extxyz"),
        ),
        "fig9": Stage(
            "expansion and heat capacity, paramagnetic (Figs. 9 and 10)",
            (f"qha {{pot}} fm.extxyz --supercell {FCC_TO_64} {POLAR} {pm} -o fig9",),
            heat_capacity,
        ),
        "orders": Stage(
            "magnetic orders, at free and at fixed cell",
            tuple(
                f"relax {{pot}} {name}.extxyz --cell {cell} --json orders_{name}_{cell}.json "
                f"-o orders_{name}_{cell}.extxyz"
                for name in ORDERS
                for cell in ("full", "none")
            ),
            orders_table,
        ),
        "transition": Stage(
            "spin-flip Monte Carlo at fixed cubic cell: what a walk from another order finds, and "
            "the temperature at which that of double layers is lost",
            (
                f"{flips} third.extxyz --temperatures 50 100 -o found.csv",
                f"{flips} double_cube.extxyz --temperatures 50 100 150 200 250 300 "
                "-o transition.csv --plot transition.png --checkpoint transition.npz --resume",
            ),
            # Near the transition walks are too short for errors, which is a remark.
            accepts=1,
        ),
    }


def learn(datasets: Path, folder: Path, at_most: int | None) -> None:
    """The file of what the learning selects, which is another choice each time, or go on.

    A round labels ``at_most`` so many, if that is not left to the settings.
    """
    folder = folder.resolve()
    if not (folder / "datasets").exists():
        (folder / "datasets").symlink_to(datasets.resolve(), target_is_directory=True)
    learned = []
    for size in LEARNED_IN:
        settings, oracle = f"crn_learn{size}.toml", f"crn_abinit{size}.toml"
        shutil.copy(Path(__file__).with_name(oracle), folder)
        text = Path(__file__).with_name(settings).read_text()
        if at_most is not None:
            text = re.sub(
                r"(?m)^limit = (\d+)$", lambda of: f"limit = {min(at_most, int(of[1]))}", text
            )
        if size and not learned:
            text = text.replace(f', "{LEARNED.name}"', "")
        (folder / settings).write_text(text)
        # It ends with 1 where the last round has still met something new.
        words = [sys.executable, "-m", "mmtp_jax", "learn", settings]
        if subprocess.run(words, cwd=folder, check=False).returncode > 1:
            raise SystemExit("the learning did not come to its end; the very same command goes on")
        for path in sorted(folder.glob(f"learned{size}/iteration-*/selected.cfg")):
            # All of them are labelled: this writes the labels with what they say of their making.
            words = [str(path), "--species", "Cr", "N", "--oracle", oracle, "--jobs"]
            words += [str(path.with_name("labelled")), "-o", str(path.with_name("l.extxyz"))]
            words = [sys.executable, "-m", "mmtp_jax", "label", *words]
            if subprocess.run(words, cwd=folder, check=False).returncode > 1:
                raise SystemExit(f"{path} was not labelled; the same command goes on")
            learned += mmtp.read(path.with_name("l.extxyz"))
        if learned:
            mmtp.write(folder / LEARNED.name, learned)


PAPER = Paper(
    name="crn",
    title=__doc__.splitlines()[0],
    potential="CrN",
    fit=FIT,
    training=TRAINING,
    test=TEST,
    others=[DATA / PROPERTIES],
    maker="scripts/make_crn_data.py",
    numbers={"states": (50, "disordered states of an average")},
    crystals=crystals,
    stages=stages,
    learned=LEARNED,
    learn=learn,
)


if __name__ == "__main__":
    sys.exit(main(PAPER))
