"""``mmtp phonons``: bands, density of states and harmonic thermal properties."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import phonon_options
from mmtp_jax.cli.cells import check_path, read_start
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
from mmtp_jax.cli.relax_settings import Relaxation
from mmtp_jax.cli.settings import Values
from mmtp_jax.cli.shared_settings import prefix
from mmtp_jax.cli.spreads import COUNTS
from mmtp_jax.options import like, option, options
from mmtp_jax.properties.options import PhononOptions

if TYPE_CHECKING:
    from mmtp_jax.properties.bands import Bands, Mode
    from mmtp_jax.properties.phonon_results import DensityOfStates, Phonons, Thermal

UNSTABLE = 1

_EPILOG = """\
examples:
  mmtp phonons pot.mtp bcc.cfg --supercell 4 -o fe_fm
  mmtp phonons pot.0.mtp pot.1.mtp pot.2.mtp bcc.cfg --supercell 4 -o fe_fm
  mmtp phonons pot.mtp crn.cfg --states 20 --born Cr=4.4 N=-4.4 --dielectric 22 -o crn_pm
  mmtp phonons pot.mtp bcc.cfg --displacements --no-relax -o check

The moments of the file define the magnetic state: it is relaxed first, and must keep its signs.
Force constants are exact second derivatives, at moments that follow the atoms. Files: PREFIX.csv
(bands), PREFIX_dos.csv, PREFIX_thermal.csv, PREFIX.json, the figure PREFIX.pdf and PREFIX.png, and
for phonopy's tools PREFIX_phonopy.yaml (with force constants) and PREFIX_band.yaml.
The supercell holds some q, where frequencies are calculated; between them they are interpolated.
The exit status is 1 if there are imaginary modes at either. Several potentials give mean and two
standard deviations, and the files of each, PREFIX.0...
"""


@options
class PhononsSettings(PhononSettings):
    """Potential, crystal, magnetic states, and force constants."""

    cell: tuple[str, ...] = like(Relaxation, "cell", help="What of the cell relaxes: as for relax.")
    method: str = like(PhononOptions, "method")
    distance: float = like(PhononOptions, "distance")
    path: str | None = option("Special points.", example="GXWKGL,UX", metavar="NAMES")
    output: str = prefix("phonons")


def check(settings: PhononsSettings, given: Values) -> None:
    """Refuse settings that contradict each other.

    Raises:
        ValueError: in words.
    """
    phonon_options.check(settings, given)
    if settings.states and (settings.method == "displacements" or settings.cell != ("full",)):
        raise ValueError("--states goes neither with --displacements nor with --cell")


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "phonons",
        help="phonon bands, density of states, thermal properties",
        description="Phonons of a magnetic state or of the paramagnetic average, with moments that "
        "follow the atoms.",
        epilog=_EPILOG,
    )
    declare(parser, PhononsSettings, check)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    settings, _ = collect(args)
    tables = ("", "dos", "thermal")
    return run_property(settings, tables, inputs_of(settings, args), partial(_of_one, settings))


def _of_one(settings: PhononsSettings, member: Member, files: PropertyFiles) -> int:
    mesh, temperatures = mesh_of(settings.mesh), temperatures_of(settings.temperatures_K)
    supercell = supercell_of(settings.supercell)

    import mmtp_jax as mmtp
    from mmtp_jax.progress import CountProgress
    from mmtp_jax.properties.bands import default_path
    from mmtp_jax.properties.phonon_results import IMAGINARY

    potential = member.potential
    paramagnetic = settings.states > 0
    # Of that only the volume changes.
    check_path(settings, potential, settings.relax and not paramagnetic, magnetic=not paramagnetic)
    atoms = read_start(settings, potential, member.name)[0]
    common = {"relax": settings.relax, "moments": settings.moments, **polar_of(settings)}
    if settings.states:
        with CountProgress(settings.states, "states") as progress:
            found = mmtp.phonons(
                potential, atoms, supercell, states=settings.states, magnetic=settings.magnetic,
                seed=settings.seed, callback=progress, **common,
            )  # fmt: skip
    else:
        if settings.relax:
            common["cell"] = " ".join(settings.cell)
        found = mmtp.phonons(
            potential, atoms, supercell, distance=settings.distance,
            method=settings.method, **common,
        )  # fmt: skip
    print(found)
    path = default_path(found.phonopy.primitive.cell, path=settings.path)
    bands, dos = found.bands(path), found.dos(mesh)
    thermal = found.thermal(temperatures, mesh)
    errors = None
    if found.samples is not None:
        errors = [found.frequency_errors(q) for q in path.segments]
    between = min(bands.lowest, found.lowest(mesh), key=lambda mode: mode.frequency)
    _write(files, settings, member, found, bands, errors, dos, thermal, between)
    unstable = bool(found.imaginary) or between.frequency < -IMAGINARY
    if unstable and not found.imaginary:
        print(
            f"NOT SHOWN TO BE STABLE: imaginary modes between the q of the supercell, lowest "
            f"{between}; a larger --supercell tells whether they are real"
        )
    print(_table(thermal))
    print(files)
    return UNSTABLE if unstable else 0


def _table(thermal: Thermal) -> str:
    """Thermal properties at a few temperatures."""
    from mmtp_jax.tables import some_of

    lines = [
        f"zero-point energy {1e3 * thermal.zero_point:.2f} meV/atom",
        f"{'T (K)':>8}{'F_vib (meV/atom)':>18}{'S (k_B)':>10}{'C_v (k_B)':>11}",
    ]
    for k in some_of(len(thermal.temperatures), 6):
        lines.append(
            f"{thermal.temperatures[k]:8.0f}{1e3 * thermal.free_energy[k]:18.2f}"
            f"{thermal.entropy[k]:10.3f}{thermal.heat_capacity[k]:11.3f}"
        )
    return "\n".join(lines)


def _write(
    files: PropertyFiles,
    settings: PhononsSettings,
    member: Member,
    found: Phonons,
    bands: Bands,
    errors: list[Any] | None,
    dos: DensityOfStates,
    thermal: Thermal,
    between: Mode,
) -> None:
    import numpy as np

    from mmtp_jax import plot

    n_modes = bands.frequencies[0].shape[1]
    header = ["line", "q1", "q2", "q3", "distance (1/Angstrom)"]
    header += [f"mode {k + 1} (THz)" for k in range(n_modes)]
    if errors is not None:
        header += [f"mode {k + 1} error (THz)" for k in range(n_modes)]
    rows = []
    for k, (start, end) in enumerate(bands.path.labels):
        values = [bands.path.segments[k], bands.distances[k][:, None], bands.frequencies[k]]
        values += [] if errors is None else [errors[k]]
        rows += [[f"{start}-{end}", *row] for row in np.concatenate(values, axis=1)]
    files.table("", header, rows)
    files.table(
        "dos",
        ["frequency (THz)", "total (1/THz/atom)", *(f"{s} (1/THz/atom)" for s in dos.species)],
        zip(dos.frequencies, dos.total, *dos.species.values(), strict=True),
        curves=True,
    )
    files.table(
        "thermal",
        ["temperature (K)", "free energy (eV/atom)", "entropy (k_B/atom)",
         "heat capacity (k_B/atom)"],
        zip(*thermal[:4], strict=True),
    )  # fmt: skip
    q = found.commensurate()
    files.json(
        {
            "potential": member.name,
            "data": settings.data,
            "moments": found.moments,
            "method": settings.method,
            "states": found.n_states,
            "states_failed": found.n_failed,
            "supercell": np.asarray(found.phonopy.supercell_matrix).tolist(),
            "primitive_cell": np.asarray(found.phonopy.primitive.cell).tolist(),
            "energy_eV_per_atom": found.energy,
            "energy_error_eV_per_atom": found.energy_error,
            "volume_A3_per_atom": found.volume,
            "acoustic_sum_rule_eV_per_A2": found.drift,
            "stable": found.is_stable,
            COUNTS: found.is_stable,
            "message": f"imaginary modes, lowest {found.imaginary[0]}" if found.imaginary else "",
            "imaginary": [{"q": m.q, "frequency_THz": m.frequency} for m in found.imaginary],
            "lowest_on_path_and_mesh": {"q": between.q, "frequency_THz": between.frequency},
            "zero_point_eV_per_atom": thermal.zero_point,
            "q": q.tolist(),
            "frequencies_THz": found.frequencies(q).tolist(),
            "note": found.note,
        }
    )
    _write_phonopy(files, found, bands)
    files.figure(plot.bands(bands, dos, errors))


def _write_phonopy(files: PropertyFiles, found: Phonons, bands: Bands) -> None:
    """What phonopy's own tools read: cells with force constants, and the bands."""
    constants, path_file = (f"{files.prefix}_{name}.yaml" for name in ("phonopy", "band"))
    with files.extra(constants) as temporary:
        found.phonopy.save(temporary, settings={"force_constants": True})
    joined = [a[1] == b[0] for a, b in zip(bands.path.labels, bands.path.labels[1:], strict=False)]
    labels, connections = [bands.path.labels[0][0]], []
    for k, (_, end) in enumerate(bands.path.labels):
        connected = k < len(joined) and joined[k]
        connections.append(connected)
        labels.append(end)
        if not connected and k < len(joined):
            labels.append(bands.path.labels[k + 1][0])
    found.phonopy.run_band_structure(
        bands.path.segments, path_connections=connections, labels=labels
    )
    with files.extra(path_file) as temporary:
        found.phonopy.write_yaml_band_structure(filename=temporary)
