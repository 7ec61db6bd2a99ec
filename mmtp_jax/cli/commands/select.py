"""``mmtp select``: which candidates to label next."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import console
from mmtp_jax.cli.command_line import number
from mmtp_jax.cli.commands.evaluate import add_moments_option, add_reading_options
from mmtp_jax.cli.commands.grade import (
    active_set,
    add_set_options,
    read_settled,
    split_data,
    with_grade,
)
from mmtp_jax.cli.console import add_command
from mmtp_jax.structures.rules import RULES

if TYPE_CHECKING:
    from mmtp_jax.active.select import Selection

_EPILOG = """\
examples:
  mmtp select pot.mtp train.cfg candidates.cfg -o selected.cfg
  mmtp select pot.mtp train.cfg run1.cfg run2.cfg -o selected.cfg --limit 20
  mmtp select pot.mtp --active-set active.npz candidates.cfg -o selected.cfg

Selected are the candidates that maxvol takes into the active set of the training set, in the
order in which it takes them. Each is written with the grade that it had then, as MV_grade.
"""


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "select",
        help="candidates that are worth a label",
        description="Select the candidates that extend the training set of a potential most "
        "(maxvol), to be labelled by DFT.",
        epilog=_EPILOG,
    )
    add_set_options(parser, "candidates")
    parser.add_argument(
        "-o", "--output", metavar="FILE", required=True, help="selected ones, .cfg or .extxyz"
    )
    parser.add_argument("--limit", type=number(int), metavar="N", help="select at most N")
    parser.add_argument(
        "--making", choices=RULES, default="refuse",
        help="training labels of different making: refuse them (default), or go on; grades do not "
        "depend on energies",
    )  # fmt: skip
    add_reading_options(parser)
    add_moments_option(parser, "error")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    console.check_outputs(args.save_active_set, configurations=(args.output,))
    _, data = split_data(args)
    for path in (args.output, args.save_active_set):
        console.check_distinct(path, [args.potential, *args.data])
    if not data:
        raise ValueError("there are no candidates; give files with them after the training set")

    import mmtp_jax as mmtp

    potential = mmtp.load(args.potential, species=console.check_species(args.species))
    candidates = read_settled(args, data, potential)
    active = active_set(args, potential)
    print(active)
    selection = mmtp.Selection.of(active, candidates, args.limit)
    print(summary(selection))
    print()
    if len(selection.indices):
        selected = [
            with_grade(candidates[k], grade)
            for k, grade in zip(selection.indices, selection.grades, strict=True)
        ]
        console.say_kept(args.output)
        mmtp.write(args.output, selected, species=potential.species)
        print(f"wrote {args.output}")
    else:
        print(f"nothing to label, so {args.output} is not written")
    if args.save_active_set:
        console.say_kept(args.save_active_set)
        selection.active.save(args.save_active_set)
        print(f"wrote {args.save_active_set}")


def summary(selection: Selection) -> str:
    """How many candidates there were and what became of them."""
    grades, taken = selection.candidate_grades, selection.grades
    lines = [
        f"{len(grades)} candidates, {len(selection.duplicates)} of them duplicates",
        f"  grades before: smallest {grades.min():.4g}, largest {grades.max():.4g}, "
        f"{int((grades > 1.0 + selection.active.tolerance).sum())} above 1",
        f"{len(taken)} selected",
    ]
    if len(taken):
        lines.append(
            f"  grades when taken: first {taken[0]:.4g}, smallest {taken.min():.4g}, "
            f"last {taken[-1]:.4g}"
        )
    return "\n".join(lines)
