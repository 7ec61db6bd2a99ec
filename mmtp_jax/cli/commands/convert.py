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

if TYPE_CHECKING:
    from ase import Atoms

_EPILOG = """\
examples:
  mmtp convert OUTCAR train.cfg --species Fe Al
  mmtp convert train.cfg train.extxyz --species Fe Al
  mmtp convert pot.mtp other.mtp --common-interval
  mmtp convert from-mlip.mtp pot.mtp --species Fe Al

The names of the files say the formats. Other programs evaluate the bare energy E(M) of a
potential file: --bare marks it so, which changes the energies of a symmetrised potential.
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
    form.add_argument("--bare", action="store_true", help="mark the energy as the bare E(M)")
    form.add_argument(
        "--symmetrised", action="store_true", help="mark the energy as [E(M) + E(-M)] / 2"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    potentials = [console.is_potential(args.input), console.is_potential(args.output, by_name=True)]
    only_potentials = {
        "--dialect": args.dialect, "--common-interval": args.common_interval,
        "--bare": args.bare, "--symmetrised": args.symmetrised,
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
    if (args.bare and potential.symmetrised) or (args.symmetrised and not potential.symmetrised):
        potential = potential.replace(symmetrised=args.symmetrised)
        form = "[E(M) + E(-M)] / 2" if args.symmetrised else "the bare E(M)"
        console.warn(f"the energy is now {form}: values differ from those of {args.input}")
    if args.common_interval:
        potential = potential.with_common_interval()
    print(console.describe(potential))
    if potential.symmetrised:
        print("  note: other programs take no account of the symmetrisation (see --bare)")
    if len({(float(a), float(b)) for a, b in zip(
        potential.min_magmom, potential.max_magmom, strict=True
    )}) > 1:  # fmt: skip
        print("  note: other programs refuse moment intervals per species (see --common-interval)")
    dialect = args.dialect or "grouped"
    print(f"wrote {console.save_potential(args.output, potential, dialect=dialect)}")


def _convert_configurations(args: argparse.Namespace) -> None:
    import mmtp_jax as mmtp

    reading = given_by(args, LabelReading)
    species = console.check_species(reading.species)
    atoms_list = console.read_data(args.input, species, reading.magnetic_gradient, reading.keys)
    console.say_kept(args.output)
    mmtp.write(args.output, atoms_list, species=species)
    n_atoms = sum(map(len, atoms_list))
    before = labels_carried(atoms_list)
    print(f"{len(atoms_list)} configurations, {n_atoms} atoms")
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
