"""Paramagnetic CrN: the tables and figures of Kotykhov 2025, from this program's own DFT labels.

    python scripts/papers/crn.py -o crn_paper                  # every table and figure
    python scripts/papers/crn.py -o crn_paper --refit          # fit the potential first
    python scripts/papers/crn.py -o crn_paper --from-scratch jth/lda    # label first, for days
    python scripts/papers/crn.py -o crn_paper --only table2 fig5 --states 10
    python scripts/papers/crn.py --list                        # the command of each figure

Each stage is a few commands of `mmtp`, printed before they run; what a stage has finished is not
done again, unless the potential is another. The labels are those of `scripts/make_crn_data.py`,
which `--from-scratch` runs; the test set was drawn before the first fit and is in none. Numbers
of the paper stand beside ours in the tables. The labels are few: `mmtp potentials CrN` says what
that means.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import shlex
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.data import atomic_masses, atomic_numbers

import mmtp_jax as mmtp
from mmtp_jax.cli.main import main as run_mmtp
from mmtp_jax.tables import aligned

DATA = Path(mmtp.__file__).parent / "data" / "crn"
LISTED, LEARNED = ("start", "ideal", "lengths"), "learned"
TRAINING = [DATA / f"{name}.extxyz" for name in (*LISTED, LEARNED)]
TEST, PROPERTIES = DATA / "test.extxyz", DATA / "properties.extxyz"
FIT = (
    "--level 12 --pattern eee --magnetic-size 3 --non-magnetic N --species Cr N --cutoff 5.0 "
    "--seed 0 --max-iterations 300 --stress-weight 0.01"
)
LATTICE = 4.13
"""Angstrom, where crystals start from."""
LEARNED_AT = (4.05, 4.13, 4.22)
"""Those of the cells that the learning starts from."""
MOMENT = 2.6
DISPLACEMENT = 0.03
"""Angstrom, of one atom in the labels of `properties`."""
TO_THZ = 15.633302
"""sqrt(eV/amu)/Angstrom / (2 pi)."""
FCC_TO_64 = "-2 2 2 2 -2 2 2 2 -2"
"""The cube of 64 atoms of the primitive cell."""
TETRAGONAL_TO_64 = "2 2 0 -2 2 0 0 0 2"
POLAR = "--born Cr=4.4 N=-4.4 --dielectric 22"
"""Experiment, as in the paper."""

LUCA_LEITNAKER = (11.10, 1.58e-3)
"""C_p = a + b T of CrN, cal/(mol K): J. Am. Ceram. Soc. 1973, a review of measurements."""
JOULE_PER_CALORIE, GAS_CONSTANT = 4.184, 8.314463
FRACTIONS, PARTS = (0.25, 0.5), 3
"""Of the training set, for the learning curve: each so many times, and all of it."""

PAPER_ERRORS = {"energy": 1.7, "forces": 108.0, "stress": 0.4, "magnetic_forces": 64.0}
"""Table I: meV/atom for 64 atoms, meV/Angstrom, GPa, meV/mu_B, on training data."""
UNITS = {"energy": "meV/atom", "forces": "meV/Angstrom", "stress": "GPa",
         "magnetic_forces": "meV/mu_B"}  # fmt: skip
VOIGT = ("C11", "C22", "C33", "C12", "C13", "C23", "C44", "C55", "C66")
PAPER_ELASTIC = {
    ("FM", "paper, mMTP"): (573, 573, 573, 108, 108, 108, 164, 164, 164),
    ("AFM", "paper, mMTP"): (620, 620, 708, 113, 97, 97, 158, 158, 164),
    ("AFM", "paper, DFT"): (680, 680, 709, 100, 62, 62, 122, 122, 177),
    ("AFM", "Zhou 2014, DFT"): (696, 696, 722, 113, 76, 76, 124, 124, 174),
    ("PM", "paper, mMTP"): (645, 645, 645, 98, 98, 98, 160, 160, 160),
    ("PM", "Zhou 2014, DFT"): (649, 649, 649, 99, 99, 99, 145, 145, 145),
}
"""Table II, GPa."""


@dataclass(frozen=True)
class Stage:
    """One table or figure: commands of mmtp, then what is made of their files."""

    title: str
    commands: tuple[str, ...]
    finish: Callable[[Path], None] | None = None


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
    layers.set_initial_magnetic_moments(layers.get_initial_magnetic_moments() * signs)
    double = tetragonal.repeat((2, 1, 1))
    along = double.positions[:, 0] / double.cell[0, 0]
    signs = np.where(along < 0.49, 1.0, -1.0)
    double.set_initial_magnetic_moments(
        [MOMENT * s if symbol == "Cr" else 0.0
         for s, symbol in zip(signs, double.symbols, strict=True)]
    )  # fmt: skip
    aligned_cell = tetragonal.copy()
    aligned_cell.set_initial_magnetic_moments(np.abs(tetragonal.get_initial_magnetic_moments()))
    learned_from = [atoms.copy() for _ in LEARNED_AT for atoms in (aligned_cell, tetragonal)]
    for atoms, a in zip(learned_from, np.repeat(LEARNED_AT, 2), strict=True):
        atoms.set_cell(atoms.cell * a / LATTICE, scale_atoms=True)
    mmtp.write(folder / "learn_cells.extxyz", learned_from)
    displaced = cube.repeat(2)
    displaced.positions[0, 0] += 0.01
    named = {
        "fm": primitive, "afm": tetragonal, "double_cube": layers, "double": double,
        "cube": cube, "cube_64": cube.repeat(2), "displaced_64": displaced,
    }  # fmt: skip
    for name, atoms in named.items():
        mmtp.write(folder / f"{name}.extxyz", [atoms])


def parts(n: int) -> dict[str, np.ndarray]:
    """Places of the configurations of each training set of the learning curve, by name."""
    found = {}
    for fraction in FRACTIONS:
        size = max(4, round(fraction * n))
        for k in range(PARTS):
            found[f"curve_{size}_{k}"] = np.random.default_rng(k).permutation(n)[:size]
    return found | {f"curve_{n}_0": np.arange(n)}


def stages(states: int, test: Path, training: Sequence[Atoms]) -> dict[str, Stage]:
    """All of them; ``states`` is the number of disordered states of an average."""
    pm = f"--states {states} --magnetic Cr"
    return {
        "table1": Stage(
            "errors on configurations that no fit has seen",
            (f"evaluate {{pot}} {test} --report table1.json --plot table1.png -o table1.extxyz",),
            errors_table,
        ),
        "curve": Stage(
            "errors of the test set against the number of labels that are fitted",
            tuple(
                f"fit {name}.extxyz {FIT} --validation {test} -o {name}.mtp --report {name}.json"
                for name in parts(len(training))
            ),
            learning_curve,
        ),
        "table2": Stage(
            "elastic constants",
            (
                "elastic {pot} fm.extxyz -o table2_fm",
                "elastic {pot} afm.extxyz -o table2_afm",
                f"elastic {{pot}} cube_64.extxyz {pm} -o table2_pm",
            ),
            elastic_table,
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
            (f"equilibrate {{pot}} {PROPERTIES.name} -o frozen.extxyz",),
            frozen_table,
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
                for name in ("fm", "afm", "double")
                for cell in ("full", "none")
            ),
            orders_table,
        ),
        "transition": Stage(
            "order against temperature, spin-flip Monte Carlo at fixed cubic cell",
            (
                "montecarlo {pot} double_cube.extxyz --magnetic Cr --temperatures "
                "75 100 125 150 200 300 --sweeps 300 --plot transition.png -o transition.csv "
                "--checkpoint transition.npz --resume",
            ),
        ),
    }


def write_table(path: Path, rows: Sequence[Sequence[object]]) -> None:
    """As CSV, and on the screen."""
    shown = [[f"{x:.4g}" if isinstance(x, float) else str(x) for x in row] for row in rows]
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(shown)
    print(aligned(shown))


def errors_table(folder: Path) -> None:
    """Table I: RMSE of the test set beside those of the paper."""
    report = json.loads((folder / "table1.json").read_text())
    found = report["errors"]
    rows = [["quantity", "ours, test set", "paper, training set"]]
    rows += [[k, float(found[k]["rmse"]), PAPER_ERRORS[k]] for k in PAPER_ERRORS]
    write_table(folder / "table1.csv", rows)


def learning_curve(folder: Path) -> None:
    """Mean and deviation over the parts of each size, and a figure."""
    from matplotlib.ticker import LogLocator, NullFormatter

    found = defaultdict(list)
    for path in folder.glob("curve_*_*.json"):
        errors = json.loads(path.read_text())["errors"]["validation"]
        found[int(path.stem.split("_")[1])].append(errors)
    sizes = sorted(found)
    rmse = {
        kind: [[float(errors[kind]["rmse"]) for errors in found[n]] for n in sizes]
        for kind in PAPER_ERRORS
    }
    rows = [["labels", "sets", *(f"{k} ({UNITS[k]})" for k in rmse), *(f"{k}, +-" for k in rmse)]]
    for place, n in enumerate(sizes):
        values = [of[place] for of in rmse.values()]
        rows.append([n, len(values[0]), *map(np.mean, values), *map(np.std, values)])
    write_table(folder / "curve.csv", rows)

    figure, axes = subplots(1, len(rmse), figsize=(11, 2.8), layout="constrained")
    for axis, (kind, of) in zip(axes, rmse.items(), strict=True):
        for n, values in zip(sizes, of, strict=True):
            axis.plot([n] * len(values), values, "o", color="C0", ms=4)
        axis.plot(sizes, [np.mean(values) for values in of], color="C0", label="test set")
        axis.axhline(PAPER_ERRORS[kind], color="0.5", ls="--", label="paper, its training set")
        name = f"{kind.replace('_', ' ')} ({UNITS[kind]})"
        axis.set(xscale="log", yscale="log", xlabel="labels fitted", ylabel=name)
        axis.set_xticks(sizes, labels=sizes)
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.yaxis.set_major_formatter("{x:g}")
        for side in (axis.xaxis, axis.yaxis):
            side.set_minor_formatter(NullFormatter())
    axes[0].legend(frameon=False, fontsize=7)
    save(figure, folder / "curve")


def heat_capacity(folder: Path) -> None:
    """Fig. 10: C_p of a formula unit beside measurements, J/(mol K)."""
    with open(folder / "fig9.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    temperature = np.array([float(row["temperature (K)"]) for row in rows])
    ours = np.array([float(row["heat capacity C_p (k_B/atom)"]) for row in rows])
    figure, axis = subplots(figsize=(4.2, 3.2), layout="constrained")
    above = temperature >= 280.0
    for part, style in ((above, "-"), (~above, "--")):
        axis.plot(temperature[part], 2 * GAS_CONSTANT * ours[part], f"C0{style}",
                  label="potential, paramagnetic" if style == "-" else "below 280 K")  # fmt: skip
    a, b = LUCA_LEITNAKER
    axis.plot(temperature[above], JOULE_PER_CALORIE * (a + b * temperature[above]), "k:",
              label="measured (De Luca 1973)")  # fmt: skip
    axis.set(xlabel="temperature (K)", ylabel="C_p (J/(mol K))", ylim=(0, None))
    axis.legend(frameon=False, fontsize=8)
    save(figure, folder / "fig10")


def subplots(*args: object, **options: object) -> tuple:
    """A figure that needs no screen."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot.subplots(*args, **options)


