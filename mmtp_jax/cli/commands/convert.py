"""``mmtp convert``: configurations between formats, potentials between dialects."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import console
from mmtp_jax.cli.command_line import add_options, given_by
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.shared_settings import LabelReading
from mmtp_jax.language import counted

if TYPE_CHECKING:
    from ase import Atoms

    from mmtp_jax.potential.potential import Potential

_EPILOG = """\
examples:
  mmtp convert OUTCAR train.cfg --species Fe Al
  mmtp convert train.cfg train.extxyz --species Fe Al
  mmtp convert pot.mtp other.mtp --common-interval
  mmtp convert from-mlip.mtp pot.mtp --species Fe Al
  mmtp convert pot.mtp even.mtp --form parity --common-interval

The names of the files say the formats. Other programs evaluate the bare energy E(M) of a potential
file, and lose the symmetry of a symmetrised one. --form parity writes the same energy with radial
functions of one parity, which they keep; that file is larger and slower to evaluate there.
--mark-as changes what a file says, and with it the energies.
"""

_KINDS = ("energy", "forces", "stress", "magmoms", "magnetic_forces")


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "convert",
        help="convert configurations between formats, potentials between dialects",
        description="Convert configurations (.cfg, .extxyz, any format of ASE) or a potential "
        "(.mtp) to another format or dialect.",
        epilog=_EPILOG,
    )
    parser.add_argument("input", metavar="IN", help="configurations or .mtp")
    parser.add_argument("output", metavar="OUT", help="file to write")
    add_options(parser, LabelReading)
    group = parser.add_argument_group("potentials")
    group.add_argument(
        "--dialect",
        choices=("grouped", "flat"),
        help="how to write the magnetic basis (default grouped, which MLIP-3 and motep read)",
    )
    group.add_argument(
        "--common-interval",
        action="store_true",
        help="the same function on one moment interval for all species, which other programs need",
    )
    form = group.add_mutually_exclusive_group()
    form.add_argument(
        "--form",
        choices=("parity",),
        help="the same energy of a symmetrised potential with radial functions of one parity",
    )
    form.add_argument(
        "--mark-as",
        choices=("symmetrised", "bare"),
        help="take the energy for [E(M) + E(-M)] / 2 or for E(M), whatever the file says",
    )
    parser.set_defaults(run=run)
    # What `add_options` has put there are those of its own.
    old = {f"--{form}": f"--mark-as={form}" for form in ("bare", "symmetrised")}
    parser.set_defaults(old_flags=(parser.get_default("old_flags") or {}) | old)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    potentials = [console.is_potential(args.input), console.is_potential(args.output, by_name=True)]
    only_potentials = {
        "--dialect": args.dialect, "--common-interval": args.common_interval,
        "--form": args.form, "--mark-as": args.mark_as,
    }  # fmt: skip
    if any(potentials) and not all(potentials):
        raise ValueError("a potential (.mtp) converts only to another potential")
    if not any(potentials) and any(only_potentials.values()):
        wrong = ", ".join(option for option, given in only_potentials.items() if given)
        raise ValueError(f"{wrong}: for potentials (.mtp) only")
    console.check_outputs(
        args.output if potentials[0] else None,
        configurations=(None if potentials[0] else args.output,),
    )
    console.check_distinct(args.output, [args.input])
    if potentials[0]:
        _convert_potential(args)
    else:
        _convert_configurations(args)


def _convert_potential(args: argparse.Namespace) -> None:
    import mmtp_jax as mmtp

    reading = given_by(args, LabelReading)
    potential = mmtp.load(args.input, species=console.check_species(reading.species))
    if args.mark_as not in (None, potential.form):
        potential = potential.replace(form=args.mark_as, parities="")
        form = "[E(M) + E(-M)] / 2" if args.mark_as == "symmetrised" else "the bare E(M)"
        console.warn(f"the energy is now {form}: values differ from those of {args.input}")
    if args.form is not None:
        potential = _with_parity(potential)
    if args.common_interval:
        potential = potential.with_common_interval()
    print(console.describe(potential))
    if potential.form == "symmetrised":
        print("  note: other programs take no account of the symmetrisation (see --form)")
    dialect = args.dialect or "grouped"
    print(f"wrote {console.save_potential(args.output, potential, dialect=dialect)}")


def _with_parity(potential: Potential) -> Potential:
    """The same energy with radial functions of one parity; says what it costs."""
    from mmtp_jax.potential.parity import as_parity
    from mmtp_jax.precision import double_precision

    if potential.form == "parity":
        print("the radial functions have one parity each already: nothing changes")
        return potential
    found = as_parity(potential)
    old, new = potential.tables, found.tables
    with double_precision():
        before, after = _seconds_per_atom(potential), _seconds_per_atom(found)
    print(
        f"products {len(old.products)} -> {len(new.products)}, radial functions {old.n_radial} -> "
        f"{new.n_radial}, {1e6 * before:.0f} -> {1e6 * after:.0f} us/atom here"
    )
    return found


def _seconds_per_atom(potential: Potential) -> float:
    """Of an evaluation of 54 atoms in bcc places, the best of five."""
    import time

    import numpy as np
    from ase.build import bulk

    import mmtp_jax as mmtp

    lattice = 0.6 * float(potential.cutoff)
    atoms = bulk(potential.species[0], "bcc", a=lattice, cubic=True) * (3, 3, 3)
    atoms.set_initial_magnetic_moments(np.full(len(atoms), 0.5 * float(potential.max_magmom[0])))
    graph = mmtp.graph(potential, atoms)
    times = []
    for _ in range(6):
        start = time.perf_counter()
        mmtp.observables(potential, graph).energy.block_until_ready()
        times.append(time.perf_counter() - start)
    return min(times[1:]) / len(atoms)


def _convert_configurations(args: argparse.Namespace) -> None:
    import mmtp_jax as mmtp

    reading = given_by(args, LabelReading)
    species = console.check_species(reading.species)
    atoms_list = console.read_data(args.input, species, reading)
    console.say_kept(args.output)
    mmtp.write(args.output, atoms_list, species=species, vectors=reading.vectors or None)
    n_atoms = sum(map(len, atoms_list))
    before = labels_carried(atoms_list)
    print(f"{counted(len(atoms_list), 'configuration')}, {counted(n_atoms, 'atom')}")
    for kind in _KINDS:
        print(f"  {kind.replace('_', ' '):<16}{before[kind]:>8}")
    print(f"wrote {args.output}")


def labels_carried(atoms_list: Sequence[Atoms]) -> Counter[str]:
    """Number of configurations with each kind of label."""
    from mmtp_jax.io.schema import MAGNETIC_FORCES, labels_of

    counts: Counter[str] = Counter()
    for atoms in atoms_list:
        labels = labels_of(atoms)
        counts.update(kind for kind in _KINDS if labels.results.get(kind) is not None)
        if MAGNETIC_FORCES not in labels.results and labels.magnetic_forces is not None:
            counts[MAGNETIC_FORCES] += 1
        if "magmoms" not in labels.results and labels.moments is not None:
            counts["magmoms"] += 1
    return counts
