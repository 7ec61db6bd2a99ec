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
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import mmtp_jax as mmtp
from mmtp_jax.cli.command_line import number
from mmtp_jax.cli.main import main as run_mmtp
from mmtp_jax.io.shipped import file_of
from mmtp_jax.options import POSITIVE
from mmtp_jax.plot.style import MU_B
from mmtp_jax.tables import aligned

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
    """Files in the folder of the results that `finish` reads and no command names."""
    accepts: int = 0
    """Largest exit status of commands with which the stage is done: 1 where that is a result."""


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
    """Options of ``mmtp fit``, with names of `numbers` in braces."""
    training: Sequence[Path]
    test: Path
    others: Sequence[Path]
    """Labels that stages read from the folder of the results."""
    maker: str
    """The script that makes the labels that are in one folder with the test set, each list a
    file."""
    numbers: Mapping[str, tuple[int, str]]
    """Options of its own, each a number: by name, without dashes, default and help."""
    crystals: Callable[[Path], None]
    """Writes the cells that stages start from into the folder of the results, of `others` there."""
    stages: Callable[[argparse.Namespace, int], dict[str, Stage]]
    """By name; of the command line, and the number of labels of the training set."""
    datasets: bool = True
    """Whether the maker is told a folder of datasets."""
    learned: Path | None = None
    """The file of the training set that is no list."""
    learn: Callable[[Path, Path, int | None], None] | None = None
    """Makes it: of the folder of the datasets, that of the results and what a round labels at
    most, if not as many as it would."""


def main(paper: Paper) -> int:
    """Run the stages that the command line asks for; returns the exit status."""
    parser = build_parser(paper)
    args = parser.parse_args()
    if args.at_most is not None and not args.from_scratch:
        parser.error("--at-most goes with --from-scratch")
    if isinstance(args.from_scratch, Path) and not args.from_scratch.is_dir():
        parser.error(f"--from-scratch: there is no folder {args.from_scratch} of datasets")
    labels = args.output if args.from_scratch and not args.list else args.labels
    if labels is not None:
        own = paper.test.parent
        args.training = [
            labels / path.name if path.parent == own else path for path in args.training
        ]
        args.test = labels / args.test.name
    others = [(labels or path.parent) / path.name for path in paper.others]
    if not args.list:
        if not args.from_scratch:
            check_labels(paper, [*args.training, args.test, *others])
        args.output.mkdir(parents=True, exist_ok=True)
        if args.from_scratch:
            label_lists(paper, args)
        else:
            for path in others:
                shutil.copy(path, args.output)
        paper.crystals(args.output)
        if args.from_scratch and paper.learn is not None:
            paper.learn(args.from_scratch, args.output, args.at_most)
    args.training, args.test = [path.resolve() for path in args.training], args.test.resolve()
    training = [atoms for path in args.training if path.is_file() for atoms in mmtp.read(path)]
    stages = paper.stages(args, len(training))
    unknown = set(args.only or ()) - set(stages)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))} among {', '.join(stages)}")
    stages = {name: stages[name] for name in args.only or stages}
    if args.list:
        for name, stage in stages.items():
            print(f"{name}: {stage.title}", *(f"  mmtp {c}" for c in stage.commands), sep="\n")
        return 0
    for part, places in parts(len(training)).items():
        mmtp.write(args.output / f"curve_{part}.extxyz", [training[k] for k in places])
    potential = args.potential
    if args.refit or args.from_scratch:
        potential = str(args.output / f"{paper.potential}.mtp")
        report = str(args.output / "fit.json")
        status = run_mmtp(
            ["fit", *map(str, args.training), *paper.fit.format(**vars(args)).split(),
             "-o", potential, "--report", report]
        )  # fmt: skip
        if status:
            return status
    return run_stages(stages, args.output, potential)


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
    if paper.datasets:
        source.add_argument(
            "--from-scratch", type=Path, metavar="DATASETS",
            help="label first, with ABINIT and the datasets of this folder, then fit",
        )  # fmt: skip
    else:
        source.add_argument(
            "--from-scratch", action="store_true", help="label first, with ABINIT, then fit"
        )
    parser.add_argument(
        "--at-most",
        type=number(int, POSITIVE),
        metavar="N",
        help="labels of each list and round of learning, to try --from-scratch",
    )
    parser.add_argument("--labels", type=Path, metavar="FOLDER", help="of all files of labels")
    parser.add_argument(
        "--training", type=Path, nargs="+", default=paper.training, help="labels that are fitted"
    )
    parser.add_argument("--test", type=Path, default=paper.test, help="labels that are not")
    for name, (default, text) in paper.numbers.items():
        parser.add_argument(
            f"--{name}",
            type=number(int, POSITIVE),
            default=default,
            help=f"{text} (default {default})",
        )
    parser.add_argument("--only", nargs="+", metavar="STAGE", help="some of the stages")
    parser.add_argument("--list", action="store_true", help="print the commands and stop")
    return parser