def save(figure: object, path: Path) -> None:
    """As PNG and PDF."""
    for suffix in (".png", ".pdf"):
        figure.savefig(path.with_suffix(suffix), dpi=150)


def elastic_table(folder: Path) -> None:
    """Table II: ours, our own DFT where there are labels of it, and the paper's columns."""
    rows: list[list[object]] = [["state", "method", *VOIGT]]
    dft = dft_constants(folder / PROPERTIES.name)
    for state in ("FM", "AFM", "PM"):
        file = folder / f"table2_{state.lower()}.json"
        if file.exists():
            found = json.loads(file.read_text())
            rows.append([state, "ours, mMTP", *components(found["constants_GPa"], state)])
        if state in dft:
            rows.append([state, "ours, DFT", *dft[state]])
        rows += [[s, m, *map(float, c)] for (s, m), c in PAPER_ELASTIC.items() if s == state]
    write_table(folder / "table2.csv", rows)


def components(constants: Sequence[Sequence[float]], state: str) -> list[float]:
    """C11, C22, C33, C12, C13, C23, C44, C55, C66 in the axes of the cubic cell.

    The antiferromagnet is calculated in the cell (a/sqrt2, a/sqrt2, a), turned by 45 degrees.
    """
    c = np.array(constants)
    if state == "AFM":
        c = turned(c)
    if state != "AFM":
        (p, q, r) = (np.diag(c)[:3].mean(), c[[0, 0, 1], [1, 2, 2]].mean(), np.diag(c)[3:].mean())
        return [float(x) for x in (p, p, p, q, q, q, r, r, r)]
    found = [*np.diag(c)[:3], c[0, 1], c[0, 2], c[1, 2], *np.diag(c)[3:]]
    return [float(x) for x in found]


