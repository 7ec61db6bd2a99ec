"""``mmtp dos``: vibrational density of states of a trajectory."""

from __future__ import annotations

import argparse
from typing import Any

from mmtp_jax.cli import console
from mmtp_jax.cli.command_line import number
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.property_output import PropertyFiles
from mmtp_jax.options import POSITIVE, Bounds

_EPILOG = """\
examples:
  mmtp dos run.extxyz -o fe300
  mmtp dos run.0.extxyz run.1.extxyz --resolution 0.2 --max 12 -o fe300

The velocities of the frames that `mmtp md -o` writes are correlated and transformed
(Burov 2026, Figs. 4 and 5); several files are averaged. Keep a frame every 10 to 20 fs, and
simulate with nve or with the bussi thermostat: the Langevin one broadens lines. Files: PREFIX.csv,
PREFIX.json, and the figure PREFIX.pdf and PREFIX.png.
"""


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
    parser.add_argument(
        "trajectories", metavar="TRAJECTORY", nargs="+", help="frames with velocities, .extxyz"
    )
    parser.add_argument(
        "--interval",
        type=number(float, POSITIVE),
        metavar="FS",
        help="between frames (default: what they say)",
    )
    parser.add_argument(
        "--skip",
        type=number(float, Bounds(least=0.0, below=1.0)),
        default=0.1,
        metavar="X",
        help="share at the start (default 0.1)",
    )
    parser.add_argument(
        "--resolution",
        type=number(float, POSITIVE),
        default=0.3,
        metavar="THZ",
        help="width of a line (default 0.3)",
    )
    parser.add_argument(
        "--max", type=number(float, POSITIVE), metavar="THZ", help="highest frequency that is shown"
    )
    parser.add_argument(
        "-o", "--output", default="dos", metavar="PREFIX", help="of the files (default dos)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    files = PropertyFiles(args.output, ("",), args.trajectories)

    import mmtp_jax as mmtp
    from mmtp_jax.cli.vibration_plots import dos_figure

    runs = [console.read_data(path, None) for path in args.trajectories]
    found = mmtp.vibrational_dos(
        runs, interval_fs=args.interval, skip=args.skip, resolution_THz=args.resolution,
        max_THz=args.max,
    )  # fmt: skip
    print(
        f"{found.n_frames} frames of {found.n_atoms} atoms at {found.temperature:.1f} K, highest "
        f"maximum at {found.peak:.3g} THz"
    )
    files.table(
        "",
        ["frequency (THz)", "energy (meV)", "total (1/THz)",
         *(f"{symbol} (1/THz)" for symbol in found.species)],
        zip(found.frequencies, found.energies, found.total, *found.species.values(), strict=True),
    )  # fmt: skip
    files.json(
        {
            "trajectories": args.trajectories,
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
    files.figure(dos_figure(found))
    print(files)