def label_lists(paper: Paper, args: argparse.Namespace) -> None:
    """Label the configurations of the shipped lists into the folder of the results, or go on."""
    script = Path(__file__).parents[2] / paper.maker
    for path in (*paper.training, paper.test, *paper.others):
        if path.parent != paper.test.parent or path == paper.learned:
            continue
        ids = [atoms.info["config_id"] for atoms in mmtp.read(path)][: args.at_most]
        words = ["--list", path.stem, "--number", max(ids) + 1, "--ids", *ids]
        words += ["--jobs", args.output / "jobs" / path.stem, "-o", args.output / path.name]
        if paper.datasets:
            words += ["--datasets", args.from_scratch]
        if subprocess.run([sys.executable, script, *map(str, words)], check=False).returncode:
            raise SystemExit(f"{path.name} was not labelled; the same command goes on")


def check_labels(paper: Paper, paths: Sequence[Path]) -> None:
    """Say who makes what is not there.

    Raises:
        SystemExit: if a file is missing.
    """
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise SystemExit(
            f"no labels in {', '.join(missing)}: {paper.maker} makes them, and --labels FOLDER "
            "says where they are"
        )


def run_stages(stages: Mapping[str, Stage], folder: Path, potential: str) -> int:
    """One after the other; 1 if any has not ended well, or the status of what ended them all."""
    parameters, failed = b"", []
    needed = [name for name, stage in stages.items() if "{pot}" in " ".join(stage.commands)]
    if needed:
        if not file_of(potential).is_file():
            raise SystemExit(
                f"there is no potential {potential} for {', '.join(needed)}: fit it first with "
                "--refit, or give one with --potential FILE"
            )
        parameters = repr(mmtp.load(potential).flatten().tolist()).encode()
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
    """Run what has not been done with these files; returns the worst exit status, 0 if accepted.

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
    # Of an error there are no files; 1 is a remark, or a result.
    if stage.finish is not None and status < 2:
        try:
            stage.finish(folder)
        except FileNotFoundError as error:
            print(f"{name}: no {error.filename}, which another stage makes")
            status = 2
    print(f"{name}: {time.perf_counter() - start:.0f} s, exit status {status}", flush=True)
    if status > stage.accepts:
        return status
    done.write_text(mark)
    return 0


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
    for path in (folder / name for name in stage.reads):
        found.update(path.read_bytes() if path.is_file() else b"none")
    return found.hexdigest()


def errors_stage(test: Path, paper: Mapping[str, float]) -> Stage:
    """The stage of the potential's errors beside those that a paper has, in `UNITS`."""
    return Stage(
        "errors on configurations that no fit has seen",
        (f"evaluate {{pot}} {test} --report table1.json --plot table1.png -o table1.extxyz",),
        partial(errors_table, paper=paper),
    )


def curve_stage(
    n: int, fit: str, test: Path, paper: Mapping[str, float], name: str = "curve"
) -> Stage:
    """Fits, with these options, to the `parts` of n labels; files are called so."""
    return Stage(
        "errors of the test set against the number of labels that are fitted",
        tuple(
            f"fit curve_{part}.extxyz {fit} --validation {test} -o {name}_{part}.mtp "
            f"--report {name}_{part}.json"
            for part in parts(n)
        ),
        partial(learning_curve, paper=paper, n=n, name=name),
    )