def turned(c: np.ndarray) -> np.ndarray:
    """Constants (6, 6) of a tetragonal crystal in axes turned by 45 degrees about z, GPa."""
    sum_, mean = c[0, 0] + c[0, 1], 0.5 * (c[0, 0] + c[0, 1])
    found = c.copy()
    found[0, 0] = found[1, 1] = mean + c[5, 5]
    found[0, 1] = found[1, 0] = sum_ - found[0, 0]
    found[5, 5] = 0.5 * (c[0, 0] - c[0, 1])
    return found


def dft_constants(labels: Path) -> dict[str, list[float]]:
    """Of the strained cells among our labels, by differences of stresses, GPa; atoms at rest.

    At the lattice parameter of the labels, whose reference is under a stress of its own.
    """
    stress = {a.info["label"]: a.get_stress() / 0.00624150913 for a in mmtp.read(labels)}
    found = {}
    for state, short in (("FM", "4-fm-"), ("AFM", "4-afm-")):
        rest = stress.get(f"{short}reference")
        needed = ["xx+", "xx-", "yz+"] + (["zz+", "zz-", "xy+"] if state == "AFM" else [])
        if rest is None or any(short + name not in stress for name in needed):
            continue
        at = {name: stress[short + name] for name in needed}
        xx = (at["xx+"] - at["xx-"]) / 0.02
        c44 = (at["yz+"] - rest)[3] / 0.01
        if state == "FM":
            c12 = 0.5 * (xx[1] + xx[2])
            found[state] = [xx[0]] * 3 + [c12] * 3 + [c44] * 3
        else:
            zz = (at["zz+"] - at["zz-"]) / 0.02
            c13, c66 = (zz[0] + zz[1] + xx[2]) / 3, (at["xy+"] - rest)[5] / 0.01
            found[state] = [xx[0], xx[0], zz[2], xx[1], c13, c13, c44, c44, c66]
    return {state: [float(x) for x in c] for state, c in found.items()}


