"""What the scripts of all papers share: stages that are run once, tables, figures, errors.

A script makes one `Paper` and ends with ``sys.exit(main(PAPER))``. A stage is a few commands of
`mmtp`, printed before they run, then a function that makes a table or a figure of their files.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import shlex
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from ase import Atoms

import mmtp_jax as mmtp
from mmtp_jax.cli.main import main as run_mmtp
from mmtp_jax.tables import aligned

SUFFIXES = {".extxyz", ".json", ".png", ".csv", ".npz", ".mtp"}
"""Of files that stand in the folder of the results, unless their path is whole."""
OUTPUTS = {"-o", "--report", "--json", "--plot", "--checkpoint", "--scan-csv"}
"""Options of what a command writes; all other files that it names are read."""
INTERRUPTED = 128
"""Exit statuses from here on are those of Ctrl-C and SIGTERM."""
FRACTIONS, PARTS = (0.25, 0.5), 3
"""Of the training set, for the learning curve: each so many times, and all of it."""
UNITS = {"energy": "meV/atom", "forces": "meV/Angstrom", "stress": "GPa",
         "magnetic_forces": "meV/mu_B"}  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """One table or figure: commands of mmtp, then what is made of their files.

    In the commands ``{pot}`` is the potential; files of `SUFFIXES`, and what follows ``-o``, are
    in the folder of the results.
    """

    title: str
    commands: tuple[str, ...]
    finish: Callable[[Path], None] | None = None
    reads: tuple[str, ...] = ()
    """Labels in the folder of the results that `finish` reads and no command names."""


@dataclass(frozen=True)
class Paper:
    """What a script gives to `main`."""

    name: str
    """The results are in the folder NAME_paper, unless another is asked for."""
    title: str
    """One line, for ``--help``."""
    potential: str
    """Name of the shipped one, and of the file of one that is fitted here."""
    fit: str
    """Options of ``mmtp fit``."""
    training: Sequence[Path]
    test: Path
    others: Sequence[Path]
    """Labels that stages read from the folder of the results."""
    crystals: Callable[[Path], None]
    """Writes the cells that stages start from into the folder of the results."""
    stages: Callable[[int, Path, Sequence[Atoms]], dict[str, Stage]]
    """By name; of the disordered states of an average, the test set and the training set."""
    label: Callable[[Path, Path], tuple[list[Path], Path]] | None = None
    """Makes all labels: of the folder of the datasets and that of the results, the training and
    the test set. It writes `others` too."""


def main(paper: Paper) -> int:
    """Run the stages that the command line asks for; returns the exit status."""
    parser = build_parser(paper)
    args = parser.parse_args()
    if not args.list:
        args.output.mkdir(parents=True, exist_ok=True)
        paper.crystals(args.output)
    if args.from_scratch and not args.list:
        args.training, args.test = paper.label(args.from_scratch, args.output)
    training = [atoms for path in args.training for atoms in mmtp.read(path)]
    stages = paper.stages(args.states, args.test.resolve(), training)
    unknown = set(args.only or ()) - set(stages)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))} among {', '.join(stages)}")
    if args.list:
        for name, stage in stages.items():
            print(f"{name}: {stage.title}", *(f"  mmtp {c}" for c in stage.commands), sep="\n")
        return 0
    if not args.from_scratch:
        for path in paper.others:
            shutil.copy(path, args.output)
    for name, places in parts(len(training)).items():
        mmtp.write(args.output / f"{name}.extxyz", [training[k] for k in places])
    potential = args.potential
    if args.refit or args.from_scratch:
        potential = str(args.output / f"{paper.potential}.mtp")
        report = str(args.output / "fit.json")
        status = run_mmtp(
            ["fit", *map(str, args.training), *paper.fit.split(), "-o", potential,
             "--report", report]
        )  # fmt: skip
        if status:
            return status
    return run_stages({k: stages[k] for k in args.only or stages}, args.output, potential)


def build_parser(paper: Paper) -> argparse.ArgumentParser:
    """The options of a script."""
    parser = argparse.ArgumentParser(description=paper.title)
    output = Path(f"{paper.name}_paper")
    parser.add_argument("-o", "--output", type=Path, default=output, help="folder")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--potential", default=paper.potential, help="name or file (default %(default)s)"
    )
    source.add_argument("--refit", action="store_true", help="fit it to the labels first")
    if paper.label is not None:
        source.add_argument(
            "--from-scratch", type=Path, metavar="DATASETS",
            help="label first, with ABINIT and the datasets of this folder, then fit",
        )  # fmt: skip
    parser.set_defaults(from_scratch=None)
    parser.add_argument(
        "--training", type=Path, nargs="+", default=paper.training, help="labels of --refit"
    )
    parser.add_argument("--test", type=Path, default=paper.test, help="labels of table1")
    parser.add_argument("--states", type=int, default=50, help="disordered states of an average")
    parser.add_argument("--only", nargs="+", metavar="STAGE", help="some of the stages")
    parser.add_argument("--list", action="store_true", help="print the commands and stop")
    return parser


def run_stages(stages: Mapping[str, Stage], folder: Path, potential: str) -> int:
    """One after the other; 1 if any has not ended well, or the status of what ended them all."""
    parameters = repr(mmtp.load(potential).flatten().tolist()).encode()
    failed = []
    for name, stage in stages.items():
        status = run_stage(name, stage, folder, potential, parameters)
        if status >= INTERRUPTED:
            print("ended; the same command goes on")
            return status
        if status:
            failed.append(name)
    if failed:
        print(f"not all of these ended well: {', '.join(failed)}")
    return 1 if failed else 0


def run_stage(name: str, stage: Stage, folder: Path, potential: str, parameters: bytes) -> int:
    """Run what has not been done with these files; returns the worst exit status.

    Its mark is kept in ``.NAME.done``, and in the names of checkpoints: none of another potential
    is gone on from.

    Args:
        parameters: of the potential.
    """
    mark = mark_of(stage, folder, parameters)
    done = folder / f".{name}.done"
    if done.exists() and done.read_text() == mark:
        print(f"{name}: done before")
        return 0
    print(f"\n== {name}: {stage.title}", flush=True)
    start, status = time.perf_counter(), 0
    for command in stage.commands:
        words = [potential if w == "{pot}" else w for w in words_of(command, folder)]
        if "--checkpoint" in words:
            place = words.index("--checkpoint") + 1
            path = Path(words[place])
            words[place] = str(path.with_stem(f"{path.stem}-{mark[:8]}"))
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


def words_of(command: str, folder: Path) -> list[str]:
    """The words of a command, files in the folder of the results."""
    words = [
        str(folder / w) if not w.startswith("-") and Path(w).suffix in SUFFIXES else w
        for w in shlex.split(command)
    ]
    if "-o" in words:
        place = words.index("-o") + 1
        words[place] = str(folder / Path(words[place]).name)
    return words


def mark_of(stage: Stage, folder: Path, parameters: bytes) -> str:
    """Of the commands, and the contents of what they read: another mark, another result.

    Args:
        parameters: of the potential, which count where a command names it.
    """
    found = hashlib.sha256()
    written = set()
    for command in stage.commands:
        before = ""
        for word, place in zip(shlex.split(command), words_of(command, folder), strict=True):
            if before in OUTPUTS:
                written.add(place)
            if word == "{pot}":
                found.update(parameters)
            elif place not in written and Path(place).is_file():
                # Its content says all of it, wherever it is.
                found.update(Path(place).read_bytes())
            else:
                found.update(word.encode())
            found.update(b"\n")
            before = word
    for name in stage.reads:
        found.update((folder / name).read_bytes())
    return found.hexdigest()


def errors_stage(test: Path, paper: Mapping[str, float]) -> Stage:
    """The stage `table1` of a paper, which gives errors in `UNITS`."""
    return Stage(
        "errors on configurations that no fit has seen",
        (f"evaluate {{pot}} {test} --report table1.json --plot table1.png -o table1.extxyz",),
        partial(errors_table, paper=paper),
    )


def curve_stage(n: int, fit: str, test: Path, paper: Mapping[str, float]) -> Stage:
    """The stage `curve`: fits, with these options, to the `parts` of n labels."""
    return Stage(
        "errors of the test set against the number of labels that are fitted",
        tuple(
            f"fit {name}.extxyz {fit} --validation {test} -o {name}.mtp --report {name}.json"
            for name in parts(n)
        ),
        partial(learning_curve, paper=paper, n=n),
    )


def parts(n: int) -> dict[str, np.ndarray]:
    """Places of the configurations of each training set of the learning curve, by name."""
    found = {}
    for fraction in FRACTIONS:
        size = max(4, round(fraction * n))
        for k in range(PARTS):
            found[f"curve_{size}_{k}"] = np.random.default_rng(k).permutation(n)[:size]
    return found | {f"curve_{n}_0": np.arange(n)}


def errors_table(folder: Path, paper: Mapping[str, float]) -> None:
    """RMSE of the test set beside those of the paper."""
    found = json.loads((folder / "table1.json").read_text())["errors"]
    rows = [["quantity", "ours, test set", "paper, training set"]]
    rows += [[k, float(found[k]["rmse"]), paper[k]] for k in paper]
    write_table(folder / "table1.csv", rows)


def learning_curve(folder: Path, paper: Mapping[str, float], n: int) -> None:
    """Mean and deviation over the `parts` of each size of n labels, and a figure."""
    from matplotlib.ticker import LogLocator, NullFormatter

    found = defaultdict(list)
    for name, places in parts(n).items():
        report = json.loads((folder / f"{name}.json").read_text())
        found[len(places)].append(report["errors"]["validation"])
    sizes = sorted(found)
    rmse = {
        kind: [[float(errors[kind]["rmse"]) for errors in found[size]] for size in sizes]
        for kind in paper
    }
    rows = [["labels", "sets", *(f"{k} ({UNITS[k]})" for k in rmse), *(f"{k}, +-" for k in rmse)]]
    for place, size in enumerate(sizes):
        values = [of[place] for of in rmse.values()]
        rows.append([size, len(values[0]), *map(np.mean, values), *map(np.std, values)])
    write_table(folder / "curve.csv", rows)

    figure, axes = subplots(1, len(rmse), figsize=(11, 2.8), layout="constrained")
    for axis, (kind, of) in zip(axes, rmse.items(), strict=True):
        for size, values in zip(sizes, of, strict=True):
            axis.plot([size] * len(values), values, "o", color="C0", ms=4)
        axis.plot(sizes, [np.mean(values) for values in of], color="C0", label="test set")
        axis.axhline(paper[kind], color="0.5", ls="--", label="paper, its training set")
        name = f"{kind.replace('_', ' ')} ({UNITS[kind]})"
        axis.set(xscale="log", yscale="log", xlabel="labels fitted", ylabel=name)
        axis.set_xticks(sizes, labels=sizes)
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.yaxis.set_major_formatter("{x:g}")
        for side in (axis.xaxis, axis.yaxis):
            side.set_minor_formatter(NullFormatter())
    axes[0].legend(frameon=False, fontsize=7)
    save(figure, folder / "curve")


def write_table(path: Path, rows: Sequence[Sequence[object]]) -> None:
    """As CSV, and on the screen."""
    shown = [[f"{x:.4g}" if isinstance(x, float) else str(x) for x in row] for row in rows]
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(shown)
    print(aligned(shown))


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