def parts(n: int) -> dict[str, np.ndarray]:
    """Places of the configurations of each training set of the learning curve, by name."""
    found = {}
    for fraction in FRACTIONS:
        size = max(4, round(fraction * n))
        for k in range(PARTS):
            found[f"{size}_{k}"] = np.random.default_rng(k).permutation(n)[:size]
    return found | {f"{n}_0": np.arange(n)}


def errors_table(folder: Path, paper: Mapping[str, float]) -> None:
    """RMSE of the test set beside those of the paper."""
    found = json.loads((folder / "table1.json").read_text())["errors"]
    rows = [["quantity", "ours, test set", "paper, training set"]]
    rows += [[k, float(found[k]["rmse"]), paper.get(k, "")] for k in UNITS]
    write_table(folder / "table1.csv", rows)


def curve_errors(
    folder: Path, kinds: Iterable[str], n: int, name: str = "curve"
) -> tuple[list[int], dict[str, list[list[float]]]]:
    """Sizes of the training sets of a `curve_stage`, and by kind the RMSE of those of each."""
    found = defaultdict(list)
    for part, places in parts(n).items():
        report = json.loads((folder / f"{name}_{part}.json").read_text())
        found[len(places)].append(report["errors"]["validation"])
    sizes = sorted(found)
    rmse = {
        kind: [[float(errors[kind]["rmse"]) for errors in found[size]] for size in sizes]
        for kind in kinds
    }
    return sizes, rmse


def learning_curve(folder: Path, paper: Mapping[str, float], n: int, name: str = "curve") -> None:
    """Mean and deviation over the `parts` of each size of n labels, and a figure."""
    sizes, rmse = curve_errors(folder, UNITS, n, name)
    rows = [["labels", "sets", *(f"{k} ({UNITS[k]})" for k in rmse), *(f"{k}, +-" for k in rmse)]]
    for place, size in enumerate(sizes):
        values = [of[place] for of in rmse.values()]
        rows.append([size, len(values[0]), *map(np.mean, values), *map(np.std, values)])
    write_table(folder / f"{name}.csv", rows)

    figure, axes = subplots(1, len(rmse), figsize=(11, 2.8), layout="constrained")
    for axis, (kind, of) in zip(axes, rmse.items(), strict=True):
        draw_curve(axis, sizes, of, "test set")
        if kind in paper:
            axis.axhline(paper[kind], color="0.5", ls="--", label="paper, its training set")
        style_curve(axis, sizes, kind)
    axes[0].legend(frameon=False, fontsize=7)
    save(figure, folder / name)


def draw_curve(
    axis: Axes,
    sizes: Sequence[int],
    errors: Sequence[Sequence[float]],
    label: str,
    color: str = "C0",
) -> None:
    """Points of the errors of each size, and a line through their means."""
    for size, values in zip(sizes, errors, strict=True):
        axis.plot([size] * len(values), values, "o", color=color, ms=4)
    axis.plot(sizes, [np.mean(values) for values in errors], color=color, label=label)


def style_curve(axis: Axes, sizes: Sequence[int], kind: str) -> None:
    """Axes of errors of a kind against numbers of labels."""
    axis.set(xscale="log", xlabel="labels fitted")
    axis.set_xticks(sizes, labels=sizes)
    axis.xaxis.set_minor_formatter("")
    style_errors(axis, kind)


def style_errors(axis: Axes, kind: str) -> None:
    """A vertical axis of errors of a kind."""
    from matplotlib.ticker import LogLocator

    axis.set(yscale="log", ylabel=f"{kind.replace('_', ' ')} ({in_figures(UNITS[kind])})")
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter("")


def in_figures(unit: str) -> str:
    """A unit as figures have it."""
    return unit.replace("mu_B", MU_B).replace("Angstrom", "Å").replace("+-", "±")


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