def frozen_table(folder: Path) -> None:
    """Frequencies from the same displaced cells, of our DFT and of the potential."""
    rows = [["state", "mode", "ours, DFT (THz)", "ours, mMTP (THz)"]]
    both = [
        {a.info["label"]: a.get_forces() for a in mmtp.read(path)}
        for path in (folder / PROPERTIES.name, folder / "frozen.extxyz")
    ]
    for state, short in (("FM", "4-fm-"), ("AFM", "4-afm-")):
        names = [short + name for name in ("reference", "Cr-x", "Cr-z", "N-x", "N-z")]
        if all(name in both[0] for name in names):
            dft, ours = (frequencies(*(found[name] for name in names)) for found in both)
            rows += [[state, mode, dft[mode], ours[mode]] for mode in dft]
    write_table(folder / "frozen.csv", rows)


def frequencies(rest: np.ndarray, *displaced: np.ndarray) -> dict[str, float]:
    """THz at Gamma and X of the cubic crystal; imaginary ones are negative.

    Args:
        rest: (4, 3) forces of the cell (a/sqrt2, a/sqrt2, a) of Cr, Cr, N, N, eV/Angstrom.
        displaced: those with the first Cr, then the first N displaced by `DISPLACEMENT`, each
            along x and along z.
    """
    masses = atomic_masses[atomic_numbers["Cr"]], atomic_masses[atomic_numbers["N"]]
    weights = 1.0 / np.sqrt(np.outer(masses, masses))
    columns = [-(forces - rest) / DISPLACEMENT for forces in displaced]
    found = {}
    for axis, of_cr, of_n, kind in ((0, 0, 2, "T"), (2, 1, 3, "L")):
        for sign, point in ((1.0, "Gamma"), (-1.0, "X")):
            # Cr and N of one formula unit come to those of the other by (1/2, 1/2, 1/2).
            both = [columns[k][:, axis] for k in (of_cr, of_n)]
            d = np.array([[c[0] + sign * c[1], c[2] + sign * c[3]] for c in both])
            values = np.linalg.eigvalsh(weights * (d + d.T) / 2)
            low, high = np.sign(values) * np.sqrt(np.abs(values)) * TO_THZ
            if point == "Gamma":
                # Without its field a longitudinal mode is a transverse one.
                found[f"Gamma TO, along {'xz'[axis == 2]}"] = float(high)
            else:
                found[f"X {kind}A"], found[f"X {kind}O"] = float(low), float(high)
    return found


