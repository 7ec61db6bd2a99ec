"""``mmtp qha``: thermal expansion, heat capacity and bulk modulus over temperature."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import phonon_options
from mmtp_jax.cli.cells import read_start
from mmtp_jax.cli.command_line import collect, declare, inputs_of
from mmtp_jax.cli.committee import Member, run_property
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.phonon_options import (
    PhononSettings,
    mesh_of,
    polar_of,
    supercell_of,
    temperatures_of,
)
from mmtp_jax.cli.property_output import PropertyFiles
from mmtp_jax.cli.settings import Values
from mmtp_jax.cli.shared_settings import prefix
from mmtp_jax.language import listed
from mmtp_jax.options import Bounds, like, option, options
from mmtp_jax.simulation.relaxation.options import Relaxing

if TYPE_CHECKING:
    from mmtp_jax.properties.quasiharmonic_fit import QuasiHarmonic

_EPILOG = """\
examples:
  mmtp qha pot.mtp bcc.cfg --supercell 4 -o fe
  mmtp qha pot.0.mtp pot.1.mtp pot.2.mtp bcc.cfg --supercell 4 -o fe
  mmtp qha pot.mtp crn.cfg --states 20 --born Cr=4.4 N=-4.4 --dielectric 22 -o crn_pm

Phonons at several volumes, with moments equilibrated at each. With --states, of the paramagnetic
average over disordered magnetic states. Files: PREFIX.csv (over temperature), PREFIX_volumes.csv,
PREFIX.json, and the figure PREFIX.pdf and PREFIX.png. Several potentials give mean and two standard
deviations, and the files of each, PREFIX.0...
"""


@options
class QhaSettings(PhononSettings):
    """Potential, crystal, magnetic states, and volumes."""

    strains: tuple[float, float, float] = option(
        "Of lengths: from, to, and how many.", (-0.01, 0.02, 7.0), metavar="LOW HIGH N",
        bounds=Bounds(above=-0.2, most=1000.0),
    )  # fmt: skip
    relax: bool = like(
        PhononSettings,
        "relax",
        off_help="Strains are of the cell of the file.",
    )
    pressure_GPa: float = like(Relaxing, "pressure_GPa")
    eos: str = option(
        "Equation of state.", "vinet", choices=("vinet", "birch_murnaghan", "murnaghan")
    )
    allow_imaginary: bool = option("Leave imaginary modes out.", False)
    output: str = prefix("qha")


def check(settings: QhaSettings, given: Values) -> None:
    """Refuse settings that cannot be.

    Raises:
        ValueError: in words.
    """
    phonon_options.check(settings, given)
    low, high, n = settings.strains
    if n != int(n) or not 5 <= n <= 1000 or not low < high < 1.0:
        found = listed(settings.strains)
        raise ValueError(f"--strains takes LOW HIGH N with N from 5 to 1000, got {found}")


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
    declare(parser, QhaSettings, check)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    settings, _ = collect(args)
    tables = ("", "volumes")
    return run_property(settings, tables, inputs_of(settings, args), partial(_of_one, settings))


def _of_one(settings: QhaSettings, member: Member, files: PropertyFiles) -> None:
    mesh, temperatures = mesh_of(settings.mesh), temperatures_of(settings.temperatures_K)
    supercell = supercell_of(settings.supercell)
    low, high, n = settings.strains

    import numpy as np

    import mmtp_jax as mmtp
    from mmtp_jax import plot
    from mmtp_jax.progress import CountProgress

    potential = member.potential
    atoms = read_start(settings, potential, member.name)[0]
    with CountProgress(int(n), "volumes") as progress:
        found = mmtp.quasiharmonic(
            potential, atoms, supercell, temperatures, strains=np.linspace(low, high, int(n)),
            relax=settings.relax,
            pressure_GPa=settings.pressure_GPa, states=settings.states, magnetic=settings.magnetic,
            seed=settings.seed, moments=settings.moments, eos=settings.eos,
            mesh=mesh, allow_imaginary=settings.allow_imaginary, callback=progress,
            **polar_of(settings),
        )  # fmt: skip
    print(found)
    _write(files, settings, member, found)
    files.figure(plot.quasiharmonic(found))
    print(files)


def _write(
    files: PropertyFiles, settings: QhaSettings, member: Member, found: QuasiHarmonic
) -> None:
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
            "potential": member.name,
            "data": settings.data,
            "states": settings.states,
            "pressure_GPa": found.pressure_GPa,
            "eos": settings.eos,
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
