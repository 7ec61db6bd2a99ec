"""``mmtp grade``: extrapolation grades of configurations."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

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
from mmtp_jax.io.names import ATOM_GRADES, GRADE
from mmtp_jax.options import options

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms

    from mmtp_jax.active.active_set import ActiveSet

THRESHOLDS = (2.0, 10.0)
"""Grades from which a configuration is worth a label, and a simulation should stop."""

# Grades of the training set are at most 1 but for the tolerance of the exchanges.
_EDGES = (0.0, 0.5, 1.001, 2.0, 5.0, 10.0, 100.0, float("inf"))
_BAR = 40

_EPILOG = f"""\
examples:
  mmtp grade pot.mtp train.cfg md.cfg -o graded.cfg --plot grades.png
  mmtp grade pot.mtp train.cfg --save-active-set active.npz
  mmtp grade pot.mtp --active-set active.npz md.cfg -o graded.cfg
  mmtp grade pot.mtp md.cfg                        # by pot.active.npz, which mmtp fit writes
  mmtp grade pot.mtp --train a.cfg b.cfg -- md.cfg relax.cfg

A grade of at most 1 is interpolation. Kotykhov et al. (2025) keep configurations above 2 as
candidates, and stop simulations above 10. The grade is written as {GRADE}; with --mode
neighborhood those of the atoms are written as {ATOM_GRADES}.
"""


@options
class GradeSettings(SetSettings):
    """What is graded, by what, and what is written."""

    output: str | None = output("Them with grades, .cfg or .extxyz.", "graded.cfg")
    plot: str | None = file("Histogram (.png, .pdf or .svg).", "grades.png")
    json: str | None = file("Grades and histogram as JSON.", "grades.json")


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
    declare(parser, GradeSettings)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    settings, _ = collect(args)
    console.check_outputs(
        settings.save_active_set,
        settings.json,
        plots=(settings.plot,),
        configurations=(settings.output,),
    )
    _, data = split_data(settings)
    for path in (settings.output, settings.plot, settings.save_active_set, settings.json):
        console.check_distinct(path, inputs_of(settings, args))
    if not data and not settings.save_active_set:
        raise ValueError(no_data(settings, "configurations to grade"))
    if not data and (settings.output or settings.plot or settings.json):
        raise ValueError("there are no configurations to grade, so there is nothing to write")

    import numpy as np

    import mmtp_jax as mmtp

    potential = console.load_fitted(settings.potential, settings.species)
    atoms_list = read_settled(settings, data, potential) if data else []
    active = active_set(settings, potential)
    print(active)
    if settings.save_active_set:
        console.say_kept(settings.save_active_set)
        active.save(settings.save_active_set)
        print(f"wrote {settings.save_active_set}")
    if not data:
        return
    graded, grades = with_grades(active, atoms_list)
    print()
    print(histogram(grades))
    print()
    if settings.output is not None:
        console.say_kept(settings.output)
        vectors = settings.vectors or None
        mmtp.write(settings.output, graded, species=potential.species, vectors=vectors)
        print(f"wrote {settings.output}")
    if settings.json is not None:
        counts = [
            {"above": low, "up_to": high, "configurations": n}
            for (low, high), n in zip(pairwise(_EDGES), counts_of(grades), strict=True)
        ]
        content = {"smallest": grades.min(), "median": np.median(grades), "largest": grades.max()}
        console.write_json(
            settings.json,
            {
                **head(settings, active),
                **{name: float(value) for name, value in content.items()},
                "histogram": counts,
                "configurations": named_grades(atoms_list, grades),
            },
        )
        print(f"wrote {settings.json}")
    if settings.plot is not None:
        from mmtp_jax import plot
        from mmtp_jax.plot.style import save_figure

        save_figure(settings.plot, plot.grades(grades, THRESHOLDS))
        print(f"wrote {settings.plot}")


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


def counts_of(grades: np.ndarray) -> list[int]:
    """Numbers of configurations between the edges of the histogram."""
    import numpy as np

    return [
        int(np.sum((low < grades) & (grades <= high)))
        for low, high in zip((-1.0, *_EDGES[1:-1]), _EDGES[1:], strict=True)
    ]


def histogram(grades: np.ndarray) -> str:
    """Numbers of configurations by grade, and the extreme and typical grades."""
    import numpy as np

    counts = counts_of(grades)
    labels = [
        f"{low:.3g} to {high:.3g}" if np.isfinite(high) else f"above {low:.3g}"
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
