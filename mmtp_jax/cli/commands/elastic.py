"""``mmtp elastic``: elastic constants of a magnetic state, or of the paramagnetic one."""

from __future__ import annotations

import argparse
from typing import Any

from mmtp_jax.cli import console
from mmtp_jax.cli.command_line import number
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.property_output import PropertyFiles
from mmtp_jax.options import ANY_SEED, POSITIVE

_EPILOG = """\
examples:
  mmtp elastic pot.mtp fe.cfg -o fe
  mmtp elastic pot.mtp crn_supercell.extxyz --states 50 --magnetic Cr -o paramagnetic

The state is relaxed, then the energy is differentiated twice by the strain, with moments and
positions that follow (Kotykhov 2025, Table II). With --states, second derivatives are averaged over
disordered states of an ideal supercell. Files: PREFIX.json, PREFIX.csv, PREFIX.pdf and PREFIX.png.
The exit status is 1 if the crystal is elastically unstable.
"""


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "elastic",
        help="elastic constants in a magnetic state",
        description="Elastic constants by exact second derivatives, with moments and positions "
        "that follow the strain; stability and averages of a polycrystal.",
        epilog=_EPILOG,
    )
    parser.add_argument("potential", metavar="POTENTIAL", help="potential, .mtp")
    parser.add_argument("data", metavar="DATA", help="crystal with moments; the first counts")
    parser.add_argument("--no-relax", action="store_true", help="take the configuration as it is")
    parser.add_argument(
        "--max-stress", type=number(float, POSITIVE), default=0.1, metavar="GPA",
        help="largest stress that is neglected (default 0.1)",
    )  # fmt: skip
    parser.add_argument(
        "--states", type=number(int), default=0, metavar="N",
        help="paramagnetic: average over N disordered magnetic states",
    )  # fmt: skip
    parser.add_argument(
        "--magnetic", nargs="+", metavar="SYMBOL", help="species with disordered signs"
    )
    parser.add_argument(
        "--seed", type=number(int, ANY_SEED), default=0, help="of the states (default 0)"
    )
    parser.add_argument("--species", nargs="+", metavar="SYMBOL", help="symbols of the types")
    console.add_key_option(parser)
    parser.add_argument(
        "-o", "--output", default="elastic", metavar="PREFIX", help="of the files (default elastic)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    files = PropertyFiles(args.output, ("",), [args.potential, args.data])

    import mmtp_jax as mmtp
    from mmtp_jax.cli.progress import CountProgress
    from mmtp_jax.cli.property_plots import elastic_figure
    from mmtp_jax.properties.elastic_results import AXES

    potential = mmtp.load(args.potential, species=console.check_species(args.species))
    atoms = console.read_data(args.data, potential.species, keys=args.key)[0]
    options = {"relax": not args.no_relax, "max_stress_GPa": args.max_stress}
    if args.states:
        with CountProgress(args.states, "states") as progress:
            found = mmtp.elastic_constants(
                potential, atoms, states=args.states, magnetic=args.magnetic, seed=args.seed,
                callback=progress, **options,
            )  # fmt: skip
    else:
        found = mmtp.elastic_constants(potential, atoms, **options)
    print(found)
    c11, c12, c44 = found.cubic
    print(f"averaged over the axes: C11 {c11:.1f}, C12 {c12:.1f}, C44 {c44:.1f} GPa")
    if args.states:
        largest = found.error.max()
        print(f"{found.n_states} states, largest standard error {largest:.2g} GPa")
        if found.n_failed:
            print(f"{found.n_failed} more do not count: their moments are at no minimum")
    kinds = {
        "constants": found.constants,
        "clamped_moments": found.clamped_moments,
        "clamped_ions": found.clamped_ions,
        **({"error": found.error} if found.error is not None else {}),
    }
    files.table(
        "",
        ["kind (GPa)", "row", *AXES],
        [[kind, AXES[k], *c[k]] for kind, c in kinds.items() for k in range(6)],
    )
    averages = found.averages
    files.json(
        {
            "potential": args.potential,
            "data": args.data,
            "order": AXES,
            **{f"{kind}_GPa": c.tolist() for kind, c in kinds.items()},
            "cubic_GPa": {"C11": c11, "C12": c12, "C44": c44},
            "is_stable": found.is_stable,
            "lowest_eigenvalue_GPa": found.lowest,
            "averages": {
                **{f"{name}_GPa": value for name, value in vars(averages).items()},
                "young_GPa": averages.young,
                "poisson": averages.poisson,
                "anisotropy": averages.anisotropy,
            },
            "stress_GPa": found.stress.tolist(),
            "volume_per_atom": found.volume,
            "magmoms": found.magmoms.tolist(),
            "n_states": found.n_states,
            "n_failed": found.n_failed,
            "note": found.note,
        }
    )
    files.figure(elastic_figure(found))
    print(files)
    return 0 if found.is_stable else 1
