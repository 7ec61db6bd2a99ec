"""``mmtp equilibrate``: moments that minimise the energy, and how reliably they are found."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import console
from mmtp_jax.cli.cells import read_start
from mmtp_jax.cli.command_line import collect, declare, inputs_of
from mmtp_jax.cli.committee import Found, Member, run_simulation
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.equilibrate_settings import EquilibrateSettings, check
from mmtp_jax.cli.shared_settings import moments_of_words
from mmtp_jax.cli.spreads import COUNTS
from mmtp_jax.cli.watched import Watched
from mmtp_jax.language import counted
from mmtp_jax.options import given_to

if TYPE_CHECKING:
    from mmtp_jax.potential.potential import Potential
    from mmtp_jax.simulation.moments.reliability import Reliability
    from mmtp_jax.simulation.moments.structures import EquilibratedStructure
    from mmtp_jax.structures.structure import Structure

LISTED_ATOMS = 24
"""Most atoms whose moments are printed one by one."""

_EPILOG = """\
examples:
  mmtp equilibrate pot.mtp configurations.cfg -o equilibrated.cfg
  mmtp equilibrate pot.mtp new.extxyz --start Fe=2.2 Al=-0.1 --json reliability.json
  mmtp equilibrate pot.0.mtp pot.1.mtp pot.2.mtp new.cfg --json moments.json
  mmtp equilibrate pot.mtp new.cfg --active-set active.npz --candidates met.cfg
  mmtp template equilibrate > equilibrate.toml; mmtp equilibrate --settings equilibrate.toml

