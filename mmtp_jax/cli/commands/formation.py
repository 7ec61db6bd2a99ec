"""``mmtp formation``: formation energies, lattice parameters and moments against composition."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from math import isnan
from typing import TYPE_CHECKING, Any

from mmtp_jax.cli import console
from mmtp_jax.cli.command_line import collect, declare, inputs_of
from mmtp_jax.cli.committee import Member, members_of
from mmtp_jax.cli.console import add_command
from mmtp_jax.cli.property_output import PropertyFiles
from mmtp_jax.cli.shared_settings import (
    LabelReading,
    committee,
    moments_of_words,
    potentials,
    prefix,
    start_moments,
)
from mmtp_jax.options import POSITIVE, option, options

if TYPE_CHECKING:
    from ase import Atoms

    from mmtp_jax.properties.formation import FormationEnergies

_EPILOG = """\
examples:
  mmtp formation pot.mtp --data fe-al.cfg --references fe.cfg al.cfg --cell-atoms 2 -o fe-al
  mmtp formation pot.0.mtp pot.1.mtp pot.2.mtp --data fe-al.cfg -o ensemble

All configurations are relaxed (positions, cell and moments). Several potentials give mean and two
standard deviations (Kotykhov 2024, Figs. 5 and 6) over those with which a configuration was
relaxed; --committee mean takes their mean energy. Without references, those of the elements among
the data are taken. Files: PREFIX.json, PREFIX.csv, PREFIX.pdf and PREFIX.png. The exit status is 1
if a configuration could not be relaxed.
"""


@options
class FormationSettings(LabelReading):
    """Potentials, configurations, and what is plotted."""

    potential: tuple[str, ...] = potentials(old=("potentials",))
    data: tuple[str, ...] = option(
        "Configurations with moments.",
        (), example=("fe-al.cfg",), required=True, needed=True, metavar="FILE",
    )  # fmt: skip
    references: tuple[str, ...] | None = option(
        "One configuration of each element; those of the elements among the data if not given.",
        example=("fe.cfg", "al.cfg"), metavar="FILE",
    )  # fmt: skip
    magnetic: tuple[str, ...] | None = option(
        "Elements that share the moment.", example=("Fe",), metavar="SYMBOL"
    )
    start: tuple[str, ...] | None = start_moments()
    cell_atoms: float | None = option(
        "Atoms of the cubic cell whose length is the lattice parameter (bcc 2, fcc 4); without, "
        "volumes are plotted.",
        example=2.0, bounds=POSITIVE, metavar="N", aliases=("atoms_per_cell",),
    )  # fmt: skip
    axis: str | None = option(
        "Element of the x axis; the last one if not given.", example="Al", metavar="SYMBOL"
    )
    committee: str = committee()
    output: str = prefix("formation")


def add_parser(commands: Any) -> None:
    """Add the command to those of ``mmtp``."""
    parser = add_command(
        commands,
        "formation",
        help="formation energies, lattice parameters and moments against composition",
        description="Formation energy, lattice parameter and net moment per magnetic atom of "
        "relaxed configurations against composition.",
        epilog=_EPILOG,
    )
    declare(parser, FormationSettings)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    settings, _ = collect(args)
    inputs = [*inputs_of(settings, args), *settings.data]
    files = PropertyFiles(settings.output, ("",), inputs)
    start = moments_of_words(settings.start)

    import mmtp_jax as mmtp
    from mmtp_jax import plot
    from mmtp_jax.io.schema import SOURCE
    from mmtp_jax.progress import CountProgress

    members = members_of(settings)
    names = members[0].potential.species
    atoms_list = console.read_data(settings.data, names, settings)
    references = _references(settings, names)
    total = len(members) * (len(atoms_list) + len(references or ()))
    with CountProgress(total, "relaxations") as progress:
        found = mmtp.formation_energies(
            [of.potential for of in members], atoms_list, references,
            magnetic=settings.magnetic, start=start, callback=progress,
        )  # fmt: skip
    symbol = settings.axis or found.symbols[-1]
    if symbol not in found.symbols:
        raise ValueError(f"--axis {symbol} is none of {', '.join(found.symbols)}")
    labels = [getattr(atoms, SOURCE, f"{k}") for k, atoms in enumerate(atoms_list, 1)]
    print(_table(found, symbol, settings.cell_atoms))
    for member, messages in zip(members, found.messages, strict=True):
        who = f"{member.name}, " if len(members) > 1 else ""
        for label, message in zip(labels, messages, strict=True):
            if message:
                console.warn(f"{who}{label}: {message}")
    _write(files, settings, members, found, labels, symbol)
    files.figure(plot.formation(found, symbol, settings.cell_atoms))
    print(files)
    return 0 if found.converged.all() else 1


def _references(settings: FormationSettings, names: Sequence[str]) -> dict[str, Atoms] | None:
    if settings.references is None:
        return None
    found = {}
    for atoms in console.read_data(settings.references, names, settings):
        kinds = set(atoms.symbols)
        if len(kinds) != 1 or kinds & set(found):
            raise ValueError(
                f"references must be one configuration of each element alone, got "
                f"{atoms.get_chemical_formula()}"
            )
        found[kinds.pop()] = atoms
    return found


def _table(found: FormationEnergies, symbol: str, atoms_per_cell: float | None) -> str:
    from mmtp_jax.tables import aligned, with_error

    shares, lowest = 100 * found.fraction(symbol), set(found.lowest().tolist())
    quantities = {
        "formation meV/atom": (1e3 * found.energies, 2),
        **(
            {"volume A^3/atom": (found.volumes, 4)}
            if atoms_per_cell is None
            else {"lattice parameter A": (found.lattice_parameters(atoms_per_cell), 4)}
        ),
        "net moment mu_B": (found.moments, 4),
    }
    several, n_counted = len(found.energies) > 1, found.converged.sum(axis=0)

    def cell(mean: float, error: float, digits: int) -> str:
        # NaN where there are no magnetic atoms.
        return with_error(mean, error, digits) if several else (
            "-" if isnan(mean) else f"{mean:.{digits}f}"
        )  # fmt: skip

    columns = [
        [cell(*of, digits) for of in zip(found.mean(v), found.two_sigma(v), strict=True)]
        for v, digits in quantities.values()
    ]
    rows = [(f"{symbol} %", *quantities, "")]
    for k, cells in enumerate(zip(*columns, strict=True)):
        words = ["lowest"] if k in lowest else []
        if several and n_counted[k] < len(found.energies):
            words.append(f"of {n_counted[k]} potentials")
        rows.append((f"{shares[k]:.2f}", *cells, " ".join(words)))
    return aligned(rows, left=(len(rows[0]) - 1,))


def _write(
    files: PropertyFiles,
    settings: FormationSettings,
    members: Sequence[Member],
    found: FormationEnergies,
    labels: Sequence[str],
    symbol: str,
) -> None:
    lattice = None if settings.cell_atoms is None else found.lattice_parameters(settings.cell_atoms)
    quantities = {
        "formation energy (eV/atom)": found.energies,
        "volume (Angstrom^3/atom)": found.volumes,
        "net moment (mu_B/magnetic atom)": found.moments,
        **({} if lattice is None else {"lattice parameter (Angstrom)": lattice}),
    }
    header = ["configuration", f"{symbol} fraction", "lowest", "potentials that count"]
    columns: list[Sequence[Any]] = [labels, found.fraction(symbol)]
    lowest = set(found.lowest().tolist())
    columns += [[int(k in lowest) for k in range(len(labels))], found.converged.sum(axis=0)]
    for name, values in quantities.items():
        header += [name, f"2 sigma of {name}"]
        columns += [found.mean(values), found.two_sigma(values)]
    files.table("", header, zip(*columns, strict=True))
    files.json(
        {
            "potentials": [member.name for member in members],
            "data": list(settings.data),
            "elements": found.symbols,
            "chemical_potentials": found.chemical_potentials.tolist(),
            "configurations": [
                {
                    "name": label,
                    "atoms": found.compositions[k].tolist(),
                    "formation_energies": found.energies[:, k].tolist(),
                    "volumes_per_atom": found.volumes[:, k].tolist(),
                    "moments": found.moments[:, k].tolist(),
                    "converged": found.converged[:, k].tolist(),
                    "messages": [messages[k] for messages in found.messages],
                }
                for k, label in enumerate(labels)
            ],
        }
    )
