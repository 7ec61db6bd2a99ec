"""``mmtp relax``: positions, cells and moments that minimise the enthalpy, and how reliably."""

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
from mmtp_jax.cli.relax_settings import RelaxSettings, check
from mmtp_jax.cli.shared_settings import moments_of_words
from mmtp_jax.cli.spreads import COUNTS
from mmtp_jax.cli.watched import Watched
from mmtp_jax.language import counted

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms
    from matplotlib.figure import Figure

    from mmtp_jax.interfaces.relaxation import Relaxation
    from mmtp_jax.potential.potential import Potential
    from mmtp_jax.simulation.relaxation.options import RelaxOptions
    from mmtp_jax.simulation.relaxation.reliability import RelaxReliability
    from mmtp_jax.simulation.relaxation.structures import Frame
    from mmtp_jax.structures.structure import Structure

LISTED = 20
"""Configurations that are listed one by one on the terminal."""

_EPILOG = """\
examples:
  mmtp relax pot.mtp configurations.cfg -o relaxed.cfg
  mmtp relax pot.mtp start.extxyz --cell volume --pressure 10 -o relaxed.extxyz
  mmtp relax pot.0.mtp pot.1.mtp pot.2.mtp start.extxyz -o relaxed.extxyz --json relax.json
  mmtp relax pot.mtp a.cfg --cell xx yy --trajectory steps.extxyz --json relax.json
  mmtp relax pot.mtp new.cfg --active-set active.npz --grade-break 10 --candidates met.cfg
  mmtp template relax > relax.toml; mmtp relax --settings relax.toml --plot relax.png

The share that is relaxed is the relaxation reliability of Kotykhov 2024, Table 4. Errors are those
of relaxed configurations against --reference, or else against configurations of DATA whose labels
say that their source has relaxed them (forces up to 0.02 eV/Angstrom, stress 0.5 GPa, magnetic
forces 1e-3 eV/mu_B). --cell takes full, volume, shape, c/a, tetragonal, none, or components of the
strain among xx yy zz yz xz xy; put files before it. With several potentials all is done with each,
with numbers in the names of outputs, and energies, volumes and moments have two standard
deviations; with --committee mean once, on their mean energy. The exit status is 1 if not all
are relaxed.
"""


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "relax",
        help="positions, cells and moments that minimise the enthalpy",
        description="Minimise the enthalpy over positions, cells and magnetic moments, from those "
        "of the file.",
        epilog=_EPILOG,
    )
    declare(parser, RelaxSettings, check)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    settings = collect(args)[0]
    return run_simulation(settings, partial(_check_files, inputs_of(settings, args)), _of_one)


def _check_files(inputs: Sequence[str], settings: RelaxSettings) -> None:
    output = settings.output
    written = (output.output, output.json, settings.preselection.candidates, output.trajectory)
    console.check_outputs(
        *written, plots=[output.plot], configurations=[output.output, output.trajectory]
    )
    for path in (*written, output.plot):
        console.check_distinct(path, inputs)


def _of_one(settings: RelaxSettings, member: Member) -> Found:
    output, moments = settings.output, settings.moments
    start = moments_of_words(moments.start)

    import mmtp_jax as mmtp
    from mmtp_jax.interfaces.dynamics import trajectory_paths
    from mmtp_jax.io.schema import SOURCE
    from mmtp_jax.progress import CountProgress
    from mmtp_jax.simulation.relaxation.options import RelaxOptions

    cell = " ".join(settings.relaxation.cell)
    options = RelaxOptions(
        **{**vars(settings.relaxation), "cell": cell},
        moments=moments.moments,
        allow_flips=moments.allow_flips,
        directions=moments.directions,
    )
    potential = member.potential
    atoms_list = read_start(settings.input, potential)
    references = _references(settings, potential, atoms_list, options)
    watched = Watched(settings.preselection, member.name, potential)
    traces: list[list[Frame]] = [[] for _ in atoms_list]
    console.say_kept(*trajectory_paths(output.trajectory, len(atoms_list)))
    with CountProgress(len(atoms_list), "configurations") as progress:
        found = mmtp.relax(
            potential, atoms_list, **vars(options), start=start, scale=moments.scale,
            trajectory=output.trajectory, watch=watched.watch, keep=watched.keep,
            callback=progress,
            record=None if output.plot is None else lambda k, frame: traces[k].append(frame),
        )  # fmt: skip
    names = [getattr(atoms, SOURCE, f"{k}") for k, atoms in enumerate(atoms_list, 1)]
    content = _report(settings, member, names, found, references)
    for k, (name, result) in enumerate(zip(names, found, strict=True)):
        if result.status.name == "WATCH":
            print(watched.stopped(name, k))
    watched.sample(0, [result.atoms for result in found])
    watched.report()
    figure = None if output.plot is None else _plot(output.plot, traces, names)
    status = int(not all(result.converged for result in found))
    if any(result.status.name == "INTERRUPTED" for result in found):
        status = console.INTERRUPTED
    return Found(status, content, figure=figure)


def _plot(path: str, traces: Sequence[Sequence[Frame]], names: Sequence[str]) -> Figure | None:
    from mmtp_jax import plot
    from mmtp_jax.plot.style import save_figure

    try:
        figure = plot.relaxation(traces, names)
    except ValueError as error:
        console.warn(f"{path} is not written: {error}")
        return None
    save_figure(path, figure)
    print(f"wrote {path}")
    return figure