def orders_table(folder: Path) -> None:
    """Energies of the magnetic orders, each relaxed with and without its cell."""
    rows: list[list[object]] = [["order", "cell", "energy (meV/atom above the lowest)", "volume"]]
    found = []
    for name in ("fm", "afm", "double"):
        for cell in ("full", "none"):
            (atoms,) = mmtp.read(folder / f"orders_{name}_{cell}.extxyz")
            found.append((name, cell, atoms.get_potential_energy() / len(atoms), atoms))
    lowest = min(energy for _, _, energy, _ in found)
    rows += [
        [name, cell, 1e3 * (energy - lowest), atoms.get_volume() / len(atoms)]
        for name, cell, energy, atoms in found
    ]
    write_table(folder / "orders.csv", rows)


def run_stage(name: str, stage: Stage, folder: Path, potential: str, mark: str) -> int:
    """Run what has not been done with this potential; returns the worst exit status."""
    done = folder / f".{name}.done"
    if done.exists() and done.read_text() == mark:
        print(f"{name}: done before")
        return 0
    print(f"\n== {name}: {stage.title}", flush=True)
    start, status = time.perf_counter(), 0
    for command in stage.commands:
        words = [
            str(folder / w) if not w.startswith("-") and Path(w).suffix in SUFFIXES else w
            for w in shlex.split(command)
        ]
        words = [potential if w == "{pot}" else w for w in words]
        if "-o" in words:
            place = words.index("-o") + 1
            words[place] = str(folder / Path(words[place]).name)
        print("$ mmtp " + shlex.join(words), flush=True)
        status = max(status, run_mmtp(words))
        if status >= INTERRUPTED:
            return status
    # Of an error there are no files; 1 is a remark.
    if stage.finish is not None and status < 2:
        stage.finish(folder)
    print(f"{name}: {time.perf_counter() - start:.0f} s, exit status {status}", flush=True)
    if status == 0:
        done.write_text(mark)
    return status


INTERRUPTED = 128
"""Exit statuses from here on are those of Ctrl-C and SIGTERM."""
SUFFIXES = {".extxyz", ".json", ".png", ".csv", ".npz"}
"""Of files that stand in the folder of the results, unless their path is whole."""


