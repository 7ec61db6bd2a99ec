"""``mmtp relax``: positions, cells and moments that minimise the enthalpy, and how reliably."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import console
from mmtp_jax.cli.commands.equilibrate import moments_of_words
from mmtp_jax.cli.commands.evaluate import add_reading_options
from mmtp_jax.cli.console import add_command

if TYPE_CHECKING:
    from ase import Atoms

    from mmtp_jax.active.preselection import Preselection
    from mmtp_jax.interfaces.relaxation import Relaxation
    from mmtp_jax.potential.potential import Potential
    from mmtp_jax.simulation.relaxation.options import RelaxOptions
    from mmtp_jax.simulation.relaxation.reliability import RelaxReliability
    from mmtp_jax.structures.structure import Structure

LISTED = 20
"""Configurations that are listed one by one on the terminal."""

_EPILOG = """\
examples:
  mmtp relax pot.mtp configurations.cfg -o relaxed.cfg
  mmtp relax pot.mtp start.extxyz --cell volume --pressure 10 -o relaxed.extxyz
  mmtp relax pot.mtp a.cfg --cell xx yy --trajectory steps.extxyz --json relax.json
  mmtp relax pot.mtp new.cfg --active-set active.npz --grade-high 10 --candidates met.cfg

The share that is relaxed is the relaxation reliability of Kotykhov 2024, Table 4. Errors are those
of relaxed configurations against --reference, or else against configurations of DATA whose labels
say that their source has relaxed them (forces up to 0.02 eV/Angstrom, stress 0.5 GPa, magnetic
forces 1e-3 eV/mu_B). --cell takes full, volume, shape, c/a, tetragonal, none, or components of the
strain among xx yy zz yz xz xy; put files before it. The exit status is 1 if not all are relaxed.
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
    parser.add_argument("potential", metavar="POTENTIAL", help="potential, .mtp")
    parser.add_argument("data", metavar="DATA", nargs="+", help="configurations of any format")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="relaxed configurations, .cfg or .extxyz"
    )
    parser.add_argument(
        "--cell", nargs="+", default=["full"], metavar="WHAT", help="what may change (default full)"
    )
    parser.add_argument(
        "--pressure", type=float, default=0.0, metavar="GPA", help="positive compresses"
    )
    for name, default, unit in (
        ("force", 1e-3, "force at the end, eV/Angstrom"),
        ("stress", 1e-2, "component of stress plus pressure, GPa"),
        ("magnetic", 1e-3, "magnetic force at the end, eV/mu_B"),
    ):
        parser.add_argument(
            f"--{name}-tolerance",
            type=float,
            default=default,
            metavar="X",
            help=f"largest {unit} (default {default:g})",
        )
    parser.add_argument(
        "--max-steps", type=int, default=300, help="most steps of each (default 300)"
    )
    parser.add_argument(
        "--start",
        nargs="+",
        metavar="SYMBOL=MOMENT",
        help="start from a moment for each species (mu_B), not from those of the file",
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help="factor of the moments at the start"
    )
    parser.add_argument("--allow-flips", action="store_true", help="moments may change their sign")
    parser.add_argument("--fixed-moments", action="store_true", help="keep the moments")
    parser.add_argument("--fixed-positions", action="store_true", help="atoms only follow the cell")
    parser.add_argument(
        "--max-volume-change",
        type=float,
        default=0.5,
        metavar="X",
        help="stop when the volume has grown by this share, or shrunk likewise (default 0.5)",
    )
    parser.add_argument(
        "--unbounded",
        action="store_true",
        help="go on at distances and moments that the potential does not cover",
    )
    parser.add_argument(
        "--trajectory", metavar="FILE", help="all steps, one file for each configuration"
    )
    parser.add_argument(
        "--reference", metavar="FILE", help="relaxed configurations to compare with, in this order"
    )
    parser.add_argument("--json", metavar="FILE", help="the numbers of the table, and each result")
    _add_preselection(parser)
    add_reading_options(parser)
    parser.set_defaults(run=run)


