"""``mmtp expansion``: thermal expansion and heat capacity of runs at constant pressure."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from mmtp_jax.cli.command_line import collect, declare, inputs_of
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.property_output import PropertyFiles
from mmtp_jax.cli.shared_settings import prefix
from mmtp_jax.options import PRESSURE_GPA, Bounds, option, options

_EPILOG = """\
example:
  mmtp expansion npt300.csv npt600.csv npt900.csv -o expansion

Of logs that `mmtp md --log` has written of runs at constant pressure. Replicas of one log are runs
by themselves. Files: PREFIX.csv, PREFIX.json, and the figure PREFIX.pdf and PREFIX.png.
"""


@options
class ExpansionSettings:
    """Logs of runs at constant pressure."""

    logs: tuple[str, ...] = option(
        "Logs of mmtp md, .csv.",
        (), example=("npt300.csv", "npt600.csv"), required=True, positional="logs", metavar="LOG",
    )  # fmt: skip
    pressure_GPa: float = option("Of the runs.", 0.0, bounds=PRESSURE_GPA, metavar="GPA")
    skip: float = option("Share at the start.", 0.2, bounds=Bounds(least=0.0, below=1.0))
    degree: int = option("Of the polynomials in temperature.", 2, bounds=Bounds(least=1, most=20))
    output: str = prefix("expansion")


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
    declare(parser, ExpansionSettings)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    settings, _ = collect(args)
    files = PropertyFiles(settings.output, ("",), inputs_of(settings, args))

    import mmtp_jax as mmtp
    from mmtp_jax import plot

    found = mmtp.thermal_expansion(
        list(settings.logs),
        pressure_GPa=settings.pressure_GPa,
        skip=settings.skip,
        degree=settings.degree,
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
            "logs": list(settings.logs),
            "degree": found.degree,
            "temperatures_K": found.temperatures.tolist(),
            **{name: getattr(found, name).tolist() for name in names},
            "runs": [dataclasses.asdict(run) for run in found.runs],
        }
    )
    files.figure(plot.expansion(found))
    print(files)
