"""``mmtp formation``: formation energies, lattice parameters and moments against composition."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from math import isnan
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import console
from mmtp_jax.cli.command_line import number
from mmtp_jax.cli.commands.evaluate import add_reading_options
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.property_output import PropertyFiles
from mmtp_jax.cli.shared_settings import moments_of_words
from mmtp_jax.options import POSITIVE

if TYPE_CHECKING:
    from ase import Atoms

    from mmtp_jax.properties.formation import FormationEnergies

_EPILOG = """\
examples:
  mmtp formation pot.mtp --data fe-al.cfg --references fe.cfg al.cfg --cell-atoms 2 -o fe-al
  mmtp formation pot.0.mtp pot.1.mtp pot.2.mtp --data fe-al.cfg -o ensemble

All configurations are relaxed (positions, cell and moments). Several potentials give mean and two
standard deviations (Kotykhov 2024, Figs. 5 and 6). Without references, those of the elements among
the data are taken. Files: PREFIX.json, PREFIX.csv, PREFIX.pdf and PREFIX.png. The exit status is 1
if a configuration could not be relaxed.
"""


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "formation",
        help="formation energies, lattice parameters and moments against composition",
        description="Formation energy, lattice parameter and moment per magnetic atom of relaxed "
        "configurations against composition.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "potentials", metavar="POTENTIAL", nargs="+", help="potential or ensemble, .mtp"
    )
    parser.add_argument(
        "--data", metavar="FILE", nargs="+", required=True, help="configurations with moments"
    )
    parser.add_argument(
        "--references", metavar="FILE", nargs="+", help="one configuration of each element"
    )
    parser.add_argument(
        "--magnetic", nargs="+", metavar="SYMBOL", help="elements that share the moment"
    )
    parser.add_argument(
        "--start", nargs="+", metavar="SYMBOL=MOMENT",
        help="start from a moment for each species (mu_B), not from those of the file",
    )  # fmt: skip
    parser.add_argument(
        "--cell-atoms", type=number(float, POSITIVE), metavar="N",
        help="atoms of the cubic cell whose length is the lattice parameter (bcc 2, fcc 4); "
        "without, volumes are plotted",
    )  # fmt: skip
    parser.add_argument(
        "--axis", metavar="SYMBOL", help="element of the x axis (default: the last one)"
    )
    parser.add_argument(
        "-o", "--output", default="formation", metavar="PREFIX",
        help="of the files (default formation)",
    )  # fmt: skip
    add_reading_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    inputs = [*args.potentials, *args.data, *(args.references or [])]
    files = PropertyFiles(args.output, ("",), inputs)
    start = moments_of_words(args.start)

    import mmtp_jax as mmtp
    from mmtp_jax.cli.progress import CountProgress
    from mmtp_jax.cli.property_plots import formation_figure
    from mmtp_jax.io.schema import SOURCE

    species = console.check_species(args.species)
    potentials = [mmtp.load(path, species=species) for path in args.potentials]
    names = potentials[0].species
    if any(potential.species != names for potential in potentials):
        raise ValueError("the potentials of an ensemble must have the same species")
    atoms_list = console.read_data(args.data, names, args.magnetic_gradient, args.key)
    references = _references(args, names)
    total = len(potentials) * (len(atoms_list) + len(references or ()))
    with CountProgress(total, "relaxations") as progress:
        found = mmtp.formation_energies(
            potentials, atoms_list, references, magnetic=args.magnetic, start=start,
            callback=progress,
        )  # fmt: skip
    symbol = args.axis or found.symbols[-1]
    if symbol not in found.symbols:
        raise ValueError(f"--axis {symbol} is none of {', '.join(found.symbols)}")
    labels = [getattr(atoms, SOURCE, f"{k}") for k, atoms in enumerate(atoms_list, 1)]
    print(_table(found, symbol, args.cell_atoms))
    for messages in found.messages:
        for label, message in zip(labels, messages, strict=True):
            if message:
                console.warn(f"{label}: {message}")
    _write(files, args, found, labels, symbol)
    files.figure(formation_figure(found, symbol, args.cell_atoms))
    print(files)
    return 0 if found.converged.all() else 1


def _references(args: argparse.Namespace, names: Sequence[str]) -> dict[str, Atoms] | None:
    if args.references is None:
        return None
    found = {}
    for atoms in console.read_data(args.references, names, args.magnetic_gradient, args.key):
        kinds = set(atoms.symbols)
        if len(kinds) != 1 or kinds & set(found):
            raise ValueError(
                f"references must be one configuration of each element alone, got "
                f"{atoms.get_chemical_formula()}"
            )
        found[kinds.pop()] = atoms
    return found


def _table(found: FormationEnergies, symbol: str, atoms_per_cell: float | None) -> str:
    shares, lowest = 100 * found.fraction(symbol), set(found.lowest().tolist())
    quantities = {
        "formation meV/atom": (1e3 * found.energies, 2),
        **(
            {"volume A^3/atom": (found.volumes, 4)}
            if atoms_per_cell is None
            else {"lattice parameter A": (found.lattice_parameters(atoms_per_cell), 4)}
        ),
        "moment mu_B": (found.moments, 4),
    }
    several = len(found.energies) > 1

    def cell(mean: float, error: float, digits: int) -> str:
        spread = f" +- {error:<6.1g}" if several else ""
        # NaN where there are no magnetic atoms.
        return "-" if isnan(mean) else f"{mean:.{digits}f}{spread}"

    columns = [
        [cell(*of, digits) for of in zip(found.mean(v), found.two_sigma(v), strict=True)]
        for v, digits in quantities.values()
    ]
    lines = [f"{symbol + ' %':>8}" + "".join(f"{name:>23}" for name in quantities)]
    for k, cells in enumerate(zip(*columns, strict=True)):
        row = "".join(f"{text:>23}" for text in cells)
        lines.append(f"{shares[k]:8.2f}{row}{'  lowest' if k in lowest else ''}")
    return "\n".join(lines)


def _write(
    files: PropertyFiles,
    args: argparse.Namespace,
    found: FormationEnergies,
    labels: Sequence[str],
    symbol: str,
) -> None:
    lattice = None if args.cell_atoms is None else found.lattice_parameters(args.cell_atoms)
    quantities = {
        "formation energy (eV/atom)": found.energies,
        "volume (Angstrom^3/atom)": found.volumes,
        "moment (mu_B/magnetic atom)": found.moments,
        **({} if lattice is None else {"lattice parameter (Angstrom)": lattice}),
    }
    header = ["configuration", f"{symbol} fraction", "lowest"]
    columns: list[Sequence[Any]] = [labels, found.fraction(symbol)]
    lowest = set(found.lowest().tolist())
    columns.append([int(k in lowest) for k in range(len(labels))])
    for name, values in quantities.items():
        header += [name, f"2 sigma of {name}"]
        columns += [found.mean(values), found.two_sigma(values)]
    files.table("", header, zip(*columns, strict=True))
    files.json(
        {
            "potentials": args.potentials,
            "data": args.data,
            "elements": found.symbols,
            "chemical_potentials": found.chemical_potentials.tolist(),
            "configurations": [
                {
                    "name": label,
                    "atoms": found.compositions[k].tolist(),
                    "formation_energies": found.energies[:, k].tolist(),
                    "volumes_per_atom": found.volumes[:, k].tolist(),
                    # JSON has no NaN: without a magnetic atom there is no moment.
                    "moments": [None if m != m else m for m in found.moments[:, k].tolist()],
                    "converged": found.converged[:, k].tolist(),
                    "messages": [messages[k] for messages in found.messages],
                }
                for k, label in enumerate(labels)
            ],
        }
    )
