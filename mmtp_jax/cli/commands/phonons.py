"""``mmtp phonons``: bands, density of states and harmonic thermal properties."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import console
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
from mmtp_jax.options import POSITIVE

if TYPE_CHECKING:
    from mmtp_jax.properties.bands import Bands
    from mmtp_jax.properties.phonon_results import DensityOfStates, Phonons, Thermal

UNSTABLE = 1

_EPILOG = """\
examples:
  mmtp phonons pot.mtp bcc.cfg --supercell 4 -o fe_fm
  mmtp phonons pot.mtp crn.cfg --states 20 --born Cr=4.4 N=-4.4 --dielectric 22 -o crn_pm
  mmtp phonons pot.mtp bcc.cfg --displacements --no-relax -o check

The moments of the file define the magnetic state: it is relaxed first, and must keep its signs.
Force constants are exact second derivatives, at moments that follow the atoms. Files: PREFIX.csv
(bands), PREFIX_dos.csv, PREFIX_thermal.csv, PREFIX.json, and the figure PREFIX.pdf and PREFIX.png.
The exit status is 1 if there are imaginary modes.
"""


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
    add_options(parser, "phonons")
    parser.add_argument(
        "--no-relax", action="store_true", help="only equilibrate the moments first"
    )
    parser.add_argument(
        "--cell", nargs="+", default=["full"], metavar="WHAT",
        help="what of the cell relaxes, as for mmtp relax (default full)",
    )  # fmt: skip
    parser.add_argument(
        "--displacements", action="store_true", help="from forces at displaced atoms, as a check"
    )
    parser.add_argument(
        "--distance",
        type=number(float, POSITIVE),
        default=0.01,
        metavar="X",
        help="of these, Angstrom",
    )
    parser.add_argument(
        "--born", nargs="+", metavar="SYMBOL=Z", help="Born charges (e) of a polar crystal"
    )
    parser.add_argument(
        "--dielectric", type=number(float, POSITIVE), metavar="X", help="its dielectric constant"
    )
    parser.add_argument(
        "--nac-method", choices=("gonze", "wang"), default="gonze", help="of the polar term"
    )
    parser.add_argument("--path", metavar="NAMES", help='special points, e.g. "GXWKGL,UX"')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    mesh, temperatures = mesh_of(args.mesh), temperatures_of(args.temperatures)
    supercell, born = supercell_of(args.supercell), _charges(args.born)
    if args.states and (args.displacements or args.cell != ["full"]):
        raise ValueError("--states goes neither with --displacements nor with --cell")
    files = PropertyFiles(args.output, ("", "dos", "thermal"), [args.potential, args.data])

    import mmtp_jax as mmtp
    from mmtp_jax.cli.progress import CountProgress
    from mmtp_jax.properties.bands import default_path

    potential, atoms = load(args)
    common = {
        "relax": not args.no_relax, "moments": "fixed" if args.clamped else "equilibrate",
        "born": born, "dielectric": args.dielectric, "nac_method": args.nac_method,
    }  # fmt: skip
    if args.states:
        with CountProgress(args.states, "states") as progress:
            found = mmtp.phonons(
                potential, atoms, supercell, states=args.states, magnetic=args.magnetic,
                seed=args.seed, callback=progress, **common,
            )  # fmt: skip
    else:
        if not args.no_relax:
            common["cell"] = " ".join(args.cell)
        found = mmtp.phonons(
            potential, atoms, supercell, distance=args.distance,
            method="displacements" if args.displacements else "autodiff", **common,
        )  # fmt: skip
    print(found)
    path = default_path(found.phonopy.primitive.cell, path=args.path)
    bands, dos = found.bands(path), found.dos(mesh)
    thermal = found.thermal(temperatures, mesh)
    errors = None
    if found.samples is not None:
        errors = [found.frequency_errors(q) for q in path.segments]
    _write(files, args, found, bands, errors, dos, thermal)
    print(_table(thermal))
    print(files)
    return UNSTABLE if found.imaginary else 0


def _table(thermal: Thermal) -> str:
    """Thermal properties at a few temperatures."""
    import numpy as np

    lines = [
        f"zero-point energy {1e3 * thermal.zero_point:.2f} meV/atom",
        f"{'T (K)':>8}{'F_vib (meV/atom)':>18}{'S (k_B)':>10}{'C_v (k_B)':>11}",
    ]
    last = len(thermal.temperatures) - 1
    for k in np.unique(np.linspace(0, last, min(last + 1, 6)).round().astype(int)):
        lines.append(
            f"{thermal.temperatures[k]:8.0f}{1e3 * thermal.free_energy[k]:18.2f}"
            f"{thermal.entropy[k]:10.3f}{thermal.heat_capacity[k]:11.3f}"
        )
    return "\n".join(lines)


def _write(
    files: PropertyFiles,
    args: argparse.Namespace,
    found: Phonons,
    bands: Bands,
    errors: list[Any] | None,
    dos: DensityOfStates,
    thermal: Thermal,
) -> None:
    import numpy as np

    from mmtp_jax.cli.vibration_plots import bands_figure

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
        ["frequency (THz)", "total (1/THz)", *(f"{s} (1/THz)" for s in dos.species)],
        zip(dos.frequencies, dos.total, *dos.species.values(), strict=True),
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
            "potential": args.potential,
            "data": args.data,
            "moments": found.moments,
            "method": "displacements" if args.displacements else "autodiff",
            "states": found.n_states,
            "states_failed": found.n_failed,
            "supercell": np.asarray(found.phonopy.supercell_matrix).tolist(),
            "primitive_cell": np.asarray(found.phonopy.primitive.cell).tolist(),
            "energy_eV_per_atom": found.energy,
            "energy_error_eV_per_atom": found.energy_error,
            "volume_A3_per_atom": found.volume,
            "acoustic_sum_rule_eV_per_A2": found.drift,
            "stable": found.is_stable,
            "imaginary": [{"q": m.q, "frequency_THz": m.frequency} for m in found.imaginary],
            "zero_point_eV_per_atom": thermal.zero_point,
            "q": q.tolist(),
            "frequencies_THz": found.frequencies(q).tolist(),
            "note": found.note,
        }
    )
    files.figure(bands_figure(bands, dos, errors))


def _charges(words: list[str] | None) -> dict[str, float] | None:
    """Charges by species from words like ``Cr=4.4``."""
    if words is None:
        return None
    found = {}
    for word in words:
        symbol, _, value = word.partition("=")
        try:
            found[symbol] = float(value)
        except ValueError:
            raise ValueError(f"--born takes SYMBOL=CHARGE, e.g. Cr=4.4, got {word!r}") from None
    console.check_species(list(found))
    return found
