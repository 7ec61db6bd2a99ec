"""``mmtp eos`` and ``mmtp magnetisation``: energy, pressure and moments against volume."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import console
from mmtp_jax.cli.command_line import number
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.property_output import PropertyFiles
from mmtp_jax.options import ANY_SEED, STEPS, TEMPERATURE_K, TIMESTEP_FS, Bounds

if TYPE_CHECKING:
    from mmtp_jax.properties.eos import EquationOfState

_EOS = """\
examples:
  mmtp eos pot.mtp fe.cfg --cell-atoms 2 -o fe
  mmtp eos pot.mtp fe54.cfg --temperature 300 --steps 5000 -o fe300

At 0 K moments are equilibrated and positions relax at each volume, and the Birch-Murnaghan fit is
one to energies. At a temperature, replicas run at fixed volumes, and it is one to mean pressures.
Files: PREFIX.json, PREFIX.csv, PREFIX.pdf and PREFIX.png.
"""

_MAGNETISATION = """\
examples:
  mmtp magnetisation pot.mtp fe.cfg --cell-atoms 2 -o fe
  mmtp magnetisation pot.mtp fepd.cfg --cell-atoms 4 --temperature 300 --range 0.96 1.03 -o fepd

Magnetisation and pressure over the lattice parameter (Burov 2026, Fig. 3). Moments keep their signs
unless --spins lets them flip. Files: PREFIX.json, PREFIX.csv, PREFIX.pdf and PREFIX.png.
"""


def add_parser(commands: Any) -> None:
    """Add both commands to those of ``mmtp``."""
    parser = add_command(
        commands,
        "eos",
        help="equation of state: energy and moments against volume",
        description="Energy, pressure and moments at several volumes, at 0 K or from dynamics, "
        "with a Birch-Murnaghan fit.",
        epilog=_EOS,
    )
    _add_options(parser, "eos")
    parser.set_defaults(run=partial(_run, plot="eos"))
    parser = add_command(
        commands,
        "magnetisation",
        help="magnetisation and pressure against lattice parameter",
        description="Magnetisation and pressure at several lattice parameters, at 0 K or from "
        "dynamics.",
        epilog=_MAGNETISATION,
    )
    _add_options(parser, "magnetisation")
    parser.set_defaults(run=partial(_run, plot="magnetisation"))


def _add_options(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument("potential", metavar="POTENTIAL", help="potential, .mtp")
    parser.add_argument("data", metavar="DATA", help="crystal with moments; the first counts")
    parser.add_argument(
        "--range", nargs=2, type=number(float), default=(0.97, 1.03), metavar=("LOW", "HIGH"),
        help="factors of the lengths of the cell (default 0.97 1.03)",
    )  # fmt: skip
    parser.add_argument(
        "-n", type=number(int, Bounds(most=1000)), default=9, help="number of volumes (default 9)"
    )
    parser.add_argument(
        "--cell-atoms", type=number(float), metavar="N",
        help="atoms of the cubic cell whose length is the lattice parameter (bcc 2, fcc 4; "
        "default: those of DATA)",
    )  # fmt: skip
    parser.add_argument("--shape", action="store_true", help="at 0 K the shape relaxes, too")
    parser.add_argument(
        "--temperature",
        type=number(float, TEMPERATURE_K),
        metavar="K",
        help="of dynamics at fixed volumes",
    )
    parser.add_argument(
        "--steps", type=number(int, STEPS), default=2000, help="of dynamics (default 2000)"
    )
    parser.add_argument(
        "--timestep", type=number(float, TIMESTEP_FS), default=1.0, metavar="FS", help="(default 1)"
    )
    parser.add_argument(
        "--spins", choices=("none", "flip", "swap"), default="none",
        help="Monte Carlo of the signs within dynamics (default none)",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=number(int, ANY_SEED), default=0, help="of dynamics (default 0)"
    )
    parser.add_argument("--species", nargs="+", metavar="SYMBOL", help="symbols of the types")
    console.add_key_option(parser)
    parser.add_argument(
        "-o", "--output", default=name, metavar="PREFIX", help=f"of the files (default {name})"
    )


def _run(args: argparse.Namespace, plot: str) -> None:
    files = PropertyFiles(args.output, ("",), [args.potential, args.data])
    if args.n < 4:
        raise ValueError(f"-n must be at least 4, got {args.n}")
    if not 0 < args.range[0] < args.range[1]:
        raise ValueError(f"--range takes two rising factors, got {list(args.range)}")
    if args.cell_atoms is not None and not args.cell_atoms > 0:
        raise ValueError(f"--cell-atoms must be positive, got {args.cell_atoms}")

    import numpy as np

    import mmtp_jax as mmtp
    from mmtp_jax.cli.progress import CountProgress
    from mmtp_jax.cli.property_plots import eos_figure, magnetisation_figure

    potential = mmtp.load(args.potential, species=console.check_species(args.species))
    atoms = console.read_data(args.data, potential.species, keys=args.key)[0]
    cell_atoms = args.cell_atoms or len(atoms)
    options: dict[str, Any] = {"shape": args.shape}
    total, what = args.n, "volumes"
    if args.temperature is not None:
        options = {
            "temperature_K": args.temperature, "n_steps": args.steps, "seed": args.seed,
            "timestep_fs": args.timestep, "spins": args.spins,
        }  # fmt: skip
        total, what = args.steps, "steps"
    with CountProgress(total, what) as progress:
        found = mmtp.equation_of_state(
            potential, atoms, np.linspace(*args.range, args.n), callback=progress, **options
        )
    print(_words(found, cell_atoms))
    lattice = found.lattice_parameters(cell_atoms)
    files.table(
        "",
        [
            "lattice parameter (Angstrom)", "volume (Angstrom^3/atom)", "energy (eV/atom)",
            "pressure (GPa)", "mean |m| (mu_B)", "magnetisation (mu_B/atom)", "counts",
        ],
        zip(
            lattice, found.volumes, found.energies, found.pressures, found.moments,
            found.magnetisations, found.counts.astype(int), strict=True,
        ),
    )  # fmt: skip
    errors = {
        name: None if values is None else values.tolist()
        for name, values in (
            ("pressure_errors_GPa", found.pressure_errors),
            ("moment_errors", found.moment_errors),
        )
    }
    files.json(
        {
            "potential": args.potential,
            "data": args.data,
            "temperature_K": found.temperature_K,
            "lattice_parameter": found.lattice_parameter(cell_atoms),
            "volume_per_atom": found.fit.volume,
            "energy_per_atom": None if np.isnan(found.fit.energy) else found.fit.energy,
            "bulk_modulus_GPa": found.fit.bulk_modulus,
            "bulk_derivative": found.fit.bulk_derivative,
            "moment": found.moment,
            "fit_rms": found.fit.rms,
            "lattice_parameters": lattice.tolist(),
            "volumes": found.volumes.tolist(),
            "energies": found.energies.tolist(),
            "pressures_GPa": found.pressures.tolist(),
            "moments": found.moments.tolist(),
            "magnetisations": found.magnetisations.tolist(),
            "counts": found.counts.tolist(),
            "messages": found.messages,
            **errors,
        }
    )
    files.figure(
        eos_figure(found, cell_atoms) if plot == "eos" else magnetisation_figure(found, cell_atoms)
    )
    print(files)


def _words(found: EquationOfState, cell_atoms: float) -> str:
    kind = "0 K" if found.temperature_K is None else f"{found.temperature_K:g} K"
    lines = [
        f"{int(found.counts.sum())} volumes at {kind}, Birch-Murnaghan fit with a root mean square "
        + (
            f"deviation of {1e3 * found.fit.rms:.2g} meV/atom"
            if found.temperature_K is None
            else f"deviation of {found.fit.rms:.2g} GPa"
        ),
        f"lattice parameter {found.lattice_parameter(cell_atoms):.4f} Angstrom (cell of "
        f"{cell_atoms:g} atoms), volume {found.fit.volume:.4f} Angstrom^3/atom",
        f"bulk modulus {found.fit.bulk_modulus:.1f} GPa, its derivative "
        f"{found.fit.bulk_derivative:.2f}",
        f"mean moment {found.moment:.3f} mu_B/atom at zero pressure",
    ]
    for scale, message in zip(found.scales, found.messages, strict=True):
        if message:
            console.warn(f"at {scale:.4g} times the lengths, not in the fit: {message}")
    return "\n".join(lines)
