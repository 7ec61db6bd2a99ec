"""``mmtp select``: which candidates to label next."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from mmtp_jax.active.options import Choice
from mmtp_jax.cli import console
from mmtp_jax.cli.active_sets import (
    SetSettings,
    active_set,
    head,
    named_grades,
    no_data,
    read_settled,
    split_data,
    with_grade,
)
from mmtp_jax.cli.command_line import collect, declare, inputs_of
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.shared_settings import file, output
from mmtp_jax.options import like, option, options
from mmtp_jax.structures.rules import RULES

if TYPE_CHECKING:
    from mmtp_jax.active.select import Selection

_EPILOG = """\
examples:
  mmtp select pot.mtp train.cfg candidates.cfg -o selected.cfg
  mmtp select pot.mtp train.cfg run1.cfg run2.cfg -o selected.cfg --limit 20
  mmtp select pot.mtp --active-set active.npz candidates.cfg -o selected.cfg
  mmtp select pot.mtp candidates.cfg -o selected.cfg        # by pot.active.npz of mmtp fit
  mmtp select pot.mtp --train a.cfg b.cfg -- run1.cfg run2.cfg -o selected.cfg

Selected are the candidates that maxvol takes into the active set of the training set, in the
order in which it takes them. Each is written with the grade that it had then, as MV_grade.
"""


@options
class SelectSettings(SetSettings):
    """What is selected from, by what, and what is written."""

    output: str | None = output("Selected ones, .cfg or .extxyz.", "selected.cfg", needed=True)
    json: str | None = file("Which are selected, and all grades as JSON.", "selected.json")
    limit: int | None = like(Choice, "limit", help="Select at most so many.", example=20)
    making: str = option(
        "Training labels of different making: refuse them, or go on; grades do not depend on "
        "energies.",
        "refuse", choices=RULES,
    )  # fmt: skip


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
    declare(parser, SelectSettings)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    settings, _ = collect(args)
    console.check_outputs(
        settings.save_active_set, settings.json, configurations=(settings.output,)
    )
    _, data = split_data(settings)
    for path in (settings.output, settings.save_active_set, settings.json):
        console.check_distinct(path, inputs_of(settings, args))
    if not data:
        raise ValueError(no_data(settings, "candidates"))

    import mmtp_jax as mmtp

    potential = console.load_fitted(settings.potential, settings.species)
    candidates = read_settled(settings, data, potential)
    active = active_set(settings, potential)
    print(active)
    selection = mmtp.Selection.of(active, candidates, settings.limit)
    print(summary(selection))
    print()
    if len(selection.indices):
        selected = [
            with_grade(candidates[k], grade)
            for k, grade in zip(selection.indices, selection.grades, strict=True)
        ]
        console.say_kept(settings.output)
        vectors = settings.vectors or None
        mmtp.write(settings.output, selected, species=potential.species, vectors=vectors)
        print(f"wrote {settings.output}")
    else:
        print(f"nothing to label, so {settings.output} is not written")
    if settings.json is not None:
        taken = [candidates[k] for k in selection.indices]
        console.write_json(
            settings.json,
            {
                **head(settings, active),
                "n_duplicates": len(selection.duplicates),
                "selected": named_grades(taken, selection.grades),
                "candidates": named_grades(candidates, selection.candidate_grades),
            },
        )
        print(f"wrote {settings.json}")
    if settings.save_active_set:
        console.say_kept(settings.save_active_set)
        selection.active.save(settings.save_active_set)
        print(f"wrote {settings.save_active_set}")


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
