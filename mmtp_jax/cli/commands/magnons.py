"""``mmtp magnons``: spin-wave bands, stiffness and critical temperatures."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import exchange_options
from mmtp_jax.cli.cells import check_path
from mmtp_jax.cli.command_line import collect, declare, inputs_of
from mmtp_jax.cli.committee import Member, run_property
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.exchange_options import SpinSettings, found_by, head
from mmtp_jax.cli.phonon_options import mesh_of
from mmtp_jax.cli.property_output import PropertyFiles
from mmtp_jax.cli.settings import Values
from mmtp_jax.cli.shared_settings import prefix
from mmtp_jax.cli.spreads import COUNTS
from mmtp_jax.options import POSITIVE, option, options

if TYPE_CHECKING:
    from mmtp_jax.properties.magnon_results import MagnonBands, Magnons

UNSTABLE = 1

MOST_SOFT = 50
"""q in the JSON file, lowest first."""

_EPILOG = """\
examples:
  mmtp magnons pot.mtp fe.cfg -o magnons
  mmtp magnons pot.mtp fe.cfg --path GHPGN -o magnons
  mmtp magnons pot.0.mtp pot.1.mtp pot.2.mtp fe.cfg -o magnons

Linear spin waves of the exchange constants of 'mmtp exchange', of ferro-, ferri- and
antiferromagnets; the state is relaxed first, and must keep its signs. Critical temperatures are
those of classical spins of fixed lengths, by mean field and with random phases (Tyablikov).
Files: PREFIX.csv (bands), PREFIX_dos.csv, PREFIX.json, the figure PREFIX.pdf and PREFIX.png, and
PREFIX_band.yaml in the layout of phonopy. The exit status is 1 if turns of the moments lower the
energy at any q. Several potentials give mean and two standard deviations, and the files of each,
PREFIX.0... Where a potential was fitted to collinear moments alone, all of it is extrapolated by
the form, which the report, figures, JSON files and band.yaml say.
"""


@options
class MagnonsSettings(SpinSettings):
    """Potential and crystal in a collinear state."""

    mesh: tuple[float, ...] = option(
        "Of q: a length in Angstrom, or three integers.", (40.0,), bounds=POSITIVE
    )
    path: str | None = option("Special points.", example="GHPGN", metavar="NAMES")
    output: str = prefix("magnons")


def check(settings: MagnonsSettings, given: Values) -> None:
    """Refuse settings that contradict each other.

    Raises:
        ValueError: in words.
    """
    exchange_options.check(settings, given)
    mesh_of(settings.mesh)


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "magnons",
        help="magnon bands, spin-wave stiffness, critical temperatures",
        description="Magnons of a collinear magnetic state: bands, density of states, spin-wave "
        "stiffness, critical temperatures.",
        epilog=_EPILOG,
    )
    declare(parser, MagnonsSettings, check)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    settings, _ = collect(args)
    tables = ("", "dos")
    return run_property(settings, tables, inputs_of(settings, args), partial(_of_one, settings))


def _of_one(settings: MagnonsSettings, member: Member, files: PropertyFiles) -> int:
    import mmtp_jax as mmtp
    from mmtp_jax import plot
    from mmtp_jax.properties.bands import default_path
    from mmtp_jax.properties.critical_temperatures import SOFT

    check_path(settings, member.potential)
    found = found_by(settings, member, mmtp.magnons)
    print(found)
    bands = found.bands(default_path(found.exchange.model.cell, path=settings.path))
    dos = found.dos(mesh_of(settings.mesh))
    _write_bands(files, found, bands)
    files.table(
        "dos",
        ["energy (meV)", "total (1/meV/atom)", *(f"{s} (1/meV/atom)" for s in dos.species)],
        zip(dos.energies, dos.total, *dos.species.values(), strict=True),
        curves=True,
    )
    lowest = bands.lowest
    if (unstable := lowest.energy < -SOFT) and found.is_stable:
        print(f"UNSTABLE: turns of the moments lower the energy on the path, lowest {lowest}")
    unstable |= not found.is_stable
    tensors = {"": found.stiffness, "_of_bands": found.band_stiffness()}
    files.json(
        {
            **head(settings, member, found.exchange),
            "mean_field_temperature_K": found.mean_field_K,
            **{
                f"stiffness{name}_meV_A2": None if of is None else of.tolist()
                for name, of in tensors.items()
            },
            "mean_stiffness_meV_A2": found.mean_stiffness,
            "velocities_meV_A": None if found.velocity is None else found.velocity.tolist(),
            "random_phase_temperature_K": found.random_phase_K,
            "highest_energy_meV": max(float(of.max()) for of in bands.energies),
            "stable": not unstable,
            COUNTS: not unstable,
            "message": f"turns of the moments lower the energy, lowest {(*found.soft, lowest)[0]}"
            if unstable
            else "",
            "n_soft": len(found.soft),
            "soft": [{"q": list(s.q), "energy_meV": s.energy} for s in found.soft[:MOST_SOFT]],
            "lowest_on_path": {"q": list(lowest.q), "energy_meV": lowest.energy},
        }
    )
    files.figure(plot.magnons(bands, dos, found.exchange.by_form))
    print(files)
    return UNSTABLE if unstable else 0


def _write_bands(files: PropertyFiles, found: Magnons, bands: MagnonBands) -> None:
    """As a table, and as phonopy's ``band.yaml``."""
    import numpy as np

    from mmtp_jax.io.band_yaml import write_band_yaml
    from mmtp_jax.properties.exchange_results import BY_FORM

    rows = []
    for k, (start, end) in enumerate(bands.path.labels):
        values = [bands.path.segments[k], bands.distances[k][:, None], bands.energies[k]]
        rows += [[f"{start}-{end}", *row] for row in np.concatenate(values, axis=1)]
    modes = (f"mode {k + 1} (meV)" for k in range(len(found.exchange.spins)))
    files.table("", ["line", "q1", "q2", "q3", "distance (1/Angstrom)", *modes], rows)
    structure = found.exchange.structure
    with files.extra(f"{files.prefix}_band.yaml") as temporary:
        write_band_yaml(
            temporary, structure.cell, found.exchange.symbols, structure.positions,
            structure.magmoms, bands.path.segments, bands.path.labels, bands.distances,
            bands.energies, BY_FORM if found.exchange.by_form else "",
        )  # fmt: skip