def _references(
    settings: RelaxSettings,
    potential: Potential,
    atoms_list: Sequence[Atoms],
    options: RelaxOptions,
) -> list[Structure | None]:
    from mmtp_jax.io.convert import structures_for
    from mmtp_jax.io.missing_moments import with_moments
    from mmtp_jax.simulation.relaxation.reliability import relaxed_reference

    path = settings.input.reference
    if path is None:
        labelled = structures_for(potential, atoms_list, vectors=True)
        return [relaxed_reference(structure, options) for structure in labelled]
    given = with_moments(
        console.read_data(path, potential.species, settings.input),
        may_skip=False,
        non_magnetic=potential.non_magnetic,
    )
    if len(given) != len(atoms_list):
        raise ValueError(
            f"{path} has {counted(len(given), 'configuration')} for {len(atoms_list)} to relax; "
            "give one for each, in the same order"
        )
    return structures_for(potential, given, vectors=True)


def _report(
    settings: RelaxSettings,
    member: Member,
    names: Sequence[str],
    found: Sequence[Relaxation],
    references: Sequence[Structure | None],
) -> dict[str, Any]:
    import mmtp_jax as mmtp
    from mmtp_jax.simulation.relaxation.reliability import relax_reliability

    options, output, species = settings.relaxation, settings.output, member.potential.species
    report = relax_reliability(references, [result.details for result in found], species)
    print(listing(names, found))
    print()
    print(table(report))
    if output.output is not None:
        console.say_kept(output.output)
        mmtp.write(output.output, [result.atoms for result in found], species=species)
        print(f"\nwrote {output.output}")
    return {
        "cell": " ".join(options.cell),
        "pressure_GPa": options.pressure_GPa,
        "tolerances": {
            "force": options.force_tolerance,
            "stress_GPa": options.stress_tolerance_GPa,
            "magnetic": options.magnetic_tolerance,
        },
        "reliability": dataclasses.asdict(report),
        "configurations": [
            {
                "name": name,
                "status": result.status.name.lower(),
                "message": result.message,
                COUNTS: result.converged,
                "energy": result.energy,
                "enthalpy": result.enthalpy,
                "volume": result.volume,
                "magmom": result.magmoms.sum(axis=0).tolist(),
                "force": result.force,
                "stress_GPa": result.stress_GPa,
                "magnetic_force": result.magnetic_force,
                "n_steps": result.n_steps,
                "n_evaluations": result.n_evaluations,
                "magmoms": result.magmoms.tolist(),
            }
            for name, result in zip(names, found, strict=True)
        ],
    }


def listing(names: Sequence[str], found: Sequence[Relaxation]) -> str:
    """One line for each of the first `LISTED` configurations, in units per atom."""
    lines = [f"{'eV/atom':>14}{'A^3/atom':>10}{'mu_B/atom':>11}{'steps':>7}  configuration"]
    for name, result in list(zip(names, found, strict=True))[:LISTED]:
        n = len(result.magmoms)
        volume = "" if result.volume is None else f"{result.volume / n:.4f}"
        lines.append(
            f"{result.energy / n:>14.5f}{volume:>10}{_total(result.magmoms) / n:>11.4f}"
            f"{result.n_steps:>7}  {name}"
            + ("" if result.converged else f": {result.status.name.lower().replace('_', ' ')}")
        )
    if len(found) > LISTED:
        lines.append(f"and {len(found) - LISTED} more")
    return "\n".join(lines)


def _total(magmoms: np.ndarray) -> float:
    """The sum of collinear moments, or the length of that of vectors, mu_B."""
    total = magmoms.sum(axis=0)
    return float((total @ total) ** 0.5 if total.ndim else total)


def table(report: RelaxReliability) -> str:
    """The report in words, one number per line."""
    from mmtp_jax.simulation.relaxation.status import RelaxStatus

    rows = [
        ("relaxation reliability", f"{100 * report.relaxed:.1f} %"),
        ("stopped where the potential is not known", f"{100 * report.left_covered_region:.1f} %"),
        ("moments that changed sign or turned > 90 deg", f"{report.flipped} of {report.n_atoms}"),
        ("steps, mean and most", f"{report.mean_steps:.1f}, {report.max_steps}"),
        ("evaluations, mean", f"{report.mean_evaluations:.1f}"),
    ]
    if report.n_reference:
        relaxed = f"{report.n_reference_relaxed} of {report.n_reference}"
        rows.append(("references whose configuration relaxed", relaxed))
        errors = (
            ("energy", report.energy_rmse, 1e3, "meV/atom"),
            ("lengths of the cell vectors", report.length_rmse, 1.0, "Angstrom"),
            ("volume", report.volume_rmse, 1.0, "A^3/atom"),
            ("total moment", report.total_magmom_rmse, 1.0, "mu_B/atom"),
            *(
                (f"moments of {symbol}", value, 1.0, "mu_B")
                for symbol, value in report.magmom_rmse.items()
            ),
        )
        rows += [
            (f"RMSE of the {what}", f"{factor * value:.4f} {unit}")
            for what, value, factor, unit in errors
            if value is not None
        ]
    n, n_atoms = report.n_configurations, report.n_atoms
    lines = [f"{counted(n, 'configuration')}, {counted(n_atoms, 'atom')}", ""]
    lines += [f"{name:<44}{value:>18}" for name, value in rows]
    if not report.n_reference:
        lines.append("no errors: there is no relaxed reference")
    lines += [
        f"{count} x {RelaxStatus[name.upper()].message}"
        for name, count in report.statuses.items()
        if name != "converged"
    ]
    return "\n".join(lines)