def _add_preselection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--active-set", metavar="NPZ", help="watch the grade by this set (mmtp grade writes it)"
    )
    parser.add_argument(
        "--grade-low", type=float, metavar="X", help="grade from which to keep (default 2)"
    )
    parser.add_argument(
        "--grade-high", type=float, metavar="X", help="grade above which to stop (default 10)"
    )
    parser.add_argument(
        "--candidates", metavar="FILE", help="configurations above the lower grade, .cfg or .extxyz"
    )


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    written = (args.output, args.json, args.candidates, args.trajectory)
    console.check_outputs(*written)
    inputs = [args.potential, *args.data, *(f for f in (args.reference, args.active_set) if f)]
    for path in written:
        console.check_distinct(path, inputs)
    if args.active_set is None and (args.grade_low or args.grade_high or args.candidates):
        raise ValueError("--grade-low, --grade-high and --candidates need an --active-set")
    start = moments_of_words(args.start)

    import mmtp_jax as mmtp
    from mmtp_jax.cli.progress import CountProgress
    from mmtp_jax.simulation.relaxation.options import RelaxOptions

    options = RelaxOptions(
        cell=" ".join(args.cell),
        positions=not args.fixed_positions,
        moments="fixed" if args.fixed_moments else "equilibrate",
        allow_flips=args.allow_flips,
        pressure_GPa=args.pressure,
        force_tolerance=args.force_tolerance,
        stress_tolerance_GPa=args.stress_tolerance,
        magnetic_tolerance=args.magnetic_tolerance,
        max_steps=args.max_steps,
        max_volume_change=args.max_volume_change,
        bounded=not args.unbounded,
    )
    potential = mmtp.load(args.potential, species=console.check_species(args.species))
    atoms_list = console.read_data(args.data, potential.species, args.magnetic_gradient)
    references = _references(args, potential, atoms_list, options)
    watch, kept = _watch(args, potential), []
    with CountProgress(len(atoms_list), "configurations") as progress:
        found = mmtp.relax(
            potential, atoms_list, **vars(options), start=start, scale=args.scale,
            trajectory=args.trajectory, watch=watch, keep=kept.extend, callback=progress,
        )  # fmt: skip
    _report(args, potential, atoms_list, found, references)
    if args.candidates is not None:
        _write_candidates(args.candidates, potential, kept)
    if any(result.status.name == "INTERRUPTED" for result in found):
        return console.INTERRUPTED
    return 0 if all(result.converged for result in found) else 1


def _references(
    args: argparse.Namespace,
    potential: Potential,
    atoms_list: Sequence[Atoms],
    options: RelaxOptions,
) -> list[Structure | None]:
    from mmtp_jax.io.convert import to_structures
    from mmtp_jax.simulation.relaxation.reliability import relaxed_reference

    if args.reference is None:
        labelled = to_structures(atoms_list, potential.species)
        return [relaxed_reference(structure, options) for structure in labelled]
    given = console.read_data(args.reference, potential.species, args.magnetic_gradient)
    if len(given) != len(atoms_list):
        raise ValueError(
            f"{args.reference} has {len(given)} configurations for {len(atoms_list)} to relax; "
            "give one for each, in the same order"
        )
    return list(to_structures(given, potential.species))


def _watch(args: argparse.Namespace, potential: Potential) -> Preselection | None:
    if args.active_set is None:
        return None
    from mmtp_jax.active.active_set import ActiveSet
    from mmtp_jax.active.preselection import Preselection, Thresholds

    given = {"low": args.grade_low, "high": args.grade_high}
    thresholds = Thresholds(**{k: v for k, v in given.items() if v is not None})
    return Preselection.of(ActiveSet.load(args.active_set, potential), thresholds)


def _write_candidates(path: str, potential: Potential, blocks: Sequence[Any]) -> None:
    import mmtp_jax as mmtp
    from mmtp_jax.active.candidates import candidates_of
    from mmtp_jax.cli.commands.grade import GRADE

    candidates = [candidate for block in blocks for candidate in candidates_of(block)]
    if not candidates:
        print(f"no configuration had a grade to be kept for; {path} is not written")
        return
    found = []
    for candidate in candidates:
        atoms = _bare_atoms(potential, candidate.structure)
        atoms.info[GRADE] = candidate.grade
        found.append(atoms)
    mmtp.write(path, found, species=potential.species)
    print(f"wrote {path}, {len(found)} candidates")


