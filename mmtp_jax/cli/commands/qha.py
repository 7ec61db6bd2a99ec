"""``mmtp qha``: thermal expansion, heat capacity and bulk modulus over temperature."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli.command_line import number
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.phonon_options import (
    add_options,
    load,
    mesh_of,
    supercell_of,
    temperatures_of,
)
from mmtp_jax.cli.property_output import PropertyFiles
from mmtp_jax.options import PRESSURE_GPA

if TYPE_CHECKING:
    from mmtp_jax.properties.quasiharmonic_fit import QuasiHarmonic

_EPILOG = """\
examples:
  mmtp qha pot.mtp bcc.cfg --supercell 4 -o fe
  mmtp qha pot.mtp crn.cfg --states 20 --strains -0.01 0.03 9 -o crn_pm

Phonons at several volumes, with moments equilibrated at each. With --states, of the paramagnetic
average over disordered magnetic states. Files: PREFIX.csv (over temperature), PREFIX_volumes.csv,
PREFIX.json, and the figure PREFIX.pdf and PREFIX.png.
"""


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "qha",
        help="thermal expansion and heat capacity, quasi-harmonic",
        description="Thermal expansion, heat capacity and bulk modulus over temperature in the "
        "quasi-harmonic approximation.",
        epilog=_EPILOG,
    )
    add_options(parser, "qha")
    parser.add_argument(
        "--strains", nargs=3, type=number(float), default=(-0.01, 0.02, 7),
        metavar=("LOW", "HIGH", "N"),
        help="of lengths, N of them (default -0.01 0.02 7)",
    )  # fmt: skip
    parser.add_argument(
        "--no-relax", action="store_true", help="strains are of the cell of the file"
    )
    parser.add_argument(
        "--pressure",
        type=number(float, PRESSURE_GPA),
        default=0.0,
        metavar="GPA",
        help="positive compresses",
    )
    parser.add_argument(
        "--eos", choices=("vinet", "birch_murnaghan", "murnaghan"), default="vinet",
        help="equation of state (default vinet)",
    )  # fmt: skip
    parser.add_argument("--allow-imaginary", action="store_true", help="leave imaginary modes out")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    mesh, temperatures = mesh_of(args.mesh), temperatures_of(args.temperatures)
    supercell = supercell_of(args.supercell)
    low, high, n = args.strains
    if n != int(n) or not 5 <= n <= 1000 or not -0.2 < low < high < 1.0:
        raise ValueError(f"--strains takes LOW HIGH N with N from 5 to 1000, got {args.strains}")
    files = PropertyFiles(args.output, ("", "volumes"), [args.potential, args.data])

    import numpy as np

    import mmtp_jax as mmtp
    from mmtp_jax.cli.progress import CountProgress
    from mmtp_jax.cli.vibration_plots import quasiharmonic_figure

    potential, atoms = load(args)
    with CountProgress(int(n), "volumes") as progress:
        found = mmtp.quasiharmonic(
            potential, atoms, supercell, temperatures, strains=np.linspace(low, high, int(n)),
            relax=not args.no_relax,
            pressure_GPa=args.pressure, states=args.states, magnetic=args.magnetic,
            seed=args.seed, moments="fixed" if args.clamped else "equilibrate", eos=args.eos,
            mesh=mesh, allow_imaginary=args.allow_imaginary, callback=progress,
        )  # fmt: skip
    print(found)
    _write(files, args, found)
    files.figure(quasiharmonic_figure(found))
    print(files)


def _write(files: PropertyFiles, args: argparse.Namespace, found: QuasiHarmonic) -> None:
    files.table(
        "",
        ["temperature (K)", "volume (Angstrom^3/atom)", "free energy (eV/atom)",
         "linear expansion (1/K)", "heat capacity C_p (k_B/atom)", "bulk modulus (GPa)",
         "Grueneisen parameter"],
        zip(found.temperatures, found.volume, found.free_energy, found.expansion,
            found.heat_capacity, found.bulk_modulus, found.gruneisen, strict=True),
    )  # fmt: skip
    files.table(
        "volumes",
        ["volume (Angstrom^3/atom)", "energy (eV/atom)", "mean |m| (mu_B)"],
        ((p.volume, p.energy, float(abs(p.magmoms).mean())) for p in found.phonons),
    )
    files.json(
        {
            "potential": args.potential,
            "data": args.data,
            "states": args.states,
            "pressure_GPa": found.pressure_GPa,
            "eos": args.eos,
            "supercell": found.phonons[0].phonopy.supercell_matrix.tolist(),
            "volumes_A3_per_atom": found.volumes.tolist(),
            "energies_eV_per_atom": found.energies.tolist(),
            "at_300_K": found.at(300.0) if _covers(found, 300.0) else None,
            "temperatures_K": found.temperatures.tolist(),
            "volume_A3_per_atom": found.volume.tolist(),
            "linear_expansion_per_K": found.expansion.tolist(),
            "heat_capacity_kB_per_atom": found.heat_capacity.tolist(),
            "bulk_modulus_GPa": found.bulk_modulus.tolist(),
        }
    )


def _covers(found: QuasiHarmonic, temperature: float) -> bool:
    return found.temperatures[0] <= temperature <= found.temperatures[-1]
