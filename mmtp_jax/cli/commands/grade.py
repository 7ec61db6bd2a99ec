"""``mmtp grade``: extrapolation grades of configurations."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import console
from mmtp_jax.cli.commands.evaluate import add_moments_option, add_reading_options
from mmtp_jax.cli.console import add_command
from mmtp_jax.io.names import ATOM_GRADES, GRADE

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms

    from mmtp_jax.active.active_set import ActiveSet
    from mmtp_jax.potential.potential import Potential

THRESHOLDS = (2.0, 10.0)
"""Grades from which a configuration is worth a label, and a simulation should stop."""

_EDGES = (0.0, 0.5, 1.001, 2.0, 5.0, 10.0, 100.0, float("inf"))
_BAR = 40

_EPILOG = f"""\
examples:
  mmtp grade pot.mtp train.cfg md.cfg -o graded.cfg --plot grades.png
  mmtp grade pot.mtp train.cfg --save-active-set active.npz
  mmtp grade pot.mtp --active-set active.npz md.cfg -o graded.cfg

A grade of at most 1 is interpolation. Kotykhov et al. (2025) keep configurations above 2 as
candidates, and stop simulations above 10. The grade is written as {GRADE}; with --mode
neighborhood those of the atoms are written as {ATOM_GRADES}.
"""


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "grade",
        help="extrapolation grades of configurations",
        description="Grade configurations by how far they are from the training set of a "
        "potential.",
        epilog=_EPILOG,
    )
    add_set_options(parser, "configurations to grade")
    parser.add_argument("-o", "--output", metavar="FILE", help="them with grades, .cfg or .extxyz")
    parser.add_argument("--plot", metavar="FILE", help="histogram (.png, .pdf or .svg)")
    add_reading_options(parser)
    add_moments_option(parser, "error")
    parser.set_defaults(run=run)


def add_set_options(parser: argparse.ArgumentParser, what: str) -> None:
    """Arguments that give a potential, an active set, and the configurations to look at."""
    parser.add_argument("potential", metavar="POTENTIAL", help="potential, .mtp")
    parser.add_argument(
        "data",
        metavar="DATA",
        nargs="+",
        help=f"the training set (not with --active-set), then {what}",
    )
    parser.add_argument("--active-set", metavar="NPZ", help="use this one; no training set then")
    parser.add_argument("--save-active-set", metavar="NPZ", help="write the active set")
    parser.add_argument(
        "--mode",
        choices=("configuration", "neighborhood"),
        help="what one row of the active set stands for (default configuration)",
    )
    parser.add_argument(
        "--missing-scale",
        type=float,
        metavar="X",
        help="size of the rows for directions that the training set lacks, relative to it; "
        "smaller is stricter",
    )


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    console.check_outputs(args.save_active_set, plots=(args.plot,), configurations=(args.output,))
    _, data = split_data(args)
    for path in (args.output, args.plot, args.save_active_set):
        console.check_distinct(path, [args.potential, *args.data])
    if not data and not args.save_active_set:
        raise ValueError(
            "there are no configurations to grade; give files after the training set, or "
            "--save-active-set FILE"
        )
    if not data and (args.output or args.plot):
        raise ValueError("there are no configurations to grade, so there is nothing to write")

    import mmtp_jax as mmtp

    potential = mmtp.load(args.potential, species=console.check_species(args.species))
    atoms_list = read_settled(args, data, potential) if data else []
    active = active_set(args, potential)
    print(active)
    if args.save_active_set:
        console.say_kept(args.save_active_set)
        active.save(args.save_active_set)
        print(f"wrote {args.save_active_set}")
    if not data:
        return
    graded, grades = with_grades(active, atoms_list)
    print()
    print(histogram(grades))
    print()
    if args.output is not None:
        console.say_kept(args.output)
        mmtp.write(args.output, graded, species=potential.species)
        print(f"wrote {args.output}")
    if args.plot is not None:
        from mmtp_jax.cli.active_plots import grade_figure
        from mmtp_jax.cli.plot_style import save_figure

        save_figure(args.plot, grade_figure(grades, THRESHOLDS))
        print(f"wrote {args.plot}")


def read_settled(
    args: argparse.Namespace, files: Sequence[str], potential: Potential
) -> list[Atoms]:
    """Configurations of files, all with moments, or without those that have none."""
    from mmtp_jax.io.missing_moments import with_moments

    atoms_list = console.read_data(files, potential.species, args.magnetic_gradient, args.key)
    if potential.magnetic_size == 1:
        return atoms_list
    return with_moments(atoms_list, args.missing_moments or "error")


def split_data(args: argparse.Namespace) -> tuple[list[str], list[str]]:
    """The files of the training set, and those to look at.

    Raises:
        ValueError: if options contradict.
    """
    if args.active_set is not None:
        for name in ("mode", "missing_scale"):
            if getattr(args, name) is not None:
                option = "--" + name.replace("_", "-")
                raise ValueError(f"{option} was chosen when {args.active_set} was made; omit it")
        return [], args.data
    return args.data[:1], args.data[1:]


def active_set(args: argparse.Namespace, potential: Potential) -> ActiveSet:
    """The active set of a file, or of the training set, whose labels are compared."""
    import mmtp_jax as mmtp
    from mmtp_jax.io.convert import to_structures
    from mmtp_jax.structures.making import makings_of

    if args.active_set is not None:
        return mmtp.ActiveSet.load(args.active_set, potential)
    training, _ = split_data(args)
    atoms_list = read_settled(args, training, potential)
    makings = makings_of(to_structures(atoms_list, potential.species), potential.species)
    if hasattr(args, "making"):
        makings.check(args.making)
    for difference in (*makings.differences, *makings.mesh_differences):
        console.warn(f"labels of different making: {difference}")
    options = {"mode": args.mode, "missing_scale": args.missing_scale}
    return mmtp.ActiveSet.from_configurations(
        potential, atoms_list, **{k: v for k, v in options.items() if v is not None}
    )


def with_grades(active: ActiveSet, atoms_list: Sequence[Atoms]) -> tuple[list[Atoms], np.ndarray]:
    """Copies that carry their grade, and the grades (n,)."""
    import numpy as np

    if active.mode == "neighborhood":
        by_atom = active.atom_grades(atoms_list)
        grades = np.array([of.max() for of in by_atom])
    else:
        by_atom, grades = [None] * len(atoms_list), active.grade(atoms_list)
    copies = [with_grade(atoms, grade) for atoms, grade in zip(atoms_list, grades, strict=True)]
    for copy, of in zip(copies, by_atom, strict=True):
        # Those of an earlier run must not stay beside the new ones.
        copy.arrays.pop(ATOM_GRADES, None)
        if of is not None:
            copy.set_array(ATOM_GRADES, of)
    return copies, grades


def with_grade(atoms: Atoms, grade: float) -> Atoms:
    """A copy with its labels and a grade."""
    copy = atoms.copy()
    copy.calc = atoms.calc
    copy.info[GRADE] = float(grade)
    return copy


def histogram(grades: np.ndarray) -> str:
    """Numbers of configurations by grade, and the extreme and typical grades."""
    import numpy as np

    counts = [
        int(np.sum((low < grades) & (grades <= high)))
        for low, high in zip((-1.0, *_EDGES[1:-1]), _EDGES[1:], strict=True)
    ]
    labels = [
        f"{low:g} to {high:g}" if np.isfinite(high) else f"above {low:g}"
        for low, high in pairwise(_EDGES)
    ]
    lines = [f"{'grade':<14}{'configurations':>14}"]
    for label, count in zip(labels, counts, strict=True):
        bar = "#" * -(-_BAR * count // max(len(grades), 1))
        lines.append(f"{label:<14}{count:>14}  {bar}".rstrip())
    lines.append(
        f"smallest {grades.min():.4g}, median {np.median(grades):.4g}, largest {grades.max():.4g}"
    )
    return "\n".join(lines)
