"""``mmtp expansion``: thermal expansion and heat capacity of runs at constant pressure."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from mmtp_jax.cli.command_line import number
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.property_output import PropertyFiles
from mmtp_jax.options import PRESSURE_GPA, Bounds

_EPILOG = """\
example:
  mmtp expansion npt300.csv npt600.csv npt900.csv -o expansion

Of logs that `mmtp md --log` has written of runs at constant pressure. Replicas of one log are runs
by themselves. Files: PREFIX.csv, PREFIX.json, and the figure PREFIX.pdf and PREFIX.png.
"""


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "expansion",
        help="thermal expansion and heat capacity from dynamics",
        description="Thermal expansion and heat capacity from molecular dynamics at constant "
        "pressure and several temperatures.",
        epilog=_EPILOG,
    )
    parser.add_argument("logs", metavar="LOG", nargs="+", help="logs of mmtp md, .csv")
    parser.add_argument(
        "--pressure",
        type=number(float, PRESSURE_GPA),
        default=0.0,
        metavar="GPA",
        help="of the runs (default 0)",
    )
    parser.add_argument(
        "--skip",
        type=number(float, Bounds(least=0.0, below=1.0)),
        default=0.2,
        metavar="X",
        help="share at the start (default 0.2)",
    )
    parser.add_argument(
        "--degree",
        type=number(int, Bounds(least=1, most=20)),
        default=2,
        help="of the polynomials in temperature (default 2)",
    )
    parser.add_argument(
        "-o", "--output", default="expansion", metavar="PREFIX",
        help="of the files (default expansion)",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    files = PropertyFiles(args.output, ("",), args.logs)

    import mmtp_jax as mmtp
    from mmtp_jax.cli.vibration_plots import expansion_figure

    found = mmtp.thermal_expansion(
        args.logs, pressure_GPa=args.pressure, skip=args.skip, degree=args.degree
    )
    print(found)
    names = ("volume", "volume_error", "expansion", "expansion_error", "heat_capacity",
             "heat_capacity_error")  # fmt: skip
    units = ("Angstrom^3/atom",) * 2 + ("1/K",) * 2 + ("k_B/atom",) * 2
    files.table(
        "",
        ["temperature (K)", *(f"{n} ({u})" for n, u in zip(names, units, strict=True)),
         "heat capacity of fluctuations (k_B/atom)"],
        zip(
            found.temperatures, *(getattr(found, name) for name in names),
            [run.fluctuation_heat_capacity for run in found.runs], strict=True,
        ),
    )  # fmt: skip
    files.json(
        {
            "logs": args.logs,
            "degree": found.degree,
            "temperatures_K": found.temperatures.tolist(),
            **{name: getattr(found, name).tolist() for name in names},
            "runs": [dataclasses.asdict(run) for run in found.runs],
        }
    )
    files.figure(expansion_figure(found))
    print(files)