The share that converges to 5e-6 eV/mu_B, at moments that the potential covers, is the
equilibration reliability of Kotykhov 2024, Table 3. Errors are those of the configurations that
converged and whose own magnetic forces are unknown or at most 1e-3 eV/mu_B: the moments of others
were constrained, and are no reference, nor are those of configurations without labels. Several
potentials give mean and two standard deviations, and the outputs of each with its number;
--committee mean takes their mean energy. The exit status is 1 if a grade above the upper threshold
has stopped one.
"""


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "equilibrate",
        help="magnetic moments that minimise the energy",
        description="Minimise the energy over the magnetic moments at fixed positions and cells, "
        "from the moments of the file.",
        epilog=_EPILOG,
    )
    declare(parser, EquilibrateSettings, check)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    settings = collect(args)[0]
    return run_simulation(settings, partial(_check_files, inputs_of(settings, args)), _of_one)


def _check_files(inputs: Sequence[str], settings: EquilibrateSettings) -> None:
    output = settings.output
    written = (output.output, output.json, settings.preselection.candidates)
    console.check_outputs(*written, configurations=[output.output])
    for path in written:
        console.check_distinct(path, inputs)


def _of_one(settings: EquilibrateSettings, member: Member) -> Found:
    given, output = settings.moments, settings.output
    start = moments_of_words(given.start)

    import mmtp_jax as mmtp
    from mmtp_jax.interfaces.equilibration import equilibration_of, start_structures
    from mmtp_jax.io.convert import structures_for
    from mmtp_jax.simulation.moments.options import MomentOptions
    from mmtp_jax.simulation.moments.reliability import reliability

    options = MomentOptions(**given_to(MomentOptions, given))
    potential = member.potential
    atoms_list = read_start(settings.input, potential)
    references = structures_for(potential, atoms_list, vectors=True)
    structures = start_structures(
        potential, atoms_list, start, given.scale, takes_start=True, vectors=True
    )
    watched = Watched(settings.preselection, member.name, potential)
    found = _equilibrated(potential, structures, options, watched)
    report = reliability(references, found, potential.species)
    print(table(report, given.tolerance))
    print()
    print(moments_table(found, potential.species))
    stopped = [k for k, result in enumerate(found) if result.stopped]
    for k in stopped:
        print(watched.stopped(structures[k].name, k, ""))
    results = [
        equilibration_of(a, f, potential.species) for a, f in zip(atoms_list, found, strict=True)
    ]
    watched.sample(0, [result.atoms for result in results])
    watched.report()
    if output.output is not None:
        console.say_kept(output.output)
        mmtp.write(output.output, [result.atoms for result in results], species=potential.species)
        print(f"\nwrote {output.output}")
    content = {
        "tolerance": given.tolerance,
        "reliability": dataclasses.asdict(report),
        "configurations": [
            {
                "name": structure.name,
                "status": result.status.name.lower(),
                COUNTS: result.converged,
                "energy": result.result.energy,
                "magmom": result.magmoms.sum(axis=0).tolist(),
                "residual": result.residual,
                "n_steps": result.n_steps,
                "magmoms": result.magmoms.tolist(),
            }
            for structure, result in zip(structures, found, strict=True)
        ],
    }
    return Found(1 if stopped else 0, content)


def _equilibrated(
    potential: Potential, structures: Sequence[Structure], options: Any, watched: Watched
) -> Sequence[EquilibratedStructure]:
    from mmtp_jax.progress import CountProgress
    from mmtp_jax.simulation.moments.structures import equilibrate_structures

    with CountProgress(len(structures), "configurations") as progress:
        return equilibrate_structures(
            potential, structures, options, callback=progress, watch=watched.watch,
            keep=watched.keep,
        )  # fmt: skip


def moments_table(found: Sequence[EquilibratedStructure], species: Sequence[str]) -> str:
    """The moments found: by species, and of each atom where there are few.

    Of vectors there are the lengths.
    """
    import numpy as np

    from mmtp_jax.structures.structure import kinds_of_moments
    from mmtp_jax.tables import aligned

    lines = []
    for kind in kinds_of_moments([f.structure for f in found]):
        structures = [found[k].structure for k in kind]
        vectors = structures[0].vectors
        types = np.concatenate([s.types for s in structures])
        moments = np.concatenate([s.lengths if vectors else s.magmoms for s in structures])
        what = "lengths of moments" if vectors else "moments"
        rows = [(f"{what} found (mu_B)", "atoms", "mean", "mean |m|", "min", "max")]
        for k, symbol in enumerate(species):
            if np.any(of := types == k):
                m = moments[of]
                numbers = (m.mean(), np.abs(m).mean(), m.min(), m.max())
                rows.append((symbol, str(len(m)), *(f"{x:.3f}" for x in numbers)))
        lines.append(aligned(rows))
        if len(moments) <= LISTED_ATOMS:
            lines += [
                f"{s.name}: "
                + "  ".join(f"{species[t]} {_words(m)}"
                            for t, m in zip(s.types, s.magmoms, strict=True))
                for s in structures
            ]  # fmt: skip
    return "\n".join(lines)


def _words(moment: Any) -> str:
    """A moment, or the three numbers of a vector."""
    if moment.ndim:
        return f"({' '.join(f'{x:.3f}' for x in moment)})"
    return f"{moment:.3f}"


def table(report: Reliability, tolerance: float) -> str:
    """The report in words, one number per line."""
    from mmtp_jax.simulation.moments.steps import Status

    rows = [
        (f"converged (all |T| < {tolerance:g} eV/mu_B)", f"{100 * report.converged:.1f} %"),
        ("moments held at a bound or at zero", f"{100 * report.held:.1f} %"),
        ("moments that changed sign or turned > 90 deg", f"{report.flipped} of {report.n_atoms}"),
        ("evaluations, mean and most", f"{report.mean_steps:.1f}, {report.max_steps}"),
    ]
    if report.n_reference:
        converged = f"{report.n_reference_converged} of {report.n_reference}"
        rows.append(("equilibria of the source that converged", converged))
        rows += [
            (f"RMSE of the moments of {symbol}", f"{value:.4f} mu_B")
            for symbol, value in report.magmom_rmse.items()
        ]
        if report.energy_rmse is not None:
            rows.append(("RMSE of the energy", f"{1e3 * report.energy_rmse:.2f} meV/atom"))
    n, n_atoms = report.n_configurations, report.n_atoms
    lines = [f"{counted(n, 'configuration')}, {counted(n_atoms, 'atom')}", ""]
    lines += [f"{name:<44}{value:>16}" for name, value in rows]
    if not report.n_reference:
        lines.append("no errors: no configuration is an equilibrium of its source")
    lines += [
        f"{count} x {Status[name.upper()].message}"
        for name, count in report.statuses.items()
        if name != "converged"
    ]
    return "\n".join(lines)
