"""``mmtp quickstart``: the main demonstration, a fit to real DFT data of magnetic iron."""

from __future__ import annotations

import argparse
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmtp_jax.active.beside import path_beside
from mmtp_jax.cli import console
from mmtp_jax.cli.command_line import number
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.fit_output import (
    print_labels,
    report_content,
    run_fit,
    write_active_set,
    write_parity,
)
from mmtp_jax.options import LEVEL, SEED, Bounds

if TYPE_CHECKING:
    from ase import Atoms

DATA = ("fe_cdft.extxyz", "fe_cdft_more.extxyz", "fe_cdft_disordered.extxyz")
_HELD_OUT = 0.2
_FORM = {"species": ("Fe",), "cutoff": 5.0}

_EPILOG = """\
example:
  mmtp quickstart --output demo

It takes about a minute on two processor cores, most of it compilation, and less the next time.
"""


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "quickstart",
        help="fit real DFT data of iron in about a minute",
        description="Fit a potential to constrained-DFT data of magnetic iron that come with the "
        "program, and write potential, active set, report and parity plot.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "-o", "--output", metavar="DIR", default=".", help="folder to write to (default this one)"
    )
    parser.add_argument(
        "--level", type=number(int, LEVEL), default=8, metavar="N", help="level (default 8)"
    )
    parser.add_argument(
        "--max-iterations",
        type=number(int, Bounds(least=0, most=10**9)),
        default=1000,
        metavar="N",
        help="steps (default 1000)",
    )
    parser.add_argument(
        "--seed", type=number(int, SEED), default=0, metavar="N", help="of the start (default 0)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    folder = Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: str(folder / name) for name in ("pot.mtp", "report.json", "parity.png")}
    console.check_outputs(*paths.values(), path_beside(paths["pot.mtp"]))

    import mmtp_jax as mmtp

    potential = mmtp.Potential.new(level=args.level, seed=args.seed, **_FORM)
    atoms_list = shipped_iron()
    kept, held_out = mmtp.split(len(atoms_list), _HELD_OUT, args.seed)
    training, validation = [atoms_list[k] for k in kept], [atoms_list[k] for k in held_out]

    print(
        "Data: DFT calculations (ABINIT, PBE) of small cells of bcc iron, ferro- and\n"
        "antiferromagnetic or disordered, strained and displaced, with the moment of each atom\n"
        "held at a prescribed value. Magnetic forces are -dE/dm, the pull on a moment."
    )
    print_labels("to fit", training, potential)
    print_labels("held out, to see how the potential does on data it was not fitted to",
                 validation, potential)  # fmt: skip
    print()
    print("Potential: a magnetic moment tensor potential; a higher level has more parameters.")
    print(console.describe(potential, domain=False))
    print()
    fit = run_fit(potential, training, validation, max_iterations=args.max_iterations)
    print("RMSE is the root mean square error, MAE the mean absolute error. Errors of the")
    print("validation set close to those of the training set mean that it is not overfitted.")
    print()
    print(f"wrote {console.save_potential(paths['pot.mtp'], fit.potential)}")
    write_active_set(paths["pot.mtp"], fit, training)
    settings = {"level": args.level, "max_iterations": args.max_iterations, "seed": args.seed}
    console.write_json(paths["report.json"], report_content(fit, {"quickstart": settings}))
    print(f"wrote {paths['report.json']}")
    write_parity(paths["parity.png"], fit.potential, training, validation)
    print(f"wrote {paths['parity.png']}")
    if fit.interrupted:
        return console.INTERRUPTED
    print(_next_steps(paths["pot.mtp"]))
    return 0


def shipped_iron() -> list[Atoms]:
    """The labels of iron that are for fits."""
    import mmtp_jax as mmtp

    atoms_list = []
    for name in DATA:
        with as_file(files("mmtp_jax") / "data" / name) as path:
            atoms_list += mmtp.read(str(path), species=_FORM["species"])
    return atoms_list


def _next_steps(potential: str) -> str:
    return f"""
What to try next
  A potential that comes with the program, fitted to all of these data, to use by its name:

    mmtp potentials Fe

  The potential in Python, as a calculator of ASE:

    from ase.build import bulk
    from mmtp_jax import MMTPCalculator
    atoms = bulk("Fe", a=2.83, cubic=True)
    atoms.set_initial_magnetic_moments([2.2, 2.2])
    atoms.calc = MMTPCalculator({potential!r})
    print(atoms.get_potential_energy(), atoms.calc.magnetic_forces)

  Your own data, in .cfg, .extxyz or any format that ASE reads; --species takes all their elements:

    mmtp fit train.cfg --level 12 --species Fe --validation 0.1 -o new.mtp
"""
