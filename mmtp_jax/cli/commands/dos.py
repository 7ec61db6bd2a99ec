"""``mmtp dos``: vibrational density of states of a trajectory."""

from __future__ import annotations

import argparse
from typing import Any

from mmtp_jax.cli import console
from mmtp_jax.cli.command_line import collect, declare, inputs_of
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.property_output import PropertyFiles
from mmtp_jax.cli.shared_settings import prefix
from mmtp_jax.options import POSITIVE, Bounds, option, options

_EPILOG = """\
examples:
  mmtp dos run.extxyz -o fe300
  mmtp dos run.0.extxyz run.1.extxyz --resolution 0.2 --max 12 -o fe300

The velocities of the frames that `mmtp md -o` writes are correlated and transformed
(Burov 2026, Figs. 4 and 5); several files are averaged. Keep a frame every 10 to 20 fs, and
simulate with nve or with the bussi thermostat: the Langevin one broadens lines. Files: PREFIX.csv,
PREFIX.json, and the figure PREFIX.pdf and PREFIX.png.
"""


@options
class DosSettings:
    """Trajectories, and how their velocities are transformed."""

    trajectories: tuple[str, ...] = option(
        "Frames with velocities, .extxyz.",
        (), example=("run.extxyz",), required=True, positional="a trajectory",
        metavar="TRAJECTORY",
    )  # fmt: skip
    interval_fs: float | None = option(
        "Between frames; what they say if not given.", example=10.0, bounds=POSITIVE, metavar="FS"
    )
    skip: float = option("Share at the start.", 0.1, bounds=Bounds(least=0.0, below=1.0))
    resolution_THz: float = option("Width of a line.", 0.3, bounds=POSITIVE, metavar="THZ")
    max_THz: float | None = option(
        "Highest frequency that is shown.", example=12.0, bounds=POSITIVE, metavar="THZ"
    )
    output: str = prefix("dos")


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "dos",
        help="vibrational density of states of a trajectory",
        description="Vibrational density of states, total and by species, from the velocity "
        "autocorrelation of molecular dynamics.",
        epilog=_EPILOG,
    )
    declare(parser, DosSettings)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    settings, _ = collect(args)
    files = PropertyFiles(settings.output, ("",), inputs_of(settings, args))

    import mmtp_jax as mmtp
    from mmtp_jax import plot

    runs = [console.read_data(path, None) for path in settings.trajectories]
    found = mmtp.vibrational_dos(
        runs, interval_fs=settings.interval_fs, skip=settings.skip,
        resolution_THz=settings.resolution_THz, max_THz=settings.max_THz,
    )  # fmt: skip
    print(
        f"{found.n_frames} of {sum(map(len, runs))} frames (without the first "
        f"{100 * settings.skip:g} % of each trajectory: --skip) of {found.n_atoms} atoms at "
        f"{found.temperature:.1f} K, highest maximum at {found.peak:.3g} THz; the integral is 3, "
        "per atom"
    )
    files.table(
        "",
        ["frequency (THz)", "energy (meV)", "total (1/THz/atom)",
         *(f"{symbol} (1/THz/atom)" for symbol in found.species)],
        zip(found.frequencies, found.energies, found.total, *found.species.values(), strict=True),
    )  # fmt: skip
    files.json(
        {
            "trajectories": list(settings.trajectories),
            "frames": found.n_frames,
            "atoms": found.n_atoms,
            "temperature_K": found.temperature,
            "resolution_THz": found.resolution_THz,
            "peak_THz": found.peak,
            "frequencies_THz": found.frequencies.tolist(),
            "total_per_THz": found.total.tolist(),
            "species_per_THz": {s: part.tolist() for s, part in found.species.items()},
        }
    )
    files.figure(plot.dos(found))
    print(files)
