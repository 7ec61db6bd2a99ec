"""``mmtp plot``: parity of a potential on data, the log of dynamics, or the loss of a fit."""

from __future__ import annotations

import argparse
from typing import Any

from mmtp_jax.cli import console
from mmtp_jax.cli.command_line import add_options, given_by
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.shared_settings import LabelReading, missing_moments
from mmtp_jax.options import options

_EPILOG = """\
examples:
  mmtp plot pot.mtp train.cfg --validation test.cfg -o parity.png
  mmtp plot thermo.csv -o thermo.png
  mmtp plot --history loss.csv -o loss.png
"""


@options
class Reading(LabelReading):
    """How labelled configurations are read."""

    missing_moments: str | None = missing_moments(None)


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "plot",
        help="parity plot of a potential, log of dynamics, loss of a fit",
        description="Plot predictions over labels, what mmtp md --log wrote over time, or the loss "
        "history of a fit.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "potential", metavar="POTENTIAL|CSV", nargs="?",
        help="potential, .mtp; or alone, what `mmtp md --log CSV` wrote",
    )  # fmt: skip
    parser.add_argument("data", metavar="DATA", nargs="*", help="labelled configurations")
    parser.add_argument("--validation", metavar="FILE", help="more of them, in another colour")
    parser.add_argument("--history", metavar="CSV", help="what `mmtp fit --history CSV` wrote")
    parser.add_argument(
        "-o", "--output", metavar="FILE",
        help="figure, .png, .pdf or .svg (default parity.png, thermo.png or loss.png)",
    )  # fmt: skip
    add_options(parser, Reading)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    given = args.potential is not None
    thermo = given and args.potential.endswith(".csv") and not args.data
    parity = given and not thermo
    if given == (args.history is not None) or (parity and not args.data):
        raise ValueError("give a potential and data, a .csv of mmtp md, or --history and a file")
    output = args.output or ("parity.png" if parity else "thermo.png" if thermo else "loss.png")
    console.check_outputs(plots=(output,))
    inputs = [args.history, args.potential, args.validation, *args.data]
    console.check_distinct(output, [path for path in inputs if path is not None])

    from mmtp_jax import plot
    from mmtp_jax.plot.style import save_figure

    if parity:
        figure = plot.parity_of(_sets(args))
    elif thermo:
        figure = plot.dynamics(args.potential)
    else:
        figure = plot.loss(args.history)
    save_figure(output, figure)
    print(f"wrote {output}")


def _sets(args: argparse.Namespace) -> dict[str, Any]:
    from mmtp_jax.cli.comparison import evaluated, settled

    reading = given_by(args, Reading)
    potential = console.load_fitted(args.potential, console.check_species(reading.species))
    # With one set there is nothing to tell apart, and its name would say less than its file's.
    files = {"training" if args.validation else "all data": args.data}
    if args.validation:
        files["validation"] = args.validation
    return {
        name: evaluated(
            potential,
            {
                name: settled(
                    console.read_data(paths, potential.species, reading),
                    reading.missing_moments,
                    potential.non_magnetic,
                )
            },
        ).whole[0]
        for name, paths in files.items()
    }
