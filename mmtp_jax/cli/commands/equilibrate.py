"""``mmtp equilibrate``: moments that minimise the energy, and how reliably they are found."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import console
from mmtp_jax.cli.commands.evaluate import add_reading_options
from mmtp_jax.cli.console import add_command

if TYPE_CHECKING:
    from mmtp_jax.simulation.moments.reliability import Reliability

_EPILOG = """\
examples:
  mmtp equilibrate pot.mtp configurations.cfg -o equilibrated.cfg
  mmtp equilibrate pot.mtp new.extxyz --start Fe=2.2 Al=-0.1 --json reliability.json

The share that converges to 5e-6 eV/mu_B is the equilibration reliability of Kotykhov 2024, Table
3. Errors are those of the configurations that converged and whose own magnetic forces are unknown
or at most 1e-3 eV/mu_B: the moments of others were constrained, and are no reference.
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
    parser.add_argument("potential", metavar="POTENTIAL", help="potential, .mtp")
    parser.add_argument("data", metavar="DATA", nargs="+", help="configurations of any format")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="configurations at their new moments, .cfg or .extxyz",
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
    parser.add_argument(
        "--tolerance",
        type=float,
        default=5e-6,
        help="largest magnetic force at the end, eV/mu_B (default 5e-6)",
    )
    parser.add_argument(
        "--max-steps", type=int, default=200, help="most evaluations of each (default 200)"
    )
    parser.add_argument("--allow-flips", action="store_true", help="moments may change their sign")
    parser.add_argument("--json", metavar="FILE", help="the numbers of the table, and each result")
    add_reading_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    console.check_outputs(args.output, args.json)
    for path in (args.output, args.json):
        console.check_distinct(path, [args.potential, *args.data])
    start = moments_of_words(args.start)

    import mmtp_jax as mmtp
    from mmtp_jax.cli.progress import CountProgress
    from mmtp_jax.interfaces.equilibration import equilibration_of, start_structures
    from mmtp_jax.io.convert import to_structures
    from mmtp_jax.simulation.moments.reliability import reliability
    from mmtp_jax.simulation.moments.structures import MomentOptions, equilibrate_structures

    options = MomentOptions(
        tolerance=args.tolerance, max_steps=args.max_steps, allow_flips=args.allow_flips
    )
    potential = mmtp.load(args.potential, species=console.check_species(args.species))
    atoms_list = console.read_data(args.data, potential.species, args.magnetic_gradient)
    references = to_structures(atoms_list, potential.species)
    structures = start_structures(potential, atoms_list, start, args.scale)
    with CountProgress(len(structures), "configurations") as progress:
        found = equilibrate_structures(potential, structures, options, callback=progress)
    report = reliability(references, found, potential.species)
    print(table(report, args.tolerance))
    if args.output is not None:
        results = [equilibration_of(a, f) for a, f in zip(atoms_list, found, strict=True)]
        mmtp.write(args.output, [result.atoms for result in results], species=potential.species)
        print(f"\nwrote {args.output}")
    if args.json is not None:
        console.write_json(
            args.json,
            {
                "mmtp_jax": mmtp.__version__,
                "potential": args.potential,
                "data": args.data,
                "tolerance": args.tolerance,
                "reliability": dataclasses.asdict(report),
                "configurations": [
                    {
                        "name": structure.name,
                        "status": result.status.name.lower(),
                        "n_steps": result.n_steps,
                        "residual": result.residual,
                        "energy": result.result.energy,
                    }
                    for structure, result in zip(structures, found, strict=True)
                ],
            },
        )
        print(f"wrote {args.json}")


def table(report: Reliability, tolerance: float) -> str:
    """The report in words, one number per line."""
    from mmtp_jax.simulation.moments.steps import Status

    rows = [
        (f"converged (all |T| < {tolerance:g} eV/mu_B)", f"{100 * report.converged:.1f} %"),
        ("moments held at a bound or at zero", f"{100 * report.held:.1f} %"),
        ("moments that changed their sign", f"{report.flipped} of {report.n_atoms}"),
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
    lines = [f"{report.n_configurations} configurations, {report.n_atoms} atoms", ""]
    lines += [f"{name:<44}{value:>16}" for name, value in rows]
    if not report.n_reference:
        lines.append("no errors: no configuration is an equilibrium of its source")
    lines += [
        f"{count} x {Status[name.upper()].message}"
        for name, count in report.statuses.items()
        if name != "converged"
    ]
    return "\n".join(lines)


def moments_of_words(words: list[str] | None) -> dict[str, float] | None:
    """Moments by species from words like ``Fe=2.2``, which may also stand in one argument."""
    if words is None:
        return None
    found = {}
    for word in " ".join(words).replace(",", " ").split():
        symbol, _, value = word.partition("=")
        try:
            found[symbol] = float(value)
        except ValueError:
            raise ValueError(
                f"--start takes a moment for each species, e.g. --start Fe=2.2 Al=-0.1, and got "
                f"{word!r}; put files before it"
            ) from None
    return found
