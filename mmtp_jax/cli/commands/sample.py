"""``mmtp sample``: averages over disordered magnetic states at fixed geometry."""

from __future__ import annotations

import argparse
from typing import Any

from mmtp_jax.cli import console
from mmtp_jax.cli.console import add_command

_EPILOG = """\
examples:
  mmtp sample pot.mtp cell.cfg -n 100 --plot convergence.png
  mmtp sample pot.mtp crn.extxyz -n 50 --magnetic Cr --json average.json

Half of the magnetic moments of each species point up and half down, at random; the magnitudes of
the file are equilibrated for each state (Kotykhov 2025, Sec. III.B).
"""


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "sample",
        help="averages over disordered magnetic states",
        description="Average energy, forces and stress over random collinear states without net "
        "moment, at fixed positions: the paramagnetic state.",
        epilog=_EPILOG,
    )
    parser.add_argument("potential", metavar="POTENTIAL", help="potential, .mtp")
    parser.add_argument("data", metavar="DATA", help="configuration with moments; the first counts")
    parser.add_argument("-n", type=int, default=50, help="number of states (default 50)")
    parser.add_argument(
        "--magnetic", nargs="+", metavar="SYMBOL", help="species with disordered signs"
    )
    parser.add_argument(
        "--fixed", action="store_true", help="keep the magnitudes, do not equilibrate them"
    )
    parser.add_argument("--species", nargs="+", metavar="SYMBOL", help="symbols of the types")
    parser.add_argument("--atom", type=int, default=0, help="whose force is plotted (default 0)")
    parser.add_argument("--seed", type=int, default=0, help="of the states (default 0)")
    parser.add_argument("--json", metavar="FILE", help="averages and standard errors")
    parser.add_argument("--plot", metavar="FILE", help="convergence with the number of states")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    console.check_outputs(args.json, plots=[args.plot])
    for path in (args.json, args.plot):
        console.check_distinct(path, [args.potential, args.data])

    import mmtp_jax as mmtp
    from mmtp_jax.cli.progress import CountProgress

    potential = mmtp.load(args.potential, species=console.check_species(args.species))
    atoms = console.read_data(args.data, potential.species)[0]
    if not 0 <= args.atom < len(atoms):
        raise ValueError(f"--atom must be between 0 and {len(atoms) - 1}, got {args.atom}")
    with CountProgress(args.n, "states") as progress:
        states = mmtp.sample_disorder(
            potential, atoms, args.n, moments="fixed" if args.fixed else "equilibrate",
            magnetic=args.magnetic, seed=args.seed, callback=progress,
        )  # fmt: skip
    n, error = len(atoms), states.error("forces")
    print(f"{len(states.energies)} states of {n} atoms, {int(states.magnetic.sum())} magnetic")
    if states.n_failed:
        print(f"{states.n_failed} more do not count: their moments could not be equilibrated")
    print(f"energy  {states.energy / n:.6f} +- {states.energy_error / n:.2g} eV/atom")
    force, of_force = states.forces[args.atom], error[args.atom]
    print(f"force on atom {args.atom}  {_with_errors(force, of_force)} eV/Angstrom")
    content = {
        "mmtp_jax": mmtp.__version__,
        "n_states": len(states.energies),
        "n_failed": states.n_failed,
        "energy": states.energy,
        "energy_error": states.energy_error,
        "forces": states.forces.tolist(),
        "forces_error": error.tolist(),
    }
    if states.all_stresses is not None:
        stress, of_stress = states.stress, states.error("stress")
        print(f"stress  {_with_errors(160.21766 * stress, 160.21766 * of_stress)} GPa")
        content |= {"stress": stress.tolist(), "stress_error": of_stress.tolist()}
    if args.json is not None:
        console.write_json(args.json, content)
        print(f"wrote {args.json}")
    if args.plot is not None:
        from mmtp_jax.cli.plots import save_figure
        from mmtp_jax.cli.spin_plots import convergence_figure

        save_figure(args.plot, convergence_figure(states, args.atom))
        print(f"wrote {args.plot}")


def _with_errors(values: Any, errors: Any) -> str:
    return "  ".join(f"{v:.4g} +- {e:.2g}" for v, e in zip(values, errors, strict=True))