def label(datasets: Path, folder: Path) -> tuple[list[Path], Path]:
    """Label what ships from nothing, or go on; the training sets, and the test set.

    What the learning selects is another choice each time.
    """
    folder = folder.resolve()
    script = Path(__file__).parents[1] / "make_crn_data.py"
    for path in (*(DATA / f"{name}.extxyz" for name in LISTED), TEST, PROPERTIES):
        ids = [atoms.info["config_id"] for atoms in mmtp.read(path)]
        command = ["--datasets", datasets, "--list", path.stem, "--number", max(ids) + 1]
        command += ["--jobs", folder / "jobs" / path.stem, "-o", folder / path.name]
        command += ["--ids", *ids]
        subprocess.run([sys.executable, script, *map(str, command)], check=True)
    for name in ("crn_learn.toml", "crn_abinit.toml"):
        shutil.copy(Path(__file__).with_name(name), folder)
    if not (folder / "datasets").exists():
        (folder / "datasets").symlink_to(datasets.resolve(), target_is_directory=True)
    # It ends with 1 where the last round has still met something new.
    learn = [sys.executable, "-m", "mmtp_jax", "learn", "crn_learn.toml"]
    if subprocess.run(learn, cwd=folder, check=False).returncode > 1:
        raise SystemExit("the learning did not come to its end; the same command goes on")
    learned = []
    for path in sorted(folder.glob("learned/iteration-*/selected.cfg")):
        # All of them are labelled: this writes the labels with what they say of their making.
        words = [str(path), "--species", "Cr", "N", "--oracle", "crn_abinit.toml"]
        words += ["--jobs", str(path.with_name("labelled")), "-o", str(path.with_name("l.extxyz"))]
        words = [sys.executable, "-m", "mmtp_jax", "label", *words]
        if subprocess.run(words, cwd=folder, check=False).returncode > 1:
            raise SystemExit(f"{path} was not labelled; the same command goes on")
        learned += mmtp.read(path.with_name("l.extxyz"))
    mmtp.write(folder / f"{LEARNED}.extxyz", learned)
    return [folder / path.name for path in TRAINING], folder / TEST.name


def main() -> int:
    """Run the stages that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("crn_paper"), help="folder")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--potential", default="CrN", help="name or file (default %(default)s)")
    source.add_argument("--refit", action="store_true", help="fit it to the labels first")
    source.add_argument(
        "--from-scratch", type=Path, metavar="DATASETS",
        help="label first, with ABINIT and the datasets of this folder, then fit",
    )  # fmt: skip
    parser.add_argument(
        "--training", type=Path, nargs="+", default=TRAINING, help="labels of --refit"
    )
    parser.add_argument("--test", type=Path, default=TEST, help="labels of table1")
    parser.add_argument("--states", type=int, default=50, help="disordered states of an average")
    parser.add_argument("--only", nargs="+", metavar="STAGE", help="some of the stages")
    parser.add_argument("--list", action="store_true", help="print the commands and stop")
    args = parser.parse_args()
    if not args.list:
        args.output.mkdir(parents=True, exist_ok=True)
        crystals(args.output)
    if args.from_scratch and not args.list:
        args.training, args.test = label(args.from_scratch, args.output)
    training = [atoms for path in args.training for atoms in mmtp.read(path)]
    wanted = stages(args.states, args.test.resolve(), training)
    unknown = set(args.only or ()) - set(wanted)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))} among {', '.join(wanted)}")
    if args.list:
        for name, stage in wanted.items():
            print(f"{name}: {stage.title}", *(f"  mmtp {c}" for c in stage.commands), sep="\n")
        return 0
    if not args.from_scratch:
        shutil.copy(PROPERTIES, args.output)
    for name, places in parts(len(training)).items():
        mmtp.write(args.output / f"{name}.extxyz", [training[k] for k in places])
    potential = args.potential
    if args.refit or args.from_scratch:
        potential = str(args.output / "CrN.mtp")
        report = str(args.output / "fit.json")
        status = run_mmtp(
            ["fit", *map(str, args.training), *FIT.split(), "-o", potential, "--report", report]
        )
        if status:
            return status
    mark = hashlib.sha256(repr(mmtp.load(potential).flatten().tolist()).encode()).hexdigest()
    names = args.only or list(wanted)
    failed = []
    for name in names:
        status = run_stage(name, wanted[name], args.output, potential, mark)
        if status >= INTERRUPTED:
            print("ended; the same command goes on")
            return status
        if status:
            failed.append(name)
    if failed:
        print(f"not all of these ended well: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