def _bare_atoms(potential: Potential, structure: Structure) -> Atoms:
    from ase import Atoms

    return Atoms(
        [potential.species[k] for k in structure.types],
        structure.positions,
        cell=structure.cell,
        pbc=structure.periodic,
        magmoms=structure.magmoms,
    )


def _report(
    args: argparse.Namespace,
    potential: Potential,
    atoms_list: Sequence[Atoms],
    found: Sequence[Relaxation],
    references: Sequence[Structure | None],
) -> None:
    import mmtp_jax as mmtp
    from mmtp_jax.io.schema import SOURCE
    from mmtp_jax.simulation.relaxation.reliability import relax_reliability

    names = [getattr(atoms, SOURCE, f"{k}") for k, atoms in enumerate(atoms_list, 1)]
    report = relax_reliability(references, [result.details for result in found], potential.species)
    print(listing(names, found))
    print()
    print(table(report))
    if args.output is not None:
        mmtp.write(args.output, [result.atoms for result in found], species=potential.species)
        print(f"\nwrote {args.output}")
    if args.json is not None:
        console.write_json(
            args.json,
            {
                "mmtp_jax": mmtp.__version__,
                "potential": args.potential,
                "data": args.data,
                "cell": " ".join(args.cell),
                "pressure_GPa": args.pressure,
                "tolerances": {
                    "force": args.force_tolerance,
                    "stress_GPa": args.stress_tolerance,
                    "magnetic": args.magnetic_tolerance,
                },
                "reliability": dataclasses.asdict(report),
                "configurations": [
                    {
                        "name": name,
                        "status": result.status.name.lower(),
                        "message": result.message,
                        "n_steps": result.n_steps,
                        "n_evaluations": result.n_evaluations,
                        "energy": result.energy,
                        "enthalpy": result.enthalpy,
                        "volume": result.volume,
                        "force": result.force,
                        "stress_GPa": result.stress_GPa,
                        "magnetic_force": result.magnetic_force,
                        "magmoms": result.magmoms.tolist(),
                    }
                    for name, result in zip(names, found, strict=True)
                ],
            },
        )
        print(f"wrote {args.json}")


def listing(names: Sequence[str], found: Sequence[Relaxation]) -> str:
    """One line for each of the first `LISTED` configurations, in units per atom."""
    lines = [f"{'eV/atom':>14}{'A^3/atom':>10}{'mu_B/atom':>11}{'steps':>7}  configuration"]
    for name, result in list(zip(names, found, strict=True))[:LISTED]:
        n = len(result.magmoms)
        volume = "" if result.volume is None else f"{result.volume / n:.4f}"
        lines.append(
            f"{result.energy / n:>14.5f}{volume:>10}{result.magmoms.sum() / n:>11.4f}"
            f"{result.n_steps:>7}  {name}"
            + ("" if result.converged else f": {result.status.name.lower().replace('_', ' ')}")
        )
    if len(found) > LISTED:
        lines.append(f"and {len(found) - LISTED} more")
    return "\n".join(lines)


def table(report: RelaxReliability) -> str:
    """The report in words, one number per line."""
    from mmtp_jax.simulation.relaxation.status import RelaxStatus

    rows = [
        ("relaxation reliability", f"{100 * report.relaxed:.1f} %"),
        ("stopped where the potential is not known", f"{100 * report.left_covered_region:.1f} %"),
        ("moments that changed their sign", f"{report.flipped} of {report.n_atoms}"),
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
    lines = [f"{report.n_configurations} configurations, {report.n_atoms} atoms", ""]
    lines += [f"{name:<44}{value:>18}" for name, value in rows]
    if not report.n_reference:
        lines.append("no errors: there is no relaxed reference")
    lines += [
        f"{count} x {RelaxStatus[name.upper()].message}"
        for name, count in report.statuses.items()
        if name != "converged"
    ]
    return "\n".join(lines)
